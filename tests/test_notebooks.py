"""Every notebook runs, alone and in order, from its first to its last cell, in profile smoke."""

import json
from pathlib import Path

import pandas as pd
import pytest

from cmlib import redraw
from cmlib.experiment.run import Run
from tools.notebooks import execute as execute_module
from tools.notebooks import report

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder that all notebooks of this test write to; each leaves its checkpoints there for the next."""
    return tmp_path_factory.mktemp("actors-smoke")


@pytest.fixture(scope="module", autouse=True)
def surroundings(tmp_path_factory):
    """No window system, one thread, and prepared arrays that no other run sees."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MPLBACKEND", "agg")
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("CM_CACHE", str(tmp_path_factory.mktemp("prepared")))
        yield


def execute(path: Path, run: Path, **more) -> dict:
    """Execute a notebook in profile smoke, return the numbers that it recorded."""
    parameters = {
        "corpus": "actors",
        "profile": "smoke",
        "seed": 0,
        "fold": 1,
        "out_dir": str(run),
        **more,
    }
    target = run / "notebooks" / path.name
    try:
        execute_module.execute(path, target, parameters)
    except execute_module.NotebookError as error:
        outputs = [
            o for cell in json.loads(target.read_text())["cells"] for o in cell.get("outputs", [])
        ]
        pytest.fail(
            "\n".join([str(error), *(line for o in outputs for line in o.get("traceback", []))]),
            pytrace=False,
        )
    file = run / "metrics" / f"{path.stem}.json"
    assert file.exists(), (
        f"the last cell of {path.name} must call report.record(..., {path.stem!r}, ...)"
    )
    return json.loads(file.read_text())


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebook_runs(path, run):
    numbers = execute(path, run)
    assert numbers
    missing = [
        name for name, value in walk(numbers) if value is None and not name.endswith("/sd")
    ]  # of one fold there is none
    assert not missing, "not a number"


def walk(value, name=""):
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from walk(inner, f"{name}/{key}")
    else:
        yield name, value


def test_report_of_the_run(run):
    if not (run / "metrics" / f"{report.EVALUATION}.json").exists():
        pytest.skip("the evaluation notebook has not run before this test")
    page = report.build(run).read_text(encoding="utf-8")
    scores = json.loads((run / "metrics.json").read_text())
    assert list(scores) == ["corpus", "profile", "fold", "seed", "chance", "models"]
    assert (scores["corpus"], scores["profile"]) == ("actors", "smoke")
    for by in scores["models"].values():
        assert set(by) == set(report.SCORES)
        assert all(0 <= s["low"] <= s["value"] <= s["high"] <= 1 for s in by.values())
    assert (
        "https://" not in page.replace('xmlns="http', "")
        and page.count("<img") == len(report.pictures(run)) > 0
    )


def test_figures_drawn_again_have_the_numbers_of_the_executed_notebooks(run, tmp_path):
    names = [
        "03_voice_scores",
        "05_kl_shift",
        "06_test_accuracy",
        "06_recall_per_emotion",
        "07_congruence",
        "07_conflict",
    ]
    if not all((run / "figures" / f"{name}.csv").exists() for name in names):
        pytest.skip("notebooks 03 and 05 to 07 have not run before this test")
    assert set(redraw.redraw(Run("actors", "smoke", out_dir=str(run)), names, tmp_path)) == set(
        names
    )
    for name in names:
        executed, again = (
            pd.read_csv(folder / f"{name}.csv") for folder in (run / "figures", tmp_path)
        )
        pd.testing.assert_frame_equal(again, executed, rtol=1e-4, atol=1e-5)


def test_misspelt_parameter_is_an_error(tmp_path):
    with pytest.raises(execute_module.NotebookError, match="has no parameter profil"):
        execute_module.execute(NOTEBOOKS[0], tmp_path / "out.ipynb", {"profil": "smoke"})


def test_failing_cell_is_one_clear_error_and_keeps_its_traceback(tmp_path):
    book = json.loads(NOTEBOOKS[0].read_text())
    first = next(c for c in book["cells"] if "parameters" in c["metadata"].get("tags", []))
    book["cells"] = [
        first,
        {**first, "id": "fails", "metadata": {}, "source": "raise ValueError('no luck')"},
    ]
    (source := tmp_path / "fails.ipynb").write_text(json.dumps(book))
    with pytest.raises(execute_module.NotebookError, match="ValueError: no luck"):
        execute_module.execute(source, target := tmp_path / "out.ipynb", {"profile": "smoke"})
    assert "no luck" in target.read_text()
