"""Figures of notebook 02: the face VAE-GAN."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from cmlib.plots import kinds
from cmlib.plots.style import Plot


def learning(
    originals: Sequence, epochs: Sequence[Sequence], emotions: Sequence[str], table: pd.DataFrame
) -> Plot:
    """Faces, and their reconstructions after each epoch; ``table`` is the history."""
    rows = ["original", *(f"epoch {epoch}" for epoch in table.epoch)]
    return kinds.image_grid([originals, *epochs], rows, emotions, size=0.8)


def loss_curves(table: pd.DataFrame, short: bool) -> Plot:
    """The history of the face VAE-GAN, or of the ``short`` training where that has none."""
    return kinds.vaegan_curves(table, "the short training" if short else "face VAE-GAN")


def reconstructions(originals: Sequence, decoded: Sequence, emotions: Sequence[str]) -> Plot:
    """Two rows: pictures and what the decoder makes of their latents."""
    rows = ("original", "decoded")
    return kinds.image_grid([originals, decoded], rows, emotions, title="validation actors")


def prior_samples(pictures: Sequence) -> Plot:
    """Sixteen pictures decoded from the prior."""
    rows = [pictures[:8], pictures[8:]]
    return kinds.image_grid(rows, title="decoded from the prior")


def interpolation(walks: Sequence[Sequence], steps: Sequence[float], names: Sequence[str]) -> Plot:
    """A row from one face to another of the same actor, and a row between two actors."""
    columns = [f"{step:.2f}" for step in steps]
    title = "a straight line in the latent"
    return kinds.image_grid(walks, names, columns, title=title)


def latents(points, emotions: Sequence[str]) -> Plot:
    """Latent means (N, D) of validation frames."""
    return kinds.latent_scatter(points, emotions, title="validation actors")


def three_numbers(table: pd.DataFrame, chance: float) -> Plot:
    """How well crops, latents and reconstructions are read.

    ``table`` is a ``kinds.score_table`` whose first column is "where".
    """
    title = "Where does the expression get lost?"
    label = "clip accuracy, validation actors"
    return kinds.accuracy_bars(table, chance, title=title, label=label)
