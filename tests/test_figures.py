"""Figures by name: each has its table and its drawing, nothing is trained, and a page shows all."""

import json
import re
import shutil
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cmlib import cli, files
from cmlib.experiment import run as run_module
from cmlib.experiment.run import MODELS, Run
from cmlib.figures import catalogue, figure, gallery
from cmlib.figures.figure import Figure, FigureError, Notebook
from cmlib.plots import kinds, style

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


def code_of(notebook: Path) -> str:
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_notebook_saves_its_figures_and_draws_them_with_the_same_functions(path):
    code = code_of(path)
    listed = [f for f in catalogue.FIGURES.values() if f.notebook == path.stem]
    saved = re.findall(r'style\.save\([^"]*?f?"([^"]+)"', code)
    patterns = [re.sub(r"{\w+}", "*", name) for name in saved]
    for each in listed:
        assert any(fnmatchcase(each.name, pattern) for pattern in patterns), each.name
        assert f"plots.{each.draw.__name__}(" in code, each.name
    for pattern in patterns:
        assert any(fnmatchcase(each.name, pattern) for each in listed), pattern


def test_an_unknown_figure_is_one_line_that_names_its_neighbours(capsys):
    assert cli.main(["figures", "06_test_acuracy"]) == 1
    line = capsys.readouterr().err
    assert "no figure '06_test_acuracy'" in line and "06_test_accuracy" in line
    assert line.count("\n") == 1


def test_the_list_says_what_a_figure_shows_and_what_takes_long(capsys):
    assert cli.main(["figures", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(catalogue.FIGURES)
    (line,) = [line for line in lines if line.startswith("06_ablations ")]
    assert "06_evaluation" in line and "one setting changed" in line and "(trains" in line


def test_a_name_may_have_wildcards():
    names = [each.name for each in catalogue.choose(["06_confusion_*", "05_kl_shift"])]
    assert names == [
        "06_confusion_face",
        "06_confusion_voice",
        "06_confusion_can",
        "05_kl_shift",
    ]
    assert [each.name for each in catalogue.choose()] == list(catalogue.FIGURES)


# -------------------------------------------------------------------- without training


@pytest.fixture
def project(tmp_path, corpus, monkeypatch):
    """A project with a tiny corpus and nothing trained."""
    shutil.copytree(corpus, tmp_path / "data" / "actors")
    monkeypatch.setenv("CM_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("CM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(files, "ROOT", tmp_path)
    return tmp_path


def test_a_missing_network_is_named_with_the_command_that_trains_it(project):
    command = "make reproduce CORPUS=actors PROFILE=smoke FOLD=1 SEED=0"
    with pytest.raises(FigureError, match=f"face, voice, .* not trained; first: {command}"):
        catalogue.draw(Run("actors", "smoke"), ["06_test_accuracy"])


def test_shipped_networks_are_drawn_as_they_are_and_never_trained(project, monkeypatch):
    trained = Run("actors", "smoke")
    for model in MODELS:
        trained.classifying_network(model)
    shutil.move(trained.folder / "checkpoints", project / "checkpoints" / "actors-smoke")
    for name in ("train_vaegan", "train_classifier", "train_can"):
        monkeypatch.setattr(run_module, name, lambda *a, **k: pytest.fail("trained"))

    run = Run("actors", "smoke")
    assert catalogue.draw(run, ["06_test_accuracy", "04_confusion_voice"]) == [
        "06_test_accuracy",
        "04_confusion_voice",
    ]
    table = pd.read_csv(run.folder / "figures" / "06_test_accuracy.csv")
    assert set(table.model) == set(MODELS)
    assert not (run.folder / "checkpoints").exists()


# -------------------------------------------------------------------- what is drawn


def rows_of_fold(run: Run) -> pd.DataFrame:
    return pd.DataFrame({"fold": [run.fold]})


def draw_table(table: pd.DataFrame) -> style.Plot:
    return kinds.mel([[0, 1], [1, 0]], title=str(table.fold[0]))


@pytest.fixture
def made_up(monkeypatch):
    """A catalogue of two figures with a table, one without, and one that no run can have."""
    notebook = Notebook("06_evaluation", needs=lambda run: "")
    for name in ("99_left", "99_right"):
        notebook.figure(name, draw_table, "a table")(rows_of_fold)
    notebook.figure("99_picture", kinds.mel, "a picture")(lambda run: {"spectrogram": np.eye(4)})
    impossible = notebook.figure("99_never", draw_table, "", needs=lambda run: "no faces here")
    impossible(rows_of_fold)
    monkeypatch.setattr(catalogue, "FIGURES", {f.name: f for f in notebook.figures})
    monkeypatch.setattr(gallery, "FIGURES", {f.name: f for f in notebook.figures})
    monkeypatch.setattr(catalogue, "require_networks", lambda run: None)


def test_one_figure_is_drawn_with_its_table_and_no_other(made_up, tmp_path):
    assert catalogue.draw(Run(fold=3), ["99_right"], tmp_path) == ["99_right"]
    suffixes = ("csv", "pdf", "png", "svg")
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"99_right.{s}" for s in suffixes]
    assert (tmp_path / "99_right.csv").read_text() == "fold\n3\n"
    assert (tmp_path / "99_right.pdf").read_bytes()[:5] == b"%PDF-"


def test_a_figure_without_a_table_has_no_csv(made_up, tmp_path):
    catalogue.draw(Run(), ["99_picture"], tmp_path)
    assert sorted(p.suffix for p in tmp_path.iterdir()) == [".pdf", ".png", ".svg"]


def test_what_a_run_cannot_have_is_an_error_by_name_and_left_out_of_all(made_up, tmp_path, capsys):
    with pytest.raises(FigureError, match="99_never: no faces here"):
        catalogue.draw(Run(), ["99_never"], tmp_path)
    assert catalogue.draw(Run(), [], tmp_path) == ["99_left", "99_right", "99_picture"]
    assert "left out: 99_never: no faces here" in capsys.readouterr().out


def test_a_table_that_figures_share_is_computed_once_for_a_run():
    calls = []

    @figure.computed_once
    def table(run: Run, level: int) -> int:
        calls.append((run.fold, level))
        return 10 * level

    run = Run(fold=2)
    assert [table(run, 1), table(run, 1), table(run, 2)] == [10, 10, 20]
    table(Run(fold=2), 1)  # another run, although it has the same settings
    assert calls == [(2, 1), (2, 2), (2, 1)]


def test_the_same_figure_gives_the_same_bytes(made_up, tmp_path):
    for folder in ("a", "b"):
        catalogue.draw(Run(), ["99_picture"], tmp_path / folder)
    for suffix in ("svg", "pdf", "png"):
        first, second = (
            (tmp_path / folder / f"99_picture.{suffix}").read_bytes() for folder in ("a", "b")
        )
        assert first == second, suffix


def test_the_gallery_shows_all_and_stays_small(monkeypatch, tmp_path):
    names = [f"99_{i}" for i in range(4)]
    made_up = {name: Figure(name, "06_evaluation", "", dict, kinds.mel, str) for name in names}
    monkeypatch.setattr(gallery, "FIGURES", made_up)
    monkeypatch.setattr(gallery, "LARGEST_PREVIEW", 6_000)
    monkeypatch.setattr(gallery, "LARGEST_GALLERY", 16_000)
    for i, name in enumerate(names):
        noise = np.random.default_rng(i).integers(0, 256, (120, 180, 1), np.uint8)
        Image.fromarray(noise.repeat(3, 2)).save(tmp_path / f"{name}.png")

    page = gallery.write_gallery(names, tmp_path, tmp_path / "docs", "About.").read_text()
    sizes = [path.stat().st_size for path in (tmp_path / "docs" / "preview").glob("*.webp")]
    assert len(sizes) == 4 and max(sizes) <= 6_000 and sum(sizes) <= 16_000
    assert "\n## 06 · " in page
    assert all(
        f"(preview/{name}.webp)" in page and f"`cm figures {name}`" in page for name in names
    )
