"""The figure of notebook 09: the pictures that raters see."""

from __future__ import annotations

from collections.abc import Sequence

from cmlib.plots import kinds
from cmlib.plots.style import Plot


def pictures_to_rate(
    pictures: Sequence[Sequence], actors: Sequence[int], kinds_of_picture: Sequence[str]
) -> Plot:
    """A row for each actor; a column is an emotion of the voice or a kind of picture."""
    rows = [f"actor {actor}" for actor in actors]
    return kinds.image_grid(pictures, rows, kinds_of_picture, size=0.8)
