"""One experiment = corpus x profile x fold x seed: where its files lie, and each stage found or trained.

Notebooks, command line and benchmarks all come through here, so that there is one code path.  A trained network is looked
for in this run's own folder, then among the shipped ``checkpoints/``, and else trained.  A file of the run's own counts
only while its recipe is still what code, settings, data and the networks below it would give; a shipped one while its
settings are the profile's.
"""

from __future__ import annotations

import dataclasses
import gc
import hashlib
import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from cmlib import files
from cmlib.models.vaegan import AT_ONCE

gc.disable()  # the imports below make a million objects and no garbage: a tenth of the time
import numpy as np
import pandas as pd
import torch
from torch import nn

from cmlib import checkpoints, metrics
from cmlib.config import CanConfig, Profile, get_profile
from cmlib.corpora import CorpusError, cache_root, crowd
from cmlib.corpora.names import EMOTIONS, classes_of
from cmlib.corpora.splits import AS_RELEASED, Split, split_from_yaml, split
from cmlib.experiment.provenance import recipe
from cmlib.models import Can, Classifier, Posterior, VaeGan, concatenation, product_of_experts
from cmlib.perceiver import Perceiver, as_released
from cmlib.preparation.prepare import UnpreparedCorpus, open_or_scan, prepare
from cmlib.preparation.store import Store
from cmlib.training.batches import Pictures
from cmlib.training.can import train_can
from cmlib.training.classifier import train_classifier
from cmlib.training.encoding import encode
from cmlib.training.loop import launch
from cmlib.training.vaegan import train_vaegan

gc.enable()
if TYPE_CHECKING:
    from lightning_fabric import Fabric
FUSIONS = ("face", "voice", "product_of_experts", "concatenation")
MODELS = (
    *FUSIONS,
    "can_released",
    "can",
)  # can_released: the released settings on the same latents


@dataclass(frozen=True)
class Run:
    """The files and stages of one experiment.  ``out_dir`` empty: ``runs/<corpus>-<profile>`` beside the package."""

    corpus: str = "actors"
    profile_name: str = "quick"
    seed: int = 0
    fold: int = 1
    out_dir: str = ""

    @property
    def profile(self) -> Profile:
        return get_profile(self.profile_name)

    @property
    def folder(self) -> Path:
        other = "" if (self.fold, self.seed) == (1, 0) else f"-fold{self.fold}-seed{self.seed}"
        return (
            Path(self.out_dir)
            if self.out_dir
            else files.ROOT / "runs" / f"{self.corpus}-{self.profile_name}{other}"
        )

    @cached_property
    def store(self) -> Store:
        """The prepared corpus; prepared now if it is not yet."""
        return prepare(self.corpus, self.profile)

    @cached_property
    def shown(self) -> Store | UnpreparedCorpus:
        """The corpus for looking at a few clips: prepared if it is, else read as it lies there."""
        return self.__dict__.get("store") or open_or_scan(
            self.corpus, self.profile
        )  # opened already: nothing to look for

    @cached_property
    def split(self) -> Split:
        return self.split_of(self.store)

    def split_of(self, store: Store | UnpreparedCorpus) -> Split:
        """Training, validation and test clips as rows of ``store.clips``."""
        if self.fold != AS_RELEASED:
            return split(store.clips, self.fold)
        root = store.root
        files = sorted(root.glob("fold_1.y*ml")) or sorted(root.glob("*.y*ml"))
        if len(files) != 1:
            there = ", ".join(f.name for f in files) or "none"
            raise CorpusError(
                f"{root}: fold 0 is the authors' split, one YAML file in here, or fold_1.yaml; there: {there}"
            )
        return split_from_yaml(files, store.clips)

    @property
    def classes(self) -> tuple[str, ...]:
        """What is trained and scored, in the order of the logits: those of the corpus, and neutral if the profile says so."""
        return classes_of(self.corpus, self.profile.neutral)

    # ---------------------------------------------------------------- rows of the store

    @cached_property
    def faces(self) -> Pictures:
        """Frames of the corpus, then the pictures of the crowd (rows from ``len(store.frames)`` on)."""
        limit = self.profile.data.crowd_limit
        people = crowd.load(self.profile.data.image_size, limit) if limit != 0 else ()
        return Pictures(self.store.frames, people)

    @cached_property
    def _crowd_pictures(self) -> int:
        return len(crowd.table(limit=self.profile.data.crowd_limit))

    @cached_property
    def mels(self) -> Pictures:
        return Pictures(self.store.mels)

    @cached_property
    def frame_clip(self) -> np.ndarray:
        """Clip of each thing that is classified: frames, or whole clips where a corpus has sound only."""
        return (
            np.array(self.store.frame_clip)
            if self.store.has_faces
            else np.arange(len(self.store.clips))
        )

    @cached_property
    def clip_labels(self) -> np.ndarray:
        """Class of each clip in ``classes``, -1 where it is none (neutral): (clips,)."""
        return np.array(
            [self.classes.index(e) if e in self.classes else -1 for e in self.store.clips.emotion]
        )

    def frames_of(self, clips: np.ndarray, labelled: bool = True) -> np.ndarray:
        """Rows of the frames of these clips, sorted; ``labelled`` leaves neutral clips out."""
        keep = np.zeros(len(self.store.clips), bool)
        keep[clips] = True
        if labelled:
            keep &= self.clip_labels >= 0
        return np.flatnonzero(keep[self.frame_clip])

    def labelled(self, clips: np.ndarray) -> np.ndarray:
        """Those of the clip rows that have a class and, in a corpus with faces, a picture."""
        seen = self.store.clips.n_frames.to_numpy() > 0
        return clips[(self.clip_labels[clips] >= 0) & (seen[clips] | (not self.store.has_faces))]

    # ---------------------------------------------------------------- checkpoints

    def path(self, name: str) -> Path:
        """Where this run keeps the checkpoint ``name`` (without suffix)."""
        return self.folder / "checkpoints" / name

    def settings(self, name: str):
        """The settings of a stage: the profile's for face, voice, classifier_<fusion> and can; the released for can_released."""
        if name == "can_released":
            return CanConfig()
        return (
            self.profile.classifier
            if name.startswith("classifier_")
            else getattr(self.profile, name)
        )

    def given(self, name: str) -> Path | None:
        """The shipped network that a stage without epochs is, as it is; None for a stage that is trained."""
        start = self.profile.untrained(name)
        return files.ROOT / "checkpoints" / start if start else None

    @staticmethod
    def below(name: str) -> tuple[str, ...]:
        """The networks that ``name`` is built on."""
        known = {
            "face": (),
            "voice": (),
            "classifier_face": ("face",),
            "classifier_voice": ("voice",),
        }
        return known.get(
            name, ("classifier_face", "voice") if name.startswith("can") else ("face", "voice")
        )

    def recipe(self, name: str) -> str:
        """Fingerprint of all that makes the network ``name`` what it is."""
        if given := self.given(name):
            return checkpoints.read_card(given)["recipe"]
        parts = [self.recipe(part) for part in self.below(name)]
        if start := getattr(self.settings(name), "start", ""):
            parts.append(checkpoints.read_card(files.ROOT / "checkpoints" / start)["recipe"])
        others = (
            self._crowd_pictures
            if name == "face"
            else crowd.key()
            if getattr(self.settings(name), "crowd", 0)
            else 0
        )
        return recipe(
            name,
            dataclasses.asdict(self.settings(name)),
            self.fold,
            self.seed,
            self.shown.key,
            others,
            parts,
            *self.classes[7:],
        )

    def find(self, name: str) -> Path | None:
        """What a stage without epochs is given, this run's own checkpoint, or the shipped one of the same corpus, profile,
        fold and seed; else None."""
        if given := self.given(name):
            return given
        if self.own(name):
            return self.path(name)
        shipped = files.ROOT / "checkpoints" / f"{self.corpus}-{self.profile_name}" / name
        if not shipped.with_suffix(".safetensors").exists():
            return None
        card = checkpoints.read_card(shipped)
        for part in self.below(name):  # a shipped network belongs to the shipped networks below it
            other = (
                card.get("below", {}).get(part) != self.recipe(part)
                if self.given(part)
                else self.find(part) != shipped.with_name(part)
            )
            if other:
                return None
        # a setting that the card does not know yet had no effect then, as its default has none
        wanted, usual = (
            json.loads(json.dumps(dataclasses.asdict(x)))
            for x in (self.settings(name), type(self.settings(name))())
        )
        return (
            shipped
            if wanted == usual | card["settings"]
            and (card["fold"], card["seed"]) == (self.fold, self.seed)
            else None
        )

    def own(self, name: str) -> bool:
        """Whether this run has trained ``name`` itself, from what would be used today."""
        if self.given(name):
            return False
        if not all(
            self.path(name).with_suffix(suffix).exists() for suffix in (".safetensors", ".json")
        ):
            return False  # a card may lack where a run was killed between the two
        return checkpoints.read_card(self.path(name)).get("recipe") == self.recipe(name)

    def card(self, name: str, scores: dict) -> dict:
        """What every checkpoint of this run says about itself."""
        return {
            "stage": name,
            "corpus": self.corpus,
            "profile": self.profile_name,
            "fold": self.fold,
            "seed": self.seed,
            "classes": list(self.classes),
            "settings": dataclasses.asdict(self.settings(name)),
            "recipe": self.recipe(name),
            "below": {part: self.recipe(part) for part in self.below(name)},
            "store": self.store.card["key"],
            "validation": scores,
        }

    def save(self, name: str, model: nn.Module, history: pd.DataFrame, scores: dict) -> None:
        """Keep a trained network, its card and, unless empty, its history."""
        checkpoints.save(self.path(name), model, self.card(name, scores))
        path = self.path(name).with_suffix(".history.csv")
        if len(history):
            history.to_csv(path, index=False)
        else:
            path.unlink(missing_ok=True)  # that of another training

    def history(self, name: str) -> pd.DataFrame | None:
        """The training history of the network that ``find`` gives, where one lies beside it."""
        path = (found := self.find(name)) and found.with_suffix(".history.csv")
        return pd.read_csv(path) if path and path.exists() else None

    # ---------------------------------------------------------------- stages

    def vaegan(
        self, kind: str, retrain: bool = False, fabric: Fabric | None = None, log: str = "csv"
    ) -> VaeGan:
        """The VAE-GAN of ``kind`` "face" or "voice"; ``retrain`` passes over shipped weights of this very run, but not over its own.

        ``log``: "csv" (the history beside the checkpoint grows epoch by epoch) or "tensorboard" (a folder of this run).
        Every device of ``fabric`` has to call this.
        """
        if path := self.given(kind) or self._there(kind, retrain):
            return checkpoints.load(path, VaeGan)[0]
        path = self.path(kind)
        face = kind == "face"
        pictures, labels = (
            (self.faces, np.full(len(self.faces), -1)) if face else (self.mels, self.clip_labels)
        )
        train, validation = self.split.train, self.split.val
        if face:
            if self.settings(kind).labels == "all":
                labels[: len(self.frame_clip)] = self.clip_labels[self.frame_clip]
            if len(labels) > len(self.frame_clip):
                labels[len(self.frame_clip) :] = crowd.labels(
                    crowd.table(limit=self.profile.data.crowd_limit), self.classes
                )
            train, validation = (
                self.frames_of(clips, labelled=False) for clips in (train, validation)
            )
            train = np.concatenate([train, np.arange(len(self.store.frames), len(pictures))])
        start = self.settings(kind).start
        start = checkpoints.load(files.ROOT / "checkpoints" / start, VaeGan)[0] if start else None
        fabric = fabric or launch()
        state = self.path(kind).with_suffix(f".{self.recipe(kind)[:8]}.state.pt")
        model, history = train_vaegan(
            pictures,
            train,
            validation,
            self.settings(kind),
            channels=3 if face else 1,
            size=pictures.batch(np.array([0])).shape[-1],
            labels=labels if labels.max() >= 0 else None,
            flips=face,
            seed=self.seed,
            state=state,
            start=start,
            fabric=fabric,
            log=self.folder / "tensorboard" / kind
            if log == "tensorboard"
            else self.path(kind).with_suffix(".history.csv"),
        )
        if fabric.is_global_zero:
            self.save(kind, model, history, {"reconstruction_mse": history.validation.iloc[-1]})
            state.unlink(missing_ok=True)
        fabric.barrier()
        return checkpoints.load(self.path(kind), VaeGan)[0]

    @cached_property
    def face_latents(self) -> Posterior:
        """(2 views, frames, D): every frame and its mirror image through the frozen encoder, once."""
        return self._encoded("face")

    @cached_property
    def voice_latents(self) -> Posterior:
        """(clips, D): every voice through the frozen encoder, once."""
        return self._encoded("voice").map(lambda x: x[0])

    def crowd_faces(self) -> tuple[Posterior, np.ndarray, np.ndarray]:
        """Every face of the crowd that is neutral or of a class, and its mirror image: (2 views, M, D), label (M,) in ``classes``
        or -1 for neutral, and person (M,)."""
        table = crowd.table(crowd.home())
        labels = crowd.labels(table, self.classes)
        keep = (labels >= 0) | (table.mood == EMOTIONS[0]).to_numpy()
        return (
            self._encoded("crowd").map(lambda x: x[:, keep]),
            labels[keep],
            table.person.to_numpy()[keep],
        )

    def _encoded(self, what: str) -> Posterior:
        kind, data = "voice" if what == "voice" else "face", self.store.card["key"]
        pictures, count = (
            self.mels if kind == "voice" else self.faces,
            len(self.store.mels if kind == "voice" else self.store.frames),
        )
        if what == "crowd":
            made = crowd.load(self.profile.data.image_size, root=crowd.home())
            pictures, count, data = Pictures(made), len(made), Path(made.filename).name
        model, weights = self.vaegan(kind), self.find(kind).with_suffix(".safetensors").read_bytes()
        key = hashlib.sha256(weights + data.encode()).hexdigest()[
            :12
        ]  # the latents belong to these very weights
        home = (
            cache_root() if self.given(kind) else self.folder
        )  # all folds and seeds share what is given
        if not (file := home / "latents" / f"{what}-{key}.npy").exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            latents = encode(model, pictures, np.arange(count), flips=kind == "face", batch=AT_ONCE)
            with open(part := file.with_suffix(f".{os.getpid()}.part"), "wb") as out:
                np.save(out, torch.stack(latents).numpy())
            part.replace(file)
        return Posterior(*torch.from_numpy(np.load(file)))

    def paired(self, rows: np.ndarray, views: bool = False) -> tuple[Posterior, Posterior]:
        """Latents of the frames ``rows`` and of the voices of their own clips: (V, N, D) or (N, D), and (N, D)."""
        face = self.face_latents.map(lambda x: x[:, rows] if views else x[0, rows])
        return face, self.voice_latents.map(lambda x: x[self.frame_clip[rows]])

    def fused(self, name: str, rows: np.ndarray) -> Posterior:
        """The latent that a classifier of one of ``FUSIONS`` reads, for the frames ``rows``: (V views, N, D)."""
        if name == "face":
            return self.face_latents.map(lambda x: x[:, rows])
        if name == "voice":
            return self.voice_latents.map(lambda x: x[None, self.frame_clip[rows]])
        face, voice = self.paired(rows, views=True)
        combine = product_of_experts if name == "product_of_experts" else concatenation
        views = [combine(Posterior(mu, logvar), voice) for mu, logvar in zip(*face)]
        return Posterior(torch.stack([p.mu for p in views]), torch.stack([p.logvar for p in views]))

    def _there(self, name: str, retrain: bool) -> Path | None:
        path = self.find(name)
        return None if retrain and path != self.path(name) else path

    def classifier(self, name: str = "face", retrain: bool = False) -> Classifier:
        """The linear classifier on one of ``FUSIONS``; ``retrain`` as in ``vaegan``."""
        if path := self._there(f"classifier_{name}", retrain):
            return checkpoints.load(path, Classifier)[0]
        rows = self.frames_of(self.split.train)
        labels = self.clip_labels[self.frame_clip]
        model, history = train_classifier(
            self.fused(name, rows),
            labels[rows],
            self.profile.classifier,
            classes=len(self.classes),
            seed=self.seed,
        )
        self.save(f"classifier_{name}", model, history, self._validation(name, model))
        return model

    def can(self, name: str = "can", retrain: bool = False) -> Can:
        """The context attention network ("can", or "can_released"), its classifier started from the face classifier; ``retrain`` as in
        ``vaegan``."""
        if path := self._there(name, retrain):
            return checkpoints.load(path, Can)[0]
        model, history = self.train_can(settings := self.settings(name))
        if (found := model.config["directions"]) < settings.directions:
            known = set(crowd.table(crowd.home()).mood) if settings.crowd else set()
            known |= set(
                self.store.clips.emotion.iloc[
                    self.frame_clip[self.frames_of(self.split.train, labelled=False)]
                ]
            )
            lacking = ", ".join(e for e in (EMOTIONS[0], *self.classes) if e not in known)
            print(
                f"{name}: no training faces of {lacking}, so {found} directions of expression, not {settings.directions}"
            )
        self.save(name, model, history, self._validation(name, model))
        return model

    def reader(self, name: str, retrain: bool = False) -> nn.Module:
        """The trained network that reads the class for one of ``MODELS``; ``retrain`` as in ``vaegan``."""
        return (self.can if name.startswith("can") else self.classifier)(name, retrain)

    def perceiver(self) -> Perceiver:
        """The four networks of this experiment, ready for single faces and voices; missing stages are trained."""
        networks = self.vaegan("face"), self.vaegan("voice"), self.classifier("face"), self.can()
        return Perceiver(
            *networks, self.classes, as_released(checkpoints.read_card(self.find("voice")))
        )

    def train_can(self, settings: CanConfig) -> tuple[Can, pd.DataFrame]:
        """A context attention network with other ``settings`` (profiles.Can) on this run's latents: (network, history)."""
        rows = self.frames_of(self.split.train, labelled=False)
        clips, (face, voice) = self.frame_clip[rows], self.paired(rows, views=True)
        labels, people = self.clip_labels[clips], self.store.clips.actor.to_numpy()[clips]
        if settings.crowd:
            others, known, who = self.crowd_faces()
            face = Posterior.cat([face, others], dim=1)
            labels, people = (
                np.concatenate([labels, known]),
                np.concatenate([people, -1 - who]),
            )  # nobody is in both
        settings = dataclasses.replace(
            settings, directions=min(settings.directions, len(np.unique(labels)) - 1)
        )  # K kinds show K - 1
        more = dict(
            people=people,
            classifier=self.classifier("face"),
            classes=len(self.classes),
            seed=self.seed,
        )
        return train_can(face, voice, labels, settings, **more)

    def _validation(self, name: str, model: nn.Module) -> dict:
        rows = self.frames_of(self.split.val)
        return self.scores(self.log_probabilities(name, rows, model), rows)

    # ---------------------------------------------------------------- predictions

    @torch.no_grad()
    def log_probabilities(
        self, name: str, rows: np.ndarray, model: nn.Module | None = None, strength: float = 1.0
    ) -> np.ndarray:
        """(N, classes) log probabilities of one of ``MODELS`` for the frames ``rows``, from posterior means."""
        model = model or self.reader(name)
        if isinstance(model, Can):
            logits, _ = model(*self.paired(rows), strength)
        else:
            logits = model(self.fused(name, rows).mu[0])
        return logits.log_softmax(1).numpy()

    def scores(self, log_probabilities: np.ndarray, rows: np.ndarray) -> dict:
        """Frame, clip and recall scores with intervals over actors of predictions for the frames ``rows``."""
        clips = self.frame_clip[rows]
        actors = self.store.clips.actor.to_numpy()[clips]
        return metrics.scores(
            log_probabilities, self.clip_labels[clips], clips, actors, self.profile.bootstrap
        )


def neutral_rows(run: Run, clips: np.ndarray) -> np.ndarray:
    """One frame (the middle one) of the first neutral clip of each actor among ``clips``."""
    table = run.store.clips.iloc[clips]
    chosen = table[(table.emotion == EMOTIONS[0]) & (table.n_frames > 0)].drop_duplicates("actor")
    return (chosen.first_frame + chosen.n_frames // 2).to_numpy()


def example(
    run: Run,
    clips: np.ndarray,
    emotion: str,
    actor: int | None = None,
    table: pd.DataFrame | None = None,
) -> int | None:
    """The strongest first clip of an emotion among the rows ``clips`` of ``table`` (that of the run's store); None if there is none.

    Clips with a picture are preferred, then those of ``actor``.
    """
    table = (run.store.clips if table is None else table).iloc[clips].assign(row=clips)
    table = table[table.emotion == emotion].assign(
        blind=lambda t: t.n_frames == 0,
        other=lambda t: t.actor != actor,
        weak=lambda t: -t.intensity,
    )
    order = table.sort_values(["blind", "other", "weak", "actor", "statement", "repetition"]).row
    return int(order.iloc[0]) if len(order) else None
