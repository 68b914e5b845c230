"""Who trains, who validates, who tests: five folds with no actor in two parts, and the leaky split as a lesson."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

# Actors of the five test sets (Luna-Jimenez et al. 2021); validation is the next fold, training the other three.
FOLDS = ((2, 5, 14, 15, 16), (3, 6, 7, 13, 18), (10, 11, 12, 19, 20), (8, 17, 21, 23, 24), (1, 4, 9, 22))


@dataclass(frozen=True)
class Split:
    """Three sets of rows, sorted, without a common one."""

    train: np.ndarray
    val: np.ndarray
    test: np.ndarray

    def __post_init__(self):
        for name, rows in (("train", self.train), ("val", self.val), ("test", self.test)):
            if not len(rows):
                raise ValueError(f"split: no clip in {name}; the corpus has too few actors for five folds by actor")
        rows = np.concatenate([self.train, self.val, self.test])
        assert len(np.unique(rows)) == len(rows), "split: a row is in two parts"


def fold_of(actor: int) -> int:
    """The fold (1...5) in which an actor is tested; actors beyond the 24 of RAVDESS are dealt out by number."""
    return next((k for k, actors in enumerate(FOLDS, 1) if actor in actors), (actor - 1) % len(FOLDS) + 1)


def split(clips: pd.DataFrame, fold: int = 1) -> Split:
    """Actor-disjoint split of the rows of ``clips`` (column ``actor``).

    Test: the actors of ``fold`` (1...5); validation: those of the next fold (1 after 5); training: all others.
    """
    if fold not in range(1, len(FOLDS) + 1):
        raise ValueError(f"fold {fold}: choose 1 to {len(FOLDS)}")
    folds = np.array([fold_of(int(actor)) for actor in clips.actor])
    test, val = folds == fold, folds == fold % len(FOLDS) + 1
    parts = Split(*(np.flatnonzero(rows) for rows in (~test & ~val, val, test)))
    train, val, test = (set(clips.actor.iloc[rows]) for rows in (parts.train, parts.val, parts.test))
    assert not (train & val or train & test or val & test), "split: an actor is in two parts"
    return parts


def random_split(count: int, seed: int = 0) -> Split:
    """The leakage lesson: ``count`` clips, or frames, shuffled into 60 % training, 20 % validation, 20 % test.

    The same actor, and over frames even the same clip, is then in all three parts, so the score says little about a
    stranger.  Never used for a result.
    """
    order = np.random.default_rng(seed).permutation(count)
    fifth = count // 5
    return Split(*(np.sort(rows) for rows in (order[2 * fifth :], order[:fifth], order[fifth : 2 * fifth])))
