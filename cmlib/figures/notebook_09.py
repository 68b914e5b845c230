"""The pictures of notebook 09: what raters see."""

from __future__ import annotations

from cmlib.apps import rating
from cmlib.experiment.run import Run
from cmlib.figures.figure import Notebook, computed_once, neutral_faces
from cmlib.plots import notebook_09 as plots

notebook = Notebook("09_rating_study", needs=neutral_faces)


@computed_once
def items(run: Run) -> list[rating.Item]:
    """The pictures to rate."""
    return rating.create_items(run, run.perceiver())


@notebook.figure("09_pictures_to_rate", plots.pictures_to_rate, "the pictures that raters see")
def pictures_to_rate(run: Run) -> dict:
    """``pictures`` (S, S, 3) by actor, in the order of ``kinds_of_picture``."""
    rows: dict[int, list[rating.Item]] = {}
    for item in items(run):
        rows.setdefault(item.actor, []).append(item)
    longest = max(rows.values(), key=len)
    return {
        "pictures": [[item.picture for item in row] for row in rows.values()],
        "actors": list(rows),
        "kinds_of_picture": [item.voice or item.kind for item in longest],
    }
