"""Shipped networks are the run's, with its test scores in their cards, and so are its tables."""

import json

import torch

from cmlib import checkpoints
from cmlib.models import Classifier, VaeGan
from tools.ship import ship, ship_tables


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
        and after["command"] == "make reproduce FRESH=1 PROFILE=quick FOLD=1 SEED=0"
    )
    assert torch.equal(shipped.linear.weight, model.linear.weight.detach())
    assert (written.parent / "classifier_face.history.csv").read_text() == "epoch,loss\n1,2.0\n"


def test_a_vaegan_goes_in_half_precision_and_without_its_discriminator(tmp_path):
    torch.manual_seed(0)
    model, run = VaeGan(channels=1, size=32, latent=4, width=0.0625), tmp_path / "actors-cpu"
    card = {"stage": "voice", "profile": "cpu", "fold": 1, "seed": 0}
    whole = checkpoints.save(run / "checkpoints" / "voice", model, card)
    (run / "metrics.json").write_text(json.dumps({"models": {"voice": {}}}))
    (written,) = ship(run, tmp_path / "checkpoints")
    assert written.stat().st_size < whole.stat().st_size / 2
    _, after = checkpoints.load(written)
    assert after["without"] == ["discriminator"] and "test" not in after


def test_tables_replace_those_of_an_earlier_run(tmp_path):
    run, target = tmp_path / "actors-quick", tmp_path / "checkpoints" / "actors-quick"
    for folder, name in ((run, "leakage"), (target, "old")):
        (folder / "tables").mkdir(parents=True)
        for suffix in ("csv", "json"):
            (folder / "tables" / f"{name}.{suffix}").write_text(suffix)
    assert ship_tables(run, target) == [target / "tables" / "leakage.csv"]
    assert {path.name for path in (target / "tables").iterdir()} == {"leakage.csv", "leakage.json"}
