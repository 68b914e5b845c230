"""The project in odd places: odd paths, somebody else's checkout, no checkout at all."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, write_toy_corpus
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
    """The environment of a command: no folder is put elsewhere, except as ``changes`` says.

    What the `make` that runs the tests was called with does not count either.
    """
    unwanted = (*PLACES, "MAKEFLAGS", "MAKEOVERRIDES", "MFLAGS")
    plain = {name: value for name, value in os.environ.items() if name not in unwanted}
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


def test_notebooks_are_executed_in_an_odd_path(tmp_path):
    """With ``CM_RUNS``, nothing is written into the checkout."""
    home = tmp_path / "it's my Übung 演员"  # an apostrophe, spaces and other letters at once
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


# -------------------------------------------------------------------- many commands, one process

# Each command would import torch anew in a process of its own.
IN_TURN = """
import contextlib, io, json, os, sys, traceback
from cmlib.cli import main

environment, answers = dict(os.environ), []
for changes, program in json.loads(sys.argv[1]):
    os.environ.clear()
    os.environ.update(environment | changes)
    status, printed = 0, io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        try:
            if isinstance(program, str):
                exec(program)
            else:
                status = main(program)
        except SystemExit as stopped:
            status = stopped.code
        except Exception:
            status = 1
            traceback.print_exc()
    answers.append([status, printed.getvalue()])
print(json.dumps(answers))
"""


def finish_in_turn(programs: list, folder: Path, first: tuple = (), **changes) -> list:
    """The exit status of each of ``programs``, and what it prints; all run in one process.

    A program is what changes in its environment, and the arguments of ``cm`` or some Python.
    ``first`` are words before those that start Python.
    """
    command = [*first, sys.executable, "-c", IN_TURN, json.dumps(programs)]
    status, printed = finish(command, folder, **changes)
    assert status == 0, printed
    return json.loads(printed)


# -------------------------------------------------------------------- a checkout of somebody else

PERCEIVE = ["perceive", "--image", "data/actors/Actor_01/01-01-03-01-01-01-01.mp4"]
PERCEIVE += ["--audio", "data/actors/Actor_02/01-01-05-01-01-01-02.mp4"]
RECORD = "from cmlib.experiment.run import Run; from cmlib.files import record\n"
RECORD += "record(Run('actors', 'smoke').folder, '01', {})"
WRITING = {  # what writes into the checkout, and the words that make it work
    "prepare": (["prepare", "actors", "--profile", "smoke"], "CM_CACHE"),
    "perceive": (PERCEIVE, "-o"),
    "a notebook": (RECORD, "CM_RUNS"),
    "fetch": (["fetch", "ravdess", "--url", "none:"], "CM_DATA"),
}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory, good_clip):
    """A checkout in which nothing can be written; its corpus has eight clips."""
    home = tmp_path_factory.mktemp("somebody") / "checkout"
    shutil.copytree(ROOT / "cmlib", home / "cmlib", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "Makefile", home)
    write_toy_corpus(home / "data" / "actors", good_clip, ("03-01-01", "05-01-01"))
    for name in ("checkpoints", "tools", "Snakefile", "notebooks"):
        (home / name).symlink_to(ROOT / name)
    folders = [home, home / "data", home / "cmlib"]
    for folder in folders:
        folder.chmod(0o555)
    yield home
    for folder in folders:
        folder.chmod(0o755)


@pytest.fixture(scope="module")
def without_rights() -> tuple:
    """Words before a command that may write only where its user may."""
    if os.geteuid():
        return ()
    if not shutil.which("setpriv"):
        pytest.skip("root may write everywhere, and there is no setpriv")
    return "setpriv", "--bounding-set=-dac_override,-dac_read_search"


@pytest.fixture(scope="module")
def answers_of_checkout(checkout, without_rights, tmp_path_factory) -> dict[str, tuple]:
    """A folder of one's own, and two answers for each of WRITING: without the remedy, and with it.

    An answer is the exit status and what is printed.
    """
    own_folders, programs = {}, []
    for case, (program, remedy) in WRITING.items():
        own = own_folders[case] = tmp_path_factory.mktemp("home") / "own"
        if remedy == "-o":
            programs.append([{}, [*program, "-o", "perceived.png"]])
            programs.append([{}, [*program, "-o", str(own / "perceived.png")]])
        else:
            programs.append([{}, program])
            programs.append([{remedy: str(own)}, program])
    answers = finish_in_turn(programs, checkout, without_rights, PYTHONPATH=str(checkout))
    return dict(zip(WRITING, zip(own_folders.values(), answers[::2], answers[1::2])))


@pytest.mark.parametrize("case", WRITING)
def test_a_checkout_of_somebody_else_is_one_line_with_the_remedy(
    case, checkout, answers_of_checkout
):
    remedy = WRITING[case][1]
    own, (status, printed), (status_with_remedy, printed_with_remedy) = answers_of_checkout[case]
    lines = [line for line in printed.splitlines() if "folder of your own" in line]
    assert status and len(lines) == 1, printed
    assert str(checkout) in lines[0] and (remedy in lines[0] or remedy == "-o")
    if case == "a notebook":
        assert lines[0].startswith("cmlib.files.PlaceError: ")
    else:
        assert printed.count("\n") == 1

    if case == "fetch":  # there is nothing to fetch from
        assert "none:" in printed_with_remedy
        assert "folder of your own" not in printed_with_remedy
    else:
        assert status_with_remedy == 0, printed_with_remedy
        assert any(own.iterdir())


def test_make_in_a_checkout_of_somebody_else_is_one_line(checkout, without_rights, tmp_path):
    command = [*without_rights, "make", "reproduce", "READY=", "PY=false"]
    status, printed = finish(command, checkout, PYTHONPATH=str(checkout))
    (line,) = [line for line in printed.splitlines() if "folder of your own" in line]
    assert status and str(checkout) in line and "CM_RUNS" in line
    own = tmp_path / "own"
    _, printed = finish(command, checkout, PYTHONPATH=str(checkout), CM_RUNS=str(own))
    # PY=false ends it as soon as it starts
    assert "folder of your own" not in printed and own.is_dir()


# -------------------------------------------------------------------- no checkout

NEEDING_THE_REPOSITORY = (
    ["prepare", "actors"],
    ["fetch", "ravdess"],
    ["evaluate"],
    ["figures"],
    ["pretrain"],
    ["perceive", "--image", "x.png", "--audio", "x.wav"],
)
WITHOUT_REPOSITORY = [arguments[0] for arguments in NEEDING_THE_REPOSITORY]


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """The library where ``pip install`` without ``-e`` puts it."""
    folder = tmp_path_factory.mktemp("python") / "site-packages"
    shutil.copytree(ROOT / "cmlib", folder / "cmlib", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@pytest.fixture(scope="module")
def answers_without_repository(packages, tmp_path_factory, good_clip) -> dict[str, tuple]:
    """The exit status of each command without a repository, and what it prints.

    The last two need none: one prepares eight clips that somebody brings.
    """
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    clips = write_toy_corpus(elsewhere / "clips", good_clip, ("03-01-01", "05-01-01"))
    brought = ["prepare", "ravdess", "--root", str(clips), "--profile", "smoke"]
    folders = {"CM_CACHE": str(elsewhere / "cache"), "CM_DATA": str(elsewhere)}
    programs = [[{}, arguments] for arguments in NEEDING_THE_REPOSITORY]
    programs += [[folders, brought], [{}, ["--help"]]]
    answers = finish_in_turn(programs, elsewhere, PYTHONPATH=str(packages))
    return dict(zip([*WITHOUT_REPOSITORY, "clips that one brings", "help"], answers))


@pytest.mark.parametrize("name", WITHOUT_REPOSITORY)
def test_without_its_repository_it_says_so_in_one_line(name, answers_without_repository, packages):
    status, printed = answers_without_repository[name]
    assert status == 1 and printed.count("\n") == 1, printed
    assert "without its repository" in printed and printed.endswith("pip install -e .\n")
    assert [path.name for path in packages.iterdir()] == ["cmlib"], "nothing is written beside it"


def test_without_its_repository_it_prepares_what_one_brings(answers_without_repository):
    status, printed = answers_without_repository["clips that one brings"]
    assert status == 0 and "8 clips" in printed
    status, printed = answers_without_repository["help"]
    assert status == 0 and "prepare" in printed
