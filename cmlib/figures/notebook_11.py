"""The table of notebook 11: what three judges see in four kinds of pictures."""

from __future__ import annotations

import pandas as pd

from cmlib.evaluation import representations
from cmlib.evaluation.judges import Judge, Recogniser, judge_for_run, judge_record
from cmlib.experiment.kept import kept_table
from cmlib.experiment.run import Run
from cmlib.figures.figure import Notebook, computed_once, neutral_faces
from cmlib.figures.notebook_06 import trained_folds
from cmlib.plots import notebook_11 as plots
from cmlib.provenance import Provenance

notebook = Notebook("11_more_witnesses", needs=neutral_faces)
JUDGES = {"judge": "others", "strict judge": "validation"}  # and whom they learn from
IN_CONTEXT = {0.0: "neutral, no context", 1.0: "mental representation"}  # by strength


@computed_once
def recogniser_of(run: Run) -> Recogniser | None:
    """The recogniser, or None where its package is not installed."""
    try:
        return Recogniser(run.classes)
    except ModuleNotFoundError as advice:
        print(advice)
        return None


def judges_of_run(run: Run) -> list[str]:
    """The names of the judges that there are."""
    return [*JUDGES, *(["recogniser"] if recogniser_of(run) else [])]


def judge_of(run: Run, name: str) -> Judge:
    """The judge called ``name``, one of ``judges_of_run``."""
    if name in JUDGES:
        return judge_for_run(run, JUDGES[name])
    recogniser = recogniser_of(run)
    assert recogniser is not None
    return recogniser


def record_of(run: Run, name: str) -> Provenance:
    """What a judge was made from; the recogniser is the network of a package."""
    if name in JUDGES:
        return judge_record(run, JUDGES[name])
    return Provenance(Recogniser.INSTALL, None)


def without_context(run: Run, name: str) -> pd.DataFrame:
    """``representations.judge_frames`` by one judge, for the test faces of one fold."""
    return kept_table(
        run,
        f"test_faces_{name.replace(' ', '_')}",
        lambda: representations.judge_frames(run, judge_of(run, name)),
        networks=("face",),
        below={"judge": record_of(run, name)},
    )


def in_context(run: Run, name: str) -> pd.DataFrame:
    """``representations.measure`` by one judge, for the neutral test faces of one fold."""
    if name == "judge":  # notebook 07 asks it, too
        table = representations.measured(run).drop(columns=["same_person", "distance"])
        return table.loc[table.strength.isin(IN_CONTEXT)].reset_index(drop=True)

    def measure() -> pd.DataFrame:
        pairs, judge = representations.neutral_pairs(run), judge_of(run, name)
        return representations.measure(run, run.can(), pairs, judge, strengths=tuple(IN_CONTEXT))

    return kept_table(
        run,
        f"neutral_faces_{name.replace(' ', '_')}",
        measure,
        networks=("face", "voice", "can"),
        settings={"strengths": list(IN_CONTEXT)},
        below={"judge": record_of(run, name)},
    )


@computed_once
def judgements(run: Run) -> tuple[dict[str, pd.DataFrame], dict[str, pd.DataFrame]]:
    """What each judge, by name, sees in the test faces of all folds that are trained.

    The first table of a judge is about real and reconstructed pictures
    (``representations.judge_frames``), the second about neutral faces without and with context
    (``representations.measure``).
    """
    folds = trained_folds(run)
    names = judges_of_run(run)
    seen = {name: pd.concat([without_context(each, name) for each in folds]) for name in names}
    heard = {name: pd.concat([in_context(each, name) for each in folds]) for name in names}
    return seen, heard


@computed_once
def recognised(run: Run) -> pd.DataFrame:
    """How often a judge names the intended emotion.

    The columns are judge, pictures, value, low, high and emotions.
    """
    seen, heard = judgements(run)
    tables = [table.assign(judge=name) for name, table in seen.items()]
    for name, table in heard.items():
        pictures = table.strength.map(IN_CONTEXT)
        tables.append(table.assign(judge=name, pictures=pictures))
    shares = representations.recognition(pd.concat(tables), run.profile.bootstrap)
    order = judges_of_run(run)
    return shares.sort_values("judge", kind="stable", key=lambda names: names.map(order.index))


@notebook.figure(
    "11_judges",
    plots.judges,
    "what three judges see in four kinds of pictures",
    work="trains two judges for each fold, decodes and judges its faces",
)
def judges(run: Run) -> pd.DataFrame:
    """The table of ``recognised``."""
    return recognised(run)
