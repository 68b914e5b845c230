"""Who trains, who validates, who tests: five folds with no actor in two parts, and the leaky split as a lesson."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from cmlib.corpora.processed import clip_of, name_of

AS_RELEASED = 0  # stands for a fold: the authors' own split, which is within actors
PARTS = ("train", "val", "test")
# Actors of the five test sets (Luna-Jimenez et al. 2021); validation is the next fold, training the other three.
FOLDS = (
    (2, 5, 14, 15, 16),
    (3, 6, 7, 13, 18),
    (10, 11, 12, 19, 20),
    (8, 17, 21, 23, 24),
    (1, 4, 9, 22),
)


@dataclass(frozen=True)
class Split:
    """Three sets of rows, sorted, without a common one."""

    train: np.ndarray
    val: np.ndarray
    test: np.ndarray

    def __post_init__(self):
        for name, rows in (("train", self.train), ("val", self.val), ("test", self.test)):
            if not len(rows):
                raise ValueError(
                    f"split: no clip in {name}; the corpus has too few actors for five folds by actor"
                )
        rows = np.concatenate([self.train, self.val, self.test])
        assert len(np.unique(rows)) == len(rows), "split: a row is in two parts"


def fold_of(actor: int) -> int:
    """The fold (1...5) in which an actor is tested; actors beyond the 24 of RAVDESS are dealt out by number."""
    return next(
        (k for k, actors in enumerate(FOLDS, 1) if actor in actors), (actor - 1) % len(FOLDS) + 1
    )


def split(clips: pd.DataFrame, fold: int = 1) -> Split:
    """Actor-disjoint split of the rows of ``clips`` (column ``actor``).

    Test: the actors of ``fold`` (1...5); validation: those of the next fold (1 after 5); training: all others.
    """
    if fold not in range(1, len(FOLDS) + 1):
        raise ValueError(f"fold {fold}: choose 1 to {len(FOLDS)}")
    folds = np.array([fold_of(int(actor)) for actor in clips.actor])
    test, val = folds == fold, folds == fold % len(FOLDS) + 1
    parts = Split(*(np.flatnonzero(rows) for rows in (~test & ~val, val, test)))
    train, val, test = (
        set(clips.actor.iloc[rows]) for rows in (parts.train, parts.val, parts.test)
    )
    assert not (train & val or train & test or val & test), "split: an actor is in two parts"
    return parts


def split_from_yaml(files: Iterable[Path], clips: pd.DataFrame) -> Split:
    """The authors' split of the rows of ``clips`` (column ``name``): YAML files with lists ``train``, ``val``, ``test``
    of paths of frames, or of sounds, whatever folder they start from; several files add up.

    A clip belongs where its frames are listed, to no part if it is not listed.  ValueError where a list is missing, a
    clip is in two parts, or nothing listed is in the corpus.
    """
    import yaml  # the other splits need none

    part, files = {}, list(files)
    for file in files:
        lists = yaml.load(file.read_text(), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        if not isinstance(lists, dict) or not all(isinstance(lists.get(p), list) for p in PARTS):
            raise ValueError(
                f"{file}: wanted three lists of paths, {', '.join(PARTS)}; it is no split of the authors'"
            )
        for name in PARTS:
            for clip in {clip_of(str(path).replace("\\", "/")) for path in lists[name]} - {None}:
                if part.setdefault(name_of(clip), name) != name:
                    both = f"{name_of(clip)} is in {part[name_of(clip)]} and in {name}"
                    raise ValueError(
                        f"{file}: {both}; a split by clips is wanted: leave all its frames in one part"
                    )
    listed = clips.name.map(part)
    if listed.isna().all():
        names = ", ".join(map(str, files))
        raise ValueError(
            f"{names}: none of the {len(part)} clips listed is in the corpus; check its folder"
        )
    return Split(*(np.flatnonzero(listed == name) for name in PARTS))


def random_split(count: int, seed: int = 0) -> Split:
    """The leakage lesson: ``count`` clips, or frames, shuffled into 60 % training, 20 % validation, 20 % test.

    The same actor, and over frames even the same clip, is then in all three parts, so the score says little about a
    stranger.  Never used for a result.
    """
    order = np.random.default_rng(seed).permutation(count)
    fifth = count // 5
    return Split(
        *(np.sort(rows) for rows in (order[2 * fifth :], order[:fifth], order[fifth : 2 * fifth]))
    )
