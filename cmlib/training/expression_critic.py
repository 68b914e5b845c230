"""A discriminator that reads expressions: its features say how well a reconstruction shows them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cmlib.models import VaeGan
from cmlib.progress import progress_bar
from cmlib.training.batches import TrainingData, batches, randomly_translated
from cmlib.training.loop import seed_epoch

if TYPE_CHECKING:
    from lightning_fabric import Fabric

BATCH = 32
PEAK_LEARNING_RATE = 1e-3
BLURRED = 0.4  # share of the batches that are blurred


def train_expression_critic(
    model: VaeGan, data: TrainingData, seed: int, fabric: Fabric, epochs: int = 12
) -> None:
    """Train the discriminator of ``model`` to tell labels apart, not real from decoded pictures.

    It learns from the training pictures with a known label, mirrored where ``data.flips``,
    translated and sometimes blurred, so that its features respond to an expression even where a
    picture is not sharp. The last layer, which names the label, replaces that of the discriminator
    for this training only; what the convolutions have learnt stays.
    """
    assert data.labels is not None
    rows = data.train[data.labels[data.train] >= 0]
    labels = torch.from_numpy(data.labels).long().to(fabric.device)
    critic = model.discriminator
    realness_layer = critic.fc[-1]
    assert isinstance(realness_layer, nn.Linear)
    critic.fc[-1] = nn.Linear(realness_layer.in_features, int(labels.max()) + 1).to(fabric.device)
    optimiser = torch.optim.AdamW(critic.parameters(), lr=PEAK_LEARNING_RATE, weight_decay=1e-2)
    steps = epochs * -(-len(rows) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, PEAK_LEARNING_RATE, total_steps=steps + 1
    )

    critic.train()
    for epoch in progress_bar(range(epochs), "expressions", unit="epoch"):
        rng = seed_epoch(seed, epoch)
        for batch in batches(rows, BATCH, rng):
            mirrored = rng.random(len(batch)) < 0.5 if data.flips else None
            x = data.pictures.batch(batch, mirrored)  # (B, C, S, S)
            x = x.to(fabric.device, memory_format=torch.channels_last)
            x = _degraded(x, rng)
            with fabric.autocast():
                _, logits = critic(x)  # (B, labels)
                loss = F.cross_entropy(logits.float(), labels[batch], label_smoothing=0.1)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()

    critic.fc[-1] = realness_layer
    # Left-over gradients would enter the first step of the VAE-GAN's optimiser.
    critic.zero_grad(set_to_none=True)


def _degraded(x: Tensor, rng: np.random.Generator) -> Tensor:
    """Move a batch (B, C, S, S) by up to a twentieth of its width, and sometimes blur it."""
    size = x.shape[-1]
    x = randomly_translated(x, (size // 20, size // 20), rng)
    if rng.random() < BLURRED:
        smaller = int(rng.integers(size // 2, size))
        # Scaling down and up again blurs.
        x = F.interpolate(x, (smaller, smaller), mode="area")
        x = F.interpolate(x, (size, size), mode="bicubic")
    return x
