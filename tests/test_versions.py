"""Numbers that each stage gives today, so that nobody forgets to raise a version.

A tiny computation of each kind is compared with the numbers that it gave when its version was set,
with a tolerance for other machines.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import face, tone

from cmlib import metrics
from cmlib.config import SMALL_FACES, CanConfig, ClassifierConfig, VaeGanConfig
from cmlib.evaluation import judges
from cmlib.models import Posterior, VaeGan
from cmlib.preparation import cropping, detector, media, spectrograms
from cmlib.provenance import VERSIONS
from cmlib.training.batches import Pictures, TrainingData
from cmlib.training.can import train_can
from cmlib.training.classifier import train_classifier
from cmlib.training.encoding import encode
from cmlib.training.loop import launch
from cmlib.training.small_vaegan import ANSWERS, train_small_vaegan
from cmlib.training.vaegan import train_vaegan

TOLERANCE = 1e-3  # relative

# Stage: the version that gave these numbers, and the numbers.
NUMBERS = {
    "cropping": (2, [110.667, 103.417, 135.823, 163.404, 151.06, 46.082]),
    "preparation": (1, [3.0, 11.0, 18.0, 26.0, 0.11322, 0.25012, 0.350677, 0.814646, 0.0, 0.0]),
    "encoding": (1, [0.0122578, 0.0270159, -0.139112, 0.0301137, 0.0438444]),
    "face": (1, [2.48106, 0.587304, 0.537474, 1.1276, 2.26289, 0.213781, 1.24935, 0.394787]),
    "small_vaegan": (1, [11.942, 0.00587008, 0.0228602, 2.25849, 0.562429, 0.571914, 0.555419]),
    "voice": (1, [2.56835, 1.21017, 2.26178, 0.19904, 0.339315]),
    "classifier": (1, [1.23925, 0.325, 0.453846]),
    "can": (1, [1.44192, 0.463501, 0.333333, 0.603638, 1.06696]),
    "judge": (1, [-0.996842, -1.36633, -0.97839, -0.986428, -1.34216, -1.00563]),
    "evaluation": (1, [0.283333, 0.21625, 0.366667, 0.2, 0.05, 0.4, 0.198413, 0.0553571, 0.348241]),
}


def pictures(channels, count=24, size=32):
    """Noise on a tone for each picture, as the arrays of a store: uint8 faces or spectrograms."""
    rng = np.random.default_rng(0)
    tones = rng.integers(40, 216, size=(count, 1, 1, channels))
    noise = rng.integers(-30, 31, size=(count, size, size, channels))
    return Pictures((tones + noise).astype(np.uint8))


def latents(count=40, width=6, views=()):
    generator = torch.Generator().manual_seed(1)
    mu = torch.randn(*views, count, width, generator=generator)
    return Posterior(mu, torch.full_like(mu, -1.0))


def last_row(history):
    """The terms of the last epoch, without its number and the seconds it took."""
    return history.iloc[-1].drop(["epoch", "seconds"], errors="ignore").to_list()


def vaegan_numbers(channels, **settings):
    # At a larger rate the rounding of another processor grows into per cents within two epochs.
    small = VaeGanConfig(
        width=0.0625, latent=8, epochs=2, batch=8, optimiser="adam", learning_rate=1e-5, **settings
    )
    labels, flips = np.arange(24) % 3, channels == 3
    material = TrainingData(pictures(channels), np.arange(16), np.arange(16, 24), labels, flips)
    _, history = train_vaegan(material, small, seed=1, fabric=launch("32-true"))
    return last_row(history)


def small_vaegan_numbers():
    small = replace(SMALL_FACES["VAE-GAN"], epochs=1, batch=8, learning_rate=1e-5)
    material = TrainingData(pictures(3), np.arange(16), np.arange(0))
    _, steps = train_small_vaegan(material, small, seed=1)
    return steps[["kl", "pixels", "features", "discriminator", *ANSWERS]].iloc[-1].to_list()


def cropping_numbers():
    picture = face(200, dx=0.05)
    points = detector.find_faces([picture])[0]
    square = cropping.square_around(points)
    crop = cropping.cut_square(picture, *square, 64)
    return [*square[:3], crop.mean(), crop[20:30, 10:54].mean(), crop[45:, 20:44].std()]


def preparation_numbers():
    mel = spectrograms.mel_spectrogram(tone(2.0), 48_000)
    return [*media.evenly_spaced(4, 30), mel.mean(), mel.std(), *mel[::40, 60]]


def encoding_numbers():
    torch.manual_seed(2)
    model = VaeGan(3, 32, latent=8, width=0.0625).eval()
    mirrored = encode(model, pictures(3), np.arange(5), flips=True, batch=2)
    return [*mirrored.mu[1, 4, :4].tolist(), mirrored.logvar.mean().item()]


def classifier_numbers():
    labels = np.arange(40) % 3
    settings = ClassifierConfig(epochs=2, batch=16)
    model, history = train_classifier(latents(views=(1,)), labels, settings, classes=3, seed=1)
    return [*last_row(history), model(latents().mu).std().item()]


def can_numbers():
    labels, people = np.arange(40) % 4 - 1, np.arange(40) // 10
    settings = CanConfig(
        epochs=2,
        batch=16,
        normalise=True,
        directions=2,
        neutral=0.3,
        pairing="emotion",
        voice_noise=0.5,
    )
    model, history = train_can(
        latents(views=(1,)), latents(), labels, settings, people=people, classes=3, seed=1
    )
    logits, shifted = model(latents(), latents())
    return [*last_row(history), logits.std().item(), shifted.mu.std().item()]


def judge_numbers():
    labels = np.arange(24) % 3
    judge = judges.train_judge(pictures(3), np.arange(16), labels, epochs=2)
    answers = judges.predict(judge, pictures(3).batch(np.arange(16, 18)))
    return answers.flatten().tolist()


def evaluation_numbers():
    rng = np.random.default_rng(0)
    log_p = np.log(rng.dirichlet(np.ones(3), 60))
    clips = np.arange(60) // 3
    scores = metrics.scores(log_p, clips % 3, clips, clips // 4, 200)
    return [number for score in scores.values() for number in score.values()]


@pytest.mark.parametrize("stage", VERSIONS)
def test_a_stage_gives_the_numbers_of_its_version(stage, tmp_path, monkeypatch):
    monkeypatch.setenv("CM_CACHE", str(tmp_path))
    monkeypatch.setattr(judges, "launch", lambda: launch("32-true"))
    numbers = {
        "cropping": cropping_numbers,
        "preparation": preparation_numbers,
        "encoding": encoding_numbers,
        "face": lambda: vaegan_numbers(
            3,
            adversarial_weight=0.1,
            pixel_weight=1.0,
            detail_weight=0.5,
            focus=8.0,
            label_weight=0.1,
        ),
        "small_vaegan": small_vaegan_numbers,
        "voice": lambda: vaegan_numbers(1, label_weight=0.1, translate=(1, 2)),
        "classifier": classifier_numbers,
        "can": can_numbers,
        "judge": judge_numbers,
        "evaluation": evaluation_numbers,
    }[stage]()
    version, expected = NUMBERS[stage]
    assert VERSIONS[stage] == version, (
        f"the version of {stage} is {VERSIONS[stage]}: put it and the new numbers into NUMBERS:"
        f" {[float(f'{number:.6g}') for number in numbers]}"
    )
    assert numbers == pytest.approx(expected, rel=TOLERANCE, abs=1e-6), (
        f"the stage {stage} gives other numbers than its version {version} did; if this change is"
        f" meant, raise provenance.VERSIONS[{stage!r}], so that everything made before is stale"
    )
