"""What a notebook writes out in full agrees with the library.

The cells with the tag ``mechanism`` run against ``cmlib``.
"""

import json
from dataclasses import replace
from functools import cache, partial
from itertools import pairwise
from pathlib import Path

import librosa
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import confusion_matrix, recall_score
from torch import nn
from torch.nn import functional as F

from cmlib import metrics
from cmlib.config import PROFILES, SMALL_FACES, CanConfig
from cmlib.corpora import cartoons
from cmlib.figures import notebook_02
from cmlib.models import (
    Can,
    Classifier,
    ContextAttention,
    Posterior,
    VaeGan,
    attend,
    product_of_classifiers,
    product_of_experts,
)
from cmlib.perceiver import Perceiver
from cmlib.preparation import cropping, spectrograms
from cmlib.training import losses, vaegan
from cmlib.training.batches import Pictures, TrainingData, batches
from cmlib.training.can import Pairs, train_can
from cmlib.training.loop import seed_epoch
from cmlib.training.small_vaegan import train_small_vaegan

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"


@cache
def mechanism(stem: str) -> dict:
    """What the mechanism cells of a notebook define.

    They run in order and without the other cells; everything that they need is in ``names``.
    """
    cells = json.loads((NOTEBOOKS / f"{stem}.ipynb").read_text(encoding="utf-8"))["cells"]
    sources = ["".join(c["source"]) for c in cells if "mechanism" in c["metadata"].get("tags", ())]
    assert sources, f"{stem}: no cell is tagged mechanism"
    names: dict = {"np": np, "torch": torch, "librosa": librosa, "seed": 0}
    names |= {"nn": nn, "F": F, "pairwise": pairwise, "Posterior": Posterior}
    names |= {"batches": batches, "seed_epoch": seed_epoch, "losses": losses, "vaegan": vaegan}
    names |= {"pd": pd, "tables": notebook_02}
    for source in sources:
        exec(compile(source, f"{stem} (mechanism)", "exec"), names)
    return names


@pytest.fixture
def random():
    torch.manual_seed(3)
    return np.random.default_rng(3)


def test_two_cues_are_multiplied_as_by_two_classifiers(random):
    counts = torch.tensor([5, 10, 20, 40])
    face, voice = Classifier(6, 4), Classifier(3, 4)
    seen, heard = torch.randn(1, 6), torch.randn(1, 3)
    theirs = product_of_classifiers(face, voice, counts)(torch.cat([seen, heard], dim=1))
    with torch.no_grad():
        alone = [face(seen).softmax(1)[0].numpy(), voice(heard).softmax(1)[0].numpy()]
    ours = mechanism("00_why_context")["combine"](*alone, (counts / counts.sum()).numpy())
    assert np.allclose(ours, theirs.softmax(1)[0].detach().numpy(), atol=1e-6)


@pytest.mark.parametrize("roll", [0.0, 0.3, -1.0])
def test_similarity_crop(random, roll):
    frame = random.integers(0, 256, (80, 100, 3), dtype=np.uint8)
    ours = mechanism("01_data_preparation")["cut_out"](frame, 47.0, 41.5, 40.0, roll, 40)
    assert (
        np.abs(ours - cropping.cut_square(frame, 47.0, 41.5, 40.0, roll, 40)).max() <= 2
    )  # grey levels


def test_square_around_a_face(random):
    upright = np.array([[-20.0, 0], [20, 0], [0, 15], [0, 35], [-40, 5], [40, 5]])
    for roll, narrow in ((0.0, 1.0), (0.5, 1.0), (-0.3, 0.2)):  # 0.2: a head that is turned away
        turn = np.array([[np.cos(roll), np.sin(roll)], [-np.sin(roll), np.cos(roll)]])
        points = upright * [narrow, 1] @ turn + [300, 200]
        np.testing.assert_allclose(
            mechanism("01_data_preparation")["square_around"](points),
            cropping.square_around(points),
        )


@pytest.mark.parametrize("length", [1000, 83_200, 83_201, 90_002])
def test_mel_spectrogram(random, length):
    sound = random.normal(scale=0.1, size=length).astype(np.float32) * np.linspace(
        0, 1, length, dtype=np.float32
    )
    ours = mechanism("01_data_preparation")["mel_by_hand"](sound)
    np.testing.assert_allclose(ours, spectrograms.mel_spectrogram(sound), atol=2e-5)


def test_prior_kl_and_sample(random):
    cells, (mu, logvar) = mechanism("02_face_vae"), torch.randn(2, 6, 9)
    torch.testing.assert_close(
        cells["kl_to_unit_normal"](mu, logvar), losses.kl_to_unit_normal(mu, logvar)
    )
    torch.manual_seed(4)
    ours = cells["reparameterise"](mu, logvar)
    torch.manual_seed(4)
    torch.testing.assert_close(ours, Posterior(mu, logvar).sample())


def test_discriminator_loss_and_feature_error(random):
    cells, (a, b, c) = mechanism("02_face_vae"), 5 * torch.randn(3, 7, 1)
    torch.testing.assert_close(
        cells["discriminator_loss"](a, b, c), losses.discriminator_loss(a, b, c)
    )
    torch.testing.assert_close(cells["feature_error"](a, b), losses.feature_error(a, b))


@pytest.mark.parametrize(("size", "width"), [(32, 0.125), (64, 0.0625)])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("components", [True, False])
def test_networks_built_by_hand(random, size, width, training, components):
    cells = mechanism("02_face_vae")
    library = VaeGan(3, size, latent=6, width=width, components=components).train(training)
    if components:
        for linear in (library.encoder.linear, library.decoder.linear):
            nn.init.normal_(linear.average)
            nn.init.normal_(linear.weight, std=0.01)
    by_hand = {
        "encoder": cells["Encoder"](size, 6, width, components),
        "decoder": cells["Decoder"](size, 6, width, components),
        "discriminator": cells["Discriminator"](size, width),
    }
    for name, network in by_hand.items():
        network.train(training)
        theirs = library.get_submodule(name).state_dict().values()
        for mine, copied in zip(network.state_dict().values(), theirs, strict=True):
            mine.copy_(copied)
    x = torch.rand(4, 3, size, size)
    torch.testing.assert_close(by_hand["encoder"](x), tuple(library.encoder(x)))
    z = torch.randn(4, 6)
    torch.testing.assert_close(by_hand["decoder"](z), library.decoder(z))
    for level in (1, 2, 3):
        torch.testing.assert_close(
            by_hand["discriminator"](x, level), library.discriminator(x, level)
        )


def _gradients(model, loss):
    model.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


ALL_TERMS = {
    "adversarial_weight": 0.3,
    "detail_weight": 0.2,
    "pixel_weight": 0.5,
    "feature_level": 1,
}


@pytest.mark.parametrize("extras", [{}, ALL_TERMS])
def test_training_step_and_its_gradients(random, extras):
    settings = replace(
        PROFILES["smoke"].face, label_weight=0.0, focus=0.0, **{"feature_level": 2, **extras}
    )
    model = VaeGan(3, 32, latent=8, width=0.0625)
    x = torch.rand(6, 3, 32, 32)

    def losses_and_gradients(step):
        """Both losses of a step, and for each the gradients of the networks that it trains."""
        torch.manual_seed(5)
        autoencoder_loss, _ = step(model, x, settings)
        autoencoder = _gradients(model, autoencoder_loss)
        torch.manual_seed(5)
        _, discriminator_loss = step(model, x, settings)
        discriminator = _gradients(model, discriminator_loss)
        return (
            autoencoder_loss.detach(),
            discriminator_loss.detach(),
            {n: g for n, g in autoencoder.items() if not n.startswith("discriminator")},
            {n: g for n, g in discriminator.items() if n.startswith("discriminator")},
        )

    step_by_hand = mechanism("02_face_vae")["training_step"]
    by_hand = losses_and_gradients(lambda m, x, s: step_by_hand(m, x, s)[:2])
    library = losses_and_gradients(lambda m, x, s: vaegan.vaegan_step(m, None, x, None, s)[:2])
    torch.testing.assert_close(by_hand, library, rtol=1e-4, atol=1e-6)


class DoublePictures(Pictures):
    """Pictures in double precision: in single, Adam makes large steps of rounding errors."""

    def batch(self, indices, flip=None):
        return super().batch(indices, flip).double()


@pytest.fixture
def double():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def test_adversarial_game(random, double):
    """The loop in the notebook's cell plays the game that the library plays."""
    cells, settings = mechanism("02_face_vae"), replace(SMALL_FACES["VAE-GAN"], epochs=2, batch=16)
    pictures, _ = cartoons.draw(48)
    rows = np.arange(len(pictures))
    data = TrainingData(DoublePictures(pictures), rows, rows[:0])
    _, library = train_small_vaegan(data, settings, seed=0)

    torch.manual_seed(0)
    by_hand = nn.Module()
    by_hand.encoder = cells["Encoder"](cartoons.SIZE, settings.latent, settings.width, True)
    by_hand.decoder = cells["Decoder"](cartoons.SIZE, settings.latent, settings.width, True)
    by_hand.discriminator = cells["Discriminator"](cartoons.SIZE, settings.width)
    cells["start_from_components"](by_hand, data.pictures.batch(rows))
    steps = cells["train_by_hand"](by_hand, data, settings, lambda model: None)
    assert len(steps) == 6
    # The library computes its losses in single precision.
    pd.testing.assert_frame_equal(steps, library[notebook_02.GAME], check_dtype=False, rtol=1e-4)


def test_plain_vae_loss(random):
    off = dict(feature_level=0, adversarial_weight=0.0, detail_weight=0.0, label_weight=0.0)
    s = replace(PROFILES["smoke"].voice, **off)
    model = VaeGan(1, 32, latent=8, width=0.0625)
    x = torch.rand(5, 1, 32, 32)
    torch.manual_seed(6)
    ours = mechanism("03_voice_vae")["plain_vae_loss"](
        model, x, s.kl_weight, s.pixel_weight + s.feature_weight
    )
    torch.manual_seed(6)
    library = vaegan.vaegan_step(model, None, x, None, s)
    torch.testing.assert_close(ours, library.autoencoder)


def test_griffin_lim(random):
    spectrogram = spectrograms.mel_spectrogram(
        np.sin(np.cumsum(np.linspace(0.02, 0.3, 60_000))).astype(np.float32)
    )
    torch.manual_seed(0)
    ours = mechanism("03_voice_vae")["make_audible"](
        spectrogram, spectrograms.mel_transform().mel_scale.fb
    )
    np.testing.assert_allclose(ours, spectrograms.to_sound(spectrogram), atol=1e-3)


def test_linear_classifier_and_its_gradient(random):
    cells, layer = mechanism("04_expression_classifier"), Classifier(6, 7)
    z, y = torch.randn(40, 6), torch.randint(7, (40,))
    weight, bias = layer.linear.weight.detach(), layer.linear.bias.detach()
    torch.testing.assert_close(cells["classify"](weight, bias, z), layer(z).log_softmax(1).detach())
    loss = torch.nn.functional.cross_entropy(layer(z), y)
    loss.backward()
    ours = cells["cross_entropy_and_gradient"](weight, bias, z, y)
    torch.testing.assert_close(ours, (loss.detach(), layer.linear.weight.grad))


def test_pooling_and_interval_over_actors(random):
    cells = mechanism("04_expression_classifier")
    clips = random.integers(20, size=200)
    log_probabilities = np.log(random.dirichlet(np.ones(7), 200))
    by_hand = cells["pool"](log_probabilities, clips)
    for ours, theirs in zip(by_hand, metrics.by_clip(log_probabilities, clips)):
        np.testing.assert_allclose(ours, theirs)

    actors = clips % 5
    correct = random.random(200) < 0.5

    def accuracy(rows):
        return correct[rows].mean()

    ours = cells["interval_over_actors"](accuracy, actors, 300, seed=8)
    assert ours == pytest.approx(metrics.actor_interval(accuracy, actors, 300, seed=8))


def test_attention_over_dimensions(random):
    cells, (q, k, u) = mechanism("05_context_attention"), 3 * torch.randn(3, 4, 11)
    out, weights = cells["explicit_attention"](q, k, u)
    torch.testing.assert_close(out, attend(q, k, u), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(weights.sum(2), torch.ones(4, 11))
    layer, face, points = ContextAttention(9), torch.randn(2, 9), torch.linspace(-3, 3, 7)
    keys, values = layer.key(face), layer.value(face)
    ours = [cells["scalar_attention"](points, k, u) for k, u in zip(keys, values)]
    torch.testing.assert_close(
        torch.stack(ours), layer.response(face, points), rtol=1e-4, atol=1e-5
    )


def test_shift_by_the_voice(random):
    can, (a, b, c, d) = Can(9), 2 * torch.randn(4, 5, 9)
    face, voice = Posterior(a, b), Posterior(c, d)
    ours = mechanism("05_context_attention")["shift_by_voice"](can, face, voice, 0.7)
    for mine, theirs in zip(ours, can.shift(face, voice, 0.7)):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize("directions", [0, 3])
def test_shift_along_directions_of_expression(random, normalise, directions):
    can, (a, b, c, d) = Can(9, 7, normalise, directions), 2 * torch.randn(4, 5, 9)
    can.fit_scale(3 * torch.randn(30, 9) + 1, 2 * torch.randn(30, 9) - 1)
    people, labels = torch.arange(30) % 3, torch.arange(30) % 5
    can.fit_directions(torch.randn(30, 9), labels, people)
    face, voice = Posterior(a, b), Posterior(c, d)
    ours = mechanism("05_context_attention")["shift_along_expressions"](can, face, voice, 0.7)
    for mine, theirs in zip(ours, can.shift(face, voice, 0.7)):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)


RELEASED = CanConfig(epochs=2, batch=16)
OURS = replace(
    RELEASED, pairing="emotion", voice_noise=0.5, finetune=False, sample=False, kl_weight=1e-3
)


@pytest.mark.parametrize("settings", [RELEASED, replace(OURS, crowd=0.5, neutral=0.4)])
def test_training_loop_of_the_context_network(random, settings):
    """The loop in the notebook's cell trains the network that the library trains."""
    cells = mechanism("05_context_attention")
    with_voice, latent = 60, 6
    labels = np.arange(100) % 4 - (0 if settings is RELEASED else 1)  # -1 is neutral
    face = Posterior(*torch.randn(2, 2, 100, latent))
    voice = Posterior(*torch.randn(2, with_voice, latent))
    classifier = Classifier(latent, 4)

    pairs = Pairs(labels, with_voice, settings)

    def meet(rows, rng):
        if settings.pairing == "own":
            return rows, rows
        groups = pairs.with_label, pairs.crowd_with_label, pairs.neutral
        return cells["meet_by_emotion"](rows, rng, labels, *groups, settings)

    torch.manual_seed(0)
    by_hand = Can(latent, 4)
    by_hand.classifier.load_state_dict(classifier.linear.state_dict())
    train = partial(cells["train_context_network"], s=settings, epochs=settings.epochs)
    train(by_hand, face, voice, torch.from_numpy(labels), pairs.expressive, meet)
    library, _ = train_can(face, voice, labels, settings, classifier=classifier, classes=4)
    for name, weights in library.state_dict().items():
        torch.testing.assert_close(by_hand.state_dict()[name], weights, rtol=1e-3, atol=1e-5)


def test_divergence_and_product_of_gaussians(random):
    cells, (a, b, c, d) = mechanism("05_context_attention"), torch.randn(4, 5, 9)
    torch.testing.assert_close(
        cells["kl_gaussians"](a, b, c, d), losses.kl_between(a, b, c, d), rtol=1e-4, atol=1e-4
    )
    product = product_of_experts(Posterior(a, b), Posterior(c, d))
    for mine, theirs in zip(cells["multiply_experts"](a, b, c, d), product):
        torch.testing.assert_close(mine, theirs)


def test_confusion_and_average_recall(random):
    cells = mechanism("06_evaluation")
    truth, predicted = random.integers(5, size=90), random.integers(7, size=90)
    np.testing.assert_allclose(
        cells["confusion_rates"](truth, predicted, 7),
        confusion_matrix(truth, predicted, labels=range(7), normalize="true"),
    )
    ours = cells["average_recall"](truth, predicted, 7)
    assert ours == pytest.approx(
        recall_score(truth, predicted, average="macro", labels=np.unique(truth))
    )


def test_perceiving_in_full(random):
    nets = VaeGan(3, 32, 8, 0.0625), VaeGan(1, 128, 8, 0.0625), Classifier(8), Can(8)
    perceiver = Perceiver(*(net.eval().requires_grad_(False) for net in nets))
    picture = random.integers(256, size=(32, 32, 3), dtype=np.uint8)
    mel = random.random((128, 128), np.float32)
    probabilities, drawn = mechanism("07_mental_representations")["perceive_in_full"](
        perceiver, picture, mel, 0.4
    )
    perception = perceiver.perceive(picture, mel, 0.4)
    np.testing.assert_allclose(probabilities, perception.probabilities, atol=1e-5)
    np.testing.assert_allclose(drawn, perception.perceived, atol=1e-5)
