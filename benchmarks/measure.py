"""How things are measured: interleaved repetitions, and peak memory of a separate process."""

from __future__ import annotations

import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MEGABYTE = 1e6


@dataclass(frozen=True)
class Sizes:
    """How large everything is.

    ``Sizes()`` is the real benchmark; ``QUICK`` only shows that everything runs.
    """

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
    seconds=0.3,
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
    """One line of the table.

    ``ratio`` is other / ours for times and ours / other for memory and budgets.
    """

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
        """Whether the ratio meets the target."""
        return self.ratio >= self.target if self.sense == "at least" else self.ratio <= self.target

    def as_dict(self) -> dict:
        """For the CSV; ``reached`` as yes or no."""
        return {**dataclasses.asdict(self), "reached": "yes" if self.reached else "no"}


def interleaved(
    sides: dict[str, Callable[[], float | None]], repetitions: int, warm: int = 1
) -> dict[str, list[float]]:
    """Seconds of each repetition of each side.

    The sides take turns, a, b, c, then c, b, a and so on, so that a drift affects all of them.
    ``warm`` rounds before these are not counted. A side that returns a number has measured itself,
    in seconds.
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
    """A row from two lists of seconds of the same repetitions: how many times faster ours is."""
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
    """Resident memory of this process in megabytes: now ("VmRSS") or at its peak ("VmHWM")."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:  # macOS and Windows know only the highest so far
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (
            MEGABYTE if sys.platform == "darwin" else 1e3
        )
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field)) / MEGABYTE


def growth(work: Callable[[], object]) -> dict[str, float]:
    """The peak memory of this process while it works, and its growth, in megabytes.

    Returns {"growth": what ``work`` adds at most, "peak": the peak itself}.
    """
    before = resident()
    try:
        # A higher peak from before, during imports, must not count.
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        pass
    work()
    peak = resident("VmHWM")
    return {"growth": max(peak - before, 1e-3), "peak": peak}


def in_child(task: str, environment: dict[str, str] | None = None, **arguments) -> dict[str, float]:
    """The result of a task in ``benchmarks.child``, run in a process that does nothing else."""
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        command = [sys.executable, "-m", "benchmarks.child", task]
        command += [json.dumps(arguments), str(result)]
        done = subprocess.run(
            command, cwd=ROOT, env=os.environ | (environment or {}), capture_output=True, text=True
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")
        return json.loads(result.read_text())
