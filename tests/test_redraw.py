"""Figures by name: who draws them, without training, and a page of all of them that stays small."""

import re
import shutil

import numpy as np
import pytest
from nbformat import v4, write
from PIL import Image

from cmlib import cli, files, redraw
from cmlib.experiment import run as run_module
from cmlib.experiment.run import MODELS, Run
from cmlib.plots import figures as figures_room
from cmlib.plots import style

PARAMETERS = 'corpus = "actors"\nprofile = "quick"\nseed = 0\nfold = 1\nout_dir = ""'
DRAWS = """import pandas as pd
from cmlib import figures
print("drawn")
for name in ("left", "right"):
    figures.save(figures.mel([[0, 1], [1, 0]]), f"99_{name}", out_dir, pd.DataFrame({"fold": [fold]}))"""


@pytest.fixture
def notebooks(tmp_path, monkeypatch):
    """A project whose only notebook draws two figures and, if it ever feels like it, a third."""
    code = [
        v4.new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]}),
        v4.new_code_cell(DRAWS),
    ]
    code.append(v4.new_code_cell('if False:\n    figures.save(None, "99_never", out_dir)'))
    (tmp_path / "notebooks").mkdir()
    book = v4.new_notebook(cells=[v4.new_markdown_cell("# 99 · A test"), *code])
    book.metadata["kernelspec"] = {
        "name": "python3",
        "display_name": "Python 3",
        "language": "python",
    }
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
        assert sum(home == path for home in drawn.values()) == text.count("figures.save("), (
            path.stem
        )


def test_an_unknown_figure_is_one_line_that_names_its_neighbours(capsys):
    assert cli.main(["figures", "06_test_acuracy"]) == 1
    err = capsys.readouterr().err
    assert (
        "no figure '06_test_acuracy'" in err and "06_test_accuracy" in err and err.count("\n") == 1
    )
    assert cli.main(["figures", "--list"]) == 0 and "07_conflict " in capsys.readouterr().out


def test_networks_are_borrowed_and_never_trained(tmp_path, corpus, monkeypatch):
    (tmp_path / "data").mkdir()
    shutil.copytree(corpus, tmp_path / "data" / "actors")
    monkeypatch.setenv("CM_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("CM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(files, "ROOT", tmp_path)
    run = Run("actors", "smoke")
    with pytest.raises(
        redraw.RedrawError,
        match="face, voice, .* not trained; first: make reproduce CORPUS=actors PROFILE=smoke FOLD=1 SEED=0",
    ):
        redraw.borrow(run)
    for model in MODELS:
        run.reader(model)
    shutil.move(
        run.folder / "checkpoints", tmp_path / "checkpoints" / "actors-smoke"
    )  # as if they were shipped
    card = tmp_path / "checkpoints" / "actors-smoke" / "face.json"
    card.write_text(card.read_text().replace('"version": 1', '"version": 0'))
    run = Run("actors", "smoke")
    (run.folder / "ratings").mkdir()
    (run.folder / "ratings" / "ann.csv").write_text("of a person\n")
    other = redraw.borrow(run)
    assert (
        other.folder / "ratings" / "ann.csv"
    ).read_text() == "of a person\n"  # not made up in their place
    monkeypatch.setattr(run_module.training, "train_vaegan", lambda *a, **k: pytest.fail("trained"))
    other.vaegan("face", retrain=True)  # what notebook 02 asks for
    rows = run.frames_of(run.split.test)
    np.testing.assert_array_equal(
        other.log_probabilities("can", rows), run.log_probabilities("can", rows)
    )


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


def test_a_cell_that_fails_is_one_line_that_names_it(notebooks):
    book = notebooks / "notebooks" / "99_test.ipynb"
    book.write_text(book.read_text().replace("if False:", "if 1 / 0:"))
    with pytest.raises(
        redraw.RedrawError,
        match="99_test.ipynb: its code cell 3 failed: ZeroDivisionError: division by zero; run",
    ):
        redraw.draw(book, [0, 1, 2], {"out_dir": str(notebooks)})


CELLS = """
import numpy as np; from cmlib import figures
x = np.zeros(3); slow = sum(range(9)); y = 1
def scaled(v): return factor * v
factor, unused = 2, 5
x[0] = 7
table = [scaled(v) for v in x]; y = 2
x = "another"; seed = 3
np.random.seed(seed)
if y: fig = x
for name in ("a", "b"):
    fig = y
    figures.save(fig, f"98_{name}", ".")
figures.save(table, "98_table", ".")
if not y: raise SystemExit(0)
with open("f") as f:
    fig = slow
figures.save(fig, "98_slow", ".")
z = y; fig = z
figures.save(fig, "98_last", ".")
"""


@pytest.mark.parametrize(
    "name, kept",
    [
        (
            "98_table",
            [0, 1, 2, 3, 4, 5, 10],
        ),  # with what its function reads and what changed the array
        ("98_*", [0, 1, 2, 3, 4, 5, 9]),  # the loop binds what it draws
        ("98_slow", [0, 1, 2, 3, 4, 5, 11, 12, 13]),  # with a cell that may end the notebook
        ("98_last", [0, 1, 2, 3, 4, 5, 11, 14, 15]),  # not what was bound before and is bound anew
    ],
)
def test_only_the_cells_that_a_figure_needs_are_run(name, kept):
    parts = [part.strip() for part in re.split(r"\n(?=\S)", CELLS.strip())]
    code = [redraw.Cell(part) for part in parts]
    at = next(i for i, cell in enumerate(code) if name in cell.figures)
    assert redraw.needed(code, [at]) == kept


def test_figures_of_a_notebook_are_drawn_together_but_for_those_behind_long_cells():
    figures = redraw.catalogue()
    code = {book: redraw.cells(book) for book in figures.values()}
    work = redraw.tasks(figures)
    slow = [sum("long" in code[book][k].tags for k in numbers) for book, numbers in work]
    quick = [book for (book, _), behind in zip(work, slow) if not behind]
    assert (
        slow == sorted(slow, reverse=True) and set(slow) == {0, 1} and len(quick) == len(set(quick))
    )
    assert {book.name[:2] for book in set(code) - set(quick)} == {
        "11"
    }  # all of its figures ask three judges
    assert {
        name for book, numbers in work for k in numbers for name in code[book][k].figures
    } == set(figures)
    ((book, numbers),) = redraw.tasks(redraw.wanted(["06_ablations"], figures))
    assert [name for k in numbers for name in code[book][k].figures] == ["06_ablations"]


def test_the_same_figure_gives_the_same_bytes(tmp_path):
    for folder in ("a", "b"):
        style.save(figures_room.mel(np.eye(4)), "x", tmp_path / folder)
    for suffix in ("svg", "pdf", "png"):
        first, second = (
            (tmp_path / folder / "figures" / f"x.{suffix}").read_bytes() for folder in ("a", "b")
        )
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
