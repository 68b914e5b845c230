"""The expression classifier: one linear layer on a latent."""

from __future__ import annotations

from torch import Tensor, nn


class Classifier(nn.Module):
    """One linear layer on a latent: z (B, inputs) -> logits (B, classes)."""

    def __init__(self, inputs: int, classes: int = 7):
        super().__init__()
        self.config = {"inputs": inputs, "classes": classes}
        self.linear = nn.Linear(inputs, classes)

    def forward(self, z: Tensor) -> Tensor:
        return self.linear(z)
