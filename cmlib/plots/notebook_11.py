"""The figure of notebook 11: what three judges see in four kinds of pictures."""

from __future__ import annotations

import pandas as pd

from cmlib.plots import kinds
from cmlib.plots.palette import INK
from cmlib.plots.style import Plot


def judges(table: pd.DataFrame) -> Plot:
    """Columns judge, pictures, value, low, high, emotions: how often the intended one is named.

    Each judge has a line of its own: one over the number of emotions that it was asked for. This is
    chance for a judge that must choose one of them. The recogniser may also answer neutral.
    """
    pictures = table.pictures.str.replace("mental representation", "mental repr.")
    panel = table.judge + ", " + table.emotions.astype(str) + " emotions"
    panels = table.assign(panel=panel, x=pictures, group="share")
    label, title = "intended emotion named", "What three judges name"
    fig = kinds.point_panels(panels, label, limits=(0, 0.8), title=title)
    for ax, emotions in zip(fig.axes, table.drop_duplicates("judge").emotions):
        ax.axhline(1 / emotions, color=INK, ls="--", lw=1)
        place = ax.get_xlim()[1] - 0.1
        text = f"one in {emotions}: {100 / emotions:.0f} %"
        ax.text(place, 1 / emotions - 0.01, text, fontsize="x-small", ha="right", va="top")
    return fig
