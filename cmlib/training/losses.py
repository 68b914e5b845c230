"""Losses as small pure functions, each with its equation and its source."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F


def kl_to_unit_normal(mu: Tensor, logvar: Tensor) -> Tensor:
    """KL(N(mu, sigma^2) || N(0, 1)), averaged over the batch: (B, D) each -> scalar.

    -1/2 sum_d (1 + log sigma^2 - mu^2 - sigma^2)
    (Kingma & Welling 2014, arXiv 1312.6114, appendix B).
    """
    return -0.5 * (1 + logvar - mu.square() - logvar.exp()).sum(1).mean()


def kl_between(mu: Tensor, logvar: Tensor, other_mu: Tensor, other_logvar: Tensor) -> Tensor:
    """KL(N(mu, sigma^2) || N(mu', sigma'^2)) of diagonal Gaussians, per row: (B, D) each -> (B,).

    1/2 sum_d (log sigma'^2 - log sigma^2 + (sigma^2 + (mu - mu')^2) / sigma'^2 - 1).
    """
    ratio = (logvar.exp() + (mu - other_mu).square()) * torch.exp(-other_logvar)
    return 0.5 * (other_logvar - logvar + ratio - 1).sum(1)


def feature_error(real: Tensor, reconstructed: Tensor) -> Tensor:
    """Mean squared error of two feature maps of the same shape -> scalar, the learned metric.

    -log p(f(x) | z) of a Gaussian, up to constants (Larsen et al. 2016, arXiv 1512.09300, eq. 7).
    """
    return F.mse_loss(reconstructed, real)


def relative_error(real: Sequence[Tensor], reconstructed: Sequence[Tensor]) -> Tensor:
    """Mean over feature maps of ||f(x~) - f(x)||^2 / ||f(x)||^2 -> scalar.

    Every map has the same weight. A perceptual loss (Johnson et al. 2016, arXiv 1603.08155, eq. 2;
    for a VAE: Hou et al. 2017, arXiv 1610.00291).
    """
    errors = [
        F.mse_loss(fake_map, real_map) / real_map.square().mean()
        for real_map, fake_map in zip(real, reconstructed, strict=True)
    ]
    return torch.stack(errors).mean()


@cache
def focus_map(size: int, strength: float) -> Tensor:
    """Weights (size, size) with mean one, for aligned faces (``cmlib.preparation.cropping``).

    Before the division by its mean, the weight is 1; it rises to 1 + ``strength`` in three Gaussian
    spots, one at each eye with its brow and one at the mouth. Expressions show there, on a tenth of
    the area. The eyes lie at 40 % of the height.
    """
    position = (torch.arange(size) + 0.5) / size  # centres of the pixels, in 0...1
    y, x = torch.meshgrid(position, position, indexing="ij")  # (size, size)
    spots = torch.zeros(size, size)
    # Centre and standard deviation of each spot, (y, x) each: left eye, right eye, mouth.
    for centre, deviation in (
        ((0.37, 0.35), (0.09, 0.12)),
        ((0.37, 0.65), (0.09, 0.12)),
        ((0.74, 0.50), (0.09, 0.15)),
    ):
        squared_distance = ((y - centre[0]) / deviation[0]) ** 2
        squared_distance = squared_distance + ((x - centre[1]) / deviation[1]) ** 2
        spots = spots + torch.exp(-0.5 * squared_distance)
    weights = 1 + strength * spots
    return weights / weights.mean()


def pixel_error(real: Tensor, reconstructed: Tensor, focus: float = 0.0) -> Tensor:
    """Mean squared error of pixels (B, C, S, S), weighted by ``focus_map`` if ``focus`` > 0."""
    if not focus:
        return F.mse_loss(reconstructed, real)
    weights = focus_map(real.shape[-1], focus).to(real.device)  # (S, S)
    return ((reconstructed - real).square() * weights).mean()


def detail_error(real: Tensor, reconstructed: Tensor, focus: float = 0.0) -> Tensor:
    """Mean absolute error of the differences between neighbouring pixels, (B, C, S, S) each.

    Horizontal and vertical differences have the same weight. Where ``focus`` > 0, each difference
    is weighted by ``focus_map`` at its first pixel.
    """
    error = real - reconstructed
    across = error.diff(dim=-1).abs()  # (B, C, S, S - 1)
    down = error.diff(dim=-2).abs()  # (B, C, S - 1, S)
    if focus:
        weights = focus_map(real.shape[-1], focus).to(real.device)  # (S, S)
        across = across * weights[:, :-1]
        down = down * weights[:-1]
    return across.mean() + down.mean()


def discriminator_loss(real: Tensor, reconstructed: Tensor, sampled: Tensor) -> Tensor:
    """-(log D(x) + log(1 - D(x~)) + log(1 - D(x_p))), each averaged over logits (B, 1) -> scalar.

    x are pictures, x~ reconstructions, and x_p samples from the prior
    (Larsen et al. 2016, arXiv 1512.09300, eq. 8).
    """
    return F.softplus(-real).mean() + F.softplus(reconstructed).mean() + F.softplus(sampled).mean()


def deception_loss(reconstructed: Tensor, sampled: Tensor) -> Tensor:
    """The decoder's adversarial loss, -(log D(x~) + log D(x_p)): logits (B, 1) -> scalar.

    The non-saturating form (Goodfellow et al. 2014, arXiv 1406.2661, section 3).
    """
    return F.softplus(-reconstructed).mean() + F.softplus(-sampled).mean()


def equilibrium_gates(
    real: float, fake: float, centre: float = 0.68, margin: float = 0.35
) -> tuple[bool, bool]:
    """(train the discriminator?, train the decoder?), so that neither runs far ahead.

    ``real`` and ``fake`` are the discriminator's mean cross-entropies of real and decoded pictures.
    The discriminator rests while either is below ``centre - margin``, and the decoder rests while
    either is above ``centre + margin``. If both would have to rest, both train.
    """
    discriminator = min(real, fake) >= centre - margin
    decoder = max(real, fake) <= centre + margin
    if not (discriminator or decoder):
        return True, True
    return discriminator, decoder
