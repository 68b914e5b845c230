"""The benchmarks run, and compare like with like.

The released order of passes gives the same networks as ours.
"""

import csv
import json
import math
import sys
from dataclasses import replace

import pytest
import torch

from benchmarks import waiting
from benchmarks.__main__ import main
from benchmarks.child import write_result
from benchmarks.released import optimisers, released_step
from cmlib.config import VaeGanConfig
from cmlib.models import VaeGan
from cmlib.training.vaegan import make_optimiser, vaegan_step

SETTINGS = VaeGanConfig(width=0.0625, latent=8, batch=6)
NAMES = (
    "step_float32",
    "step_loop",
    "convolutions_float32",
    "convolutions_loop",
    "memory_float32",
    "memory_loop",
    "input",
    "store",
    "can",
    "prepare_quick",
    "every_quick",
    "prepare_paper",
    "every_paper",
    "prepare_memory",
    "beside_busy",
    "beside_idle",
    "processes",
)


@pytest.fixture(autouse=True)
def doubles(monkeypatch):
    """Losses stay in float64, so that nothing but the order of sums differs.

    The library takes them in float32, whatever the network computes in.
    """
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)


def start() -> tuple[VaeGan, torch.Tensor]:
    """A network and the pictures of three steps (3, B, 3, 32, 32), always the same."""
    torch.manual_seed(11)
    model = VaeGan(3, 32, SETTINGS.latent, SETTINGS.width).double().train()
    return model, torch.rand(3, SETTINGS.batch, 3, 32, 32, dtype=torch.float64)


def ours(settings: VaeGanConfig) -> VaeGan:
    """The network after three of our steps, made as ``train_vaegan`` makes them."""
    model, pictures = start()
    autoencoder = [*model.encoder.parameters(), *model.decoder.parameters()]
    both_optimisers = (
        make_optimiser(autoencoder, settings),
        make_optimiser(model.discriminator.parameters(), settings),
    )
    for number, x in enumerate(pictures):
        torch.manual_seed(number)
        both_losses = vaegan_step(model, None, x, None, settings)[:2]
        for optimiser, loss in zip(both_optimisers, both_losses, strict=True):
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return model


def released(settings: VaeGanConfig, **order) -> VaeGan:
    """The network after three steps in the released order.

    It starts from the same weights, pictures and seeds.
    """
    model, pictures = start()
    three = optimisers(model, settings)
    for number, x in enumerate(pictures):
        torch.manual_seed(number)
        released_step(model, three, x, settings, **order)
    return model


def furthest(a: VaeGan, b: VaeGan) -> dict[str, float]:
    """The largest difference of a parameter of each network, in units of the learning rate."""
    return {
        part: max(
            float((p - q).detach().abs().max()) / SETTINGS.learning_rate
            for p, q in zip(getattr(a, part).parameters(), getattr(b, part).parameters())
        )
        for part in ("encoder", "decoder", "discriminator")
    }


# Both reconstructions have the same noise, and all three networks step from the same point, so that
# only the work differs. The running statistics of the batch norms are not parameters. They differ,
# because the released order updates them more often.
ALIKE = {"in_turn": False, "fresh_noise": False}


def test_both_orders_give_the_same_networks():
    a, b = ours(SETTINGS), released(SETTINGS, **ALIKE)
    assert min(furthest(a, start()[0]).values()) > 1  # they did learn
    for (name, p), q in zip(a.named_parameters(), b.parameters()):
        torch.testing.assert_close(
            p, q, rtol=1e-9, atol=1e-11, msg=lambda text, name=name: f"{name}: {text}"
        )


@pytest.mark.parametrize(
    "change", [{"kl_weight": 3.4e-4}, {"feature_weight": 1.01}, {"feature_level": 1}]
)
def test_another_objective_shows(change):
    gap = furthest(ours(SETTINGS), released(replace(SETTINGS, **change), **ALIKE))
    assert gap["encoder"] > 1e-4, gap


@pytest.mark.parametrize("order", [{"in_turn": False}, {"fresh_noise": False}])
def test_what_the_released_order_does_differently_shows(order):
    """New noise for the second reconstruction is another algorithm.

    So are networks that step one after the other.
    """
    gap = furthest(ours(SETTINGS), released(SETTINGS, **order))
    assert gap["encoder"] > 1e-2, gap


def test_passes_are_as_many_as_described(monkeypatch):
    """Three decoder passes, ten discriminator passes and three backward passes.

    The backward passes go over a retained graph.
    """
    model, pictures = start()
    count = {"decoder": 0, "discriminator": 0, "encoder": 0}
    for part in count:
        getattr(model, part).register_forward_hook(
            lambda *_, part=part: count.update({part: count[part] + 1})
        )
    retained, backward = [], torch.Tensor.backward
    monkeypatch.setattr(
        torch.Tensor, "backward", lambda loss, **how: retained.append(how) or backward(loss, **how)
    )
    released_step(model, optimisers(model, SETTINGS), pictures[0], SETTINGS)
    assert count == {"decoder": 3, "discriminator": 10, "encoder": 2}
    assert retained == [{"retain_graph": True}] * 3


def test_of_processes_that_share_a_task_the_first_writes_its_result(tmp_path, monkeypatch):
    results = tmp_path / "result.json"
    for rank in ("1", "0", "1"):
        monkeypatch.setenv("LOCAL_RANK", rank)
        write_result({"seconds": float(rank)}, str(results))
    assert json.loads(results.read_text()) == {"seconds": 0.0}


def test_quick_run_writes_every_row(tmp_path, monkeypatch, capsys):
    monkeypatch.undo()  # losses are as the library takes them
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # of the processes that are started
    assert main(["--quick", "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    with open(tmp_path / "bench.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(row["name"] for row in rows) == NAMES
    for row in rows:
        for column in ("ours", "other", "ratio", "ratio_low", "ratio_high", "target"):
            assert 0 < float(row[column]) < math.inf, (row["name"], column)
        assert row["reached"] in ("yes", "no") and row["sense"] in ("at least", "at most")
        assert f"| {row['name']} |" in printed


def test_what_a_command_takes_counts_the_processes_that_it_starts(tmp_path):
    busy = "import time\nwhile time.process_time() < 0.3: pass"
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {busy!r}]); print(3)"
    took = waiting.run([sys.executable, "-c", child], tmp_path, {})
    assert took.output == "3\n"
    assert took.processor > 0.3 and took.wall > 0.3
    with pytest.raises(RuntimeError, match="no such test"):
        waiting.run([sys.executable, "-c", "raise SystemExit('no such test')"], tmp_path, {})


def test_commands_are_measured_against_their_budgets(tmp_path, monkeypatch):
    def run(command, folder, environment):
        lines = ["10:57:30  09_rating_study            done in 21 s, at most 880 MB of memory"]
        lines += [
            "10:57:42  07_mental_representations  done in 1 min 02 s, at most 1300 MB of memory"
        ]
        return waiting.Waited(360.0, 540.0, "\n".join(lines))

    monkeypatch.setattr(waiting, "run", run)
    rows = {row.name: row for row in waiting.rows_of(tmp_path)}
    assert rows["reproduce"].ratio == 0.5 and rows["reproduce"].reached
    assert rows["reproduce_processor"].ratio == 0.375
    assert rows["test"].ratio == 1.2 and not rows["test"].reached
    assert rows["test_processor"].ratio == 1.0 and rows["test_processor"].reached
    memory = rows["memory_notebook"]
    assert memory.ratio == 0.65 and "07_mental_representations, the largest of 2" in memory.what
