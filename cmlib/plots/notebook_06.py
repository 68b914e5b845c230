"""Figures of notebook 06: how good the models are on test actors."""

from __future__ import annotations

import numpy as np
import pandas as pd

from cmlib.plots import kinds
from cmlib.plots.palette import INK, MODEL_NAMES
from cmlib.plots.style import Plot

# Single senses and their combination, for figures with little room.
COMPARED = ("face", "voice", "can")


def test_accuracy(table: pd.DataFrame, chance: float) -> Plot:
    """``kinds.score_table`` of all models -> clip accuracies."""
    return kinds.accuracy_bars(table, chance, title="test actors")


def confusion(table: pd.DataFrame, model: str) -> Plot:
    """A row per true emotion: columns truth, and the share that was called each emotion."""
    return kinds.confusion(table.set_index("truth"), list(table["truth"]), MODEL_NAMES[model])


def recall_per_emotion(table: pd.DataFrame) -> Plot:
    """A row per model: columns model, and its recall of each emotion, in 0...1."""
    recall = table.set_index("model").rename(index=MODEL_NAMES).rename_axis(index=None)
    title = "found, % of the clips of each emotion"
    return kinds.heat_map(100 * recall, title, size=(6, 2.5))


def accuracy_against_strength(table: pd.DataFrame, face_only: float, chance: float) -> Plot:
    """Columns strength, value, low, high of context attention; two lines to compare with."""
    fig = kinds.strength_curves(table, "clip accuracy", title="test actors, context attention")
    ax = fig.axes[0]
    ax.axhline(face_only, ls="--", color=INK, lw=1)
    ax.axhline(chance, ls=":", color=INK, lw=1)
    return fig


def calibration(table: pd.DataFrame) -> Plot:
    """Columns model, confidence, accuracy, count: one row per model and bin of confidence."""
    return kinds.reliability(table[table.model.isin(COMPARED)], "test actors, clips")


def robustness(table: pd.DataFrame, chance: float) -> Plot:
    """Columns disturbance, level, model, value, low, high; rows of "nothing" are not shown."""
    columns = {"disturbance": "panel", "level": "x", "model": "group"}
    panels = table.loc[table.disturbance != "nothing"].rename(columns=columns)
    return kinds.point_panels(panels, "clip accuracy", chance, (0, 1), "disturbed test clips")


def ablations(table: pd.DataFrame, chance: float) -> Plot:
    """Columns change, value, low, high: clip accuracy of validation actors."""
    rows = table.rename(columns={"change": "name"})
    label = "clip accuracy, validation actors"
    return kinds.score_rows(rows, label, chance, "one change at a time", "as in the profile")


def all_folds(table: pd.DataFrame, chance: float) -> Plot:
    """Columns model, value, low, high, count: clip accuracy over the trained folds."""
    trained = int(np.max(table["count"]))
    title = "all five folds" if trained == 5 else f"test actors of {trained} of 5 folds"
    return kinds.accuracy_bars(table, chance, title=title)
