"""Figures of notebook 04: what linear classifiers read, and what a leaking split pretends."""

from __future__ import annotations

import pandas as pd

from cmlib.plots import kinds
from cmlib.plots.style import Plot

LEAKING = ("random split", "strangers, clips mixed")  # splits with an actor on both sides


def history(table: pd.DataFrame, sense: str) -> Plot:
    """The training of a classifier, a row per epoch."""
    panels = [["cross-entropy"], ["train accuracy"]]
    return kinds.loss_curves(table, panels, title=f"{sense} classifier")


def confusion(table: pd.DataFrame, sense: str) -> Plot:
    """A row per true emotion: columns truth, and the share that was called each emotion."""
    rates = table.set_index("truth")
    return kinds.confusion(rates, list(rates.index), title=f"{sense}, validation actors")


def leakage(table: pd.DataFrame, chance: float, sense: str) -> Plot:
    """Columns split, value, low, high: clip accuracy of one probe under several splits."""
    title = f"One {sense} probe (orange: knows the actors)"
    label = "clip accuracy, 95 % intervals over actors"
    fig = kinds.accuracy_bars(table, chance, label=label)
    for bar, split in zip(fig.axes[0].patches, table.split):
        if split in LEAKING:
            bar.set_facecolor(kinds.RUST)
    fig.heading(title)
    return fig


def test_scores(table: pd.DataFrame, chance: float) -> Plot:
    """``kinds.score_table`` of the classifiers -> clip accuracies."""
    title, label = "Linear classifiers, test actors", "clip accuracy, test actors"
    return kinds.accuracy_bars(table, chance, title=title, label=label)
