"""A training that two processes share: ``python tests/two_devices.py FOLDER`` is what both execute.

It is no part of ``test_devices.py`` so that the processes need not import the whole library.
"""

import contextlib
import dataclasses
import sys
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from lightning_fabric import Fabric

from cmlib.config import VaeGanConfig
from cmlib.models import Posterior, VaeGan
from cmlib.training import batches, loop, vaegan

# Batches of 11 give shares of 6 and 5, and three of them give two unequal steps.  Every network has
# a gradient.
SETTINGS = VaeGanConfig(
    width=0.0625,
    latent=8,
    epochs=2,
    batch=11,
    accumulate=2,
    optimiser="adam",
    pixel_weight=1.0,
    adversarial_weight=0.1,
    label_weight=0.5,
    bounded=True,
    learning_rate=1e-3,
)
EXPRESSIONS = dataclasses.replace(
    SETTINGS, adversarial_weight=0.0, feature_level=0, expression_weight=0.3
)
RUNS = {
    "plain": {"noise": False, "batch_norm": False},
    "batch norm": {"noise": False},
    "drawn noise": {"batch_norm": False},
    "noise": {},
    "expressions": {"settings": EXPRESSIONS},
}


def train(
    fabric: Fabric,
    noise: bool = True,
    batch_norm: bool = True,
    settings: VaeGanConfig = SETTINGS,
    **more,
):
    """(model, history) of 33 random pictures.

    Two things differ between processes that share a batch and one that has all of it: each process
    draws its own ``noise``, and its ``batch_norm`` takes the moments of its own share. Without both
    no picture depends on which others it shares a batch with.
    """
    rng = np.random.default_rng(0)
    pictures = batches.Pictures(rng.integers(0, 256, size=(44, 32, 32, 3), dtype=np.uint8))
    data = batches.TrainingData(pictures, np.arange(33), np.arange(33, 44), np.arange(44) % 3)

    def eval_mode(self, mode=True):
        """Batch norm takes its running statistics."""
        return torch.nn.Module.train(self, False)

    with contextlib.ExitStack() as patches:
        if not noise:
            patches.enter_context(patch.object(Posterior, "sample", lambda self: self.mu))
            patches.enter_context(patch.object(torch, "randn_like", torch.ones_like))
        if not batch_norm:
            patches.enter_context(patch.object(VaeGan, "train", eval_mode))
        return vaegan.train_vaegan(data, settings, fabric=fabric, **more)


def main(folder: Path) -> None:
    fabric = loop.launch("32-true", devices=2)
    for name, run in RUNS.items():
        model, history = train(
            fabric, **run, state=folder / f"{name}.state.pt", log=folder / f"{name}.csv"
        )
        torch.save(model.state_dict(), folder / f"{name}-{fabric.global_rank}.pt")
        history.to_csv(folder / f"{name}-{fabric.global_rank}.csv", index=False)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
