"""Figures of notebook 01: what the corpus holds, and what becomes of a clip."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from cmlib.plots import kinds
from cmlib.plots.style import Plot, new_plot, styled


@styled
def square_and_crop(frame, corners: np.ndarray, points: np.ndarray, crop) -> Plot:
    """A frame with the points (N, 2) of a face and the square around it, and the crop.

    ``corners`` (5,) are complex numbers x + iy; the last corner repeats the first.
    """
    fig = new_plot(6, 2.6)
    left, right = fig.axes_grid(1, 2)[0]
    left.imshow(frame)
    left.plot(np.real(corners), np.imag(corners), color="white")
    left.plot(points[:, 0], points[:, 1], ".", color="cyan")
    right.imshow(crop)
    for ax in (left, right):
        ax.set_axis_off()
    return fig


def crops(pictures: Sequence) -> Plot:
    """Face crops of one clip."""
    return kinds.image_grid([pictures], size=1.0, title="the same frames, cut out")


@styled
def mel_bands(weights: np.ndarray, highest: float) -> Plot:
    """The filters of some mel bands (bands, frequencies) up to ``highest`` kilohertz."""
    fig = new_plot(6, 2)
    ax = fig.axes_grid()[0, 0]
    ax.plot(np.linspace(0, highest, weights.shape[1]), weights.T, lw=1)
    ax.set(xlabel="frequency, kHz", ylabel="weight", title="every twelfth of 128 mel bands")
    return fig


def mel(spectrogram, emotion: str, actor: int) -> Plot:
    """The mel spectrogram (128, 128) of a clip."""
    return kinds.mel(spectrogram, title=f"{emotion}, actor {actor}")


def faces(pictures: Sequence[Sequence], actors: Sequence[int], emotions: Sequence[str]) -> Plot:
    """A row of face crops for each actor, a column for each emotion; None leaves a hole."""
    rows = [f"actor {actor}" for actor in actors]
    return kinds.image_grid(pictures, rows, emotions, size=0.9)


def mean_voices(spectrograms: Mapping[str, np.ndarray]) -> Plot:
    """The mean spectrogram (128, 128) of each emotion."""
    pictures = [spectrogram[::-1] for spectrogram in spectrograms.values()]
    return kinds.image_grid([pictures], column_labels=list(spectrograms), size=1.1)


@styled
def folds(table: pd.DataFrame) -> Plot:
    """A row for each fold, a column for each actor: 2 tests, 1 validates, 0 trains."""
    fig = new_plot(6.5, 1.9)
    ax = fig.axes_grid()[0, 0]
    ax.imshow(table.to_numpy(), cmap="Blues", vmax=2.4, aspect="auto")
    title = "dark: tests; pale: validates; white: trains"
    ax.set(xlabel="actor", ylabel="fold", title=title)
    actors = list(table.columns)
    ax.set_xticks(range(len(actors)), actors, rotation=90 if len(actors) > 24 else 0)
    ax.set_yticks(range(len(table)), range(1, len(table) + 1))
    ax.grid(False)
    return fig
