"""Scores with their intervals.  Every function takes plain arrays; clips and actors say what belongs together."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

EXACT = 14  # up to so many actors all sign flips are tried


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
    statistic: Callable[[np.ndarray], float],
    actors: np.ndarray,
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, float]:
    """Percentile bootstrap over actors (clusters) of ``statistic(rows)``, rows being indices into (N,) arrays.

    Clips of one actor are not independent, so whole actors are drawn with replacement.  With few actors the interval is
    too short: on simulated corpora whose actors differ (tests/test_metrics.py), 95 % intervals held the true accuracy
    in 92.6 % of the cases with 24 actors and in 84.3 % with five, the test actors of one fold.  Returns {"value",
    "low", "high"}.
    """
    rows = [np.flatnonzero(actors == a) for a in np.unique(actors)]
    draws = [
        statistic(np.concatenate([rows[i] for i in own]))
        for own in _drawn(len(rows), resamples, seed)
    ]
    return _interval(statistic(np.arange(len(actors))), draws, level)


def mean_interval(
    values: np.ndarray,
    actors: np.ndarray,
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
    groups: np.ndarray | None = None,
) -> dict[str, float]:
    """``actor_interval`` of the mean of (N,) ``values``, from the sums of each actor: the same draws, much faster.

    With ``groups`` (N,) it is the mean over groups of the means within them: of hits with the truth as groups, the
    unweighted average recall.
    """
    groups = np.zeros(len(actors)) if groups is None else groups
    (who, who_of), (what, what_of) = (np.unique(x, return_inverse=True) for x in (actors, groups))
    sums, counts = np.zeros((2, len(who), len(what)))
    np.add.at(sums, (who_of, what_of), values)
    np.add.at(counts, (who_of, what_of), 1)
    drawn = _drawn(len(who), resamples, seed)
    total, number = sums[drawn].sum(1), counts[drawn].sum(1)  # (resamples, groups)
    met = number > 0  # the actors drawn may have nothing of a group
    draws = np.divide(total, number, out=np.zeros_like(total), where=met).sum(1) / met.sum(1)
    return _interval((sums.sum(0) / counts.sum(0)).mean(), draws, level)


def _drawn(actors: int, resamples: int, seed: int) -> np.ndarray:
    """(resamples, actors) which actors each resample draws, with replacement."""
    return np.random.default_rng(seed).integers(actors, size=(resamples, actors))


def _interval(value: float, draws: np.ndarray | list[float], level: float) -> dict[str, float]:
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return {"value": float(value), "low": float(low), "high": float(high)}


def scores(
    log_probabilities: np.ndarray,
    labels: np.ndarray,
    clips: np.ndarray,
    actors: np.ndarray,
    resamples: int = 2000,
    seed: int = 0,
) -> dict[str, dict[str, float]]:
    """Frame accuracy, clip accuracy (mean log probability of its frames) and unweighted average recall over clips.

    Arguments have one row per frame: (N, K), (N,), (N,), (N,).  Each score is {"value", "low", "high"}.
    """
    predicted = log_probabilities.argmax(1)
    ids, pooled = by_clip(log_probabilities, clips)
    first = np.searchsorted(clips[order := np.argsort(clips, kind="stable")], ids)
    truth, who, decided = labels[order][first], actors[order][first], pooled.argmax(1)
    return {
        "frame_accuracy": mean_interval(labels == predicted, actors, resamples, seed=seed),
        "clip_accuracy": mean_interval(truth == decided, who, resamples, seed=seed),
        "unweighted_average_recall": mean_interval(
            truth == decided, who, resamples, seed=seed, groups=truth
        ),
    }


def paired_difference(
    first: np.ndarray,
    second: np.ndarray,
    actors: np.ndarray,
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, float]:
    """Mean of ``first - second``, (N,) scores of two models on the same clips: {"value", "low", "high", "p"}.

    The interval is ``mean_interval``'s.  ``p`` (two-sided) is from a test that flips the sign of whole actors'
    differences: if neither model is better, each actor's sum could as well have the other sign (Fisher 1935, actors
    as blocks).  Up to 14 actors all 2^A flips are counted, beyond that 20,000 random ones.  Five actors can never give
    a p below 2 / 2^5 = 0.0625, however large the difference.
    """
    gain = np.asarray(first, float) - np.asarray(second, float)
    sums = np.array([gain[actors == a].sum() for a in np.unique(actors)])
    if exact := len(sums) <= EXACT:
        signs = 1 - 2 * ((np.arange(2 ** len(sums))[:, None] >> np.arange(len(sums))) & 1)
    else:
        signs = np.random.default_rng(seed).choice((-1, 1), (20_000, len(sums)))
    as_far = (np.abs(signs @ sums) >= abs(sums.sum()) - 1e-9).sum()
    p = as_far / len(signs) if exact else (as_far + 1) / (len(signs) + 1)
    return mean_interval(gain, actors, resamples, level, seed) | {"p": float(p)}


def mean_and_sd(values: list[float] | np.ndarray) -> dict[str, float]:
    """{"mean", "sd", "count"} of scores of several folds or seeds; sd divides by count - 1 (NaN for a single one)."""
    values = np.asarray(values, float)
    sd = float(values.std(ddof=1)) if len(values) > 1 else float("nan")
    return {"mean": float(values.mean()), "sd": sd, "count": len(values)}


def reliability(log_probabilities: np.ndarray, labels: np.ndarray, bins: int = 10) -> pd.DataFrame:
    """How often answers given with a certain confidence are right: a row for each bin that is not empty.

    Confidence is the largest probability of a row of (N, K); bin b holds those in (b / bins, (b + 1) / bins].  Columns:
    ``low``, ``high``, ``count``, ``confidence`` (mean) and ``accuracy``.
    """
    confidence, right = np.exp(log_probabilities.max(1)), log_probabilities.argmax(1) == labels
    edges = np.linspace(0, 1, bins + 1)
    table = pd.DataFrame(
        {
            "bin": np.searchsorted(edges[1:-1], confidence),
            "confidence": confidence,
            "accuracy": right,
        }
    )
    means = {name: (name, "mean") for name in ("confidence", "accuracy")}
    table = table.groupby("bin").agg(count=("accuracy", "size"), **means)
    table.insert(0, "low", edges[table.index])
    table.insert(1, "high", edges[table.index + 1])
    return table.reset_index(drop=True)


def calibration_error(log_probabilities: np.ndarray, labels: np.ndarray, bins: int = 10) -> float:
    """Expected calibration error, sum_b (n_b / N) |accuracy_b - confidence_b| (Guo et al. 2017, arXiv 1706.04599).

    0: answers given with 80 % confidence are right in 80 % of the cases; with few answers a bin it is biased upwards.
    """
    table = reliability(log_probabilities, labels, bins)
    return float(
        (table["count"] * (table.accuracy - table.confidence).abs()).sum() / table["count"].sum()
    )
