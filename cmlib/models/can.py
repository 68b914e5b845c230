"""The context attention network: the voice shifts the face's posterior."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cmlib.models.moments import InUnits, Rows, blocks_of, in_blocks, mean_and_spread
from cmlib.models.vaegan import Posterior


def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attention over the dimensions of a latent, fused, so that no (B, D, D) map is stored.

    ``out_i = sum_j softmax_j(q_i k_j) u_j``; q, k, u and out are (B, D). Each dimension is a token
    of width one, and there is no scaling (sqrt(1) = 1). Since q_i is a scalar, ``out_i = f(q_i)``
    with one function f for all i, and ``min u <= out_i <= max u``.
    """
    shapes = query.shape, key.shape, value.shape
    assert query.ndim == 2 and shapes[0] == shapes[1] == shapes[2], shapes
    q, k, u = (x[:, None, :, None] for x in (query, key, value))  # (B, 1 head, D tokens, width 1)
    out = F.scaled_dot_product_attention(q, k, u, scale=1.0)  # (B, 1, D, 1)
    return out[:, 0, :, 0]


class ContextAttention(nn.Module):
    """``attend(W_q a, W_k v, W_v v)`` of a voice a (B, E) and a face v (B, D) -> (B, D).

    Blume et al. 2024, arXiv 2409.02566; there E = D. W_q is (D, E), so a voice may have a latent of
    another size than a face.
    """

    def __init__(self, latent: int, voice_latent: int | None = None):
        super().__init__()
        self.query = nn.Linear(voice_latent or latent, latent)
        self.key = nn.Linear(latent, latent)
        self.value = nn.Linear(latent, latent)

    def forward(self, face: Tensor, voice: Tensor) -> Tensor:
        return attend(self.query(voice), self.key(face), self.value(face))

    def response(self, face: Tensor, queries: Tensor) -> Tensor:
        """The scalar function f_v of each face, at ``queries`` (Q,): (B, D) -> (B, Q)."""
        scores = queries[None, :, None] * self.key(face)[:, None, :]  # (B, Q, D)
        weights = torch.softmax(scores, dim=-1)  # (B, Q, D)
        return (weights * self.value(face)[:, None, :]).sum(-1)


class LinearShift(nn.Module):
    """Ablation of attention: ``W [v; a] + b`` of a face v (B, D) and a voice a (B, E) -> (B, D)."""

    def __init__(self, latent: int, voice_latent: int | None = None):
        super().__init__()
        self.map = nn.Linear(latent + (voice_latent or latent), latent)

    def forward(self, face: Tensor, voice: Tensor) -> Tensor:
        return self.map(torch.cat([face, voice], dim=1))


def directions_of_labels(attributes: dict[int, Tensor], count: int) -> Tensor:
    """The main differences between the faces of all labels, (D, count) with orthonormal columns.

    They are the first singular vectors of the attribute vectors (``attributes_of_labels``). One
    attribute vector follows from the others, so ValueError is raised unless ``count`` is smaller
    than the number of labels.
    """
    if len(attributes) <= count:
        raise ValueError(
            f"{count} directions of expression need more than {len(attributes)} classes"
        )
    _, _, right = torch.linalg.svd(torch.stack(list(attributes.values())), full_matrices=False)
    return right[:count].T


def attributes_of_labels(v: Rows, labels: Tensor, people: Tensor) -> dict[int, Tensor]:
    """What each label adds to the mean latent of a person: vectors (D,) by label, in their order.

    The attribute vector of a class is its mean latent minus the mean of all (Larsen et al. 2016,
    arXiv 1512.09300, section 4.1). Here the difference is taken within each person and averaged
    over the people who have faces with this label, so that it does not depend on who a face is.
    ``v`` is (N, D), ``labels`` and ``people`` are (N,). ``v`` is read once, person by person.
    """
    within_people: dict[int, list[Tensor]] = {int(label): [] for label in labels.unique()}
    for rows in _rows_of_each(people):
        of_person = v[rows]  # (faces of the person, D)
        labels_of_person = labels[rows]
        mean = of_person.mean(0)
        for label in labels_of_person.unique():
            with_label = of_person[labels_of_person == label]
            within_people[int(label)].append(with_label.mean(0) - mean)  # (D,)
    return {label: torch.stack(some).mean(0) for label, some in within_people.items()}


def length_of_expressions(attributes: dict[int, Tensor]) -> float:
    """How far an expression is from a face at rest, on average: of ``attributes_of_labels``.

    The first label is that of faces at rest, -1 or class 0. Calm, class 0, is not an expression.
    """
    rest = attributes[min(attributes)]
    expressions = [attributes[label] for label in attributes if label > 0]
    return float(torch.stack([(each - rest).norm() for each in expressions]).mean())


def _rows_of_each(people: Tensor) -> tuple[Tensor, ...]:
    """The rows of each person, in their order; people (N,) in the order of their numbers."""
    order = people.argsort(stable=True)
    _, counts = people.unique(return_counts=True)
    return order.split(counts.tolist())


def directions_of_classifier(v: Rows, people: Tensor, weight: Tensor, count: int) -> Tensor:
    """The changes within people that a classifier follows: (N, D), (N,), (C, D) -> (D, count).

    Of all shifts that move the scores ``weight v`` by a wanted amount, the one with the smallest
    distance d^T S^-1 d is a combination of the columns of ``S weight^T``, where S is the covariance
    within people. Such a column is the pattern that belongs to a row of ``weight`` (Haufe et al.
    2014, NeuroImage 87, eq. 6). The first singular vectors of the patterns are returned. Scores
    have C - 1 differences, so ValueError is raised unless ``count`` is smaller than C.
    """
    if len(weight) <= count:
        raise ValueError(f"{count} directions of a classifier need more than {len(weight)} classes")
    patterns = covariance_within_people(v, people) @ (weight - weight.mean(0)).T  # (D, C)
    left, _, _ = torch.linalg.svd(patterns, full_matrices=False)  # (D, C)
    return left[:, :count]


def covariance_within_people(v: Rows, people: Tensor, shrinkage: float = 0.1) -> Tensor:
    """Covariance (D, D) of how the latents (N, D) of each person differ from their mean.

    ``people`` (N,) are numbers. Few faces cannot tell D dimensions apart, so a ``shrinkage`` of 0.1
    replaces a tenth of the covariance by a multiple of the identity with the same trace (Ledoit &
    Wolf 2004, Journal of Multivariate Analysis 88(2); their estimate of the share is not used).
    ``v`` is read twice, in blocks.
    """
    numbers, position = people.unique(return_inverse=True)
    latent = v[torch.arange(1)].shape[1]
    counts = position.bincount().to(v[torch.arange(1)])[:, None]  # (people, 1)
    sums = torch.zeros(len(numbers), latent)
    blocks = in_blocks(torch.arange(len(v)), latent)
    for rows in blocks:
        sums.index_add_(0, position[rows], v[rows])
    means = sums / counts
    scatter = torch.zeros(latent, latent)
    for rows in blocks:
        deviations = v[rows] - means[position[rows]]  # (n, D)
        scatter += deviations.T @ deviations
    covariance = scatter / max(len(v) - len(numbers), 1)
    mean_variance = covariance.diagonal().mean().clamp_min(1e-6)
    return (1 - shrinkage) * covariance + shrinkage * mean_variance * torch.eye(latent)


class Can(nn.Module):
    """The context attention network (Blume et al. 2024, arXiv 2409.02566) with its classifier.

    ``mu' = mu + t * attention_mu(mu, voice mu)``, and the same with other weights for log sigma^2.
    The context strength t in 0...1 may be changed at any time (released code: 1).

    With ``normalise`` both latents are read in units of their spread over the training set (buffers
    set by ``fit_scale``), and the shift is scaled back to the face's units (released code: raw).

    With ``directions`` K > 0 the mean moves along K directions of expression only (buffer ``basis``
    B, (D, K), with orthonormal columns, set by ``fit_directions``):
    ``mu' = mu + t B B^T attention_mu`` (released code: the whole latent).

    With ``longest`` a shift of the mean s, in units of the spread, is shortened to
    ``s min(1, L / |s|)``, where L (buffer ``longest``, set by ``fit_directions``) is ``longest``
    times the way from a neutral face to an expression (released code: no limit).

    ``attention`` is "softmax", or "linear" for the ablation. ``voice_latent`` (E) is the size of
    the voice's latent, if it is not that of the face's (``latent``, D).
    """

    face_mean: Tensor  # (D,), like the next one
    face_spread: Tensor
    voice_mean: Tensor  # (E,), like the next one
    voice_spread: Tensor
    basis: Tensor  # (D, K)
    longest: Tensor  # ()

    def __init__(
        self,
        latent: int,
        classes: int = 7,
        normalise: bool = False,
        directions: int = 0,
        attention: str = "softmax",
        voice_latent: int | None = None,
        longest: float = 0.0,
    ):
        super().__init__()
        self.config: dict[str, Any] = {
            "latent": latent,
            "classes": classes,
            "normalise": normalise,
            "directions": directions,
            "attention": attention,
        }
        voice_latent = voice_latent or latent
        if voice_latent != latent:  # the cards of other networks do not name it
            self.config["voice_latent"] = voice_latent
        if longest:
            self.config["longest"] = longest
            self.register_buffer("longest", torch.tensor(float("inf")))
        kind = {"softmax": ContextAttention, "linear": LinearShift}[attention]
        self.att_mu = kind(latent, voice_latent)
        self.att_logvar = kind(latent, voice_latent)
        self.classifier = nn.Linear(latent, classes)
        for name, size in (("face", latent), ("voice", voice_latent)):
            self.register_buffer(f"{name}_mean", torch.zeros(size))
            self.register_buffer(f"{name}_spread", torch.ones(size))
        if directions:
            self.register_buffer("basis", torch.eye(latent)[:, :directions].clone())

    def fit_scale(self, face_mu: Rows, voice_mu: Rows) -> None:
        """Set mean and spread to those of the training latents (N, D), if ``normalise`` is set."""
        if not self.config["normalise"]:
            return
        for name, mu in (("face", face_mu), ("voice", voice_mu)):
            mean, spread = getattr(self, f"{name}_mean"), getattr(self, f"{name}_spread")  # (D,)
            new_mean, new_spread = mean_and_spread(blocks_of(mu, len(mean)))
            mean.copy_(new_mean)
            spread.copy_(new_spread.clamp_min(1e-3))  # an unused dimension has a spread of 0

    def fit_directions(
        self,
        face_mu: Rows,
        labels: Tensor,
        people: Tensor,
        of: str = "labels",
        keeping: Tensor | None = None,
    ) -> None:
        """Set the basis to directions of expression of training faces, if ``directions`` is set.

        Call it after ``fit_scale``. ``face_mu`` is (N, D), ``people`` (N,), and so is ``labels``,
        where faces without expression have a label of their own, such as -1. ``of`` is "labels"
        (``directions_of_labels``), "classifier" (``directions_of_classifier``), or "both". Then one
        half of the K directions are those of the labels, and the rest are what those of the
        classifier add to them. ``keeping`` (D, D) is a linear map of shifts in the face's units,
        such as ``training.face_region.keeping_to_face``, which is applied to the directions.
        """
        count = self.config["directions"]
        if not count:
            return
        v = InUnits(face_mu, self.face_mean, self.face_spread)  # (N, D)
        weight = (self.classifier.weight * self.face_spread).detach()  # (classes, D), for v
        attributes = {}
        if of != "classifier" or "longest" in self.config:
            attributes = attributes_of_labels(v, labels, people)  # reads all faces
        if of == "labels":
            basis = directions_of_labels(attributes, count)
        elif of == "classifier":
            basis = directions_of_classifier(v, people, weight, count)
        else:
            of_labels = directions_of_labels(attributes, count // 2)
            of_classifier = directions_of_classifier(v, people, weight, count - count // 2)
            basis = torch.linalg.qr(torch.cat([of_labels, of_classifier], dim=1)).Q
        if keeping is not None:
            spread = self.face_spread[:, None]  # (D, 1)
            basis = torch.linalg.qr(keeping.T @ (spread * basis) / spread).Q
        self.basis.copy_(basis)  # (D, K)
        if "longest" in self.config:
            self.longest.fill_(self.config["longest"] * length_of_expressions(attributes))

    def shift(self, face: Posterior, voice: Posterior, strength: float | Tensor = 1.0) -> Posterior:
        """The face's posterior (B, D) shifted by the voice's (B, E).

        ``strength`` is a number or (B, 1).
        """
        v = (face.mu - self.face_mean) / self.face_spread  # (B, D)
        a = (voice.mu - self.voice_mean) / self.voice_spread  # (B, E)
        shift = self.att_mu(v, a)  # (B, D)
        if self.config["directions"]:
            shift = shift @ self.basis @ self.basis.T  # (B, D) -> (B, K) -> (B, D)
        if "longest" in self.config:
            length = shift.norm(dim=1, keepdim=True).clamp_min(1e-6)  # (B, 1)
            shift = shift * (self.longest / length).clamp(max=1)
        return Posterior(
            face.mu + strength * self.face_spread * shift,
            face.logvar + strength * self.att_logvar(face.logvar, voice.logvar),
        )

    def forward(
        self, face: Posterior, voice: Posterior, strength: float | Tensor = 1.0
    ) -> tuple[Tensor, Posterior]:
        """(Logits (B, classes) from the shifted mean, the shifted posterior)."""
        shifted = self.shift(face, voice, strength)
        return self.classifier(shifted.mu), shifted
