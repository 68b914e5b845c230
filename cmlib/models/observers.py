"""A network that predicts which emotion people would name in a face."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

OBSERVED_EMOTIONS = ("happy", "sad", "angry", "disgust", "fearful", "surprised")
PICTURE_SIZE = 64  # pixels: crops of another size are resized first
LUMINANCE = (0.299, 0.587, 0.114)  # of red, green and blue: ITU-R BT.601
DIRECTIONS = 8  # of edges, over half a turn
CELL = 4  # pixels of a side of a cell in which edges are counted


class ObserverMember(nn.Module):
    """Two convolutions and one linear layer on maps of edges: ``edge_maps`` -> logits (B, 6)."""

    def __init__(self, width: int, dropout: float):
        super().__init__()
        # Each map is standardised first: edges of some directions are rare in faces.
        self.fine, self.coarse = nn.BatchNorm2d(DIRECTIONS), nn.BatchNorm2d(DIRECTIONS)
        self.first = _stage(DIRECTIONS, width)
        self.second = _stage(width + DIRECTIONS, 2 * width)
        self.dropout = nn.Dropout(dropout)
        grid = PICTURE_SIZE // CELL // 4  # both stages halve the sides
        self.head = nn.Linear(2 * width * grid * grid, len(OBSERVED_EMOTIONS))

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        x = self.first(self.fine(fine))  # (B, width, 8, 8)
        x = self.second(torch.cat([x, self.coarse(coarse)], 1))  # (B, 2 * width, 4, 4)
        return self.head(self.dropout(x.flatten(1)))


def _stage(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
        nn.MaxPool2d(2),
    )


class ObserverNetwork(nn.Module):
    """Predicts the shares of observers who would name each of ``OBSERVED_EMOTIONS``.

    A small network, or the mean of several that differ in their random start. It sees where the
    edges of a face are and in which direction they run, as in Dalal & Triggs (2005), Histograms of
    Oriented Gradients for Human Detection: a few dozen people are not enough to learn this, too,
    from pixels. Nothing of it is shared with the networks that it judges.
    """

    def __init__(self, width: int = 32, members: int = 1, dropout: float = 0.5):
        super().__init__()
        self.config = {"width": width, "members": members, "dropout": dropout}
        self.members = nn.ModuleList(ObserverMember(width, dropout) for _ in range(members))
        # Logits are divided by it: how sure the answers are, set on people who validate.
        self.temperature: Tensor
        self.register_buffer("temperature", torch.ones(1))

    def forward(self, pictures: Tensor) -> Tensor:
        """Crops of faces (B, 3, S, S) in 0...1 -> logits of every member (M, B, 6).

        Pictures that ``grey`` has returned, (B, 1, 64, 64), are taken as well.
        """
        return self.from_edges(*edge_maps(standardised(grey(pictures))))

    def from_edges(self, fine: Tensor, coarse: Tensor) -> Tensor:
        """What ``edge_maps`` returns of B pictures -> logits of every member (M, B, 6)."""
        return torch.stack([member(fine, coarse) for member in self.members])

    def mirrored_logits(self, pictures: Tensor) -> Tensor:
        """Mean logits of pictures (B, 3, S, S) and their mirror images, (M, B, 6)."""
        return (self(pictures) + self(pictures.flip(-1))) / 2

    def shares(self, pictures: Tensor) -> Tensor:
        """Crops of faces (B, 3, S, S) in 0...1 -> predicted shares of observers (B, 6)."""
        return mean_shares(self.mirrored_logits(pictures), self.temperature)


def mean_shares(logits: Tensor, temperature: Tensor | float) -> Tensor:
    """Logits of the members (M, B, 6) at a temperature -> shares (B, 6)."""
    return (logits / temperature).softmax(-1).mean(0)


def grey(pictures: Tensor) -> Tensor:
    """Pictures (B, 3, S, S) in grey at 64 pixels, (B, 1, 64, 64); grey ones are only resized."""
    if pictures.shape[1] == 3:
        weights = torch.tensor(LUMINANCE, dtype=pictures.dtype).view(1, 3, 1, 1)
        weights = weights.to(pictures.device)
        pictures = (pictures * weights).sum(1, keepdim=True)
    if pictures.shape[-1] == PICTURE_SIZE:
        return pictures
    return F.interpolate(pictures, (PICTURE_SIZE, PICTURE_SIZE), mode="bilinear", antialias=True)


def standardised(pictures: Tensor) -> Tensor:
    """Each picture (C, S, S) of a batch with a mean of 0 and a deviation of nearly 1."""
    mean, deviation = pictures.mean((1, 2, 3), keepdim=True), pictures.std((1, 2, 3), keepdim=True)
    return (pictures - mean) / (deviation + 0.02)  # a picture of one colour stays 0


def edge_maps(x: Tensor) -> list[Tensor]:
    """Standardised pictures (B, 1, 64, 64) -> edges by direction, (B, 8, 16, 16) and (B, 8, 8, 8).

    The second map is that of the picture at half its size, where blur does less. An edge counts in
    the two nearest of eight directions. The sums of each cell of 4 x 4 pixels are divided by those
    of the nine cells around it, so that a weak edge counts where it is the only one.
    """
    maps = []
    for scale in (1, 2):
        picture = F.avg_pool2d(x, scale)
        across = picture[..., 1:-1, 2:] - picture[..., 1:-1, :-2]
        down = picture[..., 2:, 1:-1] - picture[..., :-2, 1:-1]
        strength = (across.square() + down.square() + 1e-6).sqrt()
        direction = torch.atan2(down, across) * (DIRECTIONS / math.pi)
        half = DIRECTIONS // 2
        parts = []
        for centre in range(DIRECTIONS):
            distance = ((direction - centre + half) % DIRECTIONS - half).abs()
            parts.append(strength * (1 - distance).clamp_min(0))
        edges = F.pad(torch.cat(parts, 1), [1] * 4)  # (B, 8, S, S)
        cells = F.avg_pool2d(edges, CELL)
        power = cells.square().sum(1, keepdim=True)
        around = F.avg_pool2d(power, 3, 1, padding=1, count_include_pad=False).sqrt()
        maps.append((cells / (around + 0.05)).clamp_min(1e-6).sqrt())
    return maps
