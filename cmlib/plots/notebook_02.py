"""Figures of notebook 02: the face VAE-GAN."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from cmlib.plots import kinds
from cmlib.plots.style import Plot


def learning(
    originals: Sequence,
    epochs: Sequence[Sequence],
    invented: Sequence[Sequence],
    moods: Sequence[str],
    table: pd.DataFrame,
) -> Plot:
    """Cartoons and their reconstructions, then faces of nobody, as the training goes on.

    ``epochs`` and ``invented`` hold a row for the start and one for each epoch. Of these the first,
    two in between and the last are shown. ``table`` has a row for each epoch.
    """
    last = len(table)
    chosen = sorted({0, min(1, last), last // 2, last})
    names = ["the start" if epoch == 0 else f"epoch {epoch}" for epoch in chosen]
    rows = ["original", *names, *(f"of nobody,\n{name}" for name in names)]
    images = [list(originals)]
    images += [epochs[epoch] for epoch in chosen]
    images += [invented[epoch] for epoch in chosen]
    return kinds.image_grid(images, rows, moods, size=0.7)


def game(table: pd.DataFrame) -> Plot:
    """What the discriminator of a small VAE-GAN said in each step: its loss and its answers."""
    return kinds.adversarial_game(table)


def measures(
    originals: Sequence,
    decoded: Mapping[str, Sequence],
    moods: Sequence[str],
    table: pd.DataFrame,
) -> Plot:
    """Cartoons, and their reconstructions by networks that differ in what they call alike.

    ``table`` has the columns network, error, sharpness and read, with a row "originals".
    """
    numbers = table.set_index("network")
    rows = ["original"]
    for name in decoded:
        rows.append(f"{name}\nread: {numbers.read[name]:.0%}")
    return kinds.image_grid([originals, *decoded.values()], rows, moods, size=0.8)


def loss_curves(table: pd.DataFrame, short: bool) -> Plot:
    """The history of the face VAE-GAN, or that of the small one where that has none (``short``)."""
    return kinds.vaegan_curves(table, "the small VAE-GAN" if short else "face VAE-GAN")


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
