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
    assert query.shape == key.shape == value.shape and query.ndim == 2, (
        query.shape,
        key.shape,
        value.shape,
    )
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
        weights = torch.softmax(
            queries[None, :, None] * self.key(face)[:, None, :], dim=-1
        )  # (B, Q, D)
        return (weights * self.value(face)[:, None, :]).sum(-1)


class LinearShift(nn.Module):
    """What remains when attention is replaced by a linear map: ``W [v; a] + b`` of face v and voice a, (B, D) each."""

    def __init__(self, latent: int):
        super().__init__()
        self.map = nn.Linear(2 * latent, latent)

    def forward(self, face: Tensor, voice: Tensor) -> Tensor:
        return self.map(torch.cat([face, voice], 1))


class Can(nn.Module):
    """Context attention network with its classifier.

    ``mu' = mu + t * attention_mu(mu, voice mu)`` and the same with own weights for log sigma^2; the context strength t in
    0...1 may be changed at any time (released: 1).  With ``normalise`` both latents are read in units of their spread over
    the training set (buffers set by ``fit_scale``), and the shift is scaled back to the face's units; released: raw.
    With ``directions`` K > 0 the mean moves along K directions of expression only (buffer ``basis`` B, (D, K), with
    orthonormal columns, set by ``fit_directions``): ``mu' = mu + t B B^T attention_mu``; released: the whole latent.  ``attention`` is
    "softmax", or "linear" for the ablation.
    """

    def __init__(
        self,
        latent: int,
        classes: int = 7,
        normalise: bool = False,
        directions: int = 0,
        attention: str = "softmax",
    ):
        super().__init__()
        self.config = dict(
            latent=latent,
            classes=classes,
            normalise=normalise,
            directions=directions,
            attention=attention,
        )
        kind = {"softmax": ContextAttention, "linear": LinearShift}[attention]
        self.att_mu, self.att_logvar = kind(latent), kind(latent)
        self.classifier = nn.Linear(latent, classes)
        for name in ("face", "voice"):
            self.register_buffer(f"{name}_mean", torch.zeros(latent))
            self.register_buffer(f"{name}_spread", torch.ones(latent))
        if directions:
            self.register_buffer("basis", torch.eye(latent)[:, :directions].clone())

    def fit_scale(self, face_mu: Tensor, voice_mu: Tensor) -> None:
        """Take mean and spread of the training latents (N, D); does nothing unless ``normalise``."""
        if self.config["normalise"]:
            for name, x in (("face", face_mu), ("voice", voice_mu)):
                getattr(self, f"{name}_mean").copy_(x.mean(0))
                getattr(self, f"{name}_spread").copy_(x.std(0).clamp_min(1e-3))

    def fit_directions(self, face_mu: Tensor, labels: Tensor, people: Tensor) -> None:
        """Take the directions of expression of training faces; does nothing without ``directions``.  After ``fit_scale``.

        ``face_mu`` (N, D); ``labels`` (N,), where faces without expression have a number of their own, such as -1;
        ``people`` (N,).  The attribute vector of a class is its mean latent less the mean of all (Larsen et al. 2016,
        arXiv 1512.09300, section 4.1), here within each person and then averaged over people, so that it says nothing
        of who a face is.  The basis is that of these vectors, largest singular values first; one vector follows from
        the others, so ValueError where K is not below the number of labels.
        """
        if not (count := self.config["directions"]):
            return
        v, vectors = (face_mu - self.face_mean) / self.face_spread, []
        if len(labels.unique()) <= count:
            raise ValueError(
                f"{count} directions of expression need more than {len(labels.unique())} classes"
            )
        for c in labels.unique():
            who = people[labels == c].unique()
            own = [v[(people == p) & (labels == c)].mean(0) - v[people == p].mean(0) for p in who]
            vectors.append(torch.stack(own).mean(0))
        self.basis.copy_(torch.linalg.svd(torch.stack(vectors), full_matrices=False)[2][:count].T)

    def shift(self, face: Posterior, voice: Posterior, strength: float | Tensor = 1.0) -> Posterior:
        """The face's posterior as the voice shifts it; ``strength`` t is a number or (B, 1)."""
        v = (face.mu - self.face_mean) / self.face_spread
        a = (voice.mu - self.voice_mean) / self.voice_spread
        moved = self.att_mu(v, a)  # (B, D)
        if self.config["directions"]:
            moved = moved @ self.basis @ self.basis.T
        return Posterior(
            face.mu + strength * self.face_spread * moved,
            face.logvar + strength * self.att_logvar(face.logvar, voice.logvar),
        )

    def forward(
        self, face: Posterior, voice: Posterior, strength: float | Tensor = 1.0
    ) -> tuple[Tensor, Posterior]:
        """(logits (B, classes) from the shifted mean, shifted posterior)."""
        shifted = self.shift(face, voice, strength)
        return self.classifier(shifted.mu), shifted
