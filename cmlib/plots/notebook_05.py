"""Figures of notebook 05: how context attention works, and what it does on validation actors."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from cmlib.plots import kinds
from cmlib.plots.palette import INK
from cmlib.plots.style import Plot


def can_training(table: pd.DataFrame) -> Plot:
    """The history of the context attention network, a row per epoch."""
    return kinds.loss_curves(table, title="context attention network, faces it learns from")


def attention_map(weights, queries, keys) -> Plot:
    """Attention weights (D, D), each row divided by its largest.

    Rows are in the order of the sorted ``queries`` (D,), columns in that of the sorted ``keys``.
    """
    return kinds.attention_map(weights, queries, keys, "one face and the voice of its clip")


def attention_function_one_face(
    table: pd.DataFrame, bounds: tuple[float, float], queries, outputs
) -> Plot:
    """The function of one face, and what it gives for the ``queries`` (D,) of its own voice.

    ``table`` has the columns query and the emotion of the face; ``bounds`` are the smallest and the
    largest possible output.
    """
    emotion = table.columns[1]
    title = "one face, and the voice of its clip"
    fig = kinds.attention_function(table["query"], table[emotion], [emotion], bounds, title)
    fig.axes[0].plot(queries, outputs, ".", color=INK, ms=4)
    return fig


def attention_at(table: pd.DataFrame, curve: pd.DataFrame) -> Plot:
    """What the knob of the attention does: weights and output of one face at several queries."""
    return kinds.attention_at(table, curve)


def attention_functions(table: pd.DataFrame) -> Plot:
    """Columns query, and the outputs for one face of each emotion."""
    emotions: Sequence[str] = [column for column in table if column != "query"]
    title = "the same actor, seven expressions"
    return kinds.attention_function(table["query"], table[emotions].T, emotions, title=title)


def validation_accuracy(table: pd.DataFrame, chance: float) -> Plot:
    """``kinds.score_table`` of all models -> clip accuracies."""
    return kinds.accuracy_bars(table, chance, title="validation actors")


def kl_shift(table: pd.DataFrame) -> Plot:
    """Columns emotion, kl, low, high."""
    title = "how far the voice moves the face, validation actors"
    return kinds.shift_bars(table, title=title)
