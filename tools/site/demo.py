"""Write the page with everything that it fetches."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import matplotlib as mpl
import numpy as np

from cmlib import files
from cmlib.perceiver import Perceiver
from cmlib.plots.palette import ACCENT, EMOTION_COLORS

from .examples import SETS, NetworkSet, write_examples
from .networks import write_face_finder, write_set
from .registry import write_runtime

PAGE = Path(__file__).parent / "page"
STYLE = files.ROOT / "cmlib" / "apps" / "demo" / "demo.css"  # the Voilà demo's
MAX_BYTES = 15_000_000  # of the page with all that it can fetch


def write_demo(folder: Path) -> int:
    """Write the page, its networks, examples and runtime to ``folder``; their bytes together.

    The folder is emptied first.  ValueError if it has something else in it, or if the page has
    become too large.
    """
    if folder.exists():
        if any(folder.iterdir()) and not (folder / "manifest.json").exists():
            raise ValueError(f"{folder}: holds something else than the page; name another folder")
        shutil.rmtree(folder)
    shutil.copytree(PAGE, folder)
    shutil.copy(STYLE, folder)
    write_runtime(folder / "runtime")
    write_face_finder(folder / "find_face.onnx")
    manifest = {
        "find_face": "find_face.onnx",
        "accent": ACCENT,
        "colours": EMOTION_COLORS,
        "colour_map": colour_map("magma"),
        "sets": [write_networks(networks, folder) for networks in SETS],
    }
    files.write_text(folder / "manifest.json", json.dumps(manifest, indent=1))
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    if size > MAX_BYTES:
        raise ValueError(f"{folder}: {size / 1e6:.1f} MB, more than {MAX_BYTES / 1e6:.0f}")
    return size


def write_networks(networks: NetworkSet, folder: Path) -> dict:
    """Write one set with its examples; its entry in the manifest, with paths from ``folder``."""
    perceiver = Perceiver.load(networks.where)
    if perceiver.released:
        raise ValueError(f"{networks.where}: its voice network wants spectrograms of another kind")
    written = write_set(perceiver, folder / networks.name)
    examples = write_examples(networks, perceiver, folder / networks.name)
    for rows in examples.values():
        for row in rows:
            row["file"] = f"{networks.name}/{row['file']}"
    return {
        "name": networks.name,
        "title": networks.title,
        "about": networks.about,
        "size": perceiver.size,
        "classes": list(perceiver.classes),
        "networks": {name: f"{networks.name}/{name}.onnx" for name in written},
        **examples,
    }


def colour_map(name: str) -> list[list[int]]:
    """256 colours, red, green and blue in 0...255."""
    colours = mpl.colormaps[name](np.arange(256))[:, :3]
    return (255 * colours).round().astype(int).tolist()
