"""Plots draw their tables as they are, with the same look and the same bytes every time."""

import numpy as np
import pandas as pd
import pytest

from cmlib.plots import kinds, palette, style


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


def lightness(color: str) -> float:
    """CIE L* of "#RRGGBB" (IEC 61966-2-1 and CIE 15)."""
    rgb = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    y = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4) @ [
        0.2126,
        0.7152,
        0.0722,
    ]
    return 116 * np.cbrt(y) - 16 if y > 0.008856 else 903.3 * y


def test_emotions_stay_apart_in_greyscale():
    levels = sorted(map(lightness, set(palette.EMOTION_COLORS.values())))
    assert (
        min(np.diff(levels)) > 9 and len(set(palette.EMOTION_MARKERS.values())) == len(levels) == 8
    )


def test_every_emotion_has_its_colour():
    from cmlib.corpora.names import EMOTIONS, MEAD_CLASSES

    assert tuple(palette.EMOTION_COLORS) == (*EMOTIONS, MEAD_CLASSES[0])
    assert palette.EMOTION_COLORS["contempt"] == palette.EMOTION_COLORS["calm"]


def test_same_figure_same_bytes(tmp_path):
    for name in ("a", "b"):
        points = np.random.default_rng(0).normal(size=(20, 5))
        style.save(kinds.latent_scatter(points, ["happy", "sad"] * 10), name, tmp_path)
    for suffix in ("svg", "png"):
        assert len({(tmp_path / "figures" / f"{n}.{suffix}").read_bytes() for n in "ab"}) == 1
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.parametrize("shape", [(8, 6, 3), (3, 8, 6), (8, 6), (1, 8, 6)])
def test_pictures_of_every_kind(shape):
    whole = np.full(shape, 255, np.uint8)
    assert (
        style.picture(whole).shape == ((8, 6, 3) if 3 in shape else (8, 6))
        and style.picture(whole).max() == 1
    )
    assert np.allclose(style.picture(whole / 255.0), style.picture(whole))


def test_confusion_rows_are_shares_of_the_truth():
    fig = kinds.confusion([[3, 1], [0, 0]], ["happy", "sad"])
    assert [text.get_text() for text in fig.axes[0].texts] == ["75", "25", "0", "0"]


def test_notebook_shows_a_figure_once_and_as_png():
    assert kinds.mel(np.zeros((128, 128)))._repr_png_().startswith(b"\x89PNG")
