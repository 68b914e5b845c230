"""The lesson of leakage: one linear probe, and splits that keep actors apart or mix them."""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold, StratifiedGroupKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from cmlib.corpora.splits import random_split
from cmlib.experiment.run import Run

NEVER = -1e9  # log probability of a class that a probe has not met
MOST_FOLDS = 5  # of the validation frames
PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1)  # inverse strengths C of the penalty, from strong to weak
MAX_PROBED = 200_000  # frames from which a probe learns
Folds = list[tuple[np.ndarray, np.ndarray]]


def probed_latents(run: Run) -> tuple[str, np.ndarray, np.ndarray]:
    """The sense that is probed, its latents (N, D) and their labels (N,), -1 for none."""
    if run.store.has_faces:
        sense, latents = "face", run.face_latents.mu[0].numpy()
    else:
        sense, latents = "voice", run.voice_latents.mu.numpy()
    return sense, latents, run.clip_labels[run.frame_clip]


def fit_probe(latents: np.ndarray, labels: np.ndarray, groups: np.ndarray) -> Pipeline:
    """A logistic regression on latents (N, D), whose penalty is chosen by cross-validation.

    ``groups`` (N,) are kept together in the folds that choose it. With one group nothing can be
    held out, and the strongest penalty is taken.
    """
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(C=PENALTIES[0], max_iter=500))
    count = len(np.unique(groups))
    if count < 2:
        return pipeline.fit(latents, labels)
    penalties = {"logisticregression__C": PENALTIES}
    search = GridSearchCV(clone(pipeline), penalties, cv=GroupKFold(min(5, count)))
    return search.fit(latents, labels, groups=groups).best_estimator_


def strangers_folds(run: Run, together: str) -> Folds:
    """Folds of the labelled validation frames, as (rows to learn from, rows to test); five at most.

    ``together`` says what is never divided: "actor", so that each fold tests other people, or
    "clip", so that clips are shuffled and every actor is on both sides. Rows count from 0 to the
    number of these frames.
    """
    frames = _validation_frames(run)
    clips = run.frame_clip[frames]
    labels = run.clip_labels[clips]
    groups = run.store.clips.actor.to_numpy()[clips] if together == "actor" else clips
    count = min(MOST_FOLDS, len(np.unique(groups)))
    most_common = int(np.bincount(labels).max())
    if together == "actor":
        folds = GroupKFold(count)
    elif most_common > 1:
        # Clips are sorted by name, and actors take turns. Without shuffling, folds of clips would
        # be folds of actors again.
        folds = StratifiedGroupKFold(min(count, most_common), shuffle=True, random_state=run.seed)
    else:  # so few clips that no class can be on both sides
        folds = GroupKFold(count, shuffle=True, random_state=run.seed)
    return list(folds.split(frames, labels, groups))


def probe_score(
    run: Run, training_clips: np.ndarray, test_clips: np.ndarray, together: str
) -> dict:
    """Clip accuracy, with its interval, of a probe that learns from some clips and reads others.

    ``together`` is "actor" or "clip": what the choice of the penalty keeps together.
    """
    _, latents, labels = probed_latents(run)
    training_frames = _at_most(run.frames_of(training_clips), MAX_PROBED)
    test_frames = run.frames_of(test_clips)
    groups = _groups(run, training_frames, together)
    probe = fit_probe(latents[training_frames], labels[training_frames], groups)
    answers = np.full((len(test_frames), len(run.classes)), NEVER)
    answers[:, probe.classes_] = probe.predict_log_proba(latents[test_frames])
    return run.scores(answers, test_frames)["clip_accuracy"]


def cross_validated_score(run: Run, together: str) -> dict:
    """Clip accuracy, with its interval, of validation clips in the folds of ``strangers_folds``."""
    _, latents, labels = probed_latents(run)
    frames = _validation_frames(run)
    groups = _groups(run, frames, together)
    answers = np.full((len(frames), len(run.classes)), NEVER)
    for train, test in strangers_folds(run, together):
        probe = fit_probe(latents[frames[train]], labels[frames[train]], groups[train])
        answers[np.ix_(test, probe.classes_)] = probe.predict_log_proba(latents[frames[test]])
    return run.scores(answers, frames)["clip_accuracy"]


def _validation_frames(run: Run) -> np.ndarray:
    return _at_most(run.frames_of(run.split.val), MAX_PROBED)


def _at_most(frames: np.ndarray, count: int) -> np.ndarray:
    """Frames (N,), or at most ``count`` of them, evenly spaced: a probe reads all at once."""
    return frames[:: 1 + (len(frames) - 1) // count]


def _groups(run: Run, frames: np.ndarray, together: str) -> np.ndarray:
    clips = run.frame_clip[frames]
    return clips if together == "clip" else run.store.clips.actor.to_numpy()[clips]


def leakage(run: Run) -> pd.DataFrame:
    """The clip accuracy of one linear probe under four splits: columns split, value, low, high.

    "actors apart" learns from training actors and reads validation actors. "random split" shuffles
    clips, so that each actor is on both sides. The last two do the same among validation actors
    alone, whom the encoder has never met in any profile: "strangers, actors apart" leaves out whole
    actors, "strangers, clips mixed" leaves out clips. ValueError if these two had the same folds.
    """
    mixed = random_split(len(run.store.clips), run.seed)
    rows = [
        {"split": "actors apart", **probe_score(run, run.split.train, run.split.val, "actor")},
        {"split": "random split", **probe_score(run, mixed.train, mixed.val, "clip")},
    ]
    actors = np.unique(run.store.clips.actor.to_numpy()[run.labelled(run.split.val)])
    if len(actors) > 1:  # a small corpus may have one validation actor only
        if tested_together(run, "actor") == tested_together(run, "clip"):
            raise ValueError("leakage: both groupings give the same folds, so they show nothing")
        for name, together in (("actors apart", "actor"), ("clips mixed", "clip")):
            rows.append({"split": f"strangers, {name}", **cross_validated_score(run, together)})
    return pd.DataFrame(rows)


def tested_together(run: Run, together: str) -> set[frozenset[int]]:
    """The folds of ``strangers_folds`` as sets of the rows that they test, whatever their order."""
    return {frozenset(test.tolist()) for _, test in strangers_folds(run, together)}
