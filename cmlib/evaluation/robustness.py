"""Scores when one sense is disturbed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pandas as pd
import torch
from scipy.ndimage import gaussian_filter

from cmlib import metrics
from cmlib.evaluation.scoring import Predictions
from cmlib.experiment.run import MODELS, Run
from cmlib.models import Can, Posterior, VaeGan, fuse
from cmlib.models.moments import weighted_mean
from cmlib.models.vaegan import INFERENCE_BATCH
from cmlib.preparation import media, spectrograms
from cmlib.training import encoding
from cmlib.training.batches import Pictures
from cmlib.training.latents import row_blocks
from cmlib.training.loop import best_device, on_device

SNRS = (20, 10, 5, 0, -5)  # decibels from white noise up to the voice
BLURS = (1, 2, 4)  # standard deviations of a Gaussian, pixels
BARS = {"eyes covered": (0.25, 0.5), "mouth covered": (0.6, 0.85)}  # rows, as shares of the height
MAX_CLIPS = 140  # each is encoded about ten times, so a large corpus is sampled
SEED = 0  # of the sample of clips and of the noise, the same for networks of all seeds


# -------------------------------------------------------------------- disturbances


def add_noise(waveform: np.ndarray, snr: float, rng: np.random.Generator) -> np.ndarray:
    """A waveform (N,) with white noise whose mean power is ``snr`` decibels below its own."""
    noise = rng.standard_normal(len(waveform)).astype(np.float32)
    wanted_power = np.mean(waveform**2) / 10 ** (snr / 10)
    return waveform + noise * np.sqrt(wanted_power / max(np.mean(noise**2), 1e-12))


def blur(pictures: np.ndarray, sigma: float) -> np.ndarray:
    """Pictures (N, S, S, 3) uint8 through a Gaussian of ``sigma`` pixels."""
    smooth = gaussian_filter(pictures.astype(np.float32), (0, sigma, sigma, 0))
    return smooth.round().astype(np.uint8)


def cover(pictures: np.ndarray, rows: tuple[float, float]) -> np.ndarray:
    """Pictures (N, S, S, 3) uint8 with a grey bar over ``rows``, shares of the height."""
    first, last = (round(share * pictures.shape[1]) for share in rows)
    covered = pictures.copy()
    covered[:, first:last] = 128
    return covered


# -------------------------------------------------------------------- scores


@torch.no_grad()
def robustness(run: Run, models: Iterable[str] = MODELS) -> pd.DataFrame:
    """Clip accuracy when one sense is disturbed.

    Columns: disturbance, level, model, value, low, high.

    At most ``MAX_CLIPS`` labelled test clips are used, about equally many of every emotion. They
    get white noise in the voice (``SNRS``), a blurred face (``BLURS``), or a grey bar over eyes and
    brows or over the mouth (``BARS``). Or a sense is missing: its latent is then the mean over the
    training clips, or that of silence. The disturbance "nothing" leaves the clips as they are. If
    the corpus has spectrograms in place of sound, there is nothing to add noise to: the rows with
    noise are left out, and a printed line says so.
    """
    clips = run.labelled(run.split.test)
    clips = clips[run.store.clips.n_frames.to_numpy()[clips] > 0]
    clips = sample_clips(run, clips, MAX_CLIPS)
    frames = run.frames_of(clips)
    clip_of_frame = run.frame_clip[frames]
    labels = run.clip_labels[clip_of_frame]
    actors = run.store.clips.actor.to_numpy()[clip_of_frame]
    classifiers = {name: run.classifying_network(name) for name in models}

    rows = []
    for disturbance, level, face, voice in disturbed_latents(run, clips, frames):
        log_probabilities = {
            name: _logits(name, classifier, face, voice).log_softmax(1).numpy()
            for name, classifier in classifiers.items()
        }
        predictions = Predictions(log_probabilities, labels, clip_of_frame, actors).by_clip()
        for name, hits in predictions.hits().items():
            interval = metrics.mean_interval(hits, predictions.actors, run.profile.bootstrap)
            rows.append({"disturbance": disturbance, "level": level, "model": name, **interval})
    return pd.DataFrame(rows)


def sample_clips(run: Run, clips: np.ndarray, count: int) -> np.ndarray:
    """A random sample of at most ``count`` of the rows ``clips``, sorted.

    Every emotion is drawn about equally often.
    """
    shuffled = run.store.clips.iloc[clips].assign(row=clips).sample(frac=1, random_state=SEED)
    # Take the first clip of every emotion, then the second of every emotion, and so on.
    order = shuffled.groupby("emotion").cumcount().sort_values(kind="stable").index
    return np.sort(shuffled.row[order].to_numpy()[:count])


def disturbed_latents(
    run: Run, clips: np.ndarray, frames: np.ndarray
) -> Iterator[tuple[str, str, Posterior, Posterior]]:
    """Yield (name, level, latents of the faces (N, D), latents of the voices (N, D)).

    ``frames`` (N,) are the sorted rows of all frames of ``clips`` (M,).
    """
    face_network, voice_network = run.vaegan("face"), run.vaegan("voice")
    face, voice = run.paired(frames)
    yield "nothing", "", face, voice

    # Noise in the voice
    waveforms = _waveforms(run, clips)
    released = run.corpus.endswith("_released")  # these have other mel bands
    clip_position = np.searchsorted(clips, run.frame_clip[frames])  # (N,) within ``clips``
    if not waveforms:
        print(f"{run.corpus}: spectrograms without their sound, so no noise in the voice is tried")
    for snr in SNRS if waveforms else ():
        noisy = [
            add_noise(waveform, snr, np.random.default_rng([SEED, clip]))
            for clip, waveform in zip(clips, waveforms)
        ]
        mels = np.stack(
            [spectrograms.mel_spectrogram(waveform, released=released) for waveform in noisy]
        )
        noisy_voice = _encode(voice_network, mels).map(lambda x: x[clip_position])
        yield "noise in the voice", f"{snr} dB", face, noisy_voice

    # A face that is hard to see
    pictures = np.asarray(run.store.frames[frames])
    for sigma in BLURS:
        yield "blurred face", f"{sigma} px", _encode(face_network, blur(pictures, sigma)), voice
    for name, rows in BARS.items():
        yield "covered face", name, _encode(face_network, cover(pictures, rows)), voice

    # A missing sense: the latent is the same for every clip
    def for_every_frame(x: torch.Tensor) -> torch.Tensor:
        return x.expand(len(frames), -1)

    training = run.labelled(run.split.train)
    training_frames = run.frames_of(training)
    mean_voice = run.voice_latents.map(lambda x: x[training].mean(0))
    mean_face = _mean_latent(run.face_latents, training_frames)
    silence = np.zeros((1, spectrograms.N_MELS, spectrograms.N_MELS), np.float32)
    yield "missing sense", "mean voice", face, mean_voice.map(for_every_frame)
    yield "missing sense", "mean face", mean_face.map(for_every_frame), voice
    yield "missing sense", "silence", face, _encode(voice_network, silence).map(for_every_frame)


def _mean_latent(latents: Posterior, rows: np.ndarray) -> Posterior:
    """The mean (D,) of the first view of stored posteriors (V, N, D) over the ``rows``."""

    def mean(stored: torch.Tensor) -> torch.Tensor:
        blocks = list(row_blocks(rows, stored.shape[-1]))
        means = torch.stack([stored[0, block].mean(0) for block in blocks])  # (blocks, D)
        return weighted_mean(means, [len(block) for block in blocks])

    return latents.map(mean)


def _waveforms(run: Run, clips: np.ndarray) -> list[np.ndarray]:
    """The sound of each clip, (samples,) at ``spectrograms.SAMPLE_RATE``.

    Returns an empty list if the corpus has spectrograms in place of sound, like the processed MEAD.
    """
    paths = [run.store.path(run.store.clips.iloc[clip]) for clip in clips]
    if any(path.suffix == ".npy" for path in paths):
        return []
    return [spectrograms.resample(*media.read_audio(path)) for path in paths]


def _encode(network: VaeGan, pictures: np.ndarray) -> Posterior:
    """Pictures (N, S, S, 3) uint8 or spectrograms (N, S, S) -> latents (N, D)."""
    rows = np.arange(len(pictures))
    with on_device(best_device(), network):
        latents = encoding.encode(network, Pictures(pictures), rows, batch=INFERENCE_BATCH)
    return latents.map(lambda x: x[0])


def _logits(
    name: str, classifier: torch.nn.Module, face: Posterior, voice: Posterior
) -> torch.Tensor:
    """Logits (N, K) of one of ``MODELS`` for posteriors (N, D) of face and voice."""
    if isinstance(classifier, Can):
        return classifier(face, voice)[0]
    if name == "face":
        latent = face
    elif name == "voice":
        latent = voice
    else:
        latent = fuse(name, face, voice)
    return classifier(latent.mu)
