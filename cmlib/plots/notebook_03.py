"""Figures of notebook 03: the voice VAE-GAN."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from cmlib.plots import kinds
from cmlib.plots.style import Plot, picture


def small_pictures(spectrograms: Sequence) -> list[np.ndarray]:
    """Spectrograms (N, 1, 128, 128) as pictures (64, 64), low frequencies at the bottom."""
    pictures = [picture(spectrogram)[::-1] for spectrogram in spectrograms]
    return [p.reshape(64, 2, 64, 2).mean((1, 3)) for p in pictures]


def voices(spectrograms: Sequence, emotions: Sequence[str]) -> Plot:
    """Spectrograms (N, 1, 128, 128) beside each other."""
    return kinds.image_grid([small_pictures(spectrograms)], column_labels=emotions)


def loss_curves(table: pd.DataFrame) -> Plot:
    """The history of the voice VAE-GAN, a row per epoch."""
    return kinds.vaegan_curves(table, "voice VAE-GAN")


def reconstructions(originals: Sequence, decoded: Sequence, emotions: Sequence[str]) -> Plot:
    """Two rows of spectrograms (N, 1, 128, 128)."""
    rows = [small_pictures(originals), small_pictures(decoded)]
    title = "a validation speaker"
    return kinds.image_grid(rows, ["original", "decoded"], emotions, size=0.8, title=title)


def samples_and_walk(samples: Sequence, walk: Sequence, first: str, last: str) -> Plot:
    """Spectrograms (N, 1, 128, 128) from the prior, and on the way from one emotion to another."""
    rows = [small_pictures(samples), small_pictures(walk)]
    names = ["from the prior", f"{first} to {last}"]
    return kinds.image_grid(rows, names, size=0.8, title="invented voices, and a walk")


def latents(points, emotions: Sequence[str]) -> Plot:
    """Latent means (N, D) of validation clips."""
    return kinds.latent_scatter(points, emotions, title="validation speakers")


def voice_scores(table: pd.DataFrame, chance: float, corpus: str) -> Plot:
    """``kinds.score_table`` of the readers -> clip accuracies."""
    title, label = f"Emotion from the voice alone ({corpus})", "clip accuracy, test speakers"
    return kinds.accuracy_bars(table, chance, title=title, label=label)
