"""Losses that ask for sharp pictures without a discriminator.

The squared error of pixels asks for no edge where the place of an edge is uncertain, and so it
smooths. What is compared here is how strong details are, and not where exactly.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

HALVINGS = 3  # of the picture; each has details of its own size
SQUARE = 4  # coefficients a side, over which the strength of details is averaged
EDGE_SQUARE = 8  # pixels a side, over which the strength of edges is averaged
ALLOWED_GAIN = 1.25  # of a face that shows an emotion, over its reconstruction


def edge_strength(x: Tensor) -> Tensor:
    """Local strength of the edges of pictures (B, C, S, S), by direction: (B, values).

    The root mean square of the differences of neighbouring pixels in every square of 8 x 8, across
    and down apart, of the picture and of the picture at half its size.
    """
    strengths = []
    for picture in (x, F.avg_pool2d(x, 2)):
        across = F.pad(picture.diff(dim=-1), (0, 1))
        down = F.pad(picture.diff(dim=-2), (0, 0, 0, 1))
        power = torch.stack([across, down], 1).square().mean(2)  # (B, 2, S, S)
        strengths.append((F.avg_pool2d(power, EDGE_SQUARE) + 1e-5).sqrt().flatten(1))
    return torch.cat(strengths, 1)


def edge_strength_error(real: Tensor, drawn: Tensor) -> Tensor:
    """Mean absolute error of ``edge_strength`` of pictures (B, C, S, S) -> scalar.

    Directions count apart: with both in one number, a long training drew fine horizontal stripes
    in place of missing vertical edges.
    """
    return (edge_strength(real) - edge_strength(drawn)).abs().mean()


def detail_strength(x: Tensor) -> list[Tensor]:
    """Local strength of the details of pictures (B, C, S, S), by size and direction.

    For each halving of the picture, (B, 3, s, s): the root mean square of its Haar coefficients
    across, down and diagonal, within squares of 4 x 4 of them, over all channels.
    """
    strengths = []
    for _ in range(HALVINGS):
        corners = F.pixel_unshuffle(x, 2).unflatten(1, (-1, 4))  # (B, C, 4, S/2, S/2)
        a, b, c, d = corners.unbind(2)  # of each square of 2 x 2 pixels, (B, C, S/2, S/2)
        details = torch.stack([a - b + c - d, a + b - c - d, a - b - c + d], 1) / 2
        power = details.square().mean(2)  # (B, 3, S/2, S/2)
        strengths.append((F.avg_pool2d(power, SQUARE) + 1e-5).sqrt())
        x = (a + b + c + d) / 4
    return strengths


def detail_strength_error(real: Tensor, drawn: Tensor) -> Tensor:
    """Mean absolute error of ``detail_strength`` of pictures (B, C, S, S) -> scalar.

    Since sizes and directions count apart, fine stripes cannot stand in for missing edges; but the
    many weak squares outweigh the few strong ones, and so it is less sharp.
    """
    pairs = zip(detail_strength(real), detail_strength(drawn), strict=True)
    return torch.stack([(a - b).abs().mean() for a, b in pairs]).mean()


def added_detail(moved: Tensor, drawn: Tensor) -> Tensor:
    """How much more detail faces that show an emotion have than their reconstructions -> scalar.

    A quarter more is free: an expression adds little, and what is beyond is noise. (B, C, S, S)
    each; the reconstructions are constants.
    """
    pairs = zip(detail_strength(moved), detail_strength(drawn.detach()), strict=True)
    return torch.stack([F.relu(a - ALLOWED_GAIN * b).mean() for a, b in pairs]).mean()
