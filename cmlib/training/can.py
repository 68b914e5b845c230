"""Training of the context attention network."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cmlib.config import CanConfig
from cmlib.models import Can, Classifier, Posterior, concatenation
from cmlib.models.can import covariance_within_people
from cmlib.models.moments import InUnits
from cmlib.progress import progress_bar
from cmlib.training import losses
from cmlib.training.batches import batches, prefetched
from cmlib.training.face_region import changes_of_pictures, keeping_to_face
from cmlib.training.latents import Latents, Means, Part
from cmlib.training.loop import RunningMeans, seed_epoch

NEUTRAL = -1  # the label of a neutral face
FACES_OF_MEDIAN = 200_000  # of which the variance of imagined faces is the median
NOBODY = np.iinfo(np.int64).min  # the number of the person whom an imagined face shows


@torch.enable_grad()  # also where the caller is inside no_grad
def train_can(
    face: Posterior | Latents,
    voice: Posterior | Latents,
    labels: np.ndarray,
    settings: CanConfig,
    *,
    people: np.ndarray | None = None,
    classifier: Classifier | None = None,
    teacher: Classifier | None = None,
    decoder: nn.Module | None = None,
    classes: int = 7,
    seed: int = 0,
    on_epoch: Callable[[Can, dict], None] | None = None,
    device: torch.device | None = None,
) -> tuple[Can, pd.DataFrame]:
    """Train the context attention network; return (network in eval mode, history by epoch).

    The network learns from pairs of latents. ``face`` (V, N + M, D) holds V views of each face.
    ``voice`` (N, E) holds, for each of the first N faces, the voice of the same clip. The last M
    faces belong to the crowd, to people whose voices are not known, or they are imagined.
    ``labels`` (N + M,) are in 0 ... classes - 1, or -1 for neutral faces. ``people`` (N + M,) are
    the numbers of the people whom the faces belong to; only ``settings.directions`` and
    ``settings.person_weight`` need them. The network's classifier starts from the weights of
    ``classifier``, which was trained on face latents, and keeps learning with
    ``settings.finetune``. ``teacher`` was trained on latents of face and voice side by side; only
    ``settings.distill_weight`` needs it. ``decoder`` draws the faces; only
    ``settings.around_weight`` needs it. The training runs on ``device`` (default: the CPU), and
    the network comes back from there.

    ValueError where ``settings`` need ``people``, ``teacher`` or ``decoder`` and there are none,
    pair neutral faces with their own voices, or ask for unknown directions.
    """
    _check_settings(settings, people, teacher, decoder)
    torch.manual_seed(seed)
    device = device or torch.device("cpu")
    faces, voices = Latents.of(face), Latents.of(_one_view(voice))
    pairs = Pairs(labels.astype(np.int64), len(voices), settings)
    model = _set_up_model(faces, voices, pairs, settings, people, classifier, classes, decoder)
    guides = _set_up_guides(model, faces, settings, people, teacher, device)
    model.to(device)
    optimiser = _set_up_optimiser(model, settings)
    history = []
    for epoch in progress_bar(range(settings.epochs), "context attention", unit="epoch"):
        rng = seed_epoch(seed, epoch)
        row = {"epoch": epoch + 1}
        where = f"epoch {epoch + 1}"
        drawn = _drawn_batches(faces, voices, pairs, rng)
        row |= _train_epoch(model, optimiser, prefetched(drawn, device), pairs, guides, where)
        history.append(row)
        if on_epoch:
            on_epoch(model.eval(), row)
    return model.cpu().eval().requires_grad_(False), pd.DataFrame(history)


def _one_view(voice: Posterior | Latents) -> Posterior | Latents:
    """Voices (N, E) as posteriors of one view, (1, N, E)."""
    return voice if isinstance(voice, Latents) else voice.map(lambda x: x[None])


def _check_settings(
    settings: CanConfig,
    people: np.ndarray | None,
    teacher: Classifier | None,
    decoder: nn.Module | None,
) -> None:
    """ValueError where ``train_can`` lacks what the settings need."""
    if settings.neutral and settings.pairing == "own":
        raise ValueError('neutral faces need the voices of others: set pairing="emotion"')
    if people is None and settings.directions:
        raise ValueError(
            "directions of expression are found within people: say whose each face is (people)"
        )
    if settings.directions_of not in ("labels", "classifier", "both"):
        raise ValueError(
            f"unknown directions_of {settings.directions_of!r}: choose labels, classifier or both"
        )
    if people is None and settings.person_weight:
        raise ValueError(
            "changes within a person need to know whose each face is: give people, or set"
            " person_weight=0"
        )
    if teacher is None and settings.distill_weight:
        raise ValueError(
            "a network can be distilled only from another: give teacher, or set distill_weight=0"
        )
    if settings.longest and not settings.directions:
        raise ValueError(
            "the longest shift is that of directions of expression: set directions, or longest=0"
        )
    if settings.around_weight and (decoder is None or not settings.directions):
        raise ValueError(
            "what directions change around a face is seen in pictures: give decoder and set"
            " directions, or set around_weight=0"
        )


@dataclass(frozen=True)
class Guides:
    """What guides a shift beside the labels: each has a weight, and may be missing.

    ``precision`` (D, D) measures how far a shift is from changes within a person. ``teacher`` is a
    classifier that reads face and voice side by side.
    """

    precision: Tensor | None = None
    teacher: Classifier | None = None

    def person(self, shift: Tensor) -> Tensor:
        """The mean distance of shifts (B, D) in units of the spread, d^T precision d / D."""
        assert self.precision is not None
        return mahalanobis(shift, self.precision).mean() / shift.shape[1]

    def distilled(self, face: Posterior, voice: Posterior, logits: Tensor, heard: Tensor) -> Tensor:
        """Mean KL divergence of the prediction from the teacher's, of the pairs that are ``heard``.

        (Hinton et al. 2015, arXiv 1503.02531, with a temperature of 1.) ``face`` (B, D), ``voice``
        (B, E), ``logits`` (B, classes), ``heard`` (B,) bool. Other pairs count as 0.
        """
        assert self.teacher is not None
        with torch.no_grad():
            target = self.teacher(concatenation(face, voice).mu).log_softmax(1)  # (B, classes)
        terms = F.kl_div(logits.log_softmax(1), target, log_target=True, reduction="none").sum(1)
        return (terms * heard).mean()


def _set_up_guides(
    model: Can,
    faces: Latents,
    settings: CanConfig,
    people: np.ndarray | None,
    teacher: Classifier | None,
    device: torch.device,
) -> Guides:
    """The guides that have a weight, on ``device``; ``faces`` are all training faces."""
    precision = None
    if people is not None and settings.person_weight:
        real = np.flatnonzero(people != NOBODY)
        in_units = InUnits(Means(faces, real), model.face_mean, model.face_spread)
        covariance = covariance_within_people(in_units, torch.from_numpy(people[real]))
        precision = torch.linalg.inv(covariance).to(device)
    if teacher is None or not settings.distill_weight:
        return Guides(precision)
    return Guides(precision, copy.deepcopy(teacher).to(device))


class Drawn(NamedTuple):
    """A batch of pairs: posteriors of faces (B, D) and voices (B, E), and three columns (B,).

    ``targets`` are the classes to predict. ``expressive`` says of which faces the label is known
    to be a class, so that the voice is that of their own expression.
    """

    face: Posterior
    voice: Posterior
    targets: Tensor
    expressive: Tensor


def _drawn_batches(
    faces: Latents, voices: Latents, pairs: Pairs, rng: np.random.Generator
) -> Iterator[Drawn]:
    """Every expressive face once, in random order, each in a random view and with a voice."""
    for rows in batches(pairs.expressive, pairs.settings.batch, rng):
        face_rows, voice_rows = pairs.draw(rows, rng)  # (B,) each
        view = rng.integers(faces.views, size=len(rows))
        yield Drawn(
            faces.batch(face_rows, view),
            voices.batch(voice_rows),
            torch.from_numpy(pairs.labels[rows]),
            torch.from_numpy(pairs.labels[face_rows] >= 0),
        )


def _train_epoch(
    model: Can,
    optimiser: torch.optim.Optimizer,
    drawn_batches: Iterable[Drawn],
    pairs: Pairs,
    guides: Guides,
    where: str,
) -> dict[str, float]:
    """Train on every expressive face once; return the means of the terms and the accuracy."""
    settings = pairs.settings
    means = RunningMeans(where)
    model.train()
    for drawn in drawn_batches:
        v, a = drawn.face, drawn.voice  # (B, D) and (B, E)
        if settings.voice_noise:
            a = _with_noise(a, settings.voice_noise * model.voice_spread)

        # Compute the losses.
        shifted = model.shift(v, a)  # (B, D)
        logits = model.classifier(shifted.sample() if settings.sample else shifted.mu)
        cross_entropy = F.cross_entropy(logits, drawn.targets)
        kl = _divergence(v, shifted, settings.kl_direction)
        terms = {"cross-entropy": cross_entropy, "kl": kl}
        loss = cross_entropy + settings.kl_weight * kl
        if guides.precision is not None:
            terms["person"] = guides.person((shifted.mu - v.mu) / model.face_spread)
            loss = loss + settings.person_weight * terms["person"]
        if guides.teacher is not None:
            terms["distillation"] = guides.distilled(v, a, logits, drawn.expressive)
            loss = loss + settings.distill_weight * terms["distillation"]
        correct = (logits.argmax(1) == drawn.targets).sum()
        means.add(terms, len(drawn.targets), {"train accuracy": correct})

        # Update weights.
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    means.read()
    return means.over(len(pairs.expressive))


class Pairs:
    """Which face is paired with which voice.

    ``labels`` (N + M,) are those of N faces with voices and of M faces of the crowd, or -1 for
    neutral faces.
    """

    def __init__(self, labels: np.ndarray, with_voice: int, settings: CanConfig):
        self.labels = labels
        self.settings = settings
        self.expressive = np.flatnonzero(labels[:with_voice] >= 0)
        self.neutral = np.flatnonzero(labels < 0)
        # Rows by label, of the faces with voices and of the crowd. Where the crowd lacks a label,
        # faces with voices take its place.
        self.with_label: dict[int, np.ndarray] = {}
        self.crowd_with_label: dict[int, np.ndarray] = {}
        for label in np.unique(labels[self.expressive]):
            self.with_label[label] = self.expressive[labels[self.expressive] == label]
            crowd = with_voice + np.flatnonzero(labels[with_voice:] == label)
            self.crowd_with_label[label] = crowd if len(crowd) else self.with_label[label]

    def draw(self, rows: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Pair a batch (B,) of expressive faces: (rows of faces, rows of voices), (B,) each.

        The voices have the labels of ``rows``, and these labels are what the network has to
        predict. A share of the faces is replaced by faces of the crowd with the same label, and
        then a share by neutral faces.
        """
        settings, labels = self.settings, self.labels[rows]
        faces = voices = rows
        if settings.pairing != "own":
            voices = _any_with_label(labels, self.with_label, rng)
        if settings.crowd:
            replaced = rng.random(len(rows)) < settings.crowd
            faces = np.where(replaced, _any_with_label(labels, self.crowd_with_label, rng), faces)
        if settings.neutral and len(self.neutral):
            replaced = rng.random(len(rows)) < settings.neutral
            faces = np.where(replaced, rng.choice(self.neutral, len(rows)), faces)
        return faces, voices


def _any_with_label(
    labels: np.ndarray, rows_by_label: dict[int, np.ndarray], rng: np.random.Generator
) -> np.ndarray:
    """A random row for each of the labels (B,)."""
    chosen = np.empty(len(labels), int)
    for label in np.unique(labels):
        has_label = labels == label
        chosen[has_label] = rng.choice(rows_by_label[label], has_label.sum())
    return chosen


def add_imagined(
    face: Posterior | Latents,
    labels: np.ndarray,
    people: np.ndarray,
    settings: CanConfig,
    seed: int,
) -> tuple[Latents | Posterior, np.ndarray, np.ndarray]:
    """Add ``settings.imagined`` neutral faces that are drawn from the prior N(0, 1).

    A corpus has few people, and a context network that has met only those hardly moves the face of
    a stranger. ``face`` (V, N, D), ``labels`` and ``people`` (N,) are those of the corpus; M
    further faces come after them, which show nobody. All views of such a face are the same, and
    its variance is the median of the others (of ``FACES_OF_MEDIAN``, if there are more).
    """
    count = settings.imagined
    if not count:
        return face, labels, people
    faces = Latents.of(face)
    generator = torch.Generator().manual_seed(seed)
    mu = torch.randn(count, faces.size, generator=generator).expand(faces.views, -1, -1)
    rows = np.arange(len(faces))[:: 1 + len(faces) // FACES_OF_MEDIAN]
    logvar = torch.stack(
        [
            faces.batch(rows, view).logvar.median(0, keepdim=True).values.expand(count, -1)
            for view in range(faces.views)
        ]
    )
    return (
        Latents(*faces.parts, Part(Posterior(mu, logvar))),
        np.concatenate([labels, np.full(count, NEUTRAL)]),
        np.concatenate([people, np.full(count, NOBODY)]),
    )


def _set_up_model(
    faces: Latents,
    voices: Latents,
    pairs: Pairs,
    settings: CanConfig,
    people: np.ndarray | None,
    classifier: Classifier | None,
    classes: int,
    decoder: nn.Module | None,
) -> Can:
    """The network before its first epoch, with scale, directions of expression and classifier."""
    model = Can(
        faces.size,
        classes,
        settings.normalise,
        settings.directions,
        settings.attention,
        voices.size,
        settings.longest,
    )
    every_view = Means(faces, pairs.expressive, range(faces.views))  # (V * expressive, D)
    model.fit_scale(every_view, Means(voices, pairs.expressive))
    if classifier is not None:
        model.classifier.load_state_dict(classifier.linear.state_dict())
    if settings.directions and people is not None:
        real = np.flatnonzero(people != NOBODY)
        keeping = None
        if decoder is not None and settings.around_weight:
            changes = changes_of_pictures(decoder, model.face_mean)  # (D, C, S, S)
            keeping = keeping_to_face(changes, settings.around_weight)
        model.fit_directions(
            Means(faces, real),
            torch.from_numpy(pairs.labels[real]),
            torch.from_numpy(people[real]),
            of=settings.directions_of,
            keeping=keeping,
        )
    model.classifier.requires_grad_(settings.finetune)
    return model


def mahalanobis(difference: Tensor, precision: Tensor) -> Tensor:
    """Squared Mahalanobis distances (B,) of differences (B, D): d^T ``precision`` d."""
    return (difference @ precision * difference).sum(1)


def _set_up_optimiser(model: Can, settings: CanConfig) -> torch.optim.Optimizer:
    """Adam for the attention and, with ``finetune``, for the classifier."""
    attention = [*model.att_mu.parameters(), *model.att_logvar.parameters()]
    groups = [{"params": attention, "weight_decay": settings.weight_decay}]
    if settings.finetune:
        classifier = list(model.classifier.parameters())
        groups.append({"params": classifier, "weight_decay": settings.classifier_decay})
    return torch.optim.Adam(groups, lr=settings.learning_rate)


def _with_noise(voice: Posterior, deviation: Tensor) -> Posterior:
    """Add noise of standard ``deviation`` (D,) to the mean: no voice is to be learnt by heart."""
    return Posterior(voice.mu + deviation * torch.randn_like(voice.mu), voice.logvar)


def _divergence(prior: Posterior, shifted: Posterior, direction: str) -> Tensor:
    """The mean KL divergence of a batch, KL(N || N') for "prior_to_shifted", else KL(N' || N)."""
    if direction == "prior_to_shifted":
        return losses.kl_between(*prior, *shifted).mean()
    return losses.kl_between(*shifted, *prior).mean()
