"""Every loss against an oracle that shares no code with it."""

import pytest
import torch
from torch.distributions import Independent, Normal, kl_divergence
from torch.nn import functional as F

from cmlib.training import losses


@pytest.fixture
def gaussians():
    g = torch.Generator().manual_seed(0)
    return [torch.randn(5, 7, generator=g, dtype=torch.float64).requires_grad_() for _ in range(4)]


def normal(mu, logvar):
    return Independent(Normal(mu, torch.exp(0.5 * logvar)), 1)


def same_with_gradients(ours, oracle, inputs):
    torch.testing.assert_close(ours, oracle)
    for mine, theirs in zip(
        torch.autograd.grad(ours.sum(), inputs), torch.autograd.grad(oracle.sum(), inputs)
    ):
        torch.testing.assert_close(mine, theirs)


def test_prior_kl_equals_torch_distributions(gaussians):
    mu, logvar, *_ = gaussians
    oracle = kl_divergence(
        normal(mu, logvar), normal(torch.zeros_like(mu), torch.zeros_like(mu))
    ).mean()
    same_with_gradients(losses.kl_to_unit_normal(mu, logvar), oracle, [mu, logvar])


def test_both_directions_of_the_shift_kl_equal_torch_distributions(gaussians):
    a, b = gaussians[:2], gaussians[2:]
    same_with_gradients(losses.kl_between(*a, *b), kl_divergence(normal(*a), normal(*b)), gaussians)
    same_with_gradients(losses.kl_between(*b, *a), kl_divergence(normal(*b), normal(*a)), gaussians)
    assert not torch.allclose(losses.kl_between(*a, *b), losses.kl_between(*b, *a))


def test_adversarial_losses_equal_binary_cross_entropy():
    real, fake, prior = (torch.randn(6, 1, dtype=torch.float64).requires_grad_() for _ in range(3))
    ones, zeros = torch.ones(6, 1, dtype=torch.float64), torch.zeros(6, 1, dtype=torch.float64)
    bce = F.binary_cross_entropy
    oracle = bce(real.sigmoid(), ones) + bce(fake.sigmoid(), zeros) + bce(prior.sigmoid(), zeros)
    same_with_gradients(losses.discriminator_loss(real, fake, prior), oracle, [real, fake, prior])
    same_with_gradients(
        losses.deception_loss(fake, prior),
        bce(fake.sigmoid(), ones) + bce(prior.sigmoid(), ones),
        [fake, prior],
    )


def test_picture_errors_against_finite_sums():
    x = torch.rand(2, 3, 4, 5, dtype=torch.float64)
    y = torch.rand(2, 3, 4, 5, dtype=torch.float64).requires_grad_()
    assert losses.feature_error(x, y).item() == pytest.approx(
        ((x - y) ** 2).sum().item() / x.numel()
    )
    across = sum(
        abs((x[b, c, i, j + 1] - x[b, c, i, j]) - (y[b, c, i, j + 1] - y[b, c, i, j])).item()
        for b in range(2)
        for c in range(3)
        for i in range(4)
        for j in range(4)
    )
    down = sum(
        abs((x[b, c, i + 1, j] - x[b, c, i, j]) - (y[b, c, i + 1, j] - y[b, c, i, j])).item()
        for b in range(2)
        for c in range(3)
        for i in range(3)
        for j in range(5)
    )
    assert losses.detail_error(x, y).item() == pytest.approx(across / 96 + down / 90)
    assert torch.autograd.gradcheck(lambda q: losses.detail_error(x, q), y)


def test_gates_rest_one_side_but_never_both():
    assert losses.equilibrium_gates(0.68, 0.68) == (True, True)
    assert losses.equilibrium_gates(0.1, 0.5) == (False, True)
    assert losses.equilibrium_gates(1.2, 0.5) == (True, False)
    assert losses.equilibrium_gates(0.1, 1.2) == (True, True)


def test_focus_weighs_eyes_and_mouth_and_keeps_the_scale():
    weights = losses.focus_map(64, 4.0)
    assert float(weights.mean()) == pytest.approx(1, abs=1e-6)
    assert weights[24, 22] > 3 * weights[2, 2] and weights[47, 32] > 3 * weights[60, 60]
    real, other = torch.rand(2, 3, 64, 64), torch.rand(2, 3, 64, 64)
    error = ((real - other) ** 2).mean((0, 1))
    torch.testing.assert_close(losses.pixel_error(real, other, 4.0), (error * weights).mean())
    torch.testing.assert_close(losses.pixel_error(real, other), error.mean())
    across = (real - other).diff(dim=-1).abs().mean((0, 1)) * weights[:, :-1]
    down = (real - other).diff(dim=-2).abs().mean((0, 1)) * weights[:-1]
    torch.testing.assert_close(losses.detail_error(real, other, 4.0), across.mean() + down.mean())


def test_relative_error_counts_every_map_alike():
    g = torch.Generator().manual_seed(0)
    real, fake = ([torch.randn(2, 3, n, n, generator=g) for n in (8, 4)] for _ in range(2))
    by_hand = sum(float(((a - b) ** 2).sum() / (a**2).sum()) for a, b in zip(real, fake)) / 2
    assert float(losses.relative_error(real, fake)) == pytest.approx(by_hand, rel=1e-5)
    scaled = losses.relative_error([1000 * real[0], real[1]], [1000 * fake[0], fake[1]])
    assert float(scaled) == pytest.approx(by_hand, rel=1e-5)
    assert losses.relative_error(real, real) == 0
