"""Weights as safetensors beside a JSON card: no code is ever executed by loading one."""

from __future__ import annotations

import datetime
import json
import os
import platform
from importlib.metadata import version
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from cmlib.models import Can, Classifier, VaeGan

SCALE = ":scale"  # beside a matrix of eight-bit weights: what they are multiplied with, row by row
MODELS = {"VaeGan": VaeGan, "Classifier": Classifier, "Can": Can}


class CheckpointError(RuntimeError):
    """A checkpoint that cannot be used; the message names the file, the fault and the remedy."""


def save(
    path: Path, model: nn.Module, card: dict, bits: int = 32, without: tuple[str, ...] = ()
) -> Path:
    """Write ``path``.safetensors and ``path``.json; each file appears whole or not at all.  Returns the weights' path.

    ``card`` should say what a reader needs: corpus, profile, split, seed, metrics.  ``bits`` is 32, 16 (float16) or 8: then
    matrices and kernels are whole numbers -127...127 with a scale for each output (an error of at most 1/254 of its largest
    weight), and all else is float16.  ValueError for another number.  ``without`` names parts that are left out (a
    discriminator serves training only).
    """
    if bits not in (8, 16, 32):
        raise ValueError(f"weights have 8, 16 or 32 bits, not {bits}")
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
    tensors = {k: v for k, v in tensors.items() if k.split(".")[0] not in without}
    if bits == 8:
        for name in [k for k, v in tensors.items() if v.dim() > 1]:
            rows = tensors[name].flatten(1)
            scale = rows.abs().amax(1).clamp_min(1e-12) / 127
            tensors[name] = (rows / scale[:, None]).round().to(torch.int8).view_as(tensors[name])
            tensors[name + SCALE] = scale
    if bits < 32:
        tensors = {
            k: v.half() if v.is_floating_point() and not k.endswith(SCALE) else v
            for k, v in tensors.items()
        }
    card = {
        "architecture": type(model).__name__,
        "config": model.config,
        **({"without": list(without)} if without else {}),
        **card,
        "versions": {name: version(name) for name in ("torch", "lightning-fabric", "numpy")}
        | {"python": platform.python_version()},
        "written": datetime.date.today().isoformat(),
    }
    weights, text = path.with_suffix(".safetensors"), path.with_suffix(".json")
    save_file(tensors, temporary := weights.with_suffix(".part"))
    text.with_suffix(".json.part").write_text(json.dumps(card, indent=1))
    os.replace(temporary, weights)
    os.replace(text.with_suffix(".json.part"), text)
    return weights


def read_card(path: Path) -> dict:
    """The JSON card of a checkpoint; CheckpointError where there is none or it is unreadable."""
    text = Path(path).with_suffix(".json")
    try:
        return json.loads(text.read_text())
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{text}: no readable model card ({error}); train the stage again or restore the file"
        ) from None


def load(path: Path, expect: type[nn.Module] | None = None) -> tuple[nn.Module, dict]:
    """(model in eval mode on the CPU, in float32 and channels last, card).  CheckpointError where file and architecture do not fit.

    A part that was left out of the file (``without`` in its card) keeps random weights.
    """
    path = Path(path)
    card = read_card(path)
    kind = card.get("architecture")
    if kind not in MODELS or (expect is not None and MODELS[kind] is not expect):
        wanted = expect.__name__ if expect else ", ".join(MODELS)
        raise CheckpointError(
            f"{path.with_suffix('.json')}: holds a {kind}, wanted {wanted}; check which stage this file belongs to"
        )
    model = MODELS[kind](**card["config"])
    try:
        tensors = load_file(path.with_suffix(".safetensors"))
        for name in [k for k in tensors if k.endswith(SCALE)]:
            rows, scale = tensors[name.removesuffix(SCALE)], tensors.pop(name)
            tensors[name.removesuffix(SCALE)] = rows.float() * scale.view(
                -1, *[1] * (rows.dim() - 1)
            )
        if any(v.dtype == torch.int8 for v in tensors.values()):
            raise ValueError("eight-bit weights without their scale")
        kept = {
            k: v
            for k, v in model.state_dict().items()
            if k.split(".")[0] in card.get("without", ())
        }
        model.load_state_dict(
            kept | {k: v.float() if v.dtype == torch.float16 else v for k, v in tensors.items()}
        )
    except Exception as error:
        line = str(error).splitlines()[0]
        raise CheckpointError(
            f"{path.with_suffix('.safetensors')}: does not fit its card ({line}); train the stage again"
        ) from None
    return model.eval().requires_grad_(False).to(memory_format=torch.channels_last), card
