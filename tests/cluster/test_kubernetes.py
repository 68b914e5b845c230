"""The profile of Kubernetes, in a dry run: there is no Kubernetes to submit to.

It needs the extra ``cluster``.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytest.importorskip("snakemake_executor_plugin_kubernetes", reason="pip install -e .[cluster]")


def plan(tmp_path: Path, *options: str) -> subprocess.CompletedProcess:
    """What Snakemake prints about the study studies/example.yaml."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", "study.smk"]
    command += ["--profile", "profiles/kubernetes", *options]
    return subprocess.run(
        [*command, "--config", "study=studies/example.yaml"],
        cwd=ROOT,
        env=os.environ | {"CM_RUNS": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_study_is_planned_as_pods(tmp_path):
    done = plan(tmp_path, "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "Nothing to be done" not in done.stderr
    assert plan(tmp_path, "--dag").stdout.count('label = "cell') == 4


def test_a_wrong_volume_is_refused(tmp_path):
    done = plan(tmp_path, "--dry-run", "--kubernetes-persistent-volumes", "no-path")
    assert done.returncode and "Invalid persistent volume spec" in done.stdout + done.stderr
