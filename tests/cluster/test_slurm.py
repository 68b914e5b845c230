"""A small study as jobs of Slurm: cancelled and resumed, it gives the table of a local run.

It needs a Slurm on this machine (``bash .ci/slurm start``) and the extra ``cluster``.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from cmlib.evaluation import scoring

ROOT = Path(__file__).parents[2]
STUDY = """
profiles: smoke
folds: [1, 2]
"""
TABLES = ("scores.csv", "differences.csv", "settings.csv")


def slurm_is_up() -> bool:
    if not shutil.which("sinfo"):
        return False
    done = subprocess.run(["sinfo", "--noheader"], capture_output=True, text=True, check=False)
    return done.returncode == 0 and bool(done.stdout.strip())


pytestmark = [
    pytest.mark.skipif(not slurm_is_up(), reason="no Slurm runs here: bash .ci/slurm start"),
    pytest.mark.timeout(2400),
]


class Client:
    """``make study`` in a process group of its own."""

    def __init__(self, runs: Path, study: Path, *options: str):
        command = ["make", "study", f"STUDY={study}", "READY=", f"PY={sys.executable}", *options]
        self.log = runs.with_suffix(".log")
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        environment = os.environ | {"CM_RUNS": str(runs), "CM_QUIET": "1", "PYTHONPATH": path}
        with open(self.log, "a") as log:
            self.process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def wait(self) -> int:
        return self.process.wait(timeout=1500)

    def kill(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def wait_for_cell(self, folder: Path) -> None:
        """Wait until a job has begun to train a cell in this start."""
        before = time.time()
        while not any(path.stat().st_mtime > before for path in folder.glob("cells/*/log.txt")):
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.2)


def jobs() -> list[str]:
    """The numbers of the jobs that run or wait."""
    command = ["squeue", "--noheader", "--format", "%i", "--states", "RUNNING,PENDING"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


def test_cancelled_and_orphaned_jobs_change_no_number(tmp_path):
    study = tmp_path / "two_folds.yaml"
    study.write_text(STUDY)

    # A local run that nothing disturbs
    local = tmp_path / "local"
    client = Client(local, study, "CORES=2")
    assert client.wait() == 0, client.log.read_text()

    runs = tmp_path / "slurm"
    folder = runs / "studies" / study.stem
    options = ("CLUSTER=slurm", f"CORES={os.cpu_count()}")
    try:
        # Its jobs are cancelled in the middle
        client = Client(runs, study, *options)
        client.wait_for_cell(folder)
        running = jobs()
        assert running
        subprocess.run(["scancel", *running], check=True)
        assert client.wait() != 0
        assert not (folder / "report.html").exists()

        # The client is killed while jobs are at work, which go on
        client = Client(runs, study, *options)
        client.wait_for_cell(folder)
        client.kill()
        assert jobs()

        client = Client(runs, study, *options)
        assert client.wait() == 0, client.log.read_text()
    finally:
        subprocess.run(["scancel", "--user", "root"], check=False)

    folder_of_local = local / "studies" / study.stem
    for name in TABLES:
        expected = (folder_of_local / name).read_text()
        assert (folder / name).read_text() == expected, name
    assert (folder / "report.html").stat().st_size > 10_000
    # Scores of such small networks may be equal by chance, their predictions are not.
    stored = sorted(folder_of_local.glob("cells/*/predictions-*.npz"))
    assert len(stored) == 4
    for path in stored:
        expected = scoring.load_predictions(path).log_probabilities
        found = scoring.load_predictions(folder / path.relative_to(folder_of_local))
        for model, log_probabilities in expected.items():
            np.testing.assert_array_equal(found.log_probabilities[model], log_probabilities)

    # Nothing is left to do
    client = Client(runs, study, *options)
    assert client.wait() == 0
    assert "Nothing to be done" in client.log.read_text()
