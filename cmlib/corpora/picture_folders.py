"""Folders of pictures, from which only faces are learnt: CelebA, RaFD, or any other.

CelebA: the pictures and its list ``list_eval_partition.txt`` (``000001.jpg 0``; 0 trains, 1 measures, 2 is left alone).
RaFD: ``Rafd090_01_Caucasian_female_angry_frontal.jpg``, that is camera angle, person, looks, expression and gaze; full
profiles are left out, the last tenth of the people measures.  Any other folder: every twentieth picture measures.
Liu et al. (2015), Deep Learning Face Attributes in the Wild; Langner et al. (2010), The Radboud Faces Database.
"""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from cmlib.corpora import PICTURE_SUFFIXES, CorpusError, Skipped, list_files
from cmlib.corpora.names import CLASSES

PARTITION = "list_eval_partition.txt"
PARTS = ("train", "val", "test")
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


def scan(root: str | Path) -> tuple[str, pd.DataFrame, list[Skipped]]:
    """("celeba", "rafd" or "images"; a row for each picture: file below ``root``, part "train" or "val", person and
    emotion ("" where unknown); what was left out, and why).  CorpusError without a picture."""
    root = Path(root)
    if not root.is_dir():
        raise CorpusError(f"{root}: no such folder; name the folder of pictures")
    found = list_files(root, PICTURE_SUFFIXES)
    if not found:
        raise CorpusError(f"{root}: no picture in it ({', '.join(PICTURE_SUFFIXES)})")
    if lists := sorted(root.rglob(PARTITION)):
        kind, (rows, skipped) = "celeba", _celeba(found, lists[0])
    elif any(RAFD.fullmatch(path.stem) for path in found):
        kind, (rows, skipped) = "rafd", _rafd(found)
    else:
        rows, skipped = [(path, PARTS[i % 20 == 0], "", "") for i, path in enumerate(found)], []
        kind = "images"
    table = pd.DataFrame(rows, columns=["file", "part", "person", "emotion"])
    return (
        kind,
        table.assign(file=[path.relative_to(root).as_posix() for path in table.file]),
        sorted(skipped),
    )


def labels(table: pd.DataFrame) -> list[int]:
    """Class of each row's emotion in ``CLASSES``, -1 where there is none."""
    return [CLASSES.index(e) if e in CLASSES else -1 for e in table.emotion]


def _celeba(found: list[Path], partition: Path) -> tuple[list[tuple], list[Skipped]]:
    parts, rows, skipped = {}, [], []
    for number, line in enumerate(partition.read_text().splitlines(), 1):
        fields = line.split()
        if len(fields) != 2 or fields[1] not in ("0", "1", "2"):
            raise CorpusError(
                f"{partition}: line {number}, {line[:40]!r}, is not like '000001.jpg 0'; get it again"
            )
        parts[fields[0]] = PARTS[int(fields[1])]
    for path in found:
        part = parts.pop(path.name, None)
        if part in PARTS[:2]:
            rows.append((path, part, "", ""))
        else:
            skipped.append(
                (
                    path,
                    "partition: a test picture"
                    if part
                    else f"partition: not in {PARTITION}, or twice",
                )
            )
    if parts:
        skipped.append(
            (
                partition,
                f"missing: {len(parts)} pictures listed are not there, the first {min(parts)}",
            )
        )
    return rows, skipped


def _rafd(found: list[Path]) -> tuple[list[tuple], list[Skipped]]:
    rows, skipped = [], []
    for path in found:
        name = RAFD.fullmatch(path.stem)
        if not name or name[5] not in RAFD_EMOTIONS:
            skipped.append((path, "name: not like Rafd090_01_Caucasian_female_angry_frontal.jpg"))
        elif name[1] in ("000", "180"):
            skipped.append((path, "view: a full profile"))
        else:
            rows.append((path, name[2], RAFD_EMOTIONS[name[5]]))
    people = sorted({person for _, person, _ in rows})
    measured = set(people[-max(1, len(people) // 10) :])
    return [
        (path, PARTS[person in measured], person, emotion) for path, person, emotion in rows
    ], skipped
