"""Tables of notebook 04: what linear classifiers read, and what a leaking split pretends."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
from sklearn.metrics import confusion_matrix

from cmlib import metrics
from cmlib.evaluation import leakage as leaky_splits
from cmlib.experiment.kept import kept_table
from cmlib.experiment.run import Run
from cmlib.figures.figure import Needs, Notebook, faces, voices
from cmlib.plots import kinds
from cmlib.plots import notebook_04 as plots

notebook = Notebook("04_expression_classifier", needs=voices)


def confusion_table(run: Run, labels: np.ndarray, predicted: np.ndarray) -> pd.DataFrame:
    """A row per true emotion: columns truth, and the share that was called each emotion."""
    all_labels = range(len(run.classes))
    rates = confusion_matrix(labels, predicted, labels=all_labels, normalize="true")
    return pd.DataFrame(rates, run.classes, run.classes).rename_axis("truth").reset_index()


def confusion(run: Run, sense: str) -> dict:
    """Confusion of validation clips by the classifier of a sense, "face" or "voice"."""
    frames = run.frames_of(run.split.val)
    log_probabilities = run.log_probabilities(sense, frames)
    clips, pooled = metrics.by_clip(log_probabilities, run.frame_clip[frames])
    table = confusion_table(run, run.clip_labels[clips], pooled.argmax(1))
    return {"table": table, "sense": sense}


def add_confusion(sense: str, needs: Needs) -> None:
    """Add the confusion of one sense to the figures of the notebook."""
    title = f"who is mistaken for whom, by the {sense}"
    register = notebook.figure(f"04_confusion_{sense}", plots.confusion, title, needs)
    register(partial(confusion, sense=sense))


add_confusion("face", faces)
add_confusion("voice", voices)


@notebook.figure(
    "04_leakage",
    plots.leakage,
    "what a leaking split pretends",
    work="fits a probe under four splits",
)
def leakage(run: Run) -> dict:
    """``table`` is that of ``cmlib.evaluation.leakage.leakage``."""
    sense, _, _ = leaky_splits.probed_latents(run)
    table = kept_table(
        run,
        "leakage",
        lambda: leaky_splits.leakage(run),
        networks=(sense,),
        settings={"penalties": leaky_splits.PENALTIES},
    )
    return {"table": table, "chance": 1 / len(run.classes), "sense": sense}


@notebook.figure("04_test_scores", plots.test_scores, "what linear classifiers read on test actors")
def test_scores(run: Run) -> dict:
    """``table`` has the scores of each sense on test actors: model, score, value, low, high."""
    senses = ["face", "voice"] if run.store.has_faces else ["voice"]
    frames = run.frames_of(run.split.test)
    scores = {sense: run.scores(run.log_probabilities(sense, frames), frames) for sense in senses}
    return {"table": kinds.score_table(scores), "chance": 1 / len(run.classes)}
