"""One experiment on a toy corpus: which stages are found, and which are trained again."""

import dataclasses
import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import write_toy_corpus

from cmlib import checkpoints, config, files, perceiver
from cmlib.corpora import CorpusError, crowd
from cmlib.experiment import pretrain
from cmlib.experiment import run as run_module
from cmlib.experiment.run import MODELS, Run
from cmlib.provenance import VERSIONS
from cmlib.training import encoding, vaegan
from cmlib.training.batches import Pictures


@pytest.fixture(scope="module")
def eight_clips(tmp_path_factory, good_clip):
    """A folder with 8 clips of 4 actors in "data", which are prepared once, in "cache"."""
    home = tmp_path_factory.mktemp("eight")
    write_toy_corpus(home / "data" / "actors", good_clip, ("03-01-01", "05-01-01"))
    return home


@pytest.fixture
def toy(eight_clips, tmp_path, monkeypatch):
    """Run(...) on 8 clips of 4 actors (fold 1: test 2, validation 3, training 1 and 10)."""
    monkeypatch.setenv("CM_DATA", str(eight_clips / "data"))
    monkeypatch.setenv("CM_CACHE", str(eight_clips / "cache"))
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
    assert (seconds(again, "face"), seconds(again, "can")) == written  # nothing was trained twice
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


def weights(path):
    return dict(checkpoints.load(path)[0].named_parameters())


def smoke_with(monkeypatch, **stages):
    """Changes settings of the profile smoke: ``smoke_with(m, can={"crowd": 0.5})``."""
    smoke = config.PROFILES["smoke"]
    stages = {
        name: dataclasses.replace(getattr(smoke, name), **changes)
        for name, changes in stages.items()
    }
    monkeypatch.setitem(config.PROFILES, "smoke", dataclasses.replace(smoke, **stages))


# ----------------------------------------------------------------- why something is trained again


def test_a_stale_network_is_trained_again_and_says_why(toy, monkeypatch, capsys):
    toy().can()
    first = seconds(toy(), "voice")
    capsys.readouterr()
    smoke_with(monkeypatch, can={"voice_noise": 0.5})
    toy().can()
    assert "can: trained again: settings.can.voice_noise 0.0 → 0.5\n" == capsys.readouterr().out
    assert seconds(toy(), "voice") == first
    toy().can()
    assert capsys.readouterr().out == ""
    monkeypatch.setitem(VERSIONS, "classifier", VERSIONS["classifier"] + 1)
    assert toy().why_stale("can") == [
        f"below.classifier_face: version of classifier_face {VERSIONS['classifier'] - 1} → "
        f"{VERSIONS['classifier']}"
    ]
    assert toy().find("voice") and toy().find("face")


def test_a_card_without_a_record_is_stale(toy):
    run = toy()
    run.vaegan("voice")
    file = run.path("voice").with_suffix(".json")
    card = json.loads(file.read_text())
    del card["provenance"]
    file.write_text(json.dumps(card | {"recipe": "0123456789ab"}))
    assert toy().find("voice") is None
    assert toy().why_stale("voice") == ["its card does not say what it was made from"]


def test_a_half_trained_state_of_other_settings_is_not_used(toy, monkeypatch):
    states = []

    def train(*arguments, state, **more):
        states.append(state)
        raise KeyboardInterrupt

    monkeypatch.setattr(run_module, "train_vaegan", train)
    for weight in (0.01, 0.02):
        smoke_with(monkeypatch, voice={"kl_weight": weight})
        with pytest.raises(KeyboardInterrupt):
            toy().vaegan("voice")
    with pytest.raises(KeyboardInterrupt):
        toy().vaegan("voice")
    assert states[0] != states[1] == states[2]


# ------------------------------------------------------------- networks that are learnt elsewhere


@pytest.fixture
def small_crowd(monkeypatch):
    """34 people, each happy and sad, as noise; the pre-training in two parts of an epoch each."""
    rows = [
        {"offset": 0, "bytes": 1, "person": person, "mood": mood}
        for person in range(34)
        for mood in ("happy", "sad")
    ]
    noise = np.random.default_rng(0).integers(0, 255, (68, 32, 32, 3), np.uint8)
    monkeypatch.setattr(crowd, "table", lambda root=None, limit=None: pd.DataFrame(rows))
    monkeypatch.setattr(crowd, "load", lambda size, limit=None: noise)
    first = config.PROFILES["smoke"].face
    second = dataclasses.replace(first, feature_level=0, expression_weight=0.3)
    monkeypatch.setattr(pretrain, "CROWD", (first, second))


def test_pretraining_goes_on_after_a_kill_in_its_second_part(
    toy, small_crowd, tmp_path, monkeypatch
):
    starts = []
    train = vaegan.train_vaegan

    def killed_once(*arguments, **more):
        starts.append(more["start"])
        if len(starts) == 2:
            raise KeyboardInterrupt
        return train(*arguments, **more)

    monkeypatch.setattr(vaegan, "train_vaegan", killed_once)
    with pytest.raises(KeyboardInterrupt):
        pretrain.pretrain(32)
    path = pretrain.pretrain(32)
    assert starts[0] is starts[2] is None
    for before, after in zip(starts[1].parameters(), starts[3].parameters()):
        assert torch.equal(before, after)

    assert path == tmp_path / "checkpoints" / "crowd-32" / "face"
    history = pd.read_csv(path.with_suffix(".history.csv"))
    assert history.epoch.tolist() == [1, 2]
    assert history.expression.isna().tolist() == [True, False]
    assert history.validation[1] < history.validation[0]
    assert not [*(tmp_path / "runs").glob("*.pt"), *(tmp_path / "runs").glob("*.csv")]
    card = checkpoints.read_card(path)
    assert card["people"] == {"training": 4, "validation": 30}
    assert card["command"] == "cm pretrain --size 32 --seed 0"
    assert len(card["provenance"]["settings"]) == 2


def test_training_starts_from_a_shipped_network(toy, small_crowd, monkeypatch):
    path = pretrain.pretrain(32)
    scratch = toy().provenance("face")
    smoke_with(monkeypatch, face={"start": "crowd-32/face", "learning_rate": 0.0})
    started = toy().provenance("face")
    assert "below.start: was not used" in started.differences(scratch)
    there = weights(path)
    for name, parameter in toy().vaegan("face").named_parameters():
        assert name.startswith("discriminator") or torch.equal(parameter, there[name]), name


def test_a_stage_without_epochs_is_the_shipped_network(toy, small_crowd, monkeypatch):
    path = pretrain.pretrain(32)
    smoke_with(monkeypatch, face={"start": "crowd-32/face", "epochs": 0})
    run = toy()
    shipped = checkpoints.load(path)[0].encoder.state_dict()  # running statistics, too
    for name, tensor in run.vaegan("face", retrain=True).encoder.state_dict().items():
        assert torch.equal(tensor, shipped[name]), name
    assert run.find("face") == run.fixed_network("face") == path
    assert run.fixed_network("can") is None
    assert len(run.history("face")) == 2 and not run.trained_here("face")
    run.can()
    loaded = perceiver.Perceiver.load(run.folder)  # a folder without a face network of its own
    assert torch.equal(loaded.face.encoder.mean.weight, shipped["mean.weight"])


def test_shipped_networks_belong_to_the_face_network_below_them(
    toy, small_crowd, tmp_path, monkeypatch
):
    path = pretrain.pretrain(32)
    smoke_with(monkeypatch, face={"start": "crowd-32/face", "epochs": 0})
    run = toy()
    run.can()
    shipped = tmp_path / "checkpoints" / "actors-smoke"
    shutil.move(run.folder / "checkpoints", shipped)
    assert toy().find("can") == shipped / "can"
    toy().classifier("face", retrain=True)  # a reproduction trains its own
    assert toy().trained_here("classifier_face") and toy().find("can") is None
    shutil.rmtree(run.folder / "checkpoints")
    card = checkpoints.read_card(path)
    card["provenance"]["seed"] = 1
    path.with_suffix(".json").write_text(json.dumps(card))
    assert toy().find("classifier_face") is None and toy().find("can") is None


def test_context_is_learnt_beside_faces_of_the_crowd(toy, crowd_of, monkeypatch):
    folder = crowd_of(6, "neutral", "sad", "bored", "happy")
    changes = {"crowd": 0.5, "neutral": 0.3, "pairing": "emotion", "directions": 2}
    smoke_with(monkeypatch, can=changes)
    run = toy()
    faces, labels, people = run.crowd_faces()
    # Bored is neither a class nor neutral, so 3 of 4 pictures of each person are left.
    assert faces.mu.shape == faces.logvar.shape == (2, 18, 16)
    assert not torch.equal(faces.mu[0], faces.mu[1])
    pictures = Pictures(np.load(folder / "faces.npy"))
    happy = encoding.encode(run.vaegan("face"), pictures, np.array([3]))
    torch.testing.assert_close(faces.mu[0, 2], happy.mu[0, 0])
    assert labels.tolist() == [-1, run.classes.index("sad"), run.classes.index("happy")] * 6
    assert people.tolist() == sorted([*range(6)] * 3)

    material = {}

    def train(face, voice, labels, settings, **more):
        material.update(more, face=face, labels=labels)
        return None, None

    monkeypatch.setattr(run_module, "train_can", train)
    run.train_can(run.settings("can"))
    own = len(material["labels"]) - 18
    assert len(material["face"]) == len(material["people"]) == own + 18
    for view in range(2):
        of_crowd = material["face"].batch(np.arange(own, own + 18), view)
        assert torch.equal(of_crowd.mu, faces.mu[view])
    actors, strangers = set(material["people"][:own]), set(material["people"][own:])
    assert not actors & strangers


def test_other_pictures_of_the_crowd_make_the_context_network_stale(toy, crowd_of, monkeypatch):
    folder = crowd_of(6, "neutral", "sad")
    smoke_with(monkeypatch, can={"crowd": 0.5})
    before = toy().provenance("can")
    (folder / "faces.csv").write_text("other moods")
    first, *others = toy().provenance("can").differences(before)
    assert first.startswith("data.crowd ")
    # The face VAE-GAN of this profile learns from the crowd, too.
    assert [line.split(" ")[0] for line in others] == ["below.classifier_face.face:"]


def test_voices_are_learnt_from_the_crowd(toy, tmp_path, monkeypatch):
    rng, moods = np.random.default_rng(0), ("neutral", "sad")
    table = pd.DataFrame([{"person": p, "mood": m} for p in range(34) for m in moods])
    spectrograms = rng.integers(0, 255, (68, 128, 128, 1), np.uint8)
    monkeypatch.setattr(crowd, "voices", lambda: (spectrograms, table))
    small = dataclasses.replace(config.PROFILES["smoke"].voice, feature_level=0)
    monkeypatch.setattr(pretrain, "CROWD_VOICE", small)
    path = pretrain.pretrain(voices=True)
    model, card = checkpoints.load(path)
    assert path == tmp_path / "checkpoints" / "crowd" / "voice"
    assert model.config["channels"] == 1 and model.config["size"] == 128
    assert card["people"] == {"training": 4, "validation": 30}
    assert card["command"] == "cm pretrain --voices --seed 0"
    assert card["provenance"]["data"] == {"crowd": "68 voices"}
    assert path.with_suffix(".history.csv").exists()
    assert not list((tmp_path / "runs").glob("*.pt"))


def test_without_the_crowd_pretraining_says_so(toy):
    with pytest.raises(CorpusError, match="get them again"):
        pretrain.pretrain(32)
