"""Several devices: two processes that share each batch learn what one process learns from the whole of it.

Run as a script, this file is what both processes execute: ``python tests/test_devices.py FOLDER``.
"""

import dataclasses
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pandas as pd
import pytest
import torch
from lightning_fabric import Fabric

from cmlib import files as files_room
from cmlib.cli import main
from cmlib.config import VaeGanConfig as Settings
from cmlib.experiment.run import FUSIONS
from cmlib.models import Posterior, VaeGan
from cmlib.training import batches, loop, vaegan

# batches of 11 give shares of 6 and 5, three of them two unequal steps; every part has a gradient
SETTINGS = Settings(
    width=0.0625,
    latent=8,
    epochs=2,
    batch=11,
    accumulate=2,
    optimiser="adam",
    pixel_weight=1.0,
    adversarial_weight=0.1,
    label_weight=0.5,
    bounded=True,
    learning_rate=1e-3,
)


RUNS = {
    "plain": dict(noise=False),
    "noise": dict(noise=True),
    "expressions": dict(
        noise=True, settings=dict(adversarial_weight=0.0, feature_level=0, expression_weight=0.3)
    ),
}


def train(fabric, noise, **more):
    """(model, history) of 33 random pictures; without ``noise`` nothing depends on who shares a batch with whom."""
    rng = np.random.default_rng(0)
    pictures = batches.Pictures(rng.integers(0, 256, size=(44, 32, 32, 3), dtype=np.uint8))
    settings = dataclasses.replace(SETTINGS, **more.pop("settings", {}))
    data = batches.TrainingData(pictures, np.arange(33), np.arange(33, 44), np.arange(44) % 3)
    fit = lambda: vaegan.train_vaegan(data, settings, fabric=fabric, **more)  # noqa: E731
    if noise:
        return fit()
    frozen = lambda self, mode=True: torch.nn.Module.train(self, False)  # noqa: E731  (batch norm from running statistics)
    with (
        patch.object(VaeGan, "train", frozen),
        patch.object(Posterior, "sample", lambda self: self.mu),
        patch.object(torch, "randn_like", torch.ones_like),
    ):
        return fit()


def both(folder: Path) -> None:
    fabric = loop.launch("32-true", devices=2)
    for name, more in RUNS.items():
        model, history = train(
            fabric, **more, state=folder / f"{name}.state.pt", log=folder / f"{name}.csv"
        )
        torch.save(model.state_dict(), folder / f"{name}-{fabric.global_rank}.pt")
        history.to_csv(folder / f"{name}-{fabric.global_rank}.csv", index=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("devices")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SLURM_")}
    environment |= {"CM_QUIET": "1", "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, folder]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.fixture(autouse=True)
def calm(monkeypatch):
    monkeypatch.setenv("CM_QUIET", "1")


def weights(folder, name, rank):
    return torch.load(folder / f"{name}-{rank}.pt", weights_only=True)


def test_two_devices_learn_what_one_learns(folder):
    model, history = train(Fabric(accelerator="cpu", devices=1), noise=False)
    start, _ = train(
        Fabric(accelerator="cpu", devices=1),
        noise=False,
        settings={"learning_rate": 0.0, "epochs": 1},
    )
    shared = weights(folder, "plain", 0)
    for key, value in model.state_dict().items():
        torch.testing.assert_close(
            shared[key], value, rtol=1e-3, atol=1e-5, msg=lambda text, key=key: f"{key}: {text}"
        )
    moved = [(p - start.state_dict()[k]).abs().max() for k, p in model.named_parameters()]
    assert min(moved) > 1e-4  # every parameter has moved much further than that
    columns = history.columns.drop("seconds")
    pd.testing.assert_frame_equal(
        pd.read_csv(folder / "plain-0.csv")[columns], history[columns], rtol=1e-4
    )


@pytest.mark.parametrize("name", RUNS)
def test_both_devices_end_alike_and_the_first_one_writes(folder, name):
    first, second = (weights(folder, name, rank) for rank in (0, 1))
    assert all(
        torch.equal(value, second[key]) for key, value in first.items()
    )  # running statistics too
    mine, other, log = (
        pd.read_csv(folder / f"{name}{x}.csv").drop(columns="seconds") for x in ("-0", "-1", "")
    )
    pd.testing.assert_frame_equal(mine, other)
    pd.testing.assert_frame_equal(mine, log)
    state = torch.load(folder / f"{name}.state.pt", weights_only=True)
    assert state["epoch"] == 2 and torch.equal(
        state["modules"][0]["encoder.mean.weight"], first["encoder.mean.weight"]
    )


def test_a_batch_that_cannot_be_shared_is_refused():
    with pytest.raises(loop.TrainingError, match="33 pictures in batches of 1 are too few"):
        train(Fabric(accelerator="cpu", devices=1), noise=True, settings={"batch": 1})


def test_train_command(corpus, tmp_path, monkeypatch, capsys):
    """``cm train`` on the toy corpus: every stage says its score and where it lies, and is found again."""
    (tmp_path / "data").mkdir()
    shutil.copytree(corpus, tmp_path / "data" / "actors")
    monkeypatch.setenv("CM_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("CM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(files_room, "ROOT", tmp_path)
    command = ["train", "all", "--profile", "smoke", "--precision", "32-true"]
    assert main(command) == 0
    said = [line for line in capsys.readouterr().out.splitlines() if ": validation " in line]
    stages = ["face", "voice", *(f"classifier_{f}" for f in FUSIONS), "can_released", "can"]
    assert [line.split(":")[0] for line in said] == stages
    files = [Path(line.rsplit("; ")[1]) for line in said]
    assert all(f.is_file() and f.is_relative_to(tmp_path / "runs" / "actors-smoke") for f in files)
    assert re.search(r"reconstruction_mse 0\.\d{5}", said[0]) and re.search(
        r"clip_accuracy [01]\.\d{3}", said[-1]
    )
    written = [f.stat().st_mtime_ns for f in files]
    assert main(command) == 0 and [f.stat().st_mtime_ns for f in files] == written
    assert main(["train", "face", "--devices", "0"]) == 1 and "devices" in capsys.readouterr().err


if __name__ == "__main__":
    both(Path(sys.argv[1]))
