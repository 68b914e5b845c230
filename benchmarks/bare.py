"""What the machine reaches on only the heavy operations of some work.

The operations are recorded inside the work and then timed by themselves.
"""

from __future__ import annotations

import time
from collections import Counter

import torch
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten
CONVOLUTIONS = (aten.convolution.default, aten.convolution_backward.default)
ATTENTION = (
    aten._scaled_dot_product_flash_attention_for_cpu.default,
    aten._scaled_dot_product_flash_attention_for_cpu_backward.default,
    aten.addmm.default,
    aten.mm.default,
)


class Recorder(TorchDispatchMode):
    """Counts operations of some ``kinds`` made inside it, forward and backward.

    They are told apart by shape, layout, format and options.
    """

    def __init__(self, kinds: tuple):
        super().__init__()
        self.kinds, self.calls = kinds, Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func in self.kinds:
            named = tuple((name, _describe(value)) for name, value in sorted(kwargs.items()))
            self.calls[func, tuple(map(_describe, args)), named] += 1
        return func(*args, **kwargs)


def _describe(value) -> tuple:
    if isinstance(value, torch.Tensor):
        return ("tensor", tuple(value.shape), value.stride(), value.dtype, value.device)
    return ("list", *value) if isinstance(value, (list, tuple)) else ("value", value)


def _make(described: tuple, pool: torch.Tensor):
    kind, *rest = described
    if kind == "tensor":
        shape, stride, dtype, device = rest
        extent = 1 + sum((n - 1) * step for n, step in zip(shape, stride))
        return (
            pool.repeat(-(-extent // len(pool)))[:extent]
            .to(device, dtype)
            .as_strided(shape, stride)
        )
    return rest if kind == "list" else rest[0]


def finish() -> None:
    """Wait until an accelerator has finished; there is nothing to wait for on a processor."""
    if torch.accelerator.is_available():
        torch.accelerator.synchronize()


@torch.no_grad()
def seconds_alone(calls: Counter, least: int = 3) -> float:
    """Seconds of all recorded operations.

    The best time of each kind by itself counts as often as the kind was recorded.
    """
    total, pool = 0.0, torch.randn(1 << 16)
    for (function, positional, named), count in calls.items():
        operands, options = (
            [_make(d, pool) for d in positional],
            {name: _make(d, pool) for name, d in named},
        )
        function(*operands, **options)  # warm
        finish()
        best = float("inf")
        for _ in range(max(count, least) if count < 100 else 100):
            started = time.perf_counter()
            function(*operands, **options)
            finish()
            best = min(best, time.perf_counter() - started)
        total += best * count
    return total
