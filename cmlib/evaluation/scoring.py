"""What the models of a run are worth: scores, differences, and what is left of them when a sense is disturbed.

Functions over ``experiment.Run`` that return tables.  ``value``, ``low`` and ``high`` are a score and its 95 % interval
over actors (``metrics.actor_interval``).  Nothing here chooses anything: settings are compared on validation actors.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cmlib import metrics
from cmlib.experiment.run import MODELS, Run

PARTS = {"validation": "val", "test": "test"}


@dataclass(frozen=True)
class Answers:
    """What models said about N frames or clips: log probabilities (N, K) by model; labels, clips, actors (N,)."""

    log_probabilities: dict[str, np.ndarray]
    labels: np.ndarray
    clips: np.ndarray
    actors: np.ndarray

    def by_clip(self) -> Answers:
        """One row per clip: the mean log probabilities of its frames."""
        clips, first = np.unique(self.clips, return_index=True)
        pooled = {
            name: metrics.by_clip(p, self.clips)[1] for name, p in self.log_probabilities.items()
        }
        return Answers(pooled, self.labels[first], clips, self.actors[first])

    def right(self) -> dict[str, np.ndarray]:
        """Which rows each model calls by their label, (N,) bool."""
        return {name: p.argmax(1) == self.labels for name, p in self.log_probabilities.items()}


def models(run: Run) -> tuple[str, ...]:
    """The models that a corpus allows: all of ``MODELS``, or the voice alone where there are no faces."""
    return MODELS if run.store.has_faces else ("voice",)


def networks(run: Run) -> list[str]:
    """The names of the networks behind ``models``."""
    readers = [name if name.startswith("can") else f"classifier_{name}" for name in models(run)]
    return ["face"] * run.store.has_faces + ["voice", *readers]


def missing(run: Run) -> list[str]:
    """Those of ``networks`` that are neither the run's own nor shipped."""
    return [name for name in networks(run) if run.find(name) is None]


def ask(run: Run, part: str = "test", models: Iterable[str] = MODELS) -> Answers:
    """Answers about the labelled frames of a ``part``, "validation" or "test"; missing networks are trained."""
    rows = run.frames_of(getattr(run.split, PARTS[part]))
    clips = run.frame_clip[rows]
    said = {name: run.log_probabilities(name, rows) for name in models}
    return Answers(said, run.clip_labels[clips], clips, run.store.clips.actor.to_numpy()[clips])


def join(parts: Sequence[Answers]) -> Answers:
    """Answers of several folds (or seeds) as one; clips of different parts stay apart, their actors do not."""
    offset = 1 + max(int(p.clips.max()) for p in parts)
    clips = np.concatenate([p.clips + i * offset for i, p in enumerate(parts)])
    said = {
        name: np.concatenate([p.log_probabilities[name] for p in parts])
        for name in parts[0].log_probabilities
    }
    labels, actors = (np.concatenate([getattr(p, k) for p in parts]) for k in ("labels", "actors"))
    return Answers(said, labels, clips, actors)


def score(answers: Answers, resamples: int = 2000) -> pd.DataFrame:
    """Frame accuracy, clip accuracy and unweighted average recall: columns model, score, value, low, high."""
    rows = []
    for name, p in answers.log_probabilities.items():
        own = metrics.scores(p, answers.labels, answers.clips, answers.actors, resamples)
        rows += [{"model": name, "score": s, **v} for s, v in own.items()]
    return pd.DataFrame(rows)


def pooled(
    runs: Sequence[Run], part: str = "test", models: Iterable[str] = MODELS
) -> tuple[pd.DataFrame, Answers]:
    """All folds (and seeds) together: (scores, the answers behind them).

    ``value``, ``low`` and ``high`` are over all actors at once: each is tested in one fold, by networks that do not
    know it.  ``mean``, ``sd`` and ``count`` are over the runs, whose networks share training actors: sd is no interval.
    """
    parts = [ask(run, part, models) for run in runs]
    values = pd.concat([score(p, 1) for p in parts]).groupby(["model", "score"]).value
    spread = values.apply(lambda v: pd.Series(metrics.mean_and_sd(v.to_numpy()))).unstack()
    everyone = join(parts)
    return score(everyone, runs[0].profile.bootstrap).merge(
        spread.reset_index(), on=["model", "score"]
    ), everyone


def differences(answers: Answers, model: str = "can", resamples: int = 2000) -> pd.DataFrame:
    """Clip accuracy of ``model`` minus each other's, by ``metrics.paired_difference``: other, value, low, high, p."""
    clips = answers.by_clip()
    ours = (right := clips.right()).pop(model)
    gains = {
        name: metrics.paired_difference(ours, r, clips.actors, resamples)
        for name, r in right.items()
    }
    return pd.DataFrame([{"other": name, **gain} for name, gain in gains.items()])


def calibration(answers: Answers, bins: int = 10) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Of clips: (model, calibration_error, confidence, accuracy), and ``metrics.reliability`` with a column model.

    The log probabilities of a clip are the mean of its frames', normalised again, so that they are probabilities.
    """
    clips, rows, bars = answers.by_clip(), [], []
    for name, p in clips.log_probabilities.items():
        p = p - np.logaddexp.reduce(p, 1, keepdims=True)
        bars.append(metrics.reliability(p, clips.labels, bins).assign(model=name))
        error = metrics.calibration_error(p, clips.labels, bins)
        sure, right = np.exp(p.max(1)).mean(), (p.argmax(1) == clips.labels).mean()
        rows.append(
            {"model": name, "calibration_error": error, "confidence": sure, "accuracy": right}
        )
    return pd.DataFrame(rows), pd.concat(bars, ignore_index=True)
