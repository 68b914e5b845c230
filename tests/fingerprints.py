"""Records of every kind, and the fingerprints that they must have on every Python and machine.

It needs no package, so it also runs by itself: ``PYTHONPATH=. python tests/fingerprints.py``.
"""

from __future__ import annotations

import sys

from cmlib import provenance
from cmlib.config import CanConfig, ClassifierConfig, DataConfig, Profile, VaeGanConfig
from cmlib.provenance import Provenance

PROFILE = Profile(
    "golden",
    data=DataConfig(crowd_limit=100),
    face=VaeGanConfig(width=0.25, translate=(1, 2)),
    voice=VaeGanConfig(epochs=3, kl_weight=1e-6),
    classifier=ClassifierConfig(weight_decay=0.5),
    can=CanConfig(crowd=0.5, directions=6),
)
CLASSES = ("calm", "happy")

# The versions count as 1 here, so that these values stay when a version is raised. They change with
# a new setting or another default. Half-trained states and cached arrays then get other names. If
# this is meant, put the new values here.
GOLDEN = {
    "preparation": "9b27e0454239",
    "cropping": "423f3dba0faa",
    "encoding": "f5fd47d5e90b",
    "judge": "eb69d93a2860",
    "face": "ac391280d047",
    "voice": "c21e6409182c",
    "classifier_face": "1123d8ec5328",
    "classifier_voice": "604be5e328ee",
    "classifier_product_of_experts": "0670282d57ed",
    "classifier_concatenation": "f667668b281a",
    "can": "566bec485f8f",
    "can_released": "83ea634d68fa",
    "pre-trained face": "07d0a7467ba8",
    "network of others": "58cecf4af5c1",
}


def records() -> dict[str, Provenance]:
    """A record of each kind, made as the library makes it, by its name in ``GOLDEN``."""
    pictures = {"pictures": "0123456789ab"}
    made = {
        "preparation": provenance.of_preparation(
            {"image_size": 64, "frames_per_clip": 8}, {"files": "0123456789ab"}
        ),
        "cropping": provenance.of_code("cropping", {"size": 64}, pictures),
        "encoding": provenance.of_code("encoding", data=pictures | {"weights": "fedcba987654"}),
        "judge": provenance.of_code("judge", {"epochs": 12, "classes": 7}, pictures, seed=3),
        "pre-trained face": Provenance(
            "face", 1, {"part 1": PROFILE.face, "part 2": PROFILE.voice}, {"crowd": "é ü"}, 0
        ),
        "network of others": Provenance(
            "can", None, {"can": CanConfig()}, data=None, seed=0, fold=0, below=None
        ),
    }
    for stage in GOLDEN:
        if stage not in made:
            made[stage] = provenance.of_stage(stage, PROFILE, _data, 2**40, 5, CLASSES)
    return made


def _data(stage: str) -> dict[str, str]:
    keys = {"corpus": "actors-0123456789ab"}
    return keys | {"crowd": "ab"} if provenance.uses_crowd(stage, PROFILE) else keys


def fingerprints() -> dict[str, str]:
    """The fingerprint of each of ``records``, with all versions 1."""
    versions = dict(provenance.VERSIONS)
    provenance.VERSIONS.update(dict.fromkeys(versions, 1))
    try:
        return {name: record.fingerprint() for name, record in records().items()}
    finally:
        provenance.VERSIONS.update(versions)


if __name__ == "__main__":
    assert fingerprints() == GOLDEN, fingerprints()
    print(f"Python {sys.version.split()[0]}: {len(GOLDEN)} fingerprints are as they should be")
