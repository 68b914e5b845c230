"""Studies: what a file means, what their graph does, and what the report says."""

import dataclasses
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import ROOT

from cmlib import checkpoints, metrics
from cmlib.config import PROFILES, get_profile
from cmlib.evaluation import scoring
from cmlib.evaluation.scoring import Predictions
from cmlib.experiment.run import Run
from cmlib.models import Classifier
from tools.study import __main__ as study_command
from tools.study.cells import Cell, StudyError, check_corpora, read_study
from tools.study.report import write_report

CLASSES = ("calm", "happy", "sad")


def write(path: Path, **content) -> Path:
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


# -------------------------------------------------------------------- changed settings


def test_a_profile_with_changed_settings():
    name = "quick+can.neutral=0+can.attention=linear+face.epochs=3+data.clips_limit=12"
    changed, quick = get_profile(name), PROFILES["quick"]
    assert changed.name == name
    assert changed.can == dataclasses.replace(quick.can, neutral=0.0, attention="linear")
    assert isinstance(changed.can.neutral, float)
    assert (changed.face.epochs, changed.data.clips_limit) == (3, 12)
    assert (changed.voice, changed.classifier) == (quick.voice, quick.classifier)
    assert get_profile("quick") is quick


@pytest.mark.parametrize(
    "change, words",
    [
        ("can", "changes no setting; write one of data, face, voice, classifier, can"),
        ("bootstrap=3", "changes no setting"),
        ("eye.epochs=3", "changes no setting"),
        ("can.colour=3", "can has no setting 'colour'; it has attention, normalise"),
        ("can.neutral=much", "the value should be like 0.4"),
        ("can.finetune=1", "the value should be like false"),
        ("can.epochs=1.5", "the value should be like 30"),
        ("can.epochs=true", "the value should be like 30"),
        ("voice.translate=3", r"the value should be like \[3, 12\]"),
    ],
)
def test_a_change_that_is_none_is_named(change, words):
    with pytest.raises(ValueError, match=words) as caught:
        get_profile(f"quick+{change}")
    assert str(caught.value).startswith(repr(change))


def test_networks_of_the_unchanged_profile_serve(tmp_path, monkeypatch):
    """A choice of settings that only concerns the context need not learn faces again."""
    monkeypatch.setenv("CM_RUNS", str(tmp_path))
    monkeypatch.setattr(Run, "_data_keys", lambda run, name: {"corpus": "the same"})
    unchanged = Run("actors", "smoke", seed=4)
    for stage in ("face", "voice", "classifier_face", "can"):
        checkpoints.save(unchanged.path(stage), Classifier(4, 2), unchanged.card(stage, {}))
    changed = Run("actors", "smoke+can.epochs=3", seed=4)
    for stage in ("face", "voice", "classifier_face"):
        assert changed.find(stage) == unchanged.path(stage)
    assert changed.find("can") is None and unchanged.find("can") == unchanged.path("can")
    other = Run("actors", "smoke+face.epochs=3", seed=4)
    assert other.find("face") is None and other.find("classifier_face") is None
    assert other.find("voice") == unchanged.path("voice")


# -------------------------------------------------------------------- the file


def test_every_combination_is_a_cell(tmp_path):
    path = write(
        tmp_path / "mine.yaml",
        corpora=["actors", "ravdess+song"],
        profiles="smoke",
        folds="1-2",
        seeds=[0, 7],
        settings=[{}, {"can.neutral": 0.0, "can.epochs": 3}],
    )
    study = read_study(path)
    assert study.name == "mine" and len(study.cells) == 16 == len(set(study.cells))
    changed = "smoke+can.neutral=0.0+can.epochs=3"
    assert study.cells[0] == Cell("actors", "smoke", 1, 0)
    assert study.cells[-1] == Cell("ravdess+song", changed, 2, 7)
    assert study.cells[-1].unchanged == Cell("ravdess+song", "smoke", 2, 7)
    assert len({study.cell_folder(cell) for cell in study.cells}) == 16


def test_what_is_missing_has_one_value(tmp_path):
    assert read_study(write(tmp_path / "x.yaml", seeds=3)).cells == (Cell("actors", "quick", 1, 3),)


@pytest.mark.parametrize("path", sorted((ROOT / "studies").glob("*.yaml")), ids=lambda p: p.stem)
def test_shipped_studies_can_be_read(path):
    study = read_study(path)
    check_corpora(study)
    says = path.read_text().splitlines()[0]
    assert f"{len(study.cells)} runs" in says


@pytest.mark.parametrize(
    "content, words",
    [
        ({"fold": 1}, "unknown key 'fold'; it knows corpora, profiles, folds, seeds, settings"),
        ({"folds": 6}, "'6' is not a list of numbers from 1 to 5"),
        ({"folds": "one"}, "'one' is not a list of numbers"),
        ({"seeds": -1}, "'-1' is not a list of numbers from 0"),
        ({"corpora": ["faces"]}, "corpora: unknown corpus 'faces': choose one of actors"),
        ({"corpora": [1]}, "corpora: names are needed"),
        ({"profiles": ["quik"]}, "unknown profile 'quik': choose one of"),
        ({"settings": {"can.neutral": 0}}, "settings: a list is needed"),
        ({"settings": [{"can.colour": 0}]}, "can has no setting 'colour'"),
    ],
)
def test_a_wrong_file_is_one_line_that_names_it(content, words, tmp_path, capsys):
    path = write(tmp_path / "x.yaml", **content)
    with pytest.raises(StudyError) as caught:
        read_study(path)
    assert str(caught.value).startswith(f"{path}: ") and words in str(caught.value)
    assert study_command.main([str(path)]) == 1
    assert capsys.readouterr().err == f"study: {caught.value}\n"


@pytest.mark.parametrize("text", ["", "quick", "a: [", "- 1"])
def test_what_is_no_study_is_said(text, tmp_path):
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(StudyError, match="x.yaml: is no"):
        read_study(tmp_path / "x.yaml")
    with pytest.raises(StudyError, match="cannot be read"):
        read_study(tmp_path / "y.yaml")


# -------------------------------------------------------------------- the report


def some_predictions(seed: int, skill: float) -> Predictions:
    """Predictions of two models for 40 clips of four actors, two frames each."""
    rng = np.random.default_rng(seed)
    clips = np.repeat(np.arange(40), 2)
    labels, actors = clips % len(CLASSES), clips // 10
    log_probabilities = {}
    for model, gain in (("face", 0.5), ("can", skill)):
        logits = rng.normal(size=(80, len(CLASSES)))
        logits[np.arange(80), labels] += gain
        logits -= np.logaddexp.reduce(logits, 1, keepdims=True)
        log_probabilities[model] = logits
    return Predictions(log_probabilities, labels, clips, actors)


@pytest.fixture
def finished(tmp_path, monkeypatch):
    """A study of two settings, two folds and two seeds whose cells are done."""
    monkeypatch.setenv("CM_RUNS", str(tmp_path / "runs"))
    content = {"profiles": "smoke", "folds": "1-2", "seeds": "0-1"}
    content["settings"] = [{}, {"can.neutral": 0.0}]
    path = write(tmp_path / "two.yaml", **content)
    study = read_study(path)
    predictions = {}
    for number, cell in enumerate(study.cells):
        folder = study.cell_folder(cell)
        skill = 0.5 if "+" in cell.profile else 2.0
        for subset in scoring.SCORED_SUBSETS:
            predictions[cell, subset] = some_predictions(number, skill)
            scoring.save_predictions(
                folder / f"predictions-{subset}.npz", predictions[cell, subset]
            )
        record = {"classes": CLASSES, "processor_seconds": 1800}
        (folder / "evaluation.json").write_text(json.dumps(record))
    return path, study, predictions


def test_predictions_survive_their_file(tmp_path):
    before = some_predictions(0, 1.0)
    before = dataclasses.replace(before, actors=pd.Series(before.actors).map("M{:03d}".format))
    scoring.save_predictions(tmp_path / "x.npz", before)
    after = scoring.load_predictions(tmp_path / "x.npz")
    for model, values in before.log_probabilities.items():
        np.testing.assert_array_equal(after.log_probabilities[model], values)
    for name in ("labels", "clips", "actors"):
        np.testing.assert_array_equal(getattr(after, name), getattr(before, name))
    (tmp_path / "x.npz").write_bytes((tmp_path / "x.npz").read_bytes()[:100])
    with pytest.raises(ValueError, match="x.npz: no predictions can be read"):
        scoring.load_predictions(tmp_path / "x.npz")


def test_the_report_puts_folds_and_seeds_together(finished, capsys):
    path, study, predictions = finished
    assert study_command.main([str(path)]) == 0
    assert capsys.readouterr().out == f"{study.folder / 'report.html'}\n"

    # Scores are those of all folds and seeds together
    scores = pd.read_csv(study.folder / "scores.csv")
    assert len(scores) == 2 * 2 * 2 * 3  # profiles, subsets, models, scores
    cells = [cell for cell in study.cells if cell.profile == "smoke"]
    expected, together = scoring.score_together([predictions[cell, "test"] for cell in cells], 100)
    ours = scores[(scores.profile == "smoke") & (scores.subset == "test")]
    columns = ["value", "low", "high", "mean", "sd", "count"]
    np.testing.assert_allclose(ours[columns], expected[columns])
    assert set(ours["count"]) == {4}

    # Differences between models, and between settings, are paired tests over actors
    differences = pd.read_csv(study.folder / "differences.csv")
    row = differences[(differences.profile == "smoke") & (differences.subset == "test")].iloc[0]
    hits = together.by_clip().hits()
    actors = together.by_clip().actors
    wanted = metrics.paired_difference(hits["can"], hits["face"], actors, 100)
    assert row.other == "face" and row.p == wanted["p"]
    np.testing.assert_allclose([row.value, row.low], [wanted["value"], wanted["low"]])

    settings = pd.read_csv(study.folder / "settings.csv")
    row = settings[(settings.subset == "test") & (settings.model == "can")].iloc[0]
    changed = "smoke+can.neutral=0.0"
    assert (row.baseline, row.profile) == ("smoke", changed)
    others = [predictions[cell, "test"] for cell in study.cells if cell.profile == changed]
    after = scoring.concatenate(others).by_clip().hits()["can"]
    wanted = metrics.paired_difference(after, hits["can"], actors, 100)
    assert wanted["value"] < -0.1
    np.testing.assert_allclose(
        [row.value, row.high, row.p], [*map(wanted.get, ("value", "high", "p"))]
    )


def test_the_report_is_one_page_and_one_json(finished):
    _, study, _ = finished
    page = write_report(study).read_text()
    assert page.count("<section>") == 2 == page.count("data:image/png") == page.count(" alt=")
    for words in ("8 runs", "4.00 hours", "160 answers about clips of 4 actors", "chance 33.3 %"):
        assert words in page, words
    summary = json.loads((study.folder / "study.json").read_text())
    assert summary["processor_hours"] == 4 and len(summary["cells"]) == 8
    assert len(summary["scores"]) == 24 and summary["settings"][0]["baseline"] == "smoke"
    for suffix in ("svg", "pdf", "png", "csv"):
        assert (study.folder / "figures" / f"actors-smoke.{suffix}").stat().st_size


def test_a_cell_without_results_is_named(finished, capsys):
    path, study, _ = finished
    lost = study.cell_folder(study.cells[3]) / "evaluation.json"
    lost.write_text("{")
    assert study_command.main([str(path)]) == 1
    assert str(lost) in capsys.readouterr().err


# -------------------------------------------------------------------- the graph

# A command that takes the place of `cm` in a copy of the project. It notes when it is at work on a
# cell, and what it writes depends on the cell alone.
PRETEND = """
import json, os, sys, time
from pathlib import Path
import numpy as np
from cmlib import files
from cmlib.locks import locked

command, *arguments = sys.argv[1:]
if command == "prepare":
    sys.exit()
options = dict(zip(arguments[1::2], arguments[2::2]))
out = Path(options["--out"])
journal = Path(os.environ["JOURNAL"])

def note(event):
    with open(journal, "a") as file:
        file.write(json.dumps([out.name, event, os.getpid()]) + "\\n")

with locked(out / ".lock", "evaluating"):
    note("begin")
    time.sleep(float(os.environ["SECONDS"]))
    rng = np.random.default_rng(list(out.name.encode()))
    clips = np.arange(40)
    for subset in ("validation", "test"):
        arrays = {f"model:{m}": np.log(rng.dirichlet(np.ones(3), 40)) for m in ("face", "can")}
        arrays |= {"labels": clips % 3, "clips": clips, "actors": clips // 10}
        with files.write_atomically(out / f"predictions-{subset}.npz") as part:
            with open(part, "wb") as file:
                np.savez(file, **arrays)
    record = {"classes": ["a", "b", "c"], "processor_seconds": 1.0}
    files.write_text(out / "evaluation.json", json.dumps(record))
    note("end")
"""


KILLS = int(os.environ.get("KILLS", "3"))


@pytest.fixture
def project(tmp_path):
    """A copy of the project in which ``cm`` only pretends to train."""
    home = tmp_path / "project"
    for name in ("cmlib", "tools"):
        ignored = shutil.ignore_patterns("__pycache__", "corpus", "*.png")
        shutil.copytree(ROOT / name, home / name, ignore=ignored)
    for name in ("data", "checkpoints"):
        (home / name).symlink_to(ROOT / name)
    shutil.copy(ROOT / "study.smk", home)
    (home / "cmlib" / "cli" / "__main__.py").write_text(PRETEND)
    content = {"profiles": "quick", "folds": "1-3", "seeds": f"0-{KILLS // 2}"}
    write(home / "pretended.yaml", **content)
    return home


def start(project: Path, runs: Path, seconds: float = 0.0, *options: str) -> subprocess.Popen:
    """Start the study, as make does; each cell takes so many ``seconds``."""
    runs.mkdir(exist_ok=True)
    changes = {"CM_RUNS": str(runs), "PYTHONPATH": str(project), "SECONDS": str(seconds)}
    command = [sys.executable, "-m", "snakemake", "--snakefile", project / "study.smk"]
    command += ["--directory", runs, "--cores", "2", "--keep-going", "--nolock"]
    command += ["--rerun-incomplete", "--rerun-triggers", "mtime", "params", "input"]
    return subprocess.Popen(
        [*command, *options, "--config", "study=pretended.yaml"],
        env=os.environ | changes | {"JOURNAL": str(runs / "journal")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def journal_of(runs: Path) -> list[list]:
    path = runs / "journal"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def ended(runs: Path) -> list[str]:
    return [cell for cell, event, _ in journal_of(runs) if event == "end"]


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_kills_of_a_study_lose_nothing_but_the_job_that_died(project, tmp_path):
    """Snakemake and its cells are killed at random moments, and the study started again.

    ``KILLS=20`` in the environment kills more often.
    """
    seconds, cells = 1.0, 3 * (KILLS // 2 + 1)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    undisturbed = start(project, whole)
    printed, _ = undisturbed.communicate()
    assert undisturbed.returncode == 0, printed

    rng = random.Random(0)
    kills = {"snakemake": 0, "cell": 0}
    lost = 0  # cells that were at work when they were killed
    while sum(kills.values()) < KILLS and len(set(ended(killed))) < cells:
        before = len(journal_of(killed))
        process = start(project, killed, seconds)
        while len(journal_of(killed)) == before and process.poll() is None:
            time.sleep(0.02)
        time.sleep(rng.uniform(0, seconds))
        if rng.random() < 0.5:  # a cell dies, and Snakemake notices it or not
            kills["cell"] += 1
            lost += kill_a_cell(killed)
            time.sleep(rng.uniform(0, seconds))
        os.kill(process.pid, signal.SIGKILL)  # its cells go on
        kills["snakemake"] += 1
        process.stdout.close()
        process.wait()
    process = start(project, killed)
    printed, _ = process.communicate()
    assert process.returncode == 0, printed
    print(f"kills: {kills}; cells that died: {lost}; done: {len(ended(killed))}")
    assert sum(kills.values()) >= min(KILLS, 3)

    # The same tables; every cell that ended was done once more at most because Snakemake, which was
    # killed beside it, had not heard of it; and nobody wrote beside anybody else.
    for name in ("scores.csv", "differences.csv", "settings.csv"):
        paths = [runs / "studies" / "pretended" / name for runs in (whole, killed)]
        assert paths[0].read_bytes() == paths[1].read_bytes(), name
    assert set(ended(killed)) == set(ended(whole)) and len(ended(whole)) == cells
    begun = [cell for cell, event, _ in journal_of(killed) if event == "begin"]
    assert len(begun) == len(ended(killed)) + lost
    assert len(ended(killed)) <= cells + 2 * kills["snakemake"]
    check_that_no_two_worked_side_by_side(killed)


def kill_a_cell(runs: Path) -> int:
    """Kill the process of a cell that is at work; 1 if there was one."""
    at_work = {}
    for _, event, number in journal_of(runs):
        at_work[number] = event
    for number, event in at_work.items():
        if event == "begin":
            try:
                os.kill(number, signal.SIGKILL)
            except ProcessLookupError:  # it was killed before
                continue
            return 1
    return 0


def check_that_no_two_worked_side_by_side(runs: Path) -> None:
    """In each cell, whoever begins has no predecessor that ends later."""
    for cell in set(ended(runs)):
        events = [(event, number) for name, event, number in journal_of(runs) if name == cell]
        for position, (event, number) in enumerate(events):
            if event == "end":
                assert events[position - 1] == ("begin", number), events


def test_a_study_is_run_by_one_process_at_a_time(project, tmp_path):
    write(project / "pretended.yaml", profiles="quick")  # one cell and no report are enough
    runs = tmp_path / "runs"
    first = start(project, runs, 10.0, "--until", "cell")
    while not journal_of(runs):
        assert first.poll() is None
        time.sleep(0.05)
    second = start(project, runs, 0.0, "--until", "cell")
    printed, _ = second.communicate()
    assert second.returncode and "another process is running this study; wait for it" in printed
    assert "Traceback" not in printed
    printed, _ = first.communicate()
    assert first.returncode == 0, printed


@pytest.mark.parametrize(
    "argument, words",
    [
        ("study=none.yaml", "none.yaml: cannot be read"),
        ("other=1", "no study is named; --config study=studies/example.yaml"),
    ],
)
def test_a_wrong_study_is_refused_in_one_line(argument, words, monkeypatch, capsys):
    """Snakemake is called in this process; one of its own would take a second for each case."""
    from snakemake import cli

    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "path", sys.path[:])  # the graph puts its folder there
    command = ["--snakefile", "study.smk", "--dry-run", "--cores", "1", "--config", argument]
    with pytest.raises(SystemExit, match=words):
        cli.main(command)
    assert "Traceback" not in capsys.readouterr().err
