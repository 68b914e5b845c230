"""Figures drawn again, one or all: the notebook that draws it is executed with trained networks, its files are copied.

Nothing is trained: a run's own networks are taken, else the shipped ones, as they are.
"""

from __future__ import annotations

import ast
import difflib
import io
import json
import os
import shutil
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import joblib
from PIL import Image

from cmlib import checkpoints, evaluation, notebooks
from cmlib.experiment import ROOT, Run
from cmlib.report import write_whole

SUFFIXES = (".svg", ".pdf", ".png", ".csv")
EACH, ALL = 60_000, 600_000  # bytes that a preview, and all of them, may have


class RedrawError(RuntimeError):
    """A figure that cannot be drawn; the message says what is missing and what to do."""


def catalogue(folder: Path | None = None) -> dict[str, Path]:
    """The figures of all notebooks in order: name -> notebook.  A name that a notebook completes has a ``*`` in it."""
    found = {}
    for path in sorted((folder or ROOT / "notebooks").glob("*.ipynb")):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            tree = ast.parse("".join(cell["source"])) if cell["cell_type"] == "code" else ast.Module([], [])
            calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and ast.unparse(n.func) == "figures.save"]
            for name in (call.args[1] for call in sorted(calls, key=lambda c: c.lineno)):
                parts = name.values if isinstance(name, ast.JoinedStr) else [name]
                found["".join(p.value if isinstance(p, ast.Constant) else "*" for p in parts)] = path
    return found


def wanted(names: Iterable[str], figures: dict[str, Path]) -> dict[str, Path]:
    """What ``names`` ask for (none: all) out of ``figures``, under the names given; RedrawError for an unknown one."""
    chosen = {}
    for name in names:
        pattern = next((p for p in figures if fnmatchcase(name, p)), None)
        if pattern is None:
            near = difflib.get_close_matches(name, figures, 3, 0.4) or figures
            raise RedrawError(f"no figure {name!r}; there are: {', '.join(near)}")
        chosen[name] = figures[pattern]
    return chosen or dict(figures)


def borrow(run: Run) -> Run:
    """A run in the folder ``redrawn`` of ``run`` with its networks, own or shipped, as if it had trained them itself.

    So a notebook that would train anew for a reproduction finds them.  RedrawError where a network is not there.
    """
    other = Run(run.corpus, run.profile_name, run.seed, run.fold, str(run.folder / "redrawn"))
    if lost := evaluation.missing(run):
        command = f"make reproduce CORPUS={run.corpus} PROFILE={run.profile_name} FOLD={run.fold} SEED={run.seed}"
        raise RedrawError(f"{run.folder.name}: {', '.join(lost)} not trained; first: {command}")
    shutil.rmtree(other.folder / "checkpoints", ignore_errors=True)
    other.path("face").parent.mkdir(parents=True)
    for name, path in ((name, run.find(name)) for name in evaluation.networks(run)):
        shutil.copy(path.with_suffix(".safetensors"), other.path(name).with_suffix(".safetensors"))
        card = checkpoints.read_card(path) | {"recipe": run.recipe(name)}
        other.path(name).with_suffix(".json").write_text(json.dumps(card))
        if (history := path.with_suffix(".history.csv")).exists():
            shutil.copy(history, other.path(name).with_suffix(".history.csv"))
    for name in ("latents", "ratings"):
        if (run.folder / name).is_dir():
            shutil.copytree(run.folder / name, other.folder / name, dirs_exist_ok=True)
    return other


def redraw(run: Run, names: Sequence[str] = (), out: Path | None = None) -> list[str]:
    """Draw the figures ``names`` (none: all) of a run into the folder ``out``; returns the names of those drawn.

    ``out`` (default: the run's ``figures``) gets SVG, PDF, PNG and, where a figure has one, the table behind it as CSV.
    A figure asked for by name that its notebook does not draw from these networks is a RedrawError.
    """
    chosen, out = wanted(names, catalogue()), Path(out or run.folder / "figures")
    os.environ.setdefault("MPLBACKEND", "agg")
    other = borrow(run)
    shutil.rmtree(other.folder / "figures", ignore_errors=True)
    parameters = dict(
        corpus=run.corpus, profile=run.profile_name, seed=run.seed, fold=run.fold, out_dir=str(other.folder)
    )
    latents = ("face_latents", "voice_latents")[not run.store.has_faces :]
    [getattr(other, name) for name in latents]  # once, before several notebooks look for them
    books = sorted(set(chosen.values()))
    execute = joblib.delayed(notebooks.execute)
    joblib.Parallel(min(4, os.cpu_count(), len(books)))(
        execute(b, other.folder / "notebooks" / b.name, parameters) for b in books
    )
    drawn = [p.stem for name in chosen for p in sorted((other.folder / "figures").glob(f"{name}.svg"))]
    if lost := [name for name in names if name not in drawn]:
        why = "a history of training is there only where this run has trained: make reproduce"
        raise RedrawError(f"{chosen[lost[0]].name} draws no {', '.join(lost)} from these networks ({why})")
    out.mkdir(parents=True, exist_ok=True)
    for name in drawn:
        for file in (other.folder / "figures" / f"{name}{suffix}" for suffix in SUFFIXES):
            if file.exists():
                shutil.copy(file, out / file.name)
    return drawn


def preview(path: Path, width: int) -> bytes:
    """A picture as a PNG of at most 64 colours, at most ``width`` pixels wide and at most ``EACH`` bytes."""
    with Image.open(path) as opened:
        image = opened.convert("RGB")
    width = min(width, image.width)
    while True:
        small = image.copy()
        small.thumbnail((width, 4 * width), Image.Resampling.LANCZOS)
        small.quantize(64).save(packed := io.BytesIO(), "PNG", optimize=True)
        if packed.tell() <= EACH:
            return packed.getvalue()
        width = int(0.85 * width)


def gallery(names: Sequence[str], figures: Path, docs: Path, about: str) -> Path:
    """Write ``docs``/README.md, a page of all figures with their commands, and ``docs``/preview; returns the page.

    Previews are made narrower until all of them together have at most ``ALL`` bytes.
    """
    width, small = 640, {}
    while not small or sum(map(len, small.values())) > ALL:
        small, width = {name: preview(figures / f"{name}.png", width) for name in names}, int(0.85 * width)
    shutil.rmtree(docs / "preview", ignore_errors=True)
    (docs / "preview").mkdir(parents=True)
    how = "`cm figures NAME` draws one again, as SVG, PDF and PNG, with its table as CSV."
    page, drawn = ["# Every figure", "", f"{about} Written by `cm figures --gallery docs/figures`; {how}"], catalogue()
    for notebook in dict.fromkeys(drawn.values()):
        own = [n for pattern, home in drawn.items() if home == notebook for n in names if fnmatchcase(n, pattern)]
        if own:
            cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
            page += ["", "#" + "".join(cells[0]["source"]).splitlines()[0], "", "| | |", "|---|---|"]
        for name in own:
            (docs / "preview" / f"{name}.png").write_bytes(small[name])
        shown = [f"![{name}](preview/{name}.png)<br>`cm figures {name}`" for name in own]
        page += [f"| {left} | {right} |" for left, right in zip(shown[::2], [*shown[1::2], ""])]
    return write_whole(docs / "README.md", "\n".join(page) + "\n")
