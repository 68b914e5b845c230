"""Shipped networks are the run's, in half precision, with its test scores in their cards."""

import json

import torch

from cmlib import checkpoints
from cmlib.models import Classifier
from tools.ship import ship


def test_networks_go_with_their_cards(tmp_path):
    torch.manual_seed(0)
    model, run = Classifier(8), tmp_path / "actors-quick"
    card = {
        "stage": "classifier_face",
        "corpus": "actors",
        "profile": "quick",
        "fold": 1,
        "seed": 0,
        "provenance": {"stage": "classifier_face"},
    }
    checkpoints.save(run / "checkpoints" / "classifier_face", model, card)
    (run / "checkpoints" / "classifier_face.history.csv").write_text("epoch,loss\n1,2.0\n")
    score = {"clip_accuracy": {"value": 0.4, "low": 0.3, "high": 0.5}}
    (run / "metrics.json").write_text(json.dumps({"models": {"face": score, "can": {}}}))
    (written,) = ship(run, tmp_path / "checkpoints")
    shipped, after = checkpoints.load(written)
    assert (
        after["test"] == score
        and after["provenance"] == {"stage": "classifier_face"}
        and after["command"] == "make reproduce PROFILE=quick FOLD=1 SEED=0"
    )
    torch.testing.assert_close(
        shipped.linear.weight, model.linear.weight.detach(), rtol=1e-3, atol=1e-4
    )
    assert (written.parent / "classifier_face.history.csv").read_text() == "epoch,loss\n1,2.0\n"
    assert (
        written.stat().st_size
        < (run / "checkpoints" / "classifier_face.safetensors").stat().st_size
    )
