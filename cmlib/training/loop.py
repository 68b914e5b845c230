"""What the training loops share: devices, random numbers, checks, the log, and resuming."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from cmlib.files import make_folder, write_atomically

if TYPE_CHECKING:
    from lightning_fabric import Fabric


class TrainingError(RuntimeError):
    """Training cannot go on; the message says why, and what to do."""


def launch(precision: str = "auto", devices: int = 1, nodes: int = 1) -> Fabric:
    """Start Lightning Fabric on the best device there is.

    The precision "auto" is bfloat16 where the device computes faster with it, and float32
    elsewhere. With several devices this command is started once more for each of them; all but the
    first show no progress.
    """
    # Imported here because only training needs it: it takes a second and 150 MB.
    from lightning_fabric import Fabric

    if precision == "auto":
        # Private, because no public function says whether this processor computes in bfloat16.
        faster = torch.cuda.is_available() or torch.ops.mkldnn._is_mkldnn_bf16_supported()
        precision = "bf16-mixed" if faster else "32-true"
    fabric = Fabric(
        accelerator="auto",
        devices=devices,
        num_nodes=nodes,
        # Any string is passed on; Fabric says which ones it knows.
        precision=precision,  # pyright: ignore[reportArgumentType]
    )
    fabric.launch()
    if not fabric.is_global_zero:
        os.environ["CM_QUIET"] = "1"
    return fabric


# ---------------------------------------------------------------- random numbers and checks


def seed_epoch(seed: int, epoch: int, rank: int = 0) -> np.random.Generator:
    """Seed torch for an epoch, and return the generator that shuffles and augments its pictures.

    Every epoch has a seed of its own, so a resumed training draws the numbers of an undisturbed
    one. The generator is the same on all devices, which share each batch; torch's noise differs by
    ``rank``.
    """
    torch.manual_seed(seed * 100_003 + epoch + (rank << 40))
    return np.random.default_rng([seed, epoch])


def check_finite(terms: dict[str, Tensor], where: str) -> None:
    """Raise TrainingError if a (scalar) term is NaN or infinite; say which one, and ``where``."""
    for name, value in terms.items():
        if not torch.isfinite(value).all():
            raise TrainingError(
                f"{where}: the term {name!r} is {value.item()}; "
                "lower the learning rate or the weight of this term"
            )


# ---------------------------------------------------------------- several devices


def across_devices(tensor: Tensor, operation: str, fabric: Fabric) -> Tensor:
    """The "mean" or the "sum" of a tensor over the devices."""
    result = fabric.all_reduce(tensor, reduce_op=operation)
    assert isinstance(result, Tensor)  # Fabric reduces lists and dictionaries of them as well
    return result


def average_terms(terms: dict[str, Tensor], weight: float, fabric: Fabric) -> dict[str, Tensor]:
    """The (scalar) terms, averaged over the devices and moved to the CPU.

    ``weight`` is how much this device counts: 1 where all devices have equally many pictures.
    """
    # Sorted, because the devices need not have computed their terms in the same order.
    names = sorted(terms)
    stacked = torch.stack([terms[name].detach() for name in names])  # (terms,)
    averages = across_devices(stacked * weight, "mean", fabric).cpu()
    return {name: averages[names.index(name)] for name in terms}


def average_gradients(parameters: Sequence[nn.Parameter], fabric: Fabric) -> None:
    """Average the gradients over the devices, all in one message.

    Either all devices have gradients for these parameters, or none has.
    """
    if fabric.world_size == 1 or all(p.grad is None for p in parameters):
        return
    gradients: list[Tensor] = []
    for p in parameters:
        # A device whose share of the batch had no known label has no gradient for the label
        # classifier.
        if p.grad is None:
            p.grad = torch.zeros_like(p)
        gradients.append(p.grad)
    flat = across_devices(torch.cat([g.flatten() for g in gradients]), "mean", fabric)
    averages = flat.split([g.numel() for g in gradients])
    for gradient, average in zip(gradients, averages, strict=True):
        gradient.copy_(average.view_as(gradient))


# ---------------------------------------------------------------- the log


def open_log(log: Path | None, epochs_done: int) -> Callable[[list[dict]], None]:
    """Return a function that writes the history to ``log``, to be called after each epoch.

    A ``.csv`` file holds the whole history. Any other path is a folder for TensorBoard, which then
    ignores what an earlier start wrote after ``epochs_done``. TrainingError where the package
    tensorboard is missing.
    """
    if log is None:
        return lambda history: None
    make_folder(log.parent)
    if log.suffix == ".csv":
        # Written anew each time, so that a killed and resumed run leaves no row twice.
        return lambda history: pd.DataFrame(history).to_csv(log, index=False)
    from lightning_fabric.loggers.tensorboard import TensorBoardLogger

    try:
        board = TensorBoardLogger(log, name="", version="", purge_step=epochs_done + 1)
    except ModuleNotFoundError:
        raise TrainingError(
            f"{log}: a log for TensorBoard needs a package: pip install tensorboard"
        ) from None

    def write(history: list[dict]) -> None:
        metrics = dict(history[-1])
        epoch = metrics.pop("epoch")
        board.log_metrics(metrics, epoch)
        board.save()

    return write


# ---------------------------------------------------------------- resuming after a kill


class TrainingState(TypedDict):
    """What the state file of a training holds after an epoch."""

    epoch: int  # epochs done
    history: list[dict]
    best: dict[str, Tensor] | None  # weights of the epoch with the lowest validation error
    modules: list[dict]
    optimisers: list[dict]


def load_state(
    path: Path | None,
    modules: Sequence[nn.Module],
    optimisers: Sequence[torch.optim.Optimizer],
) -> TrainingState | None:
    """Restore modules and optimisers from the state file; return None where there is no file."""
    if path is None or not path.exists():
        return None
    state: TrainingState = torch.load(path, map_location="cpu", weights_only=True)
    for module, weights in zip(modules, state["modules"], strict=True):
        module.load_state_dict(weights)
    for optimiser, values in zip(optimisers, state["optimisers"], strict=True):
        optimiser.load_state_dict(values)
    return state


def save_state(
    path: Path,
    modules: Sequence[nn.Module],
    optimisers: Sequence[torch.optim.Optimizer],
    history: list[dict],
    best: dict[str, Tensor] | None,
) -> None:
    """Write what ``load_state`` restores; the file appears whole or not at all."""
    state: TrainingState = {
        "epoch": len(history),
        "history": history,
        "best": best,
        "modules": [m.state_dict() for m in modules],
        "optimisers": [o.state_dict() for o in optimisers],
    }
    with write_atomically(path) as temporary:
        torch.save(state, temporary)
