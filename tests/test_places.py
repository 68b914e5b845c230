"""The project in odd places: odd paths, somebody else's checkout, no checkout at all."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT
from test_provenance import PRETEND

from cmlib.files import PLACES

ODD_PLACES = {
    "a space": "My Files",
    "an apostrophe": "it's mine",
    "brackets": "copy (1) [new]",
    "signs of the shell": "R&D; $HOME `x` #1",
    "other letters": "Übung 演员",
}
# Stands for Python: notes what it is called with, and makes a virtual environment like itself.
STUB = """#!/bin/sh
printf '%s|' "$JUPYTER_PATH" "$CM_RUNS" "$@" >> "$CALLS"; echo >> "$CALLS"
case "$*" in
  *venv*) mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
esac
"""


def settings(**changes) -> dict:
    """The environment of a command: no folder is put elsewhere, except as ``changes`` says."""
    plain = {name: value for name, value in os.environ.items() if name not in PLACES}
    return plain | {"CM_QUIET": "1", "MPLBACKEND": "agg", "OMP_NUM_THREADS": "1"} | changes


def finish(command: list, folder: Path, **changes) -> tuple[int, str]:
    """The exit status of a command in ``folder``, and all that it prints."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=folder,
        env=settings(**changes),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


# -------------------------------------------------------------------- odd paths


@pytest.mark.parametrize("place", ODD_PLACES)
def test_make_works_in_an_odd_path(place, tmp_path):
    home, calls = tmp_path / ODD_PLACES[place], tmp_path / "calls"
    home.mkdir()
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, home)
    python = tmp_path / "python3"
    python.write_text(STUB)
    python.chmod(0o755)

    def make(*goals: str, **changes) -> list[list[str]]:
        """What Python is called with."""
        calls.write_text("")
        command = ["make", *goals, f"PYTHON={python}"]
        status, printed = finish(command, home, CALLS=str(calls), **changes)
        assert status == 0, printed
        return [line.split("|") for line in calls.read_text().splitlines()]

    assert ["-m", "venv", "--clear", ".venv"] in [call[2:6] for call in make(".venv/ready")]
    (demo,) = make("demo")  # nothing is installed again
    assert demo[0] == f"{home}/notebooks/app" and "voila" in demo
    graph, report = make("reproduce", "FOLD=2", "PROFILE=smoke")
    assert "snakemake" in graph and report[-3:] == ["runs/actors-smoke-fold2-seed0", "--show", ""]
    graph, report = make("reproduce", CM_RUNS="other's runs")
    assert graph[1] == f"{home}/other's runs" and graph[4:6] == ["--directory", graph[1]]
    assert report[-3] == f"{home}/other's runs/actors-quick"
    (home / "moved").mkdir()
    shutil.move(home / ".venv", home / "moved" / ".venv")
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, home / "moved")
    home = home / "moved"
    assert len(make("demo")) > 1, "a .venv from another folder is not this one's"


@pytest.mark.parametrize("place", ["a space", "an apostrophe", "other letters"])
def test_notebooks_are_executed_in_an_odd_path(place, tmp_path):
    """With ``CM_RUNS``, nothing is written into the checkout."""
    home = tmp_path / ODD_PLACES[place]
    for name in ("cmlib", "tools", "notebooks"):
        ignored = shutil.ignore_patterns("__pycache__", "corpus", "*.png")
        shutil.copytree(ROOT / name, home / name, ignore=ignored)
    for name in ("data", "checkpoints"):
        (home / name).symlink_to(ROOT / name)
    shutil.copy(ROOT / "Snakefile", home)
    executor = home / "tools" / "notebooks" / "execute.py"
    text, _, _ = executor.read_text().rpartition('if __name__ == "__main__":')
    executor.write_text(text + PRETEND)

    def execute_first(directory: Path, run: str, **changes) -> str:
        """Execute the first notebook of the graph into ``run``; what is printed."""
        target = f"{run}/metrics/01_data_preparation.json"
        command = [sys.executable, "-m", "snakemake", target, "--directory", directory]
        command += ["--cores", "1", "--nolock", "--config", "profile=smoke", "fold=2"]
        status, printed = finish(command, home, PYTHONPATH=str(home), **changes)
        assert status == 0 and (home / target).exists(), printed
        return printed

    elsewhere = tmp_path / "other's runs"
    run = f"{elsewhere}/actors-smoke-fold2-seed0"
    assert "done in" in execute_first(elsewhere, run, CM_RUNS=str(elsewhere))
    assert not {"runs", ".snakemake"} & {path.name for path in home.iterdir()}
    assert "done in" in execute_first(home, "runs/actors-smoke-fold2-seed0")
    assert "Nothing to be done" in execute_first(home, "runs/actors-smoke-fold2-seed0")


# -------------------------------------------------------------------- a checkout of somebody else


@pytest.fixture
def checkout(tmp_path, corpus):
    """A checkout in which nothing can be written; its corpus has eight clips."""
    home = tmp_path / "checkout"
    shutil.copytree(ROOT / "cmlib", home / "cmlib", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "Makefile", home)
    (home / "data").mkdir()
    (home / "data" / "actors").symlink_to(corpus)
    for name in ("checkpoints", "tools", "Snakefile", "notebooks"):
        (home / name).symlink_to(ROOT / name)
    folders = [home, home / "data", home / "cmlib"]
    for folder in folders:
        folder.chmod(0o555)
    yield home
    for folder in folders:
        folder.chmod(0o755)


CM = [sys.executable, "-m", "cmlib.cli"]
PERCEIVE = [*CM, "perceive", "--image", "data/actors/Actor_01/01-01-03-01-01-01-01.mp4"]
PERCEIVE += ["--audio", "data/actors/Actor_02/01-01-05-01-01-01-02.mp4"]
RECORD = "from cmlib.experiment.run import Run; from cmlib.files import record\n"
RECORD += "record(Run('actors', 'smoke').folder, '01', {})"
WRITING = {  # a command that writes into the checkout, and the words that make it work
    "prepare": ([*CM, "prepare", "actors", "--profile", "smoke"], "CM_CACHE"),
    "perceive": ([*PERCEIVE, "-o", "perceived.png"], "-o"),
    "a notebook": ([sys.executable, "-c", RECORD], "CM_RUNS"),
    "fetch": ([*CM, "fetch", "ravdess", "--url", "none:"], "CM_DATA"),
    "make": (["make", "reproduce", "READY=", "PY=false"], "CM_RUNS"),
}


@pytest.mark.parametrize("case", WRITING)
def test_a_checkout_of_somebody_else_is_one_line_with_the_remedy(case, checkout, tmp_path):
    command, remedy = WRITING[case]
    if not os.geteuid():  # root may write everywhere, unless it gives that up
        if not shutil.which("setpriv"):
            pytest.skip("root may write everywhere, and there is no setpriv")
        rights = "-dac_override,-dac_read_search"
        command = ["setpriv", f"--bounding-set={rights}", *command]
    changes = {"PYTHONPATH": str(checkout)}
    status, printed = finish(command, checkout, **changes)
    lines = [line for line in printed.splitlines() if "folder of your own" in line]
    assert status and len(lines) == 1, printed
    assert str(checkout) in lines[0] and (remedy in lines[0] or remedy == "-o")
    if case == "a notebook":
        assert lines[0].startswith("cmlib.files.PlaceError: ")
    elif case != "make":
        assert printed.count("\n") == 1

    own = tmp_path / "own"
    if remedy == "-o":
        command = [*command[:-1], own / "perceived.png"]
    else:
        changes[remedy] = str(own)
    status, printed = finish(command, checkout, **changes)
    if case == "fetch":  # there is nothing to fetch from
        assert "none:" in printed and "folder of your own" not in printed
    elif case == "make":  # PY=false ends it as soon as it starts
        assert "folder of your own" not in printed and own.is_dir()
    else:
        assert status == 0, printed
        assert any(own.iterdir())


# -------------------------------------------------------------------- no checkout


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """The library where ``pip install`` without ``-e`` puts it."""
    folder = tmp_path_factory.mktemp("python") / "site-packages"
    shutil.copytree(ROOT / "cmlib", folder / "cmlib", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


NEEDING_THE_REPOSITORY = (
    ["prepare", "actors"],
    ["fetch", "ravdess"],
    ["evaluate"],
    ["figures"],
    ["pretrain"],
    ["perceive", "--image", "x.png", "--audio", "x.wav"],
)
# One process for all of these commands, because each would import torch.
IN_TURN = """
import contextlib, io, json, sys
from cmlib.cli import main
answers = {}
for arguments in json.loads(sys.argv[1]):
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        status = main(arguments)
    answers[arguments[0]] = [status, printed.getvalue()]
print(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def answers_without_repository(packages, tmp_path_factory) -> dict[str, tuple[int, str]]:
    """The exit status of each command without a repository, and what it prints."""
    command = [sys.executable, "-c", IN_TURN, json.dumps(NEEDING_THE_REPOSITORY)]
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    status, printed = finish(command, elsewhere, PYTHONPATH=str(packages))
    assert status == 0, printed
    return json.loads(printed)


@pytest.mark.parametrize("name", [arguments[0] for arguments in NEEDING_THE_REPOSITORY])
def test_without_its_repository_it_says_so_in_one_line(name, answers_without_repository, packages):
    status, printed = answers_without_repository[name]
    assert status == 1 and printed.count("\n") == 1, printed
    assert "without its repository" in printed and printed.endswith("pip install -e .\n")
    assert [path.name for path in packages.iterdir()] == ["cmlib"], "nothing is written beside it"


def test_without_its_repository_it_prepares_what_one_brings(packages, corpus, tmp_path):
    arguments = ["prepare", "ravdess", "--root", corpus, "--profile", "smoke"]
    folders = {"CM_CACHE": str(tmp_path / "cache"), "CM_DATA": str(tmp_path)}
    status, printed = finish([*CM, *arguments], tmp_path, PYTHONPATH=str(packages), **folders)
    assert status == 0 and "8 clips" in printed
    status, printed = finish([*CM, "--help"], tmp_path, PYTHONPATH=str(packages))
    assert status == 0 and "prepare" in printed
