"""Tables that say whom pictures show, and with which expression.

Such a table is a CSV file with the columns file, person and emotion, and any further ones. It may
come from a spreadsheet of any country: commas, semicolons or tabs, with or without a byte order
mark, in upper or lower case. The column file may hold more or fewer folders than there are, and
emotions may have their usual names (``EMOTION_WORDS``).
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pandas as pd

from cmlib.corpora.clip import CorpusError, Skipped
from cmlib.corpora.names import EMOTIONS

COLUMN_NAMES = {  # column: other names that it has in such tables
    "file": ("filename", "file name", "path", "picture", "image", "stimulus"),
    "person": ("actor", "model", "identity", "subject", "participant", "id", "performer"),
    "emotion": ("expression", "label", "mood"),
}
EMOTION_WORDS = {  # a word of a table: this project's word
    **{emotion: emotion for emotion in (*EMOTIONS, "contempt")},
    **dict.fromkeys(("neutrality", "rest", "at rest", "resting", "ne"), "neutral"),
    **dict.fromkeys(("relaxed", "calmness"), "calm"),
    **dict.fromkeys(("happiness", "joy", "joyful", "smile", "smiling", "ha"), "happy"),
    **dict.fromkeys(("sadness", "sorrow", "sa"), "sad"),
    **dict.fromkeys(("anger", "an"), "angry"),
    **dict.fromkeys(("fear", "afraid", "scared", "af", "fe"), "fearful"),
    **dict.fromkeys(("disgusted", "di"), "disgust"),
    **dict.fromkeys(("surprise", "astonished", "su"), "surprised"),
    **dict.fromkeys(("contemptuous", "co"), "contempt"),
}
SEPARATORS = ",;\t"


@dataclass(frozen=True)
class PictureTable:
    """A table of pictures: a row for each line, with the line's number as index."""

    path: Path
    rows: pd.DataFrame  # file, person, emotion and the further columns, all text

    @classmethod
    def read(cls, path: Path) -> PictureTable:
        """Read a table; CorpusError if it cannot be read or lacks one of the three columns."""
        lines = _text(path).splitlines()
        header = lines[0] if lines else ""
        separator = max(SEPARATORS, key=header.count)
        parsed = [[cell.strip() for cell in row] for row in csv.reader(lines, delimiter=separator)]
        names = _column_names(parsed[0] if parsed else [])
        missing = [name for name in COLUMN_NAMES if name not in names]
        if missing:
            raise CorpusError(
                f"{path}: no column {', '.join(missing)} in its first line {header[:60]!r}; "
                "name the columns file, person and emotion"
            )
        cells, numbers = [], []
        for number, row in enumerate(parsed[1:], 2):
            if any(row):
                cells.append((row + [""] * len(names))[: len(names)])
                numbers.append(number)
        table = pd.DataFrame(cells, index=numbers, columns=names, dtype=str)
        return cls(path, table.loc[:, ~table.columns.duplicated()])

    @property
    def has_labels(self) -> bool:
        """Whether any row says who is shown and with which emotion."""
        return bool(((self.rows.person != "") & (self.rows.emotion != "")).any())

    def match(self, root: Path, pictures: list[Path]) -> tuple[pd.DataFrame, list[Skipped]]:
        """The rows whose picture is among ``pictures``, and what was left out with the reason.

        The column file then is the path below ``root``, and emotion is this project's word.
        """
        names = _Names(root, pictures)
        rows: dict[str, dict] = {}
        first_line: dict[str, Hashable] = {}
        skipped: list[Skipped] = []
        for line, row in self.rows.iterrows():
            meant = names.find(row.file)
            file = meant[0] if len(meant) == 1 else ""
            emotion = EMOTION_WORDS.get(_plain(row.emotion))
            fault = self._fault(row, meant, emotion, first_line)
            if fault:
                skipped.append((self.path, f"row: line {line}, {fault}"))
            else:
                rows[file] = {**row, "file": file, "emotion": emotion}
            if file:
                first_line.setdefault(file, line)
        for path in pictures:
            if path.relative_to(root).as_posix() not in first_line:
                skipped.append((path, f"row: none in {self.path.name}"))
        table = pd.DataFrame(rows.values(), columns=self.rows.columns)
        return table.sort_values("file", ignore_index=True), skipped

    @staticmethod
    def _fault(
        row: pd.Series, meant: list[str], emotion: str | None, first_line: Mapping[str, Hashable]
    ) -> str:
        """Why a row cannot be used, or ""; ``meant`` are the pictures that it may mean."""
        if not meant:
            return f"{row.file or 'without a file'}: no such picture"
        if len(meant) > 1:
            return f"{row.file}: more than one such picture; write its folder, too ({meant[0]})"
        file = meant[0]
        if file in first_line:
            return f"{file}: a second row; line {first_line[file]} counts"
        if not row.person:
            return f"{file}: no person"
        if not emotion:
            words = ", ".join(dict.fromkeys(EMOTION_WORDS.values()))
            return f"{file}: emotion {row.emotion!r} is unknown; use {words}"
        return ""


class _Names:
    """Finds the picture that a row means, whatever the folders in front of its name."""

    def __init__(self, root: Path, pictures: list[Path]):
        self.by_ending: dict[str, set[str]] = defaultdict(set)
        for path in pictures:
            file = path.relative_to(root)
            for i in range(len(file.parts)):
                ending = PurePosixPath(*file.parts[i:])
                for key in (ending, ending.with_suffix("")):
                    self.by_ending[str(key).lower()].add(file.as_posix())

    def find(self, name: str) -> list[str]:
        """The paths below the root of the pictures that a row may mean: one, none, or several."""
        parts = [
            part for part in name.replace("\\", "/").lower().split("/") if part not in ("", ".")
        ]
        for i in range(len(parts)):  # the row may name folders that are not below the root
            ending = "/".join(parts[i:])
            matches = sorted(self.by_ending.get(ending, ()))
            if matches:
                return [file for file in matches if file.lower() == ending] or matches
        return []


def find_table(root: Path) -> PictureTable | None:
    """The table in a folder of pictures, or the one of the same name beside it, or None.

    A CSV file without the three columns, or without any label, is none.
    """
    set_name = Path(root.name[:-1]).stem if root.name.endswith("!") else root.name
    for path in (*sorted(root.glob("*.csv")), root.with_name(f"{set_name}.csv")):
        try:
            table = PictureTable.read(path) if path.is_file() else None
        except CorpusError:
            continue
        if table is not None and table.has_labels:
            return table
    return None


def person_numbers(people: pd.Series) -> dict[str, int]:
    """A number for each person of a table: its own, or its place among the sorted names.

    The numbers decide the folds (``splits.fold_of``). Own numbers count if every person has one.
    """
    names = sorted(set(people))
    if all(name.isdecimal() and int(name) > 0 for name in names):
        return {name: int(name) for name in names}
    return {name: number for number, name in enumerate(names, 1)}


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CorpusError(f"{path}: {error.strerror}; check the name of the table") from None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:  # older spreadsheets
        return content.decode("cp1252", errors="replace")


def _column_names(header: list[str]) -> list[str]:
    """The columns of a table, with this project's names for the three that it needs."""
    names = list(header)
    plain = [_plain(name) for name in header]
    for ours, others in COLUMN_NAMES.items():
        present = [name for name in (ours, *others) if name in plain]
        if present:
            names[plain.index(present[0])] = ours
    return names


def _plain(word: str) -> str:
    """A word in lower case, without the spaces around it; "At_rest" becomes "at rest"."""
    return word.strip().lower().replace("_", " ")
