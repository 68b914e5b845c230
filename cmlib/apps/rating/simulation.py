"""Raters who do not exist: for trying the analysis, and for planning how many people to ask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from cmlib.apps.rating.items import (
    MENTAL_REPRESENTATION,
    ORIGINAL,
    SCALE,
    Item,
    RatingError,
    balanced_order,
)
from cmlib.apps.rating.protocol import COLUMNS
from cmlib.corpora.names import EMOTIONS

LEVEL = 0.05  # of the t-tests, two-sided


def simulate_ratings(
    items: Sequence[Item],
    raters: int = 24,
    seed: int = 0,
    effect: float = 0.25,
    intensity: float = 0.8,
    realism: float = -0.5,
) -> pd.DataFrame:
    """Answers of raters who do not exist, for trying the analysis only.

    The column ``simulated`` marks them. A mental representation is named after its voice with
    probability ``effect``. Otherwise, and for all other pictures, a rater says neutral in about six
    of ten cases (raters differ: beta(6, 4)) and any other emotion in the rest. A mental
    representation is more intense by ``intensity`` and more real by ``realism`` than a
    reconstruction, and an original is more real by 1.5. Raters differ by 0.8 points (sd), answers
    by 1, and are cut to the scale.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(1, raters + 1):
        rater = f"simulated-{number:02d}"
        rater_offsets = rng.normal(0, 0.8, 2)  # of intensity, realism
        neutral_rate = rng.beta(6, 4)
        for position, item in enumerate(balanced_order(items, number, seed), 1):
            is_shifted = item.kind == MENTAL_REPRESENTATION
            emotion = EMOTIONS[0]
            if rng.random() > neutral_rate:
                emotion = str(rng.choice(EMOTIONS[1:]))
            if is_shifted and rng.random() < effect:
                emotion = item.voice
            means = rater_offsets + [
                3 + intensity * is_shifted,
                3.5 + realism * is_shifted + 1.5 * (item.kind == ORIGINAL),
            ]
            marks = np.clip(np.round(means + rng.normal(0, 1, 2)), SCALE[0], SCALE[-1])
            what = [item.key, item.kind, item.actor, item.voice]
            marks = marks.astype(int).tolist()
            rows.append([rater, position, *what, emotion, *marks, 0.0, True, "", 0])
    return pd.DataFrame(rows, columns=pd.Index(COLUMNS))


# -------------------------------------------------------------------- how many people to ask


@dataclass(frozen=True)
class Assumptions:
    """What a simulated study takes for granted; shares are shares of answers.

    A rater calls a face that nothing has shifted neutral with a probability drawn from
    beta(``neutral``), and else gives it one of the other names. Raters and actors differ in how
    large the rise is: their factors have a gamma distribution with mean 1 and these coefficients of
    variation. So nobody is moved away from the voice, and a rise of 0 is 0 for everybody.
    """

    actors: int = 5
    emotions: int = 7
    neutral: tuple[float, float] = (6.0, 4.0)
    rater_variation: float = 0.5
    actor_variation: float = 0.5


def simulate_rises(
    raters: int,
    rise: float,
    studies: int = 1000,
    seed: int = 0,
    assumptions: Assumptions | None = None,
    other_faces: bool = False,
) -> np.ndarray:
    """How much more often raters name the voice's emotion: (studies, raters, actors).

    Each value is a mean over emotions: the share of mental representations that are named after
    their voice, minus that of the one reconstruction, which is compared with each emotion in turn.
    ``rise`` is its mean over people for these actors, unless probabilities reach 1. With
    ``other_faces`` it is the mean over all actors there could be, and these are drawn from them.
    """
    world = assumptions or Assumptions()
    rng = np.random.default_rng(seed)
    cells = (studies, raters, world.actors)
    other = 1 - rng.beta(*world.neutral, (studies, raters, 1))  # calls a neutral face an emotion
    of_raters = _factors(rng, world.rater_variation, (studies, raters, 1))
    of_actors = _factors(rng, world.actor_variation, (studies, 1, world.actors))
    if not other_faces:
        of_actors /= of_actors.mean(2, keepdims=True)
    base = other / world.emotions  # a particular emotion
    named_before = (rng.random(cells) < other) / world.emotions  # of so many names, one fits
    probability = np.minimum(base + rise * of_raters * of_actors, 1)
    return rng.binomial(world.emotions, probability) / world.emotions - named_before


def _factors(rng: np.random.Generator, variation: float, shape: tuple[int, ...]) -> np.ndarray:
    """Gamma numbers with mean 1 and this coefficient of variation."""
    if not variation:
        return np.ones(shape)
    return rng.gamma(variation**-2, variation**2, shape)


def share_detected(rises: np.ndarray, other_faces: bool = False) -> float:
    """The share of studies (studies, raters, actors) in which the rise is shown: the power.

    It is shown if a t-test over raters, each with the mean over actors, finds it above zero, in
    two-sided terms at 5 %. Then it holds for other people who see these faces. With
    ``other_faces`` a t-test over actors must find it as well, so that it holds for other faces,
    too.
    """
    shown = _above_zero(rises.mean(2))
    if other_faces:
        shown &= _above_zero(rises.mean(1))
    return float(shown.mean())


def _above_zero(values: np.ndarray) -> np.ndarray:
    """For each row (studies, n): does a t-test find the mean above zero? (studies,) of booleans."""
    n = values.shape[1]
    error = values.std(1, ddof=1) / np.sqrt(n)
    return values.mean(1) > stats.t.ppf(1 - LEVEL / 2, n - 1) * error


def raters_needed(
    rise: float,
    power: float = 0.8,
    studies: int = 1000,
    seed: int = 0,
    assumptions: Assumptions | None = None,
    most: int = 400,
) -> int:
    """The least number of raters with which a rise is shown in a share ``power`` of the studies.

    RatingError if ``most`` raters do not suffice.
    """

    def suffices(raters: int) -> bool:
        rises = simulate_rises(raters, rise, studies, seed, assumptions)
        return share_detected(rises) >= power

    if not suffices(most):
        raise RatingError(f"a rise of {rise:.1%} needs more than {most} raters")
    too_few, enough = 2, most
    while enough - too_few > 1:
        middle = (too_few + enough) // 2
        if suffices(middle):
            enough = middle
        else:
            too_few = middle
    return enough
