"""Building blocks of the VAE-GAN. Attributes are named as in the released checkpoints."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions around a skip: ``LReLU(BN(conv(LReLU(BN(conv(x))))) + skip(x))``.

    ``x (B, inputs, H, W) -> (B, outputs, H, W)``. The skip is a 1x1 convolution if the number of
    channels changes. All leaky slopes are 0.2, as in the released network (after Huang et al. 2018,
    IntroVAE, arXiv 1807.06358).
    """

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.conv_expand = nn.Conv2d(inputs, outputs, 1, bias=False) if inputs != outputs else None
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.activation = nn.LeakyReLU(0.2)

    def forward(self, x: Tensor) -> Tensor:
        skip = x if self.conv_expand is None else self.conv_expand(x)
        y = self.activation(self.bn1(self.conv1(x)))
        return self.activation(self.bn2(self.conv2(y)) + skip)


class StridedBlock(nn.Module):
    """5x5 convolution of stride 2, batch norm, ReLU; ``(B, C, H, W) -> (B, C', H/2, W/2)``."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 5, stride=2, padding=2, bias=False)
        self.bn = nn.BatchNorm2d(outputs)

    def activate(self, features: Tensor) -> Tensor:
        """Batch norm and ReLU of the output of ``conv``, same shape."""
        return torch.relu(self.bn(features))

    def forward(self, x: Tensor) -> Tensor:
        return self.activate(self.conv(x))
