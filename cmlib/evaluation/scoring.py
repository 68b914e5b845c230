"""Predictions of a run's models, with their scores, differences and calibration.

Functions over ``experiment.run.Run`` that return tables. ``value``, ``low`` and ``high`` are a
score and its 95 % interval over actors (``metrics.actor_interval``). Settings are never chosen by
these scores, but on validation actors.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from cmlib import files, metrics
from cmlib.experiment.run import MODELS, Run

PREDICTION_COLUMNS = ("labels", "clips", "actors")
SCORED_SUBSETS = ("validation", "test")  # the subsets of a split on which models are scored


# -------------------------------------------------------------------- predictions


@dataclass(frozen=True)
class Predictions:
    """The predictions of models for N frames or clips, and the true labels.

    ``log_probabilities``: (N, K) by model; ``labels``, ``clips`` and ``actors``: (N,).
    """

    log_probabilities: dict[str, np.ndarray]
    labels: np.ndarray
    clips: np.ndarray
    actors: np.ndarray

    def by_clip(self) -> Predictions:
        """One row per clip: the mean log probabilities of its frames."""
        clips, first_frames = np.unique(self.clips, return_index=True)
        means = {
            model: metrics.by_clip(log_probabilities, self.clips)[1]
            for model, log_probabilities in self.log_probabilities.items()
        }
        return Predictions(means, self.labels[first_frames], clips, self.actors[first_frames])

    def hits(self) -> dict[str, np.ndarray]:
        """Whether the most probable class is the label, (N,) bool, by model."""
        return {
            model: log_probabilities.argmax(1) == self.labels
            for model, log_probabilities in self.log_probabilities.items()
        }


def available_models(run: Run) -> tuple[str, ...]:
    """The models that a corpus allows: ``MODELS``, or the voice alone where it has no faces."""
    return MODELS if run.store.has_faces else ("voice",)


def required_networks(run: Run) -> list[str]:
    """The names of the networks behind ``available_models``."""
    vaegans = ["face", "voice"] if run.store.has_faces else ["voice"]
    return vaegans + networks_of(available_models(run))


def networks_of(models: Iterable[str]) -> list[str]:
    """The names of the networks that name the class for these ``MODELS``."""
    return [name if name.startswith("can") else f"classifier_{name}" for name in models]


def missing_networks(run: Run) -> list[str]:
    """Those of ``required_networks`` that are neither trained by the run nor shipped."""
    return [name for name in required_networks(run) if run.find(name) is None]


def predict(run: Run, subset: str = "test", models: Iterable[str] = MODELS) -> Predictions:
    """Predictions for the labelled frames of the "validation" or "test" clips.

    Missing networks are trained first. Raises ValueError for another subset.
    """
    if subset not in SCORED_SUBSETS:
        raise ValueError(f"subset {subset!r}: choose {' or '.join(SCORED_SUBSETS)}")
    frames = run.frames_of(run.split.val if subset == "validation" else run.split.test)
    clips = run.frame_clip[frames]
    log_probabilities = {name: run.log_probabilities(name, frames) for name in models}
    actors = run.store.clips.actor.to_numpy()[clips]
    return Predictions(log_probabilities, run.clip_labels[clips], clips, actors)


def concatenate(predictions: Sequence[Predictions]) -> Predictions:
    """Predictions of several folds (or seeds) as one.

    Clips of different runs stay apart, even where they have the same number. Actors do not: two
    seeds of one fold predict clips of the same people, who are resampled together.
    """
    clips_per_run = 1 + max(int(p.clips.max()) for p in predictions)
    log_probabilities = {
        model: np.concatenate([p.log_probabilities[model] for p in predictions])
        for model in predictions[0].log_probabilities
    }
    return Predictions(
        log_probabilities,
        labels=np.concatenate([p.labels for p in predictions]),
        clips=np.concatenate([p.clips + i * clips_per_run for i, p in enumerate(predictions)]),
        actors=np.concatenate([p.actors for p in predictions]),
    )


MODEL_KEY = "model:"  # begins the name of the array of a model in a file of predictions


def save_predictions(path: Path, predictions: Predictions) -> None:
    """Write predictions as arrays of numbers and text to an ``.npz`` file."""
    arrays = {name: np.asarray(getattr(predictions, name)) for name in PREDICTION_COLUMNS}
    for name, array in arrays.items():
        if array.dtype == object:  # text of a table, which numpy would pickle
            arrays[name] = array.astype(str)
    for model, log_probabilities in predictions.log_probabilities.items():
        arrays[MODEL_KEY + model] = log_probabilities
    with files.write_atomically(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def load_predictions(path: Path) -> Predictions:
    """What ``save_predictions`` wrote; ValueError, which names the file, if it cannot be read."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        columns = {name: arrays.pop(name) for name in PREDICTION_COLUMNS}
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: no predictions can be read ({error}); delete it") from None
    models = {name.removeprefix(MODEL_KEY): array for name, array in arrays.items()}
    return Predictions(models, **columns)


# -------------------------------------------------------------------- tables


def score(predictions: Predictions, resamples: int = 2000) -> pd.DataFrame:
    """``metrics.scores`` of each model; columns: model, score, value, low, high."""
    rows = []
    for model, log_probabilities in predictions.log_probabilities.items():
        scores = metrics.scores(
            log_probabilities, predictions.labels, predictions.clips, predictions.actors, resamples
        )
        for name, interval in scores.items():
            rows.append({"model": model, "score": name, **interval})
    return pd.DataFrame(rows)


def score_runs(
    runs: Sequence[Run], subset: str = "test", models: Iterable[str] = MODELS
) -> tuple[pd.DataFrame, Predictions]:
    """Scores over all folds (and seeds) together, and the predictions behind them.

    ``value``, ``low`` and ``high`` are over all actors at once: each is tested in one fold, by
    networks that were not trained on them. ``mean``, ``sd`` and ``count`` are over the runs. Their
    networks share training actors, so sd is not an interval.
    """
    models = tuple(models)
    predictions = [predict(run, subset, models) for run in runs]
    return score_together(predictions, runs[0].profile.bootstrap)


def score_together(
    predictions: Sequence[Predictions], resamples: int = 2000
) -> tuple[pd.DataFrame, Predictions]:
    """Scores of the predictions of several runs, as ``score_runs`` describes them."""
    values = pd.concat([score(p, resamples=1) for p in predictions])
    spread = (
        values.groupby(["model", "score"])
        .value.apply(lambda v: pd.Series(metrics.mean_and_sd(v.to_numpy())))
        .unstack()
        .reset_index()
    )
    together = concatenate(predictions)
    table = score(together, resamples)
    return table.merge(spread, on=["model", "score"]), together


def differences(
    predictions: Predictions, model: str = "can", resamples: int = 2000
) -> pd.DataFrame:
    """Clip accuracy of ``model`` minus that of each other model (``metrics.paired_difference``).

    Columns: other, value, low, high, p.
    """
    clips = predictions.by_clip()
    hits = clips.hits()
    rows = []
    for other in hits:
        if other != model:
            difference = metrics.paired_difference(
                hits[model], hits[other], clips.actors, resamples
            )
            rows.append({"other": other, **difference})
    return pd.DataFrame(rows)


def calibration(predictions: Predictions, bins: int = 10) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Two tables: the calibration error of clips by model, and the reliability behind it.

    Columns of the first: model, calibration_error, confidence, accuracy (means over clips). The
    second is ``metrics.reliability`` with a column model. The log probabilities of a clip are the
    mean of those of its frames, normalised again.
    """
    clips = predictions.by_clip()
    rows, reliability = [], []
    for model, log_probabilities in clips.log_probabilities.items():
        log_probabilities = log_probabilities - np.logaddexp.reduce(
            log_probabilities, 1, keepdims=True
        )
        reliability.append(
            metrics.reliability(log_probabilities, clips.labels, bins).assign(model=model)
        )
        rows.append(
            {
                "model": model,
                "calibration_error": metrics.calibration_error(
                    log_probabilities, clips.labels, bins
                ),
                "confidence": np.exp(log_probabilities.max(1)).mean(),
                "accuracy": (log_probabilities.argmax(1) == clips.labels).mean(),
            }
        )
    return pd.DataFrame(rows), pd.concat(reliability, ignore_index=True)
