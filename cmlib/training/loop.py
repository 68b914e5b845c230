"""What every training loop shares: the device, random numbers, checks, the log, and going on after a kill."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from lightning_fabric import Fabric


class TrainingError(RuntimeError):
    """Training cannot go on; the message says which term is to blame."""


def launch(precision: str = "auto", devices: int = 1, nodes: int = 1) -> Fabric:
    """Fabric on the best device there is; ``auto`` computes in bfloat16 where the device gains from it.

    With several devices this command is started once more for each; all but the first show no progress.
    """
    from lightning_fabric import Fabric  # a second and 150 MB, which only training needs

    if precision == "auto":
        gains = torch.cuda.is_available() or torch.ops.mkldnn._is_mkldnn_bf16_supported()
        precision = "bf16-mixed" if gains else "32-true"
    fabric = Fabric(accelerator="auto", devices=devices, num_nodes=nodes, precision=precision)
    fabric.launch()
    if not fabric.is_global_zero:
        os.environ["CM_QUIET"] = "1"
    return fabric


def quiet() -> bool:
    """Progress bars are off where CM_QUIET is set."""
    return bool(os.environ.get("CM_QUIET"))


def _seed(seed: int, epoch: int, rank: int = 0) -> np.random.Generator:
    torch.manual_seed(seed * 100_003 + epoch + (rank << 40))  # noise of its own on every device
    return np.random.default_rng([seed, epoch])


def _check(terms: dict[str, Tensor], where: str) -> None:
    for name, value in terms.items():
        if not torch.isfinite(value).all():
            raise TrainingError(
                f"{where}: the term {name!r} is {value.item()}; lower the learning rate or its weight"
            )


def _averaged(terms: dict[str, Tensor], weight: float, fabric: Fabric) -> dict[str, Tensor]:
    """The (scalar) terms averaged over the devices, of which this one counts ``weight``, on the CPU."""
    names = sorted(terms)
    stacked = fabric.all_reduce(
        torch.stack([terms[n].detach() for n in names]) * weight, reduce_op="mean"
    ).cpu()
    return {n: stacked[names.index(n)] for n in terms}


def _average_gradients(parameters: Sequence[nn.Parameter], fabric: Fabric) -> None:
    """Gradients averaged over the devices in one message; they have none on all devices, or on none."""
    if fabric.world_size == 1 or all(p.grad is None for p in parameters):
        return
    for p in parameters:
        if p.grad is None:  # the head, where this device saw no label
            p.grad = torch.zeros_like(p)
    flat = fabric.all_reduce(torch.cat([p.grad.flatten() for p in parameters]), reduce_op="mean")
    for p, mean in zip(parameters, flat.split([p.numel() for p in parameters])):
        p.grad.copy_(mean.view_as(p))


def _logger(log: Path | None, done: int) -> Callable[[list[dict]], None]:
    """What writes the history to ``log`` after an epoch; a folder's events after the epoch ``done`` no longer count."""
    if log is None:
        return lambda history: None
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.suffix == ".csv":  # written anew each time: a killed run leaves no row twice
        return lambda history: pd.DataFrame(history).to_csv(log, index=False)
    from lightning_fabric.loggers import TensorBoardLogger

    try:
        board = TensorBoardLogger(log, name="", version="", purge_step=done + 1)
    except ModuleNotFoundError:
        raise TrainingError(
            f"{log}: a log for TensorBoard needs a package: pip install tensorboard"
        ) from None

    def write(history: list[dict]) -> None:
        board.log_metrics(
            {k: v for k, v in history[-1].items() if k != "epoch"}, history[-1]["epoch"]
        )
        board.save()

    return write


def _resume(
    path: Path | None, modules: Sequence, optimisers: Sequence
) -> tuple[int, list[dict], dict | None]:
    if path is None or not path.exists():
        return 0, [], None
    state = torch.load(path, map_location="cpu", weights_only=True)
    for module, saved in zip(modules, state["modules"]):
        module.load_state_dict(saved)
    for optimiser, saved in zip(optimisers, state["optimisers"]):
        optimiser.load_state_dict(saved)
    return state["epoch"], state["history"], state["best"]


def _keep(
    path: Path | None,
    epoch: int,
    history: list[dict],
    modules: Sequence,
    optimisers: Sequence,
    best: dict | None,
) -> None:
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".part")
    torch.save(
        {
            "epoch": epoch,
            "history": history,
            "best": best,
            "modules": [m.state_dict() for m in modules],
            "optimisers": [o.state_dict() for o in optimisers],
        },
        temporary,
    )
    os.replace(temporary, path)
