"""`python -m tools.publish runs/actors-quick`: put the outputs of an executed run into the notebooks that are committed.

Cells are matched by their id; a cell whose source has changed since it was executed is an error. Left behind are widgets
and their state, progress bars, what went to stderr, and papermill's own metadata. Each notebook then carries a fingerprint of the code that
gave its outputs, which a test compares with the code it shows.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import io
import sys
from pathlib import Path

import nbformat
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
MOVING = 200_000  # characters of a moving picture that are left as they are
LARGEST = 1_000_000  # bytes a published notebook may have
WIDGET = "application/vnd.jupyter.widget-view+json"


class PublishError(RuntimeError):
    """Outputs that cannot be published; the message names the notebook and why."""


def fingerprint(notebook: nbformat.NotebookNode) -> str:
    """16 hex digits of the code cells, in order."""
    code = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    return hashlib.sha256("\0".join(code).encode()).hexdigest()[:16]


def clean(outputs: list) -> list:
    """Outputs a reader on the web can use: no widgets, no stderr."""
    kept = [o for o in outputs if o.get("name") != "stderr" and WIDGET not in o.get("data", {})]
    for output in kept:
        if "image/png" in output.get("data", {}):
            output["data"]["image/png"] = smaller(output["data"]["image/png"])
        if len(output.get("data", {}).get("image/gif", "")) > MOVING:
            output["data"]["image/gif"] = shorter(output["data"]["image/gif"])
    return kept


def shorter(gif: str) -> str:
    """A base64 GIF with every second of its pictures, twice as long, in 48 colours; the file of the run keeps them all."""
    with Image.open(io.BytesIO(base64.b64decode(gif))) as moving:
        seconds, frames = moving.info["duration"], []
        for number in range(0, moving.n_frames, 2):
            moving.seek(number)
            frames.append(moving.convert("RGB").quantize(48, dither=Image.Dither.NONE))
    frames[0].save(
        packed := io.BytesIO(),
        "GIF",
        save_all=True,
        append_images=frames[1:],
        duration=2 * seconds,
        loop=0,
    )
    return base64.b64encode(packed.getvalue()).decode() + "\n"


def smaller(png: str) -> str:
    """A base64 PNG in at most 256 colours, where that saves a third; the figures of a run keep all of theirs."""
    image = Image.open(io.BytesIO(base64.b64decode(png)))
    if image.mode == "P":
        return png
    image.convert("RGB").quantize(256).save(packed := io.BytesIO(), "PNG", optimize=True)
    text = base64.b64encode(packed.getvalue()).decode() + "\n"
    return text if len(text) < 0.67 * len(png) else png


def publish(source: Path, executed: Path) -> int:
    """Copy outputs from ``executed`` into ``source``; returns the new size in bytes, or raises PublishError."""
    book, done = (nbformat.read(path, as_version=4) for path in (source, executed))
    by_id = {cell.id: cell for cell in done.cells}
    for cell in book.cells:
        if cell.cell_type != "code":
            continue
        twin = by_id.get(cell.id)
        if twin is None or twin.source != cell.source:
            raise PublishError(
                f"{source.name}: a cell has changed since it was executed; make reproduce, then publish again"
            )
        if any(o.output_type == "error" for o in twin.outputs):
            raise PublishError(f"{source.name}: failed when it was executed; see {executed}")
        cell.outputs, cell.execution_count = clean(twin.outputs), twin.execution_count
    book.metadata.pop("widgets", None)
    book.metadata["outputs_of"] = fingerprint(book)
    text = nbformat.writes(book) + "\n"
    for private in (str(ROOT), str(Path.home()) + "/"):
        if private in text:
            raise PublishError(f"{source.name}: an output holds the path {private}")
    if len(text) > LARGEST:
        raise PublishError(
            f"{source.name}: {len(text):,} bytes with its outputs, more than {LARGEST:,}; make its pictures smaller"
        )
    source.write_text(text, encoding="utf-8")
    return len(text)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="publish", description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="a finished run, such as runs/actors-quick")
    options = parser.parse_args(arguments)
    failed = False
    for source in sorted((ROOT / "notebooks").glob("*.ipynb")):
        try:
            print(
                f"{source.name}: {publish(source, options.run / 'notebooks' / source.name):,} bytes"
            )
        except (PublishError, OSError) as error:
            print(f"publish: {error}", file=sys.stderr)
            failed = True
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
