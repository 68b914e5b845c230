"""Encoding of all pictures by a frozen network; later stages train on the latents."""

from __future__ import annotations

import numpy as np
import torch

from cmlib.models import Posterior, VaeGan
from cmlib.training.batches import Pictures, batches


@torch.no_grad()
def encode(
    model: VaeGan, pictures: Pictures, rows: np.ndarray, flips: bool = False, batch: int = 128
) -> Posterior:
    """Encode the pictures ``rows`` in eval mode and in float32; return posteriors (V, N, D).

    V is 1, or 2 with ``flips``: first the pictures as they are, then their mirror images.
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
