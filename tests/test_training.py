"""The loops: they learn, go on after a kill with the same numbers, and stop on NaN by name."""

import dataclasses
import io
import re

import numpy as np
import pandas as pd
import pytest
import torch
from tqdm import tqdm

from cmlib import models
from cmlib.config import CanConfig, ClassifierConfig, VaeGanConfig
from cmlib.models import Posterior
from cmlib.training import can, encoding, loop, vaegan
from cmlib.training.batches import Pictures, TrainingData, randomly_translated
from cmlib.training.can import train_can
from cmlib.training.classifier import train_classifier
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


def test_training_goes_on_from_given_weights(pictures):
    start, _ = fit(pictures)
    still = dataclasses.replace(TINY, epochs=1, learning_rate=0.0)
    same, _ = fit(pictures, still, start=start, seed=1)
    for (name, p), q in zip(same.named_parameters(), start.parameters()):
        assert name.startswith("discriminator") or torch.equal(p, q), name
    assert not torch.equal(
        next(fit(pictures, still, seed=1)[0].parameters()), next(start.parameters())
    )


@pytest.mark.parametrize(
    "change", [{}, {"schedule": "cosine"}, {"feature_level": 0, "expression_weight": 0.3}]
)
def test_a_killed_run_ends_with_the_numbers_of_an_undisturbed_one(pictures, tmp_path, change):
    settings, labels = dataclasses.replace(TINY, **change), np.arange(48) % 3
    whole, history = fit(pictures, settings, labels=labels)
    with pytest.raises(KeyboardInterrupt):
        fit(
            pictures,
            settings,
            labels=labels,
            state=tmp_path / "face.state.pt",
            on_epoch=kill_after(2),
        )
    resumed, resumed_history = fit(
        pictures, settings, labels=labels, state=tmp_path / "face.state.pt"
    )
    for key, value in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[key], value, rtol=0, atol=0)
    pd.testing.assert_frame_equal(
        history.drop(columns="seconds"), resumed_history.drop(columns="seconds")
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
    log, files = tmp_path / "deep" / "face.history.csv", dict(state=tmp_path / "face.state.pt")
    lengths = []
    with pytest.raises(KeyboardInterrupt):
        fit(pictures, log=log, on_epoch=kill_after(2), **files)
    log.write_text(
        log.read_text() + "3,0,0,0,0,0\n"
    )  # killed after the log was written, before the state was
    _, history = fit(
        pictures,
        log=log,
        on_epoch=lambda model, row: lengths.append(len(pd.read_csv(log))),
        **files,
    )
    assert lengths == [3]
    pd.testing.assert_frame_equal(pd.read_csv(log), history)


def test_the_log_for_tensorboard_goes_on_after_a_kill(pictures, tmp_path, monkeypatch):
    made, written = [], []

    class Board:
        def __init__(self, folder, **more):
            made.append((folder, more["purge_step"]))

        def log_metrics(self, metrics, step):
            written.append((step, metrics["validation"]))

        def save(self):
            pass

    monkeypatch.setattr("lightning_fabric.loggers.tensorboard.TensorBoardLogger", Board)
    board, state = tmp_path / "board", tmp_path / "face.state.pt"
    with pytest.raises(KeyboardInterrupt):
        fit(pictures, state=state, log=board, on_epoch=kill_after(2))
    _, history = fit(pictures, state=state, log=board)
    assert made == [
        (board, 1),
        (board, 3),
    ]  # what an earlier start wrote from this step on no longer counts
    assert written == list(zip(history.epoch, history.validation))


def test_tensorboard_that_is_not_there_is_named_with_its_cure(pictures, tmp_path):
    try:
        import tensorboard  # noqa: F401
    except ModuleNotFoundError:
        with pytest.raises(
            loop.TrainingError, match="board: a log for TensorBoard .*pip install tensorboard"
        ):
            fit(pictures, log=tmp_path / "board")
    else:
        fit(pictures, log=tmp_path / "board")
        assert list((tmp_path / "board").glob("events.out.tfevents.*"))


def test_the_bar_counts_steps_from_where_the_training_goes_on(pictures, tmp_path, monkeypatch):
    shown = []

    def bar(**settings):
        shown.append(io.StringIO())
        return tqdm(**settings, file=shown[-1], mininterval=0, ncols=200)

    monkeypatch.setattr(vaegan, "progress", bar)
    state = tmp_path / "face.state.pt"
    with pytest.raises(KeyboardInterrupt):
        fit(pictures, state=state, on_epoch=kill_after(2))
    fit(pictures, state=state)
    first, second = (text.getvalue() for text in shown)  # 3 epochs of 2 steps
    assert re.search(
        r"epoch 1 of 3: .* 1/6 \[\d+:\d+<\d+:\d+, .*features=\d", first
    )  # time left after one step
    assert (
        " 4/6 [" in second
        and " 3/6 [" not in second
        and re.search(r"6/6 .*validation=0\.\d", second)
    )


def test_accumulated_gradients_are_averaged_over_what_there_is(pictures):
    settings = dataclasses.replace(
        TINY, epochs=1, optimiser="rmsprop", feature_level=0
    )  # 2 batches an epoch
    two, hundred, single = (
        fit(pictures, dataclasses.replace(settings, accumulate=k))[0] for k in (2, 100, 1)
    )
    weights = lambda m: torch.cat([p.flatten() for p in m.encoder.parameters()])  # noqa: E731
    assert torch.equal(weights(two), weights(hundred)) and not torch.equal(
        weights(two), weights(single)
    )


@pytest.mark.parametrize("killed", [False, True])
def test_patience_stops_on_validation_and_takes_the_best_weights(
    pictures, tmp_path, monkeypatch, killed
):
    errors, seen = {1: 3.0, 2: 1.0, 3: 2.0, 4: 1.5, 5: 0.5}, {}
    monkeypatch.setattr(vaegan, "reconstruction_error", lambda model, *_: errors[len(seen) + 1])

    def look(model, row):
        seen[row["epoch"]] = {k: v.clone() for k, v in model.state_dict().items()}
        if killed and len(seen) == 3:
            raise KeyboardInterrupt

    settings, state = dataclasses.replace(TINY, epochs=5, patience=2), tmp_path / "state.pt"
    if killed:
        with pytest.raises(KeyboardInterrupt):
            fit(pictures, settings, state=state, on_epoch=look)
    model, history = fit(pictures, settings, state=state, on_epoch=look)
    assert history.epoch.tolist() == [
        1,
        2,
        3,
        4,
    ]  # the fifth would have been better, but nobody waited for it
    for key, value in model.state_dict().items():
        assert torch.equal(value, seen[2][key]), key


@pytest.mark.parametrize("discriminator_learns, coder_learns", [(True, False), (False, True)])
def test_equilibrium_leaves_alone_what_is_far_ahead(
    pictures, monkeypatch, discriminator_learns, coder_learns
):
    settings = dataclasses.replace(TINY, epochs=1, adversarial_weight=0.1, equilibrium=True)
    first, _ = fit(pictures, dataclasses.replace(settings, learning_rate=0.0))
    gates = discriminator_learns, coder_learns
    monkeypatch.setattr(vaegan.losses, "equilibrium_gates", lambda real, fake: gates)
    model, _ = fit(pictures, settings)
    before = dict(first.named_parameters())
    moved = {
        name.split(".")[0]
        for name, parameter in model.named_parameters()
        if not torch.equal(parameter, before[name])
    }
    assert ("discriminator" in moved) == discriminator_learns
    assert ("encoder" in moved) == ("decoder" in moved) == coder_learns


def test_nan_is_named(pictures):
    with pytest.raises(loop.TrainingError, match="term 'kl' is"):
        fit(pictures, dataclasses.replace(TINY, learning_rate=float("inf")))


def test_released_schedule_drops_at_the_milestones():
    rates = [vaegan.learning_rate(VaeGanConfig(), e) for e in (0, 199, 200, 349, 350, 499)]
    np.testing.assert_allclose(rates, [3e-4, 3e-4, 3e-5, 3e-5, 3e-6, 3e-6])


def test_encoding_once_equals_encoding_again_with_mirror_images(pictures):
    model, _ = fit(pictures, dataclasses.replace(TINY, epochs=1))
    before = {k: v.clone() for k, v in model.state_dict().items()}
    once = encoding.encode(model, pictures, np.arange(48), flips=True, batch=20)
    again = model.encoder(pictures.batch(np.arange(48), np.ones(48, bool)))
    torch.testing.assert_close(once.mu[1], again.mu, rtol=1e-4, atol=1e-5)
    assert once.mu.shape == (2, 48, 8)
    assert all(
        torch.equal(v, before[k]) for k, v in model.state_dict().items()
    )  # frozen means frozen


def test_pictures_are_moved_within_their_limits():
    x, seen = torch.zeros(2, 1, 16, 16), set()
    x[:, :, 8, 8] = 1
    for seed in range(200):
        y = randomly_translated(x, (1, 3), np.random.default_rng(seed))
        assert y.shape == x.shape and float(y.sum()) == 2
        seen.add(tuple(int(v) - 8 for v in y[0, 0].nonzero()[0]))
    assert seen == {(r, c) for r in (-1, 0, 1) for c in range(-3, 4)}
    assert randomly_translated(x, (0, 0), np.random.default_rng(0)) is x


def separable(count=350, width=10, seed=0):
    g, labels = torch.Generator().manual_seed(seed), np.arange(count) % 7
    centres = torch.randn(7, width, generator=torch.Generator().manual_seed(5)) * 2
    mu = centres[labels] + torch.randn(count, width, generator=g)
    return Posterior(mu, torch.full_like(mu, -3.0)), labels


def test_classifier_reads_unseen_latents():
    (train, labels), (test, truth) = separable(), separable(seed=1)
    model, _ = train_classifier(
        Posterior(train.mu[None], train.logvar[None]),
        labels,
        ClassifierConfig(epochs=40, weight_decay=0.0, learning_rate=3e-3),
    )
    assert (model(test.mu).argmax(1).numpy() == truth).mean() > 0.85


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"kl_direction": "shifted_to_prior"},
        {"normalise": True},
        {"pairing": "emotion"},
        {"finetune": False},
        {"attention": "linear"},
    ],
)
def test_can_learns_from_a_voice_what_a_blank_face_cannot_tell(change):
    (voice, labels), (other, truth) = separable(700), separable(700, seed=1)
    blank = lambda n, seed: Posterior(
        torch.randn(n, 10, generator=torch.Generator().manual_seed(seed)), torch.full((n, 10), -3.0)
    )  # noqa: E731
    face, unseen = blank(700, 2), blank(700, 3)
    settings = CanConfig(epochs=40, learning_rate=3e-3, **change)
    model, history = train_can(Posterior(face.mu[None], face.logvar[None]), voice, labels, settings)
    logits, _ = model(unseen, other)
    assert (logits.argmax(1).numpy() == truth).mean() > 0.6
    assert (
        model(unseen, other, 0.0)[0].argmax(1).numpy() == truth
    ).mean() < 0.3  # without context: chance
    assert model.classifier.weight.requires_grad is False and np.isfinite(history.to_numpy()).all()


def test_faces_of_a_crowd_that_nobody_heard_teach_what_the_voice_does_to_a_stranger():
    """Two actors are heard, whose faces say nothing; strangers show expressions that only the crowd has."""
    (voice, labels), (other, truth) = separable(700), separable(700, seed=1)
    noise = lambda n, seed: 0.3 * torch.randn(n, 20, generator=torch.Generator().manual_seed(seed))  # noqa: E731
    actors, crowd, strangers = noise(700, 2), noise(1400, 3), noise(700, 4)
    moods, shown = (
        np.arange(1400) % 8 - 1,
        (truth + 1) % 7,
    )  # an eighth is neutral; strangers contradict their voices
    crowd[moods >= 0, 7:14] += 3 * torch.eye(7)[moods[moods >= 0]]
    strangers[:, 7:14] += 3 * torch.eye(7)[shown]
    both = Posterior(torch.cat([actors, crowd])[None], torch.full((1, 2100, 20), -3.0))
    wide = lambda mu: Posterior(
        torch.nn.functional.pad(mu, (0, 10)), torch.full((len(mu), 20), -3.0)
    )  # noqa: E731
    everyone, people = (
        np.concatenate([labels, moods]),
        np.concatenate([np.arange(700) % 2, -1 - np.arange(1400) % 49]),
    )
    settings = CanConfig(
        epochs=30, learning_rate=3e-3, pairing="emotion", crowd=0.5, neutral=0.3, directions=6
    )
    looked = {}
    for share in (0.0, 0.5):
        model, history = train_can(
            both,
            wide(voice.mu),
            everyone,
            dataclasses.replace(settings, crowd=share),
            people=people,
        )
        said = (
            model(Posterior(strangers, torch.full((700, 20), -3.0)), wide(other.mu))[0]
            .argmax(1)
            .numpy()
        )
        looked[share] = said == shown
    assert model.basis[7:14].square().sum() > 0.9 * 6  # directions of 49 people, not of two
    assert (
        looked[0.5].mean() > looked[0.0].mean() + 0.1
    )  # who learnt from the crowd reads its expressions, too


@pytest.mark.parametrize("pairing", ["own", "emotion"])
def test_a_face_of_the_crowd_stands_in_for_one_of_its_class(pairing, monkeypatch):
    labels, moods = (
        np.repeat(np.arange(7), 10),
        np.repeat([0, 1, 2, 4, 5, 6], 5),
    )  # a crowd that never shows class 3
    mark = lambda values: torch.tensor(values, dtype=torch.float32)[:, None].repeat(1, 4)  # noqa: E731
    face = mark([*range(70), *range(100, 130)])
    seen = []

    def spied(self, v, a, t=1.0):
        seen.append((v.mu[:, 0].numpy().astype(int), a.mu[:, 0].numpy().round().astype(int)))
        return spied.real(self, v, a, t)

    spied.real = can.Can.shift
    monkeypatch.setattr(can.Can, "shift", spied)
    settings = CanConfig(epochs=6, batch=35, crowd=0.5, pairing=pairing, sample=False)
    train_can(
        Posterior(face[None], torch.zeros(1, 100, 4)),
        Posterior(mark(range(70)), torch.zeros(70, 4)),
        np.concatenate([labels, moods]),
        settings,
    )
    faces, voices = (np.concatenate(x) for x in zip(*seen))
    crowd = faces >= 100
    of = np.where(crowd, moods[(faces - 100).clip(0)], labels[faces.clip(max=69)])
    assert (of == labels[voices]).all()  # the voice says what the face shows
    assert 0.3 < crowd.mean() < 0.6 and not crowd[labels[voices] == 3].any()
    assert pairing == "emotion" or (faces[~crowd & (of != 3)] == voices[~crowd & (of != 3)]).all()


def test_neutral_faces_learn_to_be_read_as_the_voice_says():
    (voice, labels), (other, truth) = separable(700), separable(700, seed=1)
    face = Posterior(
        torch.randn(700, 10, generator=torch.Generator().manual_seed(2)),
        torch.full((700, 10), -3.0),
    )
    face.mu[:, :7] += (
        3 * torch.eye(7)[labels]
    )  # faces say it all; a tenth of them are neutral and say nothing
    labels = np.where(np.arange(700) % 10 == 0, -1, labels)
    face.mu[labels < 0, :7] = torch.randn(70, 7, generator=torch.Generator().manual_seed(3))
    blank = Posterior(
        torch.randn(700, 10, generator=torch.Generator().manual_seed(4)),
        torch.full((700, 10), -3.0),
    )
    heard = {}
    for share in (0.0, 0.5):
        settings = CanConfig(
            epochs=40, learning_rate=3e-3, pairing="emotion", neutral=share, directions=7
        )
        people = np.arange(700) % 7
        model, _ = train_can(
            Posterior(face.mu[None], face.logvar[None]), voice, labels, settings, people=people
        )
        heard[share] = (model(blank, other)[0].argmax(1).numpy() == truth).mean()
    assert heard[0.5] > heard[0.0] + 0.1 and heard[0.5] > 0.5
    with pytest.raises(ValueError, match="voices of others"):
        train_can(face, voice, labels, CanConfig(neutral=0.5))
    with pytest.raises(ValueError, match="whose each face is"):
        train_can(
            Posterior(face.mu[None], face.logvar[None]), voice, labels, CanConfig(directions=7)
        )
