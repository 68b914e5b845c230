"""What people really bring: files of another kind than their suffix, trimmed, inverted, turned.

Each case checks the result or the message. All commands run in one process, so that each also
shows that the one before it has left nothing that disturbs.
"""

import json
import shutil

import numpy as np
import odd_media
import pytest
import torch
from conftest import ROOT, SHARED, face, tone, write_clip
from odd_media import FRAMES, REAL, SECONDS, contents, encoded, given
from PIL import Image, ImageDraw
from test_perceiver import networks

from cmlib.cli import main
from cmlib.corpora import Clip
from cmlib.models import Can, Classifier, VaeGan
from cmlib.perceiver import Perceiver
from cmlib.preparation import clip_arrays, cropping, detector, inputs, media, tracking

SIZE = 64  # pixels of a crop


@pytest.fixture(scope="module")
def perceiver():
    """Small networks that have learnt nothing."""
    return Perceiver(*networks().values())


@pytest.fixture(scope="module")
def good_files(tmp_path_factory):
    """A picture and a sound without faults."""
    folder = tmp_path_factory.mktemp("good")
    picture, voice = folder / "good.png", folder / "good.wav"
    Image.fromarray(face(200)).save(picture)
    voice.write_bytes(odd_media.wav(tone(SECONDS)))
    return picture, voice


@pytest.fixture
def command(perceiver, good_files, tmp_path, monkeypatch, capsys):
    """Runs ``cm perceive`` with a picture and a sound: its status, its numbers, what it prints.

    The networks are loaded once, and not for every command.
    """
    monkeypatch.setattr(Perceiver, "load", lambda where: perceiver)

    def run(image=None, audio=None):
        picture, voice = good_files
        out = tmp_path / "out" / "perceived.png"
        shutil.rmtree(out.parent, ignore_errors=True)
        status = main(
            ["perceive", "--image", str(image or picture), "--audio", str(audio or voice)]
            + ["--model", "small", "-o", str(out)]
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
def test_a_sound_is_what_is_in_its_file(name, command, tmp_path):
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


def damaged_avif(path):
    """A find of a fuzzer: the decoder fails with an error of another kind."""
    Image.fromarray(face(64)).save(path)
    content = path.read_bytes()
    start = content.index(b"mdat") + 4
    path.write_bytes(content[:start] + bytes(len(content) - start))


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
    "words.mp3": (words, "sound cannot be read .format not recognised.; copy or download it again"),
    "drawing.svg": (
        lambda path: path.write_text("<svg xmlns='http://www.w3.org/2000/svg'/>"),
        "not a readable picture .*; use a PNG or JPEG file",
    ),
    "paper.pdf": (
        lambda path: Image.fromarray(face(200)).save(path),
        "a PDF document; save the picture as a PNG or JPEG file",
    ),
    "damaged.avif": (damaged_avif, "not a readable picture .*; use a PNG or JPEG file"),
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
    option = "audio" if name.endswith((".wav", ".mp3")) else "image"
    status, _, printed = command(**{option: path})
    assert status == 1 and printed.err.count("\n") == 1 and "Traceback" not in printed.err
    assert name in printed.err
    with pytest.raises(ValueError, match=f"{name}: {message}"):
        inputs.open_sound(path) if option == "audio" else inputs.open_face_picture(path)


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
    "half of a Matroska file": (".mkv", odd_media.cut(contents(".mkv"), 0.5)),
    "half of a WebM file": (".webm", odd_media.cut(encoded("webm", "libvpx", "libopus"), 0.5)),
    "half of a Flash file": (".flv", odd_media.cut(encoded("flv", "libx264", "aac"), 0.5)),
}


@pytest.fixture
def prepare(tmp_path, good_clip, capsys):
    """Runs ``cm prepare`` on a clip and a good one: the store, and what is printed."""
    from cmlib.preparation.store import Store

    def run(path, stem="01-01-05-01-01-01-02"):
        root = tmp_path / "corpus"
        root.mkdir(exist_ok=True)
        shutil.copy(good_clip, root / "01-01-03-01-01-01-01.mp4")
        if path.parent != root:
            shutil.move(path, root / f"{stem}{path.suffix}")
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
    assert command(image=path)[0] == 1
    status, store, printed = prepare(path)
    assert status == 0 and list(store.clips.actor) == [1]
    assert "skipped: 1 unreadable" in printed and "cut short" in printed


CUT_SOUNDS = {
    "half of a WAV file": (".wav", odd_media.cut(odd_media.sound_bytes(lambda wav: wav), 0.5)),
    "with another suffix": (".mp3", odd_media.cut(odd_media.sound_bytes(lambda wav: wav), 0.5)),
    "half of a FLAC file": (
        ".flac",
        odd_media.cut(odd_media.sound_bytes(lambda flac: flac, "FLAC"), 0.5),
    ),
    "the sound of a Matroska file": (".mkv", odd_media.cut(contents(".mkv"), 0.5)),
    "the sound of a Flash file": (".flv", odd_media.cut(encoded("flv", "libx264", "aac"), 0.5)),
}
WHOLE_SOUNDS = {
    "whole": (".wav", odd_media.sound_bytes(lambda wav: wav)),
    "the last hundredth is missing": (
        ".wav",
        odd_media.cut(odd_media.sound_bytes(lambda wav: wav), 0.99),
    ),
    "a stream": (".wav", odd_media.sound_bytes(odd_media.endless)),
    "Matroska": (".mkv", contents(".mkv")),
    "Flash": (".flv", encoded("flv", "libx264", "aac")),
}


@pytest.mark.parametrize("name", CUT_SOUNDS)
def test_a_cut_sound_is_told(name, command, tmp_path):
    suffix, write = CUT_SOUNDS[name]
    path = write_or_skip(write, tmp_path / f"voice{suffix}")
    with pytest.raises(media.MediaError, match=f"{path.name}: .*; .*again"):
        media.read_audio(path)
    assert command(audio=path)[0] == 1


@pytest.mark.parametrize("name", WHOLE_SOUNDS)
def test_a_whole_sound_is_not_called_cut(name, tmp_path):
    suffix, write = WHOLE_SOUNDS[name]
    path = write_or_skip(write, tmp_path / f"voice{suffix}")
    sound, rate = media.read_audio(path)
    assert len(sound) / rate == pytest.approx(odd_media.SECONDS, abs=0.1)


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
def test_a_voice_is_heard_and_what_was_done_is_told(name, command, prepare, tmp_path):
    write, remark = VOICES[name]
    path = write_or_skip(write, tmp_path / name)
    sound = media.read_sound(path)
    assert np.abs(sound.waveform).max() > 0.05
    assert sound.remarks == ((remark,) if remark else ())
    status, numbers, printed = command(audio=path)
    assert status == 0 and not printed.err and "silent" not in printed.out
    if name.endswith((".wav", ".aif")):
        status, store, printed = prepare(path, "03-01-05-01-01-01-02")
        assert status == 0 and list(store.clips.actor) == [1, 2] and not store.clips.silent.any()
        assert (f"03-01-05-01-01-01-02{path.suffix}: {remark}" in printed) == bool(remark)
    told = [note for note in numbers["notes"] if note.startswith(name)]
    assert told == ([f"{name}: {remark}"] if remark else [])


def test_a_long_sound_without_a_duration_is_refused_before_it_fills_the_memory(tmp_path):
    path = tmp_path / "night.weba"
    encoded("webm", "", "libopus")(path)
    with pytest.raises(media.TooLong, match="night.weba: more than 0 minutes of sound; cut it"):
        media.read_sound(path, max_seconds=1)
    assert len(media.read_sound(path, max_seconds=10).waveform) > odd_media.RATE


# -------------------------------------------------------------------- faces


def sign(size=400):
    """A green road sign with white pictograms, which a detector may take for a face."""
    image = Image.new("RGB", (size, size), (150, 170, 190))
    draw = ImageDraw.Draw(image)
    draw.rounded_rectangle([40, 60, 360, 340], 20, (0, 110, 60), "white", 6)
    for x in (130, 270):
        draw.ellipse([x - 25, 145, x + 25, 195], fill="white")
    draw.rectangle([140, 250, 260, 275], fill="white")
    return np.asarray(image)


def landscape(height=300, width=450):
    """Sky, hills and a meadow with noise."""
    rng = np.random.default_rng(4)
    rows, columns = np.mgrid[:height, :width]
    picture = np.stack([120 + rows // 4, 160 + rows // 6, 230 - rows // 9], -1).astype(float)
    for level, colour in ((0.5, (90, 110, 130)), (0.65, (50, 90, 50)), (0.8, (150, 130, 80))):
        ridge = height * (level + 0.05 * np.sin(columns[0] / 37 / level))
        hill = rows > ridge
        picture[hill] = np.array(colour) + rng.normal(0, 12, (hill.sum(), 3))
    return picture.clip(0, 255).astype(np.uint8)


def on_wall(*faces, size=(360, 640)):
    """Faces (picture, centre x, centre y) on a plain wall."""
    picture = np.full((*size, 3), (190, 195, 205), np.uint8)
    for face_picture, x, y in faces:
        half = len(face_picture) // 2
        picture[y - half : y + half, x - half : x + half] = face_picture
    return picture


def quarter_turns(count):
    return np.ascontiguousarray(np.rot90(face(240), count))


FOUND = "face found and cropped"
TURNED = "the head was turned by about {} degrees, so it was set upright"
NO_FACE = "no face found, so the middle of it was taken"
LARGEST = "2 faces, of which the most prominent, {}, was taken"
FACES = {
    "upside_down": (given("upside_down.png"), [FOUND, TURNED.format(180)]),
    "on its head": (quarter_turns(2), [FOUND, TURNED.format(180)]),
    "to the left": (quarter_turns(1), [FOUND, TURNED.format(90)]),
    "to the right": (quarter_turns(3), [FOUND, TURNED.format(90)]),
    "upright": (quarter_turns(0), [FOUND]),
    "a road sign": (sign(), [NO_FACE]),
    "a landscape": (landscape(), [NO_FACE]),
    "a line": (np.zeros((5000, 1, 3), np.uint8), [NO_FACE]),
    "two faces": (
        on_wall((face(240), 340, 150), (face(160), 90, 150), size=(300, 480)),
        [FOUND, LARGEST.format("on the right")],
    ),
}


@pytest.mark.parametrize("name", FACES)
def test_a_face_is_upright_and_told_or_refused(name, command, tmp_path):
    picture, expected = FACES[name]
    path = tmp_path / f"{name}.png"
    write = picture if callable(picture) else Image.fromarray(picture).save
    write_or_skip(write, path)
    status, numbers, _ = command(image=path)
    assert status == 0
    assert numbers["notes"] == [f"{name}.png: {remark}" for remark in expected]
    if FOUND in expected:
        (crop,), _ = tracking.crop_faces([np.asarray(inputs.open_picture(path))], 128)
        ((points,), (score,)) = detector.find_scored_faces([crop])
        assert score > detector.UPRIGHT_SCORE and points[3, 1] > points[:2, 1].max()
        assert points[:2, 1].mean() / 128 == pytest.approx(cropping.EYE_HEIGHT, abs=0.06)


@pytest.mark.parametrize("share", [0.06, 0.08, 0.1])
def test_a_small_head_is_found(share):
    head = face(2 * round(720 * share / 0.62 / 2))  # the drawn head is 62 % of its picture
    picture = on_wall((head, 900, 250), size=(720, 1280))
    (track, report) = tracking.track_face([picture], [0])
    assert report.found_rate == 1
    assert np.hypot(track.squares[0, 0] - 900, track.squares[0, 1] - 250) < len(head) / 2


def test_a_clip_filmed_upside_down_is_turned(prepare, tmp_path):
    clip = write_clip(tmp_path / "clip.mp4", [f[::-1, ::-1] for f in FRAMES[:20]], tone(0.8))
    _, store, _ = prepare(clip)
    crop = store.frame(1)
    ((points,), _) = detector.find_scored_faces([np.kron(crop, np.ones((3, 3, 1), np.uint8))])
    assert store.clips.face_found.all() and points[3, 1] > points[:2, 1].max()


SQUEEZED = np.asarray(Image.fromarray(face(240)).resize((120, 240)))


@pytest.mark.parametrize("name", ["film.mkv", "film.mp4", "scan.png", "scan.jpg", "fax.tif"])
def test_pixels_that_are_not_square_are_stretched(name, command, tmp_path):
    path = tmp_path / name
    if path.suffix in (".mkv", ".mp4"):
        odd_media.anamorphic(path, [SQUEEZED] * 5, 2)
    else:
        Image.fromarray(SQUEEZED).save(path, dpi=(100, 200))
    picture, _ = inputs.open_face_picture(path)
    assert np.asarray(picture).shape == (240, 240, 3)
    assert np.abs(np.asarray(picture).astype(float) - face(240)).mean() < 8
    status, numbers, _ = command(image=path)
    assert status == 0 and numbers["notes"][-1] == f"{name}: {FOUND}"


def centred(share):
    """A picture of the network's own size whose face has this share of it."""
    whole = np.asarray(Image.fromarray(face(400, scale=1.25 * share)).resize((SIZE, SIZE)))
    return Image.fromarray(whole)


@pytest.mark.parametrize(
    "name, remark",
    [
        ("size64.png", FOUND),
        ("small face.png", FOUND),
        ("corner.png", FOUND),
        ("crop.png", "taken as a finished crop, by its size"),
        ("grey.png", "taken as a finished crop, by its size, though no face is found in it"),
    ],
)
def test_a_picture_of_the_size_of_a_crop_is_looked_at(name, remark, tmp_path):
    path = tmp_path / name
    crops, _ = tracking.crop_faces([face(300)], SIZE)
    corner = Image.fromarray(on_wall((face(40), 22, 24), size=(SIZE, SIZE)))
    pictures = {
        "small face.png": centred(0.6),
        "corner.png": corner,
        "crop.png": Image.fromarray(crops[0]),
        "grey.png": Image.new("RGB", (SIZE, SIZE), "grey"),
    }
    write = pictures[name].save if name in pictures else given(name)
    write_or_skip(write, path)
    torch.manual_seed(5)
    perceiver = Perceiver(
        VaeGan(3, SIZE, 8, 0.0625).eval(),
        VaeGan(1, 128, 8, 0.0625).eval(),
        Classifier(8).eval(),
        Can(8).eval(),
    )
    seen = perceiver.encode_face(path)
    assert seen.notes[0] == f"{name}: {remark}"
    is_kept = np.array_equal(np.round(255 * seen.picture), np.asarray(Image.open(path)))
    assert is_kept == (remark != FOUND)
    assert perceiver.encode_face(np.asarray(Image.open(path).convert("RGB"))).notes == ()


# Means and a deviation of crops, mean loudness and samples of clips, before any of this was built.
GOLDEN = {
    "Actor_01/01-01-05-02-01-01-01.mp4": (169.475728, 37.191751, 184.53125, 0.0996545, 73206),
    "Actor_12/01-01-03-01-02-01-12.mp4": (168.297770, 41.681833, 167.12500, 0.0219214, 54684),
    "Actor_24/01-01-01-01-01-01-24.mp4": (152.364166, 44.643769, 168.22396, 0.0095298, 68796),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_what_was_handled_well_stays_as_it_was(name, monkeypatch):
    """Shipped networks have learnt these crops and sounds."""
    for second_look in ("search_again", "turn_upright"):
        monkeypatch.setattr(tracking, second_look, lambda *_: pytest.fail("not sure of a face"))
    path = ROOT / "data" / "actors" / name
    clip = Clip(path, None, True, "actors", 1, "angry", 1, 1, 1, path.stem)
    crops, facts = clip_arrays.load_face_crops(clip, 64, 8)
    sound, rate = media.read_audio(path)
    numbers = (
        crops.mean(),
        crops[::3, 20:30, 10:54].astype(float).std(),
        crops[-1, 40].mean(),
        np.abs(sound).mean(),
        len(sound),
    )
    assert rate == 22_050 and facts["face_rate"] == 1
    assert numbers == pytest.approx(GOLDEN[name], rel=1e-4)


def test_after_all_of_this_a_good_picture_and_a_good_sound_are_used(command):
    assert command()[0] == 0
