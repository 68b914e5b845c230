"""Folders of pictures to learn faces from: CelebA, RaFD, or any other.

CelebA has the list ``list_eval_partition.txt`` with lines such as ``000001.jpg 0``: 0 is for
training, 1 for validation, and 2 is left out. RaFD has names such as
``Rafd090_01_Caucasian_female_angry_frontal.jpg``, that is camera angle, person, group, expression
and gaze; full profiles are left out, and the last tenth of the people is for validation. Of any
other folder, every twentieth picture is for validation.
Liu et al. (2015), Deep Learning Face Attributes in the Wild; Langner et al. (2010), The Radboud
Faces Database.
"""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from cmlib.corpora.clip import CorpusError, Skipped
from cmlib.corpora.folders import PICTURE_SUFFIXES, list_files
from cmlib.corpora.names import CLASSES

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


def scan(root: str | Path) -> tuple[str, pd.DataFrame, list[Skipped]]:
    """The kind of a folder, a table of its pictures, and the files left out with the reason.

    The kind is "celeba", "rafd" or "images". The table has a row for each picture: file below
    ``root``, part ("train" or "val"), person and emotion ("" where unknown). Raises CorpusError if
    there are no pictures.
    """
    root = Path(root)
    if not root.is_dir():
        raise CorpusError(f"{root}: no such folder; name the folder of pictures")
    pictures = list_files(root, PICTURE_SUFFIXES)
    if not pictures:
        raise CorpusError(f"{root}: no picture in it ({', '.join(PICTURE_SUFFIXES)})")
    partitions = sorted(root.rglob(PARTITION))
    if partitions:
        kind = "celeba"
        rows, skipped = _scan_celeba(pictures, partitions[0])
    elif any(RAFD.fullmatch(path.stem) for path in pictures):
        kind = "rafd"
        rows, skipped = _scan_rafd(pictures)
    else:
        kind = "images"
        rows = [
            (path, "val" if i % VALIDATION_STEP == 0 else "train", "", "")
            for i, path in enumerate(pictures)
        ]
        skipped = []
    table = pd.DataFrame(rows, columns=["file", "part", "person", "emotion"])
    table["file"] = [path.relative_to(root).as_posix() for path in table.file]
    return kind, table, sorted(skipped)


def labels(table: pd.DataFrame) -> list[int]:
    """Index in ``CLASSES`` of the emotion of each row, -1 for other emotions or none."""
    return [CLASSES.index(e) if e in CLASSES else -1 for e in table.emotion]


def _scan_celeba(pictures: list[Path], partition: Path) -> tuple[list[Row], list[Skipped]]:
    subsets = {}
    for number, line in enumerate(partition.read_text().splitlines(), 1):
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
    people = sorted({person for _, person, _ in portraits})
    validation_people = people[-max(1, len(people) // 10) :]
    rows = [
        (path, "val" if person in validation_people else "train", person, emotion)
        for path, person, emotion in portraits
    ]
    return rows, skipped
