"""The trained networks of one experiment: where they lie, and whether they are up to date."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from torch import nn

from cmlib import checkpoints, files, provenance
from cmlib.checkpoints import CheckpointError
from cmlib.corpora import CorpusError, crowd
from cmlib.experiment.rows import CorpusRows
from cmlib.provenance import Provenance


@dataclass(frozen=True)
class StoredNetworks(CorpusRows):
    """The networks of one experiment as files.

    A network is named after its stage: face, voice, classifier_<fusion>, can or can_released. It is
    looked for in the experiment's own folder and then among the shipped ``checkpoints/``. It
    counts only if its record equals the one that it would get if it were trained today. With
    ``provenance.fresh`` no network counts that was shipped for this experiment.
    """

    def path(self, name: str) -> Path:
        """Where this experiment keeps the checkpoint ``name``; the path has no suffix."""
        return self.folder / "checkpoints" / name

    def settings(self, name: str) -> Any:
        """The settings that a stage is trained with."""
        return provenance.settings_of(name, self.profile)

    def fixed_network(self, name: str) -> Path | None:
        """The shipped network that a stage without epochs uses as it is; None for other stages."""
        start = self.profile.fixed_network(name, self.fold)
        return files.ROOT / "checkpoints" / start if start else None

    def provenance(self, name: str) -> Provenance:
        """What the network ``name`` would be made from if it were trained today."""
        return provenance.of_stage(
            name, self.profile, self._data_keys, self.seed, self.fold, self.classes
        )

    def _data_keys(self, name: str) -> dict[str, str]:
        try:
            keys = {"corpus": f"{self.corpus}-{self.shown.key}"}
        except CorpusError:  # networks trained elsewhere can be used without their corpus
            keys = {"corpus": "not there"}
        if provenance.uses_crowd(name, self.profile):
            # The context network needs the crowd. The face VAE-GAN can do without it.
            missing = name == "face" and crowd.table(limit=self.profile.data.crowd_limit).empty
            keys["crowd"] = "no pictures" if missing else crowd.key()
        return keys

    def find(self, name: str) -> Path | None:
        """Where the network ``name`` lies (without suffix); None where it has to be trained.

        It is the shipped network that a stage without epochs uses, this experiment's own, the one
        shipped for the same corpus, profile, fold and seed or, if settings were changed, that of
        the unchanged profile.
        """
        fixed_network = self.fixed_network(name)
        if fixed_network:
            return fixed_network
        if self.trained_here(name):
            return self.path(name)
        for path in self._made_elsewhere(name):
            is_current = checkpoints.is_complete(path) and not self._differences(name, path)
            if is_current and self._reads_its_own_latents(name, path):
                return path
        return None

    def _reads_its_own_latents(self, name: str, path: Path) -> bool:
        """Whether the networks below are those that the network ``path`` was trained with."""
        for below in provenance.networks_below(name, self.profile):
            if not self.fixed_network(below) and self.find(below) != path.with_name(below):
                return False
        return True

    def _made_elsewhere(self, name: str) -> list[Path]:
        """Where networks lie that this experiment has not trained, but that may serve it."""
        paths = [self.shipped(name)]
        base, _, changes = self.profile_name.partition("+")
        if changes:
            unchanged = dataclasses.replace(self, profile_name=base, out_dir="")
            paths += [unchanged.path(name), unchanged.shipped(name)]
        shipped = files.ROOT / "checkpoints"
        return [path for path in paths if not (provenance.fresh() and path.is_relative_to(shipped))]

    def weights(self, name: str) -> Path:
        """The file of weights that ``find`` gives; CheckpointError where there is none."""
        path = self.find(name)
        if path is None:
            raise CheckpointError(
                f"{self.path(name)}.safetensors: not there, or stale; train the stage first"
            )
        return path.with_suffix(".safetensors")

    def trained_here(self, name: str) -> bool:
        """Whether this experiment has trained ``name`` itself, from what would be used today."""
        path = self.path(name)
        if self.fixed_network(name) or not checkpoints.is_complete(path):
            return False
        return not self._differences(name, path)

    def why_stale(self, name: str) -> list[str]:
        """How a network that this experiment has trained differs from what it would be today."""
        path = self.path(name)
        return self._differences(name, path) if checkpoints.is_complete(path) else []

    def shipped(self, name: str) -> Path:
        """Where a network of this corpus and profile is kept if it ships with the repository."""
        return files.ROOT / "checkpoints" / f"{self.corpus}-{self.profile_name}" / name

    def _differences(self, name: str, path: Path) -> list[str]:
        stored = provenance.of_card(checkpoints.read_card(path))
        if stored is None:
            return ["its card does not say what it was made from"]
        return self.provenance(name).differences(stored)

    def usable(self, name: str, retrain: bool = False) -> Path | None:
        """Like ``find``, but with ``retrain`` a network shipped for this experiment does not count.

        Prints why a network that this experiment has trained has to be trained again.
        """
        path = self.find(name)
        if path and retrain and path == self.shipped(name):
            path = None
        reasons = [] if path else self.why_stale(name)
        if reasons:
            more = f"; and {len(reasons) - 4} more" if len(reasons) > 4 else ""
            print(f"{name}: trained again: {'; '.join(reasons[:4])}{more}")
        return path

    def card(self, name: str, scores: dict, computed: dict | None = None) -> dict:
        """What every checkpoint of this experiment says about itself.

        ``computed`` is that of ``provenance.Provenance``.
        """
        record = dataclasses.replace(self.provenance(name), computed=computed)
        return {
            "stage": name,
            "corpus": self.corpus,
            "profile": self.profile_name,
            "fold": self.fold,
            "seed": self.seed,
            "classes": list(self.classes),
            "provenance": record.to_json(),
            "validation": scores,
        }

    def save(
        self,
        name: str,
        model: nn.Module,
        history: pd.DataFrame,
        scores: dict,
        more: dict | None = None,
        computed: dict | None = None,
    ) -> None:
        """Keep a trained network, its card with ``more`` and, unless it is empty, its history."""
        card = self.card(name, scores, computed) | (more or {})
        checkpoints.save(self.path(name), model, card)
        path = self.path(name).with_suffix(".history.csv")
        if len(history):
            with files.write_atomically(path) as temporary:
                history.to_csv(temporary, index=False)
        else:
            path.unlink(missing_ok=True)  # it belongs to an earlier training

    def history(self, name: str) -> pd.DataFrame | None:
        """The training history of the network that ``find`` gives, if one lies beside it."""
        network = self.find(name)
        path = network.with_suffix(".history.csv") if network else None
        return pd.read_csv(path) if path and path.exists() else None
