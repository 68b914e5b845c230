"""Training of the VAE-GAN: it learns, resumes with the same numbers, and names a NaN."""

import dataclasses
import io
import re

import numpy as np
import pandas as pd
import pytest
import torch
from tqdm import tqdm

from cmlib import models
from cmlib.config import VaeGanConfig
from cmlib.training import encoding, loop, vaegan
from cmlib.training.batches import Pictures, TrainingData, randomly_translated
from cmlib.training.expression_critic import train_expression_critic
from cmlib.training.vaegan import train_vaegan

TINY = VaeGanConfig(
    width=0.0625, latent=8, epochs=3, batch=16, learning_rate=2e-3, optimiser="adam"
)


@pytest.fixture(autouse=True)
def calm(monkeypatch):
    monkeypatch.setenv("CM_QUIET", "1")


@pytest.fixture(scope="module")
def pictures():
    rng = np.random.default_rng(0)
    tone = rng.integers(40, 216, size=(48, 1, 1, 3))
    return Pictures((tone + rng.integers(-8, 9, size=(48, 32, 32, 3))).astype(np.uint8))


def fit(pictures, settings=TINY, labels=None, **more):
    """Train on two thirds of the pictures; the others validate."""
    data = TrainingData(pictures, np.arange(32), np.arange(32, 48), labels)
    return train_vaegan(data, settings, fabric=loop.launch("32-true"), **more)


def test_pictures_join_arrays_and_mirror():
    a, b = np.zeros((2, 4, 4, 3), np.uint8), np.full((3, 4, 4, 3), 255, np.uint8)
    b[:, :, 0] = 0
    x = Pictures(a, b).batch(np.array([1, 2, 4]), np.array([False, False, True]))
    assert x.shape == (3, 3, 4, 4) and x[0].max() == 0
    assert x[1, 0, 0].tolist() == [0, 1, 1, 1] and x[2, 0, 0].tolist() == [1, 1, 1, 0]


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"adversarial_weight": 0.1},
        {"feature_level": 0},
        {"label_weight": 1.0},
        {"detail_weight": 0.5},
        {"feature_level": 0, "expression_weight": 0.3},
    ],
)
def test_every_option_learns_to_reconstruct_unseen_pictures(pictures, change):
    settings = dataclasses.replace(TINY, epochs=12, pixel_weight=1.0, **change)
    _, history = fit(pictures, settings, labels=np.arange(48) % 3)
    assert history.validation.iloc[-1] < 0.5 * history.validation.iloc[0]


def test_training_starts_from_the_weights_of_another_network(pictures):
    start, _ = fit(pictures, dataclasses.replace(TINY, epochs=1))
    untrained = dataclasses.replace(TINY, epochs=0)
    same, _ = fit(pictures, untrained, start=start, seed=1)
    for (name, p), q in zip(same.named_parameters(), start.parameters(), strict=True):
        assert name.startswith("discriminator") or torch.equal(p, q), name
    other, _ = fit(pictures, untrained, seed=1)
    assert not torch.equal(next(other.parameters()), next(start.parameters()))


@pytest.mark.parametrize(
    "change", [{}, {"schedule": "cosine"}, {"feature_level": 0, "expression_weight": 0.3}]
)
def test_a_killed_run_ends_with_the_numbers_of_an_undisturbed_one(pictures, tmp_path, change):
    settings = dataclasses.replace(TINY, **change)
    labels = np.arange(48) % 3
    whole, history = fit(pictures, settings, labels)
    state = tmp_path / "face.state.pt"
    with pytest.raises(KeyboardInterrupt):
        fit(pictures, settings, labels, state=state, on_epoch=kill_after(2))
    resumed, resumed_history = fit(pictures, settings, labels, state=state)
    for key, value in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[key], value), key
    pd.testing.assert_frame_equal(
        history.drop(columns="seconds"), resumed_history.drop(columns="seconds"), check_exact=True
    )


def open_and_shut_mouths(count=160):
    """(training data, labels): noisy pictures of any tone, every second one with an open mouth."""
    rng, labels = np.random.default_rng(0), np.arange(count) % 2
    tone = rng.integers(40, 160, size=(count, 1, 1, 3))
    pictures = tone + rng.integers(-20, 21, size=(count, 32, 32, 3))
    pictures[labels == 1, 22:27, 12:20] += 40
    rows = np.arange(count)
    train, unseen = np.split(rows, [3 * count // 4])
    return TrainingData(Pictures(pictures.astype(np.uint8)), train, unseen, labels), labels


def test_an_expression_critic_reads_the_labels_of_unseen_pictures():
    data, labels = open_and_shut_mouths()
    torch.manual_seed(0)
    model = models.VaeGan(3, 32, 8, 0.125)
    critic = model.discriminator

    def accuracy():
        """Nearest mean of a class, of what the last layer sees."""
        with torch.no_grad():
            inputs_of_last_layer = torch.nn.Sequential(*critic.eval().fc[:-1])
            known, unseen = (
                inputs_of_last_layer(hidden(critic, data.pictures.batch(rows)))
                for rows in (data.train, data.validation)
            )
        means = torch.stack([known[labels[data.train] == c].mean(0) for c in (0, 1)])
        nearest = torch.cdist(unseen, means).argmin(1).numpy()
        return float((nearest == labels[data.validation]).mean())

    before, last = accuracy(), critic.fc[-1]
    train_expression_critic(model, data, seed=0, fabric=loop.launch("32-true"), epochs=20)
    assert before < 0.75 and accuracy() > 0.9
    assert critic.fc[-1] is last  # the layer that names labels served the training only


@pytest.fixture
def critics(monkeypatch):
    """The weights of each expression critic, as it was when its (here short) training ended."""
    trained = []

    def train_and_remember(model, *more):
        train_expression_critic(model, *more, epochs=2)
        trained.append({k: v.clone() for k, v in model.discriminator.state_dict().items()})

    monkeypatch.setattr(vaegan, "train_expression_critic", train_and_remember)
    return trained


EXPRESSIONS = dataclasses.replace(TINY, feature_level=0, expression_weight=0.3)


def test_an_expression_critic_stays_as_it_is_while_the_vaegan_learns(critics):
    data, _ = open_and_shut_mouths()
    trained, history = train_vaegan(data, EXPRESSIONS, fabric=loop.launch("32-true"))
    for key, value in trained.discriminator.state_dict().items():  # running statistics, too
        assert torch.equal(value, critics[0][key]), key
    assert history.expression.iloc[-1] < history.expression.iloc[0]


def test_without_labels_there_is_no_expression_critic(critics):
    data, labels = open_and_shut_mouths()
    unlabelled = dataclasses.replace(data, labels=np.full(len(labels), -1))
    _, history = train_vaegan(unlabelled, EXPRESSIONS, fabric=loop.launch("32-true"))
    assert "expression" not in history and not critics


def test_a_discriminator_that_should_serve_two_purposes_is_refused():
    data, _ = open_and_shut_mouths()
    with pytest.raises(ValueError, match="feature_level"):
        train_vaegan(data, dataclasses.replace(EXPRESSIONS, feature_level=2))


def hidden(reader, x):
    for block in reader.conv:
        x = block(x)
    return x.flatten(1)


def kill_after(epoch):
    def kill(model, row):
        if row["epoch"] == epoch:
            raise KeyboardInterrupt

    return kill


def test_the_csv_log_grows_epoch_by_epoch_and_holds_no_row_twice(pictures, tmp_path):
    log = tmp_path / "deep" / "face.history.csv"
    state = tmp_path / "face.state.pt"
    with pytest.raises(KeyboardInterrupt):
        fit(pictures, log=log, state=state, on_epoch=kill_after(2))
    # As if it had been killed after the log was written, and before the state was.
    log.write_text(log.read_text() + "3,0,0,0,0,0\n")
    lengths = []
    _, history = fit(
        pictures,
        log=log,
        state=state,
        on_epoch=lambda model, row: lengths.append(len(pd.read_csv(log))),
    )
    assert lengths == [3]
    pd.testing.assert_frame_equal(pd.read_csv(log), history)


def test_the_log_for_tensorboard_goes_on_after_a_kill(pictures, tmp_path, monkeypatch):
    opened, written = [], []

    class Board:
        def __init__(self, folder, **more):
            opened.append((folder, more["purge_step"]))

        def log_metrics(self, metrics, step):
            written.append((step, metrics["validation"]))

        def save(self):
            pass

    monkeypatch.setattr("lightning_fabric.loggers.tensorboard.TensorBoardLogger", Board)
    board, state = tmp_path / "board", tmp_path / "face.state.pt"
    with pytest.raises(KeyboardInterrupt):
        fit(pictures, state=state, log=board, on_epoch=kill_after(2))
    _, history = fit(pictures, state=state, log=board)
    # What an earlier start wrote from this epoch on no longer counts.
    assert opened == [(board, 1), (board, 3)]
    assert written == list(zip(history.epoch, history.validation))


def test_tensorboard_that_is_not_there_is_named_with_its_cure(pictures, tmp_path):
    try:
        import tensorboard  # noqa: F401
    except ModuleNotFoundError:
        message = "board: a log for TensorBoard .*pip install tensorboard"
        with pytest.raises(loop.TrainingError, match=message):
            fit(pictures, log=tmp_path / "board")
    else:
        fit(pictures, log=tmp_path / "board")
        assert list((tmp_path / "board").glob("events.out.tfevents.*"))


def test_the_bar_counts_steps_from_where_the_training_goes_on(pictures, tmp_path, monkeypatch):
    shown = []

    def bar(**settings):
        shown.append(io.StringIO())
        return tqdm(**settings, file=shown[-1], mininterval=0, ncols=200)

    monkeypatch.setattr(vaegan, "progress_bar", bar)
    state = tmp_path / "face.state.pt"
    with pytest.raises(KeyboardInterrupt):
        fit(pictures, state=state, on_epoch=kill_after(2))
    fit(pictures, state=state)
    first, second = (text.getvalue() for text in shown)  # 3 epochs of 2 steps
    time_left = r"\[\d+:\d+<\d+:\d+"
    assert re.search(rf"epoch 1 of 3: .* 1/6 {time_left}, .*features=\d", first)
    assert " 4/6 [" in second and " 3/6 [" not in second
    assert re.search(r"6/6 .*validation=0\.\d", second)


def test_accumulated_gradients_are_averaged_over_what_there_is(pictures):
    def weights(accumulate):
        """Of the encoder, after an epoch of two batches."""
        settings = dataclasses.replace(
            TINY, epochs=1, optimiser="rmsprop", feature_level=0, accumulate=accumulate
        )
        model, _ = fit(pictures, settings)
        return torch.cat([p.flatten() for p in model.encoder.parameters()])

    assert torch.equal(weights(2), weights(100))
    assert not torch.equal(weights(2), weights(1))


@pytest.mark.parametrize("killed", [False, True])
def test_patience_stops_on_validation_and_takes_the_best_weights(
    pictures, tmp_path, monkeypatch, killed
):
    errors = {1: 3.0, 2: 1.0, 3: 2.0, 4: 1.5, 5: 0.5}
    weights = {}  # after each epoch
    monkeypatch.setattr(vaegan, "reconstruction_error", lambda *_: errors[len(weights) + 1])

    def remember(model, row):
        weights[row["epoch"]] = {k: v.clone() for k, v in model.state_dict().items()}
        if killed and len(weights) == 3:
            raise KeyboardInterrupt

    settings = dataclasses.replace(TINY, epochs=5, patience=2)
    state = tmp_path / "state.pt"
    if killed:
        with pytest.raises(KeyboardInterrupt):
            fit(pictures, settings, state=state, on_epoch=remember)
    model, history = fit(pictures, settings, state=state, on_epoch=remember)
    # The fifth epoch would have been better, but patience ended before.
    assert history.epoch.tolist() == [1, 2, 3, 4]
    for key, value in model.state_dict().items():
        assert torch.equal(value, weights[2][key]), key


@pytest.mark.parametrize("discriminator_learns, autoencoder_learns", [(True, False), (False, True)])
def test_equilibrium_leaves_alone_what_is_far_ahead(
    pictures, monkeypatch, discriminator_learns, autoencoder_learns
):
    settings = dataclasses.replace(TINY, epochs=1, adversarial_weight=0.1, equilibrium=True)
    first, _ = fit(pictures, dataclasses.replace(settings, learning_rate=0.0))
    gates = discriminator_learns, autoencoder_learns
    monkeypatch.setattr(vaegan.losses, "equilibrium_gates", lambda real, fake: gates)
    model, _ = fit(pictures, settings)
    before = dict(first.named_parameters())
    moved = {
        name.split(".")[0]
        for name, parameter in model.named_parameters()
        if not torch.equal(parameter, before[name])
    }
    assert ("discriminator" in moved) == discriminator_learns
    assert ("encoder" in moved) == ("decoder" in moved) == autoencoder_learns


def test_nan_is_named(pictures):
    with pytest.raises(loop.TrainingError, match="term 'kl' is"):
        fit(pictures, dataclasses.replace(TINY, learning_rate=float("inf")))


def test_released_schedule_drops_at_the_milestones():
    rates = [vaegan.learning_rate(VaeGanConfig(), e) for e in (0, 199, 200, 349, 350, 499)]
    np.testing.assert_allclose(rates, [3e-4, 3e-4, 3e-5, 3e-5, 3e-6, 3e-6])


def test_encoding_in_batches_equals_encoding_at_once_and_changes_no_weight(pictures):
    model, _ = fit(pictures, dataclasses.replace(TINY, epochs=1))
    before = {k: v.clone() for k, v in model.state_dict().items()}
    encoded = encoding.encode(model, pictures, np.arange(48), flips=True, batch=20)
    assert encoded.mu.shape == (2, 48, 8)
    mirror_images = pictures.batch(np.arange(48), np.ones(48, bool))
    torch.testing.assert_close(encoded.mu[1], model.encoder(mirror_images).mu, rtol=1e-4, atol=1e-5)
    for key, value in model.state_dict().items():  # frozen, batch norm included
        assert torch.equal(value, before[key]), key


def test_pictures_are_translated_within_their_limits():
    x = torch.zeros(2, 1, 16, 16)
    x[:, :, 8, 8] = 1
    shifts = set()
    for seed in range(200):
        y = randomly_translated(x, (1, 3), np.random.default_rng(seed))
        assert y.shape == x.shape and float(y.sum()) == 2
        row, column = y[0, 0].nonzero()[0].tolist()
        shifts.add((row - 8, column - 8))
    assert shifts == {(r, c) for r in (-1, 0, 1) for c in range(-3, 4)}
    assert randomly_translated(x, (0, 0), np.random.default_rng(0)) is x
