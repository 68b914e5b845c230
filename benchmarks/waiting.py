"""What a user waits for: the commands of the README in a fresh clone, against their budgets.

Unlike the other groups these rows take long, about a quarter of an hour on two cores, and they are
the only ones whose budgets are seconds of the two-core machine for which they were set.
"""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measure import ROOT, Row, Sizes, within

# As `make` prints it for each notebook; the first group is its name, the second its megabytes.
DONE = re.compile(r"^\S+ +(\w+) +done in .*, at most (\d+) MB of memory$", re.M)
# The packages that every figure needs. No command can be faster than they are loaded.
NEEDED = "import matplotlib.backends.backend_pdf, pandas, torch"


@dataclass(frozen=True)
class Waited:
    """What a command took, with all processes that it started."""

    wall: float  # seconds
    processor: float  # seconds
    output: str


def run(command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> Waited:
    """Run a command in ``folder``, and say how long it took; RuntimeError if it fails.

    The standard error shows it, too, so that nothing is lost if a later command fails.
    """
    times = os.times()
    started = time.perf_counter()
    done = subprocess.run(
        command, cwd=folder, env=os.environ | environment, capture_output=True, text=True
    )
    wall = time.perf_counter() - started
    if done.returncode:
        last_words = done.stdout[-2000:] + done.stderr[-2000:]
        raise RuntimeError(f"{' '.join(command)} failed:\n{last_words}")
    now = os.times()
    processor = now.children_user + now.children_system
    processor -= times.children_user + times.children_system
    line = f"  {wall:.2f} s, processor {processor:.2f} s: {' '.join(command)}"
    print(line, file=sys.stderr, flush=True)
    return Waited(wall, processor, done.stdout)


def median_wall(command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> float:
    """The median seconds of five runs, after one that fills the caches of the system."""
    runs = [run(command, folder, environment).wall for _ in range(6)]
    return statistics.median(runs[1:])


def rows(sizes: Sizes) -> list[Row]:
    """Reproduction, figures, tests and help in a fresh clone of this repository's last commit."""
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "clone"
        run(["git", "clone", "--quiet", str(ROOT), str(clone)], ROOT, {})
        return rows_of(clone)


def rows_of(clone: Path) -> list[Row]:
    """The rows of a clone in which nothing was prepared, trained or measured yet."""
    # Folders of the caller must not count, and the packages are those of this Python.
    environment = {"CM_DATA": "", "CM_CACHE": "", "CM_RUNS": "", "CM_FRESH": ""}
    environment |= {"PYTHONPATH": str(clone), "MPLBACKEND": "agg"}
    make = ["make", f"PY={sys.executable}", "READY="]
    python = [sys.executable, "-m"]

    first = run([*make, "reproduce"], clone, environment)
    again = median_wall([*make, "reproduce"], clone, environment)
    memory = {name: float(megabytes) for name, megabytes in DONE.findall(first.output)}
    largest = max(memory, key=lambda name: memory[name])

    cm = [*python, "cmlib.cli"]
    gallery = run([*cm, "figures", "--gallery", "runs/gallery"], clone, environment)
    figures = {
        name: median_wall([*cm, "figures", name], clone, environment)
        for name in ("06_test_accuracy", "02_measures")
    }
    packages = median_wall([sys.executable, "-c", NEEDED], clone, environment)
    usage = median_wall([*cm, "--help"], clone, environment)
    nothing = median_wall([sys.executable, "-c", "pass"], clone, environment)
    tests = run([*make, "test"], clone, environment)

    def budget(name: str, what: str, ours: float, allowed: float, share: float | None = None):
        return within(name, f"{what} / allowed", "s", ours, allowed, 1.0, share)

    what = "make reproduce in a fresh clone"
    return [
        budget("reproduce", f"{what}, wall clock", first.wall, 720),
        budget("reproduce_processor", f"{what}, processor time", first.processor, 1440),
        budget("reproduce_again", "make reproduce a second time", again, 3),
        budget("gallery", "all figures from shipped networks and tables", gallery.wall, 120),
        *(
            budget(f"figure_{name[:2]}", f"cm figures {name}", seconds, 10, packages / seconds)
            for name, seconds in figures.items()
        ),
        budget("help", "cm --help", usage, 0.2, nothing / usage),
        budget("test", "make test, wall clock", tests.wall, 300),
        budget("test_processor", "make test, processor time", tests.processor, 540),
        within(
            "memory_notebook",
            f"peak memory of the kernel of {largest}, the largest of {len(memory)} / allowed",
            "MB",
            memory[largest],
            2000,
            1.0,
        ),
    ]
