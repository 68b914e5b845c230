"""Re-enactment: our synthetic actors with the action units and the voices of real clips.

`python -m tools.corpus reenact --units action_units.csv --audio DIR --out DIR` makes
`Actor_NN/01-01-*.mp4` in OUT from every sound `03-01-*` that has a row in the table (columns
`clip`, `AU01_r` ... `AU45_r`: OpenFace's clip means). The sound stays as it is, the mouth follows
the sound, and the expression follows the row. The emotion in a file name is copied to the name of
the clip. It is used nowhere else, with one exception: the clips named neutral define the actor's
neutral face. `cm prepare ravdess --root OUT` reads the result, which inherits the licence of the
recordings.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import zlib
from functools import lru_cache, partial
from pathlib import Path

import librosa
import numpy as np
import pandas as pd
from tqdm import tqdm

from cmlib.corpora import SOUND_SUFFIXES
from cmlib.corpora.names import ClipName
from cmlib.preparation.media import read_audio

from .build import THREADS, _start, film
from .performance import Performance, _models, act
from .population import CAST
from .prosody import LEVEL, LOUDNESS, SR, band_levels, speech_range
from .units import FPS, UNITS
from .voice import FEMALE, MALE, TEXT, say

ROOT = Path(__file__).resolve().parents[2]
STEP = SR // 100  # samples between frames of the alignment
PAD = 15 * STEP  # silence kept on either side of the speech: where it starts is found, not assumed
RANGE = 40  # dB below loud frames; what is softer counts as silence
STALL = 1.1  # cost of a frame in which one of two voices waits, re going on together
VOICES = 3  # espeak voices tried; the nearest one counts


def _features(speech: np.ndarray) -> np.ndarray:
    """(40, T) log-mel bands every 10 ms of speech and of PAD samples on either side.

    Each band has mean 0 and deviation 1 in the speech.
    """
    mel = librosa.feature.melspectrogram(
        y=speech.astype(np.float32),
        sr=SR,
        n_fft=1024,
        win_length=512,
        hop_length=STEP,
        n_mels=40,
        fmin=80,
        fmax=8000,
    )
    x = np.maximum(librosa.power_to_db(mel, ref=np.percentile(mel.max(0), 95), top_db=None), -RANGE)
    inner = x[:, PAD // STEP : -PAD // STEP]
    return (x - inner.mean(1, keepdims=True)) / (inner.std(1, keepdims=True) + 1e-6)


@lru_cache(maxsize=4 * VOICES)
def _reference(voice: str, statement: int) -> tuple[np.ndarray, list[tuple[float, float, str]]]:
    """Features of espeak's sentence, and its phonemes (start, end in s of these features, name)."""
    sound, marks = say(TEXT[statement], voice)
    first, last, _ = speech_range(sound)
    times = (np.clip([t * SR for t, _ in marks] + [last], first, last) - first + PAD) / SR
    spans = [
        (a, b, p.strip("',_:%=|"))
        for a, b, (_, p) in zip(times, times[1:], marks)
        if not p.startswith("_")
    ]
    return _features(np.pad(sound[first:last], PAD)), spans


def align(sound: np.ndarray, statement: int, female: bool) -> list[tuple[float, float, str]]:
    """Phonemes (start, end, espeak's name) of statement 1 or 2 in a sound (n,) at 22,050 Hz.

    Start and end are in s of the sound. Dynamic time warping lays espeak's sentence onto the sound
    in frames of 10 ms. Raises ValueError if there is no speech.
    """
    if len(sound) < SR // 2 or np.ptp(sound) < 1e-4:
        raise ValueError("too short or silent")
    first, last, _ = speech_range(sound)
    if last - first < SR // 2:
        raise ValueError("less than half a second of speech")
    there = _features(np.pad(sound, PAD)[first : last + 2 * PAD])
    alignments = []
    for voice in (FEMALE if female else MALE)[:VOICES]:
        here, spans = _reference(voice, statement)
        cost, path = librosa.sequence.dtw(
            here,
            there,
            metric="cosine",
            step_sizes_sigma=np.array([[1, 1], [0, 1], [1, 0]]),
            weights_mul=np.array([1, STALL, STALL]),
        )
        frames = np.bincount(path[:, 0], path[:, 1]) / np.bincount(
            path[:, 0]
        )  # of the sound, for each of espeak's

        def when(t: float, frames=frames) -> float:
            return (
                float(np.interp(t * SR / STEP, np.arange(len(frames)), frames) * STEP + first - PAD)
                / SR
            )

        alignments.append((cost[-1, -1] / len(path), [(when(a), when(b), p) for a, b, p in spans]))
    return min(alignments, key=lambda f: f[0])[1]


def follow(
    sound: np.ndarray,
    statement: int,
    actor: int,
    clip: np.ndarray,
    neutral: np.ndarray,
    seed: int = 0,
) -> Performance:
    """Synthetic actor 1..24 speaks with a given sound and given action units.

    The sound (n,) is at 22,050 Hz; `clip` and `neutral` (17,) are action units. No label is used.
    The random numbers (blinks, sway) are seeded by the sound. The sound is extended to a whole
    frame.
    """
    phonemes = align(sound, statement, female=actor % 2 == 0)
    prosody, faces = _models(seed)
    first, last, _ = speech_range(sound)
    loud = LEVEL + LOUDNESS * float(
        band_levels(sound[first:last]).mean() - prosody.middle
    )  # as Prosody.draw has it
    rng = np.random.default_rng(
        [seed, 16, actor, zlib.crc32(np.ascontiguousarray(sound, np.float32).tobytes())]
    )
    sound = np.pad(sound, (0, -len(sound) % (SR // FPS)), mode="reflect")
    return act(sound, phonemes, clip, *faces.display(clip, actor, neutral), loud, 0.75, None, rng)


def read_units(units: Path, faults: list[str]) -> tuple[list[str], np.ndarray]:
    """Clip names and action units (clips, 17) of the table; bad lines are added to `faults`."""
    columns = ["clip", *(f"{u}_r" for u in UNITS)]

    def too_long(row: list[str]) -> None:
        faults.append(f"{units.name}: {row[0]}: {len(row)} fields, more than columns")

    table = pd.read_csv(
        units, dtype={"clip": str}, index_col=False, engine="python", on_bad_lines=too_long
    )
    missing = [c for c in columns if c not in table]
    if missing:
        raise ValueError(f"{units}: no column {', '.join(missing)}")
    values = table[columns[1:]].apply(pd.to_numeric, errors="coerce").clip(0, 5).to_numpy()
    return [str(clip) for clip in table["clip"]], values


def parse_name(stem: str, modality: str) -> ClipName:
    """The name of a speech clip of the cast. Raises ValueError for any other."""
    name = ClipName.parse(stem)
    if (name.modality, name.channel) != (modality, "speech"):
        raise ValueError(f"{stem}: not the name of {modality} speech")
    if name.actor > CAST:
        raise ValueError(f"{stem}: the cast has {CAST} actors")
    return name


def _rows(units: Path, actors: list[int], faults: list[str]) -> dict:
    """Recording -> (its name, its action units (17,)), from the table."""
    rows = {}
    for stem, value in zip(*read_units(units, faults), strict=True):
        try:
            name = parse_name(stem, "audio-visual")
            if not np.isfinite(value).all():
                raise ValueError(f"{stem}: an action unit is no number")
        except ValueError as error:
            faults.append(f"{units.name}: {error}")
            continue
        if name.actor in actors:
            rows[name.recording] = name, value
    return rows


def _sounds(audio: Path, actors: list[int], faults: list[str]) -> dict:
    """Recording -> (its name, the path of its sound), from the folder."""
    sounds = {}
    for path in sorted(p for p in audio.rglob("*") if p.suffix.lower() in SOUND_SUFFIXES):
        try:
            name = parse_name(path.stem, "audio-only")
        except ValueError as error:
            faults.append(f"{audio.name}: {error}")
            continue
        if name.actor in actors:
            sounds[name.recording] = name, path
    return sounds


def pairs(units: Path, audio: Path, actors: list[int]) -> tuple[list[tuple], list[str]]:
    """The clips to make, and a line for each row or sound that is left out.

    A clip is (ClipName, path of the sound, its action units (17,), the actor's neutral ones).
    """
    if not audio.is_dir():
        raise NotADirectoryError(
            f"{audio}: no such folder; --audio is the one with Actor_01, Actor_02 ..."
        )
    faults: list[str] = []
    rows = _rows(units, actors, faults)
    sounds = _sounds(audio, actors, faults)
    jobs = []
    for key in sorted(rows.keys() | sounds.keys()):
        name, clip = rows.get(key, (None, None))
        neutral = [x for n, x in rows.values() if (n.actor, n.emotion) == (key[0], "neutral")]
        if key not in rows:
            faults.append(f"{sounds[key][1].name}: no row in {units.name}")
        elif key not in sounds:
            faults.append(f"{name.stem}: no sound 03{name.stem[2:]} in {audio.name}")
        elif not neutral:
            faults.append(f"{name.stem}: no neutral clip of this actor in {units.name}")
        else:
            jobs.append((name, sounds[key][1], clip, np.mean(neutral, 0)))
    return jobs, faults


def make(job: tuple[ClipName, Path, np.ndarray, np.ndarray], out: Path, seed: int) -> str:
    """Re-enact one clip unless its file is there. Returns why it could not be, or nothing."""
    name, sound, clip, neutral = job
    path = out / f"Actor_{name.actor:02d}" / f"{name.stem}.mp4"
    if path.exists():
        return ""
    try:
        audio, rate = read_audio(sound)
        audio = audio if rate == SR else librosa.resample(audio, orig_sr=rate, target_sr=SR)
        show = follow(audio, name.statement, name.actor, clip, neutral, seed)
    except ValueError as error:  # a MediaError is one
        return f"{sound.name}: {error}"
    film(path, name.actor, show, seed)
    return ""


def reenact(
    units: Path, audio: Path, out: Path, actors: list[int], workers: int = 2, seed: int = 0
) -> tuple[int, int]:
    """Make what is missing in `out`.

    Returns the number of clips that exist now, and of those left out, each with a line on stderr.
    """
    if ROOT in (out.resolve(), *out.resolve().parents):
        raise ValueError(
            f"{out} lies in the repository; clips made of RAVDESS (CC BY-NC-SA) go elsewhere"
        )
    jobs, faults = pairs(units, audio, actors)
    for name in THREADS:
        os.environ[name] = "1"
    for stale in out.glob("Actor_*/.*.part"):
        stale.unlink()
    print(*faults, sep="\n", end="\n" if faults else "", file=sys.stderr)
    left = len(faults)
    before = signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # workers inherit it: the parent stops them
    with multiprocessing.get_context("spawn").Pool(workers, _start) as pool:
        signal.signal(signal.SIGINT, before)
        outcomes = pool.imap_unordered(partial(make, out=out, seed=seed), jobs)
        for fault in tqdm(outcomes, total=len(jobs), unit="clip", desc="re-enactment"):
            if fault:
                left += 1
                tqdm.write(fault, file=sys.stderr)
    return len(jobs) + len(faults) - left, left
