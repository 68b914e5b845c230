"""Baselines that combine two posteriors without attention."""

from __future__ import annotations

import torch
from torch import Tensor

from cmlib.models.classifier import Classifier
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


def fuse(name: str, face: Posterior, voice: Posterior) -> Posterior:
    """What the classifier "product_of_experts" or "concatenation" reads, from (B, D) and (B, E).

    Gaussians can be multiplied only where D = E. Elsewhere the product of experts reads both
    latents side by side, too, and multiplies what two classifiers say about them
    (``product_of_classifiers``).
    """
    if name == "product_of_experts" and face.mu.shape[-1] == voice.mu.shape[-1]:
        return product_of_experts(face, voice)
    return concatenation(face, voice)


def product_of_classifiers(face: Classifier, voice: Classifier, counts: Tensor) -> Classifier:
    """The product of two experts on the class: (B, D + E) -> logits (B, K), without training.

    ``p(c | v, a) ~ p(c | v) p(c | a) / p(c)`` for a face v and a voice a that are independent given
    the class c (the product rule of Kittler et al. 1998, IEEE PAMI 20(3), eq. 7). ``counts`` (K,)
    are the training examples of each class, from which p(c) follows. Logits of linear classifiers
    add up, so the product is a linear classifier, too. A class without examples counts as if it had
    one.
    """
    inputs = face.config["inputs"] + voice.config["inputs"]
    product = Classifier(inputs, face.config["classes"])
    examples = counts.clamp_min(1).float()
    prior = examples / examples.sum()
    with torch.no_grad():
        product.linear.weight.copy_(torch.cat([face.linear.weight, voice.linear.weight], dim=1))
        product.linear.bias.copy_(face.linear.bias + voice.linear.bias - prior.log())
    return product.eval()
