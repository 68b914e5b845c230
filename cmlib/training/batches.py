"""Pictures in memory or on disk, cut into batches and augmented."""

from __future__ import annotations

import hashlib
import mmap
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

# The operating system counts every page that was read from a memory map as memory of this process.
# Where the maps have more than LARGE_MAPS bytes together, their pages are given back each time that
# RELEASE_AFTER bytes were read.
LARGE_MAPS = 256_000_000
RELEASE_AFTER = 16_000_000
READ_AHEAD = 3  # batches that wait on a GPU for the one that is computed


class Pictures:
    """Several arrays, (N, S, S, 3) uint8 or (N, S, S) float, memory-mapped or not, read as one."""

    def __init__(self, *arrays: np.ndarray):
        self.arrays = [array for array in arrays if len(array)]
        self.starts = np.cumsum([0] + [len(array) for array in self.arrays])
        maps = [array for array in self.arrays if isinstance(array, np.memmap)]
        self._large_maps = maps if sum(array.nbytes for array in maps) > LARGE_MAPS else []
        self._bytes_read = 0

    def __len__(self) -> int:
        return int(self.starts[-1])

    @property
    def channels(self) -> int:
        """3 for colour pictures, 1 for spectrograms."""
        return self.arrays[0].shape[3] if self.arrays[0].ndim == 4 else 1

    @property
    def size(self) -> int:
        """S, the side of the square pictures."""
        return self.arrays[0].shape[1]

    def batch(self, indices: np.ndarray, flip: np.ndarray | None = None) -> Tensor:
        """(B,) indices -> (B, C, S, S) float32 in 0...1.

        ``flip`` (B,) bool says which pictures to mirror left-right.
        """
        sources = np.searchsorted(self.starts, indices, side="right") - 1
        pictures = [
            self.arrays[source][index - self.starts[source]]
            for source, index in zip(sources, indices, strict=True)
        ]
        x = torch.from_numpy(np.stack(pictures))  # (B, S, S, 3) or (B, S, S)
        self._release_pages(x.nbytes)
        if flip is not None and flip.any():
            # Mirror before the conversion to float32: there are a quarter of the bytes to move.
            mirrored = torch.from_numpy(np.flatnonzero(flip))
            x[mirrored] = x[mirrored].flip(2)
        if x.dtype == torch.uint8:
            return x.permute(0, 3, 1, 2).float().div_(255)  # (B, 3, S, S)
        return x[:, None].float()  # (B, 1, S, S)

    def _release_pages(self, bytes_read: int) -> None:
        """Give back the pages of large memory maps now and then; the system's cache keeps them."""
        if not self._large_maps:
            return
        self._bytes_read += bytes_read
        if self._bytes_read > RELEASE_AFTER and hasattr(mmap, "MADV_DONTNEED"):
            self._bytes_read = 0
            for array in self._large_maps:
                array._mmap.madvise(mmap.MADV_DONTNEED)  # pyright: ignore[reportAttributeAccessIssue]


@dataclass(frozen=True)
class TrainingData:
    """The pictures that a VAE-GAN is trained and validated on."""

    pictures: Pictures
    train: np.ndarray  # (N,) indices of the pictures to train on
    validation: np.ndarray  # (M,) indices of the pictures to validate on
    labels: np.ndarray | None = None  # a label for each of ``pictures``, -1 where unknown
    flips: bool = True  # mirror half of the training pictures (faces yes, spectrograms no)


def batches(
    rows: np.ndarray, size: int, rng: np.random.Generator | None = None, min_size: int = 2
) -> Iterator[np.ndarray]:
    """Cut rows (N,) into batches of ``size``, shuffled where ``rng`` is given.

    A shuffled batch of fewer than ``min_size`` rows is dropped, because batch norm cannot train on
    a single picture.
    """
    if rng is not None:
        rows = rng.permutation(rows)
    for start in range(0, len(rows), size):
        batch = rows[start : start + size]
        if rng is None or len(batch) >= min_size:
            yield batch


def fingerprint(pictures: Pictures, rows: np.ndarray, labels: np.ndarray) -> str:
    """SHA-256 of what is learnt from: the labels and pictures of ``rows`` (N,)."""
    digest = hashlib.sha256(labels[rows].astype(np.int64).tobytes())
    for batch in batches(rows, 512):
        digest.update(pictures.batch(batch).numpy().tobytes())
    return digest.hexdigest()


def prefetched(items: Iterable[Any], device: torch.device) -> Iterator[Any]:
    """Batches on their way to ``device``: tensors, or tuples of which some are tensors.

    With a GPU a thread reads the next batches while this one is computed. On a CPU both would only
    take time from each other, so each batch is read when it is asked for. ``items`` may draw random
    numbers: they are drawn in the same order either way.
    """
    if device.type == "cpu":
        yield from items
        return
    remaining = iter(items)
    reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="batches")

    def request() -> Future:
        return reader.submit(lambda: _moved(next(remaining, _END), device))

    try:
        waiting = deque(request() for _ in range(READ_AHEAD))
        while True:
            batch = waiting.popleft().result()
            if batch is _END:
                return
            waiting.append(request())
            yield batch
    finally:
        reader.shutdown(cancel_futures=True)


_END = object()


def _moved(item: Any, device: torch.device) -> Any:
    """A tensor, or the tensors in a tuple, on ``device``; the copy need not be over yet."""
    if isinstance(item, tuple):
        values = [_moved(value, device) for value in item]
        return type(item)(*values) if hasattr(item, "_fields") else tuple(values)
    if not isinstance(item, Tensor):
        return item
    if device.type == "cuda":  # only from pinned memory does a copy run beside the computation
        item = item.pin_memory()
    return item.to(device, non_blocking=True)


def randomly_translated(x: Tensor, limits: tuple[int, int], rng: np.random.Generator) -> Tensor:
    """Move a batch (B, C, S, S) at random, by up to ``limits`` (rows, columns) in each direction.

    All pictures of the batch move by the same distance. Pixels that come in repeat the edge.
    """
    rows, columns = limits
    if not (rows or columns):
        return x
    size = x.shape[-1]
    top = int(rng.integers(2 * rows + 1))
    left = int(rng.integers(2 * columns + 1))
    # (B, C, S + 2 rows, S + 2 columns)
    x = F.pad(x, (columns, columns, rows, rows), mode="replicate")
    x = x[..., top : top + size, left : left + size]  # (B, C, S, S)
    return x.contiguous(memory_format=torch.channels_last)
