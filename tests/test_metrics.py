"""Scores and intervals against scikit-learn, SciPy, simulations and small cases by hand."""

import itertools

import numpy as np
import pytest
from scipy import stats
from sklearn.calibration import calibration_curve
from sklearn.metrics import accuracy_score, balanced_accuracy_score, recall_score

from cmlib import metrics


@pytest.fixture
def rng():
    return np.random.default_rng(0)


# -------------------------------------------------------------------- scores


def test_a_clip_has_the_mean_log_probabilities_of_its_frames():
    log_p = np.log(np.array([[0.6, 0.4], [0.1, 0.9], [0.7, 0.3], [0.8, 0.2]]))
    ids, pooled = metrics.by_clip(log_p, np.array([4, 4, 2, 2]))
    assert ids.tolist() == [2, 4]
    np.testing.assert_allclose(pooled, [(log_p[2] + log_p[3]) / 2, (log_p[0] + log_p[1]) / 2])


def test_scores_are_those_of_scikit_learn_whatever_the_order_of_frames(rng):
    labels = np.repeat(rng.integers(7, size=60), 3)
    clips = np.repeat(rng.permutation(60), 3)
    actors = clips // 15
    log_p = np.log(rng.dirichlet(np.ones(7), 180)) + np.eye(7)[labels]
    shuffled = rng.permutation(180)
    scores = metrics.scores(
        log_p[shuffled], labels[shuffled], clips[shuffled], actors[shuffled], resamples=20
    )
    clip_truth = labels[::3]
    clip_predicted = log_p.reshape(60, 3, 7).mean(1).argmax(1)
    assert {name: interval["value"] for name, interval in scores.items()} == pytest.approx(
        {
            "frame_accuracy": accuracy_score(labels, log_p.argmax(1)),
            "clip_accuracy": accuracy_score(clip_truth, clip_predicted),
            "unweighted_average_recall": balanced_accuracy_score(clip_truth, clip_predicted),
        }
    )


def test_mean_and_sd():
    assert metrics.mean_and_sd([0.5, 0.7]) == {
        "mean": 0.6,
        "sd": pytest.approx(np.sqrt(0.02)),
        "count": 2,
    }
    assert np.isnan(metrics.mean_and_sd([0.5])["sd"])


# -------------------------------------------------------------------- intervals over actors


def test_an_interval_resamples_whole_actors():
    actors = np.repeat([1, 2, 3, 4], 50)
    hits = np.repeat([1.0, 1.0, 0.0, 0.0], 50)  # two actors all right, two all wrong
    interval = metrics.actor_interval(lambda rows: hits[rows].mean(), actors, resamples=2000)
    assert interval == {"value": 0.5, "low": 0.0, "high": 1.0}
    everyone_alone = np.arange(200)
    interval = metrics.actor_interval(lambda rows: hits[rows].mean(), everyone_alone)
    assert 0.42 < interval["low"] < 0.45 and 0.55 < interval["high"] < 0.58


def test_an_interval_of_means_is_that_of_scipys_bootstrap_over_actors(rng):
    actors = rng.choice([2, 5, 6, 9, 11], 90)
    values = rng.normal(size=90)
    sums = np.array([values[actors == actor].sum() for actor in np.unique(actors)])
    counts = np.array([np.sum(actors == actor) for actor in np.unique(actors)])

    def mean_of_actors(drawn, axis):
        return sums[drawn].sum(axis) / counts[drawn].sum(axis)

    bootstrap = stats.bootstrap(
        (np.arange(5),),
        mean_of_actors,
        n_resamples=300,
        confidence_level=0.8,
        method="percentile",
        rng=np.random.default_rng(3),
    )
    interval = metrics.mean_interval(values, actors, 300, level=0.8, seed=3)
    assert interval == pytest.approx(
        {
            "value": values.mean(),
            "low": bootstrap.confidence_interval.low,
            "high": bootstrap.confidence_interval.high,
        }
    )


def test_an_interval_of_means_is_that_of_any_statistic(rng):
    actors = rng.choice([2, 5, 6, 9, 11], 90)
    values = rng.normal(size=90)
    assert metrics.mean_interval(values, actors, 300, seed=3) == pytest.approx(
        metrics.actor_interval(lambda rows: values[rows].mean(), actors, 300, seed=3)
    )


def test_the_interval_of_average_recall_leaves_out_classes_that_a_resample_lacks(rng):
    actors = rng.choice([2, 5, 6, 9, 11], 90)
    truth, predicted = rng.integers(4, size=(2, 90))
    truth[actors != 5] %= 3  # class 3 is played by actor 5 alone

    def average_recall(rows):
        present = np.unique(truth[rows])
        return recall_score(truth[rows], predicted[rows], average="macro", labels=present)

    interval = metrics.mean_interval(truth == predicted, actors, 80, seed=3, groups=truth)
    assert interval == pytest.approx(metrics.actor_interval(average_recall, actors, 80, seed=3))


def simulated_hits(actors, rng, clips=40):
    """Hits (N,) and actors (N,) of people recognised in 60 % of the cases on average, sd 15 %."""
    share = rng.beta(5.8, 3.87, actors)
    hits = (rng.random((actors, clips)) < share[:, None]).ravel().astype(float)
    return hits, np.repeat(np.arange(actors), clips)


TRUE_SHARE = 5.8 / 9.67  # the mean of that beta distribution


@pytest.mark.parametrize(("actors", "least", "most"), [(24, 0.90, 0.98), (5, 0.75, 0.89)])
def test_intervals_hold_the_truth_as_often_as_they_say(rng, actors, least, most):
    holds = []
    for _ in range(400):
        hits, actor_of_hit = simulated_hits(actors, rng)
        interval = metrics.mean_interval(hits, actor_of_hit, resamples=300)
        holds.append(interval["low"] <= TRUE_SHARE <= interval["high"])
    assert least < np.mean(holds) < most


def test_intervals_over_clips_would_promise_too_much(rng):
    """The usual mistake: treating clips of one actor as independent (here eight at a time)."""
    holds = []
    for _ in range(200):
        hits, actor_of_hit = simulated_hits(24, rng)
        eight_clips = np.arange(len(actor_of_hit)) // 8
        interval = metrics.mean_interval(hits, eight_clips, resamples=100)
        holds.append(interval["low"] <= TRUE_SHARE <= interval["high"])
    assert np.mean(holds) < 0.9


# ------------------------------------------------------------- faces that meet voices of others


def simulated_meetings(rng, people=26, speakers=18, voices=3):
    """Values, people and speakers (N,) of meetings in five folds; the true mean is 0.5."""
    of_person, of_speaker = rng.normal(0, 0.1, people), rng.normal(0, 0.2, speakers)
    person, speaker = (grid.ravel() for grid in np.mgrid[:people, :speakers])
    same_fold = person % 5 == speaker % 5
    person, speaker = (np.repeat(numbers[same_fold], voices) for numbers in (person, speaker))
    noise = rng.normal(0, 0.1, len(person))
    return 0.5 + of_person[person] + of_speaker[speaker] + noise, person, speaker


def test_a_crossed_interval_draws_people_and_speakers(rng):
    values, person, speaker = simulated_meetings(rng)
    generator = np.random.default_rng(3)
    times_person = generator.multinomial(26, [1 / 26] * 26, 200)
    times_speaker = generator.multinomial(18, [1 / 18] * 18, 200)
    estimates = []
    for of_person, of_speaker in zip(times_person, times_speaker, strict=True):
        pairs = np.repeat(values, of_person[person] * of_speaker[speaker])
        estimates.append(pairs.mean())
    low, high = np.quantile(estimates, [0.1, 0.9])
    interval = metrics.crossed_interval(values, person, speaker, 200, level=0.8, seed=3)
    assert interval == pytest.approx({"value": values.mean(), "low": low, "high": high})


def test_a_crossed_interval_holds_the_truth_and_one_over_people_alone_does_not(rng):
    crossed, people_alone = [], []
    for _ in range(300):
        values, person, speaker = simulated_meetings(rng)
        for holds, interval in (
            (crossed, metrics.crossed_interval(values, person, speaker, 300)),
            (people_alone, metrics.mean_interval(values, person, 300)),
        ):
            holds.append(interval["low"] <= 0.5 <= interval["high"])
    assert np.mean(crossed) > 0.92
    assert np.mean(people_alone) < 0.8


# -------------------------------------------------------------------- differences of two models


def test_the_sign_test_of_few_actors_is_scipys_exact_one(rng):
    first, second, actors = rng.random(70), rng.random(70) - 0.1, np.repeat(np.arange(7), 10)
    sums = [(first - second)[actors == actor].sum() for actor in range(7)]
    theirs = stats.permutation_test((sums,), np.sum, permutation_type="samples", n_resamples=np.inf)
    ours = metrics.paired_difference(first, second, actors, 200)
    assert ours["p"] == pytest.approx(theirs.pvalue)
    assert ours["value"] == pytest.approx(np.mean(first - second))
    assert ours["low"] < ours["value"] < ours["high"]


def test_five_actors_never_give_a_p_below_a_sixteenth():
    actors = np.repeat(np.arange(5), 9)
    assert metrics.paired_difference(np.ones(45), np.zeros(45), actors, 20)["p"] == 0.0625
    assert metrics.paired_difference(np.ones(45), np.ones(45), actors, 20)["p"] == 1


def test_the_sign_test_of_many_actors_draws_flips_and_comes_to_the_same_p(rng):
    sums = rng.normal(0.5, 1.2, 16)
    every_flip = np.array([np.dot(signs, sums) for signs in itertools.product((-1, 1), repeat=16)])
    exact = np.mean(np.abs(every_flip) >= abs(sums.sum()) - 1e-9)
    ours = metrics.paired_difference(sums, np.zeros(16), np.arange(16), 20)
    assert ours["p"] == pytest.approx(exact, abs=0.01)


def test_the_sign_test_rejects_exactly_as_often_as_it_says(rng):
    """Where neither of two models is better, all 64 signs of six differences are equally likely."""
    differences = rng.normal(size=6)
    p = [
        metrics.paired_difference(differences * signs, np.zeros(6), np.arange(6), 2)["p"]
        for signs in itertools.product((-1, 1), repeat=6)
    ]
    for level in (2 / 64, 6 / 64, 10 / 64, 20 / 64):
        assert np.mean(np.array(p) <= level) == level


# -------------------------------------------------------------------- calibration


def test_reliability_equals_scikit_learn(rng):
    log_p, labels = np.log(rng.dirichlet(np.full(7, 0.3), 800)), rng.integers(7, size=800)
    table = metrics.reliability(log_p, labels, 10)
    accuracy, confidence = calibration_curve(
        log_p.argmax(1) == labels, np.exp(log_p.max(1)), n_bins=10
    )
    np.testing.assert_allclose(table.accuracy, accuracy)
    np.testing.assert_allclose(table.confidence, confidence)
    assert table["count"].sum() == 800
    assert ((table.low < table.confidence) & (table.confidence <= table.high)).all()


def test_calibration_error_by_hand():
    log_p = np.log(np.array([[0.95, 0.05], [0.95, 0.05], [0.65, 0.35], [0.35, 0.65]]))
    labels = np.array([0, 0, 0, 0])  # the two at 0.95 are right, of those at 0.65 one
    assert metrics.calibration_error(log_p, labels) == pytest.approx(0.5 * 0.05 + 0.5 * 0.15)


def test_calibration_error_is_small_only_where_labels_follow_the_probabilities(rng):
    p = rng.dirichlet(np.full(7, 0.4), 20_000)
    drawn = (p.cumsum(1) > rng.random((20_000, 1))).argmax(1)
    assert metrics.calibration_error(np.log(p), drawn) < 0.015
    assert metrics.calibration_error(np.log(p), (drawn + 1) % 7) > 0.4
