"""A training step of one process, and of two that share each batch and the processor."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable
from functools import partial

from benchmarks.measure import Row, Sizes, faster, in_child, interleaved
from benchmarks.step import network
from cmlib.training import loop, vaegan


def pace_of(processes: int, steps: int, sizes: Sizes) -> float:
    """Seconds of a float32 training step that ``processes`` share, each with its part of the batch.

    They are connected by gloo, and average their gradients as ``train_vaegan`` does.  Two steps
    before these are not counted.
    """
    fabric = loop.launch("32-true", devices=processes)
    sizes = dataclasses.replace(sizes, batch=sizes.batch // processes)
    model, x, settings = network(sizes)
    parts = (
        [*model.encoder.parameters(), *model.decoder.parameters()],
        [*model.discriminator.parameters()],
    )
    optimisers = [vaegan.make_optimiser(part, settings) for part in parts]

    def step() -> None:
        *both_losses, terms = vaegan.vaegan_step(model, None, x, None, settings)
        for part, optimiser, loss in zip(parts, optimisers, both_losses, strict=True):
            assert loss is not None
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            loop.average_gradients(part, fabric)
            optimiser.step()
        loop.average_terms(terms, 1.0, fabric)

    for _ in range(2):
        step()
    started = time.perf_counter()
    for _ in range(steps):
        step()
    return (time.perf_counter() - started) / steps


def seconds_of(processes: int, threads: int, sizes: Sizes) -> float:
    """Seconds of a step of ``processes`` that share so many threads, started for this alone."""
    environment = {"OMP_NUM_THREADS": str(max(1, threads // processes)), "CM_DEVICE": "cpu"}
    arguments = {
        "processes": processes,
        "steps": sizes.steps,
        "sizes": dataclasses.asdict(sizes),
    }
    return in_child("shared_pace", environment, **arguments)["seconds"]


def rows(sizes: Sizes) -> list[Row]:
    """Two processes with half of the threads each, against one with all of them."""
    threads = os.cpu_count() or 1
    sides: dict[str, Callable[[], float | None]] = {
        "one": partial(seconds_of, 1, threads, sizes),
        "two": partial(seconds_of, 2, threads, sizes),
    }
    # Each process warms itself, and to start it takes seconds.
    seconds = interleaved(sides, sizes.repetitions // 2, warm=0)
    what = f"a training step of two processes with half of {threads} threads each / of one with all"
    return [faster("processes", what, seconds["two"], seconds["one"], 0.8)]
