"""Checkpoints of the released research code -> this project's own; no code in the file is run.

Such a file is Lightning's; its ``state_dict`` holds, by the names in front, a VAE-GAN (``model.``), a classifier with
the VAE-GAN that it reads (``model.`` and ``classifer.classify.0.``), or the context network with all that it needs
(``model_imgs.``, ``model_audio.``, ``att_mu.``, ``att_logvar.``, ``classifer.classify.0.``).
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

HEAD = "classifer.classify.0."  # spelt so there
PREFIXES = ("model.", "model_imgs.", "model_audio.", "att_mu.", "att_logvar.", HEAD)
KINDS = (
    "vaegan",
    "classifier",
    "can",
)  # a network out of a later stage's file takes the place of an earlier one's
STAGES = ("face", "voice", "classifier_face", "can")  # what a demo needs
SHOWN = 6  # keys that a line of a report names
PATHS = {
    "PosixPath": pathlib.PurePosixPath,
    "WindowsPath": pathlib.PureWindowsPath,
}  # of any system, read on any
HOMES = ("pathlib", "pathlib._local")  # of these in Python, and in Python 3.13
VALUES = [
    argparse.Namespace,
    *((PATHS[kind], f"{home}.{kind}") for kind in PATHS for home in HOMES),
]  # no code in them


@dataclasses.dataclass(frozen=True)
class Imported:
    """What came of a file: its kind (of ``KINDS``), the checkpoints written, and lines to read."""

    kind: str
    written: tuple[Path, ...]
    notes: tuple[str, ...]


def read(path: Path) -> dict[str, Tensor]:
    """The ``state_dict`` of a file, in float32; CheckpointError where it is none, is cut short, or would run code."""
    try:
        with torch.serialization.safe_globals(VALUES):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file; check the path") from None
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL ([\w.]+)", str(error))
        fault = (
            f"it needs code to be loaded ({named[1]}), and none is run"
            if named
            else "not a file of tensors"
        )
        raise CheckpointError(f"{path}: {fault}; ask its makers for the state_dict alone") from None
    except Exception as error:
        line = " ".join(str(error).split())[:100] or type(error).__name__
        raise CheckpointError(
            f"{path}: not a checkpoint, or cut short ({line}); download it again"
        ) from None
    state = content.get("state_dict", content) if isinstance(content, dict) else None
    if (
        not isinstance(state, dict)
        or not state
        or not all(isinstance(v, Tensor) for v in state.values())
    ):
        raise CheckpointError(
            f"{path}: holds no state_dict of tensors; use the .ckpt file that Lightning wrote"
        )
    return {k: v.float() if v.is_floating_point() else v for k, v in state.items()}


def import_checkpoint(path: Path, out: Path, corpus: str = "ravdess_released") -> Imported:
    """Write the networks in a released file as ``out``/face, voice, classifier_face (or _voice) and can.

    ``corpus`` says what the classes are.  CheckpointError with all keys that are missing, too many or of another shape:
    then nothing is written.  A file may lack its discriminator, and hold tensors of no network, which are named.  The
    context network's own classifier stands in for ``classifier_face`` until the file of that one is imported.
    """
    path, out, state = Path(path), Path(out), read(path)
    begins = {prefix for prefix in PREFIXES for key in state if key.startswith(prefix)}
    kind = "can" if "att_mu." in begins else "classifier" if HEAD in begins else "vaegan"
    networks, faults = _networks(state, kind), []
    claimed = {source for _, sources in networks.values() for source in sources.values()}
    without = {}
    for name, (model, sources) in networks.items():
        wanted = {source: ours for ours, source in sources.items()}
        shapes = model.state_dict()
        missing = [source for source in wanted if source not in state]
        critic = [source for ours, source in sources.items() if ours.startswith("discriminator.")]
        without[name] = ("discriminator",) if critic and not set(critic) & set(state) else ()
        if gone := [source for source in missing if not (without[name] and source in critic)]:
            faults.append(f"{name}: missing {_listed(gone)}")
        if bent := [
            f"{s} {_shape(state[s])} instead of {_shape(shapes[o])}"
            for s, o in wanted.items()
            if s in state and state[s].shape != shapes[o].shape
        ]:
            faults.append(f"{name}: misshapen {_listed(bent)}")
    if extra := [key for key in state if key.startswith(PREFIXES) and key not in claimed]:
        faults.append(f"unexpected {_listed(extra)}")
    if faults:
        raise CheckpointError(
            f"{path}: not the released architecture, so nothing is written\n  "
            + "\n  ".join(faults)
        )
    strangers = [key for key in state if not key.startswith(PREFIXES)]
    notes = [f"of no network, left out: {_listed(strangers)}"] if strangers else []
    if order := corpus.startswith("mead") and _mead_order():
        state |= {key: value[order] for key, value in state.items() if key.startswith(HEAD)}
    written, earlier = [], {name: _before(out / name, name, kind) for name in networks}
    for name, (model, sources) in networks.items():
        if before := earlier[name]:
            notes.append(f"{name}: left as {before} gave it, which goes before")
            continue
        model.load_state_dict(
            model.state_dict() | {o: state[s] for o, s in sources.items() if s in state}
        )
        written.append(
            checkpoints.save(
                out / name, model, _card(name, kind, path, corpus), without=without[name]
            )
        )
        notes += [f"{name}: no discriminator in the file, which only training needs"] * bool(
            without[name]
        )
    if kind == "can" and out / "classifier_face.safetensors" in written:
        notes.append(
            "classifier_face: the context network's own classifier stands in, until a classifier is imported"
        )
    if missing := [stage for stage in STAGES if not (out / f"{stage}.safetensors").exists()]:
        notes.append(
            f"for a demo {out} still lacks {', '.join(missing)}: import their files into it too"
        )
    return Imported(kind, tuple(written), tuple(notes))


def _networks(state: dict[str, Tensor], kind: str) -> dict[str, tuple[nn.Module, dict[str, str]]]:
    """Name -> (a network of the file's sizes, its keys with the released keys that they come from)."""
    found = {}
    for prefix, channels in (
        (("model_imgs.", 3), ("model_audio.", 1)) if kind == "can" else (("model.", None),)
    ):
        model = VaeGan(**_config(state, prefix, channels))
        found["voice" if model.config["channels"] == 1 else "face"] = (
            model,
            {k: prefix + k for k in model.state_dict()},
        )
    side, latent = next(iter(found)), next(iter(found.values()))[0].config["latent"]
    if kind != "vaegan":
        classifier = Classifier(latent)
        found[f"classifier_{side}"] = (
            classifier,
            {k: k.replace("linear.", HEAD) for k in classifier.state_dict()},
        )
    if kind == "can":
        can = Can(latent)
        keys = [k for k in can.state_dict() if k.startswith(("att_", "classifier."))]
        found["can"] = can, {k: k.replace("classifier.", HEAD) for k in keys}
    return found


def _config(state: dict[str, Tensor], prefix: str, channels: int | None) -> dict:
    """Sizes of a VAE-GAN as its first and last encoder weights give them; the released ones where they cannot."""
    first, mean = (
        state.get(f"{prefix}encoder.main.0.weight"),
        state.get(f"{prefix}encoder.mean.weight"),
    )
    if first is None or mean is None or first.ndim != 4 or mean.ndim != 2:
        return {"channels": channels or 3}
    width = len(first) / CHANNELS[0]
    side = math.isqrt(mean.shape[1] // scaled(CHANNELS, width)[-1])
    return dict(
        channels=channels or first.shape[1], size=32 * max(1, side), latent=len(mean), width=width
    )


def _mead_order() -> list[int]:
    """Rows of a released classifier of MEAD, whose classes go by MEAD's alphabet, in the order of our classes."""
    theirs = [MEAD_EMOTIONS[word] for word in sorted(MEAD_EMOTIONS) if word != "neutral"]
    return [theirs.index(emotion) for emotion in classes_of("mead")]


def _before(target: Path, name: str, kind: str) -> str | None:
    """The file that gave the network which is there, where that goes before one out of a file of this ``kind``."""
    if not target.with_suffix(".safetensors").exists():
        return None
    if (given := checkpoints.read_card(target).get("released")) is None:
        raise CheckpointError(
            f"{target}.safetensors: was trained here; name another folder with --out"
        )
    rank = KINDS[::-1] if name.startswith("classifier") else KINDS
    return given["file"] if rank.index(given["kind"]) > rank.index(kind) else None


def _card(name: str, kind: str, path: Path, corpus: str) -> dict:
    """As a run writes it, so that the profile ``paper`` on the authors' split finds the network."""
    profile = get_profile("paper")
    settings = {name.partition("_")[0]: provenance.settings_of(name, profile)}
    classes = classes_of(corpus)
    # Nobody knows the data that the authors' network has seen, so the record does not tell them.
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
