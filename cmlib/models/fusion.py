"""Baselines that combine two posteriors without attention."""

from __future__ import annotations

import torch

from cmlib.models.vaegan import Posterior


def product_of_experts(*experts: Posterior) -> Posterior:
    """Product of Gaussian experts and the unit prior, all (B, D).

    ``T_k = 1 / sigma_k^2``, ``mu = sum_k T_k mu_k / (1 + sum_k T_k)``, and
    ``sigma^2 = 1 / (1 + sum_k T_k)`` (Wu & Goodman 2018, arXiv 1802.05335).
    """
    precisions = [torch.exp(-expert.logvar) for expert in experts]  # (B, D) each
    total_precision = 1 + torch.stack(precisions).sum(0)
    weighted = [t * expert.mu for t, expert in zip(precisions, experts, strict=True)]
    return Posterior(torch.stack(weighted).sum(0) / total_precision, -torch.log(total_precision))


def concatenation(face: Posterior, voice: Posterior) -> Posterior:
    """Both posteriors side by side: (B, D) and (B, E) -> (B, D + E)."""
    return Posterior.cat([face, voice], dim=1)
