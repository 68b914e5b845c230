"""Every notebook runs alone, from its first to its last cell, in profile smoke."""

import json
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from cmlib.experiment.run import Run
from cmlib.figures import catalogue
from cmlib.plots import style
from tools.notebooks import execute as execute_module
from tools.notebooks import report

ROOT = Path(__file__).parents[1]
NOTEBOOKS = {path.stem: path for path in sorted((ROOT / "notebooks").glob("*.ipynb"))}
PARAMETERS = {"corpus": "actors", "profile": "smoke", "seed": 0, "fold": 1}


@pytest.fixture(scope="module", autouse=True)
def surroundings(tmp_path_factory, kernels):
    """No window system, one thread, and prepared arrays that no other run sees."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in kernels.items():
            patch.setenv(name, value)
        patch.setenv("CM_CACHE", str(tmp_path_factory.mktemp("prepared")))
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder that all notebooks write to; each finds there what others have trained."""
    return tmp_path_factory.mktemp("actors-smoke")


@pytest.fixture(scope="module")
def recorded(run):
    """The numbers that a notebook records, by its name; it is executed when first asked for."""
    numbers = {}

    def numbers_of(name: str) -> dict:
        if name not in numbers:
            numbers[name] = execute(NOTEBOOKS[name], run)
        return numbers[name]

    return numbers_of


def execute(path: Path, run: Path) -> dict:
    target = run / "notebooks" / path.name
    try:
        execute_module.execute(path, target, {**PARAMETERS, "out_dir": str(run)})
    except execute_module.NotebookError as error:
        cells = json.loads(target.read_text())["cells"]
        outputs = [output for cell in cells for output in cell.get("outputs", [])]
        traceback = [line for output in outputs for line in output.get("traceback", [])]
        pytest.fail("\n".join([str(error), *traceback]), pytrace=False)
    file = run / "metrics" / f"{path.stem}.json"
    assert file.exists(), f"the last cell of {path.name} must call record(..., {path.stem!r}, ...)"
    return json.loads(file.read_text())


def leaves(value, name=""):
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, f"{name}/{key}")
    else:
        yield name, value


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebook_runs_and_records_numbers(name, recorded):
    numbers = dict(leaves(recorded(name)))
    assert numbers
    # Of one fold there is no standard deviation.
    missing = [path for path, n in numbers.items() if n is None and not path.endswith("/sd")]
    assert not missing, "not a number"


def test_report_of_the_run(run, recorded):
    recorded(report.EVALUATION)
    page = report.build(run).read_text(encoding="utf-8")
    scores = json.loads((run / "metrics.json").read_text())
    assert list(scores) == ["corpus", "profile", "fold", "seed", "chance", "models"]
    assert (scores["corpus"], scores["profile"]) == ("actors", "smoke")
    for scores_of_model in scores["models"].values():
        assert set(scores_of_model) == set(report.SCORES)
        for score in scores_of_model.values():
            assert 0 <= score["low"] <= score["value"] <= score["high"] <= 1
    assert "https://" not in page.replace('xmlns="http', "")
    assert page.count("<img") == len(report.pictures(run)) > 0


@pytest.fixture(scope="module")
def shared(run):
    """The run for all figures: what they have in common is computed once.

    On one thread, like the notebooks.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield Run("actors", "smoke", out_dir=str(run))
    torch.set_num_threads(threads)


@pytest.mark.parametrize("name", catalogue.FIGURES)
def test_a_figure_is_drawn_again_as_in_its_notebook(name, run, recorded, shared, tmp_path):
    figure = catalogue.FIGURES[name]
    recorded(figure.notebook)
    plot, table = figure.render(shared)
    style.save_in(tmp_path, plot, name, formats=["png"])
    in_notebook, again = (pixels(folder / f"{name}.png") for folder in (run / "figures", tmp_path))
    assert in_notebook.shape == again.shape
    assert np.abs(in_notebook - again).mean() < 0.1  # grey levels

    saved = run / "figures" / f"{name}.csv"
    assert saved.exists() == (table is not None)
    if table is not None:
        table.to_csv(tmp_path / "again.csv", index=False, float_format="%.6g")
        first, second = pd.read_csv(saved), pd.read_csv(tmp_path / "again.csv")
        if "seconds" in first.columns:  # how long a training took is never the same
            first, second = first.drop(columns="seconds"), second.drop(columns="seconds")
        pd.testing.assert_frame_equal(first, second, rtol=1e-4, atol=1e-5)


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"), dtype=float)


def test_misspelt_parameter_is_an_error(tmp_path):
    notebook = NOTEBOOKS["01_data_preparation"]
    with pytest.raises(execute_module.NotebookError, match="has no parameter profil"):
        execute_module.execute(notebook, tmp_path / "out.ipynb", {"profil": "smoke"})


def test_failing_cell_is_one_clear_error_and_keeps_its_traceback(tmp_path):
    book = json.loads(NOTEBOOKS["01_data_preparation"].read_text())
    tags = [cell["metadata"].get("tags", []) for cell in book["cells"]]
    parameters = book["cells"][["parameters" in of_cell for of_cell in tags].index(True)]
    failing = {**parameters, "id": "fails", "metadata": {}, "source": "raise ValueError('no luck')"}
    book["cells"] = [parameters, failing]
    source, target = tmp_path / "fails.ipynb", tmp_path / "out.ipynb"
    source.write_text(json.dumps(book))
    with pytest.raises(execute_module.NotebookError, match="ValueError: no luck"):
        execute_module.execute(source, target, {"profile": "smoke"})
    assert "no luck" in target.read_text()


# -------------------------------------------------------------------- papermill on its own


@pytest.fixture(scope="module")
def first_cells(tmp_path_factory):
    """The parameters of a notebook and its first cell, and what papermill makes of them."""
    import papermill

    book = nbformat.read(NOTEBOOKS["08_generation_demo"], 4)
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    book.cells = [*code[:2], nbformat.v4.new_code_cell("print(run.folder)")]
    source = tmp_path_factory.mktemp("notebook") / "first_cells.ipynb"
    nbformat.write(book, source)

    def execute_with(parameters: dict) -> str:
        """What the last cell prints."""
        target = source.with_name("executed.ipynb")
        papermill.execute_notebook(source, target, parameters, progress_bar=False, cwd=ROOT)
        return nbformat.read(target, 4).cells[-1].outputs[0].text

    return execute_with


@pytest.mark.parametrize(
    "parameters, words",
    [
        ({"profil": "smoke"}, "profil: no such parameter; the notebook has corpus, profile, seed"),
        ({"profile": "smoke", "folds": 2}, "folds: no such parameter"),
        ({"fold": "two"}, "fold='two': the parameter fold is a whole number"),
        ({"seed": 1.5}, "seed=1.5: the parameter seed is a whole number"),
        ({"corpus": 7}, "corpus=7: the parameter corpus is a text"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
)
def test_papermill_alone_ends_at_a_parameter_that_the_notebook_lacks(
    parameters, words, first_cells
):
    from papermill import PapermillExecutionError

    with pytest.raises(PapermillExecutionError) as stopped:
        first_cells(parameters)
    assert stopped.value.ename == "ValueError" and words in stopped.value.evalue


def test_papermill_alone_passes_the_parameters_that_the_notebook_has(first_cells):
    assert first_cells({"profile": "smoke", "fold": 2}).endswith("actors-smoke-fold2-seed0\n")
