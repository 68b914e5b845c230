"""`cm plan` counts what a training would do, measures a step, and writes nothing."""

import dataclasses

from cmlib.cli import main
from cmlib.cli.train import span
from cmlib.config import get_profile
from cmlib.corpora.splits import FOLDS
from cmlib.experiment import plan


def test_it_prints_a_table_and_writes_nothing(corpus, monkeypatch, capsys):
    monkeypatch.setenv("CM_DATA", str(corpus.parent))
    corpus.rename(corpus.parent / "actors")
    before = sorted(corpus.parent.rglob("*"))
    assert main(["plan", "smoke"]) == 0
    face = next(
        line for line in capsys.readouterr().out.splitlines() if line.startswith("face")
    ).split()
    assert (
        face[1] == str(4 * 2) and float(face[4]) > 0 and float(face[-2]) > 0.1
    )  # 4 clips train, 2 frames each
    assert sorted(corpus.parent.rglob("*")) == before


def test_steps_and_time_are_those_of_the_profile(monkeypatch):
    monkeypatch.setattr(plan, "cost", lambda channels, size, settings: (0.5, 2e9 * channels))
    table = plan.plan("actors", "tuned").set_index("stage")
    tuned, training = get_profile("tuned"), 24 - len(FOLDS[0]) - len(FOLDS[1])
    assert tuned.data.crowd_limit is None  # the whole crowd: 600 people, 12 pictures of each
    assert (
        table.pictures["face"] == training * 60 * 8 + 7200
        and table.pictures["voice"] == training * 60
    )
    assert table.steps["face"] == -(-table.pictures["face"] // tuned.face.batch) * tuned.face.epochs
    assert (
        table.hours["face"] == table.steps["face"] * 0.5 / 3600 and table.memory_gb["face"] == 6.0
    )
    assert table.pictures["can"] == training * 56 * 8


def test_what_is_given_costs_nothing(monkeypatch):
    monkeypatch.setattr(plan, "cost", lambda *_: 1 / 0)
    table = plan.plan("actors", "quick").set_index("stage")
    assert table.hours["face"] == table.hours["voice"] == 0 and table.hours["can"] > 0


def test_every_frame_means_the_length_of_the_clips(monkeypatch):
    monkeypatch.setattr(plan, "cost", lambda *_: (0.5, 1.0))
    whole = dataclasses.replace(get_profile("smoke"), data=get_profile("paper").data)
    assert 40 < plan.plan("actors", whole).set_index("stage").pictures["face"] / (14 * 60) < 140


def test_spans_are_words():
    assert [span(h) for h in (0.001, 0.1, 1.5, 30, 500)] == [
        "4 s",
        "6.0 min",
        "90 min",
        "30 h",
        "21 days",
    ]
