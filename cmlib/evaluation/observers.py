"""Observers as judge: what share of a hundred people would name which emotion in a face?

The judge is an ``ObserverNetwork``. It learns from pictures of posed expressions and from the
answers that observers gave to them, and it is asked about people whom it has never seen. There is
one for each of the five folds of ``corpora.splits``. A performer is judged by the network of the
fold in which this person is tested, and a stranger by the mean of all five.

How good the judge is, ``score`` says between two limits. Below is the best answer that is the same
for every picture. Above is the scatter between observers: nobody can predict it, and even a second
group of a hundred people would not give the same shares as the first.

*Congruence as seen by people* is the gain in the predicted share of observers who would name the
voice's emotion, from the reconstruction of a face to its mental representation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional as F

from cmlib import checkpoints, files, metrics
from cmlib.corpora.splits import FOLDS
from cmlib.evaluation.judges import PartialJudge
from cmlib.models.observers import (
    OBSERVED_EMOTIONS,
    ObserverNetwork,
    edge_maps,
    grey,
    mean_shares,
    standardised,
)
from cmlib.progress import progress_bar
from cmlib.training.batches import Pictures, batches
from cmlib.training.loop import best_device, launch, on_device, seed_epoch

RATERS = 100  # observers of each picture
GROUPS_DRAWN = 200  # second groups of observers, for their mean
SMALLEST_SHARE = 1e-6  # a predicted share of 0 would cost infinitely much
BINS = 10  # of predicted shares, for the calibration
PICTURES_AT_A_TIME = 64
TEMPERATURES = [0.6 + 0.05 * step for step in range(39)]

# -------------------------------------------------------------------- training


@dataclass(frozen=True)
class ObserverConfig:
    """How the judge is trained. The kind of network was chosen on people who validate."""

    width: int = 32
    members: int = 1  # networks whose answers are averaged
    dropout: float = 0.5
    copies: int = 8  # of each picture, changed at random
    epochs: int = 24  # in each of which every picture is seen in one of its copies
    batch: int = 48
    learning_rate: float = 3e-3  # the maximum of the schedule
    weight_decay: float = 0.05
    turn: float = 0.12  # radians, in either direction
    zoom: tuple[float, float] = (0.85, 1.05)  # shares of the picture's side that are shown
    shift: float = 0.04  # of the picture's side, in either direction
    gamma: float = 0.4  # brightness is raised to the power e^gamma ... e^-gamma
    blur: float = 1.6  # standard deviation in pixels of 64, at most
    noise: float = 0.03  # standard deviation, at most


@torch.enable_grad()  # even if the caller has switched gradients off
def train(
    pictures: Pictures,
    shares: np.ndarray,
    rows: np.ndarray,
    settings: ObserverConfig = ObserverConfig(),  # noqa: B008 (frozen)
    seed: int = 0,
) -> ObserverNetwork:
    """A judge that learns the ``shares`` (N, 6) of observers from the pictures ``rows`` (M,).

    The loss is the cross-entropy of the predicted shares with those of the observers. Copies of
    every picture are mirrored, turned, zoomed, moved, lit, blurred and made noisy at random,
    because networks that draw faces do the like, and none of it is an expression. Edges are counted
    before the training, since that takes longer than the training itself.
    """
    # Set up
    torch.manual_seed(seed)
    device = launch("32-true").device
    network = ObserverNetwork(settings.width, settings.members, settings.dropout).to(device)
    copies = _edges_of_copies(pictures, rows, settings, seed)
    targets = torch.from_numpy(shares[rows]).float()
    optimiser = torch.optim.AdamW(
        network.parameters(), settings.learning_rate, weight_decay=settings.weight_decay
    )
    steps = settings.epochs * math.ceil(len(rows) / settings.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, settings.learning_rate, total_steps=steps + 1
    )

    for epoch in progress_bar(range(settings.epochs), "observers", unit="epoch"):
        rng = seed_epoch(seed, epoch)
        fine, coarse = copies[epoch % settings.copies]
        for batch in batches(np.arange(len(rows)), settings.batch, rng):
            # Forward, in float32, since the network is small
            logits = network.from_edges(fine[batch].to(device), coarse[batch].to(device))
            target = targets[batch].to(device)  # (B, 6)
            loss = -(target * logits.log_softmax(-1)).sum(-1).mean()

            # Update weights and learning rate
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return network.cpu().eval().requires_grad_(False)


@torch.no_grad()
def _edges_of_copies(
    pictures: Pictures, rows: np.ndarray, settings: ObserverConfig, seed: int
) -> list[tuple[Tensor, Tensor]]:
    """For each copy of the pictures ``rows`` (M,): its edges, (M, 8, 16, 16) and (M, 8, 8, 8)."""
    small = torch.cat([grey(pictures.batch(batch)) for batch in batches(rows, 512)])
    rng = np.random.default_rng(seed)
    copies = []
    for _ in range(settings.copies):
        parts = [
            edge_maps(standardised(augment(x, settings, rng)))
            for x in small.split(PICTURES_AT_A_TIME)
        ]
        fine, coarse = (torch.cat(maps) for maps in zip(*parts))
        copies.append((fine, coarse))
    return copies


def augment(x: Tensor, settings: ObserverConfig, rng: np.random.Generator) -> Tensor:
    """Grey pictures (B, 1, S, S) in 0...1, changed at random in ways that are no expression."""

    def uniform(low: float, high: float) -> Tensor:
        return torch.from_numpy(rng.uniform(low, high, len(x))).float()

    # Mirror, turn, zoom and move
    mirror = torch.from_numpy(rng.choice((-1.0, 1.0), len(x))).float()
    angle, zoom = uniform(-settings.turn, settings.turn), uniform(*settings.zoom)
    cosine, sine = zoom * angle.cos(), zoom * angle.sin()
    across, down = (uniform(-2 * settings.shift, 2 * settings.shift) for _ in range(2))
    rows = [torch.stack([mirror * cosine, -sine, across], 1)]
    rows.append(torch.stack([mirror * sine, cosine, down], 1))
    grid = F.affine_grid(torch.stack(rows, 1), list(x.shape), align_corners=False)
    x = F.grid_sample(x, grid, padding_mode="border", align_corners=False)

    # Light, blur and noise; half of the batches are blurred as a whole, and half in part
    gamma = uniform(-settings.gamma, settings.gamma).exp().view(-1, 1, 1, 1)
    x = x.clamp_min(1e-4) ** gamma
    blurred = len(x) if rng.random() < 0.5 else len(x) // 2
    x = torch.cat([blur(x[:blurred], rng.uniform(0, settings.blur)), x[blurred:]])
    noise = torch.from_numpy(rng.standard_normal(x.shape, np.float32))
    return x + uniform(0, settings.noise).view(-1, 1, 1, 1) * noise


def blur(x: Tensor, deviation: float) -> Tensor:
    """Pictures (B, C, S, S) blurred by a Gaussian with this standard deviation in pixels."""
    reach = math.ceil(3 * deviation)
    if not reach:
        return x
    offsets = torch.arange(-reach, reach + 1, dtype=x.dtype)
    kernel = (-0.5 * (offsets / deviation).square()).exp()
    kernel = (kernel / kernel.sum()).view(1, 1, 1, -1).expand(x.shape[1], 1, 1, -1)
    x = F.pad(x, [reach] * 4, mode="replicate")
    x = F.conv2d(x, kernel, groups=x.shape[1])
    return F.conv2d(x, kernel.transpose(2, 3), groups=x.shape[1])


def calibrate(
    network: ObserverNetwork, pictures: Pictures, shares: np.ndarray, rows: np.ndarray
) -> None:
    """Set the temperature at which the network predicts the pictures ``rows`` (M,) best.

    These should show people who validate. Guo et al. 2017, arXiv 1706.04599, with shares in place
    of labels.
    """
    with torch.no_grad():
        parts = [network.mirrored_logits(pictures.batch(b)) for b in batches(rows, 64)]
    logits = torch.cat(parts, 1)  # (M, N, 6)
    losses = {}
    for temperature in TEMPERATURES:
        predicted = mean_shares(logits, temperature).numpy()
        losses[temperature] = cross_entropy(shares[rows], predicted).mean()
    network.temperature.fill_(min(losses, key=lambda temperature: losses[temperature]))


# -------------------------------------------------------------------- asking the judges


class Observers(PartialJudge):
    """The judge, through the same interface as the others: ``judges.predict`` takes it.

    ``networks`` are one or several, whose shares are averaged. The observers were not offered
    calm or neutral, so of these classes it knows nothing.
    """

    OUTPUTS = OBSERVED_EMOTIONS

    def __init__(self, networks: Sequence[ObserverNetwork], classes: Sequence[str] = OUTPUTS):
        super().__init__(classes)
        self.networks = tuple(networks)

    @classmethod
    def shipped(cls, fold: int = 0, folder: Path | None = None) -> Observers:
        """The judge of a fold (1...5), which has not seen its people, or with 0 the mean of five.

        They are read from ``folder``, by default those that ship with this repository.
        CheckpointError if one is missing.
        """
        folder = folder or files.ROOT / "checkpoints" / "observers"
        folds = [fold] if fold else range(1, len(FOLDS) + 1)
        paths = [folder / f"fold-{number}" for number in folds]
        return cls([checkpoints.load(path, ObserverNetwork)[0] for path in paths])

    @torch.no_grad()
    def probabilities(self, pictures: Tensor) -> np.ndarray:
        """Crops of faces (N, 3, S, S) in 0...1 -> predicted shares of observers (N, 6)."""
        device = best_device()
        parts = []
        with on_device(device, *self.networks):
            for batch in pictures.float().split(PICTURES_AT_A_TIME):
                x = batch.to(device)
                shares = torch.stack([network.shares(x) for network in self.networks]).mean(0)
                parts.append(shares.cpu())
        return torch.cat(parts).numpy()


# -------------------------------------------------------------------- how good the judge is


def cross_entropy(shares: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """-sum_k p_k log q_k in nats of shares p (N, K) and predictions q (N, K) or (K,): (N,).

    A proper score: its expectation is least for the true shares (Gneiting & Raftery 2007).
    """
    return -(shares * np.log(np.maximum(predicted, SMALLEST_SHARE))).sum(1)


def scatter_of_observers(shares: np.ndarray, raters: int = RATERS) -> np.ndarray:
    """The entropy of the shares (N, K) in nats, corrected for the number of raters: (N,).

    Whoever knew the true shares would reach this cross-entropy. Observed shares are less scattered
    than true ones, by (K' - 1) / (2 n) with K' answers that occurred (Miller 1955).
    """
    entropy = -(shares * np.log(np.where(shares > 0, shares, 1))).sum(1)
    return entropy + ((shares > 0).sum(1) - 1) / (2 * raters)


def second_group(shares: np.ndarray) -> np.ndarray:
    """The cross-entropy that a second group of as many observers would reach, (N,).

    It is drawn at random from the shares (N, K) of the first one. So that an answer that nobody
    gave does not cost infinitely much, half an observer is added to each (Krichevsky & Trofimov
    1981). What the second group loses comes on top of ``scatter_of_observers``.
    """
    rng = np.random.default_rng(0)
    exact = shares / shares.sum(1, keepdims=True)
    entropy = cross_entropy(exact, exact)
    loss = np.zeros(len(shares))
    for _ in range(GROUPS_DRAWN):
        counts = rng.multinomial(RATERS, exact)
        answer = (counts + 0.5) / (RATERS + 0.5 * shares.shape[1])
        loss += cross_entropy(exact, answer) - entropy
    return scatter_of_observers(shares) + loss / GROUPS_DRAWN


def calibration(shares: np.ndarray, predicted: np.ndarray) -> pd.DataFrame:
    """Predicted and observed shares, for every picture and emotion, in bins of the prediction.

    A row for each bin that is not empty: low, high, count, predicted and observed (means).
    """
    edges = np.linspace(0, 1, BINS + 1)
    table = pd.DataFrame({"predicted": predicted.ravel(), "observed": shares.ravel()})
    position = np.searchsorted(edges[1:-1], table.predicted)
    grouped = table.groupby(position).agg(
        count=("observed", "size"), predicted=("predicted", "mean"), observed=("observed", "mean")
    )
    grouped.insert(0, "low", edges[grouped.index])
    grouped.insert(1, "high", edges[grouped.index + 1])
    return grouped.reset_index(drop=True)


def score(
    shares: np.ndarray, predicted: np.ndarray, constant: np.ndarray, people: np.ndarray
) -> dict:
    """How well the predictions (N, 6) meet the shares of observers (N, 6).

    ``constant`` is the best constant answer, (6,) or (N, 6): the mean shares of those who train.
    Values are {"value", "low", "high"} with 95 % intervals over ``people`` (N,). The entries
    cross_entropy, constant, scatter and second_group are in nats. ``explained`` is how much of the
    way from the constant answer to the scatter between observers the judge goes, ``most_named``
    the share of pictures whose most frequent answer it predicts, and ``absolute_error`` that of
    the shares. ``calibration`` has a row for each bin, and ``calibration_error`` is the mean
    distance of its observed shares from the predicted ones.
    """
    predicted = np.broadcast_to(predicted, shares.shape)
    table = calibration(shares, predicted)
    gap = (table.observed - table.predicted).abs()
    of_judge = cross_entropy(shares, predicted)
    of_constant = cross_entropy(shares, constant)
    scatter = scatter_of_observers(shares)

    def explained(rows: np.ndarray) -> float:
        gain = (of_constant[rows] - of_judge[rows]).sum()
        return gain / (of_constant[rows] - scatter[rows]).sum()

    columns = {
        "cross_entropy": of_judge,
        "constant": of_constant,
        "scatter": scatter,
        "second_group": second_group(shares),
        "most_named": predicted.argmax(1) == shares.argmax(1),
        "most_named_constant": _constant_hits(shares, constant),
        "absolute_error": np.abs(predicted - shares).mean(1),
    }
    report: dict = {
        name: metrics.mean_interval(np.asarray(values, float), people)
        for name, values in columns.items()
    }
    report["explained"] = metrics.actor_interval(explained, people)
    report["calibration_error"] = float((table["count"] * gap).sum() / table["count"].sum())
    report["calibration"] = table.to_dict("records")
    return report


def _constant_hits(shares: np.ndarray, constant: np.ndarray) -> np.ndarray:
    answer = np.broadcast_to(constant, shares.shape).argmax(1)
    return answer == shares.argmax(1)


def reaction(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """How many of the observers would change their answer, (N,): half the sum of |after - before|.

    For a picture and a blurred copy of it, shares (N, 6) each, it should be small.
    """
    return np.abs(after - before).sum(1) / 2


# -------------------------------------------------------------------- congruence as seen by people


def share_gain(
    before: np.ndarray,
    after: np.ndarray,
    emotions: Sequence[str],
    people: np.ndarray,
    resamples: int = 2000,
    speakers: np.ndarray | None = None,
) -> pd.DataFrame:
    """How many more observers would name an emotion: predicted shares (N, 6) before and after.

    ``emotions`` (N,) are those of the voices, from ``OBSERVED_EMOTIONS``, and ``people`` (N,) says
    whose face it is. One row per emotion, and one for "all": emotion, pictures, before, after
    (mean shares of observers who would name it), value (the gain), low, high (its 95 % interval
    over people, and over ``speakers`` (N,) as well if the voices are of others),
    first_choice_before and first_choice (shares of pictures in which it is the most
    frequent answer). ValueError for another emotion.
    """
    of_voices = np.asarray(emotions)
    unknown = sorted(set(of_voices) - set(OBSERVED_EMOTIONS))
    if unknown:
        raise ValueError(f"{unknown[0]}: observers were asked for {', '.join(OBSERVED_EMOTIONS)}")
    column = np.array([OBSERVED_EMOTIONS.index(emotion) for emotion in of_voices])
    pictures = np.arange(len(column))
    share_before, share_after = before[pictures, column], after[pictures, column]
    rows = []
    for emotion in [*OBSERVED_EMOTIONS, "all"]:
        chosen = np.flatnonzero((of_voices == emotion) | (emotion == "all"))
        if not len(chosen):
            continue
        gain = share_after[chosen] - share_before[chosen]
        if speakers is None:
            interval = metrics.mean_interval(gain, people[chosen], resamples)
        else:
            interval = metrics.crossed_interval(gain, people[chosen], speakers[chosen], resamples)
        rows.append(
            {
                "emotion": emotion,
                "pictures": len(chosen),
                "before": share_before[chosen].mean(),
                "after": share_after[chosen].mean(),
                **interval,
                "first_choice_before": (before[chosen].argmax(1) == column[chosen]).mean(),
                "first_choice": (after[chosen].argmax(1) == column[chosen]).mean(),
            }
        )
    return pd.DataFrame(rows)


def congruence(
    judge: Observers,
    before: Tensor,
    after: Tensor,
    emotions: Sequence[str],
    people: np.ndarray,
) -> pd.DataFrame:
    """``share_gain`` of pictures (N, 3, S, S) in 0...1: congruence as seen by people.

    ``before`` are reconstructions of neutral faces, and ``after`` are their mental representations
    in the context of a voice with the emotions (N,). For performers, ``judge`` must be that of the
    fold in which they are tested; for strangers it is the mean of the five.
    """
    shares_before, shares_after = judge.probabilities(before), judge.probabilities(after)
    return share_gain(shares_before, shares_after, emotions, people)
