"""A network that predicts which emotion people would name in a face."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

OBSERVED_EMOTIONS = ("happy", "sad", "angry", "disgust", "fearful", "surprised")
PICTURE_SIZE = 64  # pixels: crops of another size are resized first
LUMINANCE = (0.299, 0.587, 0.114)  # of red, green and blue: ITU-R BT.601
GRID = 4  # cells of a side in which the last features of the convolutions are kept apart
DIRECTIONS = 8  # of edges, over half a turn
CELL = 4  # pixels of a side of a cell in which edges are counted
SCALES = (1, 2)  # edges are counted in the picture and in the picture at half its size
EDGE_FEATURES = sum(DIRECTIONS * (PICTURE_SIZE // scale // CELL) ** 2 for scale in SCALES)


class ConvolutionalReader(nn.Module):
    """Four convolutions and one linear layer: standardised pictures (B, 1, 64, 64) -> (B, 6)."""

    def __init__(self, width: int, dropout: float):
        super().__init__()
        widths = [width, 2 * width, 4 * width, 4 * width]
        # A wide first kernel sees a brow or a corner of the mouth, even if it is blurred.
        self.layers = nn.Sequential(
            nn.Conv2d(1, width, 5, stride=2, padding=2, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
        )
        for i, (inputs, outputs) in enumerate(zip(widths, widths[1:])):
            stage = nn.Sequential(
                nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
                nn.BatchNorm2d(outputs),
                nn.ReLU(),
                nn.MaxPool2d(2),
            )
            self.layers.add_module(f"stage_{i}", stage)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(widths[-1] * GRID * GRID, len(OBSERVED_EMOTIONS))

    def forward(self, x: Tensor) -> Tensor:
        features = self.layers(x.to(memory_format=torch.channels_last))  # (B, 4 * width, 4, 4)
        return self.head(self.dropout(features.flatten(1)))


class EdgeReader(nn.Module):
    """A linear layer on histograms of oriented edges: pictures (B, 1, 64, 64) -> (B, 6).

    Dalal & Triggs (2005), Histograms of Oriented Gradients for Human Detection, here at two scales.
    It has few parameters, so a few people are enough to learn from.
    """

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(EDGE_FEATURES, len(OBSERVED_EMOTIONS))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(edge_features(x))


class ObserverNetwork(nn.Module):
    """Predicts the shares of observers who would name each of ``OBSERVED_EMOTIONS``.

    The mean of two readers of different kinds. Both see grey pictures of 64 pixels with
    standardised brightness and contrast, since the colour of the skin and the light say nothing
    about an expression. Nothing of it is shared with the networks that it judges.
    """

    def __init__(self, width: int = 16, dropout: float = 0.5):
        super().__init__()
        self.config = {"width": width, "dropout": dropout}
        self.convolutional = ConvolutionalReader(width, dropout)
        self.edges = EdgeReader()
        # The logits of each reader are divided by it: how sure its answers are.
        self.temperature: Tensor
        self.register_buffer("temperature", torch.ones(2))

    def forward(self, pictures: Tensor) -> Tensor:
        """Crops of faces (B, 3, S, S) in 0...1 -> logits of both readers (2, B, 6).

        Pictures that ``grey`` has returned, (B, 1, 64, 64), are taken as well.
        """
        x = standardised(grey(pictures))
        return torch.stack([self.convolutional(x), self.edges(x)])

    def mirrored_logits(self, pictures: Tensor) -> Tensor:
        """Mean logits of pictures (B, 3, S, S) and their mirror images, (2, B, 6)."""
        return (self(pictures) + self(pictures.flip(-1))) / 2

    def shares(self, pictures: Tensor) -> Tensor:
        """Crops of faces (B, 3, S, S) in 0...1 -> predicted shares of observers (B, 6)."""
        return mean_shares(self.mirrored_logits(pictures), self.temperature)


def mean_shares(logits: Tensor, temperature: Tensor) -> Tensor:
    """Logits of the readers (M, B, 6) at their temperatures (M,) -> shares (B, 6)."""
    return (logits / temperature.view(-1, 1, 1)).softmax(-1).mean(0)


def grey(pictures: Tensor) -> Tensor:
    """Pictures (B, 3, S, S) in grey at 64 pixels, (B, 1, 64, 64); grey ones are only resized."""
    if pictures.shape[1] == 3:
        weights = pictures.new_tensor(LUMINANCE).view(1, 3, 1, 1)
        pictures = (pictures * weights).sum(1, keepdim=True)
    if pictures.shape[-1] == PICTURE_SIZE:
        return pictures
    return F.interpolate(pictures, (PICTURE_SIZE, PICTURE_SIZE), mode="bilinear", antialias=True)


def standardised(pictures: Tensor) -> Tensor:
    """Each picture (C, S, S) of a batch with a mean of 0 and a deviation of nearly 1."""
    mean, deviation = pictures.mean((1, 2, 3), keepdim=True), pictures.std((1, 2, 3), keepdim=True)
    return (pictures - mean) / (deviation + 0.02)  # a picture of one colour stays 0


def edge_features(x: Tensor) -> Tensor:
    """Standardised pictures (B, 1, 64, 64) -> strengths of edges by place and direction (B, 2560).

    An edge counts in the two nearest of eight directions. The sums of each cell of 4 x 4 pixels
    are divided by those of the nine cells around it, so that a weak edge counts where it is the
    only one.
    """
    features = []
    for scale in SCALES:
        picture = F.avg_pool2d(x, scale)
        across = picture[..., 1:-1, 2:] - picture[..., 1:-1, :-2]
        down = picture[..., 2:, 1:-1] - picture[..., :-2, 1:-1]
        strength = (across.square() + down.square() + 1e-6).sqrt()
        direction = torch.atan2(down, across) * (DIRECTIONS / math.pi)
        parts = []
        for centre in range(DIRECTIONS):
            half = DIRECTIONS // 2
            distance = ((direction - centre + half) % DIRECTIONS - half).abs()
            parts.append(strength * (1 - distance).clamp_min(0))
        edges = F.pad(torch.cat(parts, 1), [1] * 4)  # (B, 8, S, S)
        cells = F.avg_pool2d(edges, CELL)
        power = cells.square().sum(1, keepdim=True)
        around = F.avg_pool2d(power, 3, 1, padding=1, count_include_pad=False).sqrt()
        features.append((cells / (around + 0.05)).clamp_min(1e-6).sqrt().flatten(1))
    return torch.cat(features, 1)
