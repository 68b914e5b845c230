"""Cartoon faces, and the VAE-GAN that learns them while a reader watches."""

from dataclasses import replace

import numpy as np
import pytest

from cmlib.config import SMALL_FACES
from cmlib.corpora import cartoons
from cmlib.training.batches import Pictures, TrainingData
from cmlib.training.small_vaegan import ANSWERS, train_small_vaegan


def test_cartoons_are_the_same_for_a_seed_and_show_every_mood():
    pictures, table = cartoons.draw(60, seed=3)
    again, _ = cartoons.draw(60, seed=3)
    other, _ = cartoons.draw(60, seed=4)
    assert pictures.shape == (60, cartoons.SIZE, cartoons.SIZE, 3) and pictures.dtype == np.uint8
    assert np.array_equal(pictures, again) and not np.array_equal(pictures, other)
    assert set(table.mood) == set(cartoons.MOODS)


def test_a_mood_changes_few_pixels_and_they_are_inside_the_head():
    _, table = cartoons.draw(20, seed=0)
    for face in table.to_dict("records"):
        drawn = {mood: cartoons.picture(face, mood).astype(int) for mood in cartoons.MOODS}
        for mood in ("happy", "sad", "angry", "surprised"):
            changed = np.abs(drawn[mood] - drawn["neutral"]).max(2) > 10
            assert 0.01 < changed.mean() < 0.12, mood
            assert not changed[[0, -1]].any() and not changed[:, [0, -1]].any(), mood


@pytest.fixture(scope="module")
def data():
    pictures, table = cartoons.draw(64, seed=0)
    moods = np.array([list(cartoons.MOODS).index(mood) for mood in table.mood])
    rows = np.arange(len(pictures))
    return TrainingData(Pictures(pictures), rows, rows[:0], labels=moods)


@pytest.mark.parametrize("name", SMALL_FACES)
def test_a_row_for_each_step(data, name):
    settings = replace(SMALL_FACES[name], epochs=2, batch=32)
    epochs = []
    model, steps = train_small_vaegan(data, settings, on_epoch=lambda m: epochs.append(m.training))
    assert list(steps.step) == [1, 2, 3, 4] and list(steps.epoch) == [1, 1, 2, 2]
    assert epochs == [False] * 3 and not model.training
    if name == "VAE-GAN":
        assert ((steps[list(ANSWERS)] > 0) & (steps[list(ANSWERS)] < 1)).all(axis=None)
    else:
        assert not set(ANSWERS) & set(steps.columns)
    assert ("expression" in steps) == (name == "critic of moods")


def test_whoever_is_far_ahead_waits(data):
    """The two limits are those of ``losses.equilibrium_gates``."""
    settings = replace(SMALL_FACES["VAE-GAN"], epochs=1, batch=32)
    _, steps = train_small_vaegan(data, settings)
    for step in steps.itertuples():
        cross_entropy = step.discriminator / 3
        assert steps["critic trained"][step.Index] == (cross_entropy >= 0.68 - 0.35)
        assert steps["decoder trained"][step.Index] == (cross_entropy <= 0.68 + 0.35)


def test_the_start_is_as_good_as_principal_components(data):
    """Encoding and drawing by the network before its first step is a projection of the pictures."""
    starts = []
    settings = replace(SMALL_FACES["pixels alone"], epochs=1)
    x = data.pictures.batch(data.train)
    train_small_vaegan(data, settings, on_epoch=lambda model: starts.append(model(x)[0]))
    values = x.flatten(1).double().numpy()
    centred = values - values.mean(0)
    _, _, components = np.linalg.svd(centred, full_matrices=False)
    kept = components[: settings.latent]
    expected = values.mean(0) + centred @ kept.T @ kept
    assert np.allclose(starts[0].flatten(1).detach().numpy(), expected, atol=1e-4)
