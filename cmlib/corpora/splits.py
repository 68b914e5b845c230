"""Training, validation and test: five folds by actor, the authors' split, and a leaky one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from cmlib.corpora.processed import clip_of, name_of

AS_RELEASED = 0  # in place of a fold: the authors' split, where an actor is in every subset
SUBSETS = ("train", "val", "test")
MAX_YAML_DEPTH = 10  # a split has lists in one mapping, so 2
# Actors of the five test sets (Luna-Jimenez et al. 2021); validation is the next fold, and training
# the other three.
FOLDS = (
    (2, 5, 14, 15, 16),
    (3, 6, 7, 13, 18),
    (10, 11, 12, 19, 20),
    (8, 17, 21, 23, 24),
    (1, 4, 9, 22),
)


@dataclass(frozen=True)
class Split:
    """Three sorted sets of rows (N,) of a table of clips or frames.

    Raises ValueError if one of them is empty, or if two of them share a row.
    """

    train: np.ndarray
    val: np.ndarray
    test: np.ndarray

    def __post_init__(self):
        for name in SUBSETS:
            if not len(getattr(self, name)):
                raise ValueError(
                    f"split: no clip in {name}; "
                    "the corpus has too few actors for five folds by actor"
                )
        rows = np.concatenate([self.train, self.val, self.test])
        if len(np.unique(rows)) < len(rows):
            raise ValueError("split: a row is in two subsets; give each row to one of them")


def fold_of(actor: int) -> int:
    """The fold (1...5) in which an actor is tested.

    Actors beyond the 24 of RAVDESS are assigned in turn, by number.
    """
    for fold, actors in enumerate(FOLDS, 1):
        if actor in actors:
            return fold
    return (actor - 1) % len(FOLDS) + 1


def split(clips: pd.DataFrame, fold: int = 1) -> Split:
    """Actor-disjoint split of the rows of ``clips`` (column ``actor``).

    The actors of ``fold`` (1...5) are for test, those of the next fold (1 after 5) for validation,
    and all others for training. Raises ValueError for another fold, or if a subset is empty.
    """
    if fold not in range(1, len(FOLDS) + 1):
        raise ValueError(f"fold {fold}: choose 1 to {len(FOLDS)}")
    folds = np.array([fold_of(int(actor)) for actor in clips.actor])
    is_test = folds == fold
    is_val = folds == fold % len(FOLDS) + 1
    rows = Split(
        np.flatnonzero(~is_test & ~is_val), np.flatnonzero(is_val), np.flatnonzero(is_test)
    )
    train, val, test = (
        set(clips.actor.iloc[subset]) for subset in (rows.train, rows.val, rows.test)
    )
    shared = (train & val) | (train & test) | (val & test)
    if shared:
        raise ValueError(f"split: actor {min(shared)} is in two subsets; check FOLDS")
    return rows


def split_from_yaml(files: Iterable[Path], clips: pd.DataFrame) -> Split:
    """The authors' split of the rows of ``clips`` (column ``name``).

    ``files``: YAML files with lists ``train``, ``val`` and ``test`` of paths of frames or sounds,
    whatever folder they start from; several files add up. A clip belongs where its frames are
    listed, and nowhere if it is not listed. Raises ValueError if a list is missing, if a clip is in
    two lists, or if the corpus has none of the listed clips.
    """
    files = list(files)
    subset_of: dict[str, str] = {}
    for file in files:
        for subset, paths in _read_lists(file).items():
            clips_of_subset = {clip_of(str(path).replace("\\", "/")) for path in paths}
            for name in {name_of(clip) for clip in clips_of_subset if clip is not None}:
                first = subset_of.setdefault(name, subset)
                if first != subset:
                    raise ValueError(
                        f"{file}: {name} is in {first} and in {subset}; "
                        "the lists must not divide a clip: leave all its frames in one list"
                    )
    subsets = clips.name.map(subset_of)
    if subsets.isna().all():
        names = ", ".join(map(str, files))
        raise ValueError(
            f"{names}: none of the {len(subset_of)} listed clips is in the corpus; check its folder"
        )
    return Split(*(np.flatnonzero(subsets == name) for name in SUBSETS))


def _read_lists(file: Path) -> dict[str, list]:
    """The lists ``train``, ``val`` and ``test`` of a YAML file."""
    import yaml  # here, since the other splits do not need it

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the lists have 100,000 lines
    try:
        text = file.read_text(encoding="utf-8")
        _check_depth(yaml.parse(text, loader))
        content = yaml.load(text, loader)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: bytes that are no text, and dates
        reason = " ".join(str(error).split())[:100]
        raise ValueError(f"{file}: not a YAML file ({reason}); copy it again") from None
    lists: dict[str, list] = {}
    if isinstance(content, dict):
        lists = {name: content[name] for name in SUBSETS if isinstance(content.get(name), list)}
    has_paths_only = all(isinstance(path, str) for paths in lists.values() for path in paths)
    if len(lists) < len(SUBSETS) or not has_paths_only:
        raise ValueError(
            f"{file}: expected three lists of paths, {', '.join(SUBSETS)}; "
            "this is not a split of the authors'"
        )
    return lists


def _check_depth(events: Iterable) -> None:
    """ValueError if the lists of a YAML file are so deep that its loader would kill the process."""
    import yaml

    depth = 0
    for event in events:
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_YAML_DEPTH:  # the stack of the loader would overflow
            raise ValueError("too many lists in one another")


def random_split(count: int, seed: int = 0) -> Split:
    """A leaky split, for the lesson on leakage: ``count`` rows shuffled into 60, 20 and 20 %.

    Training, validation and test then share actors and, if the rows are frames, even clips. So the
    score says little about strangers. Never use it for a result.
    """
    order = np.random.default_rng(seed).permutation(count)
    fifth = count // 5
    val, test, train = np.split(order, [fifth, 2 * fifth])
    return Split(np.sort(train), np.sort(val), np.sort(test))
