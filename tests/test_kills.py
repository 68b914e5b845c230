"""Killed ten times at random moments and started again, a training ends with the numbers of an undisturbed one.

Run as a script, this file is a parent that loads torch once and forks a process for every start:
``python tests/test_kills.py FOLDER SEED``.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch._dynamo  # which optimisers import when they are made: once here rather than in every start

from cmlib.config import VaeGanConfig
from cmlib.training import batches, loop, vaegan

KILLS, EPOCHS = 10, 12
SETTINGS = VaeGanConfig(
    width=0.0625,
    latent=8,
    epochs=EPOCHS,
    batch=12,
    accumulate=2,
    optimiser="adam",
    schedule="cosine",
    learning_rate=2e-3,
    pixel_weight=1.0,
    adversarial_weight=0.1,
    label_weight=0.5,
    patience=EPOCHS,
)


class Pictures(batches.Pictures):
    """Tell by the file ``started`` that the first batch is asked for."""

    started: Path

    def batch(self, *arguments):
        self.started.touch()
        return super().batch(*arguments)


def train(folder: Path) -> None:
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    pictures = Pictures(rng.integers(0, 256, size=(112, 32, 32, 3), dtype=np.uint8))
    pictures.started = folder / "started"
    labels = np.arange(112) % 3 - 1
    model, _ = vaegan.train_vaegan(
        batches.TrainingData(pictures, np.arange(96), np.arange(96, 112), labels),
        SETTINGS,
        state=folder / "face.state.pt",
        log=folder / "face.history.csv",
        fabric=loop.launch("32-true"),
    )
    torch.save(model.state_dict(), folder / "face.pt")


def start(folder: Path) -> int:
    """Fork a process that trains; its number, once it does.  The parent never computes, so that the fork is safe."""
    (folder / "started").unlink(missing_ok=True)
    if not (child := os.fork()):
        train(folder)
        os._exit(0)
    while not (folder / "started").exists():
        assert os.waitpid(child, os.WNOHANG) == (0, 0), "the training did not start"
        time.sleep(0.001)
    return child


def done(folder: Path) -> int:
    """Epochs that the log holds."""
    log = folder / "face.history.csv"
    return max(len(log.read_text().splitlines()) - 1, 0) if log.exists() else 0


def main(folder: Path, seed: int) -> None:
    """Train in ``folder``/whole undisturbed and in ``folder``/killed with kills, which ``folder``/kills.json lists."""
    rng, whole, killed, kills = random.Random(seed), folder / "whole", folder / "killed", []
    assert os.waitpid(start(whole), 0)[1] == 0
    epoch = pd.read_csv(whole / "face.history.csv").seconds.median()
    while len(kills) < KILLS:
        before, child = done(killed), start(killed)
        while len(kills) % 2 and done(killed) == before:  # every second one may end an epoch first
            time.sleep(0.001)
        time.sleep(wait := rng.uniform(0, epoch))
        os.kill(child, signal.SIGKILL)
        if os.WIFEXITED(os.waitpid(child, 0)[1]):
            break  # it had finished
        kills.append((round(wait, 4), done(killed)))
    assert os.waitpid(start(killed), 0)[1] == 0
    (folder / "kills.json").write_text(json.dumps(kills))


def test_ten_kills_change_no_number(tmp_path):
    seed = int(time.time())
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    environment = os.environ | {"CM_QUIET": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, __file__, tmp_path, str(seed)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, f"seed {seed}: {done.stderr[-3000:]}"
    kills = json.loads((tmp_path / "kills.json").read_text())
    print(f"seed {seed}; killed after (seconds, epochs done): {kills}")
    assert len(kills) == KILLS and 5 <= kills[-1][1] < EPOCHS  # they fell into the training
    whole, killed = (
        torch.load(tmp_path / name / "face.pt", weights_only=True) for name in ("whole", "killed")
    )
    for key, value in whole.items():
        assert torch.equal(killed[key], value), key
    logs = (pd.read_csv(tmp_path / name / "face.history.csv") for name in ("whole", "killed"))
    whole, killed = (log.drop(columns="seconds") for log in logs)
    assert whole.epoch.tolist() == list(range(1, EPOCHS + 1)) and whole.validation.nunique() > 1
    pd.testing.assert_frame_equal(whole, killed, check_exact=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
