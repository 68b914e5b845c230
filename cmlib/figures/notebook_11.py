"""The table of notebook 11: what three judges see in four kinds of pictures."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from cmlib.evaluation import representations
from cmlib.evaluation.judges import Judge, Recogniser, judge_for_run
from cmlib.experiment.run import Run
from cmlib.figures.figure import Notebook, computed_once, neutral_faces
from cmlib.figures.notebook_06 import trained_folds
from cmlib.plots import notebook_11 as plots

notebook = Notebook("11_more_witnesses", needs=neutral_faces)
IN_CONTEXT = {0.0: "neutral, no context", 1.0: "mental representation"}  # by strength


@computed_once
def judges_of_run(run: Run) -> dict[str, Callable[[Run], Judge]]:
    """By name, a function that returns the judge of a run.

    The recogniser is left out where its package is not installed.
    """
    judges: dict[str, Callable[[Run], Judge]] = {
        "judge": judge_for_run,
        "strict judge": lambda each: judge_for_run(each, "validation"),
    }
    try:
        recogniser = Recogniser(run.classes)
    except ModuleNotFoundError as advice:
        print(advice)
    else:
        judges["recogniser"] = lambda _: recogniser
    return judges


@computed_once
def judgements(run: Run) -> tuple[dict[str, pd.DataFrame], dict[str, pd.DataFrame]]:
    """What each judge, by name, sees in the test faces of all folds that are trained.

    The first table of a judge is about real and reconstructed pictures
    (``representations.judge_frames``), the second about neutral faces without and with context
    (``representations.measure``).
    """
    without_context = {}
    in_context = {}
    folds = trained_folds(run)
    for name, judge_of in judges_of_run(run).items():
        judges = [judge_of(each) for each in folds]
        seen = [representations.judge_frames(each, judge) for each, judge in zip(folds, judges)]
        without_context[name] = pd.concat(seen)
        measured = []
        for each, judge in zip(folds, judges):
            pairs = representations.neutral_pairs(each)
            measured.append(
                representations.measure(each, each.can(), pairs, judge, strengths=(0, 1))
            )
        in_context[name] = pd.concat(measured)
    return without_context, in_context


@computed_once
def recognised(run: Run) -> pd.DataFrame:
    """How often a judge names the intended emotion.

    The columns are judge, pictures, value, low, high and emotions.
    """
    without_context, in_context = judgements(run)
    tables = [table.assign(judge=name) for name, table in without_context.items()]
    for name, table in in_context.items():
        pictures = table.strength.map(IN_CONTEXT)
        tables.append(table.assign(judge=name, pictures=pictures))
    shares = representations.recognition(pd.concat(tables), run.profile.bootstrap)
    order = list(judges_of_run(run))
    return shares.sort_values("judge", kind="stable", key=lambda names: names.map(order.index))


@notebook.figure(
    "11_judges",
    plots.judges,
    "what three judges see in four kinds of pictures",
    work="trains two judges for each fold, decodes and judges its faces",
)
def judges(run: Run) -> pd.DataFrame:
    return recognised(run)
