"""Build the corpus `actors`: every clip of 24 actors.

The clips are made in parallel, and an interrupted build can be resumed. `checksums.sha256` is
written at the end.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

if TYPE_CHECKING:
    from .performance import Performance

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
EMOTIONS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
SIZE = 176  # pixels: the face takes 126 of them, the crop of `cmlib` 128


def tasks(actors: list[int], repetitions: int = 2) -> list[tuple[int, int, int, int, int]]:
    """(actor, emotion 1..8, intensity, statement, repetition) of every clip.

    One clip of each kind for all actors comes first.
    """
    return [
        (a, e, i, s, r)
        for r in range(1, repetitions + 1)
        for s in (1, 2)
        for i in (1, 2)
        for e in range(1, 9)
        for a in actors
        if e > 1 or i == 1
    ]


def make(task: tuple[int, int, int, int, int], out: Path, seed: int) -> Path:
    """Perform, render and encode one clip unless its file is there. Returns its path."""
    from .clips import stem
    from .performance import perform

    number, emotion, intensity, statement, repetition = task
    path = (
        out
        / f"Actor_{number:02d}"
        / f"{stem(emotion, intensity, statement, repetition, number)}.mp4"
    )
    if path.exists():
        return path
    film(
        path,
        number,
        perform(number, EMOTIONS[emotion - 1], intensity, statement, repetition, seed),
        seed,
    )
    return path


def film(path: Path, number: int, show: Performance, seed: int) -> None:
    """Render a performance with the face of actor 1..24 and encode it."""
    from .actor import Actor
    from .clips import write_clip
    from .performance import weights
    from .render import Scene, render

    path.parent.mkdir(parents=True, exist_ok=True)
    actor = _actor(Actor, number, seed)
    scene = Scene.draw(
        np.random.default_rng([seed, 6, number]), stable=True
    )  # one recording session per actor
    pictures = (
        render(
            actor,
            weights(show, k, actor),
            tuple(show.pose[k]),
            tuple(show.shift[k]),
            tuple(show.gaze[k]),
            scene,
            SIZE,
            "clip",
        )
        for k in range(len(show.au))
    )
    write_clip(path, pictures, show.audio, show.fps)


_CAST: dict = {}


def _actor(kind, number: int, seed: int):
    if (number, seed) not in _CAST:
        _CAST[number, seed] = kind(number, seed)
    return _CAST[number, seed]


def _work(job):
    return make(*job)


def _start():
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent stops the workers


def build_actors(out: Path, actors: list[int], workers: int = 2, seed: int = 0) -> None:
    """Make what is missing of the corpus in `out` and write its checksums.

    Ctrl-C loses at most the clips that are being made.
    """
    for name in THREADS:
        os.environ[name] = "1"
    for stale in out.glob("Actor_*/.*.part"):
        stale.unlink()
    jobs = [(task, out, seed) for task in tasks(actors)]
    context = multiprocessing.get_context("spawn")
    with context.Pool(workers, _start) as pool:
        for _ in tqdm(
            pool.imap_unordered(_work, jobs), total=len(jobs), unit="clip", desc="actors"
        ):
            pass
    write_checksums(out)


def write_checksums(out: Path) -> Path:
    """`sha256sum -c` format, every clip below `out`, sorted by name."""
    lines = [
        f"{hashlib.sha256(p.read_bytes()).hexdigest()}  {p.relative_to(out).as_posix()}"
        for p in sorted(out.glob("Actor_*/*.mp4"))
    ]
    path = out / "checksums.sha256"
    path.write_text("\n".join(lines) + "\n")
    return path
