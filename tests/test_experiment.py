"""One experiment on a toy corpus: stages are found while they are what they should be, and trained anew when not."""

import dataclasses
import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch

from cmlib import config, files, perceiver
from cmlib.corpora import CorpusError
from cmlib.experiment import pretrain
from cmlib.experiment import run as run_module
from cmlib.experiment.run import MODELS, Run
from cmlib.training import encoding
from cmlib.training.batches import Pictures


@pytest.fixture
def toy(corpus, tmp_path, monkeypatch):
    """Run(...) on 8 clips of 4 actors (fold 1: test 2, validation 3, training 1 and 10), nothing shipped."""
    (tmp_path / "data").mkdir()
    shutil.copytree(corpus, tmp_path / "data" / "actors")
    monkeypatch.setenv("CM_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("CM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(files, "ROOT", tmp_path)
    return lambda **more: Run("actors", "smoke", out_dir=str(tmp_path / "run"), **more)


def seconds(run, name):
    return run.path(name).with_suffix(".safetensors").stat().st_mtime_ns


def test_every_model_gives_probabilities_and_is_found_again(toy):
    run = toy()
    rows = run.frames_of(run.split.test)
    assert len(rows) and set(run.store.clips.actor[run.frame_clip[rows]]) == {2}
    first = {name: run.log_probabilities(name, rows) for name in MODELS}
    for log_p in first.values():
        np.testing.assert_allclose(np.exp(log_p).sum(1), 1, rtol=1e-5)
    written = seconds(run, "face"), seconds(run, "can")
    again = toy()
    for name in MODELS:
        np.testing.assert_array_equal(again.log_probabilities(name, rows), first[name])
    assert (seconds(again, "face"), seconds(again, "can")) == written
    card = json.loads(run.path("can").with_suffix(".json").read_text())
    assert (
        card["validation"]["clip_accuracy"]["value"] <= 1
        and card["fold"] == 1
        and "torch" in card["versions"]
    )


def test_other_settings_make_the_network_and_all_above_it_stale(toy, monkeypatch):
    run = toy()
    run.can()
    assert run.find("can") == run.path("can")
    changed = dataclasses.replace(
        config.PROFILES["smoke"],
        voice=dataclasses.replace(config.PROFILES["smoke"].voice, kl_weight=0.01),
    )
    monkeypatch.setitem(config.PROFILES, "smoke", changed)
    other = toy()
    assert other.find("face") and other.find("classifier_face")
    assert other.find("voice") is None and other.find("can") is None


def test_another_seed_does_not_read_this_ones_networks(toy):
    toy().vaegan("voice")
    assert toy(seed=1).find("voice") is None


def test_shipped_networks_serve_until_a_run_trains_its_own(toy, tmp_path):
    run = toy()
    run.can()
    shutil.move(run.folder / "checkpoints", tmp_path / "checkpoints" / "actors-smoke")
    reader = toy()
    assert reader.find("can") == tmp_path / "checkpoints" / "actors-smoke" / "can"
    reader.vaegan("voice", retrain=True)  # a reproduction trains its own
    assert reader.find("voice") == reader.path("voice")
    assert reader.find("can") is None  # and does not put a foreign network on top


def test_latents_are_those_of_the_frozen_encoder(toy):
    run = toy()
    face, voice = run.paired(np.array([0, 5]))
    model = run.vaegan("face")
    with torch.no_grad():
        torch.testing.assert_close(
            face.mu, model.encoder(run.faces.batch(np.array([0, 5]))).mu, rtol=1e-4, atol=1e-5
        )
    assert voice.mu.shape == face.mu.shape


def test_a_start_is_the_shipped_network_of_the_crowd(toy, tmp_path, monkeypatch):
    rows = [
        {"offset": 0, "bytes": 1, "person": p, "mood": m}
        for p in range(34)
        for m in ("happy", "sad")
    ]
    noise = np.random.default_rng(0).integers(0, 255, (68, 32, 32, 3), np.uint8)
    monkeypatch.setattr(run_module.crowd, "table", lambda root=None, limit=None: pd.DataFrame(rows))
    monkeypatch.setattr(run_module.crowd, "load", lambda size, limit=None: noise)
    smoke = config.PROFILES["smoke"]
    second = dataclasses.replace(smoke.face, feature_level=0, expression_weight=0.3)
    monkeypatch.setattr(pretrain, "CROWD", (smoke.face, second))
    train, asked = run_module.training.train_vaegan, []

    def killed(*a, **more):
        asked.append(more["start"])
        if len(asked) == 2:  # in the second part
            raise KeyboardInterrupt
        return train(*a, **more)

    monkeypatch.setattr(run_module.training, "train_vaegan", killed)
    with pytest.raises(KeyboardInterrupt):
        pretrain.pretrain(32)
    path = pretrain.pretrain(32)
    assert asked[0] is asked[2] is None and all(
        torch.equal(p, q) for p, q in zip(asked[1].parameters(), asked[3].parameters())
    )
    history = pd.read_csv(path.with_suffix(".history.csv"))
    assert history.epoch.tolist() == [1, 2] and history.expression.isna().tolist() == [True, False]
    assert history.validation[1] < history.validation[0] and not [
        *(tmp_path / "runs").glob("*.pt"),
        *(tmp_path / "runs").glob("*.csv"),
    ]
    assert (
        path == tmp_path / "checkpoints" / "crowd-32" / "face"
        and json.loads(path.with_suffix(".json").read_text())["people"]["training"] == 4
    )
    scratch = toy().recipe("face")
    face = dataclasses.replace(smoke.face, start="crowd-32/face", learning_rate=0.0)
    monkeypatch.setitem(config.PROFILES, "smoke", dataclasses.replace(smoke, face=face))
    assert toy().recipe("face") != scratch
    there = dict(run_module.checkpoints.load(path)[0].named_parameters())
    for name, p in toy().vaegan("face").named_parameters():
        assert name.startswith("discriminator") or torch.equal(p, there[name]), name
    monkeypatch.setitem(
        config.PROFILES,
        "smoke",
        dataclasses.replace(smoke, face=dataclasses.replace(face, epochs=0)),
    )
    as_it_is = toy()
    for name, p in (
        as_it_is.vaegan("face", retrain=True).encoder.state_dict().items()
    ):  # running statistics too
        assert torch.equal(p, run_module.checkpoints.load(path)[0].encoder.state_dict()[name]), name
    assert as_it_is.find("face") == as_it_is.given("face") == path and as_it_is.given("can") is None
    assert len(as_it_is.history("face")) == 2 and not as_it_is.own("face")
    as_it_is.can()
    monkeypatch.setattr(
        perceiver, "ROOT", tmp_path
    )  # a folder without a face of its own: that of its profile
    loaded = perceiver.Perceiver.load(as_it_is.folder)
    assert torch.equal(
        loaded.face.encoder.mean.weight, run_module.checkpoints.load(path)[0].encoder.mean.weight
    )
    shutil.move(as_it_is.folder / "checkpoints", tmp_path / "checkpoints" / "actors-smoke")
    assert toy().find("can") == tmp_path / "checkpoints" / "actors-smoke" / "can"
    toy().classifier("face", retrain=True)  # a reproduction trains its own
    assert toy().own("classifier_face") and toy().find("can") is None
    shutil.rmtree(as_it_is.folder / "checkpoints")
    card = json.loads(path.with_suffix(".json").read_text())
    path.with_suffix(".json").write_text(json.dumps(card | {"recipe": "of others"}))
    assert (
        toy().find("classifier_face") is None and toy().find("can") is None
    )  # shipped networks on top of another face


def test_context_is_learnt_beside_faces_of_the_crowd(toy, crowd_of, monkeypatch):
    folder = crowd_of(6, "neutral", "sad", "bored", "happy")
    without = toy().recipe("classifier_face")
    smoke = config.PROFILES["smoke"]
    settings = dataclasses.replace(
        smoke.can, crowd=0.5, neutral=0.3, pairing="emotion", directions=2
    )
    monkeypatch.setitem(config.PROFILES, "smoke", dataclasses.replace(smoke, can=settings))
    run = toy()
    faces, labels, people = run.crowd_faces()
    assert faces.mu.shape == faces.logvar.shape == (2, 18, 16) and not torch.equal(
        *faces.mu
    )  # bored is neither class nor neutral
    third = encoding.encode(
        run.vaegan("face"), Pictures(np.load(folder / "faces.npy")), np.array([3])
    )  # after the bored one
    torch.testing.assert_close(faces.mu[0, 2], third.mu[0, 0])
    assert labels.tolist() == [
        -1,
        run.classes.index("sad"),
        run.classes.index("happy"),
    ] * 6 and people.tolist() == sorted([*range(6)] * 3)
    seen = {}
    monkeypatch.setattr(
        run_module.training,
        "train_can",
        lambda *a, **more: seen.update(more, face=a[0], labels=a[2]) or (None, None),
    )
    run.train_can(settings)
    own = len(seen["labels"]) - 18
    assert seen["face"].mu.shape[1] == len(seen["people"]) == own + 18 and torch.equal(
        seen["face"].mu[:, own:], faces.mu
    )
    assert not set(seen["people"][:own]) & set(seen["people"][own:])  # nobody is of both
    assert run.recipe("classifier_face") == without
    before = run.recipe("can")
    (folder / "faces.csv").write_text("other moods")
    assert run.recipe("can") != before


def test_voices_are_learnt_from_the_crowd(toy, tmp_path, monkeypatch):
    rng, moods = np.random.default_rng(0), ("neutral", "sad")
    table = pd.DataFrame([{"person": p, "mood": m} for p in range(34) for m in moods])
    made = rng.integers(0, 255, (68, 128, 128, 1), np.uint8), table
    monkeypatch.setattr(run_module.crowd, "voices", lambda: made)
    monkeypatch.setattr(
        files, "CROWD_VOICE", dataclasses.replace(config.PROFILES["smoke"].voice, feature_level=0)
    )
    path = pretrain.pretrain(voices=True)
    model, card = run_module.checkpoints.load(path)
    assert (
        path == tmp_path / "checkpoints" / "crowd" / "voice"
        and model.config["channels"] == 1
        and model.config["size"] == 128
    )
    assert (
        card["people"] == {"training": 4, "validation": 30}
        and card["command"] == "cm pretrain --voices --seed 0"
    )
    assert path.with_suffix(".history.csv").exists() and not list((tmp_path / "runs").glob("*.pt"))


def test_without_the_crowd_pretraining_says_so(toy):
    with pytest.raises(CorpusError, match="get them again"):
        pretrain.pretrain(32)
