"""Turn the pictures of a folder into one array of face crops, once.

``corpora.picture_folders`` lists the pictures of the folder. The cache then holds
``<kind>-<size>-<key>.npy`` (N, S, S, 3) uint8, a table of the same name with a row for each crop
(``.csv``), one of what was left out (``.skipped.csv``), and one of what was kept although it may
not fit (``.remarks.csv``): grey pictures and heads that are turned away. Until all are done, every
256 pictures have a file of their own in a folder ``.part``, so that interrupted work resumes where
it stopped.
"""

from __future__ import annotations

import hashlib
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import ImageOps

from cmlib import damage, files, provenance
from cmlib.arrays import open_array, open_or_set_aside
from cmlib.corpora import CorpusError, Skipped, archives, cache_root, picture_folders
from cmlib.locks import locked
from cmlib.preparation import cropping, detector
from cmlib.preparation.inputs import UNREADABLE, identify
from cmlib.preparation.store import save_in_blocks
from cmlib.progress import progress_bar

CHUNK_SIZE = 256  # pictures whose crops share one file until all are done
DETECTION_BATCH = 16  # pictures that are open at a time
MAX_PICTURE_SIDE = 1600  # pixels: larger pictures are scaled down before the search for a face
# The nose of a turned head is off the middle between its eyes by more than this share of their
# distance. Of 366 pictures of CelebA, the heads beyond it were turned by about 30 degrees or more.
TURNED = 0.35
GREY = 3.0  # of 255: the mean difference between the colour channels of a picture without colour


@dataclass(frozen=True)
class PictureSet:
    """The face crops of a folder of pictures."""

    pictures: np.ndarray  # (N, S, S, 3) uint8, memory-mapped
    table: pd.DataFrame  # a row for each, all text: file, part, person, emotion, further columns
    skipped: pd.DataFrame  # path and reason of what was left out
    remarks: pd.DataFrame  # file and remark ("grey", "turned") of what was kept all the same
    kind: str  # of folder: celeba, rafd, labelled or images
    key: str  # changes with the files and the settings


def crop_folder(
    root: str | Path,
    size: int,
    cache: str | Path | None = None,
    workers: int | None = None,
    labels: str | Path | None = None,
) -> PictureSet:
    """The faces of the pictures below ``root``, cropped as the faces of clips are.

    Crops of an earlier call are read back. Left out are pictures that cannot be read, that show no
    face, or whose face is smaller than half of ``size``. ``workers``: threads (default: one for
    each core). ``labels``: the table of the set, if it does not lie in the folder or beside it
    (``corpora.picture_tables``). Raises CorpusError if no picture is left to train on, or none to
    measure on.
    """
    root = archives.as_folder(files.expand_home(root))
    cache = Path(cache or cache_root())
    kind, table, left_out = picture_folders.scan(root, labels)
    key = _key(root, table, size)
    path = cache / f"{kind}-{size}-{key}.npy"
    files.make_folder(cache)
    with locked(path.with_suffix(".lock"), f"cropping the pictures of {root}"):
        pictures = open_or_set_aside(path)
        if pictures is None:
            chunks = path.with_suffix(".part")
            chunks.mkdir(exist_ok=True)
            _crop_chunks(root, table, size, chunks, workers)
            _assemble(root, table, left_out, size, chunks, path)
            shutil.rmtree(chunks, ignore_errors=True)
            pictures = open_array(path)
    options: dict = {"keep_default_na": False, "dtype": str, "encoding_errors": "surrogateescape"}
    crops = pd.read_csv(path.with_suffix(".csv"), **options)
    # Crops depend on the pictures that are used. What else is left out may have changed since.
    stored = pd.read_csv(path.with_suffix(".skipped.csv"), **options)
    unusable = stored[stored.path.isin(set(table.file) - set(crops.file))]
    rows = [(str(at), reason) for at, reason in left_out]
    rows += zip(unusable.path, unusable.reason)
    skipped = pd.DataFrame(rows, columns=["path", "reason"])
    remarks = pd.DataFrame(columns=["file", "remark"])
    remarks_file = path.with_suffix(".remarks.csv")
    if remarks_file.exists():  # caches of earlier versions have none
        remarks = pd.read_csv(remarks_file, **options)
    return PictureSet(pictures, crops, skipped, remarks, kind, key)


def _key(root: Path, table: pd.DataFrame, size: int) -> str:
    """12 hexadecimal digits that change with the names and sizes of the files and the settings."""
    bytes_of_files = [archives.size(root / file) for file in table.file]
    listing = f"{table.to_csv(index=False)} {bytes_of_files}".encode(errors="surrogateescape")
    content = hashlib.sha256(listing).hexdigest()
    return provenance.of_code("cropping", {"size": size}, {"pictures": content}).fingerprint()


def _chunk_files(table: pd.DataFrame, chunks: Path) -> dict[int, Path]:
    """The file of each chunk, by the row of its first picture."""
    return {start: chunks / f"{start:08d}.npz" for start in range(0, len(table), CHUNK_SIZE)}


def _crop_chunks(
    root: Path, table: pd.DataFrame, size: int, chunks: Path, workers: int | None
) -> None:
    """Write the file of every chunk that does not have one yet.

    Threads are enough, since decoding and detecting release Python's lock.
    """
    import joblib  # here, so that the demo starts sooner; it respects the limits of a container

    threads = torch.get_num_threads()
    pool = ThreadPoolExecutor(
        workers or joblib.cpu_count(), initializer=torch.set_num_threads, initargs=(1,)
    )
    try:
        jobs = [
            pool.submit(_crop_chunk, root, list(table.file[start : start + CHUNK_SIZE]), size, path)
            for start, path in _chunk_files(table, chunks).items()
            if not path.exists()
        ]
        for job in progress_bar(jobs, "finding faces", unit=f" x {CHUNK_SIZE} pictures"):
            job.result()
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)


def _crop_chunk(root: Path, names: list[str], size: int, target: Path) -> None:
    """Write the crops of these pictures, and for each why it has none ("" where it has one)."""
    crops, reasons, remarks = [], [], []
    for start in range(0, len(names), DETECTION_BATCH):
        batch = names[start : start + DETECTION_BATCH]
        for outcome in crop_pictures([root / name for name in batch], size):
            if isinstance(outcome, FaceCrop):
                crops.append(outcome.pixels)
                reasons.append("")
                remarks.append(outcome.remark)
            else:
                reasons.append(outcome)
                remarks.append("")
    array = np.stack(crops) if crops else np.zeros((0, size, size, 3), np.uint8)
    with files.write_atomically(target) as temporary:
        with open(temporary, "wb") as file:
            np.savez(file, crops=array, reasons=np.array(reasons), remarks=np.array(remarks))


@dataclass(frozen=True)
class FaceCrop:
    """The face of a picture: (S, S, 3) uint8, and "grey" or "turned" if it may not fit, else ""."""

    pixels: np.ndarray
    remark: str


def crop_pictures(paths: list[Path], size: int) -> list[FaceCrop | str]:
    """The face of each picture, ``size`` pixels a side, or why there is none.

    All pictures are open at the same time, so there should be only a few of them.
    """
    pictures, outcomes = {}, {}
    for path in paths:
        try:
            pictures[path] = open_picture(path)
        except UNREADABLE as error:
            outcomes[path] = f"unreadable: {' '.join(str(error).split())}"
    faces = detector.find_faces(list(pictures.values())) if pictures else []
    for (path, picture), points in zip(pictures.items(), faces):
        outcomes[path] = _crop_face(picture, points, size)
    return [outcomes[path] for path in paths]


def _crop_face(picture: np.ndarray, points: np.ndarray | None, size: int) -> FaceCrop | str:
    """The face with these points, or why it is of no use."""
    if points is None:
        return "face: none found"
    x, y, side, roll = cropping.square_around(points)
    if side < size / 2:
        return f"small: the face fills {side:.0f} pixels, {size / 2:.0f} are wanted"
    crop = cropping.cut_square(picture, x, y, side, roll, size)
    return FaceCrop(crop, _remark(crop, points))


def _remark(crop: np.ndarray, points: np.ndarray) -> str:
    """ "turned" for a head that is turned away, "grey" for a picture without colour, else ""."""
    left_eye, right_eye, nose, mouth = points[:4]
    across = right_eye - left_eye
    middle = (left_eye + right_eye) / 2
    eye_distance = float(np.hypot(*across))
    nose_off_middle = float((nose - middle) @ across) / max(eye_distance, 1e-6)
    # The eyes of a turned head are closer together in the picture, as in ``square_around``.
    scale = max(eye_distance, 0.8 * float(np.hypot(*(mouth - middle))))
    if abs(nose_off_middle) > TURNED * scale:
        return "turned"
    colour = crop.astype(np.int16)
    if np.abs(colour[..., :2] - colour[..., 1:]).mean() < GREY:
        return "grey"
    return ""


def open_picture(path: Path) -> np.ndarray:
    """A picture (H, W, 3) uint8, upright, with sides of at most ``MAX_PICTURE_SIDE`` pixels."""
    with identify(path) as opened:
        opened.draft("RGB", (MAX_PICTURE_SIDE, MAX_PICTURE_SIDE))  # decodes a large JPEG small
        image = ImageOps.exif_transpose(opened).convert("RGB")
    image.thumbnail((MAX_PICTURE_SIDE, MAX_PICTURE_SIDE))
    return np.asarray(image)


def _assemble(
    root: Path,
    table: pd.DataFrame,
    left_out: list[Skipped],
    size: int,
    chunks: Path,
    path: Path,
) -> None:
    """Turn the chunks into the array and its two tables."""
    chunk_files = list(_chunk_files(table, chunks).values())
    reasons = np.concatenate([np.load(file)["reasons"] for file in chunk_files])
    remarks = np.concatenate([np.load(file)["remarks"] for file in chunk_files])
    usable = table.loc[reasons == ""]
    skipped = [(str(at), reason) for at, reason in left_out]
    skipped += zip(table.file[reasons != ""], reasons[reasons != ""])
    _check_parts(root, table, usable, skipped)
    # The name of a file may hold bytes that are no text.
    options: dict = {"index": False, "errors": "surrogateescape"}
    usable.to_csv(path.with_suffix(".csv"), **options)
    columns = ["path", "reason"]
    pd.DataFrame(skipped, columns=columns).to_csv(path.with_suffix(".skipped.csv"), **options)
    with_remark = pd.DataFrame({"file": table.file, "remark": remarks})[remarks != ""]
    with_remark.to_csv(path.with_suffix(".remarks.csv"), **options)
    # The array is written last: it is the sign that everything is there.
    with files.write_atomically(path) as temporary:
        blocks = (np.load(file)["crops"] for file in chunk_files)
        save_in_blocks(temporary, (len(usable), size, size, 3), "|u1", blocks)
    damage.note_checksum(path)


def _check_parts(
    root: Path, table: pd.DataFrame, usable: pd.DataFrame, skipped: list[tuple[str, str]]
) -> None:
    """CorpusError if no picture is left to train on, or none to measure on."""
    for part, purpose in (("train", "train"), ("val", "measure")):
        if part in set(usable.part):
            continue
        fault = f"{len(usable)} faces in {len(table)} pictures, but none to {purpose} on"
        if skipped:
            path, reason = skipped[0]
            fault += f"; the first left out: {path}: {reason}"
        raise CorpusError(f"{root}: {fault}")
