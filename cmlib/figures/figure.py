"""What a figure is: a name, a function that computes its table, and a function that draws it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, TypeVar

import pandas as pd

from cmlib.experiment.run import Run, neutral_rows
from cmlib.plots.style import Plot

Data = Callable[[Run], "pd.DataFrame | dict[str, Any]"]
Needs = Callable[[Run], str]
DataOfRun = TypeVar("DataOfRun", bound=Data)


class FigureError(RuntimeError):
    """A figure that cannot be drawn; the message says what is missing and what to do."""


@dataclass(frozen=True)
class Figure:
    """One figure of one notebook; ``Notebook.figure`` says what its fields are."""

    name: str
    notebook: str
    title: str
    data: Data
    draw: Callable[..., Plot]
    needs: Needs
    work: str = ""

    def render(self, run: Run) -> tuple[Plot, pd.DataFrame | None]:
        """The figure, and the table behind it if any; FigureError where the run lacks something."""
        missing = self.needs(run)
        if missing:
            raise FigureError(f"{self.name}: {missing}")
        data = self.data(run)
        arguments = data if isinstance(data, dict) else {"table": data}
        return self.draw(**arguments), arguments.get("table")


class Notebook:
    """The figures of one notebook, in their order.

    ``needs`` says what a run lacks for them, unless a figure has a ``needs`` of its own.
    """

    def __init__(self, name: str, needs: Needs):
        self.name = name
        self.needs = needs
        self.figures: list[Figure] = []

    def figure(
        self,
        name: str,
        draw: Callable[..., Plot],
        title: str,
        needs: Needs | None = None,
        work: str = "",
    ) -> Callable[[DataOfRun], DataOfRun]:
        """Decorate the function of a run that computes the arguments of ``draw``.

        The function returns a table, or a dictionary of arguments, in which the table, if any, is
        called ``table``. ``needs`` says what a run lacks for the figure, or "" where it lacks
        nothing. ``work`` says what takes long, if anything does.
        """

        def register(data: DataOfRun) -> DataOfRun:
            figure = Figure(name, self.name, title, data, draw, needs or self.needs, work)
            self.figures.append(figure)
            return data

        return register


def computed_once(table: Callable) -> Callable:
    """Decorate a function of a run, so that all figures of this run share its result."""

    @wraps(table)
    def kept(run: Run, *arguments):
        # A run is frozen and forbids assignment, but its results should live as long as it does.
        # They are therefore kept in its dictionary, as ``functools.cached_property`` does it.
        results = run.__dict__.setdefault("computed_for_figures", {})
        key = (table, *arguments)
        if key not in results:
            results[key] = table(run, *arguments)
        return results[key]

    return kept


# -------------------------------------------------------------------- what a run may lack

# Each of these returns what the run lacks, in words, or "" where it lacks nothing.


def clips(run: Run) -> str:
    """Needed: the clips themselves."""
    if run.corpus.endswith("_released"):
        return (
            f"the corpus {run.corpus} comes as finished pictures and sound; choose another corpus"
        )
    return ""


def clips_with_faces(run: Run) -> str:
    """Needed: clips with pictures."""
    return clips(run) or faces(run)


def voices(run: Run) -> str:
    """Needed: voices, which every corpus has."""
    return ""


def faces(run: Run) -> str:
    """Needed: faces."""
    return "" if run.store.has_faces else f"the corpus {run.corpus} has no faces"


def neutral_faces(run: Run) -> str:
    """Needed: neutral faces of test actors."""
    if faces(run):
        return faces(run)
    if not len(neutral_rows(run, run.split.test)):
        return "the test actors have no neutral face; choose another fold"
    return ""


def history(name: str) -> Callable[[Run], str]:
    """Needed: the history of the training of the network ``name``."""

    def missing(run: Run) -> str:
        if run.history(name) is not None:
            return ""
        return f"no history of training beside the network {name!r}; first: make reproduce"

    return missing
