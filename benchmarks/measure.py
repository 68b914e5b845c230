"""How things are measured: interleaved repetitions, and peak resident memory in a process of its own."""

from __future__ import annotations

import dataclasses
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MEGABYTE = 1e6


@dataclass(frozen=True)
class Sizes:
    """How large everything is; ``Sizes()`` is the real thing, ``QUICK`` only shows that all of it runs."""

    size: int = 128  # side of a picture, pixels
    batch: int = 16  # pictures a training step
    width: float = 0.25  # of the network's channel counts
    latent: int = 512  # of the network of the training step
    repetitions: int = 7  # of each side of a comparison
    clips: int = 96  # in the store that is read
    frames_per_clip: int = 8
    items: int = 32  # a batch that is read
    seconds: float = 3.7  # length of a clip's sound
    stored: int = 150_000  # frames of the store whose memory is looked at
    can_clips: int = 840  # CAN: clips
    can_latent: int = 128  # numbers a latent
    trainings: int = 5
    filmed: int = 3  # clips that are prepared from video
    times: int = 16  # as often, where its memory is looked at, against twice
    steps: int = 12  # training steps beside another program


QUICK = Sizes(
    size=32,
    batch=4,
    width=0.125,
    latent=16,
    repetitions=2,
    clips=6,
    frames_per_clip=2,
    items=4,
    seconds=0.5,
    stored=8_000,
    can_clips=24,
    can_latent=16,
    trainings=2,
    filmed=1,
    times=3,
    steps=3,
)


@dataclass(frozen=True)
class Row:
    """One line of the table.  ``ratio`` is other / ours for times and ours / other for memory and budgets."""

    name: str
    unit: str
    ours: float
    other: float
    ratio: float
    sense: str  # "at least" or "at most"
    target: float
    ratio_low: float  # smallest and largest ratio of the single repetitions
    ratio_high: float
    repetitions: int
    share: float | None = None  # of what the machine can do; None where there is no such figure
    what: str = ""  # ours / other, in words

    @property
    def reached(self) -> bool:
        return self.ratio >= self.target if self.sense == "at least" else self.ratio <= self.target

    def as_dict(self) -> dict:
        """For the CSV; ``reached`` as yes or no."""
        return {**dataclasses.asdict(self), "reached": "yes" if self.reached else "no"}


def interleaved(
    sides: dict[str, Callable[[], float | None]], repetitions: int, warm: int = 1
) -> dict[str, list[float]]:
    """Seconds of each repetition of each side, in turn: a, b, c, then c, b, a, ... so that a drift meets all.

    ``warm`` rounds before these are not counted.  A side that returns a number has measured itself, in seconds.
    """
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(-warm, repetitions):
        for name in list(sides) if number % 2 else reversed(sides):
            started = time.perf_counter()
            itself = sides[name]()
            elapsed = time.perf_counter() - started
            if number >= 0:
                seconds[name].append(elapsed if itself is None else itself)
    return seconds


def faster(
    name: str, what: str, ours: list, other: list, target: float, share: float | None = None
) -> Row:
    """A row of two lists of seconds, of the same repetitions: how many times ours is as fast as the other."""
    pairs, (a, b) = (
        [y / x for x, y in zip(ours, other)],
        (statistics.median(ours), statistics.median(other)),
    )
    return Row(
        name, "s", a, b, b / a, "at least", target, min(pairs), max(pairs), len(ours), share, what
    )


def within(
    name: str,
    what: str,
    unit: str,
    ours: float,
    other: float,
    target: float,
    share: float | None = None,
) -> Row:
    """A row of one measurement: ours as a part of the other, or of what is allowed."""
    return Row(
        name,
        unit,
        ours,
        other,
        ours / other,
        "at most",
        target,
        ours / other,
        ours / other,
        1,
        share,
        what,
    )


# -------------------------------------------------------------------- memory


def resident(field: str = "VmRSS") -> float:
    """Resident memory of this process now ("VmRSS") or at its highest so far ("VmHWM"), megabytes."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:  # macOS and Windows know only the highest so far
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (
            MEGABYTE if sys.platform == "darwin" else 1e3
        )
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field)) / MEGABYTE


def growth(work: Callable[[], object]) -> dict[str, float]:
    """What ``work`` adds to this process at its highest, and that highest itself: {"growth", "peak"}, megabytes."""
    before = resident()
    try:
        Path("/proc/self/clear_refs").write_text(
            "5"
        )  # what was higher before, during imports, no longer counts
    except OSError:
        pass
    work()
    peak = resident("VmHWM")
    return {"growth": max(peak - before, 1e-3), "peak": peak}


def in_child(task: str, environment: dict[str, str] | None = None, **arguments) -> dict[str, float]:
    """What the task of that name in ``benchmarks.child`` finds, in a process that does nothing else."""
    command = [sys.executable, "-m", "benchmarks.child", task, json.dumps(arguments)]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | (environment or {}), capture_output=True, text=True
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])
