"""What a face does in a clip.

17 action unit intensities are drawn for an actor and an emotion, and follow a course over time.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from .population import CELLS, Population

UNITS = (
    "AU01",
    "AU02",
    "AU04",
    "AU05",
    "AU06",
    "AU07",
    "AU09",
    "AU10",
    "AU12",
    "AU14",
    "AU15",
    "AU17",
    "AU20",
    "AU23",
    "AU25",
    "AU26",
    "AU45",
)
SPEECH = [
    UNITS.index(u) for u in ("AU25", "AU26")
]  # lips part and jaw drops: their clip means hold speech as well
BLINK = UNITS.index("AU45")
FPS = 25
# Share of the neutral face's intensities that is shown: much of them is the shape of a face and not
# a movement.
REST = 0.6
# OpenFace's clip means hardly register raised brows and lids or stretched lips (a strong surprise
# averages 0.3 in AU01), though people see them. A clip therefore shows two things. One is what goes
# beyond the actor's neutral face, enlarged up to FULL for the emotion that uses an action unit
# most. The other is the textbook display (Ekman and Friesen's EMFACS) of what the numbers
# themselves say: each emotion in proportion to its probability given the numbers. A clip that
# measures like another emotion also looks like it, and nothing is shown that the 17 numbers do not
# hold. FULL, MOST, DISPLAY and AMOUNT were set by eye.
FULL, MOST = 2.6, 2.5
DISPLAY = {
    "calm": {"AU12": 0.4, "AU06": 0.2, "AU45": 0.3},
    "happy": {"AU06": 0.8, "AU12": 1.2, "AU25": 0.8},
    "sad": {"AU01": 2.6, "AU04": 1.2, "AU15": 2.8, "AU17": 1.4},
    "angry": {"AU04": 3.6, "AU05": 1.4, "AU07": 2.2, "AU23": 2.2},
    "fearful": {"AU01": 2.4, "AU02": 1.2, "AU04": 1.2, "AU05": 2.8, "AU20": 2.8, "AU25": 0.8},
    "disgust": {"AU09": 2.8, "AU10": 1.8, "AU15": 0.8},
    "surprised": {"AU01": 2.4, "AU02": 3.0, "AU05": 2.4, "AU25": 0.8, "AU26": 1.6},
}
AMOUNT = {1: 0.85, 2: 1.55}  # of DISPLAY by intensity
TASTE = (0.6, 1.4)  # by how much an actor uses each action unit of a display
SHARP = 1.0  # power of the probabilities: above 1, displays are purer
SPREAD = (
    1.1,
    0.95,
)  # of the real deviations between and within actors: docs/experiments.md, C1, C2, C7


@lru_cache(maxsize=1)
def reader() -> LinearDiscriminantAnalysis:
    """Gives the probability of each of CELLS for square roots of intensities less the actor's
    neutral ones (n, 17).

    Fitted to clips of 300 further actors drawn from the same statistics.
    """
    people = Population("face", 0, SPREAD)
    rng = np.random.default_rng(13)
    numbers = range(10_001, 10_301)
    rows = [
        people.draw(a, e, i, s, rng) - people.centre(a, "neutral", 1)
        for a in numbers
        for e, i in CELLS
        for s in (1, 2)
    ]
    return LinearDiscriminantAnalysis().fit(
        np.array(rows), np.tile(np.repeat(np.arange(len(CELLS)), 2), len(numbers))
    )


class FaceUnits:
    """Draws clips of action units for one seed, and says what of them is shown."""

    def __init__(self, seed: int = 0):
        self.population = Population("face", seed, SPREAD)
        mean, over = self.population.mean, self.population.over
        most = ((mean + over) ** 2).max(0) - mean[0] ** 2
        self.gain = np.clip(FULL / most, 1, MOST)

    def neutral(self, actor: int) -> np.ndarray:
        """(17,) intensities 0..5 of this actor's neutral speech."""
        return np.clip(self.population.centre(actor, "neutral", 1), 0, None) ** 2

    def draw(
        self, actor: int, emotion: str, intensity: int, statement: int, rng: np.random.Generator
    ) -> np.ndarray:
        """(17,) clip means 0..5 as OpenFace would give them, speech included."""
        root = self.population.draw(actor, emotion, intensity, statement, rng)
        return np.clip(np.clip(root, 0, None) ** 2, 0, 5)

    def display(
        self, clip: np.ndarray, actor: int, neutral: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """(still, moving), each (17,): clip means of what is shown, without speech.

        AU25 and AU26 lose what neutral speech adds to them.
        `clip` (17,): clip means as OpenFace gives them. `neutral` (17,): the same of the actor's
        neutral speech (default: as drawn for the actor). No label goes in.
        """
        neutral = self.neutral(actor) if neutral is None else neutral
        same = np.minimum(clip, neutral)
        likely = reader().predict_proba((np.sqrt(clip) - np.sqrt(neutral))[None])[0] ** SHARP
        likely = likely / likely.sum()
        moving = (clip - same) * (
            1 + (self.gain - 1) * (1 - likely[0])
        )  # a neutral face stays quiet
        still = REST * same
        still[SPEECH] = 0
        still[BLINK], moving[BLINK] = same[BLINK], (clip - same)[BLINK]
        for (emotion, intensity), much in zip(CELLS, likely, strict=True):
            taste = np.random.default_rng(
                [self.population.seed, 12, actor, CELLS.index((emotion, 1))]
            ).uniform(*TASTE, len(UNITS))  # this actor's way of showing it
            for unit, value in DISPLAY.get(emotion, {}).items():
                k = UNITS.index(unit)
                moving[k] += much * AMOUNT[intensity] * value * taste[k]
        return still, moving


def envelope(frames: int, first: float, last: float, rng: np.random.Generator) -> np.ndarray:
    """(frames,) course of an expression around its mean of 1.

    It is there from the start, has its apex in the speech (first..last in s) and fades slowly.
    """
    t = np.arange(frames) / FPS
    apex = first + (last - first) * rng.uniform(0.2, 0.7)
    start, end = rng.uniform(0.45, 0.75), rng.uniform(0.4, 0.75)
    hold = rng.uniform(0.15, 0.4)
    course = np.interp(
        t,
        [0, max(0.15, first - 0.35), apex - hold, apex + hold, last, last + 0.5],
        [start, start + 0.05, 1, 1, end + 0.1, end],
    )
    course = np.convolve(
        np.pad(course, 4, mode="edge"), np.hanning(9) / np.hanning(9).sum(), "valid"
    )
    return course / course.mean()


def over_time(
    still: np.ndarray,
    moving: np.ndarray,
    frames: int,
    first: float,
    last: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """(frames, 17) intensities 0..5.

    `still` holds throughout; `moving` follows an envelope, which differs a little between the upper
    and the lower face.

    AU45 becomes blinks of a quarter of a second and, where more is asked for, lowered lids.
    """
    upper, lower = (envelope(frames, first, last, rng) for _ in range(2))
    au = still + moving * np.where(np.arange(len(UNITS)) < 7, upper[:, None], lower[:, None])
    silent = np.interp(
        np.arange(frames) / FPS, [first - 0.2, first, last, last + 0.25], [0.6, 1, 1, 0.6]
    )
    au[:, SPEECH] *= silent[:, None]
    au[:, BLINK] = blinks(float(still[BLINK] + moving[BLINK]), frames, rng)
    return np.clip(au, 0, 5).astype(np.float32)


def blinks(mean: float, frames: int, rng: np.random.Generator) -> np.ndarray:
    """(frames,) AU45 0..5 with about the given mean.

    It consists of whole blinks, at most one in 0.8 s, and of lids lowered by at most 0.5.
    """
    course = np.zeros(frames)
    shape = np.array([1.2, 4.2, 5.0, 3.2, 1.4, 0.5])
    number = min(int(mean * frames / shape.sum() * 0.8 + rng.random()), int(frames / FPS / 0.8))
    times = []
    for _ in range(20 * number):
        t = int(rng.integers(3, max(4, frames - 8)))
        if len(times) < number and all(abs(t - other) > 20 for other in times):
            times.append(t)
    for t in times:
        course[t : t + len(shape)] = shape[: frames - t]
    return np.maximum(course, np.clip(mean - course.mean(), 0, 0.5))
