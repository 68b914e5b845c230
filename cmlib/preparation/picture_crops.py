"""Pictures of a folder -> face crops in one array, made once and kept: ``images.scan`` says what is there.

In the cache lie ``<kind>-<size>-<key>.npy`` (N, S, S, 3) uint8, the same name with ``.csv`` (a row for each crop) and
with ``.skipped.csv``.  Until all is done, each 256 pictures are a file of their own in a folder ``.part``, so work that
was stopped goes on where it was.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from filelock import FileLock
from PIL import Image, ImageOps
from tqdm.auto import tqdm

from cmlib import provenance
from cmlib.corpora import CorpusError, cache_root, picture_folders
from cmlib.preparation import cropping, detector

CHUNK_SIZE = 256  # pictures in a part file
MAX_PICTURE_SIDE = (
    1600  # pixels of a side: larger pictures are made smaller before a face is looked for
)
DETECTION_BATCH = 16  # pictures looked at together


@dataclass(frozen=True)
class PictureSet:
    """Face crops (N, S, S, 3) uint8, memory-mapped; a row for each (file, part, person, emotion); path and reason of
    what was left out; the kind of folder (celeba, rafd, images) and the key of files and settings."""

    pictures: np.ndarray
    table: pd.DataFrame
    skipped: pd.DataFrame
    kind: str
    key: str


def crop_folder(
    root: str | Path, size: int, cache: str | Path | None = None, workers: int | None = None
) -> PictureSet:
    """The faces of the pictures below ``root``, each cropped as the faces of clips are; read back if they were made.

    Left out are pictures that cannot be read, that show no face, or one of less than half ``size``.  ``workers``:
    threads (default: one a core).  CorpusError where no picture is left to train on, or to measure on.
    """
    root, cache = Path(root), Path(cache or cache_root())
    kind, table, left_out = picture_folders.scan(root)
    sizes = [(root / file).stat().st_size for file in table.file]
    content = hashlib.sha256(f"{table.to_csv(index=False)} {sizes}".encode()).hexdigest()
    key = provenance.of_code("cropping", {"size": size}, {"pictures": content}).fingerprint()
    path = cache / f"{kind}-{size}-{key}.npy"
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        if not path.exists():
            import joblib  # the demo starts sooner without; it knows the limits of a container

            (part := path.with_suffix(".part")).mkdir(exist_ok=True)
            _work(root, table, size, part, workers or joblib.cpu_count())
            _assemble(root, table, left_out, size, part, path)
            shutil.rmtree(part, ignore_errors=True)
    tables = (
        pd.read_csv(path.with_suffix(s), keep_default_na=False, dtype=str)
        for s in (".csv", ".skipped.csv")
    )
    return PictureSet(np.load(path, mmap_mode="r"), *tables, kind, key)


def _work(root: Path, table: pd.DataFrame, size: int, part: Path, workers: int) -> None:
    """Every chunk that has no part file yet gets one; threads, since decoding and detecting leave Python alone."""
    starts = [s for s in range(0, len(table), CHUNK_SIZE) if not (part / f"{s:08d}.npz").exists()]
    quiet = os.environ.get("CM_QUIET") or not (sys.stderr.isatty() or "ipykernel" in sys.modules)
    threads = torch.get_num_threads()
    pool = ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,))
    try:
        jobs = [
            pool.submit(
                _chunk, root, list(table.file[s : s + CHUNK_SIZE]), size, part / f"{s:08d}.npz"
            )
            for s in starts
        ]
        for job in tqdm(
            jobs, "finding faces", unit=f" x {CHUNK_SIZE} pictures", disable=bool(quiet)
        ):
            job.result()
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)


def _chunk(root: Path, names: list[str], size: int, target: Path) -> None:
    """Crops of these pictures, and for each picture why it has none ("" where it has), as a file."""
    crops, reasons = [], []
    for start in range(0, len(names), DETECTION_BATCH):
        opened = [_open(root / name) for name in names[start : start + DETECTION_BATCH]]
        readable = [picture for picture in opened if not isinstance(picture, str)]
        found = iter(detector.find_faces(readable) if readable else ())
        for picture in opened:
            points = None if isinstance(picture, str) else next(found)
            square = None if points is None else cropping.square_around(points)
            if square is None:
                reasons.append(picture if isinstance(picture, str) else "face: none found")
            elif square[2] < size / 2:
                reasons.append(
                    f"small: the face fills {square[2]:.0f} pixels, {size / 2:.0f} are wanted"
                )
            else:
                reasons.append("")
                crops.append(cropping.cut_square(picture, *square, size))
    crops = np.stack(crops) if crops else np.zeros((0, size, size, 3), np.uint8)
    with open(temporary := target.with_suffix(".tmp"), "wb") as file:
        np.savez(file, crops=crops, reasons=np.array(reasons))
    os.replace(temporary, target)


def _open(path: Path) -> np.ndarray | str:
    """A picture (H, W, 3) uint8, upright, no side over ``MAX_PICTURE_SIDE``; or why it cannot be read."""
    try:
        with Image.open(path) as opened:
            opened.draft("RGB", (MAX_PICTURE_SIDE, MAX_PICTURE_SIDE))
            image = ImageOps.exif_transpose(opened).convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        return f"unreadable: {' '.join(str(error).split())}"
    image.thumbnail((MAX_PICTURE_SIDE, MAX_PICTURE_SIDE))
    return np.asarray(image)


def _assemble(
    root: Path, table: pd.DataFrame, left_out: list, size: int, part: Path, path: Path
) -> None:
    """Part files -> the array and its two tables; the array, which says that all is there, comes last."""
    parts = [part / f"{s:08d}.npz" for s in range(0, len(table), CHUNK_SIZE)]
    reasons = np.concatenate([np.load(p)["reasons"] for p in parts])
    kept = table[reasons == ""]
    skipped = [(str(at), why) for at, why in left_out] + list(
        zip(table.file[reasons != ""], reasons[reasons != ""])
    )
    for name, use in zip(picture_folders.PARTS, ("train", "measure")):
        if name not in set(kept.part):
            why = f"; the first left out: {skipped[0][0]}: {skipped[0][1]}" if skipped else ""
            raise CorpusError(
                f"{root}: {len(kept)} faces in {len(table)} pictures, but none to {use} on{why}"
            )
    kept.to_csv(path.with_suffix(".csv"), index=False)
    pd.DataFrame(skipped, columns=["path", "reason"]).to_csv(
        path.with_suffix(".skipped.csv"), index=False
    )
    with open(temporary := path.with_suffix(".tmp"), "wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": (len(kept), size, size, 3)}
        np.lib.format.write_array_header_2_0(file, header)
        for p in parts:
            file.write(np.load(p)["crops"].tobytes())
    os.replace(temporary, path)
