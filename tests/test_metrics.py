"""Scores against scikit-learn, and the interval against its definition."""

import itertools

import numpy as np
import pytest
from scipy import stats
from sklearn.calibration import calibration_curve
from sklearn.metrics import recall_score

from cmlib import metrics


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
    result = metrics.scores(
        perfect[shuffle], labels[shuffle], clips[shuffle], actors[shuffle], resamples=20
    )
    assert all(result[k] == {"value": 1.0, "low": 1.0, "high": 1.0} for k in result)


def test_interval_draws_whole_actors():
    actors = np.repeat([1, 2, 3, 4], 50)
    hits = np.repeat(
        [1.0, 1.0, 0.0, 0.0], 50
    )  # two actors all right, two all wrong: rows are far from independent
    interval = metrics.actor_interval(lambda r: hits[r].mean(), actors, resamples=4000)
    assert interval["value"] == 0.5 and interval["low"] == 0.0 and interval["high"] == 1.0
    spread = metrics.actor_interval(lambda r: hits[r].mean(), np.arange(200), resamples=2000)
    assert 0.42 < spread["low"] < 0.45 and 0.55 < spread["high"] < 0.58


def test_intervals_of_means_are_those_of_the_statistic_itself():
    rng = np.random.default_rng(7)
    actors, truth, said = (
        rng.choice([2, 5, 6, 9, 11], 90),
        rng.integers(4, size=90),
        rng.integers(4, size=90),
    )
    truth[actors != 5] %= (
        3  # one class is one actor's alone, so resamples without that actor have none of it
    )
    gain = rng.normal(size=90)
    theirs = metrics.actor_interval(lambda r: gain[r].mean(), actors, 300, seed=3)
    assert metrics.mean_interval(gain, actors, 300, seed=3) == pytest.approx(theirs)

    def average_recall(rows):
        return recall_score(truth[rows], said[rows], average="macro", labels=np.unique(truth[rows]))

    theirs = metrics.actor_interval(average_recall, actors, 300, 0.8, seed=3)
    assert metrics.mean_interval(truth == said, actors, 300, 0.8, 3, groups=truth) == pytest.approx(
        theirs
    )
    ours = metrics.scores(np.log(rng.dirichlet(np.ones(4), 90)), truth, np.arange(90), actors, 50)
    assert ours["frame_accuracy"] == ours["clip_accuracy"] != ours["unweighted_average_recall"]


def simulated(
    actors: int, rng: np.random.Generator, clips: int = 40
) -> tuple[np.ndarray, np.ndarray]:
    """Right or wrong (N,) and actor (N,).

    They are drawn from people who are read in 60 % of the cases on average, sd 15.
    """
    easy = rng.beta(5.8, 3.87, actors)  # mean 0.6, sd 0.15
    return (rng.random((actors, clips)) < easy[:, None]).ravel().astype(float), np.repeat(
        np.arange(actors), clips
    )


@pytest.mark.parametrize(("actors", "least", "most"), [(24, 0.90, 0.98), (5, 0.75, 0.89)])
def test_intervals_hold_the_truth_as_often_as_they_say(actors, least, most):
    rng, held = np.random.default_rng(0), []
    for _ in range(400):
        right, who = simulated(actors, rng)
        interval = metrics.actor_interval(
            lambda r, right=right: right[r].mean(), who, resamples=300
        )
        held.append(interval["low"] <= 5.8 / 9.67 <= interval["high"])
    print(f"{actors} actors: {np.mean(held):.3f}")
    assert least < np.mean(held) < most


def test_intervals_over_clips_would_promise_too_much():
    """The coverage test notices the usual mistake, resampling clips instead of actors.

    It resamples eight clips at a time, which is faster and still gives too short an interval.
    """
    rng, held = np.random.default_rng(0), []
    for _ in range(200):
        right, who = simulated(24, rng)
        each = np.arange(len(who)) // 8
        interval = metrics.actor_interval(
            lambda r, right=right: right[r].mean(), each, resamples=100
        )
        held.append(interval["low"] <= 5.8 / 9.67 <= interval["high"])
    assert np.mean(held) < 0.9


def test_sign_flips_are_those_of_scipy():
    rng = np.random.default_rng(2)
    first, second, actors = rng.random(70), rng.random(70) - 0.1, np.repeat(np.arange(7), 10)
    sums = [(first - second)[actors == a].sum() for a in range(7)]
    theirs = stats.permutation_test((sums,), np.sum, permutation_type="samples", n_resamples=np.inf)
    ours = metrics.paired_difference(first, second, actors, 200)
    assert np.isclose(ours["p"], theirs.pvalue) and ours["low"] < ours["value"] < ours["high"]
    assert np.isclose(ours["value"], np.mean(first - second))


def test_five_actors_never_give_a_p_below_a_sixteenth():
    actors = np.repeat(np.arange(5), 9)
    assert metrics.paired_difference(np.ones(45), np.zeros(45), actors, 20)["p"] == 0.0625
    assert metrics.paired_difference(np.ones(45), np.ones(45), actors, 20)["p"] == 1


def test_many_actors_are_flipped_by_chance_to_the_same_end():
    rng = np.random.default_rng(3)
    sums = rng.normal(0.5, 1.2, 16)
    every = np.array([np.dot(s, sums) for s in itertools.product((-1, 1), repeat=16)])
    exact = np.mean(np.abs(every) >= abs(sums.sum()) - 1e-9)
    assert metrics.paired_difference(sums, np.zeros(16), np.arange(16), 20)["p"] == pytest.approx(
        exact, abs=0.01
    )


def test_paired_test_rejects_as_often_as_it_says():
    """Two equal models on 6 actors: p <= 0.1 in about 6 of 64 flips."""
    rng = np.random.default_rng(4)
    p = [
        metrics.paired_difference(rng.normal(size=6), np.zeros(6), np.arange(6), 2)["p"]
        for _ in range(1500)
    ]
    assert np.mean(np.array(p) <= 0.1) == pytest.approx(6 / 64, abs=0.02)


def test_mean_and_sd():
    assert metrics.mean_and_sd([0.5, 0.7]) == {
        "mean": 0.6,
        "sd": pytest.approx(np.sqrt(0.02)),
        "count": 2,
    }
    assert np.isnan(metrics.mean_and_sd([0.5])["sd"])


def test_reliability_equals_scikit_learn():
    rng = np.random.default_rng(5)
    log_p, labels = np.log(rng.dirichlet(np.full(7, 0.3), 800)), rng.integers(7, size=800)
    table = metrics.reliability(log_p, labels, 10)
    right, confidence = calibration_curve(
        log_p.argmax(1) == labels, np.exp(log_p.max(1)), n_bins=10
    )
    np.testing.assert_allclose(table.accuracy, right)
    np.testing.assert_allclose(table.confidence, confidence)
    assert (
        table["count"].sum() == 800
        and ((table.low < table.confidence) & (table.confidence <= table.high)).all()
    )


def test_calibration_error_by_hand():
    log_p = np.log(np.array([[0.95, 0.05], [0.95, 0.05], [0.65, 0.35], [0.35, 0.65]]))
    labels = np.array([0, 0, 0, 0])  # the two at 0.95 are right, of those at 0.65 one
    assert metrics.calibration_error(log_p, labels) == pytest.approx(0.5 * 0.05 + 0.5 * 0.15)
    rng = np.random.default_rng(6)
    p = rng.dirichlet(np.full(7, 0.4), 20_000)
    drawn = (p.cumsum(1) > rng.random((20_000, 1))).argmax(
        1
    )  # labels that follow the probabilities
    assert metrics.calibration_error(np.log(p), drawn) < 0.015
    assert metrics.calibration_error(np.log(p), (drawn + 1) % 7) > 0.4
