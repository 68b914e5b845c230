"""Figures of notebook 00: what a voice does to the reading of a face."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.ticker import PercentFormatter

from cmlib.plots import kinds
from cmlib.plots.palette import EMOTION_COLORS, EMOTION_MARKERS, INK
from cmlib.plots.style import Plot, new_plot, styled

NO_VOICE = "no voice"


@styled
def continuum(table: pd.DataFrame, pictures: Sequence[np.ndarray], answers: Sequence[str]) -> Plot:
    """How often the second of two ``answers`` is given, against the step between two faces.

    The columns of ``table`` are voice, step (0...1), value, low and high. ``pictures`` (S, S, 3)
    show one person at evenly spaced steps, from the first of ``answers`` to the second.
    """
    fig = new_plot(6.4, 4.3)
    grid = fig.add_gridspec(2, len(pictures), height_ratios=[3, 1])
    ax = fig.add_subplot(grid[0, :])
    for voice, points in table.groupby("voice", sort=False):
        name = str(voice)
        color = EMOTION_COLORS.get(name, INK)
        label = name if name == NO_VOICE else f"{name} voice"
        look: dict[str, Any] = dict(
            color=color, marker=EMOTION_MARKERS.get(name, "o"), ms=5, lw=1.8
        )
        ax.plot(points["step"], points["value"], label=label, **look)
        ax.fill_between(
            points["step"], points["low"], points["high"], color=color, alpha=0.15, lw=0
        )
    ax.axhline(0.5, color=INK, ls=":", lw=1)
    ax.set(
        ylim=(-0.02, 1.02), xlim=(-0.05, 1.05), ylabel=f"“{answers[1]}” rather than “{answers[0]}”"
    )
    ax.xaxis.set_major_formatter(PercentFormatter(1))
    ax.yaxis.set_major_formatter(PercentFormatter(1))
    ax.set_xlabel(
        f"share of the {answers[1]} face in the latent, the rest is the {answers[0]} face"
    )
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    for place, image in enumerate(pictures):
        below = fig.add_subplot(grid[1, place])
        below.imshow(image)
        below.set_axis_off()
    return fig


def neutral_faces(pictures: Mapping[str, Sequence[np.ndarray]], voices: Sequence[str]) -> Plot:
    """A row for each person: the neutral face decoded, and as it is perceived with each voice."""
    columns = (NO_VOICE, *voices)
    return kinds.image_grid(list(pictures.values()), list(pictures), columns, size=1.1)
