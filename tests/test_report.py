"""What a run has recorded becomes metrics.json and report.html; on folders made by hand."""

import json

import numpy as np
import pandas as pd
import pytest

from cmlib import files
from cmlib.plots import kinds, style
from tools.notebooks import report

SCORE = {"value": 0.5, "low": 0.4, "high": 0.6}
BY = dict.fromkeys(report.SCORES, SCORE)
HEAD = {"corpus": "actors", "profile": "quick", "fold": 1, "seed": 0, "chance": 1 / 7}


@pytest.fixture
def run(tmp_path):
    models = {m: {**BY, "more": 1} for m in (*report.MODELS, "another")}
    files.record(tmp_path, report.EVALUATION, {**HEAD, "models": models, "other": np.arange(3)})
    return tmp_path


def executed(run, name, outputs=(), **timing):
    book = {
        "cells": [{"cell_type": "code", "outputs": list(outputs)}],
        "metadata": {"papermill": timing},
    }
    files.write_text(run / "notebooks" / f"{name}.ipynb", json.dumps(book))


def test_record_turns_arrays_and_odd_numbers_into_json(tmp_path):
    numbers = {
        "a": np.float32(1.5),
        "b": np.arange(2),
        "c": float("nan"),
        "d": (True, None, tmp_path),
    }
    file = files.record(tmp_path, "01_data_preparation", numbers)
    assert json.loads(file.read_text()) == {
        "a": 1.5,
        "b": [0, 1],
        "c": None,
        "d": [True, None, str(tmp_path)],
    }


def test_metrics_hold_exactly_the_promised_keys(run):
    report.build(run)
    assert json.loads((run / "metrics.json").read_text()) == {
        **HEAD,
        "models": dict.fromkeys(report.MODELS, BY),
    }
    assert "context attention 50.0 %" in report.summary(run)


def test_a_curve_with_its_band_is_no_score():
    rows = report.flatten(
        {"accuracy": SCORE, "strength": {"value": [0.1, 0.2], "low": [0, 0], "high": [1, 1]}}
    )
    assert rows[0] == ("accuracy", "50.0 % (40 to 60)") and len(rows) == 4


def test_corpus_without_faces_reports_the_voice(tmp_path):
    files.record(tmp_path, report.EVALUATION, {"skipped": "the corpus has no faces"})
    files.record(tmp_path, report.VOICE_ONLY, {**HEAD, "test": {"voice": BY}})
    assert report.collect(tmp_path) == {**HEAD, "models": {"voice": BY}}


def test_missing_score_is_named(run):
    files.record(run, report.EVALUATION, {**HEAD, "models": {"face": BY}})
    with pytest.raises(report.ReportError, match="06_evaluation.json: lacks 'voice'"):
        report.build(run)


def test_page_shows_failures_figures_and_nothing_from_elsewhere(run):
    style.save(
        kinds.confusion(np.eye(2), ["happy", "sad"]),
        "06_confusion",
        run,
        pd.DataFrame({"a": [1]}),
    )
    executed(run, "01_data_preparation", end_time="now", duration=61.0)
    executed(
        run, "02_face_vae", [{"output_type": "error", "ename": "ValueError", "evalue": "no <luck>"}]
    )
    executed(run, "03_voice_vae")
    (run / "notebooks" / "04_expression_classifier.ipynb").write_text('{"cells": [')
    page = report.build(run).read_text(encoding="utf-8")
    assert (
        "1 min 01 s" in page
        and "ValueError: no &lt;luck&gt;" in page
        and page.count("interrupted") == 2
    )
    assert (
        page.count("data:image/svg+xml;base64,") == 1 and 'href="figures/06_confusion.csv"' in page
    )
    assert "http://" not in page and "https://" not in page


def test_partial_report_takes_back_scores_that_are_no_longer_true(run):
    report.build(run)
    (run / "metrics" / "06_evaluation.json").unlink()
    assert "no scores yet" in report.build(run, partial=True).read_text(encoding="utf-8")
    assert not (run / "metrics.json").exists()
    assert report.main([str(run)]) == 1


def test_the_page_says_what_was_measured_here_and_what_came_with_the_clone(run, monkeypatch):
    shipped = run / "clone" / "checkpoints" / run.name
    for folder, names in (
        (run / "checkpoints", ["can"]),
        (run / "tables", ["leakage"]),
        (shipped, ["can", "classifier_face", "judge_others"]),
        (shipped / "tables", ["robustness"]),
    ):
        for name in names:
            files.write_text(folder / f"{name}.json", "{}")
    monkeypatch.setattr(report, "ROOT", run / "clone")
    assert report.origins(run) == {
        "here": ["can", "leakage"],
        "clone": ["classifier_face", "robustness"],
    }
    page = report.build(run).read_text(encoding="utf-8")
    assert "measured in this run: can, leakage." in page
    assert "used as it is: classifier face, robustness." in page


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(42.4, "42 s"), (185, "3 min 05 s"), (7800, "2 h 10 min"), (59.6, "1 min 00 s")],
)
def test_durations(seconds, text):
    assert report.duration(seconds) == text
