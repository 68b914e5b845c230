"""Several devices: two processes that share each batch learn what one learns from all of it."""

import dataclasses
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import stopped_device
import torch
import two_devices
from lightning_fabric import Fabric
from two_devices import RUNS, SETTINGS, train

from cmlib import files as files_room
from cmlib.cli import main
from cmlib.experiment.run import FUSIONS
from cmlib.training import loop


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What the two processes left."""
    folder = tmp_path_factory.mktemp("devices")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SLURM_")}
    environment |= {"CM_QUIET": "1", "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, two_devices.__file__, folder]
    process = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200)
    assert process.returncode == 0, process.stderr[-3000:]
    return folder


@pytest.fixture(autouse=True)
def calm(monkeypatch):
    monkeypatch.setenv("CM_QUIET", "1")


def one_device() -> Fabric:
    return Fabric(accelerator="cpu", devices=1)


def weights(folder, name, rank):
    return torch.load(folder / f"{name}-{rank}.pt", weights_only=True)


def history_of(folder, name):
    return pd.read_csv(folder / f"{name}.csv").drop(columns="seconds")


def test_two_devices_learn_what_one_learns(folder):
    model, history = train(one_device(), **RUNS["plain"])
    untrained = dataclasses.replace(SETTINGS, epochs=0)
    start, _ = train(one_device(), **RUNS["plain"], settings=untrained)
    shared = weights(folder, "plain", 0)
    for key, value in model.state_dict().items():
        torch.testing.assert_close(
            shared[key], value, rtol=1e-3, atol=1e-5, msg=lambda text, key=key: f"{key}: {text}"
        )
    for (key, value), before in zip(model.named_parameters(), start.parameters()):
        assert (value - before).abs().max() > 1e-4, key  # it has learnt much more than that
    history = history.drop(columns="seconds")
    pd.testing.assert_frame_equal(history_of(folder, "plain-0"), history, rtol=1e-4)


@pytest.mark.parametrize(
    "name, least, most",
    [
        ("plain", 0, 1e-4),
        ("batch norm", 1e-3, 0.5),
        ("drawn noise", 1e-4, 0.5),
        ("noise", 1e-3, 0.5),
    ],
)
def test_the_losses_of_two_devices_differ_by_batch_norm_and_noise_alone(folder, name, least, most):
    """The largest relative difference of any term from that of one device, in the first epoch."""
    _, history = train(one_device(), **RUNS[name])
    one = history.drop(columns=["seconds", "epoch"]).iloc[0]
    two = history_of(folder, f"{name}-0").drop(columns="epoch").iloc[0]
    differences = ((two - one) / one).abs()
    print(f"{name}: " + ", ".join(f"{term} {value:.1e}" for term, value in differences.items()))
    assert least <= differences.max() < most


@pytest.mark.parametrize("name", RUNS)
def test_both_devices_end_alike_and_the_first_one_writes(folder, name):
    first, second = (weights(folder, name, rank) for rank in (0, 1))
    for key, value in first.items():  # running statistics, too
        assert torch.equal(value, second[key]), key
    pd.testing.assert_frame_equal(history_of(folder, f"{name}-0"), history_of(folder, f"{name}-1"))
    pd.testing.assert_frame_equal(history_of(folder, f"{name}-0"), history_of(folder, name))
    state = torch.load(folder / f"{name}.state.pt", weights_only=True)
    assert state["epoch"] == 2
    weight = "encoder.mean.weight"
    assert torch.equal(state["modules"][0][weight], first[weight])


def test_a_batch_that_cannot_be_shared_is_refused():
    single = dataclasses.replace(SETTINGS, batch=1)
    with pytest.raises(loop.TrainingError, match="33 pictures in batches of 1 are too few"):
        train(one_device(), settings=single)


def test_train_command(corpus, tmp_path, monkeypatch, capsys):
    """``cm train`` says each stage's score and where it lies, and does not train it again."""
    (tmp_path / "data").mkdir()
    shutil.copytree(corpus, tmp_path / "data" / "actors")
    monkeypatch.setenv("CM_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("CM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(files_room, "ROOT", tmp_path)
    command = ["train", "all", "--profile", "smoke", "--precision", "32-true"]
    assert main(command) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if ": validation " in line]
    stages = ["face", "voice", *(f"classifier_{f}" for f in FUSIONS), "can_released", "can"]
    assert [line.split(":")[0] for line in lines] == stages
    assert re.search(r"reconstruction_mse 0\.\d{5}", lines[0])
    assert re.search(r"clip_accuracy [01]\.\d{3}", lines[-1])
    files = [Path(line.rsplit("; ")[1]) for line in lines]
    assert all(f.is_file() and f.is_relative_to(tmp_path / "runs" / "actors-smoke") for f in files)
    written = [f.stat().st_mtime_ns for f in files]
    assert main(command) == 0
    assert [f.stat().st_mtime_ns for f in files] == written


def test_no_device_is_no_choice(capsys):
    assert main(["train", "face", "--devices", "0"]) == 1
    assert "devices" in capsys.readouterr().err


def test_a_process_that_stands_still_is_waited_for_no_longer_than_the_timeout():
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SLURM_")}
    environment |= {"CM_QUIET": "1", "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, stopped_device.__file__],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    stopped = None
    try:
        for line in process.stdout:
            if line.startswith("stopped"):
                stopped = int(line.split()[1])
            elif "waited in vain" in line:
                break
        else:
            pytest.fail(process.stderr.read()[-2000:])
        assert line.startswith(
            "epoch 1, batch 2 of 2: process 1 of 2 waited in vain for the others"
        )
        assert "start the same command again" in line
    finally:
        if stopped:
            os.kill(stopped, signal.SIGKILL)
        process.kill()
        process.communicate()
