"""A change of a notebook can be reviewed as text, without its outputs."""

import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import nbformat
import pytest
import yaml
from nbformat import v4

ROOT = Path(__file__).parents[1]
GIT = shutil.which("git")


def textconv() -> str:
    """The command that `make review` gives to git, with this Python."""
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    command = re.search(r"git config diff\.notebook\.textconv '(.+)'", text).group(1)
    return command.replace("$(PY)", f'"{sys.executable}"')


@pytest.fixture
def clone(tmp_path):
    """A repository with the attributes of this one and a notebook, and a function that asks git."""

    def git(*arguments: str) -> str:
        names = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
        done = subprocess.run(
            [GIT, *names, *arguments], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        return done.stdout

    git("init", "-q")
    shutil.copy(ROOT / ".gitattributes", tmp_path)
    output = v4.new_output("display_data", {"image/png": "iVBORw0KGgo" * 40})
    cell = v4.new_code_cell("x = 1", id="code", outputs=[output], execution_count=1)
    book = v4.new_notebook(cells=[v4.new_markdown_cell("Some *prose*.", id="prose"), cell])
    nbformat.write(book, tmp_path / "book.ipynb")
    git("add", ".")
    git("commit", "-q", "-m", "first")
    book.cells[1].source = "x = 2"
    book.cells[1].outputs[0].data["image/png"] = "AAAAAAAAAAA" * 40
    book.cells[1].execution_count = 7
    nbformat.write(book, tmp_path / "book.ipynb")
    return git


@pytest.mark.skipif(GIT is None, reason="no git")
@pytest.mark.skipif(find_spec("jupytext") is None, reason="no jupytext (make review)")
def test_a_diff_shows_code_and_prose_and_no_outputs(clone):
    clone("config", "diff.notebook.textconv", textconv())
    changed = [line for line in clone("diff").splitlines() if re.match(r"[+-](?![+-])", line)]
    assert changed == ["-x = 1", "+x = 2"]
    assert "# Some *prose*." in clone("diff", "-U20")


@pytest.mark.skipif(GIT is None, reason="no git")
def test_without_make_review_a_diff_is_that_of_the_file(clone):
    assert "x = 2" in clone("diff") and "AAAAAAAAAAA" in clone("diff")


def test_pull_requests_get_the_diff_of_this_command():
    steps = yaml.safe_load((ROOT / ".github/workflows/review.yml").read_text())["jobs"]
    commands = " ".join(step.get("run", "") for step in steps["notebooks"]["steps"])
    assert "make review" in commands and "git diff" in commands and "*.ipynb" in commands
