"""Observers as judge: the network, its score between two limits, and what people see."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from sklearn.calibration import calibration_curve

from cmlib import checkpoints
from cmlib.evaluation import judges, observers
from cmlib.evaluation.observers import ObserverConfig, Observers
from cmlib.models.observers import (
    OBSERVED_EMOTIONS,
    ObserverNetwork,
    edge_maps,
    grey,
    standardised,
)
from cmlib.training.batches import Pictures

CLASSES = ("calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
QUICK = ObserverConfig(width=8, members=1, copies=4, epochs=8, batch=16, dropout=0.2)


def noise(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


# -------------------------------------------------------------------- the network


def test_shares_sum_to_one_and_a_mirror_image_gets_the_same():
    network = ObserverNetwork(width=4).eval()
    x = noise(3, 3, 128, 128)
    shares = network.shares(x)
    assert shares.shape == (3, 6)
    torch.testing.assert_close(shares.sum(1), torch.ones(3))
    torch.testing.assert_close(network.shares(x.flip(-1)), shares, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(network.shares(x.flip(-2)), shares, atol=1e-4)


def test_light_and_the_colour_of_the_skin_say_nothing():
    network = ObserverNetwork(width=4).eval()
    x = noise(2, 1, 64, 64).expand(-1, 3, -1, -1)
    tinted = 0.1 + x * torch.tensor([0.8, 0.5, 0.3]).view(3, 1, 1)
    torch.testing.assert_close(network.shares(tinted), network.shares(x), atol=0.02, rtol=0)


def test_members_are_averaged_at_the_temperature():
    network = ObserverNetwork(width=4, members=3).eval()
    x = noise(2, 3, 64, 64)
    network.temperature.fill_(2.0)
    logits = (network(x) + network(x.flip(-1))) / 2
    torch.testing.assert_close(network.shares(x), (logits / 2).softmax(-1).mean(0))
    torch.testing.assert_close(network(grey(x)), network(x))


def test_edges_are_counted_by_place_and_direction():
    x = torch.zeros(1, 1, 64, 64)
    x[..., 32:, :32] = 1  # an edge that lies, on the left, and one that stands, below
    fine, coarse = edge_maps(standardised(x))
    assert fine.shape == (1, 8, 16, 16) and coarse.shape == (1, 8, 8, 8)
    standing, lying = fine[0, 0], fine[0, 4]
    assert lying[7:9, 2:6].min() > 0.5 > lying[7:9, 10:].max()
    assert standing[7:9, 2:6].max() < 0.1 and standing[12, 7:9].min() > 0.5
    blurred, _ = edge_maps(standardised(observers.blur(x, 1.0)))
    turned, _ = edge_maps(standardised(x.transpose(2, 3).flip(2)))
    assert (blurred - fine).abs().mean() < 0.5 * (turned - fine).abs().mean()


def test_it_survives_eight_bits(tmp_path):
    network = ObserverNetwork(width=4).eval()
    network.temperature.fill_(1.25)
    checkpoints.save(tmp_path / "fold-1", network, {}, bits=8)
    loaded, _ = checkpoints.load(tmp_path / "fold-1", ObserverNetwork)
    x = noise(2, 3, 64, 64)
    torch.testing.assert_close(loaded.shares(x), network.shares(x), atol=0.02, rtol=0)


# -------------------------------------------------------------------- training


@pytest.fixture(scope="module")
def rated():
    """(160 pictures with a horizontal or vertical stripe, and what is named in them, (160, 6))."""
    rng = np.random.default_rng(0)
    pictures = rng.integers(60, 120, (160, 64, 64, 3), np.uint8)
    shares = np.zeros((160, 6))
    for picture, answer in zip(pictures, shares):
        standing = rng.integers(2)
        start = rng.integers(16, 40)
        band = picture[:, start : start + 8] if standing else picture[start : start + 8]
        band += 80
        answer[[standing, 5]] = 0.8, 0.2
    return Pictures(pictures), shares


@pytest.fixture(scope="module")
def judge(rated):
    return observers.train(*rated, np.arange(120), QUICK)


def test_a_judge_predicts_what_observers_say_of_unseen_pictures(rated, judge):
    pictures, shares = rated
    unseen = np.arange(120, 160)
    predicted = Observers([judge]).probabilities(pictures.batch(unseen))
    reached = observers.cross_entropy(shares[unseen], predicted).mean()
    constant = observers.cross_entropy(shares[unseen], shares[:120].mean(0)).mean()
    scatter = observers.scatter_of_observers(shares[unseen]).mean()
    assert scatter < reached < 0.7 * constant


def test_a_judge_does_not_react_to_blur(rated, judge):
    pictures = rated[0].batch(np.arange(120, 160))
    ask = Observers([judge]).probabilities
    blurred = observers.reaction(ask(pictures), ask(observers.blur(pictures, 1.0))).mean()
    turned = observers.reaction(ask(pictures), ask(pictures.transpose(2, 3))).mean()
    assert blurred < 0.05 < turned


def test_training_is_repeatable_and_follows_its_seed(rated):
    few = np.arange(32)
    settings = ObserverConfig(width=2, members=1, copies=1, epochs=1, batch=16)
    first, again, other = (observers.train(*rated, few, settings, seed) for seed in (0, 0, 1))
    x = rated[0].batch(few)
    torch.testing.assert_close(again.shares(x), first.shares(x), rtol=0, atol=0)
    assert not torch.allclose(other.shares(x), first.shares(x))


def test_the_temperature_makes_an_overconfident_judge_modest(rated, judge):
    pictures, shares = rated
    rows = np.arange(120, 160)
    sure = ObserverNetwork(**judge.config).eval().requires_grad_(False)
    sure.load_state_dict(judge.state_dict())
    sure.members[0].head.weight.mul_(3)
    sure.members[0].head.bias.mul_(3)
    before = observers.cross_entropy(shares[rows], sure.shares(pictures.batch(rows)).numpy())
    observers.calibrate(sure, pictures, shares, rows)
    after = observers.cross_entropy(shares[rows], sure.shares(pictures.batch(rows)).numpy())
    assert sure.temperature > 1.2 and after.mean() < before.mean()


@pytest.mark.parametrize("deviation", [0.7, 2.0])
def test_blur_is_that_of_scipy(deviation):
    x = noise(2, 3, 24, 24)
    expected = ndimage.gaussian_filter(
        x.numpy(), (0, 0, deviation, deviation), mode="nearest", radius=int(np.ceil(3 * deviation))
    )
    np.testing.assert_allclose(observers.blur(x, deviation), expected, atol=1e-5)


def test_augmented_pictures_differ_but_stay_pictures():
    x = noise(6, 1, 64, 64)
    first, second = (
        observers.augment(x, ObserverConfig(), np.random.default_rng(seed)) for seed in (0, 1)
    )
    assert first.shape == x.shape and torch.isfinite(first).all()
    assert (first - second).abs().mean() > 0.05
    still = ObserverConfig(turn=0, zoom=(1, 1), shift=0, gamma=0, blur=0, noise=0)
    kept = observers.augment(x, still, np.random.default_rng(0))
    mirrored = [torch.allclose(a, b.flip(-1), atol=1e-4) for a, b in zip(kept, x)]
    same = [torch.allclose(a, b, atol=1e-4) for a, b in zip(kept, x)]
    assert any(mirrored) and any(same) and all(a != b for a, b in zip(mirrored, same))


# -------------------------------------------------------------------- the score and its limits

TRUE = np.array([0.55, 0.2, 0.15, 0.07, 0.03, 0.0])


def groups(count, seed=0):
    """The answers of ``count`` groups of a hundred observers, as shares (count, 6)."""
    return np.random.default_rng(seed).multinomial(100, TRUE, count) / 100


def test_cross_entropy_is_that_of_torch_and_least_for_the_truth():
    shares = groups(5)
    predicted = np.random.default_rng(1).dirichlet(np.ones(6), 5)
    expected = torch.nn.functional.cross_entropy(
        torch.from_numpy(predicted).log(), torch.from_numpy(shares), reduction="none"
    )
    np.testing.assert_allclose(observers.cross_entropy(shares, predicted), expected)
    many = groups(2000)
    best = observers.cross_entropy(many, TRUE).mean()
    for other in (TRUE[::-1], np.full(6, 1 / 6), 0.95 * TRUE + 0.05 / 6):
        assert observers.cross_entropy(many, other).mean() > best


def test_the_scatter_is_what_a_knower_of_the_truth_reaches():
    many = groups(4000)
    knower = observers.cross_entropy(many, TRUE).mean()
    plain = observers.cross_entropy(many, np.where(many > 0, many, 1)).mean()
    corrected = observers.scatter_of_observers(many).mean()
    assert abs(corrected - knower) < 0.25 * abs(plain - knower)


def test_the_second_group_is_as_good_as_another_hundred_people():
    first, second = groups(4000), groups(4000, seed=1)
    answers = (100 * second + 0.5) / 103
    reached = observers.cross_entropy(first, answers).mean()
    assert observers.second_group(first[:300]).mean() == pytest.approx(reached, abs=0.01)


def test_calibration_is_that_of_sklearn():
    rng = np.random.default_rng(0)
    predicted = rng.dirichlet(np.ones(6), 400)
    named = np.array([rng.multinomial(1, row) for row in predicted])
    table = observers.calibration(named, predicted)
    observed, mean = calibration_curve(named.ravel(), predicted.ravel(), n_bins=10)
    np.testing.assert_allclose(table.observed, observed)
    np.testing.assert_allclose(table.predicted, mean)
    assert table["count"].sum() == 2400


def test_scores_lie_between_the_limits():
    rng = np.random.default_rng(0)
    truth = rng.dirichlet(0.4 * np.ones(6), 120)
    shares = np.array([rng.multinomial(100, row) for row in truth]) / 100
    people = np.repeat(np.arange(12), 10)
    constant = shares.mean(0)
    halfway = (truth + constant) / 2
    report = observers.score(shares, halfway, constant, people)
    values = [report[name]["value"] for name in ("scatter", "second_group", "cross_entropy")]
    assert values == sorted(values) and values[-1] < report["constant"]["value"]
    assert 0.3 < report["explained"]["value"] < 1
    assert observers.score(shares, truth, constant, people)["explained"]["value"] > 0.95
    constant_report = observers.score(shares, constant, constant, people)
    assert constant_report["explained"]["value"] == pytest.approx(0)
    assert constant_report["most_named"] == constant_report["most_named_constant"]
    assert report["calibration_error"] > 0.02


def test_a_reaction_is_the_share_of_changed_answers():
    before, after = np.array([[0.5, 0.5, 0.0]]), np.array([[0.3, 0.5, 0.2]])
    assert observers.reaction(before, after) == pytest.approx([0.2])


# -------------------------------------------------------------------- the judge among the others


def test_it_answers_as_other_judges_do_and_calm_is_unknown():
    network = ObserverNetwork(width=4).eval()
    judge = Observers([network], CLASSES)
    assert judges.known_emotions(judge, CLASSES) == CLASSES[1:]
    x = noise(2, 3, 64, 64)
    p = np.exp(judges.predict(judge, x))
    shares = network.shares(x).detach().numpy()
    assert p.shape == (2, 8)
    np.testing.assert_allclose(p[:, 0], 0, atol=1e-9)
    for column, emotion in enumerate(OBSERVED_EMOTIONS):
        np.testing.assert_allclose(p[:, CLASSES.index(emotion)], shares[:, column], rtol=1e-4)


def test_several_judges_are_averaged(tmp_path):
    networks = [ObserverNetwork(width=2, members=1).eval() for _ in range(5)]
    for fold, network in enumerate(networks, 1):
        checkpoints.save(tmp_path / f"fold-{fold}", network, {})
    x = noise(2, 3, 64, 64)
    each = np.stack(
        [Observers.shipped(fold, folder=tmp_path).probabilities(x) for fold in range(1, 6)]
    )
    together = Observers.shipped(folder=tmp_path).probabilities(x)
    np.testing.assert_allclose(together, each.mean(0), rtol=1e-5)
    assert each.std(0).max() > 1e-4
    with pytest.raises(checkpoints.CheckpointError, match="fold-1"):
        Observers.shipped(1, folder=tmp_path / "elsewhere")


# -------------------------------------------------------------------- congruence


def test_the_gain_is_that_of_the_emotion_of_the_voice():
    before = np.full((4, 6), 1 / 6)
    after = before.copy()
    after[:2, 0] += 0.3  # two happy voices
    after[2, 2] += 0.1  # an angry one that works, and one that does not
    table = observers.share_gain(
        before, after, ["happy", "happy", "angry", "angry"], np.array([1, 2, 1, 2])
    ).set_index("emotion")
    assert list(table.index) == ["happy", "angry", "all"]
    assert table.value.to_dict() == pytest.approx({"happy": 0.3, "angry": 0.05, "all": 0.175})
    assert (table.loc["angry", "low"], table.loc["angry", "high"]) == pytest.approx((0, 0.1))
    assert table.first_choice.to_dict() == {"happy": 1, "angry": 0.5, "all": 0.75}
    assert table.pictures.to_dict() == {"happy": 2, "angry": 2, "all": 4}


def test_an_emotion_that_nobody_was_asked_for_is_named():
    with pytest.raises(ValueError, match="calm: observers were asked for happy, sad"):
        observers.share_gain(np.ones((1, 6)), np.ones((1, 6)), ["calm"], np.array([1]))


def test_congruence_of_pictures_is_the_gain_in_their_shares():
    judge = Observers([ObserverNetwork(width=2, members=1).eval()])
    before, after, people = noise(6, 3, 64, 64), noise(6, 3, 64, 64, seed=1), np.arange(6)
    table = observers.congruence(judge, before, after, OBSERVED_EMOTIONS, people)
    gain = judge.probabilities(after) - judge.probabilities(before)
    np.testing.assert_allclose(table.value[:6], np.diag(gain), atol=1e-6)
    assert table.value.iloc[6] == pytest.approx(np.diag(gain).mean(), abs=1e-6)
