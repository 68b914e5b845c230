"""A prepared corpus, read back: memory-mapped arrays and a table."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from cmlib import corpora, provenance
from cmlib.corpora import archives
from cmlib.files import checksum

ARRAYS = ("frames", "frame_clip", "mels")


class StoreError(RuntimeError):
    """A prepared corpus cannot be made or read; the message says why and what to do."""


# -------------------------------------------------------------------- reading


@dataclass(frozen=True)
class Store:
    """A prepared corpus; arrays are memory-mapped: opening costs nothing, rows are read when they are asked for."""

    folder: Path

    @classmethod
    def open(cls, path: str | Path) -> Store:
        """Open a prepared folder; StoreError where it is none, or of another format."""
        store = cls(Path(path))
        files = ("card.json", "clips.csv", "skipped.csv", *(f"{name}.npy" for name in ARRAYS))
        missing = [name for name in files if not (store.folder / name).exists()]
        if missing:
            raise StoreError(
                f"{path}: not a prepared corpus ({', '.join(missing)} missing); run cm prepare"
            )
        version = provenance.VERSIONS["preparation"]
        if store.card["format"] != version:
            raise StoreError(
                f"{path}: format {store.card['format']}, wanted {version};"
                " remove it and run cm prepare"
            )
        return store

    def __reduce__(self):  # to another process goes the folder, not the arrays
        return Store.open, (self.folder,)

    @cached_property
    def card(self) -> dict:
        """key, corpus, settings, counts, checksums of the arrays, versions, seconds."""
        return json.loads((self.folder / "card.json").read_text())

    @property
    def root(self) -> Path:
        """The folder of the corpus that it was prepared from."""
        return Path(self.card["root"])

    @property
    def key(self) -> str:
        """12 hexadecimal digits that change with the inputs and the settings."""
        return self.card["key"]

    @cached_property
    def clips(self) -> pd.DataFrame:
        """A row for each clip: name, actor, emotion, label (index in EMOTIONS), intensity, statement, repetition,
        duration in seconds (0: unknown), first_frame, n_frames, face_found (bool; without a face the crops are the
        middle of the picture), face_rate (share of the frames looked at that have a face), silent (bool), file, sound
        (paths below the corpus's root)."""
        return pd.read_csv(self.folder / "clips.csv", keep_default_na=False)

    @cached_property
    def skipped(self) -> pd.DataFrame:
        """A row for each file that was left out: path, reason."""
        return pd.read_csv(self.folder / "skipped.csv", keep_default_na=False)

    @cached_property
    def frames(self) -> np.ndarray:
        """Face crops (N, S, S, 3) uint8."""
        return self._array("frames")

    @cached_property
    def frame_clip(self) -> np.ndarray:
        """Row in ``clips`` of each frame: (N,) int32."""
        return self._array("frame_clip")

    @cached_property
    def mels(self) -> np.ndarray:
        """Mel spectrograms (clips, 128, 128) float16 in 0...1."""
        return self._array("mels")

    def _array(self, name: str) -> np.ndarray:
        path = self.folder / f"{name}.npy"
        empty = name != "mels" and not self.card["frames"]
        return np.load(path, mmap_mode=None if empty else "r")

    @property
    def has_faces(self) -> bool:
        """Whether there is any picture; False for a corpus of sound only."""
        return self.card["frames"] > 0

    def path(self, clip: pd.Series) -> Path:
        """The file that holds the sound of a row of ``clips``, where the corpus lies now."""
        for root in (self.root, corpora.default_root(self.card["corpus"])):
            if archives.exists(found := root / clip.sound):
                return found
        raise StoreError(
            f"{clip.sound}: not in {self.root} any more; put the corpus back, or set CM_DATA"
        )

    def frame(self, clip: int) -> np.ndarray:
        """The middle frame of a row of ``clips``: (S, S, 3) uint8."""
        row = self.clips.iloc[clip]
        return self.frames[int(row.first_frame) + int(row.n_frames) // 2]

    def mel(self, clip: int) -> np.ndarray:
        """The mel spectrogram of a row of ``clips``: (128, 128) float32 in 0...1."""
        return np.asarray(self.mels[clip], np.float32)

    def dataset(self, rows: np.ndarray | None = None, flip: bool = False) -> FrameDataset:
        """A torch Dataset over the frames ``rows`` (None: all); ``flip`` mirrors every second one by chance."""
        return FrameDataset(self, np.arange(len(self.frames)) if rows is None else rows, flip)

    def verify(self) -> list[str]:
        """What is wrong with the files, compared with the checksums in the card; empty if nothing is."""
        faults = []
        for name, wanted in self.card["sha256"].items():
            path = self.folder / name
            if not path.exists():
                faults.append(f"{path}: missing")
            elif checksum(path) != wanted:
                faults.append(f"{path}: changed since it was written")
        return faults


class FrameDataset(torch.utils.data.Dataset):
    """Frames as (picture (3, S, S) float32 in 0...1, row of the clip)."""

    def __init__(self, store: Store, rows: np.ndarray, flip: bool = False):
        self.store, self.rows, self.flip = store, np.asarray(rows), flip

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        row = int(self.rows[index])
        picture = torch.from_numpy(np.array(self.store.frames[row])).permute(2, 0, 1).float() / 255
        if self.flip and torch.rand(()) < 0.5:
            picture = picture.flip(-1)
        return picture, int(self.store.frame_clip[row])
