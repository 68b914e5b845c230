"""Each loss a small pure function with its equation."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F


def kl_to_unit_normal(mu: Tensor, logvar: Tensor) -> Tensor:
    """KL(N(mu, sigma^2) || N(0, 1)) = -1/2 sum_d (1 + log sigma^2 - mu^2 - sigma^2), batch mean; (B, D) -> scalar."""
    return -0.5 * (1 + logvar - mu.square() - logvar.exp()).sum(1).mean()


def kl_between(mu: Tensor, logvar: Tensor, other_mu: Tensor, other_logvar: Tensor) -> Tensor:
    """KL(N(mu, sigma^2) || N(mu', sigma'^2)) of diagonal Gaussians, per row: (B, D) x 4 -> (B,).

    1/2 sum_d (log sigma'^2 - log sigma^2 + (sigma^2 + (mu - mu')^2) / sigma'^2 - 1)
    """
    ratio = (logvar.exp() + (mu - other_mu).square()) * torch.exp(-other_logvar)
    return 0.5 * (other_logvar - logvar + ratio - 1).sum(1)


def feature_error(real: Tensor, reconstructed: Tensor) -> Tensor:
    """Mean squared error of two feature maps of one shape (the learned metric of Larsen et al. 2016, eq. 7)."""
    return F.mse_loss(reconstructed, real)


def relative_error(real: Sequence[Tensor], reconstructed: Sequence[Tensor]) -> Tensor:
    """Mean over feature maps of ||f(x~) - f(x)||^2 / ||f(x)||^2, so that each of them counts alike (a perceptual loss:
    Johnson et al. 2016, arXiv 1603.08155, eq. 2; of a VAE: Hou et al. 2017, arXiv 1610.00291); scalar."""
    return torch.stack(
        [F.mse_loss(b, a) / a.square().mean() for a, b in zip(real, reconstructed)]
    ).mean()


@cache
def focus_map(size: int, strength: float) -> Tensor:
    """Weights (size, size) with mean one for crops as ``cmlib.faces`` makes them, whose eyes lie at 40 % of the height.

    Before division by its mean the weight is 1, and up to 1 + ``strength`` in three Gaussian spots: at each eye with its
    brow, and at the mouth.  That is where expressions are, on a tenth of the area.
    """
    y, x = torch.meshgrid(*[(torch.arange(size) + 0.5) / size] * 2, indexing="ij")
    spots = (
        (0.37, 0.35, 0.09, 0.12),
        (0.37, 0.65, 0.09, 0.12),
        (0.74, 0.5, 0.09, 0.15),
    )  # y, x, and their widths
    map_ = 1 + strength * sum(
        torch.exp(-0.5 * (((y - a) / c) ** 2 + ((x - b) / d) ** 2)) for a, b, c, d in spots
    )
    return map_ / map_.mean()


def pixel_error(real: Tensor, reconstructed: Tensor, focus: float = 0.0) -> Tensor:
    """Mean squared error of pixels, each weighted by ``focus_map`` where ``focus`` > 0; (B, C, S, S) twice."""
    if not focus:
        return F.mse_loss(reconstructed, real)
    return (
        (reconstructed - real).square() * focus_map(real.shape[-1], focus).to(real.device)
    ).mean()


def detail_error(real: Tensor, reconstructed: Tensor, focus: float = 0.0) -> Tensor:
    """Mean absolute error of horizontal and vertical differences of neighbouring pixels; (B, C, S, S) twice.

    Each difference is weighted by ``focus_map`` at its first pixel where ``focus`` > 0.
    """
    error = real - reconstructed
    across, down = error.diff(dim=-1).abs(), error.diff(dim=-2).abs()
    if focus:
        weights = focus_map(real.shape[-1], focus).to(real.device)
        across, down = across * weights[:, :-1], down * weights[:-1]
    return across.mean() + down.mean()


def discriminator_loss(real: Tensor, reconstructed: Tensor, sampled: Tensor) -> Tensor:
    """-(log D(x) + log(1 - D(x~)) + log(1 - D(x_p))), each averaged; arguments are logits (B, 1)."""
    return F.softplus(-real).mean() + F.softplus(reconstructed).mean() + F.softplus(sampled).mean()


def deception_loss(reconstructed: Tensor, sampled: Tensor) -> Tensor:
    """The decoder's non-saturating part, -(log D(x~) + log D(x_p)) (Goodfellow et al. 2014); logits (B, 1)."""
    return F.softplus(-reconstructed).mean() + F.softplus(-sampled).mean()


def equilibrium_gates(
    real: float, fake: float, centre: float = 0.68, margin: float = 0.35
) -> tuple[bool, bool]:
    """(train discriminator?, train decoder?) from the mean binary cross-entropies of real and decoded pictures.

    The discriminator rests while either loss is below centre - margin, the decoder while either is above centre + margin;
    should both rest, both train.
    """
    discriminator = not (real < centre - margin or fake < centre - margin)
    decoder = not (real > centre + margin or fake > centre + margin)
    return (True, True) if not (discriminator or decoder) else (discriminator, decoder)
