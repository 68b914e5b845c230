"""One clip acted out: sound, action units, mouth shapes, head and eyes, all on the sound's clock.

`perform` makes a whole clip. `act` is its second half, for a sound that already exists.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from .population import EMOTIONS
from .prosody import SR, Prosody
from .units import FPS, UNITS, FaceUnits, over_time
from .voice import NOISE, Voice

VISEME_UNITS = (
    "jawOpen",
    "mouthFunnel",
    "mouthPucker",
    "mouthClose",
    "mouthPressLeft",
    "mouthPressRight",
    "mouthStretchLeft",
    "mouthStretchRight",
    "mouthLowerDownLeft",
    "mouthLowerDownRight",
    "mouthUpperUpLeft",
    "mouthUpperUpRight",
)
# first letter(s) of espeak's phoneme -> jaw, funnel, pucker, close, press, stretch, lower lip down,
# upper lip up, dominance
SHAPES = {
    "": (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0),  # silence
    "aI": (0.46, 0.0, 0.0, 0.0, 0.0, 0.18, 0.26, 0.12, 1.1),
    "A": (0.48, 0.05, 0.0, 0.0, 0.0, 0.05, 0.24, 0.10, 1.0),
    "0": (0.50, 0.18, 0.05, 0.0, 0.0, 0.0, 0.22, 0.10, 1.1),
    "O": (0.44, 0.34, 0.18, 0.0, 0.0, 0.0, 0.20, 0.10, 1.1),
    "o": (0.34, 0.48, 0.36, 0.0, 0.0, 0.0, 0.16, 0.10, 1.2),
    "I": (0.22, 0.0, 0.0, 0.0, 0.0, 0.28, 0.24, 0.10, 0.9),
    "@": (0.22, 0.0, 0.0, 0.0, 0.0, 0.08, 0.16, 0.06, 0.6),
    "b": (0.02, 0.0, 0.0, 0.10, 0.35, 0.0, 0.0, 0.0, 1.2),
    "D": (0.12, 0.0, 0.0, 0.0, 0.0, 0.08, 0.20, 0.06, 0.7),
    "s": (0.06, 0.0, 0.0, 0.0, 0.0, 0.24, 0.28, 0.10, 1.0),
    "z": (0.07, 0.0, 0.0, 0.0, 0.0, 0.22, 0.26, 0.10, 0.9),
    "d": (0.12, 0.0, 0.0, 0.0, 0.0, 0.12, 0.20, 0.08, 0.7),
    "t": (0.10, 0.0, 0.0, 0.0, 0.0, 0.12, 0.20, 0.08, 0.7),
    "k": (0.20, 0.0, 0.0, 0.0, 0.0, 0.06, 0.16, 0.06, 0.5),
    "g": (0.20, 0.0, 0.0, 0.0, 0.0, 0.06, 0.16, 0.06, 0.5),
    "N": (0.18, 0.0, 0.0, 0.0, 0.0, 0.12, 0.16, 0.06, 0.5),
    "r": (0.18, 0.28, 0.18, 0.0, 0.0, 0.0, 0.14, 0.06, 0.7),
}
NOD = {
    "sad": 0.05,
    "surprised": -0.025,
    "angry": 0.02,
    "fearful": -0.01,
    "disgust": -0.015,
}  # rad, positive = down, strong; half at normal
RESTLESS = {
    "neutral": 0.6,
    "calm": 0.6,
    "sad": 0.8,
    "happy": 1.2,
    "angry": 1.3,
    "fearful": 1.1,
    "disgust": 1.1,
    "surprised": 1.1,
}
GAZE_DOWN = {"sad": 0.10, "disgust": 0.04}


@dataclass(frozen=True)
class Performance:
    """T frames at `fps` and the sound that goes with them (len(audio) = T / fps seconds)."""

    audio: np.ndarray  # (n,) float32 mono, 22,050 Hz
    fps: int
    intensities: np.ndarray  # (17,) action units as drawn: clip means, speech included
    au: np.ndarray  # (T, 17) action units 0..5 to show; the lips of speech are apart, in `visemes`
    visemes: np.ndarray  # (T, 12) weights 0..1 of VISEME_UNITS
    pose: np.ndarray  # (T, 3) yaw, pitch, roll in rad
    shift: np.ndarray  # (T, 2) fraction of the frame, right and down
    gaze: np.ndarray  # (T, 2) rad to the viewer's right and up
    phonemes: list[tuple[float, float, str]]  # start, end in s of the sound, espeak's name


@lru_cache(maxsize=2)
def _models(seed: int) -> tuple[Prosody, FaceUnits]:
    return Prosody(seed), FaceUnits(seed)


@lru_cache(maxsize=2)
def _voice(actor: int, seed: int) -> Voice:
    return Voice(actor, seed)


def perform(
    actor_number: int, emotion: str, intensity: int, statement: int, repetition: int, seed: int = 0
) -> Performance:
    """Actor 1..24 says statement 1 or 2 with an emotion at intensity 1 or 2 (neutral: 1).

    The same arguments give the same clip.
    """
    rng = np.random.default_rng(
        [seed, 5, actor_number, EMOTIONS.index(emotion), intensity, statement, repetition]
    )
    prosody, faces = _models(seed)
    target, breath, tremor = prosody.draw(actor_number, emotion, intensity, statement, rng)
    speech = _voice(actor_number, seed).speak(target, statement, breath, tremor, rng)
    before, after = np.clip(rng.normal((0.68, 0.50), 0.08), 0.45, 0.85)
    frames = int(np.ceil((before + after) * FPS + len(speech.audio) / SR * FPS))
    audio = NOISE * rng.normal(size=round(frames * SR / FPS))
    start = int(before * SR)
    audio[start : start + len(speech.audio)] += speech.audio
    phonemes = [(a + before, b + before, p.strip("',_:%=|")) for a, b, p in speech.phonemes]
    clip = faces.draw(actor_number, emotion, intensity, statement, rng)
    loud = float(target[prosody.bands].mean() - prosody.middle)
    part = 0.5 if intensity == 1 else 1.0
    return act(audio, phonemes, clip, *faces.display(clip, actor_number), loud, part, emotion, rng)


def act(
    audio: np.ndarray,
    phonemes: list[tuple[float, float, str]],
    clip: np.ndarray,
    still: np.ndarray,
    moving: np.ndarray,
    loud: float,
    part: float,
    emotion: str | None,
    rng: np.random.Generator,
) -> Performance:
    """The face that goes with a sound of whole frames (n,) and its phonemes (start, end, name).

    Times are in s. `still`, `moving` (17,): what is shown of the action units `clip` (17,).
    `loud`: dB over the middle of all clips. `part` 0.5..1 and `emotion` govern the head and the
    eyes; None stands for no emotion in particular.
    """
    frames = round(len(audio) / SR * FPS)
    au = over_time(still, moving, frames, phonemes[0][0], phonemes[-1][1], rng)
    shapes = visemes(phonemes, frames, float(np.clip(1 + 0.014 * loud, 0.8, 1.35)))
    pose, shift, gaze = _head(audio, frames, part, emotion, rng)
    return Performance(audio.astype(np.float32), FPS, clip, au, shapes, pose, shift, gaze, phonemes)


def visemes(phonemes: list[tuple[float, float, str]], frames: int, size: float) -> np.ndarray:
    """(T, 12) mouth shapes by the coarticulation model of Cohen and Massaro (1993).

    Each phoneme pulls the mouth towards its shape with a weight that falls off around it. `size`
    scales the opening. Shapes lead the sound by 30 ms. The lips of a "b" meet for at least one
    frame. In silence the mouth is closed.
    """
    table = np.array([SHAPES[_shape(p)] for _, _, p in phonemes])
    values, dominance = table[:, :8].copy(), table[:, 8]
    values[:, [0, 6, 7]] *= size
    start, end = (np.array([ph[k] for ph in phonemes]) - 0.03 for k in (0, 1))
    fine = np.arange(frames * 4) / (4 * FPS)
    away = np.maximum(
        np.maximum(start - fine[:, None], fine[:, None] - end), 0
    )  # s outside of the phoneme
    pull = dominance * np.exp(-away / 0.035)
    closed = np.exp(
        -np.maximum(np.minimum(np.abs(fine - start[0] + 0.12), np.abs(fine - end[-1] - 0.15)), 0)
        / 0.05
    )
    closed = np.where((fine < start[0] - 0.12) | (fine > end[-1] + 0.15), 1.0, closed)
    out = (pull @ values) / (pull.sum(1) + 3 * closed)[:, None]
    out *= np.interp(fine, [start[0] - 0.14, start[0], end[-1], end[-1] + 0.18], [0, 1, 1, 0])[
        :, None
    ]
    for a, _, p in phonemes:
        if _shape(p) == "b":
            lips = np.exp(-(((fine - a - 0.005) / 0.05) ** 4))[:, None]
            out = out * (1 - lips) + lips * np.array(SHAPES["b"][:8])
    out = out.reshape(frames, 4, 8).mean(1)
    return np.clip(out[:, [0, 1, 2, 3, 4, 4, 5, 5, 6, 6, 7, 7]], 0, 1).astype(np.float32)


def _shape(phoneme: str) -> str:
    return next((k for k in (phoneme[:2], phoneme[:1]) if k in SHAPES), "@")


def _slow(frames: int, seconds: float, columns: int, rng: np.random.Generator) -> np.ndarray:
    """(T, columns) smooth noise with unit standard deviation that changes over about `seconds`."""
    knots = rng.normal(size=(int(frames / FPS / seconds) + 4, columns))
    t = np.arange(frames) / FPS / seconds + rng.random()
    k, u = t.astype(int), (t % 1)[:, None]
    u = u * u * (3 - 2 * u)
    return knots[k] * (1 - u) + knots[k + 1] * u


def _head(
    audio: np.ndarray, frames: int, part: float, emotion: str | None, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(pose, shift, gaze) of each frame.

    The head sways and nods slightly with the loud syllables. Glances of a few degrees come back to
    the camera.
    """
    lively = RESTLESS.get(emotion, 1.0) * (0.7 + 0.5 * part)
    loud = np.sqrt((audio.reshape(frames, -1) ** 2).mean(1))
    beat = np.convolve(loud / (loud.max() + 1e-9), np.hanning(9) / np.hanning(9).sum(), "same")
    pose = _slow(frames, 0.9, 3, rng) * (0.022, 0.012, 0.010) * lively + rng.normal(size=3) * (
        0.015,
        0.010,
        0.007,
    )
    pose[:, 1] += part * NOD.get(emotion, 0.0) + 0.035 * lively * beat * rng.uniform(0.2, 1)
    shift = _slow(frames, 1.2, 2, rng) * 0.003 * lively + rng.normal(size=2) * 0.004
    jumps = np.cumsum(rng.random(frames) < 1.2 / FPS)
    glance = (
        rng.normal(0, 1, (jumps[-1] + 1, 2))
        * (0.03, 0.015)
        * (rng.random((jumps[-1] + 1, 1)) < 0.6)
    )
    gaze = glance[jumps] - [0, part * GAZE_DOWN.get(emotion, 0.0) * rng.random()]
    return tuple(x.astype(np.float32) for x in (pose, shift, gaze))


def weights(performance: Performance, frame: int, actor) -> dict[str, float]:
    """Face-unit weights of one frame.

    The mouth shapes of speech lie on top of the expression in this actor's manner.

    Lips that meet for a "b" overrule an open-mouthed expression.
    """
    from .expressions import face_units

    units = face_units(dict(zip(UNITS, performance.au[frame], strict=True)), actor)
    spoken = dict(zip(VISEME_UNITS, performance.visemes[frame], strict=True))
    meet = min(1.0, spoken["mouthPressLeft"] / 0.35)
    for name in units:
        if name.startswith(("jawOpen", "mouthLowerDown", "mouthUpperUp")):
            units[name] *= 1 - 0.9 * meet
    for name, value in spoken.items():
        units[name] = min(units.get(name, 0.0) + float(value), 1.2)
    return units
