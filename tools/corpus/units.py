"""What a face does in a clip: 17 action unit intensities drawn for an actor and an emotion, and their course over
time."""

from __future__ import annotations

import numpy as np

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
SPEECH = [UNITS.index(u) for u in ("AU25", "AU26")]  # lips part and jaw drops: their clip means hold speech as well
BLINK = UNITS.index("AU45")
FPS = 25
REST = 0.6  # of the neutral face's intensities is shown: much of them is the shape of a face and not a movement
# OpenFace's clip means hardly register raised brows and lids or stretched lips (a strong surprise averages 0.3 in
# AU01), though people see them. So what goes beyond the neutral face is shown larger, up to FULL for the emotion that
# uses an action unit most, and the textbook display of the emotion (Ekman and Friesen's EMFACS) is added in an amount
# that varies with actor and clip. Set by eye.
FULL, MOST = 2.6, 2.5
DISPLAY = {
    "calm": {"AU12": 0.3},
    "happy": {"AU06": 0.6, "AU12": 0.8, "AU25": 0.8},
    "sad": {"AU01": 2.6, "AU04": 1.2, "AU15": 2.8, "AU17": 1.4},
    "angry": {"AU04": 3.4, "AU05": 1.2, "AU07": 1.8, "AU23": 1.4},
    "fearful": {"AU01": 2.4, "AU02": 1.2, "AU04": 1.2, "AU05": 2.8, "AU20": 2.8, "AU25": 0.8},
    "disgust": {"AU09": 2.8, "AU10": 1.4, "AU15": 0.8},
    "surprised": {"AU01": 2.4, "AU02": 3.0, "AU05": 2.4, "AU25": 0.8, "AU26": 1.6},
}
AMOUNT = {1: 0.8, 2: 1.5}  # of DISPLAY by intensity
VARIES = (0.4, 0.4)  # sd of the logarithm of the amount between actors (per emotion) and between clips
TASTE = (0.4, 1.5)  # by how much an actor uses each action unit of a display
MIXED = 0.3  # of another emotion's display in some clips: faces are ambiguous
SPREAD = 1.1  # of the real deviations: a Gaussian has thinner tails than OpenFace's measurements


class FaceUnits:
    """Draws clips of action units for one seed."""

    def __init__(self, seed: int = 0):
        self.population = Population("face", seed, SPREAD)
        mean, over = self.population.mean, self.population.over
        most = ((mean + over) ** 2).max(0) - mean[0] ** 2
        self.gain = np.clip(FULL / most, 1, MOST)

    def neutral(self, actor: int) -> np.ndarray:
        """(17,) mean intensities 0..5 of this actor's neutral speech."""
        return np.clip(self.population.centre(actor, "neutral", 1), 0, None) ** 2

    def draw(self, actor: int, emotion: str, intensity: int, statement: int, rng: np.random.Generator) -> np.ndarray:
        """(17,) clip means 0..5 as OpenFace would give them, speech included."""
        root = self.population.draw(actor, emotion, intensity, statement, rng)
        return np.clip(np.clip(root, 0, None) ** 2, 0, 5)

    def display(
        self, clip: np.ndarray, actor: int, emotion: str, intensity: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """(still, moving), each (17,) clip means of what is shown, speech apart: AU25/26 lose the actor's neutral
        speech."""
        neutral = self.neutral(actor)
        same = np.minimum(clip, neutral)
        moving = (clip - same) * self.gain
        still = REST * same
        still[SPEECH] = 0
        still[BLINK], moving[BLINK] = same[BLINK], (clip - same)[BLINK]
        own = np.random.default_rng(
            [self.population.seed, 12, actor, CELLS.index((emotion, 1))]
        )  # this actor's way of showing it
        habit, taste = own.normal(), own.uniform(*TASTE, len(UNITS))
        amount = AMOUNT[intensity] * np.exp(np.clip(VARIES[0] * habit + VARIES[1] * rng.normal(), -1.5, 0.6))
        other = list(DISPLAY)[rng.integers(len(DISPLAY))]
        mixed = MIXED * AMOUNT[intensity] * abs(rng.normal()) * (rng.random() < 0.6)
        for shown, much in ((emotion, amount), (other, mixed)):
            for unit, value in DISPLAY.get(shown, {}).items():
                moving[UNITS.index(unit)] += much * value * taste[UNITS.index(unit)]
        return still, moving


def envelope(frames: int, first: float, last: float, rng: np.random.Generator) -> np.ndarray:
    """(frames,) course of an expression around its mean of 1: there from the start, apex in the speech (first..last
    in s), slowly let go."""
    t = np.arange(frames) / FPS
    apex = first + (last - first) * rng.uniform(0.2, 0.7)
    start, end = rng.uniform(0.45, 0.75), rng.uniform(0.4, 0.75)
    hold = rng.uniform(0.15, 0.4)
    course = np.interp(
        t,
        [0, max(0.15, first - 0.35), apex - hold, apex + hold, last, last + 0.5],
        [start, start + 0.05, 1, 1, end + 0.1, end],
    )
    course = np.convolve(np.pad(course, 4, mode="edge"), np.hanning(9) / np.hanning(9).sum(), "valid")
    return course / course.mean()


def over_time(
    still: np.ndarray, moving: np.ndarray, frames: int, first: float, last: float, rng: np.random.Generator
) -> np.ndarray:
    """(frames, 17) intensities 0..5: `still` throughout, `moving` by an envelope, a little different for the upper
    and the lower face.

    AU45 becomes blinks of a quarter of a second and, where more is asked for, lowered lids.
    """
    upper, lower = (envelope(frames, first, last, rng) for _ in range(2))
    au = still + moving * np.where(np.arange(len(UNITS)) < 7, upper[:, None], lower[:, None])
    silent = np.interp(np.arange(frames) / FPS, [first - 0.2, first, last, last + 0.25], [0.6, 1, 1, 0.6])
    au[:, SPEECH] *= silent[:, None]
    au[:, BLINK] = blinks(float(still[BLINK] + moving[BLINK]), frames, rng)
    return np.clip(au, 0, 5).astype(np.float32)


def blinks(mean: float, frames: int, rng: np.random.Generator) -> np.ndarray:
    """(frames,) AU45 0..5 with about the given mean: whole blinks, at most one in 0.8 s, and lids lowered by at most
    0.5."""
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
