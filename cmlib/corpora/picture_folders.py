"""Folders of pictures to learn faces from: CelebA, RaFD, one with a table, or any other.

CelebA has the list ``list_eval_partition.txt`` with lines such as ``000001.jpg 0``: 0 is for
training, 1 for validation, and 2 is left out. RaFD has names such as
``Rafd090_01_Caucasian_female_angry_frontal.jpg``, that is camera angle, person, group, expression
and gaze; full profiles are left out. Any other set may have a table with the columns file, person
and emotion (``picture_tables``), in its folder or beside it: ``performers/`` and
``performers.csv``. Of RaFD and of a set with a table, the last tenth of the people is for
validation; of any other folder, every twentieth picture.
Liu et al. (2015), Deep Learning Face Attributes in the Wild; Langner et al. (2010), The Radboud
Faces Database.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from cmlib import files
from cmlib.corpora import archives
from cmlib.corpora.clip import CorpusError, Skipped
from cmlib.corpora.folders import PICTURE_SUFFIXES
from cmlib.corpora.names import CLASSES
from cmlib.corpora.picture_tables import PictureTable, find_table

PARTITION = "list_eval_partition.txt"
SUBSETS = ("train", "val", "test")  # 0, 1 and 2 in CelebA's list
VALIDATION_STEP = 20  # of any other folder, one in so many pictures is for validation
RAFD = re.compile(r"Rafd(\d{3})_(\d+)_([A-Za-z]+)_(\w+)_([a-z]+)_(frontal|left|right)", re.ASCII)
RAFD_EMOTIONS = {
    "angry": "angry",
    "contemptuous": "contempt",
    "disgusted": "disgust",
    "fearful": "fearful",
    "happy": "happy",
    "neutral": "neutral",
    "sad": "sad",
    "surprised": "surprised",
}
Row = tuple[Path, str, str, str]  # file, subset, person, emotion


def scan(
    root: str | Path, table: str | Path | None = None
) -> tuple[str, pd.DataFrame, list[Skipped]]:
    """The kind of a folder, a table of its pictures, and the files left out with the reason.

    ``table``: a file that says whom the pictures show, if it does not lie in the folder or beside
    it.

    The kind is "celeba", "rafd", "labelled" (by a table) or "images". The table has a row for each
    picture: file below ``root``, part ("train" or "val"), person and emotion ("" where unknown),
    and the further columns of the set's own table. Raises CorpusError if there are no pictures.
    """
    root = archives.as_folder(files.expand_home(root))
    if not archives.is_folder(root):
        fault = archives.remedy_of_archive(root) if root.exists() else ""
        raise CorpusError(f"{root}: {fault or 'no such folder; name the folder of pictures'}")
    paths, left_out = archives.walk(root, (*PICTURE_SUFFIXES, Path(PARTITION).suffix))
    pictures = [path for path in paths if path.suffix.lower() in PICTURE_SUFFIXES]
    if not pictures:
        first = f"; left out: {left_out[0][1]}" if left_out else ""
        raise CorpusError(f"{root}: no picture in it ({', '.join(PICTURE_SUFFIXES)}){first}")
    kind, rows, skipped = _scan_pictures(root, paths, pictures, table)
    return kind, rows, sorted(skipped + left_out)


def _scan_pictures(
    root: Path, paths: list[Path], pictures: list[Path], table: str | Path | None
) -> tuple[str, pd.DataFrame, list[Skipped]]:
    """``scan``, once it is known which files there are."""
    if table:
        return _scan_labelled(root, pictures, PictureTable.read(Path(table)))
    partitions = [path for path in paths if path.name == PARTITION]
    if partitions:
        rows, skipped = _scan_celeba(pictures, partitions[0])
        return "celeba", _as_table(rows, root), skipped
    if any(RAFD.fullmatch(path.stem) for path in pictures):
        rows, skipped = _scan_rafd(pictures)
        return "rafd", _as_table(rows, root), skipped
    own_table = find_table(root)
    if own_table is not None:
        return _scan_labelled(root, pictures, own_table)
    rows = [
        (path, "val" if i % VALIDATION_STEP == 0 else "train", "", "")
        for i, path in enumerate(pictures)
    ]
    return "images", _as_table(rows, root), []


def _as_table(rows: list[Row], root: Path) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=["file", "part", "person", "emotion"])
    table["file"] = [path.relative_to(root).as_posix() for path in table.file]
    return table


def _scan_labelled(
    root: Path, pictures: list[Path], labels: PictureTable
) -> tuple[str, pd.DataFrame, list[Skipped]]:
    """``scan`` for a set with a table."""
    table, skipped = labels.match(root, pictures)
    if table.empty:
        first = f"; the first line: {skipped[0][1]}" if skipped else ""
        raise CorpusError(f"{labels.path}: no row fits a picture in {root}{first}")
    validation_people = _validation_people(table.person)
    part = ["val" if person in validation_people else "train" for person in table.person]
    table = table.drop(columns="part", errors="ignore")  # of somebody else's split
    table.insert(1, "part", part)
    return "labelled", table, skipped


def _validation_people(people: Iterable[str]) -> list[str]:
    """The last tenth of the people, by name or number."""
    ordered = sorted(set(people), key=_by_number)
    return ordered[-max(1, len(ordered) // 10) :]


def _by_number(person: str) -> tuple[int, str]:
    """A sort key that puts person 9 before person 10, and names after numbers."""
    return (int(person), "") if person.isdecimal() else (sys.maxsize, person)


def labels(table: pd.DataFrame) -> list[int]:
    """Index in ``CLASSES`` of the emotion of each row, -1 for other emotions or none."""
    return [CLASSES.index(e) if e in CLASSES else -1 for e in table.emotion]


def _scan_celeba(pictures: list[Path], partition: Path) -> tuple[list[Row], list[Skipped]]:
    subsets = {}
    text = archives.read(partition).decode("utf-8", errors="replace")
    for number, line in enumerate(text.splitlines(), 1):
        fields = line.split()
        if len(fields) != 2 or fields[1] not in ("0", "1", "2"):
            raise CorpusError(
                f"{partition}: line {number}, {line[:40]!r}, is not like '000001.jpg 0'; "
                "get it again"
            )
        subsets[fields[0]] = SUBSETS[int(fields[1])]
    rows, skipped = [], []
    for path in pictures:
        subset = subsets.pop(path.name, None)
        if subset is None:
            skipped.append((path, f"partition: not in {PARTITION}, or twice"))
        elif subset == "test":
            skipped.append((path, "partition: a test picture"))
        else:
            rows.append((path, subset, "", ""))
    if subsets:
        fault = f"{len(subsets)} listed pictures are missing, the first {min(subsets)}"
        skipped.append((partition, f"missing: {fault}"))
    return rows, skipped


def _scan_rafd(pictures: list[Path]) -> tuple[list[Row], list[Skipped]]:
    portraits, skipped = [], []
    for path in pictures:
        match = RAFD.fullmatch(path.stem)
        if not match or match[5] not in RAFD_EMOTIONS:
            skipped.append((path, "name: not like Rafd090_01_Caucasian_female_angry_frontal.jpg"))
        elif match[1] in ("000", "180"):
            skipped.append((path, "view: a full profile"))
        else:
            portraits.append((path, match[2], RAFD_EMOTIONS[match[5]]))
    validation_people = _validation_people(person for _, person, _ in portraits)
    rows = [
        (path, "val" if person in validation_people else "train", person, emotion)
        for path, person, emotion in portraits
    ]
    return rows, skipped
