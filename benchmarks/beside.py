"""Training while another program keeps one core busy, and while none does."""

from __future__ import annotations

import dataclasses

import cmlib
from benchmarks.measure import Row, Sizes, faster, in_child, interleaved

SPINS = {
    "ours": cmlib.SPINS,
    "other": 300_000,
}  # GOMP_SPINCOUNT: as cmlib sets it; libgomp's own where nothing is set


def rows(sizes: Sizes) -> list[Row]:
    """A training step with the spinning that cmlib allows OpenMP's threads, against libgomp's own.

    The default of libgomp is 30 times as long.
    """
    return [
        row
        for name, busy in (("beside_busy", True), ("beside_idle", False))
        for row in _rows(sizes, name, busy)
    ]


def _rows(sizes: Sizes, name: str, busy: bool) -> list[Row]:
    arguments = {
        "steps": sizes.steps,
        "sizes": dataclasses.asdict(dataclasses.replace(sizes, size=min(sizes.size, 64))),
        "busy": busy,
    }
    sides = {
        side: lambda spin=spin: in_child("pace", {"GOMP_SPINCOUNT": str(spin)}, **arguments)[
            "seconds"
        ]
        for side, spin in SPINS.items()
    }
    seconds = interleaved(sides, sizes.repetitions // 2, warm=0)  # each process warms itself
    place = "beside another that takes a core" if busy else "on a machine that does nothing else"
    what = f"a training step of 64 x 64 pixels {place}, short spinning / libgomp's own"
    return [faster(name, what, seconds["ours"], seconds["other"], 2.0 if busy else 0.9)]
