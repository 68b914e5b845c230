"""What people really bring: files of another kind than their suffix, trimmed, inverted, turned.

Each case checks the result or the message, and that the next command works.
"""

import json
import shutil

import numpy as np
import odd_media
import pytest
from conftest import SHARED, face, tone, write_clip
from odd_media import FRAMES, REAL, SECONDS, contents, encoded, given
from PIL import Image
from test_perceiver import networks

from cmlib import checkpoints
from cmlib.cli import main
from cmlib.perceiver import Perceiver
from cmlib.preparation import inputs, media

NOTHING = ()


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A folder of small networks that have learnt nothing."""
    folder = tmp_path_factory.mktemp("networks")
    for name, network in networks().items():
        checkpoints.save(folder / name, network, {})
    return folder


@pytest.fixture(scope="module")
def perceiver(model):
    return Perceiver.load(model)


@pytest.fixture
def command(model, tmp_path, capsys):
    """Runs ``cm perceive`` with a picture and a sound: its status, its numbers, what it prints."""

    def run(image=None, audio=None):
        picture, voice = tmp_path / "good.png", tmp_path / "good.wav"
        Image.fromarray(face(200)).save(picture)
        voice.write_bytes(odd_media.wav(tone(SECONDS)))
        out = tmp_path / "out" / "perceived.png"
        shutil.rmtree(out.parent, ignore_errors=True)
        status = main(
            ["perceive", "--image", str(image or picture), "--audio", str(audio or voice)]
            + ["--model", str(model), "-o", str(out)]
        )
        numbers = json.loads(out.with_suffix(".json").read_text()) if not status else None
        return status, numbers, capsys.readouterr()

    return run


def write_or_skip(write, path):
    """Write an odd file; skip the test if it is a copy of a file that is not there."""
    try:
        write(path)
    except FileNotFoundError as error:
        if str(SHARED) not in str(error):
            raise
        pytest.skip(f"no {REAL.name} beside the repository")
    return path


# -------------------------------------------------------------------- content against suffix

SOUNDS = {
    "browser_recording.wav": given("browser_recording.wav"),
    "phone.m4v": given("phone.m4v"),
    "opus in WebM.mp3": encoded("webm", "", "libopus"),
    "a video.wav": contents(".mp4"),
    "a sound.mp4": lambda path: path.write_bytes(odd_media.wav(tone(SECONDS))),
    "television.ts": contents(".ts"),
    "aac.aac": encoded("adts", "", "aac"),
    "apple.aif": odd_media.sound_bytes(bytearray, "AIFF"),
    "flash.flv": contents(".flv"),
    "no suffix": contents(".m4a"),
}


@pytest.mark.parametrize("name", SOUNDS)
def test_a_sound_is_what_is_in_its_file(name, perceiver, command, tmp_path):
    path = write_or_skip(SOUNDS[name], tmp_path / name)
    sound, rate = media.read_audio(path)
    assert 2 < len(sound) / rate < 4 and np.abs(sound).max() > 0.1
    if not (REAL / name).exists():
        peak = np.abs(np.fft.rfft(sound)).argmax() * rate / len(sound)
        assert peak == pytest.approx(180, abs=5)
    status, numbers, printed = command(audio=path)
    assert status == 0 and not printed.err and numbers["label"]


PICTURES = {
    "phone.m4v": given("phone.m4v"),
    "a png.jpg": lambda path: Image.fromarray(face(200)).save(path, "PNG"),
    "a jpeg.mp4": lambda path: Image.fromarray(face(200)).save(path, "JPEG"),
    "a video.jpg": contents(".mp4"),
    "camera.mpg": encoded("mpeg", "mpeg2video", "mp2"),
    "television.ts": contents(".ts"),
    "flash.flv": contents(".flv"),
    "no suffix": contents(".mkv"),
    "photograph.gif": lambda path: Image.fromarray(face(200)).save(path, "WEBP"),
}


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_what_is_in_its_file(name, command, tmp_path):
    path = write_or_skip(PICTURES[name], tmp_path / name)
    status, numbers, printed = command(image=path)
    assert status == 0 and not printed.err
    assert numbers["notes"][-1] == f"{name}: face found and cropped"
    is_video = PICTURES[name] not in (PICTURES["a png.jpg"], PICTURES["a jpeg.mp4"])
    if is_video and name != "photograph.gif":
        assert numbers["notes"][0] == f"{name}: a video, its middle frame was taken"


def heic(path):
    """The first bytes of a picture of a phone."""
    path.write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100))


def words(path):
    path.write_text("these are words\n" * 20)


REFUSED = {
    "lfs_pointer.wav": (given("lfs_pointer.wav"), "a pointer of Git LFS .*; run git lfs pull"),
    "pointer.png": (
        lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n"),
        "a pointer of Git LFS .*; run git lfs pull",
    ),
    "phone.heic": (heic, "(a HEIC picture.*pip install pillow-heif|not a readable picture)"),
    "phone.jpg": (heic, "(a HEIC picture.*pip install pillow-heif|not a readable picture)"),
    "words.png": (words, "not a readable picture .*; use a PNG or JPEG file"),
    "words.mp4": (words, "not a video or sound file, or cut short.*; copy or download it again"),
    "words.wav": (words, "sound cannot be read .*; copy or download it again"),
    "words.doc": (words, "(not a readable picture|not a video or sound file)"),
    "sound.flv": (encoded("flv", "", "aac"), "no picture track; use a video file"),
    "film.wav": (
        lambda path: write_clip(path.with_suffix(".mp4"), FRAMES).rename(path),
        "no sound track; use a recording with sound",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_used_is_one_line_with_a_remedy(name, command, tmp_path):
    write, message = REFUSED[name]
    path = write_or_skip(write, tmp_path / name)
    option = "audio" if name.endswith(".wav") else "image"
    status, _, printed = command(**{option: path})
    assert status == 1 and printed.err.count("\n") == 1 and "Traceback" not in printed.err
    assert name in printed.err
    with pytest.raises(ValueError, match=f"{name}: {message}"):
        inputs.open_sound(path) if option == "audio" else inputs.open_face_picture(path)
    assert command()[0] == 0  # and the next command works


def test_the_libraries_keep_quiet(tmp_path, capfd):
    """mpg123 and libtiff print to the terminal, past Python."""
    encoded("mp3", "", "libmp3lame")(tmp_path / "a.mp3")
    content = (tmp_path / "a.mp3").read_bytes()
    (tmp_path / "a.mp3").write_bytes(content[: len(content) // 2])
    sound, rate = media.read_audio(tmp_path / "a.mp3")
    assert len(sound) > 0.5 * rate
    assert capfd.readouterr() == ("", "")


# -------------------------------------------------------------------- cut short, and not

WHOLE = {
    "trimmed_edit_list": (".mp4", given("trimmed_edit_list.mp4"), 60),
    "hidden start": (".mp4", odd_media.hidden_start, 40),
    "hidden end": (".mp4", odd_media.hidden_end, 30),
    "two frames more in the header": (".avi", odd_media.avi(2), 60),
    "five frames more in the header": (".avi", odd_media.avi(5), 60),
    "between key frames": (".ts", odd_media.between_key_frames, 40),
    "packets without a picture": (
        ".webm",
        encoded("webm", "libvpx", "libopus", {"auto-alt-ref": "1", "lag-in-frames": "16"}),
        60,
    ),
}
CUT = {
    "a tenth is missing": (".mp4", odd_media.cut(contents(".mp4"), 0.9)),
    "three tenths are missing": (".mp4", odd_media.cut(contents(".mp4"), 0.7)),
    "a hundredth of an AVI file": (".avi", odd_media.cut(odd_media.avi(2), 0.99)),
    "half of an AVI file": (".avi", odd_media.cut(odd_media.avi(0), 0.5)),
    "a trimmed clip": (".mov", odd_media.cut(contents(".mov"), 0.8)),
}


@pytest.fixture
def prepare(tmp_path, good_clip, capsys):
    """Runs ``cm prepare`` on a clip and a good one: the store, and what is printed."""
    from cmlib.preparation.store import Store

    def run(path):
        root = tmp_path / "corpus"
        root.mkdir(exist_ok=True)
        shutil.copy(good_clip, root / "01-01-03-01-01-01-01.mp4")
        if path.parent != root:
            shutil.move(path, root / f"01-01-05-01-01-01-02{path.suffix}")
        cache = tmp_path / "cache"
        command = ["prepare", "actors", "--profile", "smoke", "--root", str(root)]
        status = main([*command, "--cache", str(cache)])
        (folder,) = [path.parent for path in cache.glob("*/card.json")]
        return status, Store.open(folder), capsys.readouterr().out

    return run


@pytest.mark.parametrize("name", WHOLE)
def test_a_few_frames_are_no_proof_of_a_cut(name, prepare, command, tmp_path):
    suffix, write, frames = WHOLE[name]
    path = write_or_skip(write, tmp_path / f"clip{suffix}")
    decoded, info = media.read_video(path)
    assert len(decoded) == info.frames == frames
    sound, rate = media.read_audio(path)
    assert len(sound) / rate == pytest.approx(info.seconds, abs=0.3)
    assert command(image=path, audio=path)[0] == 0
    status, store, printed = prepare(path)
    assert status == 0 and "skipped" not in printed
    assert list(store.clips.actor) == [1, 2] and store.clips.face_found.all()
    assert not store.clips.silent.any()


@pytest.mark.parametrize("name", CUT)
def test_a_real_cut_is_told(name, prepare, command, tmp_path):
    suffix, write = CUT[name]
    path = write_or_skip(write, tmp_path / f"clip{suffix}")
    with pytest.raises(media.MediaError, match="cut short.*copy or download it again"):
        media.read_video(path)
    assert command(image=path)[0] == 1 and command()[0] == 0
    status, store, printed = prepare(path)
    assert status == 0 and list(store.clips.actor) == [1]
    assert "skipped: 1 unreadable" in printed and "cut short" in printed


# -------------------------------------------------------------------- voices

INVERTED = "its two channels cancel each other out, so only one was taken"
UNFINISHED = "its header counts no samples, so it was read to the end of the file"
VOICES = {
    "unfinalised.wav": (given("unfinalised.wav"), UNFINISHED),
    "stopped recorder.wav": (odd_media.sound_bytes(odd_media.unfinished), UNFINISHED),
    "stopped recorder.aif": (odd_media.sound_bytes(odd_media.unfinished_aiff, "AIFF"), ""),
    "stream.wav": (odd_media.sound_bytes(odd_media.endless), ""),
    "stream.flac": (odd_media.sound_bytes(odd_media.unfinished_flac, "FLAC"), ""),
    "inverted.wav": (odd_media.stereo(0.8, -0.8), INVERTED),
    "inverted and softer.wav": (odd_media.stereo(0.6, -0.8), INVERTED),
    "inverted.mp4": (odd_media.stereo_video, INVERTED),
    "one channel.wav": (odd_media.stereo(0.8, 0), ""),
    "same channels.wav": (odd_media.stereo(0.5, 0.5), ""),
    "echo.wav": (odd_media.stereo(0.5, 0.5, delay=700), ""),
}


@pytest.mark.parametrize("name", VOICES)
def test_a_voice_is_heard_and_what_was_done_is_told(name, command, tmp_path):
    write, remark = VOICES[name]
    path = write_or_skip(write, tmp_path / name)
    sound = media.read_sound(path)
    assert np.abs(sound.waveform).max() > 0.05
    assert sound.remarks == ((remark,) if remark else ())
    status, numbers, printed = command(audio=path)
    assert status == 0 and not printed.err
    told = [note for note in numbers["notes"] if note.startswith(name)]
    assert told == ([f"{name}: {remark}"] if remark else [])
    assert "silent" not in printed.out


def test_a_long_sound_without_a_duration_is_refused_before_it_fills_the_memory(tmp_path):
    path = tmp_path / "night.weba"
    encoded("webm", "", "libopus")(path)
    with pytest.raises(media.TooLong, match="night.weba: more than 0 minutes of sound; cut it"):
        media.read_sound(path, max_seconds=1)
    assert len(media.read_sound(path, max_seconds=10).waveform) > odd_media.RATE
