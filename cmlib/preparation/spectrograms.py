"""Turn waveforms into normalised mel spectrograms, and back into sound for listening.

The settings are those of the released research code: 22,050 Hz mono, windows of 1,310 samples
(59 ms) every 655 samples (30 ms), 128 Slaney mel bands of the power spectrum, decibels down to 100
below the loudest, and min-max scaling of each clip to 0...1. A picture has 128 windows, that is
3.77 s.

Networks of the released code expect other bands (``released=True``), torchaudio's default: HTK's
without area normalisation, and with mirrored instead of silent edges.
"""

from __future__ import annotations

from fractions import Fraction
from functools import cache

import numpy as np
import torch
import torchaudio

SAMPLE_RATE = 22_050  # samples per second
WINDOW_SAMPLES = 83_200  # samples in a spectrogram: 1 + 83,200 // 655 = 128 spectra
WINDOW_SECONDS = WINDOW_SAMPLES / SAMPLE_RATE
N_FFT, HOP_LENGTH, N_MELS = 1310, 655, 128
TOP_DB = 100.0  # decibels from the loudest down to what is cut off
SILENCE = 1e-4  # a clip whose largest sample is below this (-80 dB of full scale) is silent


@cache
def mel_transform(released: bool = False) -> torchaudio.transforms.MelSpectrogram:
    """Waveform (N,) -> power in 128 mel bands, (128, 1 + N // 655)."""
    if released:
        return torchaudio.transforms.MelSpectrogram(
            SAMPLE_RATE, N_FFT, hop_length=HOP_LENGTH, n_mels=N_MELS, power=2.0
        )
    return torchaudio.transforms.MelSpectrogram(
        SAMPLE_RATE,
        N_FFT,
        hop_length=HOP_LENGTH,
        n_mels=N_MELS,
        power=2.0,
        norm="slaney",
        mel_scale="slaney",
        pad_mode="constant",
    )


def resample(waveform: np.ndarray, rate: int) -> np.ndarray:
    """(N,) at ``rate`` hertz -> (M,) float32 at ``SAMPLE_RATE``, by torchaudio's windowed sinc.

    This is the one resampler of the library. A rate without a simple ratio to ``SAMPLE_RATE`` is
    approximated to 3 parts in a million, because the exact filter would need gigabytes.
    """
    waveform = np.ascontiguousarray(waveform, np.float32)
    if rate == SAMPLE_RATE or not len(waveform):
        return waveform
    ratio = Fraction(SAMPLE_RATE, int(rate)).limit_denominator(640)
    return torchaudio.functional.resample(
        torch.from_numpy(waveform), ratio.denominator, ratio.numerator
    ).numpy()


def is_silent(waveform: np.ndarray) -> bool:
    """Whether nothing can be heard in a waveform (N,) of full scale 1."""
    return not len(waveform) or float(np.abs(waveform).max()) < SILENCE


def pad_or_crop(waveform: np.ndarray) -> np.ndarray:
    """(N,) at ``SAMPLE_RATE`` -> (83200,).

    A longer clip is cut to its middle; a shorter one is padded with silence at both ends.
    """
    spare = WINDOW_SAMPLES - len(waveform)
    if spare >= 0:
        return np.pad(waveform, (spare // 2, spare - spare // 2))
    start = -spare // 2
    return waveform[start : start + WINDOW_SAMPLES]


@torch.no_grad()
def mel_spectrogram(
    waveform: np.ndarray, rate: int = SAMPLE_RATE, released: bool = False
) -> np.ndarray:
    """Mono waveform (N,) at ``rate`` hertz -> (128 bands from low to high, 128 times) float32.

    Values are in 0...1, and a silent clip gives zeros. ``released`` chooses the bands that networks
    of the released code were trained on.
    """
    waveform = pad_or_crop(resample(waveform, rate))
    if is_silent(waveform):
        return np.zeros((N_MELS, N_MELS), np.float32)
    power = mel_transform(released)(torch.from_numpy(waveform))  # (128, 128)
    decibels = 10 * power.clamp(min=1e-10).log10()
    decibels = decibels.clamp(min=decibels.max() - TOP_DB)
    low, high = decibels.min(), decibels.max()
    return ((decibels - low) / (high - low).clamp(min=1e-6)).numpy()


@torch.no_grad()
def to_sound(spectrogram: np.ndarray) -> np.ndarray:
    """(128, 128) in 0...1 -> waveform (83200,) float32 at ``SAMPLE_RATE``, peak 0.9, for listening.

    Min-max scaling has removed the range of loudness, so it is set to ``TOP_DB``. The phases come
    from the algorithm of Griffin & Lim (1984), with the same starting point every time.
    """
    levels = np.asarray(spectrogram, np.float32).clip(0, 1) - 1
    power = torch.from_numpy(10 ** (levels * TOP_DB / 10))
    bands = mel_transform().mel_scale.fb  # (656 frequencies, 128 bands)
    spectrum = (torch.linalg.pinv(bands.T) @ power).clamp(min=0)  # (656, 128)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        sound = torchaudio.functional.griffinlim(
            spectrum,
            torch.hann_window(N_FFT),
            N_FFT,
            HOP_LENGTH,
            N_FFT,
            power=2.0,
            n_iter=32,
            momentum=0.9,
            length=WINDOW_SAMPLES,
            rand_init=True,
        )
    peak = sound.abs().max()
    return (0.9 * sound / peak if peak > 0 else sound).numpy()
