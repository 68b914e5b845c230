"""Training of the linear classifier on latents."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from torch.nn import functional as F
from tqdm.auto import tqdm

from cmlib.config import ClassifierConfig
from cmlib.models import Classifier, Posterior
from cmlib.training.batches import batches
from cmlib.training.loop import _check, _seed, quiet

if TYPE_CHECKING:
    pass


@torch.enable_grad()  # also when asked for from within no_grad
def train_classifier(
    posterior: Posterior,
    labels: np.ndarray,
    settings: ClassifierConfig,
    *,
    classes: int = 7,
    seed: int = 0,
) -> tuple[Classifier, pd.DataFrame]:
    """One linear layer on latents: posterior (V, N, D) with V views, labels (N,) -> (classifier, history)."""
    torch.manual_seed(seed)
    views, count, width = posterior.mu.shape
    model, target = Classifier(width, classes), torch.from_numpy(labels).long()
    optimiser = torch.optim.Adam(
        model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
    )
    history = []
    for epoch in tqdm(range(settings.epochs), disable=quiet(), desc="classifier", unit="epoch"):
        rng, total, hits = _seed(seed, epoch), 0.0, 0
        for rows in batches(np.arange(count), settings.batch, rng):
            view = torch.from_numpy(rng.integers(views, size=len(rows)))
            z = Posterior(posterior.mu[view, rows], posterior.logvar[view, rows])
            logits = model(z.sample() if settings.sample else z.mu)
            loss = F.cross_entropy(logits, target[rows])
            _check({"cross-entropy": loss}, f"epoch {epoch + 1}")
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            total, hits = (
                total + loss.item() * len(rows),
                hits + int((logits.argmax(1) == target[rows]).sum()),
            )
        history.append(
            {"epoch": epoch + 1, "cross-entropy": total / count, "train accuracy": hits / count}
        )
    return model.eval(), pd.DataFrame(history)
