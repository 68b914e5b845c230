"""What the training loops share: devices, random numbers, checks, the log, and resuming."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from cmlib.damage import set_aside
from cmlib.files import make_folder, write_atomically, write_text

if TYPE_CHECKING:
    from lightning_fabric import Fabric


# How long a process waits for the others. It is longer than what the first one does alone after a
# training, while the others wait for it.
TIMEOUT = timedelta(minutes=30)


class TrainingError(RuntimeError):
    """Training cannot go on; the message says why, and what to do."""


def launch(
    precision: str = "auto", devices: int = 1, nodes: int = 1, timeout: timedelta = TIMEOUT
) -> Fabric:
    """Start Lightning Fabric on the best device there is.

    The precision "auto" is bfloat16 where the device computes faster with it, and float32
    elsewhere. With several devices this command is started once more for each of them; all but the
    first show no progress. A process that waits for the others longer than ``timeout`` ends with
    TrainingError. The variable CM_DEVICE=cpu keeps the training off a GPU.
    """
    # Imported here because only training needs it: it takes a second and 150 MB.
    from lightning_fabric import Fabric
    from lightning_fabric.strategies.ddp import DDPStrategy

    if precision == "auto":
        # Private, because no public function says whether this processor computes in bfloat16.
        faster = torch.cuda.is_available() or torch.ops.mkldnn._is_mkldnn_bf16_supported()
        precision = "bf16-mixed" if faster else "32-true"
    several = devices * nodes > 1
    fabric = Fabric(
        accelerator="cpu" if os.environ.get("CM_DEVICE") == "cpu" else "auto",
        strategy=DDPStrategy(timeout=timeout) if several else "auto",
        devices=devices,
        num_nodes=nodes,
        # Any string is passed on; Fabric says which ones it knows.
        precision=precision,  # pyright: ignore[reportArgumentType]
    )
    with waiting_for_others("start of the processes", fabric):
        fabric.launch()
    if not fabric.is_global_zero:
        os.environ["CM_QUIET"] = "1"
    return fabric


def computed_on(fabric: Fabric) -> dict[str, str | int]:
    """What a card says about the devices of a training (``Provenance.computed``)."""
    return {
        "device": fabric.device.type,
        "devices": fabric.world_size,
        "precision": str(fabric.strategy.precision.precision),
    }


def best_device() -> torch.device:
    """The device that ``launch`` gives to this process, without loading Fabric.

    The variable CM_DEVICE names another one, such as cpu or cuda:1.
    """
    name = os.environ.get("CM_DEVICE")
    if name:
        return torch.device(name)
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


@contextmanager
def on_device(device: torch.device | None, *modules: nn.Module) -> Iterator[None]:
    """Lend networks to a device (None: the one where they are), and take them back afterwards.

    Networks wait on the CPU, where notebooks and single pictures use them. What reads many rows
    borrows them.
    """
    if device is None:
        yield
        return
    homes = [next(module.parameters()).device for module in modules]
    for module in modules:
        module.to(device)
    try:
        yield
    finally:
        for module, home in zip(modules, homes, strict=True):
            module.to(home)


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


class RunningMeans:
    """The means of the terms of an epoch, without waiting for the device in each step.

    To read a number from a GPU is to wait until all that was asked of it is done. So terms stay
    there, and are read together after ``STEPS_UNREAD`` steps. On a CPU they are read at once.
    """

    STEPS_UNREAD = 32

    def __init__(self, where: str):
        self.where = where
        self.sums: dict[str, float] = {}
        self.rows_read = 0  # the rows of the batches in the sums
        self._unread: list[tuple[str, Tensor, int]] = []  # name, scalar, weight of the scalar
        self._rows_unread: list[int] = []  # of each batch

    def add(
        self, terms: dict[str, Tensor], rows: int, counts: dict[str, Tensor] | None = None
    ) -> bool:
        """Add a batch of ``rows``; return whether all that was added has been read.

        ``terms`` are scalars that are averages over the batch, ``counts`` are numbers of its rows.
        TrainingError if a term that is read now is not finite.
        """
        self._unread += [(name, term.detach(), rows) for name, term in terms.items()]
        self._unread += [(name, count, 1) for name, count in (counts or {}).items()]
        self._rows_unread.append(rows)
        on_cpu = all(term.device.type == "cpu" for term in terms.values())
        if not on_cpu and len(self._rows_unread) < self.STEPS_UNREAD:
            return False
        self.read()
        return True

    def read(self) -> None:
        """Read what is still on the device; TrainingError if a term is not finite."""
        if not self._unread:
            return
        scalars = torch.stack([scalar.float() for _, scalar, _ in self._unread])
        values = scalars.cpu()  # waits for the device, once for all
        for (name, _, weight), value in zip(self._unread, values):
            check_finite({name: value}, self.where)
            self.sums[name] = self.sums.get(name, 0.0) + float(value) * weight
        self.rows_read += sum(self._rows_unread)
        self._unread.clear()
        self._rows_unread.clear()

    def over(self, count: int) -> dict[str, float]:
        """The sums divided by ``count`` rows."""
        return {name: total / count for name, total in self.sums.items()}


# ---------------------------------------------------------------- several devices


@contextmanager
def waiting_for_others(step: str, fabric: Fabric) -> Iterator[None]:
    """Say in which ``step`` this process waited for another that has ended or stands still.

    TrainingError in place of the error of the library that connects the processes.
    """
    try:
        yield
    except RuntimeError as error:
        if fabric.world_size == 1:
            raise
        line = " ".join(str(error).split())[:160]
        raise TrainingError(
            f"{step}: process {fabric.global_rank + 1} of {fabric.world_size} waited in vain for "
            f"the others ({line}); look for the first error of another process, then start the "
            "same command again: it goes on after the last finished epoch"
        ) from None


def across_devices(tensor: Tensor, operation: str, fabric: Fabric, step: str = "") -> Tensor:
    """The "mean" or the "sum" of a tensor over the devices; ``step`` is named if that fails."""
    with waiting_for_others(step or "exchange between the processes", fabric):
        result = fabric.all_reduce(tensor, reduce_op=operation)
    assert isinstance(result, Tensor)  # Fabric reduces lists and dictionaries of them as well
    return result


def average_terms(
    terms: dict[str, Tensor], weight: float, fabric: Fabric, step: str = ""
) -> dict[str, Tensor]:
    """The (scalar) terms, averaged over the devices, on this device.

    ``weight`` is how much this device counts: 1 where all devices have equally many pictures.
    """
    # Sorted, because the devices need not have computed their terms in the same order.
    names = sorted(terms)
    stacked = torch.stack([terms[name].detach() for name in names])  # (terms,)
    averages = across_devices(stacked * weight, "mean", fabric, step)
    return {name: averages[names.index(name)] for name in terms}


def average_gradients(parameters: Sequence[nn.Parameter], fabric: Fabric, step: str = "") -> None:
    """Average the gradients over the devices, all in one message.

    Either all devices have gradients for these parameters, or none has.

    Fabric's own strategies do not fit here. ``DDPStrategy`` and ``FSDPStrategy`` wrap one module,
    and exchange gradients while its backward pass runs. A VAE-GAN has two losses over three
    networks: the decoder's pictures go through the discriminator twice, the gates may leave a
    backward pass out, the label classifier may see no label, and gradients add up over several
    batches. A wrapped module would wait for gradients that never come, or would exchange them once
    for each batch. So Fabric starts and connects the processes, and the gradients are averaged by
    hand where an optimiser steps.
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
    flat = across_devices(torch.cat([g.flatten() for g in gradients]), "mean", fabric, step)
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

        def write_table(history: list[dict]) -> None:
            # Anew each time, so that a killed and resumed run leaves no row twice.
            write_text(log, pd.DataFrame(history).to_csv(index=False))

        return write_table
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
    """Restore modules and optimisers from the state file; return None where there is no file.

    TrainingError where the file does not belong to these modules.
    """
    if path is None or not path.exists():
        return None
    state: TrainingState = torch.load(path, map_location="cpu", weights_only=True)
    try:
        for module, weights in zip(modules, state["modules"], strict=True):
            module.load_state_dict(weights)
        for optimiser, values in zip(optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(values)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        line = str(error).splitlines()[0]
        raise TrainingError(
            f"{path}: of another training ({line}); remove it to start this one anew"
        ) from None
    return state


def set_aside_damaged_state(path: Path | None) -> None:
    """Rename a damaged state file to ``path``.bad, and say so: the training starts anew."""
    if path is None or not path.exists():
        return
    try:
        # torch compares no checksums when it reads, but the format has one for every tensor.
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        fault = f"{damaged} has another checksum" if damaged else ""
        if not fault:
            torch.load(path, map_location="meta", weights_only=True)
    except Exception as error:  # random bytes raise errors of many kinds
        fault = " ".join(str(error).splitlines()[0].split())[:80] or type(error).__name__
    if fault:
        set_aside(path, fault, "the training starts anew")


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
