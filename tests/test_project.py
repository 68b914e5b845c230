"""The house itself: dependencies in step, imports downward, notebooks as they are committed."""

import ast
import json
import re
import statistics
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml

import cmlib

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
CONDA_NAMES = {"pytorch": "torch", "pysoundfile": "soundfile"}
# A room may import from the rooms before it, never from those behind it.
ROOMS = (
    "files locks damage arrays progress config provenance corpora preparation models training"
    " checkpoints import_released metrics strangeness perceiver experiment evaluation plots apps"
    " figures cli"
).split()
LONGEST = 60  # lines of a function without a comment above it that says why it is longer


def requirement(text: str) -> tuple[str, str]:
    """("name", ">=1.2") of "Name[extra]>=1.2 ; marker"."""
    name, rest = re.match(r"([A-Za-z0-9._-]+)(?:\[[^]]*\])?\s*([^;#]*)", text.strip()).groups()
    return re.sub(r"[._]", "-", name).lower(), rest.strip()


def wanted(*extras: str) -> dict[str, str]:
    lists = [PROJECT["dependencies"], *(PROJECT["optional-dependencies"][e] for e in extras)]
    return dict(requirement(line) for lines in lists for line in lines)


def locked() -> dict[str, str]:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    return dict(requirement(line) for line in lines if line and not line.startswith("#"))


def version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text))


def test_conda_environment_is_in_step():
    listed = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    lines = [line for line in listed if isinstance(line, str)]
    lines += [
        line
        for pip in listed
        if isinstance(pip, dict)
        for line in pip["pip"]
        if not line.startswith("-")
    ]
    conda = {CONDA_NAMES.get(name, name): spec for name, spec in map(requirement, lines)}
    assert conda.pop("python") == PROJECT["requires-python"]
    assert {k: v for k, v in conda.items() if k not in ("pip", "make")} == wanted(
        "reproduce", "test"
    )


def test_lock_covers_the_project():
    lock = locked()
    for name, spec in wanted("reproduce", "test").items():
        assert name in lock, f"requirements.lock lacks {name}: make lock"
        least = version(spec.removeprefix(">="))
        assert version(lock[name])[: len(least)] >= least, (
            f"{name}{lock[name]} is older than {spec}"
        )
    assert all(spec.startswith("==") for spec in lock.values())


def test_lock_leaves_cuda_to_torch():
    """The build of torch for processors needs no CUDA; the other one names what it needs."""
    assert not [name for name in locked() if re.match(r"nvidia-|cuda-|triton", name)]


# Dependencies that nothing imports, and what needs them.
STARTED = {
    "ipykernel": "runs the cells of notebooks",
    "jupyterlab": "make lab",
    "voila": "make demo",
}


@cache
def imports_of(path: Path) -> list[ast.Import | ast.ImportFrom]:
    """The import statements of a module or a notebook, anywhere in it."""
    texts = [path.read_text(encoding="utf-8")]
    if path.suffix == ".ipynb":
        cells = json.loads(texts[0])["cells"]
        texts = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    nodes = [node for text in texts for node in ast.walk(ast.parse(text))]
    return [node for node in nodes if isinstance(node, (ast.Import, ast.ImportFrom))]


@cache
def packages_of_modules() -> Mapping[str, list[str]]:
    return packages_distributions()


def test_nothing_is_a_dependency_that_nothing_imports():
    program = [*(ROOT / "cmlib").rglob("*.py"), *(ROOT / "tools" / "notebooks").glob("*.py")]
    statements = [ast.unparse(node) for path in (*program, *NOTEBOOKS) for node in imports_of(path)]
    modules = {re.match(r"(?:from|import) (\w+)", text)[1] for text in statements}
    packages = packages_of_modules()
    names = {name for module in modules for name in packages.get(module, [])}
    imported_names = {requirement(name)[0] for name in names}
    assert set(wanted()) - imported_names == set(STARTED)


# The modules of each extra that no other dependency needs as well (librosa needs numba).
EXTRAS = {
    "reproduce": ["snakemake"],
    "test": ["pytest", "pytest_timeout", "xdist"],
    "lint": ["pyright", "ruff"],
    "cluster": ["snakemake_executor_plugin_slurm"],
    "browser": ["axe_playwright_python", "playwright"],
    "site": ["furo", "myst_nb", "onnx", "onnxscript", "sphinx"],
    "recogniser": ["ai_edge_litert", "facex"],
    "heic": ["pillow_heif"],
    "corpus": ["espeakng_loader", "pyworld"],
    "review": ["jupytext"],
}


# Puts on a Python in which the packages of the extras are not installed.
WITHOUT_EXTRAS = """
from importlib.machinery import PathFinder
find_installed = PathFinder.find_spec

def find_spec(name, path=None, target=None):
    return None if name.partition(".")[0] in ABSENT else find_installed(name, path, target)

PathFinder.find_spec = staticmethod(find_spec)
"""


def test_the_library_and_the_notebooks_need_no_extra():
    """With all extras absent at once, everything that they import is there."""
    assert set(EXTRAS) == set(PROJECT["optional-dependencies"])
    absent = [module for modules in EXTRAS.values() for module in modules]
    library = sorted((ROOT / "cmlib").rglob("*.py"))
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in library]
    lines = [f"import {name.removesuffix('.__init__')}" for name in names if "__main__" not in name]
    lines += [ast.unparse(node) for path in NOTEBOOKS for node in imports_of(path)]
    program = [f"ABSENT = {absent!r}", WITHOUT_EXTRAS, *dict.fromkeys(lines)]
    child = subprocess.run(
        [sys.executable, "-c", "\n".join(program)], capture_output=True, text=True, cwd=ROOT
    )
    assert child.returncode == 0, child.stderr[-2000:]


def imported(path: Path) -> set[str]:
    """Rooms of cmlib that a module imports, anywhere in it."""
    rooms = set()
    for node in imports_of(path):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "absolute imports only"
            if node.module == "cmlib":
                rooms |= {alias.name for alias in node.names}
            names = [node.module or ""]
        else:
            names = [alias.name for alias in node.names]
        rooms |= {name.split(".")[1] for name in names if name.startswith("cmlib.")}
    return rooms


MODULES = sorted((ROOT / "cmlib").rglob("*.py"))


def dotted(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_imports_point_one_way(path):
    room = path.relative_to(ROOT / "cmlib").with_suffix("").parts[0]
    if room == "__init__":
        return
    behind = ROOMS[ROOMS.index(room) + 1 :]
    wrong = sorted(imported(path) & set(behind))
    assert not wrong, f"{dotted(path)} imports {', '.join(wrong)}, which may import it"


def test_every_room_has_its_place():
    rooms = {path.relative_to(ROOT / "cmlib").with_suffix("").parts[0] for path in MODULES}
    assert rooms - {"__init__"} <= set(ROOMS)


def test_figures_are_fed_by_tables():
    """Plots know names and colours of emotions, but neither networks nor runs."""
    for path in (ROOT / "cmlib" / "plots").glob("*.py"):
        rooms = imported(path)
        assert rooms <= {"files", "corpora", "plots"}, path.name


def long_functions(path: Path) -> list[str]:
    """Functions of a module that are too long and have no comment above them."""
    text = path.read_text()
    lines = text.splitlines()
    long = []
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
        explained = lines[first - 2].strip().startswith("#")
        length = node.end_lineno - node.lineno + 1
        if ast.get_docstring(node):  # a long description is no fault
            length -= node.body[0].end_lineno - node.body[0].lineno + 1
        if length > LONGEST and not explained:
            long.append(f"{dotted(path)}.{node.name}: {length} lines")
    return long


def test_long_functions_say_why():
    folders = ("cmlib", "tools", "benchmarks", "tests")
    paths = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    assert [line for path in paths for line in long_functions(path)] == []


def test_shipped_files():
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    files = {name: ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()}
    assert not [name for name, file in files.items() if file.stat().st_size > 30_000_000]
    assert not [name for name in files if name.startswith(("runs/", ".venv/", "data/prepared/"))]


def test_direct_imports_are_dependencies():
    """What cmlib imports is listed in pyproject.toml, not only there by way of another package."""
    homes, listed, missing = packages_of_modules(), wanted(), set()
    for path in (ROOT / "cmlib").rglob("*.py"):
        for node in imports_of(path):
            names = [alias.name for alias in node.names]
            if isinstance(node, ast.ImportFrom):
                names = [node.module]
            tops = {name.split(".")[0] for name in names} - {"cmlib", *sys.stdlib_module_names}
            missing |= {
                t for t in tops if not {requirement(h)[0] for h in homes.get(t, [t])} & set(listed)
            }
    assert not missing


def test_threads_spin_as_long_under_make():
    assert f"export GOMP_SPINCOUNT ?= {cmlib.SPINS}\n" in (ROOT / "Makefile").read_text()


def test_citation_names_this_version():
    card = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert card["version"] == PROJECT["version"] and card["license"] == PROJECT["license"] == "MIT"


# -------------------------------------------------------------------- notebooks as committed


def read(path: Path) -> tuple[str, dict]:
    text = path.read_text(encoding="utf-8")
    return text, json.loads(text)


def code(book: dict) -> list[dict]:
    return [cell for cell in book["cells"] if cell["cell_type"] == "code"]


def source(cell: dict) -> str:
    return "".join(cell["source"])


def test_there_are_notebooks():
    assert [p.stem[:2] for p in NOTEBOOKS] == [f"{i:02d}" for i in range(13)]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_parameters_cell(path):
    tagged = [c for c in code(read(path)[1]) if "parameters" in c["metadata"].get("tags", [])]
    assert len(tagged) == 1, "one cell tagged `parameters`"
    statements = ast.parse(source(tagged[0])).body
    assert all(isinstance(s, ast.Assign) and len(s.targets) == 1 for s in statements)
    values = {s.targets[0].id: ast.literal_eval(s.value) for s in statements}
    shared = {"corpus": "actors", "profile": "quick", "seed": 0, "fold": 1, "out_dir": ""}
    own = {"photograph": "", "recording": ""} if path.stem == "12_real_faces" else {}
    assert values == shared | own


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebook_is_readable(path):
    cells = [source(c).strip().splitlines() for c in code(read(path)[1]) if source(c).strip()]
    assert max(map(len, cells)) <= 40, "a cell has more than 40 lines"
    assert statistics.median(map(len, cells)) <= 10


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebook_is_clean(path):
    text, book = read(path)
    assert path.stat().st_size < 1_000_000
    assert "widgets" not in book["metadata"], "widget state: strip it"
    for cell in code(book):
        kinds = [output["output_type"] for output in cell["outputs"]]
        assert "error" not in kinds, f"a traceback is kept under: {source(cell)[:60]}"
    # Paths of somebody's machine, anywhere. Data addresses of pictures have no such prefix.
    found = re.search(
        r"(?<![\w./+=-])(/(home|root|Users|work|tmp|mnt|opt)/[\w.-]+|[A-Z]:\\\\\\\\[\w.-]+)", text
    )
    assert not found, f"an absolute path: {found.group()}"
    ids = [cell.get("id") for cell in book["cells"]]
    assert len(set(ids)) == len(ids) and all(ids), "every cell has its own id"
    assert book["metadata"]["kernelspec"]["name"] == "python3"
