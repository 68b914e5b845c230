"""Every stage computes on the device, stays there, and waits for it no more than it must."""

import numpy as np
import pandas as pd
import pytest
import torch
from lightning_fabric import Fabric
from mock_device import DEVICE, MockDevice, OnDevice

from cmlib import strangeness
from cmlib.config import CanConfig, ClassifierConfig
from cmlib.evaluation import ablations, judges, observers, recognisers, representations
from cmlib.experiment.run import Run
from cmlib.models import Can, Classifier, Posterior, VaeGan
from cmlib.models.observers import ObserverNetwork
from cmlib.preparation.store import Store
from cmlib.training import batches, encoding, latents, loop, vaegan
from cmlib.training.batches import Pictures
from cmlib.training.can import train_can
from cmlib.training.classifier import train_classifier

SIZE, LATENT, VOICE_LATENT, CLASSES = 32, 8, 6, 7
FRAMES, CLIPS = 120, 24


@pytest.fixture
def device(monkeypatch):
    """The mock device, which the stages take for the best one."""
    mock = MockDevice()
    move = batches._moved

    def moved(item, target):
        with MockDevice(mock):  # the mode of one thread is not that of another
            return move(item, target)

    monkeypatch.setattr(batches, "_moved", moved)
    monkeypatch.setenv("CM_DEVICE", DEVICE.type)
    with mock:
        yield mock


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def posterior(*shape, seed=0):
    return Posterior(noise(*shape, seed=seed), noise(*shape, seed=seed + 1) - 2)


def is_back(model) -> bool:
    """Whether all that a network holds is on the CPU again."""
    return not any(isinstance(x, OnDevice) for x in model.state_dict().values())


class SmallRun(Run):
    """A run of random pictures and latents with untrained networks, of which nothing is on disk."""

    def vaegan(self, kind, *arguments, **options):
        return self.__dict__["networks"][kind]

    def classifier(self, name="face", *arguments, **options):
        return self.__dict__["networks"][f"classifier_{name}"]

    def can(self, name="can", *arguments, **options):
        return self.__dict__["networks"][name]


@pytest.fixture
def run(tmp_path):
    torch.manual_seed(0)
    run = SmallRun("actors", "smoke", out_dir=str(tmp_path))
    clips = pd.DataFrame(
        {
            "actor": np.arange(CLIPS) % 4,
            "emotion": [("neutral", *run.classes)[i // 4 % 4] for i in range(CLIPS)],
            "first_frame": np.arange(CLIPS) * (FRAMES // CLIPS),
            "n_frames": FRAMES // CLIPS,
            "sound": [str(i) for i in range(CLIPS)],
            "file": [str(i) for i in range(CLIPS)],
        }
    )
    pictures = np.random.default_rng(0).integers(0, 256, (FRAMES, SIZE, SIZE, 3), np.uint8)
    store = Store(tmp_path)
    store.__dict__.update(
        clips=clips,
        frames=pictures,
        frame_clip=np.repeat(np.arange(CLIPS, dtype=np.int32), FRAMES // CLIPS),
        card={"frames": FRAMES, "key": "0"},
    )
    can = Can(LATENT, CLASSES, voice_latent=VOICE_LATENT, normalise=True)
    fused = {"face": LATENT, "voice": VOICE_LATENT, "concatenation": LATENT + VOICE_LATENT}
    run.__dict__.update(
        store=store,
        faces=Pictures(pictures),
        face_latents=posterior(2, FRAMES, LATENT),
        voice_latents=posterior(CLIPS, VOICE_LATENT, seed=5),
        networks={
            "face": VaeGan(3, SIZE, LATENT, 0.0625).eval().requires_grad_(False),
            "can": can.eval().requires_grad_(False),
            **{f"classifier_{name}": Classifier(size).eval() for name, size in fused.items()},
        },
    )
    return run


# -------------------------------------------------------------------- the mock device itself


def test_the_mock_device_behaves_as_a_gpu(device):
    x = noise(3, 4)
    there = x.to(DEVICE)
    assert isinstance(there, OnDevice) and device.waits == 0
    with pytest.raises(RuntimeError, match="two devices"):
        there + x
    with pytest.raises((RuntimeError, TypeError, NotImplementedError)):
        there.numpy()
    product = there @ there.T
    before = device.waits
    torch.testing.assert_close(product.cpu(), x @ x.T)
    assert device.waits == before + 1
    float(there.sum())
    assert device.waits == before + 2


# -------------------------------------------------------------------- training


def test_a_classifier_learns_on_the_device(device):
    labels = np.arange(400) % 5
    material, settings = posterior(2, 400, 9), ClassifierConfig(epochs=2, batch=8)
    there, history = train_classifier(material, labels, settings, classes=5, device=DEVICE)
    steps = 2 * 50
    assert is_back(there) and device.waits < steps / 4
    here, expected = train_classifier(material, labels, settings, classes=5)
    for name, value in here.state_dict().items():
        torch.testing.assert_close(there.state_dict()[name], value, rtol=1e-5, atol=1e-6)
    pd.testing.assert_frame_equal(history, expected, rtol=1e-5)


@pytest.mark.parametrize("attention", ["softmax", "linear"])
def test_context_attention_learns_on_the_device(device, attention):
    labels, people = np.arange(400) % 6 - 1, np.arange(400) // 6 % 10
    settings = CanConfig(
        epochs=2,
        batch=8,
        normalise=True,
        directions=3,
        attention=attention,
        pairing="emotion",
        neutral=0.2,
        voice_noise=0.3,
        person_weight=0.1,
        distill_weight=0.1,
        imagined=20,
    )
    face, voice = posterior(2, 400, 9), posterior(400, 7, seed=9)
    material = face, voice, labels, settings
    options = {"people": people, "classes": 5, "teacher": Classifier(16, 5)}
    there, history = train_can(*material, **options, device=DEVICE)
    assert is_back(there) and is_back(options["teacher"])
    # Of the 84 steps 32 are read together; at the end, weights and their gradients come back.
    assert device.waits <= 2 * 2 + 2 * len(there.state_dict()) < 84
    here, expected = train_can(*material, **options)
    for name, value in here.state_dict().items():
        torch.testing.assert_close(
            there.state_dict()[name], value, rtol=1e-3, atol=1e-4, msg=lambda m, n=name: f"{n}: {m}"
        )
    pd.testing.assert_frame_equal(history, expected, rtol=1e-3)


def test_a_term_that_is_not_finite_is_found_on_the_device_too(device):
    means = loop.RunningMeans("epoch 3")
    means.add({"kl": torch.tensor(1.0).to(DEVICE)}, 4)
    means.add({"kl": torch.tensor(torch.nan).to(DEVICE)}, 4)
    assert device.waits == 0
    with pytest.raises(loop.TrainingError, match="epoch 3: the term 'kl' is nan"):
        means.read()


def test_a_reconstruction_error_is_measured_on_the_device(device, run):
    fabric = Fabric(accelerator="cpu", devices=1)
    network, rows = run.vaegan("face"), np.arange(FRAMES)
    expected = vaegan.reconstruction_error(network, run.faces, rows, fabric, batch=8)

    class Elsewhere:
        """That fabric, on the mock device."""

        device = DEVICE
        world_size, global_rank = 1, 0
        autocast = fabric.autocast

    before = device.waits
    error = vaegan.reconstruction_error(network, run.faces, rows, Elsewhere(), batch=8)
    assert error == pytest.approx(expected, rel=1e-6) and is_back(network)
    assert device.waits - before < 3 + len(network.state_dict()), "once for each batch"


# -------------------------------------------------------------------- encoding and evaluation


@pytest.mark.parametrize("shared", [False, True])
def test_pictures_are_encoded_on_the_device(device, run, tmp_path, shared):
    rows = np.arange(0, FRAMES, 2)
    places = np.arange(len(rows))[::-1] // 2 if shared else np.arange(len(rows))
    path, network = tmp_path / "latents.npy", run.vaegan("face")
    encoding.encode_to_file(
        path, network, run.faces, rows, places, flips=True, batch=16, device=DEVICE
    )
    stored = torch.from_numpy(np.load(path))
    expected = encoding.encode(network, run.faces, rows, flips=True, batch=16)
    assert stored.shape == (2, 2, len(places), LATENT) and is_back(network)
    for part, values in zip(stored, expected, strict=True):
        assert torch.equal(part, values[:, places])
    assert [file.name for file in tmp_path.iterdir()] == ["latents.npy"]


@pytest.mark.parametrize("name", ["face", "voice", "concatenation", "can"])
def test_predictions_come_from_the_device(device, run, monkeypatch, name):
    rows = np.arange(0, FRAMES, 3)
    there = run.log_probabilities(name, rows)
    assert is_back(run.classifying_network(name))
    monkeypatch.setenv("CM_DEVICE", "cpu")
    np.testing.assert_allclose(there, run.log_probabilities(name, rows), rtol=1e-4, atol=1e-5)


def test_representations_are_measured_on_the_device(device, run, monkeypatch):
    judge = judges.CnnJudge(CLASSES, width=4).eval().requires_grad_(False)
    clips = np.flatnonzero(run.clip_labels >= 0)
    pairs = representations.FaceVoicePairs(np.arange(len(clips)) * 3, clips)
    there = representations.measure(run, run.can(), pairs, judge, strengths=(0.0, 1.0))
    assert is_back(judge) and is_back(run.can()) and is_back(run.vaegan("face"))
    monkeypatch.setenv("CM_DEVICE", "cpu")
    here = representations.measure(run, run.can(), pairs, judge, strengths=(0.0, 1.0))
    pd.testing.assert_frame_equal(there, here, rtol=1e-4)


def face_api_weights() -> dict[str, torch.Tensor]:
    """Random weights of face-api's network of expressions, by their names."""
    weights, channels = {}, 3
    for block, wide in enumerate((32, 64, 128, 256)):
        for layer in range(4):
            name = f"dense{block}/conv{layer}"
            if (block, layer) == (0, 0):
                weights[f"{name}/filters"] = noise(wide, channels, 3, 3) / 9
            else:
                weights[f"{name}/depthwise_filter"] = noise(channels, 1, 3, 3) / 9
                weights[f"{name}/pointwise_filter"] = noise(wide, channels, 1, 1) / channels
            weights[f"{name}/bias"] = noise(wide) / 9
            channels = wide
    return weights | {"fc/weights": noise(256, 7) / 256, "fc/bias": noise(7)}


def face_identity_weights() -> dict[str, torch.Tensor]:
    """Random weights of its network of identities."""
    weights, channels = {}, 3
    shapes = {"conv32_down": (32, 3, 7)}
    channels = 32
    for block in recognisers.FaceIdentity.BLOCKS:
        wide = int(block.split("_")[0])
        shapes[f"conv{block}/conv1"] = (wide, channels, 3)
        shapes[f"conv{block}/conv2"] = (wide, wide, 3)
        channels = wide
    for name, (outputs, inputs, side) in shapes.items():
        weights[f"{name}/conv/filters"] = noise(outputs, inputs, side, side) / (side * inputs)
        for part in ("conv/bias", "scale/weights", "scale/biases"):
            weights[f"{name}/{part}"] = noise(outputs)
    return weights | {"fc": noise(256, 128)}


@pytest.mark.parametrize("kind", ["observers", "expressions", "identities"])
def test_judges_of_people_answer_from_the_device(device, monkeypatch, kind):
    pictures = noise(3, 3, 64, 64).sigmoid()
    torch.manual_seed(0)
    network = ObserverNetwork(members=2).eval().requires_grad_(False)
    weights = {
        recognisers.EXPRESSION: face_api_weights,
        recognisers.IDENTITY: face_identity_weights,
    }
    monkeypatch.setattr(recognisers, "read_weights", lambda name, folder: weights[name]())

    def answer():
        if kind == "observers":
            return observers.Observers([network]).probabilities(pictures)
        if kind == "expressions":
            return recognisers.FaceApi(("happy", "sad")).probabilities(pictures)
        return recognisers.FaceIdentity()(pictures).numpy()

    before = device.waits
    there = answer()
    assert device.waits > before and is_back(network)
    monkeypatch.setenv("CM_DEVICE", "cpu")
    before = device.waits
    np.testing.assert_allclose(there, answer(), rtol=1e-4, atol=1e-5)
    assert device.waits == before


def test_ablations_are_measured_on_the_device(device, run, monkeypatch):
    there = ablations._measure(run, run.can(), 1.0)
    assert is_back(run.can())
    monkeypatch.setenv("CM_DEVICE", "cpu")
    assert there == pytest.approx(ablations._measure(run, run.can(), 1.0), rel=1e-4)


def test_strangeness_is_measured_where_the_network_is(device, run):
    network, pictures = run.vaegan("face"), [noise(4, 3, SIZE, SIZE).sigmoid()]
    before = device.waits
    with loop.on_device(DEVICE, network):
        there = strangeness.measure_all(network, pictures)
    assert device.waits > before and is_back(network)
    np.testing.assert_allclose(there, strangeness.measure_all(network, pictures), rtol=1e-4)


# -------------------------------------------------------------------- blocks


def test_blocks_give_what_one_block_gives(run, monkeypatch):
    """In blocks of a few rows, as a corpus of millions of frames is read."""
    rows = np.arange(FRAMES)
    judge = judges.CnnJudge(CLASSES, width=4).eval().requires_grad_(False)
    clips = np.flatnonzero(run.clip_labels >= 0)
    pairs = representations.FaceVoicePairs(np.arange(len(clips)) * 3, clips)
    people, labels = torch.arange(FRAMES) % 4, torch.arange(FRAMES) % 5
    can = Can(LATENT, CLASSES, True, 3, voice_latent=VOICE_LATENT)
    stored = latents.Latents(latents.Part(run.face_latents))

    def everything():
        can.fit_scale(latents.Means(stored, rows, (0, 1)), noise(30, VOICE_LATENT))
        can.fit_directions(latents.Means(stored, rows), labels, people, "classifier")
        table = representations.measure(run, run.can(), pairs, judge, strengths=(0.0, 1.0))
        return {
            "predictions": run.log_probabilities("can", rows),
            "probability": table.probability.to_numpy(),
            "spread": can.face_spread.numpy().copy(),
            "basis": can.basis.abs().numpy().copy(),
        }

    whole = everything()
    from cmlib.models import moments

    monkeypatch.setattr(moments, "BLOCK_BYTES", 600)
    monkeypatch.setattr(representations, "PICTURE_BYTES", 1)
    in_blocks = everything()
    for name, values in whole.items():
        np.testing.assert_allclose(in_blocks[name], values, rtol=1e-4, atol=1e-5, err_msg=name)


def test_a_reader_that_is_stopped_early_ends_its_thread(device):
    import threading

    reader = batches.prefetched((noise(2) for _ in range(1000)), DEVICE)
    next(reader)
    reader.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("batches")]


def test_an_error_in_the_reader_is_raised_where_the_batch_is_asked_for(device):
    def broken():
        yield noise(2)
        raise OSError("the disk is gone")

    reader = batches.prefetched(broken(), DEVICE)
    next(reader)
    with pytest.raises(OSError, match="the disk is gone"):
        next(reader)
