"""One VAE-GAN training step: its speed and its memory.

Ours is compared with the released order of passes, and with its bare convolutions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace

import torch

from benchmarks.bare import CONVOLUTIONS, Recorder, finish, seconds_alone
from benchmarks.measure import Row, Sizes, faster, in_child, interleaved, within
from benchmarks.released import optimisers, released_step
from cmlib.config import VaeGanConfig
from cmlib.models import VaeGan
from cmlib.training import loop, vaegan

# name: (float format, channels-last layout?); "loop" is what train_vaegan does on this machine
WAYS = {"float32": ("32-true", False), "loop": ("auto", True)}


def network(sizes: Sizes) -> tuple[VaeGan, torch.Tensor, VaeGanConfig]:
    """(model in training mode, pictures (batch, 3, size, size), released settings of these sizes).

    They are always the same.
    """
    torch.manual_seed(0)
    settings = VaeGanConfig(width=sizes.width, latent=sizes.latent, batch=sizes.batch)
    model = VaeGan(3, sizes.size, settings.latent, settings.width).train()
    return model, torch.rand(sizes.batch, 3, sizes.size, sizes.size), settings


def our_step(sizes: Sizes, way: str) -> Callable[[], None]:
    """A function that makes one step as ``train_vaegan`` does, without reading the pictures."""
    model, x, settings = network(sizes)
    precision, channels_last = WAYS[way]
    fabric = loop.launch(precision)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    model = model.to(fabric.device, memory_format=layout)
    x = x.to(fabric.device, memory_format=layout)
    autoencoder = [*model.encoder.parameters(), *model.decoder.parameters()]
    optimisers_of_step = (
        vaegan.make_optimiser(autoencoder, settings),
        vaegan.make_optimiser(model.discriminator.parameters(), settings),
    )

    def step() -> None:
        with fabric.autocast():
            *both_losses, terms = vaegan.vaegan_step(model, None, x, None, settings)
        loop.check_finite(terms, "benchmark")
        for optimiser, loss in zip(optimisers_of_step, both_losses, strict=True):
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
        for value in terms.values():
            float(value.detach())  # as the log and the progress bar need it
        finish()

    return step


def other_step(sizes: Sizes) -> Callable[[], None]:
    """A function that makes one step in the released order: float32, the usual layout."""
    model, x, settings = network(sizes)
    device = loop.launch("32-true").device
    model, x = model.to(device), x.to(device)
    three = optimisers(model, settings)

    def step() -> None:
        released_step(model, three, x, settings)
        finish()

    return step


def a_step(sizes: Sizes, way: str) -> Callable[[], None]:
    """One of ``WAYS``, or "released"."""
    return other_step(sizes) if way == "released" else our_step(sizes, way)


def time_rows(sizes: Sizes) -> list[Row]:
    """Seconds of a step, measured in turn.

    The sides are ours in each of ``WAYS``, its convolutions alone, and the released step.
    """
    sides = {}
    for way in WAYS:
        sides[way], recorder = our_step(sizes, way), Recorder(CONVOLUTIONS)
        sides[way]()
        with recorder:
            sides[way]()
        sides[f"bare {way}"] = lambda calls=recorder.calls: seconds_alone(calls)
    seconds = interleaved(sides | {"released": other_step(sizes)}, sizes.repetitions)
    against, alone = [], []
    for way in WAYS:
        ours, bare = seconds[way], seconds[f"bare {way}"]
        row = faster(
            f"convolutions_{way}",
            f"a training step / its convolutions alone; {way}",
            ours,
            bare,
            0.6,
        )
        alone.append(replace(row, share=row.ratio))
        what = f"a training step, {way} / the same in the released order, float32"
        against.append(faster(f"step_{way}", what, ours, seconds["released"], 2.0, row.ratio))
    return against + alone


def memory_rows(sizes: Sizes) -> list[Row]:
    """Megabytes that three steps add to a process at most, each kind in a separate process."""
    peaks = {
        way: in_child("step", way=way, sizes=asdict(sizes))["growth"] for way in (*WAYS, "released")
    }
    what = "peak memory of a training step, {} / of the same in the released order, float32"
    return [
        within(f"memory_{way}", what.format(way), "MB", peaks[way], peaks["released"], 0.6)
        for way in WAYS
    ]
