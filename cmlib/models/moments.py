"""Means, spreads and covariances of latents that need not fit into memory.

The functions read their rows in blocks. Rows that fit into one block are computed as torch computes
them, to the last digit; the moments of several blocks are joined in float64 (Chan, Golub & LeVeque
1983, The American Statistician 37(3)).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Protocol

import torch
from torch import Tensor

BLOCK_BYTES = 1 << 26  # of float32 latents that are in memory together


class Rows(Protocol):
    """N rows of D numbers that are read when they are asked for, such as a tensor (N, D)."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Tensor, /) -> Tensor:
        """(n,) row numbers -> (n, D)."""
        ...


class InUnits:
    """Rows minus a mean (D,), divided by a spread (D,)."""

    def __init__(self, rows: Rows, mean: Tensor, spread: Tensor):
        self.rows, self.mean, self.spread = rows, mean, spread

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, rows: Tensor) -> Tensor:
        return (self.rows[rows] - self.mean) / self.spread


def block_rows(numbers_per_row: int) -> int:
    """How many rows of float32 numbers make a block."""
    return max(1, BLOCK_BYTES // (4 * numbers_per_row))


def in_blocks(rows: Tensor, numbers_per_row: int) -> tuple[Tensor, ...]:
    """Cut row numbers (N,) into blocks; at least one, which may be empty."""
    return rows.split(block_rows(numbers_per_row))


def blocks_of(rows: Rows, numbers_per_row: int) -> Iterator[Tensor]:
    """All rows in blocks (n, D)."""
    for block in in_blocks(torch.arange(len(rows)), numbers_per_row):
        yield rows[block]


def mean_and_spread(blocks: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (D,) each of the rows of all blocks (n, D)."""
    blocks = iter(blocks)
    first = next(blocks)
    second = next(blocks, None)
    if second is None:
        return first.mean(0), first.std(0)
    count = len(first)
    mean, squares = _moments(first)
    for block in chain([second], blocks):
        block_mean, block_squares = _moments(block)
        difference = block_mean - mean
        total = count + len(block)
        mean = mean + difference * (len(block) / total)
        squares = squares + block_squares + difference.square() * (count * len(block) / total)
        count = total
    return mean.float(), (squares / (count - 1)).sqrt().float()


def _moments(block: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (D,) and sum of squared deviations (D,) of the rows of a block, in float64."""
    mean = block.double().mean(0)
    return mean, (block - mean).square().sum(0)


def weighted_mean(means: Tensor, counts: Sequence[int]) -> Tensor:
    """The mean over all rows, from the means (blocks, ...) of blocks with so many rows each."""
    if len(counts) == 1:
        return means[0]
    weights = torch.tensor(counts, dtype=torch.float64)
    return torch.tensordot(weights / weights.sum(), means.double(), 1).float()


def covariance(rows: Rows, numbers_per_row: int) -> tuple[Tensor, Tensor]:
    """Mean (D,) and covariance (D, D) of all rows, as ``torch.cov`` gives it."""
    blocks = in_blocks(torch.arange(len(rows)), numbers_per_row)
    if len(blocks) == 1:
        only = rows[blocks[0]]
        return only.mean(0), torch.cov(only.T)
    mean, _ = mean_and_spread(rows[block] for block in blocks)
    scatter = torch.zeros(len(mean), len(mean), dtype=torch.float64)
    for block in blocks:
        deviations = (rows[block] - mean).double()
        scatter += deviations.T @ deviations
    return mean, (scatter / (len(rows) - 1)).float()
