"""The house itself: dependencies in step, imports downward, notebooks as they are committed."""

import ast
import json
import re
import statistics
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml

import cmlib

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
CONDA_NAMES = {"pytorch": "torch", "pysoundfile": "soundfile"}
ROOMS = (
    "emotions looks profiles archives corpora fetch media faces gallery voices store splits models losses training checkpoints released recipes plan metrics "
    "judge experiment evaluation representations perceiver figures notebooks report redraw demo rating cli"
).split()  # a later one may import an earlier one, never the reverse


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


def test_lock_marks_what_only_linux_has():
    for line in (ROOT / "requirements.lock").read_text().splitlines():
        assert not re.match(r"nvidia-|cuda-|triton", line) or "sys_platform == 'linux'" in line, (
            line
        )


def imported(tree: ast.AST) -> set[str]:
    """Rooms of cmlib that a module imports."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "cmlib":
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("cmlib."):
            found.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            found |= {
                alias.name.split(".")[1] for alias in node.names if alias.name.startswith("cmlib.")
            }
        assert not (isinstance(node, ast.ImportFrom) and node.level), "absolute imports only"
    return found


@pytest.mark.parametrize("path", sorted((ROOT / "cmlib").rglob("*.py")), ids=lambda p: p.stem)
def test_imports_point_downward(path):
    room = path.relative_to(ROOT / "cmlib").with_suffix("").parts[0]
    if room == "__init__":
        return
    above = {
        other
        for other in imported(ast.parse(path.read_text()))
        if ROOMS.index(other) > ROOMS.index(room)
    }
    assert not above, f"cmlib/{room} imports {', '.join(sorted(above))} from above it"


def test_library_stays_small():
    lines = sum(len(p.read_text().splitlines()) for p in (ROOT / "cmlib").rglob("*.py"))
    assert lines < 7850, (
        f"cmlib has {lines} lines"
    )  # corpora, downloads, imports, evaluation, rating and demo are all of it


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
    homes, listed, missing = packages_distributions(), wanted(), set()
    for path in (ROOT / "cmlib").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
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
    assert [p.stem[:2] for p in NOTEBOOKS][:8] == [f"{i:02d}" for i in range(1, 9)]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_parameters_cell(path):
    tagged = [c for c in code(read(path)[1]) if "parameters" in c["metadata"].get("tags", [])]
    assert len(tagged) == 1, "one cell tagged `parameters`"
    statements = ast.parse(source(tagged[0])).body
    assert all(isinstance(s, ast.Assign) and len(s.targets) == 1 for s in statements)
    values = {s.targets[0].id: ast.literal_eval(s.value) for s in statements}
    assert values == {"corpus": "actors", "profile": "quick", "seed": 0, "fold": 1, "out_dir": ""}


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
    # paths of somebody's machine, wherever they stand; data addresses of pictures have no such prefix
    found = re.search(
        r"(?<![\w./+=-])(/(home|root|Users|work|tmp|mnt|opt)/[\w.-]+|[A-Z]:\\\\\\\\[\w.-]+)", text
    )
    assert not found, f"an absolute path: {found.group()}"
    ids = [cell.get("id") for cell in book["cells"]]
    assert len(set(ids)) == len(ids) and all(ids), "every cell has its own id"
    assert book["metadata"]["kernelspec"]["name"] == "python3"
