"""All figures, and how they are chosen and drawn without training a network of the run."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from cmlib.evaluation import scoring
from cmlib.experiment.run import Run
from cmlib.figures import (
    notebook_00,
    notebook_01,
    notebook_02,
    notebook_03,
    notebook_04,
    notebook_05,
    notebook_06,
    notebook_07,
    notebook_08,
    notebook_09,
    notebook_10,
    notebook_11,
    notebook_12,
)
from cmlib.figures.figure import Figure, FigureError
from cmlib.plots import style
from cmlib.progress import progress_bar

NOTEBOOKS = (
    notebook_00,
    notebook_01,
    notebook_02,
    notebook_03,
    notebook_04,
    notebook_05,
    notebook_06,
    notebook_07,
    notebook_08,
    notebook_09,
    notebook_10,
    notebook_11,
    notebook_12,
)
FIGURES = {figure.name: figure for module in NOTEBOOKS for figure in module.notebook.figures}


def choose(names: Iterable[str] = ()) -> list[Figure]:
    """The figures with these names, in which ``*`` and ``?`` are wildcards; without names, all.

    FigureError for a name that no figure has.
    """
    chosen: dict[str, Figure] = {}
    for name in names:
        matching = {known: FIGURES[known] for known in FIGURES if fnmatchcase(known, name)}
        if not matching:
            near = difflib.get_close_matches(name, FIGURES, 3, 0.4) or FIGURES
            raise FigureError(f"no figure {name!r}; there are: {', '.join(near)}")
        chosen |= matching
    return list((chosen or FIGURES).values())


def listing() -> str:
    """A line of text for each figure: name, notebook, what it shows, and what takes long."""
    lines = []
    for figure in FIGURES.values():
        work = f" ({figure.work})" if figure.work else ""
        lines.append(f"{figure.name:32s}{figure.notebook:27s}{figure.title}{work}")
    return "\n".join(lines)


def draw(run: Run, names: Sequence[str] = (), folder: Path | None = None) -> list[str]:
    """Draw figures of a run, by name or all of them; return the names of the figures drawn.

    ``folder`` (default: the run's ``figures``) receives each figure as SVG, PDF and PNG, and the
    table behind it, if any, as CSV. No network of the run is trained; FigureError where one is
    missing. FigureError also where ``names`` contain a figure that this run cannot have; without
    ``names`` such a figure is left out, and a line says so.
    """
    chosen = choose(names)
    require_networks(run)
    folder = folder or run.folder / "figures"
    finished = []
    for figure in progress_bar(chosen, "figures"):
        try:
            plot, table = figure.render(run)
        except FigureError as error:
            if names:
                raise
            print(f"left out: {error}")
            continue
        style.save_in(folder, plot, figure.name, table)
        finished.append(figure.name)
    return finished


def require_networks(run: Run) -> None:
    """Raise FigureError where a network of the run is neither trained nor shipped."""
    missing = scoring.missing_networks(run)
    if missing:
        settings = f"CORPUS={run.corpus} PROFILE={run.profile_name} FOLD={run.fold} SEED={run.seed}"
        raise FigureError(
            f"{run.folder.name}: {', '.join(missing)} not trained; first: make reproduce {settings}"
        )
