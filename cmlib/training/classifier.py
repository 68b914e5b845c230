"""Training of the linear classifier on latents."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from torch.nn import functional as F

from cmlib.config import ClassifierConfig
from cmlib.files import progress
from cmlib.models import Classifier, Posterior
from cmlib.training.batches import batches
from cmlib.training.loop import check_finite, seed_epoch


@torch.enable_grad()  # also where the caller is inside no_grad
def train_classifier(
    posterior: Posterior,
    labels: np.ndarray,
    settings: ClassifierConfig,
    *,
    classes: int = 7,
    seed: int = 0,
) -> tuple[Classifier, pd.DataFrame]:
    """Train one linear layer on latents; return (classifier in eval mode, history by epoch).

    ``posterior`` (V, N, D) holds V views of each picture, for example the picture and its mirror
    image; each epoch draws one of them at random. ``labels`` (N,) are in 0 ... classes - 1.
    """
    torch.manual_seed(seed)
    views, count, latent = posterior.mu.shape
    targets = torch.from_numpy(labels).long()  # (N,)
    model = Classifier(latent, classes)
    optimiser = torch.optim.Adam(
        model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
    )
    history = []
    for epoch in progress(range(settings.epochs), "classifier", unit="epoch"):
        rng = seed_epoch(seed, epoch)
        total_loss = 0.0
        correct = 0
        for rows in batches(np.arange(count), settings.batch, rng):
            view = torch.from_numpy(rng.integers(views, size=len(rows)))
            z = Posterior(posterior.mu[view, rows], posterior.logvar[view, rows])  # (B, D)
            logits = model(z.sample() if settings.sample else z.mu)  # (B, classes)
            loss = F.cross_entropy(logits, targets[rows])
            check_finite({"cross-entropy": loss}, f"epoch {epoch + 1}")
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            total_loss += loss.item() * len(rows)
            correct += int((logits.argmax(1) == targets[rows]).sum())
        history.append(
            {
                "epoch": epoch + 1,
                "cross-entropy": total_loss / count,
                "train accuracy": correct / count,
            }
        )
    return model.eval(), pd.DataFrame(history)
