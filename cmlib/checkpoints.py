"""Weights as safetensors beside a JSON card: loading them never executes code."""

from __future__ import annotations

import datetime
import json
import platform
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar, overload

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from cmlib import damage, files, provenance
from cmlib.models import Can, Classifier, CnnJudge, ObserverNetwork, Posterior, VaeGan

SCALE = ":scale"  # ends the name of the factors of the rows of an eight-bit matrix
Network = TypeVar("Network", bound=nn.Module)
MODELS: dict[str, type[nn.Module]] = {
    network.__name__: network for network in (VaeGan, Classifier, Can, CnnJudge, ObserverNetwork)
}
WRITTEN_BY_SAVE = (
    "architecture",
    "config",
    "without",
    "versions",
    "written",
    "sha256",
)  # keys of a card


class CheckpointError(RuntimeError):
    """A checkpoint that cannot be used; the message names the file, the fault and the remedy."""


def save(
    path: Path, model: nn.Module, card: dict, bits: int = 32, without: tuple[str, ...] = ()
) -> Path:
    """Write ``path``.safetensors and ``path``.json, each whole or not at all; return the former.

    ``card`` should say what a reader needs: corpus, profile, split, seed, metrics. ``bits`` is 32,
    16 (float16) or 8: then matrices and kernels are whole numbers -127...127 with a scale for each
    output (an error of at most 1/254 of its largest weight), and all else is float16. ValueError
    for another number. ``without`` names parts that are left out (a discriminator serves training
    only).
    """
    if bits not in (8, 16, 32):
        raise ValueError(f"weights have 8, 16 or 32 bits, not {bits}")
    tensors = {
        name: tensor.detach().cpu().contiguous()
        for name, tensor in model.state_dict().items()
        if name.split(".")[0] not in without
    }
    if bits == 8:
        tensors = _to_eight_bits(tensors)
    if bits < 32:
        tensors = {name: _to_half(name, tensor) for name, tensor in tensors.items()}
    about_file: dict = {"architecture": type(model).__name__, "config": model.config}
    if without:
        about_file["without"] = list(without)
    versions = {package: version(package) for package in ("torch", "lightning-fabric", "numpy")}
    versions["python"] = platform.python_version()
    written = datetime.date.today().isoformat()
    card = {**about_file, **card, "versions": versions, "written": written}
    weights = path.with_suffix(".safetensors")
    # The weights get their name first, so that there is no card without them.
    with (
        files.write_atomically(path.with_suffix(".json")) as temporary_card,
        files.write_atomically(weights) as temporary_weights,
    ):
        save_file(tensors, temporary_weights)
        card["sha256"] = files.checksum(temporary_weights)
        temporary_card.write_text(json.dumps(card, indent=1))
    return weights


def _to_eight_bits(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Matrices and kernels as int8 with a scale for each row; vectors as they are."""
    smaller = {}
    for name, tensor in tensors.items():
        if tensor.dim() < 2:
            smaller[name] = tensor
            continue
        rows = tensor.flatten(1)
        scale = rows.abs().amax(1).clamp_min(1e-12) / 127
        smaller[name] = (rows / scale[:, None]).round().to(torch.int8).view_as(tensor)
        smaller[name + SCALE] = scale
    return smaller


def _to_half(name: str, tensor: Tensor) -> Tensor:
    return tensor.half() if tensor.is_floating_point() and not name.endswith(SCALE) else tensor


def _to_float(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of ``_to_eight_bits`` and ``_to_half``: all in float32."""
    scales = {name: tensor for name, tensor in tensors.items() if name.endswith(SCALE)}
    larger = {}
    for name, tensor in tensors.items():
        if name in scales:
            continue
        scale = scales.get(name + SCALE)
        if scale is not None:
            tensor = tensor.float() * scale.view(-1, *[1] * (tensor.dim() - 1))
        elif tensor.dtype == torch.int8:
            raise ValueError("eight-bit weights without their scale")
        larger[name] = tensor.float() if tensor.dtype == torch.float16 else tensor
    return larger


def read_card(path: Path) -> dict:
    """The JSON card of a checkpoint; CheckpointError where there is none or it is unreadable."""
    text = Path(path).with_suffix(".json")
    try:
        card = json.loads(text.read_text())
        if not isinstance(card, dict):
            raise ValueError("no table of entries")
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{text}: no readable model card ({error}); {_remedy(text)}"
        ) from None
    return card


def _remedy(path: Path) -> str:
    """What to do about a damaged file: it is restored if it ships with the repository."""
    if _is_shipped(path):
        return f"get it again: git checkout -- {path.absolute().relative_to(files.ROOT)}"
    return "train the stage again, which sets the damaged file aside"


def _is_shipped(path: Path) -> bool:
    return path.absolute().is_relative_to(files.ROOT / "checkpoints")


def fault_of(path: Path) -> str:
    """What is wrong with the weights or the card of a checkpoint; "" if nothing is.

    Weights are compared with the checksum in the card, once in each process. A card of an earlier
    version has none; then the file of weights must be as long as its own header says.
    """
    weights = path.with_suffix(".safetensors")
    try:
        card = read_card(path)
        if "sha256" not in card:
            with safe_open(weights, "pt"):
                return ""
    except (CheckpointError, SafetensorError, OSError) as error:
        return " ".join(str(error).partition("; ")[0].split())
    if files.known_checksum(weights) != card["sha256"]:
        return "the weights are not those of which the card has the checksum"
    return ""


def is_complete(path: Path) -> bool:
    """Whether weights and card of a network that can be trained again are there and undamaged.

    The card is missing if a run was killed just after it had written the weights. Damaged files are
    set aside as ``.bad``, and a line says so. But what ships with the repository stays where it is,
    and counts as whole: whoever loads it is told how to restore it.
    """
    both = [path.with_suffix(suffix) for suffix in (".safetensors", ".json")]
    if not all(file.exists() for file in both):
        return False
    fault = "" if _is_shipped(path) else damage.lasting_fault(lambda: fault_of(path))
    if not fault:
        return True
    damage.set_aside(both[0], fault, "trained again when it is needed")
    with suppress(FileNotFoundError):  # another process was faster
        both[1].replace(both[1].with_name(both[1].name + ".bad"))
    return False


def is_current(path: Path, record: provenance.Provenance) -> bool:
    """Whether weights and card of ``path`` are there, made from what ``record`` says."""
    if not is_complete(path):
        return False
    stored = provenance.of_card(read_card(path))
    return stored is not None and not record.differences(stored)


def belong_together(cards: Mapping[str, dict]) -> bool:
    """Whether the networks of these cards, by stage, were trained on top of each other.

    They may not be where a training was stopped half way. A card without a record is trusted.
    """
    records = {stage: provenance.of_card(card) for stage, card in cards.items()}
    for record in records.values():
        below = record.below if record else None
        for stage, expected in (below or {}).items():
            present = records.get(stage)
            if present and expected.differences(present):
                return False
    return True


@overload
def load(path: Path) -> tuple[nn.Module, dict]: ...
@overload
def load(path: Path, expect: type[Network]) -> tuple[Network, dict]: ...
def load(path: Path, expect: type[nn.Module] | None = None) -> tuple[nn.Module, dict]:
    """Load a checkpoint: its model and its card.

    The model is in eval mode on the CPU, in float32 and channels last. CheckpointError where the
    file is damaged, where file and architecture do not fit, or where the model is not of the class
    ``expect``. A part that was left out of the file (``without`` in its card) keeps random weights.
    """
    path = Path(path)
    card = read_card(path)
    kind = card.get("architecture")
    if kind not in MODELS or (expect is not None and MODELS[kind] is not expect):
        expected = expect.__name__ if expect else ", ".join(MODELS)
        raise CheckpointError(
            f"{path.with_suffix('.json')}: holds a {kind}, wanted {expected};"
            " check which stage this file belongs to"
        )
    model = MODELS[kind](**card["config"])
    without = card.get("without", ())
    random_weights = {
        name: tensor for name, tensor in model.state_dict().items() if name.split(".")[0] in without
    }
    weights = path.with_suffix(".safetensors")
    try:
        if "sha256" in card and files.known_checksum(weights) != card["sha256"]:
            raise ValueError("it has another checksum")
        tensors = _to_float(load_file(weights))
        model.load_state_dict(random_weights | tensors)
    except Exception as error:  # whatever is wrong with the file, the remedy is the same
        line = str(error).splitlines()[0]
        raise CheckpointError(
            f"{weights}: does not fit its card ({line}); {_remedy(weights)}"
        ) from None
    return model.eval().requires_grad_(False).to(memory_format=torch.channels_last), card


# -------------------------------------------------------------------- stored faces

PEOPLE = "people"  # the file of latents beside a face network, without suffix


def save_people(
    face: Path, people: Mapping[tuple[str, str], Posterior], card: dict
) -> tuple[Path, Path]:
    """Write latents of faces beside the face network ``face`` that has encoded them, in float16.

    ``people`` are posteriors (1, D) by (person, emotion). ``card`` should say where the faces come
    from and under which licence. Returns the files of the latents and of the card.
    """
    keys = list(people)
    latents = Posterior.cat([people[key] for key in keys])
    card = {
        **card,
        "faces": [list(key) for key in keys],
        "weights": files.checksum(face.with_suffix(".safetensors")),
        "written": datetime.date.today().isoformat(),
    }
    path = face.with_name(PEOPLE)
    tensors = {"mu": latents.mu.half().contiguous(), "logvar": latents.logvar.half().contiguous()}
    with (
        files.write_atomically(path.with_suffix(".json")) as temporary_card,
        files.write_atomically(path.with_suffix(".safetensors")) as temporary_latents,
    ):
        save_file(tensors, temporary_latents)
        card["sha256"] = files.checksum(temporary_latents)
        temporary_card.write_text(json.dumps(card, indent=1) + "\n")
    return path.with_suffix(".safetensors"), path.with_suffix(".json")


def load_people(face: Path) -> dict[tuple[str, str], Posterior]:
    """The latents that ``save_people`` wrote: posteriors (1, D) by (person, emotion).

    Empty where there are none, and where other weights than these of ``face`` have encoded them.
    CheckpointError if they are damaged.
    """
    path = face.with_name(PEOPLE)
    stored = path.with_suffix(".safetensors")
    if not stored.exists():
        return {}
    fault = fault_of(path)
    if fault:
        raise CheckpointError(f"{stored}: damaged ({fault}); {_remedy(stored)}")
    card = read_card(path)
    if card["weights"] != files.known_checksum(face.with_suffix(".safetensors")):
        return {}
    tensors = load_file(stored)
    latents = Posterior(tensors["mu"].float(), tensors["logvar"].float())
    return {
        tuple(key): latents.map(lambda x, i=i: x[i : i + 1]) for i, key in enumerate(card["faces"])
    }
