"""What a stored network, array or notebook was made from, and so whether it is stale.

Everything that is trained, prepared or cached is described by a ``Provenance``: the stage that made
it, the version of that stage's code, settings, data, and the provenance of the networks below it.
A trained network carries the record in its card. Two records are compared by ``differences``,
which says in words what has changed. Where no card is kept, the record's ``fingerprint`` is in the
file's name.

Source code is not compared. Whoever changes code so that the same inputs give other results has to
raise a version here.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from cmlib import files
from cmlib.config import CanConfig, Profile

# Raise a version when the same settings and data would give other results than before, beyond
# rounding. All that was made by the old version, and all that was built on it, is then made again.
VERSIONS = {
    "cropping": 2,  # which square of a picture is the face: the detector, the tracking, the cut
    "preparation": 1,  # which frames and sound of a clip are kept, spectrograms, the arrays
    "encoding": 1,  # how latents are read out of a trained VAE-GAN
    "face": 1,  # the network VaeGan, its losses and its training, and which labels the faces have
    "small_vaegan": 1,  # the start and the training of the small networks of notebook 02
    "voice": 1,  # the same for voices; they share their code, so mostly both versions rise
    "classifier": 1,  # the linear classifier, the fusions of two latents, and their training
    "can": 1,  # the context attention network, its training, and which faces and voices are paired
    "judge": 1,  # the judge of expressions and its training
    "evaluation": 1,  # scores, intervals, tables and figures of the notebooks
}

MISSING = object()  # stands for the value of a setting that a record does not have


@dataclass(frozen=True)
class Provenance:
    """What something was made from.

    ``settings`` and ``data`` are indexed by name: ``{"can": CanConfig()}``,
    ``{"corpus": "actors-1a2b3c"}``. ``version``, ``data`` and ``below`` are None in the record of a
    network that others have trained; they are then not compared.

    ``computed`` says on which kind of device, on how many of them, and in which precision a network
    was trained. It explains why two networks with the same record are not the same to the last
    digit. But it is never compared: a network that was trained on a GPU is not stale on a laptop.
    """

    stage: str
    version: int | None
    settings: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, str] | None = field(default_factory=dict)
    seed: int | None = None
    fold: int | None = None
    classes: tuple[str, ...] = ()
    below: Mapping[str, Provenance] | None = field(default_factory=dict)
    computed: Mapping[str, Any] | None = field(default=None, compare=False)

    def to_json(self) -> dict:
        """The record as JSON values, for a card; ``from_json`` reads it back."""
        record = {f.name: _plain(getattr(self, f.name)) for f in dataclasses.fields(self)}
        if self.below is not None:
            record["below"] = {name: other.to_json() for name, other in self.below.items()}
        if self.computed is None:
            del record["computed"]
        return record

    @classmethod
    def from_json(cls, record: Mapping) -> Provenance:
        """Read what ``to_json`` returned; TypeError or KeyError if it is something else."""
        below = record["below"]
        if below is not None:
            below = {name: cls.from_json(other) for name, other in below.items()}
        return cls(**{**record, "classes": tuple(record["classes"]), "below": below})

    def fingerprint(self) -> str:
        """12 hexadecimal digits that follow from the record alone: the same on every Python."""
        record = dataclasses.replace(self, computed=None).to_json()
        text = json.dumps(_canonical(record), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def differences(self, stored: Provenance) -> list[str]:
        """How this record differs from the ``stored`` one: a line for each difference, or [].

        A setting that the stored record lacks is newer than the record. The default of a new
        setting has no effect, so the setting counts as stored with its default.
        """
        lines = []
        for names, change in self._located_differences(stored):
            where = ".".join(["below", *names])
            lines.append(f"{where}: {change}" if names else change)
        return lines

    def _located_differences(self, stored: Provenance) -> Iterator[tuple[tuple[str, ...], str]]:
        """Pairs of the names that lead down to a network, () for this record, and a difference."""
        for change in self._own_differences(stored):
            yield (), change
        if stored.below is None:
            return
        now = self.below or {}
        for name in sorted({*stored.below, *now}):
            if name not in now:
                yield (name,), "no longer used"
            elif name not in stored.below:
                yield (name,), "was not used"
            else:
                for names, change in now[name]._located_differences(stored.below[name]):
                    yield (name, *names), change

    def _own_differences(self, stored: Provenance) -> list[str]:
        """The differences of the two records themselves, without the networks below them."""
        lines = []
        if self.stage != stored.stage:
            lines.append(f"stage {stored.stage} → {self.stage}")
        if stored.version is not None and self.version != stored.version:
            lines.append(f"version of {self.stage} {stored.version} → {self.version}")
        known = dict(_flat("settings", _defaults(self.settings)))
        known |= dict(_flat("settings", _plain(stored.settings)))
        lines += _changes(known, dict(_flat("settings", _plain(self.settings))))
        if stored.data is not None:
            lines += _changes(
                dict(_flat("data", stored.data)), dict(_flat("data", self.data or {}))
            )
        for name in ("seed", "fold", "classes"):
            before, now = _plain(getattr(stored, name)), _plain(getattr(self, name))
            if before != now:
                lines.append(f"{name} {_shown(before)} → {_shown(now)}")
        return lines


def of_card(card: Mapping) -> Provenance | None:
    """The record in the card of a network; None where the card has none that can be read."""
    try:
        return Provenance.from_json(card["provenance"])
    except (KeyError, TypeError, AttributeError):
        return None


# -------------------------------------------------------------------- what ships does not count


def fresh() -> bool:
    """Whether networks, judges and tables that ship with the repository do not count.

    Then an experiment trains and measures them itself. The environment variable CM_FRESH says so;
    the option ``--fresh`` of ``cm`` and ``make reproduce FRESH=1`` set it.
    """
    return os.environ.get("CM_FRESH", "") not in ("", "0")


def ignore_shipped() -> None:
    """From now on ``fresh`` holds, in this process and in those that it starts."""
    os.environ["CM_FRESH"] = "1"


# -------------------------------------------------------------------- the stages of an experiment


def networks_below(stage: str, profile: Profile) -> tuple[str, ...]:
    """The stages whose networks ``stage`` is built on."""
    if stage in ("face", "voice"):
        return ()
    if stage in ("classifier_face", "classifier_voice"):
        return (stage.removeprefix("classifier_"),)
    if not stage.startswith("can"):
        return ("face", "voice")
    if settings_of(stage, profile).distill_weight:
        return ("classifier_concatenation", "classifier_face", "voice")
    return ("classifier_face", "voice")


def settings_of(stage: str, profile: Profile) -> Any:
    """The settings that ``stage`` is trained with.

    They are those of the profile, except that can_released has the released ones.
    """
    if stage == "can_released":
        return CanConfig()
    return getattr(profile, _kind(stage))


def uses_crowd(stage: str, profile: Profile) -> bool:
    """Whether pictures of the corpus ``crowd`` take part in the training of ``stage``."""
    if stage == "face":
        return profile.data.crowd_limit != 0
    return stage.startswith("can") and settings_of(stage, profile).crowd > 0


def of_stage(
    stage: str,
    profile: Profile,
    data: Callable[[str], Mapping[str, str]],
    seed: int,
    fold: int,
    classes: tuple[str, ...],
) -> Provenance:
    """The record of a network of an experiment as it would be trained today.

    ``data`` is called with a stage and returns the keys of the data that it is trained on, by name.
    A stage without epochs is the shipped network that it starts from, so its record is the one in
    that network's card.
    """
    fixed_network = profile.fixed_network(stage, fold)
    if fixed_network:
        return _shipped(fixed_network)
    others = (data, seed, fold, classes)
    below = {name: of_stage(name, profile, *others) for name in networks_below(stage, profile)}
    settings: dict[str, Any] = {_kind(stage): settings_of(stage, profile)}
    if stage in ("face", "voice") and settings[stage].start:
        below["start"] = _shipped(settings[stage].start_in(fold))
    if stage == "face" and uses_crowd(stage, profile):
        settings["data"] = {"crowd_limit": profile.data.crowd_limit}
    version = VERSIONS[_kind(stage)]
    return Provenance(stage, version, settings, data(stage), seed, fold, classes, below)


def of_preparation(settings: Mapping[str, Any], data: Mapping[str, str]) -> Provenance:
    """The record of a prepared corpus; ``settings`` are those of the profile that shape it."""
    below = {"cropping": of_code("cropping")}
    return Provenance("preparation", VERSIONS["preparation"], {"data": settings}, data, below=below)


def of_code(
    stage: str,
    settings: Mapping[str, Any] | None = None,
    data: Mapping[str, str] | None = None,
    seed: int | None = None,
) -> Provenance:
    """The record of what the code of a stage makes of ``data``, without networks below.

    ``stage`` is a key of ``VERSIONS``.
    """
    return Provenance(stage, VERSIONS[stage], settings or {}, data or {}, seed)


def _kind(stage: str) -> str:
    """The name of a stage's settings and version.

    It is classifier for classifier_voice, and can for can_released.
    """
    return "can" if stage == "can_released" else stage.partition("_")[0]


def _shipped(path: str) -> Provenance:
    """The record of the network ``path`` below checkpoints/, or one that says it is unknown."""
    try:
        card = json.loads((files.ROOT / "checkpoints" / f"{path}.json").read_text())
    except (OSError, ValueError):
        card = {}
    return of_card(card) or Provenance(f"unknown {path}", None)


# -------------------------------------------------------------------- how records are compared


def _plain(value: Any) -> Any:
    """Settings and other values as JSON values."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = dataclasses.asdict(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return files.plain(value)


def _canonical(value: Any) -> Any:
    """JSON values in which equal numbers look the same: 1.0 becomes 1."""
    if isinstance(value, dict):
        return {key: _canonical(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_canonical(inner) for inner in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _defaults(value: Any) -> Any:
    """The defaults of settings that are dataclasses; nothing for other values."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _plain(type(value)())
    if isinstance(value, Mapping):
        return {key: _defaults(inner) for key, inner in value.items()}
    return {}


def _flat(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Nested settings as pairs of a name with dots and a value: ("settings.can.epochs", 30)."""
    if not isinstance(value, Mapping):
        yield name, value
        return
    for key, inner in value.items():
        yield from _flat(f"{name}.{key}", inner)


def _changes(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """A line for each value that has changed."""
    lines = []
    for name in [*now, *(name for name in before if name not in now)]:
        old, new = before.get(name, MISSING), now.get(name, MISSING)
        if old != new:
            lines.append(f"{name} {_shown(old)} → {_shown(new)}")
    return lines


def _shown(value: Any) -> str:
    if value is MISSING or value is None:
        return "none"
    if isinstance(value, list):
        return "(" + ", ".join(_shown(inner) for inner in value) + ")"
    return "''" if value == "" else str(value)
