"""Latents that lie in memory or are mapped from the disk, read batch by batch.

Latents of a large corpus do not fit into memory. Training and evaluation therefore ask for the
rows that they need next. ``Latents`` are those of faces or of voices, ``FusedLatents`` what a
classifier reads, and ``Means`` the means of certain rows, one after another.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from cmlib.arrays import release_maps
from cmlib.models import Posterior, fuse
from cmlib.models.moments import block_rows


class Part(NamedTuple):
    """Stored posteriors (V, M, D), and which of them are meant: rows (n,), all for None."""

    stored: Posterior
    rows: np.ndarray | None = None


class Latents:
    """Posteriors (V views, N, D) in one or several parts, read as one."""

    def __init__(self, *parts: Part):
        self.parts = parts
        lengths = [
            part.stored.mu.shape[1] if part.rows is None else len(part.rows) for part in parts
        ]
        self.starts = np.cumsum([0, *lengths])

    @classmethod
    def of(cls, latents: Latents | Posterior) -> Latents:
        """The same, or posteriors (V, N, D) in memory."""
        return latents if isinstance(latents, Latents) else cls(Part(latents))

    def __len__(self) -> int:
        return int(self.starts[-1])

    @property
    def views(self) -> int:
        """V: 2 where there are mirror images, else 1."""
        return self.parts[0].stored.mu.shape[0]

    @property
    def size(self) -> int:
        """D, the number of dimensions."""
        return self.parts[0].stored.mu.shape[-1]

    def batch(self, rows: np.ndarray, view: np.ndarray | int = 0) -> Posterior:
        """Posteriors (B, D) of the rows (B,), each in its ``view``."""
        return Posterior(self.mu(rows, view), self._values("logvar", rows, view))

    def mu(self, rows: np.ndarray, view: np.ndarray | int = 0) -> Tensor:
        """The means alone of the rows (B,), each in its ``view``: (B, D)."""
        return self._values("mu", rows, view)

    def _values(self, name: str, rows: np.ndarray, view: np.ndarray | int) -> Tensor:
        """The values "mu" or "logvar" (B, D) of the rows (B,)."""
        rows = np.asarray(rows)
        view = np.broadcast_to(view, rows.shape)
        release_maps(len(rows))
        if len(self.parts) == 1:
            return self._read(self.parts[0], name, rows, view)
        values = torch.empty(len(rows), self.size)
        part_of_row = np.searchsorted(self.starts, rows, side="right") - 1
        for number in np.unique(part_of_row):
            chosen = np.flatnonzero(part_of_row == number)
            local = rows[chosen] - self.starts[number]
            values[chosen] = self._read(self.parts[number], name, local, view[chosen])
        return values

    @staticmethod
    def _read(part: Part, name: str, rows: np.ndarray, view: np.ndarray) -> Tensor:
        stored_rows = rows if part.rows is None else part.rows[rows]
        stored: Tensor = getattr(part.stored, name)
        return stored[torch.from_numpy(view.copy()), torch.from_numpy(stored_rows)]


class FusedLatents:
    """What a classifier of two senses reads for N frames: posteriors (V, N, D').

    ``name`` is "product_of_experts" or "concatenation". ``face`` and ``voice`` have N rows each,
    of which the voice has one view.
    """

    def __init__(self, name: str, face: Latents, voice: Latents):
        self.name, self.face, self.voice = name, face, voice
        self.views = face.views
        self.size = self.batch(np.arange(1)).mu.shape[1]

    def __len__(self) -> int:
        return len(self.face)

    def batch(self, rows: np.ndarray, view: np.ndarray | int = 0) -> Posterior:
        """As ``Latents.batch``."""
        return fuse(self.name, self.face.batch(rows, view), self.voice.batch(rows))


class Means:
    """The means of ``rows`` (N,) in each of the ``views``: V x N rows of D numbers.

    First come all rows in the first view. It is one of ``models.moments.Rows``.
    """

    def __init__(self, latents: Latents, rows: np.ndarray, views: Sequence[int] = (0,)):
        self.latents, self.rows, self.views = latents, rows, np.asarray(views)

    def __len__(self) -> int:
        return len(self.rows) * len(self.views)

    def __getitem__(self, places: Tensor) -> Tensor:
        at = places.numpy()
        rows = self.rows[at % len(self.rows)]
        return self.latents.mu(rows, self.views[at // len(self.rows)])


def row_blocks(rows: np.ndarray, numbers_per_row: int) -> Iterator[np.ndarray]:
    """Cut rows (N,) into blocks of ``models.moments.BLOCK_BYTES``; at least one, maybe empty."""
    size = block_rows(numbers_per_row)
    for start in range(0, max(len(rows), 1), size):
        yield rows[start : start + size]
