"""What is left of the scores when a sense is disturbed."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd
import torch
from scipy.ndimage import gaussian_filter

from cmlib import metrics
from cmlib.evaluation.scoring import PARTS, Answers
from cmlib.experiment.run import MODELS, Run
from cmlib.models import Can, Posterior, concatenation, product_of_experts
from cmlib.models.vaegan import AT_ONCE
from cmlib.preparation import media, spectrograms
from cmlib.training import encoding
from cmlib.training.batches import Pictures

SNRS = (20, 10, 5, 0, -5)  # decibels of voice over white noise
SIGMAS = (1, 2, 4)  # pixels
BARS = {
    "eyes covered": (0.25, 0.5),
    "mouth covered": (0.6, 0.85),
}  # rows of a crop, as shares of its height


# -------------------------------------------------------------------- disturbed senses


def some(run: Run, clips: np.ndarray, count: int | None, seed: int = 0) -> np.ndarray:
    """At most ``count`` of the rows ``clips``, sorted: drawn by chance, every emotion about equally often."""
    drawn = run.store.clips.iloc[clips].assign(row=clips).sample(frac=1, random_state=seed)
    turn = drawn.groupby("emotion").cumcount().sort_values(kind="stable").index
    return np.sort(drawn.row[turn].to_numpy()[:count])


def with_noise(waveform: np.ndarray, snr: float, rng: np.random.Generator) -> np.ndarray:
    """A waveform (N,) at ``voices.RATE`` with white noise ``snr`` decibels below its mean power."""
    noise = rng.standard_normal(len(waveform)).astype(np.float32)
    return waveform + noise * np.sqrt(
        np.mean(waveform**2) / 10 ** (snr / 10) / max(np.mean(noise**2), 1e-12)
    )


def blurred(frames: np.ndarray, sigma: float) -> np.ndarray:
    """Pictures (N, S, S, 3) uint8 through a Gaussian of ``sigma`` pixels."""
    return gaussian_filter(frames.astype(np.float32), (0, sigma, sigma, 0)).round().astype(np.uint8)


def covered(frames: np.ndarray, rows: tuple[float, float]) -> np.ndarray:
    """Pictures (N, S, S, 3) uint8 with a grey bar over ``rows``, from and to as shares of the height."""
    first, last = (round(share * frames.shape[1]) for share in rows)
    frames = frames.copy()
    frames[:, first:last] = 128
    return frames


@torch.no_grad()
def robustness(
    run: Run,
    part: str = "test",
    clips: int | None = 140,
    models: Iterable[str] = MODELS,
    seed: int = 0,
) -> pd.DataFrame:
    """Clip accuracy while one sense is disturbed: columns disturbance, level, model, value, low, high.

    At most ``clips`` labelled clips of the part, of every emotion as many (None: all).  White noise in the voice
    (``SNRS``), a blurred face (``SIGMAS``), a grey bar over eyes and brows or over the mouth (``BARS``), and a missing
    sense: its latent is the mean of the training clips', or that of silence.  "nothing": the same clips undisturbed.
    Where voices come as finished spectrograms there is no sound to add noise to: no rows of noise, and a line says so.
    """
    own = run.labelled(getattr(run.split, PARTS[part]))
    own = some(run, own[run.store.clips.n_frames.to_numpy()[own] > 0], clips, seed)
    rows = run.frames_of(own)
    clip_of = run.frame_clip[rows]
    place = np.searchsorted(own, clip_of)  # (N,) of each frame among the chosen clips
    face, voice = run.paired(rows)
    frames = np.asarray(run.store.frames[rows])
    paths = [run.store.path(run.store.clips.iloc[c]) for c in own]
    audible = all(
        path.suffix != ".npy" for path in paths
    )  # as the authors' processed MEAD has them
    sounds = [spectrograms.resample(*media.read_audio(path)) for path in paths if audible]
    released = run.corpus.endswith("_released")  # whose mel bands are others
    networks = {"face": run.vaegan("face"), "voice": run.vaegan("voice")}
    readers = {name: run.reader(name) for name in models}
    actors, resamples = run.store.clips.actor.to_numpy()[clip_of], run.profile.bootstrap

    def latent(kind: str, pictures: np.ndarray) -> Posterior:
        encoded = encoding.encode(
            networks[kind], Pictures(pictures), np.arange(len(pictures)), batch=AT_ONCE
        )
        return encoded.map(lambda x: x[0])

    def heard(snr: float) -> Posterior:
        noisy = (with_noise(s, snr, np.random.default_rng([seed, c])) for c, s in zip(own, sounds))
        mels = [spectrograms.mel_spectrogram(s, released=released) for s in noisy]
        return latent("voice", np.stack(mels)).map(lambda x: x[place])

    def mean(kind: str) -> Posterior:
        known = run.labelled(run.split.train)
        every = (
            run.face_latents.map(lambda x: x[0, run.frames_of(known)])
            if kind == "face"
            else run.voice_latents.map(lambda x: x[known])
        )
        return every.map(lambda x: x.mean(0).expand(len(rows), -1))

    silence = latent("voice", np.zeros((1, spectrograms.N_MELS, spectrograms.N_MELS), np.float32))
    cases = [("nothing", "", face, voice)]
    if audible:
        cases += [("noise in the voice", f"{snr} dB", face, heard(snr)) for snr in SNRS]
    else:
        print(f"{run.corpus}: spectrograms without their sound, so no noise in the voice is tried")
    cases += [
        ("blurred face", f"{sigma} px", latent("face", blurred(frames, sigma)), voice)
        for sigma in SIGMAS
    ]
    cases += [
        ("covered face", name, latent("face", covered(frames, bar)), voice)
        for name, bar in BARS.items()
    ]
    cases += [
        ("missing sense", "mean voice", face, mean("voice")),
        ("missing sense", "mean face", mean("face"), voice),
    ]
    cases += [("missing sense", "silence", face, silence.map(lambda x: x.expand(len(rows), -1)))]
    done = []
    for disturbance, level, v, a in cases:
        said = {
            name: _read(name, reader, v, a).log_softmax(1).numpy()
            for name, reader in readers.items()
        }
        asked = Answers(said, run.clip_labels[clip_of], clip_of, actors).by_clip()
        for name, right in asked.right().items():
            interval = metrics.mean_interval(right, asked.actors, resamples)
            done.append({"disturbance": disturbance, "level": level, "model": name, **interval})
    return pd.DataFrame(done)


def _read(name: str, reader: torch.nn.Module, face: Posterior, voice: Posterior) -> torch.Tensor:
    """Logits (N, K) of one of ``MODELS`` for posteriors (N, D) of face and voice."""
    if isinstance(reader, Can):
        return reader(face, voice)[0]
    if name in ("face", "voice"):
        return reader((face if name == "face" else voice).mu)
    return reader(
        (product_of_experts if name == "product_of_experts" else concatenation)(face, voice).mu
    )
