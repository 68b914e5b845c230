"""The container files: they can be parsed, and they install the lock and what the commands need."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
APPTAINER_SECTIONS = ("files", "environment", "post", "runscript", "test")


@pytest.fixture(scope="module")
def instructions():
    """The instructions of the Dockerfile, as Docker's own parser reads them."""
    dockerfile = pytest.importorskip("dockerfile", reason="the parser comes with make lint")
    return dockerfile.parse_file(str(ROOT / "Dockerfile"))


def values(instructions, name):
    return [" ".join(each.value) for each in instructions if each.cmd.upper() == name]


def sections() -> tuple[dict[str, str], dict[str, str]]:
    """The header of apptainer.def, and its sections by name."""
    text = (ROOT / "apptainer.def").read_text()
    head, *parts = re.split(r"^%", text, flags=re.MULTILINE)
    header = dict(
        line.split(": ", 1) for line in head.splitlines() if line and not line.startswith("#")
    )
    named = {}
    for part in parts:
        name, _, body = part.partition("\n")
        named[name.strip()] = "\n".join(
            line for line in body.splitlines() if not line.startswith("#")
        )
    return header, named


def test_docker_reads_every_line(instructions):
    names = [each.cmd.upper() for each in instructions]
    known = {"FROM", "ENV", "RUN", "WORKDIR", "COPY", "CMD"}
    assert names[0] == "FROM" and names[-1] == "CMD" and set(names) == known
    (base,) = values(instructions, "FROM")
    assert ":" in base and not base.endswith(":latest"), "a base image without a version moves"
    (command,) = [each for each in instructions if each.cmd.upper() == "CMD"]
    assert command.json, "a shell would not pass on the signals of docker stop"


def test_docker_installs_the_lock_before_the_code(instructions):
    steps = [each.original for each in instructions]
    lock = next(i for i, step in enumerate(steps) if "--requirement requirements.lock" in step)
    code = next(i for i, step in enumerate(steps) if step.startswith("COPY . "))
    assert lock < code
    for step in steps:
        if "apt-get install" in step:
            assert "--yes" in step and "rm -rf /var/lib/apt/lists" in step


def test_what_docker_leaves_out_is_made_or_private():
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert {".git", ".venv", "runs", "data/prepared"} <= set(ignored)
    tracked = tracked_files()
    for pattern in ignored:
        assert not [name for name in tracked if name.startswith(f"{pattern}/")], pattern


def test_apptainer_has_the_sections_it_needs():
    header, named = sections()
    assert header["Bootstrap"] == "docker" and set(named) == set(APPTAINER_SECTIONS)
    assert "--requirement requirements.lock" in named["post"]
    assert '"$@"' in named["runscript"]


@pytest.mark.parametrize("section", ["environment", "post", "runscript", "test"])
def test_apptainers_shell_is_a_shell(section):
    shell = ["sh", "-n"]
    done = subprocess.run(
        shell, input=sections()[1][section], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_both_begin_with_the_same_image(instructions):
    assert values(instructions, "FROM") == [sections()[0]["From"]]


def test_apptainer_takes_all_that_the_commands_read():
    """What the Makefile, the graphs and the library name is copied, and exists."""
    copied = [line.split()[0] for line in sections()[1]["files"].splitlines() if line.strip()]
    assert [name for name in copied if not (ROOT / name).exists()] == []
    needed = {"cmlib", "tools", "notebooks", "checkpoints", "studies", "profiles", "data/actors"}
    needed |= {"Makefile", "Snakefile", "study.smk", "requirements.lock", "pyproject.toml"}
    assert needed <= set(copied)
    readme = re.search(r'^readme = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert readme[1] in copied  # setuptools reads it


@pytest.mark.parametrize("path", sorted((ROOT / "profiles").glob("*/config.yaml")))
def test_profiles_of_clusters_name_rules_that_exist(path):
    profile = yaml.safe_load(path.read_text())
    assert profile["executor"] == path.parent.name and profile["cores"] and profile["nolock"]
    graphs = (ROOT / "Snakefile").read_text() + (ROOT / "study.smk").read_text()
    groups = dict(group.split("=") for group in profile["groups"])
    for rule in (*profile["set-resources"], *groups):
        if rule.startswith("notebook_"):
            assert (ROOT / "notebooks" / f"{rule.removeprefix('notebook_')}.ipynb").exists()
        else:
            assert f"rule {rule}:" in graphs, rule
    sizes = dict(size.split("=") for size in profile["group-components"])
    assert sizes == {name: str(list(groups.values()).count(name)) for name in groups.values()}


def tracked_files() -> list[str]:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    command = ["git", "ls-files"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()
