"""Many more people, for the VAE-GANs and for context attention: embedded pictures, finished face crops, and spectrograms of other voices.

``data/crowd/faces.bin`` holds WebP pictures of 128 x 128 one after another, ``faces.csv`` a row for each: where its
bytes are and what it shows.  They are decoded once per size into a memory-mapped array beside the prepared corpora.
The voices are not shipped: ``python -m tools.corpus voices`` makes ``voices.npy`` and ``voices.csv`` (no picture and no
voice belong together).
"""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from cmlib import files, provenance
from cmlib.corpora import CorpusError, cache_root, default_root
from cmlib.corpora.names import CLASSES

SHIPPED = Path(__file__).resolve().parents[2] / "data" / "crowd"
ZOOM = (
    0.0735,
    0.066,
    0.853,
)  # left, top, side of what is kept, as shares: frames it as cmlib.faces frames clips


def home() -> Path:
    """Where the crowd lies: ``$CM_DATA``'s own, else the one that is shipped; CorpusError where neither is there."""
    for folder in (default_root("crowd"), SHIPPED):
        if all((folder / name).exists() for name in ("faces.csv", "faces.bin")):
            return folder
    raise CorpusError(f"{folder}: the pictures of the crowd are not there; git checkout data/crowd")


def key() -> str:
    """Fingerprint of what is said at ``home`` of each picture (where it is, mood, person, ...), and of the framing."""
    return hashlib.sha256((home() / "faces.csv").read_bytes() + str(ZOOM).encode()).hexdigest()[:12]


def table(root: str | Path | None = None, limit: int | None = None) -> pd.DataFrame:
    """A row for each picture (offset, bytes, person, mood, pose, ...), at most ``limit`` evenly chosen ones; empty
    where the corpus is not there."""
    path = Path(root or default_root("crowd")) / "faces.csv"
    rows = (
        pd.read_csv(path)
        if path.exists()
        else pd.DataFrame(columns=["offset", "bytes", "person", "mood"])
    )
    if limit is not None and limit < len(rows):
        rows = rows.iloc[np.linspace(0, len(rows) - 1, limit).round().astype(int)]
    return rows


def labels(rows: pd.DataFrame, classes: tuple[str, ...] = CLASSES) -> np.ndarray:
    """Class in ``classes`` of each of ``rows`` (of ``table`` or ``voices``), -1 where its mood is none of them: (N,)."""
    return np.array([classes.index(m) if m in classes else -1 for m in rows.mood], int)


def load(size: int, limit: int | None = None, root: str | Path | None = None) -> np.ndarray:
    """At most ``limit`` pictures (None: all), evenly chosen: (N, size, size, 3) uint8; N = 0 without the corpus."""
    rows = table(root, limit)
    if rows.empty:
        return np.zeros((0, size, size, 3), np.uint8)
    data = (Path(root or default_root("crowd")) / "faces.bin").read_bytes()
    if len(data) < (rows.offset + rows.bytes).max():
        raise CorpusError(
            "data/crowd/faces.bin: shorter than faces.csv says; get it again (git checkout data/crowd)"
        )
    content = hashlib.sha256(data + str(rows.offset.tolist()).encode()).hexdigest()
    settings, pictures = {"size": size, "zoom": ZOOM}, {"pictures": content}
    record = provenance.of_code("preparation", settings, pictures)
    path = cache_root() / f"crowd-{size}-{record.fingerprint()}.npy"
    if not path.exists():
        left, top, side = ZOOM
        pictures = np.empty((len(rows), size, size, 3), np.uint8)
        for i, (offset, length) in enumerate(zip(rows.offset, rows.bytes)):
            image = Image.open(io.BytesIO(data[offset : offset + length])).convert("RGB")
            box = (
                left * image.width,
                top * image.height,
                (left + side) * image.width,
                (top + side) * image.height,
            )
            pictures[i] = image.resize((size, size), Image.Resampling.BICUBIC, box)
        with files.write_atomically(path) as temporary, open(temporary, "wb") as file:
            np.save(file, pictures)
    return np.load(path, mmap_mode="r")


def voices(root: str | Path | None = None) -> tuple[np.ndarray, pd.DataFrame]:
    """Spectrograms (N, 128, 128, 1) uint8, 255 for 1, and a row for each (person, sex, mood, intensity, statement)."""
    folder = Path(root or default_root("crowd"))
    if not (folder / "voices.csv").exists():
        raise CorpusError(
            f"{folder}: no voices of the crowd; python -m tools.corpus voices makes them (extra corpus, half an hour)"
        )
    return np.load(folder / "voices.npy", mmap_mode="r"), pd.read_csv(folder / "voices.csv")
