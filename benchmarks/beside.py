"""Training while another program keeps one core busy, and while none does."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import cmlib
from benchmarks.measure import Row, Sizes, faster, in_child, interleaved

SPINS = {
    "ours": cmlib.SPINS,
    "other": 300_000,
}  # GOMP_SPINCOUNT: as cmlib sets it; libgomp's own where nothing is set

LOAD = """import torch
torch.set_num_threads(1)
layer, x = torch.nn.Conv2d(32, 32, 3), torch.randn(64, 32, 64, 64)
while True: layer(x).sum().backward()"""


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
    }
    sides = {
        side: lambda spin=spin: in_child("pace", {"GOMP_SPINCOUNT": str(spin)}, **arguments)[
            "seconds"
        ]
        for side, spin in SPINS.items()
    }
    other = subprocess.Popen([sys.executable, "-c", LOAD], start_new_session=True) if busy else None
    try:
        seconds = interleaved(sides, sizes.repetitions // 2, warm=0)  # each process warms itself
    finally:
        if other:
            other.kill()
            other.wait()
    place = "beside another that takes a core" if busy else "on a machine that does nothing else"
    what = f"a training step of 64 x 64 pixels {place}, short spinning / libgomp's own"
    return [faster(name, what, seconds["ours"], seconds["other"], 2.0 if busy else 0.9)]
