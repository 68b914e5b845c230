"""Figures by name: who draws them, without training, and a page of all of them that stays small."""

import shutil

import numpy as np
import pytest
from nbformat import v4, write
from PIL import Image

from cmlib import cli, experiment, figures, redraw
from cmlib.experiment import MODELS, Run

PARAMETERS = 'corpus = "actors"\nprofile = "quick"\nseed = 0\nfold = 1\nout_dir = ""'
DRAWS = """import pandas as pd
from cmlib import figures
for name in ("left", "right"):
    figures.save(figures.mel([[0, 1], [1, 0]]), f"99_{name}", out_dir, pd.DataFrame({"fold": [fold]}))"""


@pytest.fixture
def notebooks(tmp_path, monkeypatch):
    """A project whose only notebook draws two figures and, if it ever feels like it, a third."""
    code = [v4.new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]}), v4.new_code_cell(DRAWS)]
    code.append(v4.new_code_cell('if False:\n    figures.save(None, "99_never", out_dir)'))
    (tmp_path / "notebooks").mkdir()
    book = v4.new_notebook(cells=[v4.new_markdown_cell("# 99 · A test"), *code])
    book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    write(book, tmp_path / "notebooks" / "99_test.ipynb")
    monkeypatch.setattr(redraw, "ROOT", tmp_path)
    return tmp_path


def test_every_figure_of_the_notebooks_is_in_the_catalogue():
    drawn = redraw.catalogue()
    assert (
        drawn["06_test_accuracy"].stem == "06_evaluation"
        and drawn["mental_representations"].stem == "07_mental_representations"
    )
    assert list(redraw.wanted(["04_confusion_voice"], drawn).values()) == [drawn["04_confusion_*"]]
    assert all(path.stem[:2] == name[:2] for name, path in drawn.items() if name[:2].isdigit())
    for path in set(drawn.values()):
        text = path.read_text(encoding="utf-8")
        assert sum(home == path for home in drawn.values()) == text.count("figures.save("), path.stem


def test_an_unknown_figure_is_one_line_that_names_its_neighbours(capsys):
    assert cli.main(["figures", "06_test_acuracy"]) == 1
    err = capsys.readouterr().err
    assert "no figure '06_test_acuracy'" in err and "06_test_accuracy" in err and err.count("\n") == 1
    assert cli.main(["figures", "--list"]) == 0 and "07_conflict " in capsys.readouterr().out


def test_networks_are_borrowed_and_never_trained(tmp_path, corpus, monkeypatch):
    (tmp_path / "data").mkdir()
    shutil.copytree(corpus, tmp_path / "data" / "actors")
    monkeypatch.setenv("CM_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("CM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(experiment, "ROOT", tmp_path)
    run = Run("actors", "smoke")
    with pytest.raises(
        redraw.RedrawError,
        match="face, voice, .* not trained; first: make reproduce CORPUS=actors PROFILE=smoke FOLD=1 SEED=0",
    ):
        redraw.borrow(run)
    for model in MODELS:
        run.reader(model)
    shutil.move(run.folder / "checkpoints", tmp_path / "checkpoints" / "actors-smoke")  # as if they were shipped
    card = tmp_path / "checkpoints" / "actors-smoke" / "face.json"
    card.write_text(card.read_text().replace('"recipe": "', '"recipe": "older'))
    run = Run("actors", "smoke")
    (run.folder / "ratings").mkdir()
    (run.folder / "ratings" / "ann.csv").write_text("of a person\n")
    other = redraw.borrow(run)
    assert (other.folder / "ratings" / "ann.csv").read_text() == "of a person\n"  # not made up in their place
    monkeypatch.setattr(experiment.training, "train_vaegan", lambda *a, **k: pytest.fail("trained"))
    other.vaegan("face", retrain=True)  # what notebook 02 asks for
    rows = run.frames_of(run.split.test)
    np.testing.assert_array_equal(other.log_probabilities("can", rows), run.log_probabilities("can", rows))


def test_one_figure_is_drawn_and_only_its_files_are_copied(notebooks, monkeypatch):
    run = Run("actors", "smoke", fold=3, out_dir=str(notebooks / "run"))
    other = Run("actors", "smoke", fold=3, out_dir=str(notebooks / "run" / "redrawn"))
    run.__dict__["store"] = type("Store", (), {"has_faces": False})
    other.__dict__["voice_latents"] = None
    monkeypatch.setattr(redraw, "borrow", lambda run: other)
    assert redraw.redraw(run, ["99_right"], notebooks / "out") == ["99_right"]
    assert sorted(p.name for p in (notebooks / "out").iterdir()) == [
        f"99_right.{s}" for s in ("csv", "pdf", "png", "svg")
    ]
    assert (notebooks / "out" / "99_right.csv").read_text() == "fold\n3\n"
    assert (notebooks / "out" / "99_right.pdf").read_bytes()[:5] == b"%PDF-"
    with pytest.raises(redraw.RedrawError, match="99_test.ipynb draws no 99_never"):
        redraw.redraw(run, ["99_never"], notebooks / "out")


def test_the_same_figure_gives_the_same_bytes(tmp_path):
    for folder in ("a", "b"):
        figures.save(figures.mel(np.eye(4)), "x", tmp_path / folder)
    for suffix in ("svg", "pdf", "png"):
        first, second = ((tmp_path / folder / "figures" / f"x.{suffix}").read_bytes() for folder in ("a", "b"))
        assert first == second and first, suffix


def test_the_gallery_shows_all_and_stays_small(notebooks, monkeypatch):
    monkeypatch.setattr(redraw, "EACH", 6_000)
    monkeypatch.setattr(redraw, "ALL", 16_000)
    names = [f"99_{i}" for i in range(4)]
    for i, name in enumerate(names):
        noise = np.random.default_rng(i).integers(0, 256, (120, 180, 1), np.uint8)
        Image.fromarray(noise.repeat(3, 2)).save(notebooks / f"{name}.png")
    page = redraw.gallery(names, notebooks, notebooks / "docs", "About.").read_text()
    small = list((notebooks / "docs" / "preview").glob("*.png"))
    assert len(small) == 4 and sum(p.stat().st_size for p in small) <= redraw.ALL
    assert max(p.stat().st_size for p in small) <= redraw.EACH and "## 99 · A test" in page
    assert all(f"(preview/{name}.png)" in page and f"`cm figures {name}`" in page for name in names)
