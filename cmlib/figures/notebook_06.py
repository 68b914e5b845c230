"""Tables of notebook 06: how good the models are on test actors."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd

from cmlib import metrics
from cmlib.corpora import crowd
from cmlib.evaluation import ablations as ablations_of_context
from cmlib.evaluation import robustness as disturbances
from cmlib.evaluation import scoring
from cmlib.experiment.kept import kept_table
from cmlib.experiment.run import MODELS, Run
from cmlib.figures.figure import Notebook, computed_once, faces
from cmlib.figures.notebook_04 import confusion_table
from cmlib.plots import notebook_06 as plots
from cmlib.plots.palette import MODEL_NAMES

notebook = Notebook("06_evaluation", needs=faces)
DISTURBED = ("face", "voice", "product_of_experts", "can")


def chance(run: Run) -> float:
    """The accuracy of guessing, 0...1."""
    return 1 / len(run.classes)


@computed_once
def answers(run: Run) -> scoring.Predictions:
    """The predictions of all models for the labelled frames of test actors."""
    return scoring.predict(run)


@computed_once
def test_scores(run: Run) -> pd.DataFrame:
    """Columns model, score, value, low, high."""
    return scoring.score(answers(run), run.profile.bootstrap)


@notebook.figure("06_test_accuracy", plots.test_accuracy, "clip accuracy of every model")
def test_accuracy(run: Run) -> dict:
    """``table`` is ``test_scores``."""
    return {"table": test_scores(run), "chance": chance(run)}


def confusion(run: Run, model: str) -> dict:
    """Confusion of test clips by one of the models."""
    clips = answers(run).by_clip()
    predicted = clips.log_probabilities[model].argmax(1)
    return {"table": confusion_table(run, clips.labels, predicted), "model": model}


def add_confusions() -> None:
    """Add a confusion for each of the models to compare to the figures of the notebook."""
    for model in plots.COMPARED:
        title = f"who is mistaken for whom: {MODEL_NAMES[model]}"
        register = notebook.figure(f"06_confusion_{model}", plots.confusion, title)
        register(partial(confusion, model=model))


add_confusions()


@notebook.figure(
    "06_recall_per_emotion", plots.recall_per_emotion, "recall of every model, per emotion"
)
def recall_per_emotion(run: Run) -> pd.DataFrame:
    """A row per model: columns model, and its recall of each emotion that is tested."""
    clips = answers(run).by_clip()
    recall = {}
    for model, log_probabilities in clips.log_probabilities.items():
        table = confusion_table(run, clips.labels, log_probabilities.argmax(1)).set_index("truth")
        recall[model] = np.diag(table)
    tested = [run.classes[label] for label in np.unique(clips.labels)]
    table = pd.DataFrame(recall, index=run.classes).loc[tested]
    return table.T.rename_axis("model").reset_index()


@notebook.figure(
    "06_accuracy_against_strength",
    plots.accuracy_against_strength,
    "accuracy against the strength of the context",
)
def accuracy_against_strength(run: Run) -> dict:
    """``table`` has the columns strength (t, from 0 to 1), value, low, high."""
    rows = run.frames_of(run.split.test)
    clips = answers(run).by_clip()
    curve = []
    for strength in np.round(np.linspace(0, 1, 11), 2):
        log_probabilities = run.log_probabilities("can", rows, strength=float(strength))
        _, pooled = metrics.by_clip(log_probabilities, run.frame_clip[rows])
        right = pooled.argmax(1) == clips.labels
        interval = metrics.mean_interval(right, clips.actors, run.profile.bootstrap)
        curve.append({"strength": strength, **interval})
    scores = test_scores(run).set_index(["model", "score"]).value
    face_only = scores["face", "clip_accuracy"]
    return {"table": pd.DataFrame(curve), "face_only": face_only, "chance": chance(run)}


@notebook.figure("06_calibration", plots.calibration, "confidence against accuracy")
def calibration(run: Run) -> pd.DataFrame:
    """Columns model, confidence, accuracy, count."""
    _, bins = scoring.calibration(answers(run))
    return bins


@notebook.figure(
    "06_robustness",
    plots.robustness,
    "accuracy while a sense is disturbed",
    work="encodes disturbed clips",
)
def robustness(run: Run) -> dict:
    """``table`` has the columns disturbance, level, model, value, low, high."""
    table = kept_table(
        run,
        "robustness",
        lambda: disturbances.robustness(run, models=DISTURBED),
        networks=("face", "voice", *scoring.networks_of(DISTURBED)),
        settings={"models": DISTURBED, "clips": disturbances.MAX_CLIPS},
    )
    return {"table": table, "chance": chance(run)}


@notebook.figure(
    "06_ablations",
    plots.ablations,
    "context attention with one setting changed at a time",
    work="trains a small network for each change",
)
def ablations(run: Run) -> dict:
    """``table`` has the columns change, value, low, high and more, of validation actors."""
    variants = ablations_of_context.variants(run.profile.can)
    table = kept_table(
        run,
        "ablations",
        lambda: ablations_of_context.ablations(run),
        networks=("face", "voice", *scoring.networks_of(MODELS)),
        settings={
            # A field of the settings that the stored record lacks counts with its default. So the
            # record of a network whose settings are all defaults would say nothing without names.
            "names": list(variants),
            "variants": variants,
            "strengths": ablations_of_context.STRENGTHS,
        },
        data={"crowd": crowd.key()},
    )
    return {"table": table, "chance": chance(run)}


def trained_folds(run: Run) -> list[Run]:
    """This run, and those of the other four folds whose networks are trained."""
    if not run.fold:
        return [run]
    trained = []
    for fold in range(1, 6):
        each = run if fold == run.fold else Run(run.corpus, run.profile_name, run.seed, fold)
        if each is run or not scoring.missing_networks(each):
            trained.append(each)
    return trained


@computed_once
def pooled_folds(run: Run) -> tuple[pd.DataFrame, scoring.Predictions]:
    """The scores and predictions of all folds that are trained, by ``scoring.score_runs``."""
    return scoring.score_runs(trained_folds(run))


@notebook.figure("06_all_folds", plots.all_folds, "clip accuracy over all folds that are trained")
def all_folds(run: Run) -> dict:
    """``table`` has the columns model, value, low, high, mean, sd, count: clip accuracy."""
    overall, _ = pooled_folds(run)
    overall = overall[overall.score == "clip_accuracy"].set_index("model").loc[list(MODELS)]
    return {"table": overall.drop(columns="score").reset_index(), "chance": chance(run)}
