"""Tables of notebook 04: what linear classifiers read, and what a leaking split pretends."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import confusion_matrix
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from cmlib import metrics
from cmlib.corpora.splits import random_split
from cmlib.experiment.run import Run
from cmlib.figures.figure import Needs, Notebook, faces, voices
from cmlib.plots import kinds
from cmlib.plots import notebook_04 as plots

notebook = Notebook("04_expression_classifier", needs=voices)
NEVER = -1e9  # log probability of a class that a probe has not met


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


def make_probe() -> Pipeline:
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=500, C=0.1))


def probed_latents(run: Run) -> tuple[str, np.ndarray, np.ndarray]:
    """The sense that is probed, its latents (N, D) and their labels (N,), -1 for none."""
    if run.store.has_faces:
        sense, latents = "face", run.face_latents.mu[0].numpy()
    else:
        sense, latents = "voice", run.voice_latents.mu.numpy()
    return sense, latents, run.clip_labels[run.frame_clip]


@notebook.figure("04_leakage", plots.leakage, "what a leaking split pretends")
def leakage(run: Run) -> dict:
    """``table`` has the columns split, value, low, high: scores of one linear probe on latents.

    First the probe learns from training clips and is tested on validation clips, with the split by
    actors and with a random split. Then it is cross-validated on validation actors only, whom the
    encoder has never seen, once with actors apart and once with their clips mixed.
    """
    rows = [{"split": "actors apart", **probe_score(run, run.split.train, run.split.val)}]
    mixed = random_split(len(run.store.clips), run.seed)
    rows.append({"split": "random split", **probe_score(run, mixed.train, mixed.val)})

    strangers = run.frames_of(run.split.val)
    clips = run.frame_clip[strangers]
    actors = run.store.clips.actor.to_numpy()[clips]
    folds = max(2, len(np.unique(actors)))
    groupings = {"strangers, actors apart": actors, "strangers, clips mixed": clips}
    for split, groups in groupings.items():
        if len(np.unique(groups)) > 1:  # a small corpus may have one validation actor only
            rows.append({"split": split, **cross_validated_score(run, strangers, groups, folds)})
    sense, _, _ = probed_latents(run)
    return {"table": pd.DataFrame(rows), "chance": 1 / len(run.classes), "sense": sense}


def probe_score(run: Run, training_clips: np.ndarray, test_clips: np.ndarray) -> dict:
    """Clip accuracy, with its interval, of a probe that learns from some clips and reads others."""
    _, latents, labels = probed_latents(run)
    training_frames = run.frames_of(training_clips)
    test_frames = run.frames_of(test_clips)
    probe = make_probe().fit(latents[training_frames], labels[training_frames])
    answers = np.full((len(test_frames), len(run.classes)), NEVER)
    answers[:, probe[-1].classes_] = probe.predict_log_proba(latents[test_frames])
    return run.scores(answers, test_frames)["clip_accuracy"]


def cross_validated_score(run: Run, frames: np.ndarray, groups: np.ndarray, folds: int) -> dict:
    """Clip accuracy, with its interval, where a probe of the other groups reads each group."""
    _, latents, labels = probed_latents(run)
    answers = np.full((len(frames), len(run.classes)), NEVER)
    answers[:, np.unique(labels[frames])] = cross_val_predict(
        make_probe(),
        latents[frames],
        labels[frames],
        groups=groups,
        cv=GroupKFold(folds),
        method="predict_log_proba",
    )
    return run.scores(answers, frames)["clip_accuracy"]


@notebook.figure("04_test_scores", plots.test_scores, "what linear classifiers read on test actors")
def test_scores(run: Run) -> dict:
    senses = ["face", "voice"] if run.store.has_faces else ["voice"]
    frames = run.frames_of(run.split.test)
    scores = {sense: run.scores(run.log_probabilities(sense, frames), frames) for sense in senses}
    return {"table": kinds.score_table(scores), "chance": 1 / len(run.classes)}
