"""Figures of notebook 12: people in place of drawings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from cmlib.plots import kinds
from cmlib.plots.style import Plot

ENLARGED = 4  # people whose pictures are shown once more, enlarged
STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)  # of the context


def beginning(pictures: Sequence[tuple[np.ndarray, np.ndarray]]) -> Plot:
    """Pairs of pictures: what the components alone draw, and what the whole network draws.

    The middle of both is shown once more, twice as large, since the difference is small.
    """
    alone, whole = zip(*pictures[:ENLARGED], strict=True)
    rows = (alone, whole, [_middle(p) for p in alone], [_middle(p) for p in whole])
    labels = ("components alone", "whole network", "components, enlarged", "network, enlarged")
    return kinds.image_grid(rows, labels, size=1.5)


def _middle(picture: np.ndarray) -> np.ndarray:
    """The middle quarter of a picture (S, S, 3), with eyes, nose and mouth: (S/2, S/2, 3)."""
    quarter = picture.shape[0] // 4
    return picture[quarter : 3 * quarter, quarter : 3 * quarter]


def in_context(perceptions: Mapping[str, Mapping]) -> Plot:
    """A row for each person: its reconstruction, and as it is perceived with each voice."""
    emotions = list(next(iter(perceptions.values())))
    pictures = []
    for by_emotion in perceptions.values():
        of_person = list(by_emotion.values())
        perceived = [perception.perceived for perception in of_person]
        pictures.append([of_person[0].reconstruction, *perceived])
    return kinds.image_grid(pictures, list(perceptions), ("no voice", *emotions), size=0.95)


def strength(perceptions: Mapping[str, Sequence]) -> Plot:
    """A row for each emotion of the voice: perceptions of one face at rising strengths t."""
    columns = [f"t = {t:g}" for t in STRENGTHS]
    pictures = [[p.perceived for p in row] for row in perceptions.values()]
    return kinds.image_grid(pictures, list(perceptions), columns, size=1.1)


def recognition(table: pd.DataFrame) -> Plot:
    """Columns model, value, low, high: accuracy on people and speakers of no training."""
    label = "accuracy by pair, 95 % intervals"
    return kinds.accuracy_bars(table, chance=1 / 7, label=label)


def gains(table: pd.DataFrame) -> Plot:
    """Columns set, judge, emotion, value, low, high: gains of the voice's emotion."""
    panels = table.assign(panel=table["set"], x=table.emotion, group=table.judge)
    title = "what a voice at full strength changes"
    return kinds.point_panels(panels, "gain of the voice's emotion", 0.0, title=title)
