"""Pictures in memory or on disk, cut into batches."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

if TYPE_CHECKING:
    pass

LARGE = (
    256_000_000  # bytes: memory-mapped pictures beyond this are not left to pile up in the process
)
READ = 16_000_000  # bytes read from them between two times that their pages are given back


class Pictures:
    """Several (N, S, S, C) uint8 or (N, S, S) float arrays, memory-mapped or not, read as one."""

    def __init__(self, *arrays: np.ndarray):
        self.arrays = [a for a in arrays if len(a)]
        self.starts = np.cumsum([0] + [len(a) for a in self.arrays])
        maps = [a for a in self.arrays if isinstance(a, np.memmap)]
        self._large = maps if sum(a.nbytes for a in maps) > LARGE else []
        self._read = 0

    def __len__(self) -> int:
        return int(self.starts[-1])

    def batch(self, indices: np.ndarray, flip: np.ndarray | None = None) -> Tensor:
        """(B,) indices -> (B, C, S, S) float32 in 0...1; ``flip`` (B,) bool mirrors some left-right."""
        picked = [None] * len(indices)
        source = np.searchsorted(self.starts, indices, side="right") - 1
        for i, (s, index) in enumerate(zip(source, indices)):
            picked[i] = self.arrays[s][index - self.starts[s]]
        x = torch.from_numpy(np.stack(picked))
        self._forget(x.nbytes)
        if flip is not None and flip.any():  # bytes are mirrored sooner than numbers
            mirrored = torch.from_numpy(np.flatnonzero(flip))
            x[mirrored] = x[mirrored].flip(2)
        return (
            x.permute(0, 3, 1, 2).float().div_(255)
            if x.dtype == torch.uint8
            else x[:, None].float()
        )

    def _forget(self, read: int) -> None:
        """Give back the pages of large memory maps each time READ bytes were read; the system's cache keeps them."""
        self._read += read if self._large else 0
        if self._read > READ and hasattr(mmap, "MADV_DONTNEED"):
            self._read = 0
            for array in self._large:
                array._mmap.madvise(mmap.MADV_DONTNEED)


def batches(
    rows: np.ndarray, size: int, rng: np.random.Generator | None = None, least: int = 2
) -> Iterator[np.ndarray]:
    """Cut (N,) rows into batches, shuffled where ``rng`` is given; batches below ``least`` are dropped then (batch norm)."""
    rows = rng.permutation(rows) if rng is not None else rows
    for start in range(0, len(rows), size):
        part = rows[start : start + size]
        if rng is None or len(part) >= least:
            yield part


def moved(x: Tensor, most: tuple[int, int], rng: np.random.Generator) -> Tensor:
    """A batch (B, C, S, S) moved by chance, by up to ``most`` (rows, columns); the edge is repeated where it came from."""
    rows, columns = most
    if not (rows or columns):
        return x
    down, right, size = (
        int(rng.integers(2 * rows + 1)),
        int(rng.integers(2 * columns + 1)),
        x.shape[-1],
    )
    x = F.pad(x, (columns, columns, rows, rows), mode="replicate")
    return x[..., down : down + size, right : right + size].contiguous(
        memory_format=torch.channels_last
    )
