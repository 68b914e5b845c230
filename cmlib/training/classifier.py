"""Training of the linear classifier on latents."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional as F

from cmlib.config import ClassifierConfig
from cmlib.models import Classifier, Posterior
from cmlib.progress import progress_bar
from cmlib.training.batches import batches, prefetched
from cmlib.training.latents import FusedLatents, Latents
from cmlib.training.loop import RunningMeans, seed_epoch


@torch.enable_grad()  # also where the caller is inside no_grad
def train_classifier(
    posterior: Posterior | Latents | FusedLatents,
    labels: np.ndarray,
    settings: ClassifierConfig,
    *,
    classes: int = 7,
    seed: int = 0,
    device: torch.device | None = None,
) -> tuple[Classifier, pd.DataFrame]:
    """Train one linear layer on latents; return (classifier in eval mode, history by epoch).

    ``posterior`` (V, N, D) holds V views of each picture, for example the picture and its mirror
    image; each epoch draws one of them at random. ``labels`` (N,) are in 0 ... classes - 1. The
    training runs on ``device`` (default: the CPU), and the classifier comes back from there.
    """
    torch.manual_seed(seed)
    device = device or torch.device("cpu")
    latents = Latents.of(posterior) if isinstance(posterior, Posterior) else posterior
    targets = torch.from_numpy(labels).long()  # (N,)
    model = Classifier(latents.size, classes).to(device)
    optimiser = torch.optim.Adam(
        model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
    )

    def read(rng: np.random.Generator) -> Iterator[tuple[Posterior, Tensor]]:
        for rows in batches(np.arange(len(latents)), settings.batch, rng):
            view = rng.integers(latents.views, size=len(rows))
            yield latents.batch(rows, view), targets[rows]  # (B, D), (B,)

    history = []
    for epoch in progress_bar(range(settings.epochs), "classifier", unit="epoch"):
        rng = seed_epoch(seed, epoch)
        means = RunningMeans(f"epoch {epoch + 1}")
        for z, labels_of_batch in prefetched(read(rng), device):
            logits = model(z.sample() if settings.sample else z.mu)  # (B, classes)
            loss = F.cross_entropy(logits, labels_of_batch)
            correct = (logits.argmax(1) == labels_of_batch).sum()
            means.add({"cross-entropy": loss}, len(labels_of_batch), {"train accuracy": correct})
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        means.read()
        history.append({"epoch": epoch + 1} | means.over(len(latents)))
    return model.cpu().eval(), pd.DataFrame(history)
