"""The face crops of all sets of photographs, whom they show, and who trains."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional as F

from cmlib.corpora import CorpusError, picture_folders
from cmlib.corpora.splits import FOLDS, fold_of
from cmlib.models.vaegan import COMPONENT_SIZE
from cmlib.preparation import picture_crops
from cmlib.training.batches import Pictures

CHUNK = 1000  # pictures that are made smaller at a time


@dataclass(frozen=True)
class Photographs:
    """Face crops of one or more sets, and a table with a row for each of them.

    Its columns: set ("celeba" or "performers"), file, person (text), emotion ("" where unknown),
    label (index in ``corpora.names.CLASSES``, or -1) and part ("train", "val" or "test").
    """

    pictures: Pictures
    table: pd.DataFrame
    keys: dict[str, str]  # of each set; they change with its files
    skipped: dict[str, int]  # how many pictures of each set were left out

    def rows(self, name: str, part: str) -> np.ndarray:
        """Numbers of the pictures of a set's part."""
        return np.flatnonzero((self.table.set == name) & (self.table.part == part))


def load(
    celeba: Path,
    performers: Path,
    labels: Path,
    size: int,
    cache: Path | None = None,
    fold: int = 1,
) -> Photographs:
    """The crops of both sets that train, ``size`` pixels a side.

    ``celeba`` and ``performers`` are folders of pictures, and ``labels`` is the table of the
    latter. ``fold`` (1...5): the performers of this fold are for test and those of the next one
    for validation, as ``corpora.splits`` has them. CorpusError where a picture of the performers
    has no row, or where nobody is left.
    """
    faces = picture_crops.crop_folder(celeba, size, cache)
    acted = picture_crops.crop_folder(performers, size, cache)
    tables = [celeba_table(celeba, faces.table), _performers_table(labels, acted.table, fold)]
    table = pd.concat(tables, ignore_index=True)
    table["label"] = picture_folders.labels(table)
    sets = {"celeba": faces, "performers": acted}
    return Photographs(
        Pictures(faces.pictures, acted.pictures),
        table,
        {name: crops.key for name, crops in sets.items()},
        {name: len(crops.skipped) for name, crops in sets.items()},
    )


def celeba_table(root: Path, crops: pd.DataFrame) -> pd.DataFrame:
    """Part by the list of the set; the person by its list of identities, if there is one."""
    lists = [path for path in sorted(root.rglob("*.txt")) if path.stem.lower() == "identity_celeba"]
    identities = {}
    if lists:
        identities = dict(line.split() for line in lists[0].read_text().splitlines())
    names = crops.file.str.split("/").str[-1]
    person = [identities.get(name, name) for name in names]  # else every picture is a person
    return crops.assign(set="celeba", person=person, emotion="")


def _performers_table(labels: Path, crops: pd.DataFrame, fold: int) -> pd.DataFrame:
    """Person and emotion from the table of labels, and the part by the fold of the person."""
    known = pd.read_csv(labels, dtype=str, keep_default_na=False)
    if not {"file", "person", "emotion"} <= set(known.columns):
        raise CorpusError(f"{labels}: needs the columns file, person and emotion")
    known = known.assign(name=known.file.str.split("/").str[-1]).set_index("name")
    names = crops.file.str.split("/").str[-1]
    unknown = sorted(set(names) - set(known.index))
    if unknown:
        raise CorpusError(f"{labels}: no row for {len(unknown)} pictures, the first {unknown[0]}")
    rows = known.loc[names]
    part_of_fold = {fold: "test", fold % len(FOLDS) + 1: "val"}
    return crops.assign(
        set="performers",
        person=rows.person.to_numpy(),
        emotion=rows.emotion.to_numpy(),
        part=[part_of_fold.get(fold_of(int(person)), "train") for person in rows.person],
    )


def strangers(root: Path, size: int, cache: Path | None = None) -> tuple[Pictures, np.ndarray]:
    """The crops of a folder that nobody trains on, and the person of each, (N,).

    Pictures whose names end in the same number show the same person, as in ``neutral/002.jpg`` and
    ``smiling/002.jpg``.
    """
    crops = picture_crops.crop_folder(root, size, cache)
    person = []
    for file in crops.table.file:
        number = re.search(r"(\d+)\D*$", Path(file).stem)
        person.append(number[1] if number else file)
    return Pictures(crops.pictures), np.array(person)


def smaller(x: Tensor) -> Tensor:
    """Pictures (B, C, S, S) at the size of components, (B, C, P, P): 64, or their own if less."""
    side = min(x.shape[-1], COMPONENT_SIZE)
    return x if x.shape[-1] == side else F.avg_pool2d(x, x.shape[-1] // side)


def small_pictures(pictures: Pictures, rows: np.ndarray) -> Tensor:
    """These pictures, (N, C, P, P) float32."""
    chunks = np.array_split(rows, -(-len(rows) // CHUNK))
    return torch.cat([smaller(pictures.batch(chunk)) for chunk in chunks])
