"""The figure of notebook 11: what three judges see in four kinds of pictures."""

from __future__ import annotations

import pandas as pd

from cmlib.plots import kinds
from cmlib.plots.style import Plot


def judges(table: pd.DataFrame, chance: float) -> Plot:
    """Columns judge, pictures, value, low, high: how often the intended emotion is named."""
    pictures = table.pictures.str.replace("mental representation", "mental repr.")
    panels = table.assign(panel=table.judge, x=pictures, group="share")
    label, title = "intended emotion named", "three judges, four kinds of pictures"
    return kinds.point_panels(panels, label, chance, (0, 0.8), title)
