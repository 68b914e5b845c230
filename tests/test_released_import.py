"""Checkpoints with the released names become our networks, or a report of what is wrong.

No code in them is run.
"""

import argparse
import dataclasses
import os
import pathlib
import pickle
import sys
import zipfile

import numpy as np
import pytest
import torch
from conftest import face, tone
from test_processed import ravdess  # noqa: F401  (a fixture)
from test_released_parity import ORACLE, assert_close, released_attention, released_state
from torch import nn

from cmlib import checkpoints, config
from cmlib import files as files_room
from cmlib.checkpoints import CheckpointError
from cmlib.cli import main
from cmlib.corpora.names import CLASSES, MEAD_CLASSES
from cmlib.experiment.run import Run
from cmlib.import_released import HEAD, import_checkpoint
from cmlib.models import Can, Classifier, VaeGan
from cmlib.perceiver import Perceiver

SMALL = dict(size=64, latent=16, width=0.125)


def under(prefix: str, module: nn.Module) -> dict:
    return {prefix + k: v for k, v in module.state_dict().items()}


def lightning(path, state, **more):
    """As Lightning writes it: the state_dict among counters, callbacks and settings."""
    torch.save(
        {
            "epoch": 3,
            "global_step": 9,
            "pytorch-lightning_version": "1.9.0",
            "state_dict": state,
            "loops": {},
            "callbacks": {
                "ModelCheckpoint": {"best_model_score": torch.tensor(0.8), "best_model_path": "x"}
            },
            **more,
        },
        path,
    )
    return path


@pytest.fixture
def stages(tmp_path):
    """Files of the four stages, small, and the networks in them.

    The classifier's file has its own drifted face, the context network's the last one.
    """
    torch.manual_seed(0)
    face, drifted, last = (VaeGan(3, **SMALL).eval() for _ in range(3))
    voice = VaeGan(1, **SMALL | {"size": 128}).eval()
    head, can = Classifier(16), Can(16)
    files = {
        "face": lightning(tmp_path / "face.ckpt", under("model.", face)),
        "voice": lightning(tmp_path / "voice.ckpt", under("model.", voice)),
        "classifier": lightning(
            tmp_path / "head.ckpt", under("model.", drifted) | under(HEAD, head.linear)
        ),
        "can": lightning(
            tmp_path / "best.ckpt",
            under("model_imgs.", last)
            | under("model_audio.", voice)
            | under("att_mu.", can.att_mu)
            | under("att_logvar.", can.att_logvar)
            | under(HEAD, can.classifier),
        ),
    }
    return files, dict(face=face, voice=voice, drifted=drifted, last=last, head=head, can=can)


def same(folder, name, model, kind=VaeGan):
    loaded, _ = checkpoints.load(folder / name, kind)
    mine, theirs = loaded.state_dict(), model.state_dict()
    return mine.keys() == theirs.keys() and all(torch.equal(mine[k], theirs[k]) for k in mine)


def test_each_stage_becomes_the_network_that_its_file_holds(stages, tmp_path):
    files, networks = stages
    for stage, kind, stem, network in (
        ("face", "vaegan", "face", networks["face"]),
        ("voice", "vaegan", "voice", networks["voice"]),
        ("classifier", "classifier", "classifier_face", networks["head"]),
        ("can", "can", "can", networks["can"]),
    ):
        report = import_checkpoint(files[stage], tmp_path / stage)
        assert report.kind == kind
        assert same(tmp_path / stage, stem, network, type(network))


def test_a_later_stage_takes_the_place_of_an_earlier_one_and_not_the_reverse(stages, tmp_path):
    files, networks = stages
    out = tmp_path / "out"
    report = import_checkpoint(files["face"], out)
    assert "lacks voice, classifier_face, can" in report.notes[-1]
    import_checkpoint(files["voice"], out)
    import_checkpoint(files["classifier"], out)
    assert same(out, "face", networks["drifted"]), "the face that the classifier reads"
    assert same(out, "voice", networks["voice"])
    report = import_checkpoint(files["can"], out)
    assert [path.stem for path in report.written] == ["face", "voice", "can"]
    assert same(out, "face", networks["last"])
    assert checkpoints.read_card(out / "classifier_face")["released"]["file"] == "head.ckpt"
    notes = import_checkpoint(files["face"], out).notes
    assert any("face: left as best.ckpt gave it" in note for note in notes)


def test_a_folder_of_imported_networks_perceives_as_they_do(stages, tmp_path):
    files, networks = stages
    out = tmp_path / "out"
    import_checkpoint(files["classifier"], out)
    import_checkpoint(files["can"], out)
    perceiver, picture = Perceiver.load(out), face(64).copy()
    perception = perceiver.perceive(picture, tone(1.0, 22_050), 0.5)
    x = torch.from_numpy(picture).permute(2, 0, 1)[None] / 255
    mel = torch.from_numpy(perceiver.encode_voice(tone(1.0, 22_050)).mel)[None, None]
    with torch.no_grad():
        face_posterior = networks["last"].encoder(x)
        voice_posterior = networks["voice"].encoder(mel)
        in_context = networks["can"](face_posterior, voice_posterior, 0.5)[0].softmax(1)[0]
        alone = networks["head"](face_posterior.mu).softmax(1)[0]
    np.testing.assert_allclose(perception.probabilities, in_context, atol=1e-6)
    np.testing.assert_allclose(perception.alone, alone, atol=1e-6)
    assert perceiver.released and perceiver.classes == CLASSES
    assert perception.perceived.shape == (64, 64, 3)


def test_one_file_of_the_context_network_is_enough_for_a_demo(stages, tmp_path, capsys):
    files, networks = stages
    out = tmp_path / "out"
    assert main(["import-checkpoint", str(files["can"]), "--out", str(out)]) == 0
    text = capsys.readouterr().out
    assert "a released can" in text and "lacks" not in text
    assert "stands in, until a classifier is imported" in text
    assert Perceiver.load(out).encode_face(face(64)).probabilities.shape == (7,)
    stand_in = checkpoints.load(out / "classifier_face", Classifier)[0]
    assert torch.equal(stand_in.linear.weight, networks["can"].classifier.weight)


def test_the_classifier_of_a_later_file_takes_the_place_of_the_stand_in(stages, tmp_path):
    files, networks = stages
    import_checkpoint(files["can"], tmp_path / "out")
    import_checkpoint(files["classifier"], tmp_path / "out")
    assert same(tmp_path / "out", "classifier_face", networks["head"], Classifier)
    assert same(tmp_path / "out", "face", networks["last"])


def test_classes_of_mead_are_brought_into_our_order(stages, tmp_path):
    files, networks = stages
    import_checkpoint(files["classifier"], tmp_path / "out", "mead_released")
    model, card = checkpoints.load(tmp_path / "out" / "classifier_face", Classifier)
    theirs = ["angry", "contempt", "disgust", "fearful", "happy", "sad", "surprised"]
    assert tuple(card["classes"]) == MEAD_CLASSES
    for row, emotion in enumerate(MEAD_CLASSES):
        assert torch.equal(
            model.linear.weight[row], networks["head"].linear.weight[theirs.index(emotion)]
        )
        assert model.linear.bias[row] == networks["head"].linear.bias[theirs.index(emotion)]


def test_what_does_not_fit_is_named_and_nothing_is_written(stages, tmp_path):
    files, _ = stages
    state = torch.load(files["can"], weights_only=True)["state_dict"]
    del state["model_imgs.encoder.mean.bias"], state["att_mu.query.weight"]
    state |= {
        HEAD + "weight": torch.zeros(8, 16),
        "att_mu.gamma": torch.zeros(1),
        "val_acc.tp": torch.zeros(7),
    }
    with pytest.raises(CheckpointError) as error:
        import_checkpoint(lightning(tmp_path / "bad.ckpt", state), tmp_path / "out")
    report = str(error.value)
    assert "face: missing 1 keys: model_imgs.encoder.mean.bias" in report
    assert "can: missing 1 keys: att_mu.query.weight" in report
    assert "can: misshapen 1 keys: classifer.classify.0.weight 8x16 instead of 7x16" in report
    assert "unexpected 1 keys: att_mu.gamma" in report and "val_acc" not in report
    assert not (tmp_path / "out").exists()


def test_of_many_keys_that_are_missing_the_first_are_named(tmp_path):
    file = lightning(tmp_path / "other.ckpt", {"resnet.weight": torch.zeros(3)})
    pattern = r"missing \d+ keys: model.encoder.main.0.weight, .*, \.\.\."
    with pytest.raises(CheckpointError, match=pattern):
        import_checkpoint(file, tmp_path / "out")


def test_strangers_are_left_out_and_the_discriminator_may_be_missing(stages, tmp_path):
    files, networks = stages
    state = torch.load(files["face"], weights_only=True)["state_dict"]
    state = {k: v for k, v in state.items() if ".discriminator." not in k} | {
        "loss.vgg.weight": torch.zeros(2)
    }
    notes = "\n".join(
        import_checkpoint(lightning(tmp_path / "part.ckpt", state), tmp_path / "out").notes
    )
    assert (
        "left out, since they belong to no network: 1 keys: loss.vgg.weight" in notes
        and "no discriminator" in notes
    )
    loaded, card = checkpoints.load(tmp_path / "out" / "face", VaeGan)
    assert card["without"] == ["discriminator"] and torch.equal(
        loaded.encoder.mean.weight, networks["face"].encoder.mean.weight
    )


def test_what_was_trained_here_is_never_overwritten(stages, tmp_path):
    checkpoints.save(tmp_path / "out" / "face", VaeGan(3, **SMALL), {})
    before = (tmp_path / "out" / "face.safetensors").read_bytes()
    with pytest.raises(CheckpointError, match="was trained here; name another folder with --out"):
        import_checkpoint(stages[0]["can"], tmp_path / "out")
    assert (tmp_path / "out" / "face.safetensors").read_bytes() == before and not (
        tmp_path / "out" / "can.json"
    ).exists()


class Trap:
    def __init__(self, target):
        self.target = str(target)

    def __reduce__(self):
        return os.mkdir, (self.target,)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_that_would_run_code_is_refused_and_runs_none(stages, tmp_path, capsys, zipped):
    target, file = tmp_path / "sprung", tmp_path / "trap.ckpt"
    content = {
        "state_dict": {"model.encoder.mean.bias": torch.zeros(2)},
        "hyper_parameters": {"x": Trap(target)},
    }
    torch.save(content, file) if zipped else file.write_bytes(pickle.dumps(Trap(target), 2))
    assert main(["import-checkpoint", str(file), "--out", str(tmp_path / "out")]) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "trap.ckpt" in err and "none is run" in err and "mkdir" in err
    assert not target.exists() and not (tmp_path / "out").exists()
    pickle.loads(pickle.dumps(Trap(target)))
    assert target.exists(), "the trap itself works"


class Pickled:
    """Pickled as ``kind(*parts)``, whatever system it was made on."""

    def __init__(self, kind, *parts):
        self.reduced = kind, parts

    def __reduce__(self):
        return self.reduced


@pytest.mark.parametrize("home", ["pathlib", "pathlib._local"])  # as Python 3.13 names it
@pytest.mark.parametrize(
    "kind, parts", [("WindowsPath", ("C:\\", "data")), ("PosixPath", ("/", "data"))]
)
def test_settings_that_hold_values_only_are_no_obstacle(
    stages, tmp_path, monkeypatch, home, kind, parts
):
    state = torch.load(stages[0]["face"], weights_only=True)["state_dict"]
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, home, pathlib)
        patch.setattr(getattr(pathlib, kind), "__module__", home)
        settings = argparse.Namespace(lr=3e-4, where=Pickled(getattr(pathlib, kind), *parts))
        file = lightning(tmp_path / "a.ckpt", state, hyper_parameters=settings)
    assert f"{home}\n{kind}".encode() in zipfile.ZipFile(file).read("a/data.pkl")
    assert import_checkpoint(file, tmp_path / "out").kind == "vaegan"


@pytest.mark.parametrize(
    "content, fault",
    [
        (b"", "not a checkpoint"),
        (b"PK\x03\x04 torn", "not a checkpoint"),
        (b"hello", "a file of tensors|not a checkpoint"),
        (None, "no such file"),
    ],
)
def test_no_checkpoint_at_all_is_one_line(tmp_path, content, fault):
    if content is not None:
        (tmp_path / "x.ckpt").write_bytes(content)
    with pytest.raises(CheckpointError, match=fault) as error:
        import_checkpoint(tmp_path / "x.ckpt", tmp_path / "out")
    assert "\n" not in str(error.value)


def test_a_torn_file_is_one_line(stages, tmp_path):
    data = stages[0]["face"].read_bytes()
    (tmp_path / "x.ckpt").write_bytes(data[: len(data) // 2])
    with pytest.raises(CheckpointError, match="x.ckpt: not a checkpoint, or cut short"):
        import_checkpoint(tmp_path / "x.ckpt", tmp_path / "out")


@pytest.mark.parametrize("name, seed, channels", [("face", 2024, 3), ("voice", 2025, 1)])
def test_imported_networks_reproduce_the_oracle(tmp_path, name, seed, channels):
    state, g = released_state(seed, voice=channels == 1)
    if channels == 1:  # as large as the face's: left out, which is quicker
        state = {k: v for k, v in state.items() if not k.startswith("discriminator.")}
    file = lightning(tmp_path / "best.ckpt", {f"model.{k}": v for k, v in state.items()})
    import_checkpoint(file, tmp_path / "out")
    model = checkpoints.load(tmp_path / "out" / name, VaeGan)[0]
    x, oracle = (
        torch.rand(2, channels, 128, 128, generator=g),
        np.load(ORACLE / f"released_parity_{name}.npz"),
    )
    with torch.no_grad():
        reconstruction, posterior = model(x)
        assert_close(posterior.mu, oracle["mu"])
        assert_close(posterior.logvar, oracle["logvar"])
        assert_close(reconstruction, oracle["recon"])
        if channels == 3:
            features, logit = model.discriminator(x, level=2)
            assert_close(features.flatten(1)[:, :4096], oracle["features"])
            assert_close(torch.sigmoid(logit), oracle["realness"])


def test_imported_attention_reproduces_the_oracle_and_a_run_of_the_paper_finds_it(
    tmp_path, monkeypatch
):
    oracle = np.load(ORACLE / "released_parity_attention.npz")
    weights, face, voice = released_attention()
    tiny = dict(size=32, latent=512, width=0.0625)
    state = {
        f"{part}.{k}": v for part in ("att_mu", "att_logvar") for k, v in weights.items()
    } | under(HEAD, nn.Linear(512, 7))
    state |= under("model_imgs.", VaeGan(3, **tiny)) | under("model_audio.", VaeGan(1, **tiny))
    out = tmp_path / "checkpoints" / "ravdess_released-paper"
    import_checkpoint(lightning(tmp_path / "best.ckpt", state), out)
    can = checkpoints.load(out / "can", Can)[0]
    for strength, key in ((1.0, "shifted_t1"), (0.5, "shifted_t05")):
        assert_close(can.shift(face, voice, strength).mu, oracle[key])
    monkeypatch.setattr(files_room, "ROOT", tmp_path)
    run = Run("ravdess_released", "paper", fold=0)
    assert all(run.find(name) == out / name for name in ("face", "voice", "classifier_face", "can"))
    assert Run("ravdess_released", "paper", fold=1).find("can") is None


def test_an_imported_network_is_evaluated_on_the_authors_split(
    stages,
    ravdess,  # noqa: F811
    tmp_path,
    monkeypatch,
):
    files, networks = stages
    monkeypatch.setenv("CM_DATA", str(ravdess.parent))
    monkeypatch.setenv("CM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(files_room, "ROOT", tmp_path)
    small = dataclasses.replace(
        config.PROFILES["paper"], data=config.DataConfig(image_size=64, frames_per_clip=2)
    )
    monkeypatch.setitem(config.PROFILES, "paper", small)
    import_checkpoint(files["can"], tmp_path / "checkpoints" / "ravdess_released-paper")
    run = Run("ravdess_released", "paper", fold=0)
    rows = run.frames_of(run.split.test)
    got = run.log_probabilities("can", rows)
    x = torch.from_numpy(run.store.frames[rows]).permute(0, 3, 1, 2) / 255
    mels = torch.from_numpy(run.store.mels[run.frame_clip[rows]]).float()[:, None]
    with torch.no_grad():
        wanted = networks["can"](networks["last"].encoder(x), networks["voice"].encoder(mels))[
            0
        ].log_softmax(1)
    np.testing.assert_allclose(got, wanted, atol=1e-5)
    assert len(rows) == 8 and 0 <= run.scores(got, rows)["clip_accuracy"]["value"] <= 1
