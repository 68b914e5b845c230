"""What a study consists of: one cell for each combination of what its file lists."""

from __future__ import annotations

import dataclasses
import itertools
import json
from dataclasses import dataclass
from pathlib import Path

import yaml

from cmlib import files
from cmlib.cli.options import MAX_SEED, number_range
from cmlib.config import get_profile
from cmlib.corpora import CorpusError, current_root, split_name, split_pair

KEYS = ("corpora", "profiles", "folds", "seeds", "settings")
FOLDS = (1, 5)


class StudyError(ValueError):
    """A file of a study that cannot be used; the message names the file and what to write."""


@dataclass(frozen=True)
class Cell:
    """One run of a study: networks are trained and scored on one corpus, fold and seed."""

    corpus: str
    profile: str  # with its changed settings, as ``config.get_profile`` reads them
    fold: int
    seed: int

    @property
    def name(self) -> str:
        """The name of its folder."""
        return f"{self.corpus}-{self.profile}-fold{self.fold}-seed{self.seed}"

    @property
    def values(self) -> tuple[str, str, int, int]:
        """Corpus, profile, fold and seed."""
        return self.corpus, self.profile, self.fold, self.seed

    @property
    def unchanged(self) -> Cell:
        """The same cell with none of its settings changed."""
        base, _, _ = self.profile.partition("+")
        return dataclasses.replace(self, profile=base)


@dataclass(frozen=True)
class Study:
    """A study: its name, which is that of its file, and its cells."""

    name: str
    cells: tuple[Cell, ...]

    @property
    def folder(self) -> Path:
        """Where its results are written."""
        return files.runs_root() / "studies" / self.name

    def cell_folder(self, cell: Cell) -> Path:
        """Where the results of a cell are written."""
        return self.folder / "cells" / cell.name


def read_study(path: Path) -> Study:
    """Read the YAML file of a study; StudyError names what is wrong in it."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise StudyError(f"{path}: cannot be read ({error.strerror}); name a file") from None
    except yaml.YAMLError as error:
        line = " ".join(str(error).split())
        raise StudyError(f"{path}: is no YAML ({line})") from None
    if not isinstance(content, dict):
        raise StudyError(f"{path}: is no study; write a line for each of {', '.join(KEYS)}")
    unknown = [str(key) for key in content if key not in KEYS]
    if unknown:
        raise StudyError(f"{path}: unknown key {unknown[0]!r}; it knows {', '.join(KEYS)}")
    try:
        corpora = _corpora(content.get("corpora", "actors"))
        profiles = _profiles(content.get("profiles", "quick"), content.get("settings"))
        folds = _numbers(content.get("folds", 1), *FOLDS)
        seeds = _numbers(content.get("seeds", 0), 0, MAX_SEED)
    except (ValueError, KeyError) as error:
        raise StudyError(f"{path}: {error.args[0]}") from None
    combinations = itertools.product(corpora, profiles, folds, seeds)
    return Study(path.stem, tuple(Cell(*combination) for combination in combinations))


def check_corpora(study: Study) -> None:
    """StudyError if the folder of a corpus is not there."""
    for corpus in dict.fromkeys(cell.corpus for cell in study.cells):
        folder = current_root(corpus)
        if not folder.exists():
            raise StudyError(
                f"{corpus}: no folder {folder}; put the clips there, set CM_DATA to the folder"
                f" that holds {folder.name}/, or: cm prepare {corpus} --root FOLDER"
            )


def _texts(value: object, key: str) -> list[str]:
    values = value if isinstance(value, list) else [value]
    if not values or not all(isinstance(each, str) for each in values):
        raise ValueError(f"{key}: names are needed, as in [actors, ravdess], not {value!r}")
    return list(dict.fromkeys(values))


def _corpora(value: object) -> list[str]:
    names = _texts(value, "corpora")
    for name in names:
        if not split_pair(name):
            try:
                split_name(name)
            except CorpusError as error:
                raise ValueError(f"corpora: {error}") from None
    return names


def _profiles(value: object, settings: object) -> list[str]:
    """The names of all profiles with all choices of settings."""
    choices = [{}] if settings is None else settings
    if not isinstance(choices, list) or not all(isinstance(each, dict) for each in choices):
        raise ValueError(
            "settings: a list is needed, as in [{}, {can.neutral: 0.0}]; {} changes nothing"
        )
    names = []
    for profile in _texts(value, "profiles"):
        for choice in choices:
            changes = [f"{name}={_as_text(choice[name])}" for name in choice]
            names.append("+".join([profile, *changes]))
    for name in names:
        get_profile(name)
    return list(dict.fromkeys(names))


def _as_text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _numbers(value: object, least: int, most: int) -> list[int]:
    values = value if isinstance(value, list) else [value]
    return number_range(",".join(str(each) for each in values), least, most)
