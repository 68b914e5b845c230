"""Figures of notebook 10: what raters, simulated or human, name and feel."""

from __future__ import annotations

import pandas as pd

from cmlib.plots import kinds
from cmlib.plots.style import Plot


def named(table: pd.DataFrame, raters: str) -> Plot:
    """Columns voice, kind, value, low, high: how often the emotion of the voice is named."""
    panel = table.rename(columns={"voice": "x", "kind": "group"})
    panel = panel.assign(panel="named after the voice's emotion")
    return kinds.point_panels(panel, "share of the answers", limits=(0, 1), title=raters)


def intensity_and_realism(table: pd.DataFrame, raters: str) -> Plot:
    """Columns x (the kind of picture), panel (the scale), value, low, high: mean ratings."""
    panels = table.assign(group="")
    return kinds.point_panels(panels, "mean rating, 1 to 7", limits=(1, 7), title=raters)
