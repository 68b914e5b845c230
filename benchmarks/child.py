"""Processes whose memory or speed is measured.

``python -m benchmarks.child TASK '{"argument": ...}' FILE`` writes the result to FILE as JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch

from benchmarks.measure import MEGABYTE, Sizes, growth

LOAD = [sys.executable, "-S", "-c", "while True: pass"]  # another program that never waits


def step(way: str, sizes: dict) -> dict[str, float]:
    """Memory of three training steps of one kind.

    On a CUDA device it is the memory that PyTorch takes there, not that of the process.
    """
    from benchmarks.step import a_step

    work = a_step(Sizes(**sizes), way)
    if not torch.cuda.is_available():
        return growth(lambda: [work() for _ in range(3)])
    before = torch.cuda.memory_allocated()
    [work() for _ in range(3)]
    peak = torch.cuda.max_memory_allocated()
    return {"growth": (peak - before) / MEGABYTE, "peak": peak / MEGABYTE}


def pace(steps: int, sizes: dict) -> dict[str, float]:
    """Seconds of one of ``steps`` training steps as the loop makes them.

    "idle" is without, and "busy" with another process that takes a core. Two steps before these are
    not counted.
    """
    from benchmarks.step import a_step

    work = a_step(Sizes(**sizes), "loop")
    [work() for _ in range(2)]

    def seconds() -> float:
        started = time.perf_counter()
        [work() for _ in range(steps)]
        return (time.perf_counter() - started) / steps

    idle = seconds()
    with subprocess.Popen(LOAD, start_new_session=True) as other:
        busy = seconds()
        other.kill()
    return {"idle": idle, "busy": busy}


def shared_pace(processes: int, steps: int, sizes: dict) -> dict[str, float]:
    """Seconds of a training step that several processes share; each of them measures its own."""
    from benchmarks.processes import pace_of

    return {"seconds": pace_of(processes, steps, Sizes(**sizes))}


def store(folder: str, batch: int) -> dict[str, float]:
    """Open a prepared store and read all its frames and their sounds once.

    They are read in random order, in batches.
    """
    from cmlib.preparation.store import Store
    from cmlib.training.batches import Pictures

    def work() -> None:
        opened = Store.open(folder)
        faces, mels = Pictures(opened.frames), Pictures(opened.mels)
        order = np.random.default_rng(0).permutation(len(faces))
        for start in range(0, len(order), batch):
            rows = order[start : start + batch]
            faces.batch(rows)
            mels.batch(opened.frame_clip[rows])

    return growth(work)


def prepare(folder: str, times: int) -> dict[str, float]:
    """Prepare every frame of the clips of a folder ``times`` times over.

    "early" is the peak of the first two rounds.
    """
    from cmlib import corpora
    from cmlib.preparation.prepare import prepare_clip

    torch.set_num_threads(1)
    clips, _ = corpora.scan("ravdess", folder)

    def work(rounds: int) -> None:
        for clip in clips * rounds:
            prepare_clip(clip, 128, 0)

    early = growth(lambda: work(2))["peak"]
    return growth(lambda: work(times - 2)) | {"early": early}


TASKS = {each.__name__: each for each in (step, pace, shared_pace, store, prepare)}


def write_result(result: dict[str, float], file: str) -> None:
    """Write it as JSON.  Of several processes that share a task, only the first one writes."""
    if os.environ.get("LOCAL_RANK", "0") == "0":
        Path(file).write_text(json.dumps(result))


if __name__ == "__main__":
    name, arguments, file = sys.argv[1:]
    write_result(TASKS[name](**json.loads(arguments)), file)
