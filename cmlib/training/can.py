"""Training of the context attention network."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from torch.nn import functional as F
from tqdm.auto import tqdm

from cmlib.config import CanConfig
from cmlib.models import Can, Classifier, Posterior
from cmlib.training import losses
from cmlib.training.batches import batches
from cmlib.training.loop import _check, _seed, quiet

if TYPE_CHECKING:
    pass


def _same_emotion(
    labels: np.ndarray, same: dict[int, np.ndarray], rng: np.random.Generator
) -> np.ndarray:
    """For each of (B,) labels any of the rows that ``same`` lists for it."""
    chosen = np.empty(len(labels), int)
    for label in np.unique(labels):
        here = labels == label
        chosen[here] = rng.choice(same[label], here.sum())
    return chosen


@torch.enable_grad()  # also when asked for from within no_grad
def train_can(
    face: Posterior,
    voice: Posterior,
    labels: np.ndarray,
    settings: CanConfig,
    *,
    people: np.ndarray | None = None,
    classifier: Classifier | None = None,
    classes: int = 7,
    seed: int = 0,
    on_epoch: Callable[[Can, dict], None] | None = None,
) -> tuple[Can, pd.DataFrame]:
    """Train the context attention network on paired latents: face (V, N + M, D), the voice of each face's own clip (N, D),
    labels (N + M,); the last M faces are of people who were not heard, the crowd.

    Faces labelled -1 are neutral: ``settings.neutral`` is the share of each batch that is replaced by them, and
    ``settings.directions`` needs them, and the person of each face, ``people`` (N + M,).  ``settings.crowd`` is the share
    that is replaced before by faces of the crowd with the same label, where it has any.  ``classifier`` (trained on the
    face latents) starts the network's own; it goes on learning where ``settings.finetune``.  Returns (network in eval
    mode, history).  ValueError where neutral faces would hear their own voices (``settings.pairing``).
    """
    if settings.neutral and settings.pairing == "own":
        raise ValueError('neutral faces need the voices of others: set pairing="emotion"')
    if settings.directions and people is None:
        raise ValueError(
            "directions of expression are found within people: say whose each face is (people)"
        )
    torch.manual_seed(seed)
    (views, _, width), heard_too = face.mu.shape, len(voice.mu)
    model, labels = (
        Can(width, classes, settings.normalise, settings.directions, settings.attention),
        labels.astype(np.int64),
    )
    expressive, neutral = np.flatnonzero(labels[:heard_too] >= 0), np.flatnonzero(labels < 0)
    model.fit_scale(face.mu[:, expressive].flatten(0, 1), voice.mu[expressive])
    if settings.directions:
        model.fit_directions(face.mu[0], torch.from_numpy(labels), torch.from_numpy(people))
    if classifier is not None:
        model.classifier.load_state_dict(classifier.linear.state_dict())
    model.classifier.requires_grad_(settings.finetune)
    attention = [*model.att_mu.parameters(), *model.att_logvar.parameters()]
    groups = [dict(params=attention, weight_decay=settings.weight_decay)]
    if settings.finetune:
        groups.append(
            dict(params=model.classifier.parameters(), weight_decay=settings.classifier_decay)
        )
    optimiser = torch.optim.Adam(groups, lr=settings.learning_rate)
    same = {c: expressive[labels[expressive] == c] for c in np.unique(labels[expressive])}
    others = {
        c: rows if len(rows := heard_too + np.flatnonzero(labels[heard_too:] == c)) else same[c]
        for c in same
    }
    history = []
    for epoch in tqdm(
        range(settings.epochs), disable=quiet(), desc="context attention", unit="epoch"
    ):
        rng, sums, hits = _seed(seed, epoch), {}, 0
        model.train()
        for rows in batches(expressive, settings.batch, rng):
            target = torch.from_numpy(labels[rows])
            heard = rows if settings.pairing == "own" else _same_emotion(labels[rows], same, rng)
            if settings.crowd:
                rows = np.where(
                    rng.random(len(rows)) < settings.crowd,
                    _same_emotion(labels[rows], others, rng),
                    rows,
                )
            if settings.neutral and len(neutral):
                rows = np.where(
                    rng.random(len(rows)) < settings.neutral, rng.choice(neutral, len(rows)), rows
                )
            view = torch.from_numpy(rng.integers(views, size=len(rows)))
            v = Posterior(face.mu[view, rows], face.logvar[view, rows])
            a = Posterior(voice.mu[heard], voice.logvar[heard])
            if settings.voice_noise:
                a = Posterior(
                    a.mu + settings.voice_noise * model.voice_spread * torch.randn_like(a.mu),
                    a.logvar,
                )
            shifted = model.shift(v, a)
            logits = model.classifier(shifted.sample() if settings.sample else shifted.mu)
            pair = (*v, *shifted) if settings.kl_direction == "prior_to_shifted" else (*shifted, *v)
            terms = {
                "cross-entropy": F.cross_entropy(logits, target),
                "kl": losses.kl_between(*pair).mean(),
            }
            _check(terms, f"epoch {epoch + 1}")
            optimiser.zero_grad()
            (terms["cross-entropy"] + settings.kl_weight * terms["kl"]).backward()
            optimiser.step()
            hits += int((logits.argmax(1) == target).sum())
            for name, value in terms.items():
                sums[name] = sums.get(name, 0.0) + value.item() * len(rows)
        history.append(
            {
                "epoch": epoch + 1,
                **{k: v / len(expressive) for k, v in sums.items()},
                "train accuracy": hits / len(expressive),
            }
        )
        if on_epoch:
            on_epoch(model.eval(), history[-1])
    return model.eval().requires_grad_(False), pd.DataFrame(history)
