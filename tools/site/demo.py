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

from .examples import SETS, NetworkSet, effects, write_examples, write_people
from .measures import size_of
from .networks import components_of, write_components, write_face_finder, write_set
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
    write_face_finder(folder / "find_face.onnx.gz")
    sets, examples = [], {}
    for networks in SETS:
        entry, perceiver = write_networks(networks, folder)
        sets.append(entry)
        if not examples:
            examples = write_examples(perceiver, folder / "examples")
        stored = write_people(perceiver, folder / networks.name / "people.f32")
        examples["faces"] += [{**face, "set": networks.name} for face in stored]
    manifest = {
        "find_face": "find_face.onnx.gz",
        "accent": ACCENT,
        "colours": EMOTION_COLORS,
        "colour_map": colour_map("magma"),
        "sets": sets,
        **examples,
        "effects": effects(),
    }
    files.write_text(folder / "manifest.json", json.dumps(manifest, indent=1))
    size = size_of(folder)
    if size > MAX_BYTES:
        raise ValueError(f"{folder}: {size / 1e6:.1f} MB, more than {MAX_BYTES / 1e6:.0f}")
    return size


def write_networks(networks: NetworkSet, folder: Path) -> tuple[dict, Perceiver]:
    """Write one set; its entry in the manifest, with paths from ``folder``, and its perceiver."""
    perceiver = Perceiver.load(networks.where)
    if perceiver.released:
        raise ValueError(f"{networks.where}: its voice network wants spectrograms of another kind")
    written = write_set(perceiver, folder / networks.name)
    entry = {
        "name": networks.name,
        "title": perceiver.title,
        "about": networks.about,
        "size": perceiver.size,
        "latent": perceiver.face.config["latent"],
        "classes": list(perceiver.classes),
        "limits": perceiver.limits["face"],
        "networks": {name: f"{networks.name}/{file}" for name, file in written.items()},
    }
    components = components_of(perceiver)
    if components is not None:
        path = folder / networks.name / "components.webp"
        entry["components"] = {
            **write_components(components, path),
            "file": f"{networks.name}/{path.name}",
        }
    return entry, perceiver


def colour_map(name: str) -> list[list[int]]:
    """256 colours, red, green and blue in 0...255."""
    colours = mpl.colormaps[name](np.arange(256))[:, :3]
    return (255 * colours).round().astype(int).tolist()
