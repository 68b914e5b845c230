"""Voices of the crowd: short acted sentences of synthetic people, to learn voices from.

None of them belongs to the cast. `python -m tools.corpus voices --people 600 --out data/crowd`
writes two files, which are not shipped (150 MB; half an hour on two cores): `voices.npy` (the
spectrograms that the voice encoder sees, in 256 steps) and `voices.csv` (one row per spectrogram:
who, what). Each person says one sentence in every emotion and intensity. The person uses one of the
cast's espeak-ng voices, with a vocal tract and habits of their own. The sound goes through the
codec of the clips.
"""

from __future__ import annotations

import argparse
import io
import os
from concurrent.futures import ProcessPoolExecutor
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import av
import numpy as np
import pandas as pd
from tqdm import tqdm

from cmlib.preparation.spectrograms import mel_spectrogram

from . import voice
from .build import THREADS
from .clips import SOUND
from .crowd import FIRST
from .population import CELLS
from .prosody import SR, Prosody

COLUMNS = ("person", "sex", "mood", "intensity", "statement")


def coded(audio: np.ndarray) -> np.ndarray:
    """Mono float32 at 22,050 Hz through the codec that `clips.write_clip` uses, and back."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as box:
        sound = box.add_stream("aac", rate=SR)
        sound.bit_rate, sound.codec_context.layout, sound.options = (
            SOUND,
            "mono",
            {"cutoff": "10000"},
        )
        for first in range(0, len(audio), 1024):
            part = np.ascontiguousarray(audio[None, first : first + 1024], np.float32)
            chunk = av.AudioFrame.from_ndarray(part, format="fltp", layout="mono")
            chunk.sample_rate, chunk.pts, chunk.time_base = SR, first, Fraction(1, SR)
            box.mux(sound.encode(chunk))
        box.mux(sound.encode(None))
    file.seek(0)
    with av.open(file) as box:
        return np.concatenate([frame.to_ndarray().ravel() for frame in box.decode(audio=0)])


def spectrogram(speech: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(128, 128) uint8 spectrogram of speech with room noise before, after and below it.

    The noise is that of a clip of `performance.perform`.
    """
    before, after = np.clip(rng.normal((0.68, 0.50), 0.08), 0.45, 0.85)
    audio = voice.NOISE * rng.normal(size=int((before + after) * SR + len(speech)))
    start = int(before * SR)
    audio[start : start + len(speech)] += speech
    return np.round(mel_spectrogram(coded(audio.astype(np.float32))) * 255).astype(np.uint8)


def person(job: tuple[int, int]) -> list[tuple[np.ndarray, dict]]:
    """All spectrograms of one person and their rows: job = (number, seed)."""
    number, seed = job
    rng, who, out = np.random.default_rng([seed, 31, number]), voice.Voice(number, seed), []
    for k, (mood, intensity) in enumerate(CELLS):
        statement = 1 + (k + number) % 2
        target, breath, tremor = _prosody(seed).draw(number, mood, intensity, statement, rng)
        picture = spectrogram(who.speak(target, statement, breath, tremor, rng).audio, rng)
        row = (number, "male" if number % 2 else "female", mood, intensity, statement)
        out.append((picture, dict(zip(COLUMNS, row, strict=True))))
    return out


@lru_cache(maxsize=2)
def _prosody(seed: int) -> Prosody:
    return Prosody(seed)


def _start() -> None:
    import torch

    torch.set_num_threads(1)
    voice.say = lru_cache(maxsize=64)(
        voice.say
    )  # fifteen voices, two sentences: said once by each worker


def build(out: Path, people: int, seed: int = 0, workers: int = 2) -> int:
    """Write voices.npy and voices.csv into `out`; returns the number of spectrograms."""
    for name in THREADS:
        os.environ[name] = "1"
    out.mkdir(parents=True, exist_ok=True)
    jobs = [(FIRST + k, seed) for k in range(people)]
    with ProcessPoolExecutor(workers, initializer=_start) as pool:
        voices = [
            pair
            for of_person in tqdm(
                pool.map(person, jobs), total=people, unit="person", desc="voices"
            )
            for pair in of_person
        ]
    np.save(out / "voices.npy", np.stack([picture for picture, _ in voices])[..., None])
    pd.DataFrame([row for _, row in voices]).to_csv(out / "voices.csv", index=False)
    return len(voices)


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    p = argparse.ArgumentParser(
        prog="python -m tools.corpus voices", description=__doc__.splitlines()[0]
    )
    p.add_argument("--out", type=Path, default=Path("data/crowd"))
    p.add_argument("--people", type=int, default=600)
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--workers", type=int, default=2)
    options = p.parse_args(arguments)
    print(f"{build(**vars(options))} spectrograms in {options.out}")
