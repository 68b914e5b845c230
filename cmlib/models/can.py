"""The context attention network: the voice shifts the face's posterior."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cmlib.models.vaegan import Posterior


def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attention over the dimensions of a latent, in fused form: no (B, D, D) map is kept.

    ``out_i = sum_j softmax_j(q_i k_j) u_j``; q, k, u and out are (B, D).  Each dimension is a token of width one, and
    there is no scaling (sqrt(1) = 1).  Since q_i is a scalar, ``out_i = f(q_i)`` with one function f for all i, and
    ``min u <= out_i <= max u``.
    """
    assert query.shape == key.shape == value.shape and query.ndim == 2, (query.shape, key.shape, value.shape)
    q, k, u = (x[:, None, :, None] for x in (query, key, value))  # (B, 1 head, D tokens, width 1)
    return F.scaled_dot_product_attention(q, k, u, scale=1.0)[:, 0, :, 0]


class ContextAttention(nn.Module):
    """q = W_q a, k = W_k v, u = W_v v for a voice a and a face v, each (B, D); returns ``attend(q, k, u)``, (B, D)."""

    def __init__(self, latent: int):
        super().__init__()
        self.query = nn.Linear(latent, latent)
        self.key = nn.Linear(latent, latent)
        self.value = nn.Linear(latent, latent)

    def forward(self, face: Tensor, voice: Tensor) -> Tensor:
        return attend(self.query(voice), self.key(face), self.value(face))

    def response(self, face: Tensor, queries: Tensor) -> Tensor:
        """The scalar function f_v of each face, at ``queries`` (Q,): (B, D) -> (B, Q)."""
        weights = torch.softmax(queries[None, :, None] * self.key(face)[:, None, :], dim=-1)  # (B, Q, D)
        return (weights * self.value(face)[:, None, :]).sum(-1)


class Can(nn.Module):
    """Context attention network with its classifier.

    ``mu' = mu + t * attention_mu(mu, voice mu)`` and the same with own weights for log sigma^2; the context strength t in
    0...1 may be changed at any time (released: 1).  With ``normalise`` both latents are read in units of their spread over
    the training set (buffers set by ``fit_scale``), and the shift is scaled back to the face's units; released: raw.
    """

    def __init__(self, latent: int, classes: int = 7, normalise: bool = False):
        super().__init__()
        self.config = dict(latent=latent, classes=classes, normalise=normalise)
        self.att_mu = ContextAttention(latent)
        self.att_logvar = ContextAttention(latent)
        self.classifier = nn.Linear(latent, classes)
        for name in ("face", "voice"):
            self.register_buffer(f"{name}_mean", torch.zeros(latent))
            self.register_buffer(f"{name}_spread", torch.ones(latent))

    def fit_scale(self, face_mu: Tensor, voice_mu: Tensor) -> None:
        """Take mean and spread of the training latents (N, D); does nothing unless ``normalise``."""
        if self.config["normalise"]:
            for name, x in (("face", face_mu), ("voice", voice_mu)):
                getattr(self, f"{name}_mean").copy_(x.mean(0))
                getattr(self, f"{name}_spread").copy_(x.std(0).clamp_min(1e-3))

    def shift(self, face: Posterior, voice: Posterior, strength: float | Tensor = 1.0) -> Posterior:
        """The face's posterior as the voice shifts it; ``strength`` t is a number or (B, 1)."""
        v = (face.mu - self.face_mean) / self.face_spread
        a = (voice.mu - self.voice_mean) / self.voice_spread
        return Posterior(
            face.mu + strength * self.face_spread * self.att_mu(v, a),
            face.logvar + strength * self.att_logvar(face.logvar, voice.logvar),
        )

    def forward(self, face: Posterior, voice: Posterior, strength: float | Tensor = 1.0) -> tuple[Tensor, Posterior]:
        """(logits (B, classes) from the shifted mean, shifted posterior)."""
        shifted = self.shift(face, voice, strength)
        return self.classifier(shifted.mu), shifted
