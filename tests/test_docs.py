"""What the prose names exists: modules, files, links, anchors and pictures."""

import ast
import builtins
import importlib.util
import json
import re
from functools import cache
from pathlib import Path

import pytest
from test_project import ROOMS

from cmlib import cli
from tools.diagrams import architecture

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "data").glob("*/README.md")),
    ROOT / "checkpoints" / "README.md",
    *NOTEBOOKS,
]
LOG = ROOT / "docs" / "experiments.md"  # its rows keep the names of their day
FILES = (".py", ".ipynb", ".json", ".csv", ".npy", ".md", ".yaml")
COMMANDS = {"display"}  # names that IPython brings
COMMON = {"files", "experiment", "plots"}  # rooms that every notebook uses


def cells(path: Path, kind: str) -> list[str]:
    book = json.loads(path.read_text(encoding="utf-8"))
    return ["".join(cell["source"]) for cell in book["cells"] if cell["cell_type"] == kind]


@cache
def prose(path: Path) -> str:
    """The text of a page, or of the markdown cells of a notebook, without its code blocks."""
    if path.suffix == ".ipynb":
        text = "\n\n".join(cells(path, "markdown"))
    else:
        text = path.read_text(encoding="utf-8")
    return re.sub(r"^```.*?^```", "", text, flags=re.S | re.M)


def names_in_code(path: Path) -> list[str]:
    """What stands in backticks."""
    return re.findall(r"`([^`\n]+)`", prose(path))


def exists(dotted: str) -> bool:
    """Is ``dotted`` a module, or an attribute of one?"""
    parts = dotted.split(".")
    found = importlib.import_module(parts[0])
    for length, name in enumerate(parts[1:], start=2):
        if not hasattr(found, name):
            try:
                importlib.import_module(".".join(parts[:length]))
            except ModuleNotFoundError:
                return False
        found = getattr(found, name)
    return True


def imports(path: Path) -> dict[str, str]:
    """Name in a notebook -> the dotted name in cmlib or tools that it stands for."""
    bound = {}
    for source in cells(path, "code"):
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ImportFrom) and node.module.startswith(("cmlib", "tools")):
                for alias in node.names:
                    bound[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return bound


@pytest.mark.parametrize("path", [p for p in PAGES if p != LOG], ids=lambda p: p.stem)
def test_modules_and_functions_in_the_prose_exist(path):
    bound = imports(path) if path.suffix == ".ipynb" else {}
    unknown = []
    for text in names_in_code(path):
        dotted = re.match(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", text)
        if not dotted or text.endswith(FILES):
            continue
        first, _, rest = dotted.group().partition(".")
        full = f"{bound[first]}.{rest}" if first in bound else dotted.group()
        if full.startswith(("cmlib.", "tools.")) and not exists(full):
            unknown.append(text)
    assert not unknown


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_solutions_use_names_of_their_notebook(path):
    known = {*dir(builtins), *COMMANDS}
    for source in cells(path, "code"):
        known |= stored(ast.parse(source))
    bound = imports(path)
    for text in cells(path, "markdown"):
        for block in re.findall(r"^```python\n(.*?)^```", text, flags=re.S | re.M):
            tree = ast.parse(block)
            known |= stored(tree)
            loaded = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
            assert loaded <= known, block
            for node in ast.walk(tree):
                if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                    module = bound.get(node.value.id, "")
                    assert not module or exists(f"{module}.{node.attr}"), block


def stored(tree: ast.AST) -> set[str]:
    """Names that a piece of code binds."""
    bound = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            bound.add(node.id)
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            bound.add(node.name)
        elif isinstance(node, ast.arg):
            bound.add(node.arg)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            bound |= {alias.asname or alias.name.split(".")[0] for alias in node.names}
    return bound


@pytest.mark.parametrize("path", [p for p in PAGES if p != LOG], ids=lambda p: p.stem)
def test_files_in_the_prose_exist(path):
    folders = "cmlib|tools|tests|notebooks|benchmarks|docs|checkpoints"
    named = [
        text for text in names_in_code(path) if re.fullmatch(rf"({folders})/[\w./-]+\.\w+", text)
    ]
    # NAME in capitals stands for one of the reader's own.
    missing = [name for name in named if "NAME" not in name and not (ROOT / name).exists()]
    # Tests and programs are also looked for in blocks of code.
    text = path.read_text(encoding="utf-8")
    tests = {file.name for file in (ROOT / "tests").rglob("test_*.py")}
    missing += set(re.findall(r"\btest_\w+\.py\b", text)) - tests
    for program in re.findall(r"python -m ((?:tools|benchmarks)[\w.]*)", text):
        missing += [] if importlib.util.find_spec(program) else [program]
    assert not missing


@cache
def anchors(path: Path) -> set[str]:
    """The anchors that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ +(.+)$", prose(path), flags=re.M)
    plain = (re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading) for heading in headings)
    return {re.sub(r"[^\w\- ]", "", text.strip().lower()).replace(" ", "-") for text in plain}


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.stem)
def test_links_anchors_and_pictures_exist(path):
    targets = re.findall(r"\]\(([^)\s]+)\)", prose(path))
    targets += re.findall(r"(?:src|href)=\"([^\"]+)\"", prose(path))
    broken = []
    for target in targets:
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        page = (path.parent / name).resolve() if name else path
        if not page.exists() or (anchor and anchor not in anchors(page)):
            broken.append(target)
    assert not broken


def test_readme_names_the_rooms_of_each_notebook():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| (\d\d) \|.*\| ([^|]*) \|$", text, flags=re.M))
    for path in NOTEBOOKS:
        used = {name.split(".")[1] for name in imports(path).values() if name.startswith("cmlib.")}
        assert set(re.findall(r"`(\w+)`", rows[path.stem[:2]])) == used - COMMON, path.stem
        assert used >= COMMON, f"{path.stem} does without {COMMON - used}"


def test_every_mode_of_the_released_code_has_its_place_beside_the_paper():
    modes = re.findall(
        r"^\| `(\w+)` \|",
        (ROOT / "docs" / "research_code.md").read_text(encoding="utf-8"),
        flags=re.M,
    )
    text = (ROOT / "docs" / "paper_and_here.md").read_text(encoding="utf-8")
    assert "eval" in modes
    assert [mode for mode in modes if mode != "fit" and f"`{mode}`" not in text] == []


def test_the_map_of_the_course_lists_every_notebook_after_those_it_builds_on():
    text = (ROOT / "docs" / "course.md").read_text(encoding="utf-8")
    rows = re.findall(
        r"^\| \[(\d\d)\]\(\.\./notebooks/([^)]+)\) .* \| ([^|]+) \|$", text, flags=re.M
    )
    assert [name for _, name, _ in rows] == [path.name for path in NOTEBOOKS]
    for number, _, before in rows:
        earlier = re.findall(r"\d\d", before)
        assert all(other < number for other in earlier), number
        assert earlier or before == "–", number


@pytest.mark.parametrize("path", [p for p in PAGES if p != LOG], ids=lambda p: p.stem)
def test_commands_and_figures_in_the_prose_exist(path):
    commands = set(cli.create_app())  # with --help and its like
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.M)
    drawn = {picture.stem for picture in (ROOT / "docs" / "figures" / "preview").glob("*.webp")}
    unknown = []
    for text in names_in_code(path):
        program, *words = text.split()
        if program == "cm" and words and words[0] not in commands:
            unknown.append(text)
        if program == "make" and words and words[0] not in targets:
            unknown.append(text)
        if text.startswith("cm figures"):
            names = [word for word in words[1:] if re.match(r"\d\d_|mental", word)]
            unknown += [text] if not drawn.issuperset(names) else []
    assert not unknown


def test_architecture_lists_the_rooms_in_their_order():
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rooms = re.findall(r"^\| `cmlib\.(\w+)` \|", text, flags=re.M)
    assert rooms == list(ROOMS)


def test_the_drawing_of_the_architecture_is_that_of_its_program():
    assert architecture.TARGET.read_text(encoding="utf-8") == architecture.diagram()
