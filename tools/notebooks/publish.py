"""Put the outputs of an executed run into the notebooks that are committed.

The command is ``python -m tools.notebooks.publish runs/actors-quick``. Cells are matched by their
id; a cell whose source has changed since it was executed is an error. Widgets and their state,
progress bars, stderr and papermill's own metadata are left behind. Each notebook then carries a
fingerprint of the code that produced its outputs; a test compares it with the code in the notebook.
The numbers that the notebooks recorded are copied to ``docs/metrics/fold_1``; a test compares the
prose with them.
"""

from __future__ import annotations

import argparse
import base64
import copy
import hashlib
import io
import re
import shutil
import sys
from fnmatch import fnmatchcase
from pathlib import Path

import nbformat
import numpy as np
from PIL import Image, ImageSequence

from cmlib.figures.catalogue import FIGURES

ROOT = Path(__file__).resolve().parents[2]
METRICS = ROOT / "docs" / "metrics" / "fold_1"  # of the published run; prose is compared with them
PICTURES = ("image/png", "image/jpeg", "image/gif")
# Grey levels of 255 by which a palette may change a picture: all but a thousandth of its pixels,
# and all pixels on average.
VISIBLE, VISIBLE_ON_AVERAGE = 20, 0.3
LARGEST_ANIMATION = 200_000  # characters of an animation; a longer one is shortened
LARGEST = 1_000_000  # bytes that a published notebook may have
WIDGET = "application/vnd.jupyter.widget-view+json"


class PublishError(RuntimeError):
    """Outputs that cannot be published; the message names the notebook and why."""


def fingerprint(notebook: nbformat.NotebookNode) -> str:
    """A hash of the code cells in their order, as 16 hexadecimal digits."""
    code = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    return hashlib.sha256("\0".join(code).encode()).hexdigest()[:16]


def clean(outputs: list) -> list:
    """The outputs that a reader on the web can use, without widgets and stderr."""
    kept = []
    for output in copy.deepcopy(outputs):
        data = output.get("data", {})
        if output.get("name") == "stderr" or WIDGET in data:
            continue
        if "image/png" in data:
            kind, picture = smaller_picture(data.pop("image/png"))
            data[kind] = picture
        if len(data.get("image/gif", "")) > LARGEST_ANIMATION:
            data["image/gif"] = shorter_animation(data["image/gif"])
        kept.append(output)
    return kept


def shorter_animation(gif: str) -> str:
    """A base64 GIF with every second picture, shown twice as long, in 48 colours.

    The file in the folder of the run keeps all pictures.
    """
    with Image.open(io.BytesIO(base64.b64decode(gif))) as animation:
        milliseconds = animation.info["duration"]
        pictures = [picture.convert("RGB") for picture in ImageSequence.all_frames(animation)[::2]]
    first, *others = [p.quantize(48, dither=Image.Dither.NONE) for p in pictures]
    packed = io.BytesIO()
    first.save(
        packed, "GIF", save_all=True, append_images=others, duration=2 * milliseconds, loop=0
    )
    return base64.b64encode(packed.getvalue()).decode() + "\n"


def smaller_picture(png: str) -> tuple[str, str]:
    """A base64 PNG as the MIME type and base64 text of a smaller picture that looks the same.

    A plot has few colours and gets a palette. Faces have many, and a palette would change some of
    them visibly: they become a JPEG in all colours, where that is much smaller than the PNG.
    """
    image = Image.open(io.BytesIO(base64.b64decode(png)))
    if image.mode == "P":
        return "image/png", png
    image = image.convert("RGB")
    few_colours = image.quantize(256)
    difference = np.asarray(image, np.int16) - np.asarray(few_colours.convert("RGB"), np.int16)
    difference = np.abs(difference).max(2)
    if np.quantile(difference, 0.999) <= VISIBLE and difference.mean() <= VISIBLE_ON_AVERAGE:
        return "image/png", encoded(few_colours, "PNG", optimize=True)
    jpeg = encoded(image, "JPEG", quality=90, subsampling=0, optimize=True)
    if len(jpeg) < 0.67 * len(png):
        return "image/jpeg", jpeg
    return "image/png", png


def encoded(image: Image.Image, kind: str, **options) -> str:
    """An image file as base64 text, as notebooks keep it."""
    packed = io.BytesIO()
    image.save(packed, kind, **options)
    return base64.b64encode(packed.getvalue()).decode() + "\n"


def describe(code: str, outputs: list) -> None:
    """Give the pictures of a cell that saves figures the titles of these as alternative texts."""
    saved = re.findall(r'style\.save\([^"]*?f?"([^"]+)"', code)
    patterns = [re.sub(r"{\w+}", "*", name) for name in saved]
    titles = [
        figure.title
        for pattern in patterns
        for name, figure in FIGURES.items()
        if fnmatchcase(name, pattern)
    ]
    pictures = [
        (output, kind) for output in outputs for kind in PICTURES if kind in output.get("data", {})
    ]
    for (output, kind), title in zip(pictures, titles):
        output.metadata[kind] = {**output.metadata.get(kind, {}), "alt": title}


def publish(source: Path, executed: Path) -> int:
    """Copy outputs from ``executed`` into ``source``; return the new size in bytes.

    PublishError where the two do not belong together, or an output must not be published.
    """
    book = nbformat.read(source, as_version=4)
    executed_book = nbformat.read(executed, as_version=4)
    executed_cells = {cell.id: cell for cell in executed_book.cells}
    for cell in book.cells:
        if cell.cell_type != "code":
            continue
        executed_cell = executed_cells.get(cell.id)
        if executed_cell is None or executed_cell.source != cell.source:
            raise PublishError(
                f"{source.name}: a cell has changed since it was executed; "
                "make reproduce, then publish again"
            )
        if any(output.output_type == "error" for output in executed_cell.outputs):
            raise PublishError(f"{source.name}: failed when it was executed; see {executed}")
        cell.outputs = clean(executed_cell.outputs)
        describe(cell.source, cell.outputs)
        cell.execution_count = executed_cell.execution_count
    book.metadata.pop("widgets", None)
    book.metadata["outputs_of"] = fingerprint(book)
    text = nbformat.writes(book) + "\n"
    for private in (str(ROOT), str(Path.home()) + "/"):
        if private in text:
            raise PublishError(f"{source.name}: an output holds the path {private}")
    if len(text) > LARGEST:
        raise PublishError(
            f"{source.name}: {len(text):,} bytes with its outputs, more than {LARGEST:,}; "
            "make its pictures smaller"
        )
    source.write_text(text, encoding="utf-8")
    return len(text)


def main(arguments: list[str] | None = None) -> int:
    """Publish every notebook of a run; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.notebooks.publish",
        description="Put the outputs of an executed run into the notebooks.",
    )
    parser.add_argument("run", type=Path, help="a finished run, such as runs/actors-quick")
    options = parser.parse_args(arguments)
    failed = False
    for source in sorted((ROOT / "notebooks").glob("*.ipynb")):
        try:
            size = publish(source, options.run / "notebooks" / source.name)
            print(f"{source.name}: {size:,} bytes")
        except (PublishError, OSError) as error:
            print(f"publish: {error}", file=sys.stderr)
            failed = True
    if not failed:
        METRICS.mkdir(parents=True, exist_ok=True)
        for numbers in sorted((options.run / "metrics").glob("*.json")):
            shutil.copy(numbers, METRICS / numbers.name)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
