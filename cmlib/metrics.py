"""Scores with their intervals.  Every function takes plain arrays; clips and actors say what belongs together."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def accuracy(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Fraction of equal entries of two (N,) label arrays."""
    return float(np.mean(truth == predicted))


def unweighted_average_recall(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Mean over the classes present in ``truth`` of the fraction found (balanced accuracy; Schuller et al. 2009)."""
    return float(np.mean([np.mean(predicted[truth == c] == c) for c in np.unique(truth)]))


def confusion(truth: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """(classes, classes) rates: rows are the truth and sum to one (a class without samples keeps zeros)."""
    counts = np.zeros((classes, classes))
    np.add.at(counts, (truth, predicted), 1)
    return counts / np.maximum(counts.sum(1, keepdims=True), 1)


def by_clip(log_probabilities: np.ndarray, clips: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Frame scores (N, K) and their clip (N,) -> (clip ids (M,) sorted, mean log probabilities (M, K))."""
    ids, position = np.unique(clips, return_inverse=True)
    total = np.zeros((len(ids), log_probabilities.shape[1]))
    np.add.at(total, position, log_probabilities)
    return ids, total / np.bincount(position)[:, None]


def actor_interval(
    statistic: Callable[[np.ndarray], float], actors: np.ndarray, resamples: int = 2000, level: float = 0.95, seed: int = 0
) -> dict[str, float]:
    """Percentile bootstrap over actors (clusters) of ``statistic(rows)``, rows being indices into (N,) arrays.

    Clips of one actor are not independent, so whole actors are drawn with replacement.  With the five test actors of a
    fold such an interval is rough (and too short): read it as a scale, not as a test.  Returns {"value", "low", "high"}.
    """
    rng, rows = np.random.default_rng(seed), {a: np.flatnonzero(actors == a) for a in np.unique(actors)}
    names = list(rows)
    draws = [statistic(np.concatenate([rows[names[i]] for i in rng.integers(len(names), size=len(names))])) for _ in range(resamples)]
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return {"value": float(statistic(np.arange(len(actors)))), "low": float(low), "high": float(high)}


def scores(
    log_probabilities: np.ndarray, labels: np.ndarray, clips: np.ndarray, actors: np.ndarray, resamples: int = 2000, seed: int = 0
) -> dict[str, dict[str, float]]:
    """Frame accuracy, clip accuracy (mean log probability of its frames) and unweighted average recall over clips.

    Arguments have one row per frame: (N, K), (N,), (N,), (N,).  Each score is {"value", "low", "high"}.
    """
    predicted = log_probabilities.argmax(1)
    ids, pooled = by_clip(log_probabilities, clips)
    first = np.searchsorted(clips[order := np.argsort(clips, kind="stable")], ids)
    truth, who, decided = labels[order][first], actors[order][first], pooled.argmax(1)
    return {
        "frame_accuracy": actor_interval(lambda r: accuracy(labels[r], predicted[r]), actors, resamples, seed=seed),
        "clip_accuracy": actor_interval(lambda r: accuracy(truth[r], decided[r]), who, resamples, seed=seed),
        "unweighted_average_recall": actor_interval(lambda r: unweighted_average_recall(truth[r], decided[r]), who, resamples, seed=seed),
    }
