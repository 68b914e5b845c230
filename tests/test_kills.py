"""Killed at ten random moments and resumed, a training ends with the numbers of an undisturbed one.

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

# Imported late by ``launch`` and, as torch._dynamo, by optimisers: here once, not in every start.
import lightning_fabric  # noqa: F401
import numpy as np
import pandas as pd
import torch
import torch._dynamo

from cmlib.config import VaeGanConfig
from cmlib.training import batches, loop, vaegan

KILLS = 10
EPOCHS = 10
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
    """Tell by a file that the first batch is asked for."""

    def __init__(self, array: np.ndarray, started: Path):
        super().__init__(array)
        self.started = started

    def batch(self, *arguments):
        self.started.touch()
        return super().batch(*arguments)


def train(folder: Path) -> None:
    torch.set_num_threads(1)
    noise = np.random.default_rng(0).integers(0, 256, size=(60, 32, 32, 3), dtype=np.uint8)
    pictures = Pictures(noise, folder / "started")
    labels = np.arange(60) % 3 - 1
    model, _ = vaegan.train_vaegan(
        batches.TrainingData(pictures, np.arange(48), np.arange(48, 60), labels),
        SETTINGS,
        state=folder / "face.state.pt",
        log=folder / "face.history.csv",
        fabric=loop.launch("32-true"),
    )
    torch.save(model.state_dict(), folder / "face.pt")


def start(folder: Path) -> int:
    """Fork a process that trains, wait until it does, and return its number.

    The parent never computes, so that the fork is safe.
    """
    (folder / "started").unlink(missing_ok=True)
    child = os.fork()
    if not child:
        train(folder)
        os._exit(0)
    while not (folder / "started").exists():
        assert os.waitpid(child, os.WNOHANG) == (0, 0), "the training did not start"
        time.sleep(0.001)
    return child


def epochs_logged(folder: Path) -> int:
    log = folder / "face.history.csv"
    if not log.exists():
        return 0
    return max(len(log.read_text().splitlines()) - 1, 0)


def main(folder: Path, seed: int) -> None:
    """Train undisturbed in ``folder``/whole and, with the kills of kills.json, in /killed."""
    rng = random.Random(seed)
    whole, killed = folder / "whole", folder / "killed"
    assert os.waitpid(start(whole), 0)[1] == 0
    seconds_per_epoch = pd.read_csv(whole / "face.history.csv").seconds.median()
    kills = []
    while len(kills) < KILLS:
        before = epochs_logged(killed)
        child = start(killed)
        if len(kills) % 2:  # every second start may end an epoch first
            while epochs_logged(killed) == before:
                time.sleep(0.001)
        wait = rng.uniform(0, seconds_per_epoch)
        time.sleep(wait)
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status):
            break  # it had finished
        kills.append((round(wait, 4), epochs_logged(killed)))
    assert os.waitpid(start(killed), 0)[1] == 0
    (folder / "kills.json").write_text(json.dumps(kills))


def test_ten_kills_change_no_number(tmp_path):
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    environment = os.environ | {"CM_QUIET": "1", "CUDA_VISIBLE_DEVICES": ""}
    process = subprocess.run(
        [sys.executable, __file__, tmp_path, "0"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert process.returncode == 0, process.stderr[-3000:]
    kills = json.loads((tmp_path / "kills.json").read_text())
    print(f"killed after (seconds, epochs done): {kills}")
    assert len(kills) == KILLS and 5 <= kills[-1][1] < EPOCHS  # they fell into the training

    whole, killed = (
        torch.load(tmp_path / name / "face.pt", weights_only=True) for name in ("whole", "killed")
    )
    for key, value in whole.items():
        assert torch.equal(killed[key], value), key
    whole_log, killed_log = (
        pd.read_csv(tmp_path / name / "face.history.csv").drop(columns="seconds")
        for name in ("whole", "killed")
    )
    assert whole_log.epoch.tolist() == list(range(1, EPOCHS + 1))
    assert whole_log.validation.nunique() > 1
    pd.testing.assert_frame_equal(whole_log, killed_log, check_exact=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
