"""One face, one voice: what comes out, what is accepted, and what is said about bad input."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import face as drawn_face
from PIL import Image

from cmlib import checkpoints, files
from cmlib.cli import main
from cmlib.corpora.names import CLASSES
from cmlib.models import Can, Classifier, VaeGan
from cmlib.perceiver import Perceiver
from cmlib.preparation import inputs, tracking
from cmlib.preparation.inputs import InputError

SIZE, LATENT = 32, 8


def networks() -> dict[str, torch.nn.Module]:
    torch.manual_seed(5)
    models = {
        "face": VaeGan(3, SIZE, LATENT, 0.0625),
        "voice": VaeGan(1, 128, LATENT, 0.0625),
        "classifier_face": Classifier(LATENT),
        "can": Can(LATENT),
    }
    return {name: model.eval().requires_grad_(False) for name, model in models.items()}


@pytest.fixture(scope="module")
def perceiver():
    return Perceiver(*networks().values())


@pytest.fixture
def face():
    return np.random.default_rng(1).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)


@pytest.fixture
def mel():
    return np.random.default_rng(2).random((128, 128), np.float32)


def test_inference_needs_no_training():
    """Whoever uses trained networks loads neither the experiment nor Lightning."""
    code = "import cmlib.perceiver, sys; print(*sys.modules)"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    modules = process.stdout.split()
    assert "cmlib.perceiver" in modules, process.stderr
    unwanted = ("cmlib.experiment", "cmlib.training", "cmlib.evaluation", "cmlib.plots")
    unwanted += ("lightning_fabric",)
    assert not [name for name in modules if name.startswith(unwanted)]


def test_a_perception_is_the_four_networks_in_a_row(perceiver, face, mel):
    p = perceiver.perceive(face, mel, 0.6)
    x = torch.from_numpy(face).permute(2, 0, 1)[None] / 255
    a, v = perceiver.face.encoder(x), perceiver.voice.encoder(torch.from_numpy(mel)[None, None])
    logits, shifted = perceiver.can(a, v, 0.6)
    drawn = perceiver.face.decoder(shifted.mu).clamp(0, 1)[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(p.probabilities, logits.softmax(1)[0], atol=1e-6)
    np.testing.assert_allclose(p.alone, perceiver.classifier(a.mu).softmax(1)[0], atol=1e-6)
    np.testing.assert_allclose(p.perceived, drawn, atol=1e-6)
    np.testing.assert_allclose(p.difference, np.abs(drawn - p.reconstruction).mean(-1), atol=1e-6)
    assert p.label == CLASSES[p.probabilities.argmax()]
    assert p.original.shape == p.reconstruction.shape == (SIZE, SIZE, 3)
    torch.testing.assert_close(p.shifted.mu, shifted.mu)


def test_no_context_is_the_reconstruction(perceiver, face, mel):
    p = perceiver.perceive(face, mel, 0)
    np.testing.assert_array_equal(p.perceived, p.reconstruction)
    assert not p.difference.any()


def test_another_strength_encodes_nothing_again(perceiver, face, mel, monkeypatch):
    encoded_face, encoded_voice = perceiver.encode_face(face), perceiver.encode_voice(mel)
    from_arrays = perceiver.perceive(face, mel, 0.3)
    for network in (perceiver.face, perceiver.voice):
        monkeypatch.setattr(network.encoder, "forward", None)
    from_encoded = perceiver.perceive(encoded_face, encoded_voice, 0.3)
    np.testing.assert_array_equal(from_encoded.perceived, from_arrays.perceived)


def test_the_merged_picture_shows_all_three_with_captions(perceiver, face, mel):
    p = perceiver.perceive(face, mel)
    sheet = np.asarray(p.merged(64)).astype(float)
    assert sheet.shape[1] == 3 * 64 + 4 * 2 and sheet.shape[0] > 66
    for i, picture in enumerate((p.original, p.reconstruction, p.perceived)):
        pixels = sheet[2:66, 2 + i * 66 : 66 + i * 66] / 255
        difference = pixels.mean((0, 1)) - picture.clip(0, 1).mean((0, 1))
        assert np.abs(difference).max() < 0.02
    assert (sheet[68:] < 128).any(), "captions below"


def test_the_summary_has_both_probabilities_by_class(perceiver, face, mel):
    summary = perceiver.perceive(face, mel).summary()
    assert tuple(summary["in_context"]) == tuple(summary["face_alone"]) == CLASSES
    assert sum(summary["in_context"].values()) == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("layout", ["run/checkpoints", "run"])
def test_load_from_a_folder_gives_the_same_answer(perceiver, face, mel, tmp_path, layout):
    for name, model in networks().items():
        checkpoints.save(tmp_path / layout / name, model, {})
    loaded = Perceiver.load(tmp_path / "run")
    np.testing.assert_allclose(
        loaded.perceive(face, mel).perceived, perceiver.perceive(face, mel).perceived, atol=1e-6
    )


def test_load_by_name_takes_the_best_profile(face, mel, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "ROOT", tmp_path)
    for profile in ("smoke", "quick"):
        for name, model in networks().items():
            checkpoints.save(tmp_path / "checkpoints" / f"crew-{profile}" / name, model, {})
    (tmp_path / "checkpoints" / "crew-smoke" / "can.safetensors").write_bytes(b"never read")
    assert Perceiver.load("crew").size == SIZE
    with pytest.raises(
        checkpoints.CheckpointError, match="nobody: found no folder with face.safetensors"
    ):
        Perceiver.load("nobody")


def test_many_faces_and_voices_at_many_strengths_are_as_one_by_one(perceiver, face, mel):
    faces = [face, perceiver.encode_face(face[::-1])]
    voices = [mel, mel.T, perceiver.encode_voice(mel[::-1])]
    strengths = (0.2, 0.9)
    many = perceiver.perceive_all(faces, voices, strengths)
    assert many.perceived.shape == (2, 3, 2, SIZE, SIZE, 3)
    assert many.probabilities.shape == (2, 3, 2, 7) and many.alone.shape == (2, 7)
    assert many.original.shape == many.reconstruction.shape == (2, SIZE, SIZE, 3)
    for i, j, k in np.ndindex(2, 3, 2):
        one = perceiver.perceive(faces[i], voices[j], strengths[k])
        np.testing.assert_allclose(many.perceived[i, j, k], one.perceived, atol=1e-5)
        np.testing.assert_allclose(many.probabilities[i, j, k], one.probabilities, atol=1e-5)
        assert many.labels[i, j, k] == one.label


def test_one_strength_is_one_of_one(perceiver, face, mel):
    assert perceiver.perceive_all([face], [mel]).perceived.shape == (1, 1, 1, SIZE, SIZE, 3)


def test_more_pictures_than_one_batch(perceiver):
    mu = torch.randn(70, LATENT)
    np.testing.assert_allclose(
        perceiver.decode(mu)[[0, 69]], perceiver.decode(mu[[0, 69]]), atol=1e-5
    )


def test_reading_a_picture_is_the_classifier_on_its_latent(perceiver, face):
    seen = perceiver.encode_face(face)
    np.testing.assert_allclose(
        perceiver.classify(seen.picture[None])[0], seen.probabilities, atol=1e-5
    )


def test_any_picture_is_cropped_and_says_so(perceiver, tmp_path, monkeypatch):
    report = type("Report", (), {"found_rate": 1.0})
    monkeypatch.setattr(
        tracking, "crop_faces", lambda frames, size: ([frames[0][:size, :size]], report)
    )
    photo = Image.new("RGB", (90, 60), (200, 150, 120))
    photo.save(path := tmp_path / "me.png")
    for face in (path, str(path), photo, np.asarray(photo)):
        seen = perceiver.encode_face(face)
        assert seen.picture.shape == (SIZE, SIZE, 3) and "face found" in seen.notes[0]
    report.found_rate = 0.0
    assert "no face found" in perceiver.encode_face(photo).notes[0]


def as_16_bit(photo):
    return Image.fromarray(np.asarray(photo.convert("L")).astype(np.uint16) * 257)


def as_turned(photo):
    turned, exif = photo.transpose(Image.Transpose.ROTATE_90), Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise when it is shown
    turned.info["exif"] = exif.tobytes()
    return turned


def as_pasted(photo):
    photo = photo.convert("RGBA")
    photo.putalpha(Image.new("L", photo.size, 255))
    return photo


KINDS = {
    "png": lambda p: p,
    "grey.png": lambda p: p.convert("L"),
    "alpha.png": as_pasted,
    "bits.png": as_16_bit,
    "ink.jpg": lambda p: p.convert("CMYK"),
    "palette.png": lambda p: p.quantize(64),
    "palette.gif": lambda p: p.quantize(64),
    "turned.jpg": as_turned,
    "grey-alpha.png": lambda p: p.convert("LA"),
    "large.jpg": lambda p: p.resize((3200, 3200)),
    "one.bmp": lambda p: p,
    "float.tiff": lambda p: Image.fromarray(np.asarray(p.convert("L")) / np.float32(255)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_the_file_the_same_face_is_found(perceiver, tmp_path, kind):
    made = KINDS[kind](photo := Image.fromarray(drawn_face(200)))
    made.save(
        path := tmp_path / f"me.{kind}",
        **({"exif": made.info["exif"]} if "exif" in made.info else {}),
    )
    seen, plain = perceiver.encode_face(path), perceiver.encode_face(photo)
    assert seen.notes == (f"me.{kind}: face found and cropped",)
    grey = [np.asarray(s.picture).mean(-1) for s in (seen, plain)]
    assert np.abs(grey[0] - grey[1]).mean() < 0.05


def test_what_is_transparent_is_white():
    picture = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    assert np.asarray(inputs.to_upright_rgb(picture)).min() == 255


def test_a_video_gives_its_middle_frame(perceiver, good_clip):
    seen = perceiver.encode_face(good_clip)
    assert "a video, its middle frame was taken" in seen.notes[0] and "face found" in seen.notes[1]


def test_what_is_too_large_is_refused_before_it_is_decoded(perceiver, tmp_path, monkeypatch):
    Image.new("L", (8000, 5000)).save(wide := tmp_path / "wide.png", compress_level=1)
    monkeypatch.setattr(Image.Image, "load", None)
    with pytest.raises(InputError, match="wide.png: 40 megapixels, more than 25; make it smaller"):
        perceiver.encode_face(wide)
    for name, use in (("whale.jpg", perceiver.encode_face), ("whale.wav", perceiver.encode_voice)):
        with open(path := tmp_path / name, "wb") as file:
            file.truncate(200_000_000)
        with pytest.raises(InputError, match=f"{name}: 200 MB, more than 100; use a smaller file"):
            use(path)


def test_a_large_jpeg_is_read_small(tmp_path):
    Image.new("RGB", (8000, 5000), "red").save(path := tmp_path / "wide.jpg")
    assert max(inputs.open_picture(path).size) == inputs.MAX_SIDE


def test_what_is_too_long_is_refused(perceiver, tmp_path):
    from scipy.io import wavfile

    wavfile.write(path := tmp_path / "day.wav", 100, np.zeros(70_000, np.uint8))
    with pytest.raises(InputError, match="day.wav: 12 minutes of sound, more than 10; cut it"):
        perceiver.encode_voice(path)


@pytest.mark.parametrize(
    "rate, channels, seconds", [(8_000, 1, 0.3), (11_025, 2, 1), (48_000, 1, 90), (96_000, 2, 5)]
)
def test_any_rate_and_length(perceiver, tmp_path, rate, channels, seconds):
    from scipy.io import wavfile

    wave = np.sin(np.arange(round(rate * seconds)) * 2 * np.pi * 300 / rate) * 9_000
    wavfile.write(path := tmp_path / "a.wav", rate, np.stack([wave] * channels, 1).astype(np.int16))
    heard = perceiver.encode_voice(path)
    assert heard.mel.shape == (128, 128) and heard.mel.any()
    assert heard.notes == (("a.wav: only the middle 3.8 s are heard",) if seconds > 4 else ())


def test_a_missing_file_is_one_line(perceiver, tmp_path):
    for use in (perceiver.encode_face, perceiver.encode_voice):
        with pytest.raises(
            InputError, match="nobody.png: No such file or directory; check the path"
        ):
            use(tmp_path / "nobody.png")


@pytest.fixture
def command(face, good_clip, tmp_path) -> list[str]:
    """``cm perceive`` of a picture and a clip with networks of a folder, without -o."""
    for name, model in networks().items():
        checkpoints.save(tmp_path / "model" / name, model, {})
    Image.fromarray(face).save(tmp_path / "me.png")
    image, model = str(tmp_path / "me.png"), str(tmp_path / "model")
    return ["perceive", "--image", image, "--audio", str(good_clip), "--model", model]


def test_the_command_writes_a_picture_and_its_numbers(command, tmp_path, capsys):
    out = tmp_path / "new" / "out.png"
    assert main([*command, "-o", str(out)]) == 0
    numbers = json.loads(out.with_suffix(".json").read_text())
    assert numbers["strength"] == 0.7 and tuple(numbers["in_context"]) == CLASSES
    assert numbers["label"] in capsys.readouterr().out
    assert Image.open(out).size[0] > 3 * 256


def test_the_command_names_the_kinds_of_pictures_it_can_write(command, tmp_path, capsys):
    assert main([*command, "-o", str(tmp_path / "out.doc")]) == 1
    assert "should end in .png" in capsys.readouterr().err


def test_the_command_says_in_one_line_what_is_wrong_with_a_picture(command, tmp_path, capsys):
    (tmp_path / "me.png").write_text("words")
    assert main([*command, "-o", str(tmp_path / "out.png")]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "me.png: not a readable picture" in error


def test_any_sound_is_heard(perceiver, tmp_path):
    from scipy.io import wavfile

    sound = (0.2 * np.sin(np.arange(88_200) / 20)).astype(np.float32)
    wavfile.write(path := tmp_path / "hello.wav", 44_100, np.stack([sound, sound], 1))
    voice = perceiver.encode_voice(sound, 44_100)
    np.testing.assert_allclose(perceiver.encode_voice(path).mel, voice.mel, atol=1e-3)
    assert voice.notes == ()
    assert "only the middle 3.8 s" in perceiver.encode_voice(np.tile(sound, 3), 44_100).notes[0]


def test_silence_is_said_and_gives_numbers(perceiver, face):
    p = perceiver.perceive(face, np.zeros(30_000, np.float32))
    assert (
        "silent" in p.notes[0]
        and np.isfinite(p.probabilities).all()
        and np.isfinite(p.perceived).all()
    )


@pytest.mark.parametrize(
    "face, message",
    [
        (
            np.zeros((SIZE, SIZE, 3), np.float32),
            r"wanted an RGB array \(H, W, 3\) of uint8, got float32",
        ),
        (np.zeros((SIZE, SIZE), np.uint8), "wanted an RGB array"),
        (7, "got int"),
    ],
)
def test_what_is_no_picture(perceiver, face, message):
    with pytest.raises(InputError, match=message):
        perceiver.encode_face(face)


@pytest.mark.parametrize(
    "content, why",
    [
        (b"", "an empty file"),
        (b"these are words", "no picture inside"),
        (b"\x89PNG\r\n\x1a\n cut short", "not a readable picture"),
    ],
)
def test_a_broken_picture_is_one_line(perceiver, tmp_path, content, why):
    (path := tmp_path / "face.png").write_bytes(content)
    with pytest.raises(InputError, match=f"face.png: .*{why}") as error:
        perceiver.encode_face(path)
    assert "\n" not in str(error.value)


def test_what_is_no_voice(perceiver):
    with pytest.raises(InputError, match=r"0.05 s of sound is too short; use at least 0.3 s"):
        perceiver.encode_voice(np.zeros(1102, np.float32), 22_050)
    with pytest.raises(InputError, match="wanted a waveform"):
        perceiver.encode_voice(np.zeros((2, 22_050), np.float32))


# -------------------------------------------------------------------- stored faces


def test_stored_people_come_back_with_the_networks(tmp_path, perceiver, face):
    for name, model in networks().items():
        checkpoints.save(tmp_path / name, model, {})
    encoded = perceiver.encode_face(face)
    people = {("London 002", "neutral"): encoded.posterior}
    files_written = checkpoints.save_people(tmp_path / "face", people, {"licence": "CC BY 4.0"})
    assert json.loads(files_written[1].read_text())["licence"] == "CC BY 4.0"
    loaded = Perceiver.load(tmp_path)
    decoded = loaded.decode_face(loaded.people["London 002", "neutral"])
    np.testing.assert_allclose(decoded.picture, encoded.reconstruction, atol=2e-3)
    np.testing.assert_allclose(decoded.probabilities, encoded.probabilities, atol=2e-3)


def test_people_of_other_weights_do_not_count(tmp_path, perceiver, face):
    for name, model in networks().items():
        checkpoints.save(tmp_path / name, model, {})
    people = {("London 002", "neutral"): perceiver.encode_face(face).posterior}
    checkpoints.save_people(tmp_path / "face", people, {})
    torch.manual_seed(6)
    checkpoints.save(tmp_path / "face", VaeGan(3, SIZE, LATENT, 0.0625), {})
    assert Perceiver.load(tmp_path).people == {}
