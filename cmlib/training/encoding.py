"""Frozen encoders: pictures to latents, once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from cmlib.models import Posterior, VaeGan
from cmlib.training.batches import Pictures, batches

if TYPE_CHECKING:
    pass


@torch.no_grad()
def encode(
    model: VaeGan, pictures: Pictures, rows: np.ndarray, flips: bool = False, batch: int = 128
) -> Posterior:
    """Posteriors of the pictures ``rows``, the network in eval mode and float32: (V, N, latent), V = 2 views with ``flips``.

    The frozen network runs once; the later stages train on what it returned.
    """
    model.eval()
    device = next(model.parameters()).device
    views = []
    for mirrored in (False, True) if flips else (False,):
        done = []
        for part in batches(rows, batch):
            x = pictures.batch(part, np.full(len(part), mirrored)).to(device)
            done.append(torch.stack(model.encoder(x)).cpu())
        views.append(torch.cat(done, 1))
    stacked = torch.stack(views, 1)  # (2, V, N, latent)
    return Posterior(stacked[0], stacked[1])
