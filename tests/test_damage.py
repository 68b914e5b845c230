"""Damaged files are seen before they are used, and what can be made again is made again."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT, write_toy_corpus
from two_devices import SETTINGS

from cmlib import checkpoints, files
from cmlib.arrays import open_or_set_aside
from cmlib.checkpoints import CheckpointError
from cmlib.cli import main
from cmlib.config import get_profile
from cmlib.corpora import crowd
from cmlib.damage import fault_of_noted
from cmlib.evaluation import judges
from cmlib.experiment.run import MODELS, Run
from cmlib.models import Classifier, VaeGan
from cmlib.preparation.prepare import prepare
from cmlib.preparation.store import Store
from cmlib.training import batches, loop, vaegan

SMOKE = get_profile("smoke")


def truncated(content: bytes) -> bytes:
    return content[: len(content) * 2 // 3]


def flipped(content: bytes) -> bytes:
    """Eight bytes in the second half are other ones: there are numbers, not the header."""
    changed = bytearray(content)
    for position in range(len(content) // 2, len(content) // 2 + 8):
        changed[position] ^= 0xFF
    return bytes(changed)


def emptied(content: bytes) -> bytes:
    return b""


def random_bytes(content: bytes) -> bytes:
    return np.random.default_rng(0).bytes(len(content))


DAMAGES = [truncated, flipped, emptied, random_bytes]


@pytest.fixture(params=DAMAGES, ids=lambda damage: damage.__name__)
def damage(request):
    """Damages a file."""

    def spoil(path):
        path.write_bytes(request.param(path.read_bytes()))

    return spoil


def the_line(capsys, path) -> str:
    """The one line on stderr that names the file, says that it is set aside, and no more."""
    (line,) = capsys.readouterr().err.splitlines()
    assert str(path) in line and "damaged (" in line and ".bad" in line
    assert "weights_only" not in line
    return line


# -------------------------------------------------------------------- networks


@pytest.fixture(scope="module")
def trained(toy_project) -> Run:
    """A run of profile smoke with all its networks and latents."""
    run = Run("actors", "smoke")
    for name in MODELS:
        run.classifying_network(name)
    return run


@pytest.fixture
def copied(trained, tmp_path) -> Run:
    """The same in a folder of its own, to be damaged."""
    shutil.copytree(trained.folder, tmp_path / "run")
    return Run("actors", "smoke", out_dir=str(tmp_path / "run"))


@pytest.mark.parametrize("suffix", [".safetensors", ".json"])
@pytest.mark.parametrize("name", ["classifier_face", "can_released"])
def test_a_network_is_trained_again(copied, name, suffix, damage, capsys):
    whole = checkpoints.load(copied.path(name))[0].state_dict()
    path = copied.path(name).with_suffix(suffix)
    damage(path)
    assert copied.find(name) is None
    the_line(capsys, copied.path(name))
    assert path.with_name(path.name + ".bad").exists()
    copied.classifying_network(name.removeprefix("classifier_"))
    again = checkpoints.load(copied.find(name))[0].state_dict()
    assert all(torch.equal(again[key], whole[key]) for key in whole)


def test_a_card_of_an_earlier_version_is_used_and_its_weights_must_have_the_right_length(copied):
    card_file = copied.path("can").with_suffix(".json")
    card = json.loads(card_file.read_text())
    del card["sha256"]
    card_file.write_text(json.dumps(card))
    assert copied.find("can") == copied.path("can")
    weights = copied.path("can").with_suffix(".safetensors")
    weights.write_bytes(weights.read_bytes()[:-4])
    assert copied.find("can") is None


def test_a_shipped_network_is_named_with_the_command_that_restores_it(
    tmp_path, monkeypatch, damage
):
    monkeypatch.setattr(files, "ROOT", tmp_path)
    path = tmp_path / "checkpoints" / "crowd-64" / "face"
    weights = checkpoints.save(path, Classifier(20), {})
    damage(weights)
    with pytest.raises(CheckpointError) as error:
        checkpoints.load(path)
    message = str(error.value)
    assert str(weights) in message and "\n" not in message
    assert message.endswith("git checkout -- checkpoints/crowd-64/face.safetensors")
    assert weights.exists(), "what cannot be made again stays where it is"


def test_every_shipped_network_has_the_checksum_of_its_weights():
    cards = list((ROOT / "checkpoints").rglob("*.safetensors"))
    assert len(cards) > 20
    for weights in cards:
        card = checkpoints.read_card(weights)
        remedy = "python -m tools.ship --checksums"
        assert card.get("sha256") == files.checksum(weights), f"{weights}: {remedy}"


def test_evaluation_ends_with_status_1_where_a_shipped_network_is_damaged(
    trained, tmp_path, monkeypatch, capsys
):
    home = tmp_path / "home"
    shutil.copytree(trained.folder / "checkpoints", home / "checkpoints" / "actors-smoke")
    (home / "runs").mkdir()
    monkeypatch.setattr(files, "ROOT", home)
    can = home / "checkpoints" / "actors-smoke" / "can.safetensors"
    can.write_bytes(random_bytes(can.read_bytes()))
    assert main(["evaluate", "--profile", "smoke"]) == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert str(can) in line and "git checkout" in line


# -------------------------------------------------------------------- arrays


@pytest.mark.parametrize("source", ["face", "voice"])
def test_latents_are_encoded_again(copied, source, damage, capsys):
    name = f"{source}_latents"
    whole = [x.clone() for x in getattr(copied, name)]
    (path,) = (copied.folder / "latents").glob(f"{source}-*.npy")
    damage(path)
    again = Run("actors", "smoke", out_dir=copied.out_dir)
    latents = getattr(again, name)
    assert all(torch.equal(x, y) for x, y in zip(latents, whole, strict=True))
    the_line(capsys, path)
    assert fault_of_noted(path) == ""


@pytest.fixture(scope="module")
def four_clips(tmp_path_factory, good_clip) -> Path:
    """A RAVDESS tree of four clips, and beside it the folder "cache" where it is prepared."""
    home = tmp_path_factory.mktemp("four")
    root = write_toy_corpus(home / "corpus", good_clip, ("03-01-01",))
    prepare("actors", SMOKE, root, home / "cache", workers=1)
    return root


@pytest.fixture
def prepare_again(four_clips, tmp_path):
    """Prepares the four clips in a copy of their cache, to be damaged."""
    cache = tmp_path / "cache"
    shutil.copytree(four_clips.parent / "cache", cache)
    return lambda: prepare("actors", SMOKE, four_clips, cache, workers=1)


@pytest.mark.parametrize("name", ["frames.npy", "mels.npy", "frame_clip.npy", "clips.csv"])
def test_a_prepared_corpus_is_prepared_again(prepare_again, name, damage, capsys):
    folder = prepare_again().folder
    whole = (folder / name).read_bytes()
    damage(folder / name)
    again = prepare_again()
    assert again.folder == folder and (folder / name).read_bytes() == whole
    assert name in the_line(capsys, folder)
    assert folder.with_name(folder.name + ".bad").is_dir()


def test_the_card_of_a_prepared_corpus_is_made_again(prepare_again, damage, capsys):
    folder = prepare_again().folder
    damage(folder / "card.json")
    prepare_again()
    the_line(capsys, folder)
    assert Store.open(folder).verify() == []


def test_a_large_array_is_read_only_if_it_is_newer_than_the_card(prepare_again, monkeypatch):
    folder = prepare_again().folder
    monkeypatch.setattr("cmlib.damage.ALWAYS_COMPARED", 0)
    compared = []
    real = files.known_checksum
    monkeypatch.setattr(files, "known_checksum", lambda path: compared.append(path) or real(path))
    assert Store.open(folder).fault() == "" and compared == []
    os.utime(folder / "card.json", (100, 100))
    os.utime(folder / "frames.npy", (0, 0))
    for name in ("clips.csv", "skipped.csv", "frame_clip.npy"):
        os.utime(folder / name, (0, 0))
    assert Store.open(folder).fault() == "" and compared == [folder / "mels.npy"]
    assert Store.open(folder).fault() == "" and len(compared) == 1
    frames = folder / "frames.npy"
    frames.write_bytes(flipped(frames.read_bytes()))
    assert Store.open(folder).fault() == "frames.npy changed since it was written"


def test_the_crowd_is_decoded_again(toy_project, tmp_path, monkeypatch, damage, capsys):
    monkeypatch.setenv("CM_CACHE", str(tmp_path))
    whole = np.array(crowd.load(32, 20, crowd.folder()))
    (path,) = tmp_path.glob("crowd-32-*.npy")
    damage(path)
    assert np.array_equal(crowd.load(32, 20, crowd.folder()), whole)
    the_line(capsys, path)


def test_a_judge_is_trained_again(tmp_path, monkeypatch, damage, capsys):
    monkeypatch.setenv("CM_CACHE", str(tmp_path))
    pictures = batches.Pictures(
        np.random.default_rng(0).integers(0, 255, (12, 32, 32, 3), np.uint8)
    )
    rows, labels = np.arange(12), np.arange(12) % 3
    whole = judges.train_judge(pictures, rows, labels, epochs=1).state_dict()
    (path,) = (tmp_path / "judges").glob("*.safetensors")
    damage(path)
    again = judges.train_judge(pictures, rows, labels, epochs=1).state_dict()
    assert all(torch.equal(again[key], whole[key]) for key in whole)
    the_line(capsys, path)


# -------------------------------------------------------------------- the state of a training


def train(state: Path) -> tuple[VaeGan, int]:
    """A network of random pictures, and its epochs."""
    rng = np.random.default_rng(0)
    pictures = batches.Pictures(rng.integers(0, 256, size=(44, 32, 32, 3), dtype=np.uint8))
    data = batches.TrainingData(pictures, np.arange(33), np.arange(33, 44), np.arange(44) % 3)
    fabric = loop.launch("32-true")
    model, history = vaegan.train_vaegan(data, SETTINGS, fabric=fabric, state=state)
    return model, len(history)


@pytest.fixture(scope="module")
def whole_training(tmp_path_factory) -> tuple[Path, VaeGan, int]:
    """The state of a training that has ended, and what it gave."""
    state = tmp_path_factory.mktemp("training") / "face.state.pt"
    return state, *train(state)


def test_a_damaged_state_starts_the_training_anew(whole_training, tmp_path, damage, capsys):
    whole_state, whole, epochs = whole_training
    state = Path(shutil.copy(whole_state, tmp_path))
    damage(state)
    again, epochs_again = train(state)
    assert epochs == epochs_again == SETTINGS.epochs
    for before, after in zip(whole.parameters(), again.parameters(), strict=True):
        assert torch.equal(before, after)
    assert the_line(capsys, state).endswith("the training starts anew")


def test_the_state_of_another_network_is_named(tmp_path):
    model = Classifier(8)
    optimiser = torch.optim.Adam(model.parameters())
    loop.save_state(tmp_path / "a.pt", [model], [optimiser], [], None)
    other = Classifier(9)
    with pytest.raises(loop.TrainingError, match="a.pt: of another training .*remove it"):
        loop.load_state(tmp_path / "a.pt", [other], [torch.optim.Adam(other.parameters())])


def test_what_cannot_be_renamed_is_named(tmp_path, monkeypatch):
    path = tmp_path / "array.npy"
    path.write_bytes(b"")

    def refuse(*paths):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(files.PlaceError, match="array.npy: damaged .*cannot be renamed.*remove it"):
        open_or_set_aside(path)
