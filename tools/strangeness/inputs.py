"""Faces and voices of many kinds, to set limits of strangeness with and to measure them on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from cmlib.corpora import CorpusError, crowd
from cmlib.experiment.run import Run
from cmlib.models.vaegan import INFERENCE_BATCH
from cmlib.preparation import media, picture_crops, spectrograms
from tools.photographs import data as photographs

LIMITS, RATES = "limits", "rates"  # which half of the people of a set is wanted
LAST_ACTOR_FOR_LIMITS = 12
CROP_SIZE = 128  # pixels of photographs; a network of smaller pictures gets them made smaller
MADE = 40  # pictures or sounds of a kind that is made by a formula
PER_SET = 200  # inputs of a set that are measured, at most, evenly chosen
GERMAN = (
    "Der Lappen liegt auf dem Eisschrank.",
    "Das will sie am Mittwoch abgeben.",
    "Heute Abend könnte ich es ihm sagen.",
    "Das schwarze Stück Papier befindet sich da oben neben dem Holzstück.",
    "In sieben Stunden wird es so weit sein.",
)
GERMAN_VOICES = ("de", "de+m3", "de+f4")


@dataclass(frozen=True)
class Inputs:
    """N pictures (N, S, S, 3) uint8 or spectrograms (N, 128, 128) floats, and who each is of.

    ``people`` (N,) is empty where nobody is seen or heard.
    """

    name: str
    arrays: np.ndarray
    people: np.ndarray

    def evenly(self) -> Inputs:
        """At most ``PER_SET`` of them, evenly chosen."""
        rows = evenly(np.arange(len(self.arrays)))
        people = self.people[rows] if len(self.people) else self.people
        return Inputs(self.name, self.arrays[rows], people)

    def batches(self, size: int) -> Iterator[Tensor]:
        """(B, C, size, size) float32 in 0...1."""
        for start in range(0, len(self.arrays), INFERENCE_BATCH):
            part = torch.from_numpy(np.array(self.arrays[start : start + INFERENCE_BATCH]))
            if part.ndim == 3:
                yield part[:, None].float()
                continue
            x = part.permute(0, 3, 1, 2).float() / 255
            if x.shape[-1] != size:
                x = F.interpolate(x, size=size, mode="bilinear", antialias=True).clamp(0, 1)
            yield x.contiguous()


def evenly(rows: np.ndarray, count: int = PER_SET) -> np.ndarray:
    """At most ``count`` of the rows, evenly chosen."""
    step = max(1, -(-len(rows) // count))
    return rows[::step]


# -------------------------------------------------------------------- people


def actors(kind: str, half: str) -> Inputs:
    """Drawn faces (the middle frame of each clip), or voices, of half of the corpus actors."""
    store = Run("actors", "quick").store
    clips = store.clips
    for_limits = clips.actor <= LAST_ACTOR_FOR_LIMITS
    rows = np.flatnonzero(for_limits if half == LIMITS else ~for_limits)
    people = clips.actor.to_numpy()[rows]
    if kind == "voice":
        return Inputs("actors", store.mels[rows].astype(np.float32), people)
    middle = (clips.first_frame + clips.n_frames // 2).to_numpy()[rows]
    return Inputs("actors", store.frames[middle], people)


def of_run(kind: str, half: str, card: dict) -> Inputs:
    """Faces or voices of the validation or test people of the run that has trained a network."""
    run = Run(card["corpus"], card["profile"], seed=card["seed"], fold=card["fold"])
    clips = run.store.clips
    rows = run.split.val if half == LIMITS else run.split.test
    part = "validation" if half == LIMITS else "test"
    name = f"{part} people of {card['corpus']}"
    if kind == "voice":
        return Inputs(name, run.mels.batch(rows)[:, 0].numpy(), clips.actor.to_numpy()[rows])
    frames = (clips.first_frame + clips.n_frames // 2).to_numpy()[rows]
    return Inputs(name, run.store.frames[frames], clips.actor.to_numpy()[rows])


def celeba(root: Path, half: str, cache: Path | None = None) -> Inputs:
    """Photographs of every other person of the part of CelebA that measures."""
    crops = picture_crops.crop_folder(root, CROP_SIZE, cache)
    table = photographs.celeba_table(root, crops.table)
    people = sorted(set(table.person[table.part == "val"]))
    wanted = people[0::2] if half == LIMITS else people[1::2]
    rows = np.flatnonzero((table.part == "val") & table.person.isin(wanted))
    return Inputs("CelebA", crops.pictures[rows], table.person.to_numpy()[rows])


def strangers(name: str, root: Path, cache: Path | None = None) -> Inputs:
    """Photographs of a folder that no network has learnt from."""
    crops, people = photographs.strangers(root, CROP_SIZE, cache)
    rows = evenly(np.arange(len(crops)))
    arrays = (255 * crops.batch(rows).permute(0, 2, 3, 1)).round().to(torch.uint8)
    return Inputs(name, arrays.numpy(), people[rows])


def drawn_people(size: int) -> Inputs:
    """Drawn faces of the corpus crowd."""
    table, pictures = crowd.table(), crowd.load(size)
    rows = evenly(np.arange(len(table)))
    return Inputs("drawn faces of the crowd", pictures[rows], table.person.to_numpy()[rows])


def recordings(name: str, root: Path) -> Inputs:
    """Voices of a folder whose names end in the number of the actor, as those of RAVDESS do."""
    paths = [p for p in sorted(root.rglob("*")) if p.suffix.lower() in (".wav", ".flac", ".mp4")]
    paths = [paths[row] for row in evenly(np.arange(len(paths)))]
    if not paths:
        raise CorpusError(f"{root}: no recordings; give the folder with the sound files")
    mels = [spectrograms.mel_spectrogram(*media.read_audio(path)) for path in paths]
    return Inputs(name, np.stack(mels), np.array([path.stem[-2:] for path in paths]))


# -------------------------------------------------------------------- what is no face


def noise_pictures(size: int, rng: np.random.Generator) -> Inputs:
    """Pictures in which every pixel is drawn at random."""
    pictures = rng.integers(0, 256, (MADE, size, size, 3), dtype=np.uint8)
    return Inputs("noise", pictures, np.array([]))


def landscapes(size: int, rng: np.random.Generator) -> Inputs:
    """Skies that grow lighter towards ridges of hills, drawn by a formula."""
    pictures = [_landscape(size, rng) for _ in range(MADE)]
    return Inputs("landscapes", np.stack(pictures), np.array([]))


def _landscape(size: int, rng: np.random.Generator) -> np.ndarray:
    down = np.linspace(0, 1, size)[:, None, None]
    sky, horizon = rng.uniform((0.2, 0.4, 0.6), (0.5, 0.7, 1.0)), rng.uniform(0.6, 1, 3)
    picture = np.broadcast_to(sky + (horizon - sky) * down, (size, size, 3)).copy()
    for level in np.sort(rng.uniform(0.35, 0.9, 3)):
        walk = np.cumsum(rng.standard_normal(size))
        ridge = level + 0.08 * (walk - walk.mean()) / walk.std()
        is_hill = down[..., 0] > ridge[None]  # (S, S)
        texture = 1 + 0.15 * rng.standard_normal((size, size, 1))
        hill = rng.uniform((0.05, 0.15, 0.02), (0.35, 0.5, 0.3)) * texture
        picture = np.where(is_hill[..., None], hill, picture)
    return (255 * picture.clip(0, 1)).astype(np.uint8)


def plain_pictures(size: int, rng: np.random.Generator) -> Inputs:
    """Soft colours without an edge, as of a wall or of a sky."""
    small = rng.integers(0, 256, (MADE, 2, 2, 3), dtype=np.uint8)
    pictures = [
        np.asarray(Image.fromarray(colours).resize((size, size), Image.Resampling.BICUBIC))
        for colours in small
    ]
    return Inputs("soft colours", np.stack(pictures), np.array([]))


# -------------------------------------------------------------------- what is no voice


def sounds(name: str, make: Callable[[], np.ndarray]) -> Inputs:
    """``MADE`` sounds (N,) at 22,050 Hz that ``make`` returns."""
    mels = [spectrograms.mel_spectrogram(make().astype(np.float32)) for _ in range(MADE)]
    return Inputs(name, np.stack(mels), np.array([]))


def white_noise(rng: np.random.Generator) -> np.ndarray:
    """Noise of equal power at all frequencies, as long as the window of a spectrogram."""
    return 0.1 * rng.standard_normal(spectrograms.WINDOW_SAMPLES)


def pink_noise(rng: np.random.Generator) -> np.ndarray:
    """Noise whose power falls with the frequency, as that of rain or of traffic does."""
    spectrum = np.fft.rfft(white_noise(rng))
    return np.fft.irfft(spectrum / np.sqrt(1 + np.arange(len(spectrum))))


def tone(rng: np.random.Generator) -> np.ndarray:
    """A sine wave between 100 and 2,000 Hz."""
    seconds = np.arange(spectrograms.WINDOW_SAMPLES) / spectrograms.SAMPLE_RATE
    return 0.3 * np.sin(2 * np.pi * rng.uniform(100, 2000) * seconds)


def chords(rng: np.random.Generator) -> np.ndarray:
    """Eight plucked triads of six harmonics each."""
    seconds = np.arange(spectrograms.WINDOW_SAMPLES) / spectrograms.SAMPLE_RATE
    sound = 1e-4 * rng.standard_normal(len(seconds))
    root = rng.uniform(110, 330)
    for start in np.arange(8) * 0.45:
        after = seconds - start
        loudness = np.where(after >= 0, np.exp(-3 * after.clip(0)), 0)
        for semitones in rng.integers(0, 8) + np.array([0, rng.choice([3, 4]), 7]):
            frequency = root * 2 ** (semitones / 12)
            for harmonic in range(1, 7):
                sound += (
                    0.05 * loudness * np.sin(2 * np.pi * frequency * harmonic * after) / harmonic
                )
    return sound


def noisy(root: Path, decibels: float, rng: np.random.Generator) -> Inputs:
    """Voices of a folder in white noise, ``decibels`` below the mean power of the voice."""
    paths = sorted(
        path for path in root.rglob("*") if path.suffix.lower() in (".wav", ".flac", ".mp4")
    )
    paths = [paths[row] for row in evenly(np.arange(len(paths)), MADE)]
    mels = []
    for path in paths:
        voice, rate = media.read_audio(path)
        level = np.sqrt(np.mean(voice**2)) * 10 ** (-decibels / 20)
        noise = level * rng.standard_normal(len(voice))
        mels.append(spectrograms.mel_spectrogram((voice + noise).astype(np.float32), rate))
    people = np.array([path.stem[-2:] for path in paths])
    return Inputs(f"actors in noise, {decibels:g} dB", np.stack(mels), people)


def german() -> Inputs:
    """German sentences of espeak-ng; ImportError where the extra ``corpus`` is not installed."""
    from tools.corpus.prosody import SR
    from tools.corpus.voice import say

    mels = []
    for voice in GERMAN_VOICES:
        for text in GERMAN:
            sound, _ = say(text, voice)
            mels.append(spectrograms.mel_spectrogram(sound.astype(np.float32), SR))
    people = np.repeat(GERMAN_VOICES, len(GERMAN))
    return Inputs("German of espeak-ng", np.stack(mels), people)
