"""How far a face or a voice is from what its network has learnt.

A network answers about any picture and any sound, and is confident about most of them. Whether it
has learnt anything like them shows in how it draws them. Three measures of one input are taken:

* ``error``: the mean squared error of the reconstruction. It is large for a photograph that a
  network of drawn faces has to draw.
* ``detail``: the error of the reconstruction's gradients, as a share of the energy of the
  picture's gradients. It is large for a picture of little contrast, such as a sky, whose mean
  squared error is small whatever is drawn.
* ``distance``: the root mean square of the latent mean. It is large for noise and music, whose
  spectrograms lie outside the cloud of the voices.

Each of them has a limit, which comes from people whom the network has not learnt from. The
strangeness of an input is the largest of the three in units of its limit. It is above 1 for one in
a hundred of these people's faces or voices. The limits are kept in the card of the network.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from cmlib.models import VaeGan

MEASURES = ("error", "detail", "distance")
SIDE = 64  # pixels at which a picture and its reconstruction are compared, at most
SHARE_ABOVE = 0.01  # of the inputs of held-out people that are stranger than the limits
KEY = "strangeness"  # the entry of a card that has the limits


def measures(x: Tensor, drawn: Tensor, mu: Tensor) -> np.ndarray:
    """The three ``MEASURES`` of N inputs, (N, 3).

    ``x`` are pictures or spectrograms (N, C, S, S) in 0...1, ``drawn`` their reconstructions of the
    same shape, and ``mu`` (N, D) their latent means.
    """
    small, small_drawn = _smaller(x), _smaller(drawn.clamp(0, 1))
    difference = small - small_drawn
    error = difference.square().mean((1, 2, 3))
    detail = _gradient_energy(difference) / _gradient_energy(small).clamp_min(1e-8)
    distance = mu.square().mean(1).sqrt()
    return torch.stack([error, detail, distance], 1).numpy()


def _smaller(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, max(1, x.shape[-1] // SIDE))


def _gradient_energy(x: Tensor) -> Tensor:
    """Mean square of the differences of neighbouring pixels, (N, C, S, S) -> (N,)."""
    across = x.diff(dim=-1).square().mean((1, 2, 3))
    down = x.diff(dim=-2).square().mean((1, 2, 3))
    return across + down


@torch.inference_mode()
def measure_all(model: VaeGan, batches: Iterable[Tensor]) -> np.ndarray:
    """The ``MEASURES`` of many inputs, (N, 3); each of ``batches`` is (B, C, S, S) in 0...1."""
    model.eval()
    device = next(model.parameters()).device
    values = []
    for x in batches:
        mu = model.encoder(x.to(device)).mu
        values.append(measures(x, model.decoder(mu).cpu(), mu.cpu()))
    return np.concatenate(values)


def limits(values: np.ndarray) -> dict[str, float]:
    """The limit of each measure, from the measures (N, 3) of people who were held out.

    A share ``SHARE_ABOVE`` of them is stranger than the limits: each measure is first divided by
    its own quantile, and all are then made larger by the quantile of the largest of them.
    """
    each = np.quantile(values, 1 - SHARE_ABOVE, axis=0)  # (3,)
    together = np.quantile((values / each).max(1), 1 - SHARE_ABOVE)
    return {name: float(limit * together) for name, limit in zip(MEASURES, each)}


def card_entry(values: np.ndarray, held_out: str, people: np.ndarray) -> dict:
    """What the card of a network says of its limits, under ``KEY``.

    ``values`` are the measures (N, 3) of the set ``held_out``, and ``people`` (N,) whom they show.
    """
    return {
        "limits": {name: round(limit, 6) for name, limit in limits(values).items()},
        "share_above": SHARE_ABOVE,
        "held_out": {
            "set": held_out,
            "people": len(np.unique(people)),
            "inputs": len(values),
        },
    }


def strangeness(values: np.ndarray, limits: Mapping[str, float]) -> np.ndarray:
    """Measures (N, 3) in units of their limits, the largest of each row: (N,)."""
    return (values / [limits[name] for name in MEASURES]).max(1)


def limits_of(card: Mapping) -> dict[str, float] | None:
    """The limits in the card of a network; None where it has none."""
    entry = card.get(KEY) or {}
    return entry.get("limits")
