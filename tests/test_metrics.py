"""Scores against scikit-learn, and the interval against its definition."""

import numpy as np
from sklearn.metrics import balanced_accuracy_score, confusion_matrix

from cmlib import metrics


def test_rates_equal_scikit_learn():
    rng = np.random.default_rng(0)
    truth, predicted = rng.integers(7, size=500), rng.integers(7, size=500)
    assert np.isclose(metrics.unweighted_average_recall(truth, predicted), balanced_accuracy_score(truth, predicted))
    np.testing.assert_allclose(metrics.confusion(truth, predicted, 7), confusion_matrix(truth, predicted, normalize="true"))


def test_clips_pool_the_log_probabilities_of_their_frames():
    log_p = np.log(np.array([[0.6, 0.4], [0.1, 0.9], [0.7, 0.3], [0.8, 0.2]]))
    ids, pooled = metrics.by_clip(log_p, np.array([4, 4, 2, 2]))
    assert ids.tolist() == [2, 4]
    np.testing.assert_allclose(pooled, [(log_p[2] + log_p[3]) / 2, (log_p[0] + log_p[1]) / 2])


def test_scores_keep_clip_truth_together_in_any_order():
    rng = np.random.default_rng(1)
    clips, labels = np.repeat(np.arange(20), 3), np.repeat(rng.integers(7, size=20), 3)
    actors, shuffle = clips // 5, rng.permutation(60)
    perfect = np.where(np.eye(7)[labels] == 1, 0.0, -9.0)
    result = metrics.scores(perfect[shuffle], labels[shuffle], clips[shuffle], actors[shuffle], resamples=20)
    assert all(result[k] == {"value": 1.0, "low": 1.0, "high": 1.0} for k in result)


def test_interval_draws_whole_actors():
    actors = np.repeat([1, 2, 3, 4], 50)
    hits = np.repeat([1.0, 1.0, 0.0, 0.0], 50)  # two actors all right, two all wrong: rows are far from independent
    interval = metrics.actor_interval(lambda r: hits[r].mean(), actors, resamples=4000)
    assert interval["value"] == 0.5 and interval["low"] == 0.0 and interval["high"] == 1.0
    spread = metrics.actor_interval(lambda r: hits[r].mean(), np.arange(200), resamples=2000)
    assert 0.42 < spread["low"] < 0.45 and 0.55 < spread["high"] < 0.58
