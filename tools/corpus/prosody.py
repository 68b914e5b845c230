"""How a voice sounds, in 23 numbers, and how they are drawn for an actor, emotion and intensity.

`measure` is used twice: by `calibrate.py` on real speech (only its statistics are kept) and by
`voice.py` on synthetic speech. A drawn clip is

    x = base(actor) + mean(emotion, intensity) + style(actor) + habit(actor, emotion)
        + residual(clip)

where everything but the base is relative to the actor's own neutral speech.
"""

from __future__ import annotations

import numpy as np
import pyworld

from .population import Population

SR = 22050
FRAME = 0.005  # s, WORLD's frame step
EDGES = (
    np.geomspace(1 + 80 / 700, 1 + 10000 / 700, 13) * 700 - 700
)  # Hz: 12 bands of equal width on the mel scale
BANDS = [f"band{k:02d}" for k in range(12)]
CONTOUR = [f"contour{k}" for k in range(5)]
FEATURES = ["f0", "range", "jitter", "breath", "duration", "pause", *CONTOUR, *BANDS]
# f0        mean, semitones re 100 Hz
# range     5th to 95th percentile of F0, log of semitones
# jitter    log of the mean |change| of F0 per frame, semitones
# breath    mean aperiodicity at 1-5 kHz of voiced frames, 0..1
# duration  log of the s from first to last sound
# pause     s of silence inside
# contour   F0 in five equal parts less its mean, semitones
# band      mean over frames of the energy in a mel band, dB re full scale


def speech_range(audio: np.ndarray) -> tuple[int, int, np.ndarray]:
    """First and last sample of speech, and whether each 10 ms frame has sound.

    A frame has sound if its level is above that of the loud frames minus 35 dB.
    """
    hop = SR // 100
    n = max(1, len(audio) // hop)
    level = 10 * np.log10((audio[: n * hop].reshape(n, hop) ** 2).mean(1) + 1e-12)
    on = level > np.percentile(level, 95) - 35
    k = np.nonzero(on)[0]
    return int(k[0] * hop), int((k[-1] + 1) * hop), on[k[0] : k[-1] + 1]


def band_levels(audio: np.ndarray) -> np.ndarray:
    """(12,) mean energy of each mel band over 46 ms frames, dB re full scale, floor -100 dB."""
    size, hop = 1024, 256
    audio = np.pad(audio, (size // 2, size))
    frames = np.lib.stride_tricks.sliding_window_view(audio, size)[::hop] * np.hanning(size)
    power = np.abs(np.fft.rfft(frames)) ** 2 / (size * size / 8)
    bins = np.searchsorted(np.fft.rfftfreq(size, 1 / SR), EDGES)
    return (10 * np.log10(np.add.reduceat(power, bins, axis=1)[:, :-1] + 1e-10)).mean(0)


def melody(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The melody of speech (n,) float64, in frames of 5 ms.

    Returns F0 in Hz, time in s, tone in semitones re 100 Hz, and whether a frame is voiced without
    an octave slip. Raises ValueError when there is no voiced sound.
    """
    f0, t = pyworld.dio(x, SR, f0_floor=60, f0_ceil=600, frame_period=1000 * FRAME)
    f0 = pyworld.stonemask(x, f0, t, SR)
    voiced = f0 > 0
    if voiced.sum() < 20:
        raise ValueError("no voiced sound in the clip")
    tone = 12 * np.log2(np.maximum(f0, 1) / 100)
    return f0, t, tone, voiced & (np.abs(tone - np.median(tone[voiced])) < 14)


def log_range(tone: np.ndarray) -> float:
    """Logarithm of the 5th to 95th percentile range of tones in semitones.

    The range counts as at least half a semitone.
    """
    return float(np.log(max(0.5, np.subtract(*np.percentile(tone, (95, 5))))))


def measure(audio: np.ndarray) -> np.ndarray:
    """(23,) FEATURES of one clip of speech, mono at 22,050 Hz.

    Raises ValueError when there is no voiced sound.
    """
    audio = np.asarray(audio, np.float64)
    first, last, on = speech_range(audio)
    x = np.ascontiguousarray(audio[first:last])
    f0, t, tone, keep = melody(x)
    voiced = f0 > 0
    tone_k = tone[keep]
    step = np.abs(np.diff(tone))[voiced[1:] & voiced[:-1]]
    step = step[step < 1]
    noise = pyworld.d4c(x, f0, t, SR, fft_size=1024)[keep][:, 47:233].mean()
    where = np.nonzero(keep)[0] * 5 // len(keep)
    mean = tone_k.mean()
    contour = [tone_k[where == k].mean() - mean if (where == k).any() else 0.0 for k in range(5)]
    head = [
        mean,
        log_range(tone_k),
        np.log(step.mean() + 0.01),
        noise,
        np.log(len(x) / SR),
        0.01 * (~on).sum(),
    ]
    return np.array([*head, *contour, *band_levels(x)])


# Set by ear, not fitted: breath as an amplitude re the voice, 5-6 Hz tremor in semitones (strong;
# half of it at normal intensity).
BREATH = {"calm": 0.10, "sad": 0.16, "fearful": 0.10, "disgust": 0.05, "surprised": 0.05}
TREMOR = {"sad": 0.25, "fearful": 0.55, "angry": 0.10}
# Share of the real spread of the overall level, so that quiet clips stay audible beside loud ones.
LOUDNESS = 0.85
LEVEL = 9.0  # dB added to all clips
SPREAD = (
    0.9,
    0.5,
)  # of the real deviations between and within actors: docs/experiments.md, C3, C5, C6


class Prosody:
    """What `voice.Voice` is to do: draws targets for one seed."""

    def __init__(self, seed: int = 0):
        self.population = Population("voice", seed, SPREAD)
        self.bands = slice(FEATURES.index("band00"), FEATURES.index("band00") + len(BANDS))
        self.middle = np.mean([m[self.bands] for m in self.population.mean])

    def draw(
        self, actor: int, emotion: str, intensity: int, statement: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, float, float]:
        """(target (23,), breath, tremor) of one clip."""
        target = self.population.draw(actor, emotion, intensity, statement, rng)
        level = target[self.bands].mean()
        target[self.bands] += LEVEL + (LOUDNESS - 1) * (level - self.middle)
        part = 0.5 if intensity == 1 else 1.0
        fitted = (
            target[FEATURES.index("breath")] - self.population.mean[0][FEATURES.index("breath")]
        )
        breath = np.clip(
            0.04 + part * BREATH.get(emotion, 0.02) + 0.8 * fitted + rng.normal(0, 0.01), 0.01, 0.35
        )
        return target, float(breath), part * TREMOR.get(emotion, 0.0)
