"""Every plot of every notebook, in one look: data in, figure out, no hidden state.

Seaborn is imported by the first plot: that takes over a second, and the demo shows pictures before any plot.
Pictures may be numpy arrays or torch tensors, (S, S, 3) or (3, S, S) or (S, S) or (1, S, S), uint8 or floats in 0...1.
"""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from functools import cache, wraps
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from PIL import Image

from cmlib.plots.palette import INK, QUIET


@cache
def _style() -> dict:
    """Matplotlib's settings for every plot, from outside ``figures.STYLE``."""
    import seaborn as sns

    return {
        **sns.axes_style("whitegrid"),
        **sns.plotting_context("notebook", font_scale=0.8),
        "font.family": "sans-serif",
        "axes.edgecolor": QUIET,
        "axes.labelcolor": INK,
        "text.color": INK,
        "xtick.color": INK,
        "ytick.color": INK,
        "grid.color": "#E6E8EB",
        "axes.titleweight": "bold",
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.titlelocation": "left",
        "figure.dpi": 90,
        "savefig.dpi": 160,
        "svg.hashsalt": "cm",
        "svg.fonttype": "none",
        "pdf.fonttype": 42,
        "legend.frameon": False,
        "image.interpolation": "nearest",
    }


def __getattr__(name: str):
    if name == "STYLE":
        return _style()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class Plot(Figure):
    """A matplotlib figure that shows itself once in a notebook, whatever the backend, and is never kept by pyplot."""

    def _repr_png_(self) -> bytes:
        with mpl.rc_context(_style()):
            self.savefig(
                buffer := io.BytesIO(),
                format="png",
                dpi=self.get_dpi(),
                metadata={"Software": None},
            )
        return buffer.getvalue()

    def axes_grid(self, rows: int = 1, columns: int = 1, **options) -> np.ndarray:
        """(rows, columns) array of axes."""
        return self.subplots(rows, columns, squeeze=False, **options)


def _styled(plot):
    @wraps(plot)
    def inner(*args, **kwargs):
        with mpl.rc_context(_style()):
            return plot(*args, **kwargs)

    return inner


def _new(width: float, height: float) -> Plot:
    return Plot(figsize=(width, height), layout="constrained")


def save(fig: Figure, name: str, out_dir: str | Path, data: pd.DataFrame | None = None) -> Figure:
    """Write ``out_dir``/figures/``name``.svg, .pdf and .png, and ``data`` beside them as .csv; returns ``fig``.

    The same figure gives the same bytes.  A file appears whole or not at all.
    """
    folder = Path(out_dir) / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context(_style()):
        silent = {
            "svg": ("Date", "Creator"),
            "pdf": ("CreationDate", "Creator", "Producer"),
            "png": ("Software",),
        }
        for suffix, fields in silent.items():
            part = folder / f"{name}.{suffix}.part"
            fig.savefig(part, format=suffix, metadata=dict.fromkeys(fields))
            os.replace(part, folder / f"{name}.{suffix}")
    if data is not None:
        data.to_csv(part := folder / f"{name}.csv.part", index=False, float_format="%.6g")
        os.replace(part, folder / f"{name}.csv")
    return fig


def animation(
    pictures: Sequence[np.ndarray], name: str, out_dir: str | Path, seconds: float = 0.12
) -> bytes:
    """Write pictures (H, W, 3) in 0...1 as ``out_dir``/figures/``name``.gif, ``seconds`` each, for ever; returns its bytes."""
    frames = [
        Image.fromarray((255 * picture(p)).round().astype(np.uint8)).quantize(96) for p in pictures
    ]
    frames[0].save(
        buffer := io.BytesIO(),
        "GIF",
        save_all=True,
        append_images=frames[1:],
        duration=round(1000 * seconds),
        loop=0,
    )
    path = Path(out_dir) / "figures" / f"{name}.gif"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".part").write_bytes(buffer.getvalue())
    os.replace(path.with_suffix(".part"), path)
    return buffer.getvalue()


def picture(image) -> np.ndarray:
    """Any accepted picture as (H, W, 3) or (H, W) floats in 0...1."""
    image = np.asarray(image.detach().cpu() if hasattr(image, "detach") else image)
    scale = 255 if image.dtype == np.uint8 else 1
    if image.ndim == 3 and image.shape[0] in (1, 3) and image.shape[-1] not in (1, 3):
        image = np.moveaxis(image, 0, -1)
    if image.ndim == 3 and image.shape[-1] == 1:
        image = image[..., 0]
    assert image.ndim in (2, 3), f"not a picture: shape {image.shape}"
    return np.clip(image.astype(np.float32) / scale, 0, 1)
