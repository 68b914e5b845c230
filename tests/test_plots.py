"""Kinds of figures draw their tables as they are."""

import numpy as np
import pandas as pd
import pytest

from cmlib.plots import kinds


def test_reliability_draws_accuracy_against_confidence_for_each_model():
    table = pd.DataFrame(
        {
            "model": ["face", "face", "can"],
            "confidence": [0.35, 0.62, 0.9],
            "accuracy": [0.3, 0.7, 0.8],
            "count": [3, 7, 10],
        }
    )
    fig = kinds.reliability(table)
    assert [ax.get_title(loc="left") for ax in fig.axes] == ["face only", "context attention"]
    for ax, (_, bins) in zip(fig.axes, table.groupby("model", sort=False)):
        np.testing.assert_array_equal(ax.lines[1].get_xydata(), bins[["confidence", "accuracy"]])


def test_point_panels_keep_the_order_of_the_table():
    table = pd.DataFrame(
        [
            ("a", "one", "face", 0.0),
            ("a", "one", "can", 0.1),
            ("a", "two", "can", 0.2),
            ("b", "one", "can", 0.9),
        ],
        columns=["panel", "x", "group", "value"],
    ).assign(low=0.0, high=1.0)
    left, right = kinds.point_panels(table, "score", chance=1 / 7, limits=(0, 1)).axes
    assert [label.get_text() for label in left.get_xticklabels()] == ["one", "two"]
    assert left.get_ylim() == (0, 1)
    assert left.lines[1].get_ydata().tolist() == pytest.approx([0.1, 0.2])
    assert right.lines[1].get_ydata().tolist() == [0.9]
