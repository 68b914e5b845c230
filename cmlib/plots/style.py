"""The one look of every plot, and how plots are saved.

The first plot imports seaborn, which takes over a second; the demo shows pictures before any plot.
Pictures may be numpy arrays or torch tensors of shape (S, S, 3), (3, S, S), (S, S) or (1, S, S),
either uint8 or floats in 0...1.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from functools import cache, wraps
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from cmlib.files import write_atomically
from cmlib.plots.palette import INK, QUIET

# Metadata of each format that would make the same figure differ in its bytes tomorrow.
VARYING_METADATA = {
    "svg": ("Date", "Creator"),
    "pdf": ("CreationDate", "Creator", "Producer"),
    "png": ("Software",),
}
FORMATS = tuple(VARYING_METADATA)


@cache
def settings() -> dict:
    """Matplotlib's settings for every plot."""
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


class Plot(Figure):
    """A matplotlib figure that a notebook shows once, whatever the backend.

    Pyplot does not know it, so it never keeps it in memory.
    """

    def png(self) -> bytes:
        """The figure as the file that a notebook shows, for a widget that shows it again."""
        buffer = io.BytesIO()
        with mpl.rc_context(settings()):
            self.savefig(buffer, format="png", dpi=self.get_dpi(), metadata={"Software": None})
        return buffer.getvalue()

    def _repr_png_(self) -> bytes:
        return self.png()

    def axes_grid(self, rows: int = 1, columns: int = 1, **options) -> NDArray[np.object_]:
        """(rows, columns) array of axes."""
        return self.subplots(rows, columns, squeeze=False, **options)

    def heading(self, title: str) -> None:
        """A bold title at the left, above all axes; none where ``title`` is empty."""
        if title:
            self.suptitle(title, x=0.01, ha="left", fontweight="bold")


def styled(plot: Callable[..., Plot]) -> Callable[..., Plot]:
    """Decorate a function that draws, so that it draws in the look of this module."""

    @wraps(plot)
    def in_style(*args, **options) -> Plot:
        with mpl.rc_context(settings()):
            return plot(*args, **options)

    return in_style


def new_plot(width: float, height: float) -> Plot:
    """An empty figure, its size in inches."""
    return Plot(figsize=(width, height), layout="constrained")


def lay_out(figure: Figure) -> None:
    """Find the places of axes and texts, once for all formats.

    Otherwise matplotlib would find them again for each file, which takes a quarter of the time of
    drawing, and each time a little differently.
    """
    if figure.get_layout_engine() is not None:
        figure.draw_without_rendering()
        figure.set_layout_engine("none")


def save(
    figure: Figure, name: str, out_dir: str | Path, table: pd.DataFrame | None = None
) -> Figure:
    """Write ``out_dir``/figures/``name``.svg, .pdf and .png; return ``figure``.

    ``table`` is written beside them as .csv. The same figure gives the same bytes. A file appears
    whole or not at all.
    """
    return save_in(Path(out_dir) / "figures", figure, name, table)


def save_in(
    folder: Path,
    figure: Figure,
    name: str,
    table: pd.DataFrame | None = None,
    formats: Sequence[str] = FORMATS,
) -> Figure:
    """Like ``save``, with the folder of the files itself; ``formats`` are some of ``FORMATS``."""
    with mpl.rc_context(settings()):
        lay_out(figure)
        for suffix in formats:
            fields = VARYING_METADATA[suffix]
            with write_atomically(folder / f"{name}.{suffix}") as file:
                figure.savefig(file, format=suffix, metadata=dict.fromkeys(fields))
    if table is not None:
        with write_atomically(folder / f"{name}.csv") as file:
            table.to_csv(file, index=False, float_format="%.6g")
    return figure


def animation(pictures: Sequence[np.ndarray], name: str, out_dir: str | Path) -> bytes:
    """Write pictures (H, W, 3) in 0...1 as ``out_dir``/figures/``name``.gif; return its bytes.

    Each picture is shown for 0.12 seconds, and the animation repeats for ever.
    """
    frames = [Image.fromarray((255 * picture(p)).round().astype(np.uint8)) for p in pictures]
    first, *others = [frame.quantize(96) for frame in frames]
    buffer = io.BytesIO()
    first.save(buffer, "GIF", save_all=True, append_images=others, duration=120, loop=0)
    path = Path(out_dir) / "figures" / f"{name}.gif"
    with write_atomically(path) as file:
        file.write_bytes(buffer.getvalue())
    return buffer.getvalue()


def picture(image) -> np.ndarray:
    """Any accepted picture as (H, W, 3) or (H, W) floats in 0...1."""
    image = np.asarray(image.detach().cpu() if hasattr(image, "detach") else image)
    scale = 255 if image.dtype == np.uint8 else 1
    channels_first = image.ndim == 3 and image.shape[0] in (1, 3) and image.shape[-1] not in (1, 3)
    if channels_first:
        image = np.moveaxis(image, 0, -1)
    if image.ndim == 3 and image.shape[-1] == 1:
        image = image[..., 0]
    assert image.ndim in (2, 3), f"not a picture: shape {image.shape}"
    return np.clip(image.astype(np.float32) / scale, 0, 1)
