"""An expression reader that is not the model: a small convolutional network trained directly on pictures.

It answers two questions about a face VAE-GAN: how much expression do the pictures hold, and how much of it is left in
their reconstructions?  Its architecture shares nothing with the VAE-GAN.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm.auto import tqdm

from cmlib.training import Pictures, batches, launch, quiet


class Judge(nn.Module):
    """Face crop (B, 3, S, S) in 0...1 -> logits (B, classes): four 3x3 convolutions, global pooling, one linear layer."""

    def __init__(self, classes: int = 7, width: int = 24):
        super().__init__()
        widths = [3, width, 2 * width, 4 * width, 4 * width]
        self.layers = nn.Sequential()
        for i, (a, b) in enumerate(zip(widths, widths[1:])):
            stage = [nn.Conv2d(a, b, 3, padding=1, bias=False), nn.BatchNorm2d(b), nn.ReLU(), nn.MaxPool2d(2)]
            self.layers.add_module(f"stage_{i}", nn.Sequential(*stage))
        self.head = nn.Linear(4 * width * 4, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = (x - x.mean((2, 3), keepdim=True)) / (x.std((2, 3), keepdim=True) + 1e-3)  # light and skin tone do not matter
        return self.head(F.dropout(F.adaptive_avg_pool2d(self.layers(x), 2).flatten(1), 0.3, self.training))


def train_judge(pictures: Pictures, rows: np.ndarray, labels: np.ndarray, *, epochs: int = 12, seed: int = 0) -> Judge:
    """Train on the pictures ``rows`` with their ``labels`` (one per picture of ``pictures``), flipped and shifted a little."""
    torch.manual_seed(seed)
    fabric, rng = launch(), np.random.default_rng(seed)
    model = Judge(int(labels[rows].max()) + 1).to(fabric.device).to(memory_format=torch.channels_last)
    steps = epochs * -(-len(rows) // 64)
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=steps + 1)
    for _ in tqdm(range(epochs), disable=quiet(), desc="judge", unit="epoch"):
        for part in batches(rows, 64, rng):
            x = pictures.batch(part, rng.random(len(part)) < 0.5)
            margin = max(1, x.shape[-1] // 20)
            dx, dy = rng.integers(2 * margin + 1, size=2)
            x = F.pad(x, [margin] * 4, mode="replicate")[..., dy : dy + x.shape[-2], dx : dx + x.shape[-1]]
            y = torch.from_numpy(labels[part]).long().to(fabric.device)
            with fabric.autocast():
                loss = F.cross_entropy(model(x.to(fabric.device, memory_format=torch.channels_last)).float(), y, label_smoothing=0.1)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return model.eval().requires_grad_(False)


@torch.no_grad()
def read(judge: Judge, images: Tensor, batch: int = 256) -> np.ndarray:
    """Log probabilities (N, classes) of pictures (N, 3, S, S) in 0...1."""
    device = next(judge.parameters()).device
    return torch.cat([judge(part.to(device).float()).log_softmax(1).cpu() for part in images.split(batch)]).numpy()
