"""Ratings on the disk: one file of answers and one log of the order for each rater."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from cmlib.apps.rating.items import SCALE, Item, RatingError
from cmlib.apps.rating.protocol import COLUMNS, data_dictionary, exclusions
from cmlib.files import write_text

LOG = "orders"  # a folder beside the answers: in which order each rater was shown what
LOG_COLUMNS = ["rater", "number", "seed", "position", "item", "kind", "actor", "voice"]


def empty_table() -> pd.DataFrame:
    """A table of answers without rows."""
    return pd.DataFrame(columns=pd.Index(COLUMNS))


def read_ratings_file(path: Path) -> pd.DataFrame:
    """The answers of one CSV; RatingError if it is not one of this study."""
    try:
        text: Any = {"rater": str, "voice": str, "asked": str}
        table = pd.read_csv(path, keep_default_na=False, dtype=text)
    except (ValueError, OSError) as error:
        raise RatingError(
            f"{path}: not a readable table ({error}); restore it or move it away"
        ) from None
    missing = [column for column in COLUMNS if column not in table]
    if missing:
        raise RatingError(
            f"{path}: no column {', '.join(missing)}; restore the file or move it away"
        )
    off_scale = [name for name in ("intensity", "realism") if not set(table[name]) <= set(SCALE)]
    if off_scale:
        raise RatingError(
            f"{path}: {', '.join(off_scale)} outside {SCALE[0]} to {SCALE[-1]}; "
            "correct the file or move it away"
        )
    return table


def read_ratings(folder: Path) -> pd.DataFrame:
    """The answers of all raters in a folder; an empty table where there is none."""
    tables = [read_ratings_file(path) for path in sorted(Path(folder).glob("*.csv"))]
    return pd.concat(tables, ignore_index=True) if tables else empty_table()


# -------------------------------------------------------------------- the log of the orders


def number_of(folder: Path, rater: str) -> int:
    """Which number a rater has, from 1: the one in the log, or the next that is free."""
    file = Path(folder) / LOG / f"{rater}.csv"
    if file.exists():
        return int(pd.read_csv(file).number.iloc[0])
    logs = sorted((Path(folder) / LOG).glob("*.csv"))
    numbers = [int(pd.read_csv(log).number.iloc[0]) for log in logs]
    return max(numbers, default=0) + 1


def log_order(folder: Path, rater: str, number: int, seed: int, order: Sequence[Item]) -> None:
    """Write down in which order a rater is shown what, before the first picture is shown."""
    rows = [
        [rater, number, seed, position, item.key, item.kind, item.actor, item.voice]
        for position, item in enumerate(order, start=1)
    ]
    table = pd.DataFrame(rows, columns=pd.Index(LOG_COLUMNS))
    write_text(Path(folder) / LOG / f"{rater}.csv", table.to_csv(index=False))


def read_orders(folder: Path) -> pd.DataFrame:
    """The logged orders of all raters; an empty table where there is none."""
    logs = sorted((Path(folder) / LOG).glob("*.csv"))
    tables = [pd.read_csv(log, keep_default_na=False, dtype={"rater": str}) for log in logs]
    if not tables:
        return pd.DataFrame(columns=pd.Index(LOG_COLUMNS))
    return pd.concat(tables, ignore_index=True)


# -------------------------------------------------------------------- the export


def export(folder: Path, target: Path, pictures: int) -> list[Path]:
    """Write all that somebody else needs for an analysis to ``target``; returns the four files.

    They are ``ratings.csv``, ``orders.csv``, ``exclusions.csv`` and ``data_dictionary.csv``. Raters
    are called P01, P02, ... in the order in which they came. Nobody is left out of the ratings:
    ``exclusions.csv`` says whom the rules leave out. ``pictures`` is how many faces a rater was to
    judge. RatingError if there are no answers.
    """
    ratings, orders = read_ratings(folder), read_orders(folder)
    if ratings.empty:
        raise RatingError(f"{folder}: there are no answers to export")
    came = orders.drop_duplicates("rater").sort_values("number").rater.tolist()
    came += sorted(set(ratings.rater) - set(came))  # answers whose log is lost
    codes = {rater: f"P{number:02d}" for number, rater in enumerate(came, start=1)}
    tables = {
        "ratings": ratings.assign(rater=ratings.rater.map(codes)).sort_values(
            ["rater", "position"]
        ),
        "orders": orders.assign(rater=orders.rater.map(codes)).sort_values(["rater", "position"]),
        "exclusions": exclusions(ratings, pictures).assign(
            rater=lambda table: table.rater.map(codes)
        ),
        "data_dictionary": data_dictionary(),
    }
    return [
        write_text(Path(target) / f"{name}.csv", table.to_csv(index=False))
        for name, table in tables.items()
    ]
