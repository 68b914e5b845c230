"""The judge of expressions that learns from frames of the corpus."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F


class CnnJudge(nn.Module):
    """Four 3x3 convolutions, pooling and one linear layer: crops (B, 3, S, S) in 0...1 -> logits.

    Its architecture shares nothing with the VAE-GAN whose pictures it judges.
    """

    def __init__(self, classes: int = 7, width: int = 24):
        super().__init__()
        self.config: dict[str, Any] = {"classes": classes, "width": width}
        widths = [3, width, 2 * width, 4 * width, 4 * width]
        self.layers = nn.Sequential()
        for i, (inputs, outputs) in enumerate(zip(widths, widths[1:])):
            stage = nn.Sequential(
                nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
                nn.BatchNorm2d(outputs),
                nn.ReLU(),
                nn.MaxPool2d(2),
            )
            self.layers.add_module(f"stage_{i}", stage)
        self.head = nn.Linear(4 * width * 4, classes)

    def forward(self, x: Tensor) -> Tensor:
        # Lighting and skin tone say nothing about an expression, so each channel is standardised.
        mean = x.mean((2, 3), keepdim=True)
        deviation = x.std((2, 3), keepdim=True)
        x = (x - mean) / (deviation + 1e-3)
        features = F.adaptive_avg_pool2d(self.layers(x), 2).flatten(1)  # (B, 4 * 4 * width)
        return self.head(F.dropout(features, 0.3, self.training))
