"""A page of all figures with small previews, ``docs/figures/README.md``."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from cmlib import files
from cmlib.figures.catalogue import FIGURES

LARGEST_PREVIEW = 60_000  # bytes
LARGEST_GALLERY = 600_000  # bytes of all previews together
WIDTH = 640  # pixels of a preview, at most
TITLE = "# Every figure"
NARROWER = 0.85  # factor from one width to the next, while previews have too many bytes


def preview(path: Path, width: int) -> bytes:
    """A WebP in all colours, at most ``width`` pixels wide and ``LARGEST_PREVIEW`` bytes large."""
    with Image.open(path) as opened:
        image = opened.convert("RGB")
    width = min(width, image.width)
    while True:
        small = image.copy()
        small.thumbnail((width, 4 * width), Image.Resampling.LANCZOS)
        packed = io.BytesIO()
        small.save(packed, "WEBP", quality=80)
        if packed.tell() <= LARGEST_PREVIEW:
            return packed.getvalue()
        width = int(NARROWER * width)


def previews(names: Sequence[str], folder: Path) -> dict[str, bytes]:
    """A preview of each figure, all of them together at most ``LARGEST_GALLERY`` bytes."""
    width = WIDTH
    while True:
        pictures = {name: preview(folder / f"{name}.png", width) for name in names}
        if sum(len(picture) for picture in pictures.values()) <= LARGEST_GALLERY:
            return pictures
        width = int(NARROWER * width)


def check_folder(docs: Path) -> None:
    """ValueError if a gallery in ``docs`` would replace a page or previews of something else."""
    page = docs / "README.md"
    if page.exists():
        replaces_other = not page.read_text(errors="replace").startswith(TITLE)
    else:
        replaces_other = (docs / "preview").exists()
    if replaces_other:
        raise ValueError(
            f"{docs}: has a README.md or a folder preview that is no gallery's; "
            "name another folder with --gallery"
        )


def write_gallery(names: Sequence[str], folder: Path, docs: Path, about: str) -> Path:
    """Write ``docs``/README.md, a page of the figures in ``folder``, and ``docs``/preview.

    ``about`` says which run the figures belong to. Returns the path of the page.
    """
    pictures = previews(names, folder)
    shutil.rmtree(docs / "preview", ignore_errors=True)
    (docs / "preview").mkdir(parents=True)
    for name, picture in pictures.items():
        (docs / "preview" / f"{name}.webp").write_bytes(picture)

    lines = [
        TITLE,
        "",
        f"{about} Written by `cm figures --gallery docs/figures`; `cm figures NAME` draws one "
        "again, as SVG, PDF and PNG, with its table as CSV.",
    ]
    by_notebook: dict[str, list[str]] = {}
    for name in names:
        by_notebook.setdefault(FIGURES[name].notebook, []).append(name)
    for notebook, its_names in by_notebook.items():
        lines += ["", f"## {heading(notebook)}", "", "| | |", "|---|---|"]
        cells = [
            f"![{FIGURES[name].title}](preview/{name}.webp)<br>`cm figures {name}`"
            for name in its_names
        ]
        if len(cells) % 2:
            cells.append("")
        lines += [f"| {left} | {right} |" for left, right in zip(cells[::2], cells[1::2])]
    return files.write_text(docs / "README.md", "\n".join(lines) + "\n")


def heading(notebook: str) -> str:
    """The title of a notebook, such as "06 · Evaluation"."""
    path = files.ROOT / "notebooks" / f"{notebook}.ipynb"
    first_cell = json.loads(path.read_text(encoding="utf-8"))["cells"][0]
    return "".join(first_cell["source"]).splitlines()[0].lstrip("# ")
