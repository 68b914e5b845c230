"""The crowd: pictures and voices of many more people, from which the networks also learn.

``data/crowd/faces.bin`` holds face crops, WebP pictures of 128 x 128 pixels, one after another;
``faces.csv`` has a row for each, with the position of its bytes and what it shows. They are decoded
once for each size, into a memory-mapped array beside the prepared corpora. The voices are
spectrograms of other people, so no voice belongs to a picture. They are not shipped: ``python -m
tools.corpus voices`` makes ``voices.npy`` and ``voices.csv``.
"""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from cmlib import damage, files, provenance
from cmlib.arrays import open_array, open_or_set_aside
from cmlib.corpora.clip import CorpusError
from cmlib.corpora.folders import cache_root, default_root
from cmlib.corpora.names import CLASSES

SHIPPED = files.ROOT / "data" / "crowd"
# Left, top and side of the square that is kept, as shares of the picture: it frames the faces as
# cmlib.preparation.cropping frames those of clips.
ZOOM = (0.0735, 0.066, 0.853)


def folder() -> Path:
    """The folder of the crowd: the one in ``$CM_DATA``, else the shipped one.

    Raises CorpusError if neither exists.
    """
    for root in (default_root("crowd"), SHIPPED):
        if all((root / name).exists() for name in ("faces.csv", "faces.bin")):
            return root
    raise CorpusError(
        f"{SHIPPED}: the pictures of the crowd are missing; get them with git checkout data/crowd"
    )


def key() -> str:
    """12 hexadecimal digits that change with the table of pictures and with the framing."""
    content = (folder() / "faces.csv").read_bytes() + str(ZOOM).encode()
    return hashlib.sha256(content).hexdigest()[:12]


def table(root: str | Path | None = None, limit: int | None = None) -> pd.DataFrame:
    """A row for each picture: offset, bytes, person, mood, pose, ...

    At most ``limit`` of them, evenly spaced. Empty if the corpus is missing.
    """
    path = Path(root or default_root("crowd")) / "faces.csv"
    if not path.exists():
        return pd.DataFrame(columns=["offset", "bytes", "person", "mood"])
    rows = pd.read_csv(path)
    if limit is not None and limit < len(rows):
        rows = rows.iloc[np.linspace(0, len(rows) - 1, limit).round().astype(int)]
    return rows


def labels(rows: pd.DataFrame, classes: tuple[str, ...] = CLASSES) -> np.ndarray:
    """Index in ``classes`` of the mood of each row, of pictures or of voices: (N,).

    It is -1 for other moods.
    """
    return np.array([classes.index(mood) if mood in classes else -1 for mood in rows.mood], int)


def load(size: int, limit: int | None = None, root: str | Path | None = None) -> np.ndarray:
    """At most ``limit`` pictures (None: all), evenly spaced: (N, size, size, 3) uint8.

    N is 0 if the corpus is missing. Raises CorpusError if its file of pictures is too short.
    """
    rows = table(root, limit)
    if rows.empty:
        return np.zeros((0, size, size, 3), np.uint8)
    data = (Path(root or default_root("crowd")) / "faces.bin").read_bytes()
    if len(data) < (rows.offset + rows.bytes).max():
        raise CorpusError(
            "data/crowd/faces.bin: shorter than faces.csv says; "
            "get it again (git checkout data/crowd)"
        )
    content = hashlib.sha256(data + str(rows.offset.tolist()).encode()).hexdigest()
    settings, pictures = {"size": size, "zoom": ZOOM}, {"pictures": content}
    record = provenance.of_code("preparation", settings, pictures)
    path = cache_root() / f"crowd-{size}-{record.fingerprint()}.npy"
    pictures_on_disk = open_or_set_aside(path)
    if pictures_on_disk is None:
        with files.write_atomically(path) as temporary, open(temporary, "wb") as file:
            np.save(file, _decode(data, rows, size))
        damage.note_checksum(path)
        pictures_on_disk = open_array(path)
    return pictures_on_disk


def _decode(data: bytes, rows: pd.DataFrame, size: int) -> np.ndarray:
    """The pictures of these rows, framed and scaled: (N, size, size, 3) uint8."""
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
        pictures[i] = np.asarray(image.resize((size, size), Image.Resampling.BICUBIC, box))
    return pictures


def voices(root: str | Path | None = None) -> tuple[np.ndarray, pd.DataFrame]:
    """Spectrograms (N, 128, 128, 1) uint8, 255 for 1, and a row for each of them.

    A row holds person, sex, mood, intensity and statement. Raises CorpusError if the voices have
    not been made.
    """
    root = Path(root or default_root("crowd"))
    if not (root / "voices.csv").exists():
        raise CorpusError(
            f"{root}: no voices of the crowd; python -m tools.corpus voices makes them "
            "(extra corpus, half an hour)"
        )
    return np.load(root / "voices.npy", mmap_mode="r"), pd.read_csv(root / "voices.csv")
