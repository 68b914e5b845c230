"""Tables of notebook 10: what raters, simulated or human, name and feel."""

from __future__ import annotations

import pandas as pd

from cmlib.apps import rating
from cmlib.experiment.run import Run
from cmlib.figures.figure import Notebook, computed_once, neutral_faces
from cmlib.figures.notebook_09 import items
from cmlib.plots import notebook_10 as plots

notebook = Notebook("10_rating_analysis", needs=neutral_faces)
FEWEST_RATERS = 3
SCALES = ("intensity", "realism")


@computed_once
def ratings(run: Run) -> tuple[pd.DataFrame, str, bool]:
    """Answers about the pictures of this run: (table, the raters in words, simulated?).

    People have given them where at least ``FEWEST_RATERS`` have answered whom no rule of the
    protocol leaves out; otherwise they are simulated.
    """
    answers = rating.read_ratings(run.folder / "ratings")
    is_check = answers.kind == rating.ATTENTION_CHECK
    of_this_run = answers.item.isin([item.key for item in items(run)])
    answers = answers.loc[~answers.simulated.astype(bool) & (of_this_run | is_check)]
    invited = answers.rater.nunique()
    answers = rating.to_analyse(answers, len(items(run)))
    people = answers.rater.nunique()
    simulated = people < FEWEST_RATERS
    if simulated:
        answers = rating.simulate_ratings(items(run), seed=run.seed)
    answers = answers.assign(kind=pd.Categorical(answers.kind, rating.KINDS))
    raters = f"{people} raters"
    if invited > people:
        raters += f", {invited - people} left out"
    if simulated:
        raters = "SIMULATED raters, not people"
    return answers, raters, simulated


@notebook.figure("10_named", plots.named, "how often raters name the voice's emotion")
def named(run: Run) -> dict:
    """``table`` has the columns voice, kind, value, low, high, simulated."""
    answers, raters, simulated = ratings(run)
    scored = rating.score_naming(answers)
    rates = rating.mean_ratings(scored, "named", ("voice", "kind"), run.profile.bootstrap)
    return {"table": rates.assign(simulated=simulated), "raters": raters}


@notebook.figure(
    "10_intensity_and_realism",
    plots.intensity_and_realism,
    "how intense and how real raters find the pictures",
)
def intensity_and_realism(run: Run) -> dict:
    """``table`` has the columns x (kind of picture), value, low, high, panel, simulated."""
    answers, raters, simulated = ratings(run)
    tables = [
        rating.mean_ratings(answers, scale, ("kind",), run.profile.bootstrap).assign(panel=scale)
        for scale in SCALES
    ]
    table = pd.concat(tables).rename(columns={"kind": "x"})
    return {"table": table.assign(simulated=simulated), "raters": raters}
