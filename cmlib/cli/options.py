"""Options that several commands share, and the numbers that they read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter, Token, validators

from cmlib.config import PROFILES, get_profile
from cmlib.corpora import CORPORA

EIGHT_CLASSES = "-8"  # how the profiles with neutral as the eighth class end
MAIN_PROFILES = tuple(name for name in PROFILES if not name.endswith(EIGHT_CLASSES))
ALL_PROFILES = (*MAIN_PROFILES, *(name for name in PROFILES if name not in MAIN_PROFILES))


def number_range(text: str, least: int = 1, most: int = 24) -> list[int]:
    """Read a list of numbers: "1-4,9" gives [1, 2, 3, 4, 9].

    ValueError if it is not one, or if a number is not from ``least`` to ``most``.
    """
    fault = f"{text!r} is not a list of numbers from {least} to {most}, as in 1-4,9"
    numbers: set[int] = set()
    for interval in text.split(","):
        ends = re.fullmatch(r"(\d+)(?:-(\d+))?", interval.strip())
        if not ends:
            raise ValueError(fault)
        first, last = int(ends[1]), int(ends[2] or ends[1])
        numbers.update(range(first, last + 1))
    if not numbers or min(numbers) < least or max(numbers) > most:
        raise ValueError(fault)
    return sorted(numbers)


def _actors(hint: type, tokens: Sequence[Token]) -> list[int]:
    return number_range(tokens[0].value)


def _seeds(hint: type, tokens: Sequence[Token]) -> list[int]:
    return number_range(tokens[0].value, 0, MAX_SEED)


def _check_side(hint: type, side: int) -> None:
    if side < 32 or side % 32:
        raise ValueError(f"{side} is not a multiple of 32")


def _check_profile(hint: type, name: str) -> None:
    try:
        get_profile(name)
    except KeyError:
        choices = ", ".join(ALL_PROFILES)
        raise ValueError(f"unknown profile. Choose from: {choices}") from None


Side = Annotated[
    int, Parameter(validator=_check_side, help="Side of the pictures in pixels, a multiple of 32.")
]
CorpusToRead = Annotated[
    str,
    Parameter(
        help=f"{', '.join(CORPORA)}; "
        "ravdess+song adds the sung clips, mead+left_30+top adds cameras; "
        "PICTURES+ravdess pairs a folder of labelled pictures with voices."
    ),
]
Corpus = Annotated[str, Parameter(help=f"A corpus, such as {', '.join(list(CORPORA)[:3])}.")]
if TYPE_CHECKING:
    ProfileName = str
else:  # A text may change settings; the names are there for the shell's completion.
    ProfileName = Literal[ALL_PROFILES] | str
Profile = Annotated[
    ProfileName,
    Parameter(
        validator=_check_profile,
        show_choices=False,
        help=f"{', '.join(MAIN_PROFILES)}; with {EIGHT_CLASSES} appended, neutral is a class, too; "
        "quick+can.neutral=0.2 changes a setting.",
    ),
]
Fold = Annotated[
    Literal[0, 1, 2, 3, 4, 5],
    Parameter(show_choices=False, help="Which actors are tested, 1 to 5; 0: the authors' split."),
]
FoldOrAll = Annotated[
    Literal[0, 1, 2, 3, 4, 5, "all"],
    Parameter(show_choices=False, help="Which actors are tested, 1 to 5, or all in turn."),
]
MAX_SEED = 2**31 - 1
Seed = Annotated[
    int,
    Parameter(validator=validators.Number(gte=0, lte=MAX_SEED), help="Seed of the random numbers."),
]
Seeds = Annotated[
    Sequence[int],
    Parameter(
        converter=_seeds,
        n_tokens=1,
        show_default=lambda seeds: ", ".join(map(str, seeds)),
        help="Seed of the networks, or several, as in 0-2.",
    ),
]
Actors = Annotated[
    list[int] | None,
    Parameter(
        converter=_actors, n_tokens=1, help="Only these actors, as in 1-4,9; default: all 24."
    ),
]
Root = Annotated[
    Path | None, Parameter(help="Folder of the corpus; default: $CM_DATA/CORPUS, or data/CORPUS.")
]
Cache = Annotated[
    Path | None,
    Parameter(help="Folder for prepared corpora; default: $CM_CACHE, or data/prepared."),
]
Labels = Annotated[
    Path | None,
    Parameter(
        help="Table of the pictures with the columns file, person and emotion; "
        "default: a CSV file among them, or FOLDER.csv beside them."
    ),
]
TrainMissing = Annotated[bool, Parameter(name="--train", help="Train what is not trained yet.")]
Fresh = Annotated[
    bool,
    Parameter(
        name="--fresh",
        help="Measure everything here: nothing counts that ships for this corpus and profile.",
    ),
]
