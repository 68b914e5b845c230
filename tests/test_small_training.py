"""Small VAE-GANs are trained once and kept, and again only where something differs."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from cmlib import checkpoints, files
from cmlib.config import SMALL_FACES
from cmlib.corpora import cartoons
from cmlib.experiment import small_vaegans
from cmlib.experiment.small_vaegans import small_vaegan
from cmlib.models import VaeGan
from cmlib.training.batches import Pictures, TrainingData
from cmlib.training.small_vaegan import train_small_vaegan

SETTINGS = replace(SMALL_FACES["VAE-GAN"], epochs=1)


@pytest.fixture
def data() -> TrainingData:
    pictures, _ = cartoons.draw(64)
    return TrainingData(Pictures(pictures), np.arange(64), np.arange(0))


@pytest.fixture
def trainings(tmp_path, monkeypatch) -> list[int]:
    """The seeds of the trainings that have taken place, in an empty project.

    In place of a training there is a network that has learnt nothing.
    """
    monkeypatch.setattr(files, "ROOT", tmp_path)
    monkeypatch.setenv("CM_CACHE", str(tmp_path / "cache"))
    seeds = []

    def counted(data, settings, seed, watch):
        seeds.append(seed)
        network = VaeGan(3, 32, settings.latent, 0.03).eval()
        watch(network)
        watch(network)
        return network, pd.DataFrame({"step": [1], "kl": [0.1]})

    monkeypatch.setattr(small_vaegans, "train_small_vaegan", counted)
    return seeds


def painted(model) -> torch.Tensor:
    """Three faces from fixed points of the prior, some of their values outside 0...1."""
    points = torch.linspace(-2, 2, 3 * SETTINGS.latent).view(3, -1)
    return model.decoder(points)


def test_what_is_kept_is_what_was_trained(data, trainings, monkeypatch):
    monkeypatch.setattr(small_vaegans, "train_small_vaegan", train_small_vaegan)
    first = small_vaegan("VAE-GAN", data, SETTINGS, 0, painted)
    monkeypatch.setattr(small_vaegans, "train_small_vaegan", None)  # it is found
    again = small_vaegan("VAE-GAN", data, SETTINGS, 0, painted)
    network, steps = train_small_vaegan(data, SETTINGS, 0)
    for kept in (first, again):
        pd.testing.assert_frame_equal(kept.steps, steps, check_exact=True)
        for part in ("encoder", "decoder"):
            weights = getattr(kept.network, part).state_dict()
            for name, value in getattr(network, part).state_dict().items():
                assert torch.equal(weights[name], value), name
        assert kept.course.shape == (2, 3, 3, 32, 32)  # the start and one epoch
        difference = (kept.course[-1] - painted(network).clamp(0, 1)).abs().max()
        assert difference <= 0.5 / 255 + 1e-6


def test_it_is_trained_again_where_something_differs(data, trainings):
    small_vaegan("VAE-GAN", data, SETTINGS, 0, painted)
    small_vaegan("VAE-GAN", data, SETTINGS, 1, painted)
    small_vaegan("VAE-GAN", data, replace(SETTINGS, kl_weight=1e-4), 0, painted)
    others = TrainingData(Pictures(cartoons.draw(64, seed=5)[0]), data.train, data.validation)
    small_vaegan("VAE-GAN", others, SETTINGS, 0, painted)
    assert trainings == [0, 1, 0, 0]
    small_vaegan("VAE-GAN", data, SETTINGS, 0, painted)
    assert len(trainings) == 4


@pytest.mark.parametrize("lost", [".safetensors", ".json", ".history.csv", ".course.png"])
def test_it_is_trained_again_where_a_file_is_lost_or_damaged(lost, data, trainings):
    kept = small_vaegans.kept_path(small_vaegans.record_of(data, SETTINGS, 0))
    small_vaegan("VAE-GAN", data, SETTINGS, 0, painted)
    if lost == ".course.png":
        kept.with_suffix(lost).write_bytes(b"no picture")
    else:
        kept.with_suffix(lost).unlink()
    small_vaegan("VAE-GAN", data, SETTINGS, 0, painted)
    assert trainings == [0, 0]


def test_what_ships_is_used_unless_fresh_is_asked_for(data, trainings, monkeypatch):
    record = small_vaegans.record_of(data, SETTINGS, 0)
    small_vaegan("VAE-GAN", data, SETTINGS, 0, painted)
    kept = small_vaegans.kept_path(record)
    shipped = files.make_folder(small_vaegans.shipped_folder()) / "vae-gan"
    for suffix in (".safetensors", ".json", ".history.csv", ".course.png"):
        kept.with_suffix(suffix).replace(shipped.with_suffix(suffix))
    small_vaegan("VAE-GAN", data, SETTINGS, 0, painted)
    assert trainings == [0]
    monkeypatch.setenv("CM_FRESH", "1")
    small_vaegan("VAE-GAN", data, SETTINGS, 0, painted)
    assert trainings == [0, 0] and checkpoints.is_current(kept, record)


@pytest.mark.parametrize("name", SMALL_FACES)
def test_the_shipped_ones_are_those_of_the_settings(name):
    """Their pictures can be opened, and their steps are as many as the card's epochs make."""
    path = small_vaegans.shipped_folder() / small_vaegans.file_name(name)
    pictures, table = cartoons.draw(4000)
    moods = {mood: number for number, mood in enumerate(cartoons.MOODS)}
    labels = table.mood.map(moods).to_numpy()
    cards = TrainingData(Pictures(pictures), np.arange(4000), np.arange(0), labels)
    assert checkpoints.is_current(path, small_vaegans.record_of(cards, SMALL_FACES[name], 0))
    epochs = SMALL_FACES[name].epochs
    assert len(pd.read_csv(path.with_suffix(".history.csv"))) == epochs * 4000 // 32
    with Image.open(path.with_suffix(".course.png")) as sheet:
        assert sheet.size == (20 * 32, (epochs + 1) * 32)
