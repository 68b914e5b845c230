"""Pictures to latents: frozen encoders run once, and later stages train on what they return."""

from __future__ import annotations

import numpy as np
import torch

from cmlib.models import Posterior, VaeGan
from cmlib.training.batches import Pictures, batches


@torch.no_grad()
def encode(
    model: VaeGan, pictures: Pictures, rows: np.ndarray, flips: bool = False, batch: int = 128
) -> Posterior:
    """Posteriors of the pictures ``rows``, with the network in eval mode and float32: (V, N, D).

    V is 1, or 2 with ``flips``: the pictures as they are, and their mirror images.
    """
    model.eval()
    device = next(model.parameters()).device
    views = []
    for mirrored in (False, True) if flips else (False,):
        chunks = []
        for indices in batches(rows, batch):
            x = pictures.batch(indices, np.full(len(indices), mirrored)).to(device)
            chunks.append(model.encoder(x).map(torch.Tensor.cpu))  # (B, D)
        views.append(Posterior.cat(chunks))  # (N, D)
    return Posterior(
        torch.stack([view.mu for view in views]),
        torch.stack([view.logvar for view in views]),
    )
