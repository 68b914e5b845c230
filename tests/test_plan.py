"""`cm plan` counts what a training would do, measures a step, and writes nothing."""

import dataclasses

import numpy as np
import pytest

from cmlib.cli import main
from cmlib.cli.train import span
from cmlib.config import get_profile
from cmlib.corpora.splits import FOLDS
from cmlib.experiment import plan
from cmlib.experiment.plan import StepCost


@pytest.fixture
def known_cost(monkeypatch):
    """Half a second and 2 GB a channel for every VAE-GAN step; nothing is measured."""
    monkeypatch.setattr(
        plan,
        "measure_vaegan_step",
        lambda channels, size, settings: StepCost(0.5, 2e9 * channels),
    )
    monkeypatch.setattr(plan, "measure_latent_step", lambda stage, profile: 0.001)


def test_it_prints_a_table_and_writes_nothing(corpus, monkeypatch, capsys):
    monkeypatch.setattr(plan, "TRIED_BATCHES", ())  # the profile's own batch, in one process
    monkeypatch.setenv("CM_DATA", str(corpus.parent))
    corpus.rename(corpus.parent / "actors")
    before = sorted(corpus.parent.rglob("*"))
    assert main(["plan", "smoke"]) == 0
    lines = {line.split()[0]: line.split() for line in capsys.readouterr().out.splitlines()}
    _, pictures, _, _, seconds, *_, memory, unit = lines["face"]
    assert pictures == str(4 * 2), "4 clips train, 2 frames each"
    assert float(seconds) > 0
    assert float(memory) > 0.1 and unit == "GB"
    assert set(lines) >= {"voice", "classifier", "can"}
    assert sorted(corpus.parent.rglob("*")) == before


def test_steps_time_and_memory_follow_from_the_profile(known_cost):
    table = plan.plan("actors", "tuned").set_index("stage")
    tuned = get_profile("tuned")
    n_actors = 24 - len(FOLDS[0]) - len(FOLDS[1])
    assert tuned.data.crowd_limit is None  # the whole crowd: 600 people, 12 pictures of each
    assert table.pictures["face"] == n_actors * 60 * 8 + 7200
    assert table.pictures["voice"] == n_actors * 60
    assert table.pictures["can"] == n_actors * 56 * 8
    batches = -(-table.pictures["face"] // tuned.face.batch)
    assert table.steps["face"] == batches * tuned.face.epochs
    assert table.hours["face"] == table.steps["face"] * 0.5 / 3600
    assert table.memory_gb["face"] == 6.0 and np.isnan(table.memory_gb["can"])


def test_a_network_that_is_shipped_costs_nothing(known_cost, monkeypatch):
    monkeypatch.setattr(plan, "measure_vaegan_step", lambda *_: pytest.fail("it was measured"))
    table = plan.plan("actors", "quick").set_index("stage")
    assert table.hours["face"] == table.hours["voice"] == 0 and table.hours["can"] > 0


def test_where_every_frame_is_kept_the_length_of_the_clips_counts(known_cost):
    profile = dataclasses.replace(get_profile("smoke"), data=get_profile("paper").data)
    table = plan.plan("actors", profile).set_index("stage")
    assert 40 < table.pictures["face"] / (14 * 60) < 140


def test_a_large_batch_is_extrapolated_from_two_small_ones(monkeypatch):
    monkeypatch.setattr(
        plan,
        "_measure_in_process",
        lambda channels, size, settings, batch: StepCost(0.1 * batch, 1e9 + 1e8 * batch),
    )
    settings = dataclasses.replace(get_profile("paper").face, batch=128)
    cost = plan.measure_vaegan_step(3, 128, settings)
    assert cost.seconds == pytest.approx(12.8)
    assert cost.memory == pytest.approx(1e9 + 1e8 * 128)


@pytest.mark.parametrize(
    "hours, words",
    [(0.001, "4 s"), (0.1, "6.0 min"), (1.5, "90 min"), (30, "30 h"), (500, "21 days")],
)
def test_spans_are_words(hours, words):
    assert span(hours) == words
