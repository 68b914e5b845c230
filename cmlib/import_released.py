"""Checkpoints of the released research code become checkpoints of this project.

No code in the file is run. Lightning wrote such files. The prefixes of the keys in its
``state_dict`` say what it holds:

- a VAE-GAN (``model.``),
- a classifier with the VAE-GAN that it reads (``model.`` and ``classifer.classify.0.``),
- or the context network with everything that it needs (``model_imgs.``, ``model_audio.``,
  ``att_mu.``, ``att_logvar.``, ``classifer.classify.0.``).
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import pathlib
import pickle
import re
from pathlib import Path

import torch
from torch import Tensor, nn

from cmlib import checkpoints, provenance
from cmlib.checkpoints import CheckpointError
from cmlib.config import get_profile
from cmlib.corpora.names import MEAD_EMOTIONS, classes_of
from cmlib.corpora.splits import AS_RELEASED
from cmlib.models import Can, Classifier, VaeGan
from cmlib.models.vaegan import CHANNELS, scaled
from cmlib.provenance import Provenance

HEAD = "classifer.classify.0."  # the released code spells it like this
PREFIXES = ("model.", "model_imgs.", "model_audio.", "att_mu.", "att_logvar.", HEAD)
# Kinds of files by stage. A network from the file of a later stage replaces that of an earlier one.
KINDS = ("vaegan", "classifier", "can")
STAGES = ("face", "voice", "classifier_face", "can")  # what a demo needs
SHOWN = 6  # keys that a line of a report lists

# Plain values that Lightning stores beside the tensors and that hold no code. Paths of any system
# are read as pure paths, under the names that they have in Python, and in Python 3.13.
PATHS = {"PosixPath": pathlib.PurePosixPath, "WindowsPath": pathlib.PureWindowsPath}
PATH_MODULES = ("pathlib", "pathlib._local")
VALUES = [
    argparse.Namespace,
    *((PATHS[kind], f"{module}.{kind}") for kind in PATHS for module in PATH_MODULES),
]


@dataclasses.dataclass(frozen=True)
class Imported:
    """What came of a file: its kind (one of ``KINDS``), the checkpoints written, and notes."""

    kind: str
    written: tuple[Path, ...]
    notes: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class _Network:
    """A network of the file's sizes, and the released key that each of its own keys comes from."""

    model: nn.Module
    released_keys: dict[str, str]

    def without_discriminator(self, state: dict[str, Tensor]) -> bool:
        """Whether the file holds this VAE-GAN without its discriminator."""
        parts = [key for key in self.released_keys if key.startswith("discriminator.")]
        return bool(parts) and not any(self.released_keys[key] in state for key in parts)


def read(path: Path) -> dict[str, Tensor]:
    """The ``state_dict`` of a file, in float32.

    CheckpointError if there is none, if the file is cut short, or if it would run code.
    """
    try:
        with torch.serialization.safe_globals(VALUES):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file; check the path") from None
    except pickle.UnpicklingError as error:
        fault = "not a file of tensors"
        code = re.search(r"GLOBAL ([\w.]+)", str(error))
        if code:
            fault = f"it needs code to be loaded ({code[1]}), and none is run"
        raise CheckpointError(f"{path}: {fault}; ask its makers for the state_dict alone") from None
    except Exception as error:
        line = " ".join(str(error).split())[:100] or type(error).__name__
        raise CheckpointError(
            f"{path}: not a checkpoint, or cut short ({line}); download it again"
        ) from None
    state = content.get("state_dict", content) if isinstance(content, dict) else None
    if not (isinstance(state, dict) and state and all(map(torch.is_tensor, state.values()))):
        raise CheckpointError(
            f"{path}: holds no state_dict of tensors; use the .ckpt file that Lightning wrote"
        )
    return {key: x.float() if x.is_floating_point() else x for key, x in state.items()}


def import_checkpoint(path: Path, out: Path, corpus: str = "ravdess_released") -> Imported:
    """Write the networks of a released file to ``out``.

    Their names are face, voice, classifier_face (or classifier_voice) and can. ``corpus`` says what
    the classes are. A CheckpointError lists all keys that are missing, unexpected or of another
    shape; then nothing is written. A file may lack its discriminator, and it may hold tensors of no
    network, which a note names. The context network's own classifier stands in for
    ``classifier_face`` until the file of that classifier is imported.
    """
    path, out = Path(path), Path(out)
    state = read(path)
    kind = _kind(state)
    networks = _networks(state, kind)
    faults = _faults(state, networks)
    if faults:
        raise CheckpointError(
            f"{path}: not the released architecture, so nothing is written\n  "
            + "\n  ".join(faults)
        )
    if corpus.startswith("mead"):
        order = _mead_order()
        state |= {key: x[order] for key, x in state.items() if key.startswith(HEAD)}

    notes = []
    foreign_keys = [key for key in state if not key.startswith(PREFIXES)]
    if foreign_keys:
        notes.append(f"left out, since they belong to no network: {_listed(foreign_keys)}")
    # All of these are looked up before anything is written, since one of them may be an error.
    preferred = {name: _preferred_file(out / name, name, kind) for name in networks}
    written = []
    for name, network in networks.items():
        if preferred[name]:
            notes.append(f"{name}: left as {preferred[name]} gave it, which takes precedence")
            continue
        _load(network, state)
        without = ("discriminator",) if network.without_discriminator(state) else ()
        card = _card(name, kind, path, corpus)
        written.append(checkpoints.save(out / name, network.model, card, without=without))
        if without:
            notes.append(f"{name}: no discriminator in the file, which only training needs")
    return Imported(kind, tuple(written), tuple(notes + _what_to_do_next(kind, written, out)))


def _kind(state: dict[str, Tensor]) -> str:
    """Which of ``KINDS`` a file is."""
    if any(key.startswith("att_mu.") for key in state):
        return "can"
    if any(key.startswith(HEAD) for key in state):
        return "classifier"
    return "vaegan"


def _faults(state: dict[str, Tensor], networks: dict[str, _Network]) -> list[str]:
    """A line for each way in which the keys of a file are not those of the networks."""
    faults, known = [], set()
    for name, network in networks.items():
        shapes = network.model.state_dict()
        without = network.without_discriminator(state)
        missing, misshapen = [], []
        for key, released in network.released_keys.items():
            known.add(released)
            if released not in state:
                if not (without and key.startswith("discriminator.")):
                    missing.append(released)
            elif state[released].shape != shapes[key].shape:
                misshapen.append(
                    f"{released} {_shape(state[released])} instead of {_shape(shapes[key])}"
                )
        if missing:
            faults.append(f"{name}: missing {_listed(missing)}")
        if misshapen:
            faults.append(f"{name}: misshapen {_listed(misshapen)}")
    unexpected = [key for key in state if key.startswith(PREFIXES) and key not in known]
    if unexpected:
        faults.append(f"unexpected {_listed(unexpected)}")
    return faults


def _load(network: _Network, state: dict[str, Tensor]) -> None:
    """Put the released weights into a network; what the file lacks keeps its random weights."""
    weights = {key: state[r] for key, r in network.released_keys.items() if r in state}
    network.model.load_state_dict(network.model.state_dict() | weights)


def _what_to_do_next(kind: str, written: list[Path], out: Path) -> list[str]:
    """Notes on files that a user may still want to import."""
    notes = []
    if kind == "can" and out / "classifier_face.safetensors" in written:
        notes.append(
            "classifier_face: the context network's own classifier stands in, "
            "until a classifier is imported"
        )
    missing = [stage for stage in STAGES if not (out / f"{stage}.safetensors").exists()]
    if missing:
        notes.append(
            f"for a demo {out} still lacks {', '.join(missing)}: import their files into it too"
        )
    return notes


def _networks(state: dict[str, Tensor], kind: str) -> dict[str, _Network]:
    """The networks that a file of this kind holds, by name, without their weights."""
    networks = {}
    vaegans: dict[str, int | None] = {"model.": None}  # channels by prefix, None where not known
    if kind == "can":
        vaegans = {"model_imgs.": 3, "model_audio.": 1}
    for prefix, channels in vaegans.items():
        vaegan = VaeGan(**_config(state, prefix, channels))
        name = "voice" if vaegan.config["channels"] == 1 else "face"
        networks[name] = _Network(vaegan, {key: prefix + key for key in vaegan.state_dict()})
    # The classifier reads the only VAE-GAN of its file, and in the context network the face.
    sense = next(iter(networks))
    latent = networks[sense].model.config["latent"]
    if kind != "vaegan":
        classifier = Classifier(latent)
        keys = {key: key.replace("linear.", HEAD) for key in classifier.state_dict()}
        networks[f"classifier_{sense}"] = _Network(classifier, keys)
    if kind == "can":
        can = Can(latent)
        keys = [key for key in can.state_dict() if key.startswith(("att_", "classifier."))]
        networks["can"] = _Network(can, {key: key.replace("classifier.", HEAD) for key in keys})
    return networks


def _config(state: dict[str, Tensor], prefix: str, channels: int | None) -> dict:
    """Sizes of a VAE-GAN, from its first and last encoder weights.

    The released sizes are taken if these weights are missing or have the wrong number of axes.
    """
    first = state.get(f"{prefix}encoder.main.0.weight")
    mean = state.get(f"{prefix}encoder.mean.weight")
    if first is None or mean is None or first.ndim != 4 or mean.ndim != 2:
        return {"channels": channels or 3}
    width = len(first) / CHANNELS[0]
    cells = math.isqrt(mean.shape[1] // scaled(CHANNELS, width)[-1])
    return {
        "channels": channels or first.shape[1],
        "size": 32 * max(1, cells),
        "latent": len(mean),
        "width": width,
    }


def _mead_order() -> list[int]:
    """For each of our classes, the row of a released classifier of MEAD.

    The released classes are in MEAD's alphabetical order.
    """
    theirs = [MEAD_EMOTIONS[word] for word in sorted(MEAD_EMOTIONS) if word != "neutral"]
    return [theirs.index(emotion) for emotion in classes_of("mead")]


def _preferred_file(target: Path, name: str, kind: str) -> str | None:
    """The file of the existing network, if it takes precedence over one from this ``kind`` of file.

    CheckpointError if the existing network was trained here.
    """
    if not target.with_suffix(".safetensors").exists():
        return None
    released = checkpoints.read_card(target).get("released")
    if released is None:
        raise CheckpointError(
            f"{target}.safetensors: was trained here; name another folder with --out"
        )
    # A classifier from a file of its own takes precedence over that of the context network.
    rank = KINDS[::-1] if name.startswith("classifier") else KINDS
    return released["file"] if rank.index(released["kind"]) > rank.index(kind) else None


def _card(name: str, kind: str, path: Path, corpus: str) -> dict:
    """A card as a run writes it, so that the profile ``paper`` on the authors' split finds it."""
    profile = get_profile("paper")
    settings = {name.partition("_")[0]: provenance.settings_of(name, profile)}
    classes = classes_of(corpus)
    # The data that the authors' network has seen are not known, so the record leaves them open.
    record = Provenance(
        name, None, settings, data=None, seed=0, fold=AS_RELEASED, classes=classes, below=None
    )
    return {
        "stage": name,
        "corpus": corpus,
        "profile": profile.name,
        "fold": AS_RELEASED,
        "seed": 0,
        "classes": list(classes),
        "provenance": record.to_json(),
        "validation": {},
        "released": {"file": path.name, "kind": kind},
    }


def _listed(names: list[str]) -> str:
    return f"{len(names)} keys: {', '.join(names[:SHOWN])}{', ...' * (len(names) > SHOWN)}"


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "scalar"
