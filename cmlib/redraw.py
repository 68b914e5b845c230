"""Figures drawn again, one or all: of the notebooks that draw them the cells that they need, with trained networks.

No kernel is started and nothing is shown, so it takes a part of the time.  No network of the run is trained: its own are
taken, else the shipped ones, as they are.
"""

from __future__ import annotations

import ast
import contextlib
import difflib
import dis
import io
import json
import os
import shutil
import warnings
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from types import CodeType

import joblib
import torch
from PIL import Image
from tqdm.auto import tqdm

from cmlib import checkpoints, files
from cmlib.evaluation import scoring
from cmlib.experiment.run import Run
from cmlib.files import write_text

SUFFIXES = (".svg", ".pdf", ".png", ".csv")
EACH, ALL = 60_000, 600_000  # bytes that a preview, and all of them, may have
LONG = "long"  # tag of a cell that takes more than ten seconds
WORK = ("latents", "ablations", "ratings")  # folders of a run whose files a redrawing shares


class RedrawError(RuntimeError):
    """A figure that cannot be drawn; the message says what is missing and what to do."""


# -------------------------------------------------------------------- what a figure needs


class Cell:
    """A code cell, and what it has to do with the names of its notebook.

    ``figures``: those that it saves, in order; a name that is only complete at run time has a ``*`` in it.  ``reads``:
    names that may have to be there before it.  ``binds``: names that certainly mean something else after it; loops and
    branches make nothing certain.  ``changes``: names that it may bind, or whose objects it may change (``x.y = ``,
    ``x[0] = ``, ``x.append()``).  ``modules``: what it imports.  ``functions``: names that they read when they are called.
    ``always``: whether it runs whatever is drawn, as the parameters and cells that end a notebook early.
    """

    def __init__(self, source: str, tags: Iterable[str] = ()):
        self.source, self.tags, tree = source, set(tags), ast.parse(source)
        self.reads, self.binds, self.changes = set(), set(), set()
        for statement in tree.body:
            reads, stored = _names(statement, self.binds)
            self.reads, self.changes, self.binds = (
                self.reads | reads,
                self.changes | stored,
                self.binds | _bound(statement),
            )
        nodes, saved = [*ast.walk(tree)], []
        for node in nodes:
            if (
                isinstance(node, ast.Call)
                and getattr(node.func, "attr", "") == "save"
                and ast.unparse(node.func) == "figures.save"
            ):
                saved.append(node)
            called = isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
            node = node.value.func if called else node
            if isinstance(node, (ast.Attribute, ast.Subscript)) and (
                called or not isinstance(node.ctx, ast.Load)
            ):
                while isinstance(node, (ast.Attribute, ast.Subscript, ast.Call)):
                    node = node.func if isinstance(node, ast.Call) else node.value
                self.changes |= {getattr(node, "id", "")}
        names = [call.args[1] for call in sorted(saved, key=lambda call: call.lineno)]
        parts = [n.values if isinstance(n, ast.JoinedStr) else [n] for n in names]
        self.figures = [
            "".join(p.value if isinstance(p, ast.Constant) else "*" for p in name) for name in parts
        ]
        imports = [n for n in nodes if isinstance(n, (ast.Import, ast.ImportFrom))]
        self.modules = {a.asname or a.name.split(".")[0] for n in imports for a in n.names}
        self.functions = {n.name: _names(n)[0] for n in tree.body if isinstance(n, ast.FunctionDef)}
        self.always = "parameters" in self.tags or any(isinstance(n, ast.Raise) for n in nodes)


def _names(node: ast.stmt | CodeType, bound: Iterable[str] = ()) -> tuple[set[str], set[str]]:
    """(global names read before they are bound, global names bound), as the compiler sees them."""
    code = node if isinstance(node, CodeType) else compile(ast.Module([node], []), "cell", "exec")
    reads, bound, stored = set(), set(bound), set()
    for step in dis.get_instructions(code):
        if step.opname in ("LOAD_NAME", "LOAD_GLOBAL"):
            reads |= {step.argval} - bound
        elif step.opname == "STORE_NAME":
            stored.add(step.argval)
            bound.add(step.argval)
        elif isinstance(step.argval, CodeType):
            reads |= _names(step.argval, bound)[0]
    return reads, stored


def _bound(node: ast.stmt) -> set[str]:
    """The names that a statement certainly binds."""
    if isinstance(node, ast.With):
        return {name for part in node.body for name in _bound(part)}
    return (
        set()
        if isinstance(node, (ast.For, ast.While, ast.If, ast.Try, ast.Match))
        else _names(node)[1]
    )


def cells(notebook: Path) -> list[Cell]:
    """The code cells of a notebook."""
    found = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return [
        Cell("".join(c["source"]), c["metadata"].get("tags", ()))
        for c in found
        if c["cell_type"] == "code"
    ]


def needed(code: Sequence[Cell], drawing: Sequence[int]) -> list[int]:
    """Which cells have to run, in order, so that the cells ``drawing`` draw what they draw in the whole notebook.

    Followed are names.  Not seen are what a function does to its arguments, and the state of a module: a cell that draws
    random numbers for a figure has to seed them itself.
    """
    modules = {name for cell in code for name in cell.modules}
    functions = {name: reads for cell in code for name, reads in cell.functions.items()}
    wanted, kept = set(), []
    for i, cell in reversed([*enumerate(code)][: max(drawing) + 1]):
        if i in drawing or cell.always or (cell.changes - (modules - cell.modules)) & wanted:
            reads, more = set(), cell.reads
            while more - reads:
                reads |= more
                more = {name for f in reads & functions.keys() for name in functions[f]}
            wanted = wanted - cell.binds | reads
            kept.insert(0, i)
    return kept


def catalogue(folder: Path | None = None) -> dict[str, Path]:
    """The figures of all notebooks in order: name -> notebook.  A name that a notebook completes has a ``*`` in it."""
    books = sorted((folder or files.ROOT / "notebooks").glob("*.ipynb"))
    return {name: book for book in books for cell in cells(book) for name in cell.figures}


def tasks(chosen: dict[str, Path]) -> list[tuple[Path, list[int]]]:
    """(notebook, its cells to run), which together draw the figures; those with a cell tagged ``long`` first.

    The figures of one notebook are drawn together, but those behind other cells tagged ``long`` than the rest apart.
    """
    code, found = {book: cells(book) for book in dict.fromkeys(chosen.values())}, {}
    for book, i in ((book, i) for book in code for i in range(len(code[book]))):
        if any(fnmatchcase(name, own) for name in chosen for own in code[book][i].figures):
            slow = tuple(k for k in needed(code[book], [i]) if LONG in code[book][k].tags)
            found.setdefault((book, slow), []).append(i)
    split = sorted(found.items(), key=lambda item: -len(item[0][1]))
    return [(book, needed(code[book], drawing)) for (book, _), drawing in split]


# -------------------------------------------------------------------- drawing


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
    if lost := scoring.missing_networks(run):
        command = f"make reproduce CORPUS={run.corpus} PROFILE={run.profile_name} FOLD={run.fold} SEED={run.seed}"
        raise RedrawError(f"{run.folder.name}: {', '.join(lost)} not trained; first: {command}")
    shutil.rmtree(other.folder / "checkpoints", ignore_errors=True)
    other.path("face").parent.mkdir(parents=True)
    for name, path in (
        (name, run.find(name)) for name in scoring.required_networks(run) if not run.untrained(name)
    ):
        shutil.copy(path.with_suffix(".safetensors"), other.path(name).with_suffix(".safetensors"))
        card = checkpoints.read_card(path) | {"provenance": run.provenance(name).to_json()}
        other.path(name).with_suffix(".json").write_text(json.dumps(card))
        if (history := path.with_suffix(".history.csv")).exists():
            shutil.copy(history, other.path(name).with_suffix(".history.csv"))
    for file in (file for name in WORK for file in (run.folder / name).glob("*.*")):
        (other.folder / file.parent.name).mkdir(exist_ok=True)
        shutil.copy(file, other.folder / file.parent.name)
    return other


def draw(notebook: Path, numbers: Sequence[int], parameters: dict) -> None:
    """Run the code cells ``numbers`` of a notebook in this process, on one thread; their output is not shown.

    RedrawError where one fails.
    """
    names, code = (
        {"__name__": "__main__", "display": lambda *shown, **options: None},
        cells(notebook),
    )
    torch.set_num_threads(1)  # so that the numbers do not depend on what is drawn beside them
    os.environ |= {"MPLBACKEND": "agg", "CM_QUIET": "1"}
    for number in numbers:
        try:
            with (
                contextlib.redirect_stdout(io.StringIO()),
                warnings.catch_warnings(action="ignore"),
            ):
                exec(
                    compile(code[number].source, f"{notebook.name}, cell {number + 1}", "exec"),
                    names,
                )
        except SystemExit:
            return
        except Exception as error:
            line = f"{type(error).__name__}: {error}".splitlines()[0][:300]
            where = f"{notebook.name}: its code cell {number + 1} failed"
            raise RedrawError(
                f"{where}: {line}; run the notebook to see where (make lab)"
            ) from error
        if "parameters" in code[number].tags:
            names |= parameters


def redraw(run: Run, names: Sequence[str] = (), out: Path | None = None) -> list[str]:
    """Draw the figures ``names`` (none: all) of a run into the folder ``out``; returns the names of those drawn.

    ``out`` (default: the run's ``figures``) gets SVG, PDF, PNG and, where a figure has one, the table behind it as CSV.
    A figure asked for by name that its notebook does not draw from these networks is a RedrawError.
    """
    chosen, out = wanted(names, catalogue()), Path(out or run.folder / "figures")
    other = borrow(run)
    shutil.rmtree(other.folder / "figures", ignore_errors=True)
    parameters = dict(corpus=run.corpus, profile=run.profile_name, seed=run.seed, fold=run.fold)
    parameters["out_dir"] = str(other.folder)
    latents = ("face_latents", "voice_latents")[not run.store.has_faces :]
    [getattr(other, name) for name in latents]  # once, before several notebooks look for them
    out.mkdir(parents=True, exist_ok=True)
    work = tasks(chosen)
    jobs = (joblib.delayed(draw)(*task, parameters) for task in work)
    warnings.filterwarnings(
        "ignore", "A worker stopped"
    )  # joblib starts another where one has grown
    done = joblib.Parallel(
        min(4, os.cpu_count(), len(work)), batch_size=1, return_as="generator_unordered"
    )(jobs)
    for _ in tqdm(
        done, "figures", len(work), unit="part", disable=bool(os.environ.get("CM_QUIET"))
    ):  # what is drawn need not wait for the rest
        drawn = [
            p.stem
            for name in chosen
            for p in sorted((other.folder / "figures").glob(f"{name}.svg"))
        ]
        for file in (
            other.folder / "figures" / f"{name}{suffix}" for name in drawn for suffix in SUFFIXES
        ):
            if file.exists():
                shutil.copy(file, out / file.name)
    if lost := [name for name in names if name not in drawn]:
        why = "a history of training is there only where this run has trained: make reproduce"
        raise RedrawError(
            f"{chosen[lost[0]].name} draws no {', '.join(lost)} from these networks ({why})"
        )
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
        small, width = (
            {name: preview(figures / f"{name}.png", width) for name in names},
            int(0.85 * width),
        )
    shutil.rmtree(docs / "preview", ignore_errors=True)
    (docs / "preview").mkdir(parents=True)
    how = "`cm figures NAME` draws one again, as SVG, PDF and PNG, with its table as CSV."
    page, drawn = (
        ["# Every figure", "", f"{about} Written by `cm figures --gallery docs/figures`; {how}"],
        catalogue(),
    )
    for notebook in dict.fromkeys(drawn.values()):
        own = [
            n
            for pattern, home in drawn.items()
            if home == notebook
            for n in names
            if fnmatchcase(n, pattern)
        ]
        if own:
            cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
            page += [
                "",
                "#" + "".join(cells[0]["source"]).splitlines()[0],
                "",
                "| | |",
                "|---|---|",
            ]
        for name in own:
            (docs / "preview" / f"{name}.png").write_bytes(small[name])
        shown = [f"![{name}](preview/{name}.png)<br>`cm figures {name}`" for name in own]
        page += [f"| {left} | {right} |" for left, right in zip(shown[::2], [*shown[1::2], ""])]
    return write_text(docs / "README.md", "\n".join(page) + "\n")
