"""Training while another program keeps one core busy, and while none does."""

from __future__ import annotations

import dataclasses

import cmlib
from benchmarks.measure import Row, Sizes, faster, in_child

SPINS = {
    "ours": cmlib.SPINS,
    "other": 300_000,
}  # GOMP_SPINCOUNT: as cmlib sets it; libgomp's own where nothing is set


def rows(sizes: Sizes) -> list[Row]:
    """A training step with the spinning that cmlib allows OpenMP's threads, against libgomp's own.

    The default of libgomp is 30 times as long. Each process measures itself without and with
    another program; the two kinds of processes take turns.
    """
    arguments = {
        "steps": sizes.steps,
        "sizes": dataclasses.asdict(dataclasses.replace(sizes, size=min(sizes.size, 64))),
    }
    paces: dict[str, list[dict[str, float]]] = {side: [] for side in SPINS}
    for number in range(sizes.repetitions // 2):
        for side in SPINS if number % 2 else reversed(SPINS):
            spins = {"GOMP_SPINCOUNT": str(SPINS[side])}
            paces[side].append(in_child("pace", spins, **arguments))
    places = {
        "busy": ("beside another that takes a core", 2.0),
        "idle": ("on a machine that does nothing else", 0.9),
    }
    result = []
    for load, (place, target) in places.items():
        ours, other = ([pace[load] for pace in paces[side]] for side in SPINS)
        what = f"a training step of 64 x 64 pixels {place}, short spinning / libgomp's own"
        result.append(faster(f"beside_{load}", what, ours, other, target))
    return result
