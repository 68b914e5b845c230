"""Encoding of all pictures by a frozen network; later stages train on the latents."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from cmlib.models import Posterior, VaeGan
from cmlib.preparation.store import save_in_blocks
from cmlib.training.batches import Pictures, batches, prefetched
from cmlib.training.loop import on_device

PLACED_ROWS = 65_536  # latents that are copied to their places together


@torch.no_grad()
def encode(
    model: VaeGan, pictures: Pictures, rows: np.ndarray, flips: bool = False, batch: int = 128
) -> Posterior:
    """Encode the pictures ``rows`` in eval mode and in float32; return posteriors (V, N, D).

    V is 1, or 2 with ``flips``: first the pictures as they are, then their mirror images. The
    latents are in memory, on the CPU; ``encode_to_file`` is for many of them.
    """
    model.eval()
    views = []
    for mirrored in _views(flips):
        chunks = list(_encoded_batches(model, pictures, rows, mirrored, batch))
        views.append(Posterior.cat(chunks))  # (N, D)
    return Posterior(
        torch.stack([view.mu for view in views]),
        torch.stack([view.logvar for view in views]),
    )


@torch.no_grad()
def encode_to_file(
    path: Path,
    model: VaeGan,
    pictures: Pictures,
    rows: np.ndarray,
    places: np.ndarray,
    *,
    flips: bool = False,
    batch: int = 128,
    device: torch.device | None = None,
) -> None:
    """Encode as ``encode`` does, into an array (2, V, N, D) float32 in a ``.npy`` file.

    The first half of the array are the means, the second the log variances. No more than a batch is
    in memory. ``places`` (N,) says where in ``rows`` (M,) the picture of each latent is, so that
    what several share is encoded once. The network computes on ``device`` and returns from there.
    """
    distinct = path if np.array_equal(places, np.arange(len(rows))) else path.with_suffix(".rows")
    try:
        with on_device(device, model):
            _write_distinct(distinct, model.eval(), pictures, rows, flips, batch)
        if distinct != path:
            _write_places(path, distinct, places)
    finally:
        if distinct != path:
            distinct.unlink(missing_ok=True)


def _write_distinct(
    path: Path, model: VaeGan, pictures: Pictures, rows: np.ndarray, flips: bool, batch: int
) -> None:
    """Write the latents of ``rows``, each batch at its place in the file.

    They are written and not mapped, for the reason that ``save_in_blocks`` gives.
    """
    views, latent = _views(flips), int(model.config["latent"])
    header = {"descr": "<f4", "fortran_order": False, "shape": (2, len(views), len(rows), latent)}
    row_bytes = 4 * latent
    with open(path, "wb") as file:
        np.lib.format.write_array_header_2_0(file, header)
        start = file.tell()
        for view, mirrored in enumerate(views):
            row = 0
            for posterior in _encoded_batches(model, pictures, rows, mirrored, batch):
                for part, values in enumerate(posterior):
                    before = (part * len(views) + view) * len(rows) + row
                    file.seek(start + before * row_bytes)
                    file.write(values.numpy().tobytes())
                row += len(posterior.mu)


def _write_places(path: Path, distinct: Path, places: np.ndarray) -> None:
    """Copy each latent of the file ``distinct`` to all its places in the file ``path``."""
    stored = np.load(distinct, mmap_mode="r")  # (2, V, M, D)
    parts, views, _, latent = stored.shape

    def blocks() -> Iterator[np.ndarray]:
        for part in range(parts):
            for view in range(views):
                for block in np.array_split(places, max(1, len(places) // PLACED_ROWS)):
                    yield stored[part, view, block]

    save_in_blocks(path, (parts, views, len(places), latent), "<f4", blocks())


def _views(flips: bool) -> tuple[bool, ...]:
    """Of each view, whether it is the mirror image."""
    return (False, True) if flips else (False,)


def _encoded_batches(
    model: VaeGan, pictures: Pictures, rows: np.ndarray, mirrored: bool, batch: int
) -> Iterator[Posterior]:
    """The posteriors (B, D) of the pictures ``rows``, batch by batch, on the CPU."""
    device = next(model.parameters()).device

    def read() -> Iterator[torch.Tensor]:
        for indices in batches(rows, batch):
            yield pictures.batch(indices, np.full(len(indices), mirrored))

    for x in prefetched(read(), device):
        yield model.encoder(x).map(torch.Tensor.cpu)  # (B, D)
