"""Read a prepared corpus: memory-mapped arrays and a table."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from cmlib import corpora, damage, files, provenance
from cmlib.arrays import open_array
from cmlib.corpora import archives

ARRAYS = ("frames", "frame_clip", "mels")
TABLES = ("clips", "skipped")


class StoreError(RuntimeError):
    """A corpus cannot be prepared or read back; the message says why and what to do."""


@dataclass(frozen=True)
class Store:
    """A prepared corpus. Its arrays are memory-mapped, so opening it costs nothing."""

    folder: Path

    @classmethod
    def open(cls, path: str | Path) -> Store:
        """Open a prepared folder.

        Raises StoreError if it is not one, if it is of another format, or if an array is cut short.
        """
        store = cls(Path(path))
        names = ["card.json"]
        names += [f"{name}.csv" for name in TABLES]
        names += [f"{name}.npy" for name in ARRAYS]
        missing = [name for name in names if not (store.folder / name).exists()]
        if missing:
            raise StoreError(
                f"{path}: not a prepared corpus ({', '.join(missing)} missing); run cm prepare"
            )
        version = provenance.VERSIONS["preparation"]
        if store.card["format"] != version:
            raise StoreError(
                f"{path}: format {store.card['format']}, expected {version}; "
                "remove it and run cm prepare"
            )
        for name in ARRAYS:
            try:
                open_array(store.folder / f"{name}.npy")
            except damage.DamageError as error:
                raise StoreError(f"{error}; run cm prepare, which makes it again") from None
        return store

    def __reduce__(self):
        """When pickled for another process, pass on the folder and not the arrays."""
        return Store.open, (self.folder,)

    @cached_property
    def card(self) -> dict:
        """Key, corpus, settings, counts, checksums of the files, and seconds of the last start."""
        path = self.folder / "card.json"
        try:
            return json.loads(path.read_text())
        except ValueError as error:
            raise StoreError(
                f"{path}: damaged ({error}); run cm prepare, which makes it again"
            ) from None

    @property
    def root(self) -> Path:
        """The folder of the corpus from which this was prepared."""
        return Path(self.card["root"])

    @property
    def key(self) -> str:
        """12 hexadecimal digits that change with the inputs and the settings."""
        return self.card["key"]

    @cached_property
    def clips(self) -> pd.DataFrame:
        """A row for each clip.

        Columns: name, actor, emotion, label (index in EMOTIONS), intensity, statement and
        repetition; duration in seconds (0 if unknown); first_frame and n_frames, the clip's rows of
        ``frames``; face_found (bool; without a face, the crops are the middle of the picture) and
        face_rate (share of the examined frames that show a face); silent (bool); file and sound
        (paths below the root of the corpus). If the sound of any clip had to be mended, the column
        sound_remark says how. Where faces and voices are of two corpora, ``actor`` is the person of
        the face, ``voice_actor`` that of the voice, and sound is a path below the folder of the
        voices.
        """
        return self._table("clips")

    @cached_property
    def skipped(self) -> pd.DataFrame:
        """A row for each file that was left out: path, reason."""
        return self._table("skipped")

    def _table(self, name: str) -> pd.DataFrame:
        return pd.read_csv(
            self.folder / f"{name}.csv", keep_default_na=False, encoding_errors="surrogateescape"
        )

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
        return open_array(self.folder / f"{name}.npy")

    @property
    def has_faces(self) -> bool:
        """Whether there are any pictures; False for a corpus of sound only."""
        return self.card["frames"] > 0

    def path(self, clip: pd.Series) -> Path:
        """The file with the sound of a row of ``clips``, also if the corpus has been moved."""
        pair = corpora.split_pair(self.card["corpus"])
        root = Path(self.card["voices"]) if pair else self.root
        default = corpora.current_root(pair[1] if pair else self.card["corpus"])
        for folder in (root, default):
            path = folder / clip.sound
            if archives.exists(path):
                return path
        raise StoreError(
            f"{clip.sound}: not in {root} any more; put the corpus back, or set CM_DATA"
        )

    def frame(self, clip: int) -> np.ndarray:
        """The middle frame of a row of ``clips``: (S, S, 3) uint8."""
        row = self.clips.iloc[clip]
        return self.frames[int(row.first_frame) + int(row.n_frames) // 2]

    def mel(self, clip: int) -> np.ndarray:
        """The mel spectrogram of a row of ``clips``: (128, 128) float32 in 0...1."""
        return np.asarray(self.mels[clip], np.float32)

    def fault(self) -> str:
        """What is wrong with the first file that is damaged; "" if none is.

        Large arrays are read only if they are newer than the card (``damage.fault_of``).
        """
        for name, expected in self.card["sha256"].items():
            fault = damage.fault_of(self.folder / name, expected, self.folder / "card.json")
            if fault:
                return f"{name} {fault}"
        return ""

    def verify(self) -> list[str]:
        """Compare the files with the checksums in the card: a line for each fault."""
        faults = []
        for name, expected in self.card["sha256"].items():
            path = self.folder / name
            if not path.exists():
                faults.append(f"{path}: missing")
            elif files.checksum(path) != expected:
                faults.append(f"{path}: changed since it was written")
        return faults


def save_in_blocks(
    path: Path, shape: tuple[int, ...], dtype: str, blocks: Iterable[np.ndarray]
) -> None:
    """Write an array that need not fit into memory to a ``.npy`` file, from blocks of its rows.

    They are appended, not written into ``np.lib.format.open_memmap``: if the disk fills up, that
    ends the process with a bus error, whereas this raises an OSError that can be explained.
    """
    header = {"descr": dtype, "fortran_order": False, "shape": shape}
    with open(path, "wb") as file:
        np.lib.format.write_array_header_2_0(file, header)
        for block in blocks:
            file.write(np.ascontiguousarray(block).tobytes())


def open_or_set_aside(folder: Path) -> Store | None:
    """The prepared corpus in ``folder``; None if there is none.

    A damaged one is set aside as ``folder``.bad, and a line says so. It can be made again.
    """
    if not folder.exists():
        return None
    fault = damage.lasting_fault(lambda: _fault_in(folder))
    if fault:
        damage.set_aside(folder, fault, "prepared again")
        return None
    return Store.open(folder)


def _fault_in(folder: Path) -> str:
    """What is wrong with a prepared corpus; "" if nothing is."""
    try:
        return Store.open(folder).fault()
    except (StoreError, OSError, KeyError, TypeError, AttributeError) as error:
        return str(error).partition("; ")[0].removeprefix(f"{folder}/")
