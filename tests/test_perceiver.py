"""One face, one voice: what comes out, what is accepted, and what is said about bad input."""

import numpy as np
import pytest
import torch
from PIL import Image

from cmlib import checkpoints, faces, perceiver
from cmlib.emotions import CLASSES
from cmlib.models import Can, Classifier, VaeGan
from cmlib.perceiver import Perceiver, PerceptionError

SIZE, LATENT = 32, 8


def networks() -> dict[str, torch.nn.Module]:
    torch.manual_seed(5)
    made = {
        "face": VaeGan(3, SIZE, LATENT, 0.0625), "voice": VaeGan(1, 128, LATENT, 0.0625),
        "classifier_face": Classifier(LATENT), "can": Can(LATENT),
    }  # fmt: skip
    return {name: model.eval().requires_grad_(False) for name, model in made.items()}


@pytest.fixture(scope="module")
def eyes():
    return Perceiver(*networks().values())


@pytest.fixture
def face():
    return np.random.default_rng(1).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)


@pytest.fixture
def mel():
    return np.random.default_rng(2).random((128, 128), np.float32)


def test_a_perception_is_the_four_networks_in_a_row(eyes, face, mel):
    p = eyes.perceive(face, mel, 0.6)
    x = torch.from_numpy(face).permute(2, 0, 1)[None] / 255
    a, v = eyes.face.encoder(x), eyes.voice.encoder(torch.from_numpy(mel)[None, None])
    logits, shifted = eyes.can(a, v, 0.6)
    drawn = eyes.face.decoder(shifted.mu).clamp(0, 1)[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(p.probabilities, logits.softmax(1)[0], atol=1e-6)
    np.testing.assert_allclose(p.alone, eyes.classifier(a.mu).softmax(1)[0], atol=1e-6)
    np.testing.assert_allclose(p.perceived, drawn, atol=1e-6)
    np.testing.assert_allclose(p.difference, np.abs(drawn - p.reconstruction).mean(-1), atol=1e-6)
    assert p.label == CLASSES[p.probabilities.argmax()] and p.original.shape == p.reconstruction.shape == (
        SIZE,
        SIZE,
        3,
    )
    torch.testing.assert_close(p.shifted.mu, shifted.mu)


def test_no_context_is_the_reconstruction(eyes, face, mel):
    p = eyes.perceive(face, mel, 0)
    np.testing.assert_array_equal(p.perceived, p.reconstruction)
    assert not p.difference.any()


def test_a_drag_encodes_nothing_again(eyes, face, mel, monkeypatch):
    seen, heard = eyes.see(face), eyes.hear(mel)
    whole = eyes.perceive(face, mel, 0.3)
    for network in (eyes.face, eyes.voice):
        monkeypatch.setattr(network.encoder, "forward", None)
    np.testing.assert_array_equal(eyes.perceive(seen, heard, 0.3).perceived, whole.perceived)


def test_summary_and_merged_picture(eyes, face, mel):
    p = eyes.perceive(face, mel)
    assert p.merged().shape == (SIZE, 4 * SIZE, 3) and p.merged().dtype == np.uint8
    summary = p.summary()
    assert tuple(summary["in_context"]) == tuple(summary["face_alone"]) == CLASSES
    assert sum(summary["in_context"].values()) == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("layout", ["run/checkpoints", "run"])
def test_load_from_a_folder_gives_the_same_answer(eyes, face, mel, tmp_path, layout):
    for name, model in networks().items():
        checkpoints.save(tmp_path / layout / name, model, {})
    loaded = Perceiver.load(tmp_path / "run")
    np.testing.assert_allclose(loaded.perceive(face, mel).perceived, eyes.perceive(face, mel).perceived, atol=1e-6)


def test_load_by_name_takes_the_best_profile(face, mel, tmp_path, monkeypatch):
    monkeypatch.setattr(perceiver, "ROOT", tmp_path)
    for profile in ("smoke", "quick"):
        for name, model in networks().items():
            checkpoints.save(tmp_path / "checkpoints" / f"crew-{profile}" / name, model, {})
    (tmp_path / "checkpoints" / "crew-smoke" / "can.safetensors").write_bytes(b"never read")
    assert Perceiver.load("crew").size == SIZE
    with pytest.raises(checkpoints.CheckpointError, match="nobody: found no folder with face.safetensors"):
        Perceiver.load("nobody")


def test_any_picture_is_cropped_and_says_so(eyes, tmp_path, monkeypatch):
    report = type("Report", (), {"found_rate": 1.0})
    monkeypatch.setattr(faces, "crop_faces", lambda frames, size: (frames[:, :size, :size], report))
    photo = Image.new("RGB", (90, 60), (200, 150, 120))
    photo.save(path := tmp_path / "me.png")
    for face in (path, str(path), photo, np.asarray(photo)):
        seen = eyes.see(face)
        assert seen.picture.shape == (SIZE, SIZE, 3) and "face found" in seen.notes[0]
    report.found_rate = 0.0
    assert "no face found" in eyes.see(photo).notes[0]


def test_any_sound_is_heard(eyes, tmp_path):
    from scipy.io import wavfile

    sound = (0.2 * np.sin(np.arange(88_200) / 20)).astype(np.float32)
    wavfile.write(path := tmp_path / "hello.wav", 44_100, np.stack([sound, sound], 1))
    np.testing.assert_allclose(eyes.hear(path).mel, eyes.hear(sound, 44_100).mel, atol=1e-3)
    assert eyes.hear(sound, 44_100).notes == ()
    assert "only the middle 3.8 s" in eyes.hear(np.tile(sound, 3), 44_100).notes[0]


def test_silence_is_said_and_gives_numbers(eyes, face):
    p = eyes.perceive(face, np.zeros(30_000, np.float32))
    assert "silent" in p.notes[0] and np.isfinite(p.probabilities).all() and np.isfinite(p.perceived).all()


@pytest.mark.parametrize(
    "face, message",
    [
        (np.zeros((SIZE, SIZE, 3), np.float32), r"wanted an RGB array \(H, W, 3\) of uint8, got float32"),
        (np.zeros((SIZE, SIZE), np.uint8), "wanted an RGB array"),
        (7, "got int"),
    ],
)
def test_what_is_no_picture(eyes, face, message):
    with pytest.raises(PerceptionError, match=message):
        eyes.see(face)


@pytest.mark.parametrize("content", [b"", b"these are words", b"\x89PNG\r\n\x1a\n cut short"])
def test_a_broken_picture_is_one_line(eyes, tmp_path, content):
    (path := tmp_path / "face.png").write_bytes(content)
    with pytest.raises(PerceptionError, match="face.png: not a readable picture") as error:
        eyes.see(path)
    assert "\n" not in str(error.value)


def test_what_is_no_voice(eyes):
    with pytest.raises(PerceptionError, match=r"0.05 s of sound is too short; use at least 0.3 s"):
        eyes.hear(np.zeros(1102, np.float32), 22_050)
    with pytest.raises(PerceptionError, match="wanted a waveform"):
        eyes.hear(np.zeros((2, 22_050), np.float32))
