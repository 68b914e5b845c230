"""Forty spoiled or odd inputs in one tree: each is used rightly or reported by name, and none stops the rest."""

import io
import os
import re
import struct
import zipfile
from fractions import Fraction
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import numpy as np
import pandas as pd
import pytest
import soundfile
from conftest import face, talking, tone, write_clip
from PIL import Image

from cmlib.cli import main
from cmlib.config import get_profile
from cmlib.corpora import archives
from cmlib.corpora.names import EMOTIONS
from cmlib.plots import figures
from cmlib.preparation import media
from cmlib.preparation.prepare import prepare
from cmlib.preparation.store import Store

SMOKE = get_profile("smoke")
FRAMES = talking(20, 96)


@cache
def good() -> bytes:
    """A clip without faults."""
    with TemporaryDirectory() as folder:
        return write_clip(Path(folder, "good.mp4"), FRAMES, tone(0.8)).read_bytes()


def wav() -> bytes:
    soundfile.write(buffer := io.BytesIO(), tone(0.8), 48_000, format="WAV")
    return buffer.getvalue()


def data(change):
    """A writer of changed bytes of the good clip."""
    return lambda path: path.write_bytes(change(good()))


def clip(frames=FRAMES, sound=None, **options):
    """A writer of a clip with these frames and this sound (default: one that lasts as long)."""
    sound = (
        tone(len(frames) / options.get("fps", 25), options.get("rate", 48_000))
        if sound is None
        else sound
    )
    return lambda path: write_clip(path, frames, sound, **options)


def sound(samples, rate=22_050, kind="PCM_16", form="WAV"):
    return lambda path: soundfile.write(path, samples, rate, kind, format=form)


def variable(path):
    """Frames that last 20 to 120 milliseconds."""
    times = np.cumsum([0, *np.random.default_rng(0).integers(20, 121, len(FRAMES) - 1)])
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        video.width = video.height = 96
        video.codec_context.time_base = Fraction(1, 1000)
        audio = container.add_stream("pcm_s16le", rate=48_000, layout="mono")
        for image, at in zip(FRAMES, times):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = int(at), Fraction(1, 1000)
            container.mux(video.encode(frame))
        container.mux(video.encode())
        samples = (tone(times[-1] / 1000 + 0.1) * 32767).astype(np.int16)[None]
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        frame.sample_rate, frame.pts = 48_000, 0
        container.mux(audio.encode(frame))


def rotated(path):
    """Filmed with the camera on its side: the header says that a quarter turn brings it upright."""
    write_clip(path, [np.rot90(f) for f in FRAMES], tone(0.8))
    plain, turned = (
        struct.pack(">9i", *m)
        for m in (
            (1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30),
            (0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30),
        )
    )
    written = path.read_bytes()
    at = written.index(plain, written.index(b"tkhd"))  # of the track, not of the whole
    path.write_bytes(written[:at] + turned + written[at + 36 :])


def six_channels(path):
    frames = np.zeros((6, 38_400), np.float32)
    frames[2] = tone(0.8)  # the one in the middle
    soundfile.write(path, frames.T, 48_000, "PCM_16")


def noisy_end(path):
    path.write_bytes(good() + os.urandom(5000))


def image(path):
    Image.fromarray(face(64)).save(path, "PNG")


def packed(*members, spoil=lambda raw: raw):
    """A writer of an archive of (name, what gives its bytes); names with the number that the archive's own name is."""

    def write(path):
        with zipfile.ZipFile(buffer := io.BytesIO(), "w") as archive:
            for name, content in members:
                archive.writestr(name.format(path.stem), content())
        path.write_bytes(spoil(buffer.getvalue()))

    return write


def flip(raw: bytes) -> bytes:
    """Another byte in the middle of the first member: the check sum no longer fits."""
    return raw[:9000] + bytes([raw[9000] ^ 255]) + raw[9001:]


def encrypted(raw: bytes) -> bytes:
    """Says of its members that they have a password."""
    return re.sub(
        rb"(PK\x03\x04..|PK\x01\x02....)\x00", lambda m: m[1] + b"\1", raw, flags=re.DOTALL
    )


A, V = (
    "03-01-05-02-01-01-{0}.wav",
    "01-01-05-02-01-01-{0}.mp4",
)  # a sound, a clip of the actor with the case's number
USED, FACELESS, SILENT = "used", "used, no face", "used, silent"
CASES = {  # what it is: (its name, how it is written, what becomes of it: how it is used, or words of the reason)
    "cut short": (V, data(lambda b: b[: len(b) // 2]), "cut short"),
    "without its table of contents": (V, data(lambda b: b[:200]), "not a video"),
    "zero bytes": (V, data(lambda b: b""), "empty file"),
    "zero bytes of sound": (A, data(lambda b: b""), "empty file"),
    "text": (V, lambda p: p.write_text("not a video\n" * 200), "not a video"),
    "an error page": (A, lambda p: p.write_text("<html>404</html>"), "sound cannot be read"),
    "a picture": (V, image, "no sound track"),
    "sound with the suffix of a video": (V, sound(tone(0.8), 48_000), "no picture track"),
    "a video with another suffix": (V.replace("mp4", "avi"), data(lambda b: b), USED),
    "a video with the suffix of sound": (A, data(lambda b: b), "sound cannot be read"),
    "no sound track": (V, lambda p: write_clip(p, FRAMES, None), "no sound track"),
    "no picture track": (V, lambda p: write_clip(p, None, tone(0.8)), "no picture track"),
    "noise behind the end": (V, noisy_end, USED),
    "variable frame rate": (V.replace("mp4", "mkv"), variable, USED),
    "rotated": (V, rotated, USED),
    "grey": (V.replace("mp4", "mkv"), clip(pixels="gray"), USED),
    "ten bits": (V.replace("mp4", "mkv"), clip(pixels="yuv420p10le"), USED),
    "10 fps": (V, clip(fps=10), USED),
    "odd dimensions": (
        V,
        clip([np.pad(f, ((0, 1), (0, 25), (0, 0)), "edge") for f in FRAMES], pixels="yuv444p"),
        USED,
    ),
    "huge": (V, clip([np.pad(face(1080), ((0, 0), (1380, 1380), (0, 0)), "edge")] * 3), USED),
    "tiny": (V, clip([f[:16, :16] for f in FRAMES]), FACELESS),
    "black": (V, clip([np.zeros_like(f) for f in FRAMES]), FACELESS),
    "one frame": (V, clip(FRAMES[:1]), USED),
    "0.05 s": (V, clip(FRAMES[:2], fps=40), USED),
    "silent": (V, clip(sound=np.zeros(38_400)), SILENT),
    "clipping": (V, clip(sound=np.clip(40 * tone(0.8), -1, 1)), USED),
    "8 bits": (A, sound(tone(0.8), kind="PCM_U8"), USED),
    "six channels": (A, six_channels, USED),
    "8 kHz": (A, sound(tone(0.8, 8000), 8000), USED),
    "96 kHz": (A, sound(tone(0.8, 96_000), 96_000), USED),
    "no samples": (A, sound(np.zeros(0)), "no samples"),
    "values that are no numbers": (A, sound(np.full(9000, np.nan), kind="FLOAT"), "no numbers"),
    "a folder": (V, lambda p: p.mkdir(), "a folder with the name of a file"),
    "a link to itself": (V, lambda p: p.symlink_to(p), "not a file, or a link that leads nowhere"),
    "spaces and other letters": ("Schauspielerin Nº {0} ü 演员/" + V, data(lambda b: b), USED),
    "another name": ("holiday {0}.mp4", data(lambda b: b), "is not a RAVDESS name"),
    "an archive": ("{0}.zip", packed(("Actor_x/" + V, good)), USED),
    "an archive that is none": (
        "{0}.zip",
        lambda p: p.write_text("<html>404</html>"),
        "not a zip archive, or cut",
    ),
    "a cut archive": (
        "{0}.zip",
        packed((V, good), spoil=lambda raw: raw[:-500]),
        "not a zip archive",
    ),
    "names that climb": (
        "{0}.zip",
        packed(("../" + V, good)),
        "a name that leads out of the archive",
    ),
    "names from the root": (
        "{0}.zip",
        packed(("/tmp/" + V, good)),
        "a name that leads out of the archive",
    ),
    "names of another system": ("{0}.zip", packed(("..\\" + V, good)), "a name that leads out"),
    "a damaged member": ("{0}.zip", packed((V, good), spoil=flip), "damaged in the archive"),
    "a member with a password": (
        "{0}.zip",
        packed((V, good), spoil=encrypted),
        "damaged .*encrypted",
    ),
    "an empty member": ("{0}.zip", packed((A, bytes)), "empty file"),
    "sound in an archive": ("{0}.zip", packed((A, wav)), USED),
}


@pytest.fixture(scope="module")
def spoiled(tmp_path_factory) -> tuple[Store, dict]:
    """The tree with all of them and three good clips, prepared once; the path of each case."""
    root, paths = tmp_path_factory.mktemp("tree"), {}
    for number, (case, (name, write, _)) in enumerate(CASES.items(), 1):
        paths[case] = path = root / name.format(f"{number:02d}")
        path.parent.mkdir(exist_ok=True)
        write(path)
    for actor in (97, 98, 99):
        (root / V.format(actor)).write_bytes(good())
    (root / "round").symlink_to(root, target_is_directory=True)  # links that go round in circles
    (root / "holiday.mp4.part").write_bytes(good())  # a download that is not finished
    return prepare("ravdess", SMOKE, root, tmp_path_factory.mktemp("cache"), workers=1), paths


@pytest.mark.parametrize("case", CASES)
def test_it_is_used_rightly_or_reported_by_name(spoiled, case):
    store, paths = spoiled
    number, becomes = list(CASES).index(case) + 1, CASES[case][2]
    own = store.clips[store.clips.actor == number]
    if becomes not in (USED, FACELESS, SILENT):
        assert own.empty
        left = store.skipped[[p.split("!")[0] == str(paths[case]) for p in store.skipped.path]]
        assert (
            len(left) == 1
            and re.search(becomes, left.reason.iloc[0])
            and "\n" not in left.reason.iloc[0]
        )
        assert paths[case].stem in left.reason.iloc[0]
        return
    (row,) = own.itertuples()
    assert row.silent == (becomes == SILENT) and store.mels[row.Index].any() != row.silent
    assert np.isfinite(store.mels[row.Index]).all()
    if row.n_frames:
        assert row.face_found == (becomes != FACELESS)
        assert row.n_frames == (1 if case == "one frame" else 2)
    else:
        assert row.name.startswith("03-")


def test_nothing_stops_the_rest_and_nothing_is_forgotten(spoiled):
    store, _ = spoiled
    used = [case for case, (*_, becomes) in CASES.items() if becomes.startswith("used")]
    assert len(store.clips) == len(used) + 3 and len(store.skipped) == len(CASES) - len(used)
    assert {97, 98, 99} <= set(store.clips.actor) and len(CASES) >= 40


def test_odd_clips_look_and_sound_as_the_good_one(spoiled):
    store, _ = spoiled
    rows = {
        case: store.clips.index[store.clips.actor == i].tolist() for i, case in enumerate(CASES, 1)
    }
    good_row = store.clips.index[store.clips.actor == 99][0]

    def picture(row):
        return store.frames[store.clips.first_frame[row]].astype(float)

    for case in (
        "rotated",
        "grey",
        "ten bits",
        "an archive",
        "noise behind the end",
        "a video with another suffix",
    ):
        (row,) = rows[case]
        allowed = 40 if case == "grey" else 8
        assert np.abs(picture(row) - picture(good_row)).mean() < allowed, case
        assert abs(store.clips.duration[row] - 0.8) < 0.02, case
    voice = store.mels[good_row].astype(float)
    for case in ("rotated", "six channels", "96 kHz", "an archive", "sound in an archive"):
        (row,) = rows[case]
        assert np.corrcoef(store.mels[row].astype(float).ravel(), voice.ravel())[0, 1] > 0.8, case
    assert abs(store.clips.duration[rows["10 fps"][0]] - 2) < 0.02
    times = np.random.default_rng(0).integers(20, 121, len(FRAMES) - 1)
    assert (
        abs(store.clips.duration[rows["variable frame rate"][0]] - times.sum() / 1000 - 0.04) < 0.01
    )


def test_an_archive_of_a_row_can_be_listened_to(spoiled):
    store, _ = spoiled
    (row,) = store.clips[store.clips.file.str.contains("Actor_x")].itertuples()
    path = store.path(pd.Series(row._asdict()))
    assert str(path).endswith(f"{row.actor}.zip!/Actor_x/" + V.format(row.actor))
    assert archives.exists(path) and not path.exists()
    assert len(media.read_audio(path)[0]) == 38_400 and len(media.read_video(path)[0]) == 20
    for missing in (path.with_name("x.mp4"), path.parents[2] / "99.zip!/x.mp4"):
        assert not archives.exists(missing)
        with pytest.raises(media.MediaError, match="no such file|cannot be read"):
            media.read_video(missing)


def test_the_contact_sheet_shows_each_actor_and_emotion(corpus, tmp_path, capsys, monkeypatch):
    clip([np.zeros_like(f) for f in FRAMES])(corpus / "01-01-08-01-01-01-01.mp4")
    drawn = {}
    real = figures.image_grid
    monkeypatch.setattr(
        figures, "image_grid", lambda *a, **k: drawn.update(grid=a) or real(*a, **k)
    )
    command = [
        "prepare",
        "actors",
        "--profile",
        "smoke",
        "--root",
        str(corpus),
        "--cache",
        str(tmp_path / "cache"),
    ]
    assert main([*command, "--sheet", str(tmp_path / "new" / "sheet.png")]) == 0
    assert (
        Image.open(tmp_path / "new" / "sheet.png").width > 300
        and "contact sheet: " in capsys.readouterr().out
    )
    crops, actors, emotions, captions = drawn["grid"]
    assert actors == ["1", "2", "3", "10"] and emotions == list(EMOTIONS)
    assert [[c is not None for c in row] for row in crops] == [
        [e in ("happy", "angry", a) for e in EMOTIONS] for a in ("surprised", "", "", "")
    ]
    assert captions[0][-1] == "no face" and sum(map(bool, sum(captions, []))) == 1


def test_all_real_sound_prepares_without_a_skip(shared_sample, tmp_path):
    s = prepare("ravdess", "quick", shared_sample, tmp_path, workers=1)
    assert (
        len(s.clips) == 1080
        and s.clips.actor.nunique() == 18
        and s.skipped.empty
        and not s.clips.silent.any()
    )


def test_an_unreadable_folder_is_listed(corpus, tmp_path, monkeypatch):
    shut = corpus / "Actor_02"
    if os.geteuid():
        shut.chmod(0)
    else:  # root may read everything
        real = os.scandir
        denied = PermissionError(13, "Permission denied", str(shut))

        def scandir(path="."):
            if str(path) == str(shut):
                raise denied
            return real(path)

        monkeypatch.setattr(os, "scandir", scandir)
    try:
        s = prepare("actors", SMOKE, corpus, tmp_path / "cache", workers=1)
    finally:
        shut.chmod(0o755)
    assert len(s.clips) == 6 and list(s.skipped.path) == [str(shut)]
    assert s.skipped.reason[0] == f"{shut}: cannot be read (Permission denied); allow it"


def test_packed_clips_give_the_same_arrays_and_the_key_follows_them(tmp_path):
    keys, sums = [], []
    for folder, content in (
        ("a", good),
        ("b", good),
        ("c", lambda: good() + b"more"),
        ("plain", None),
    ):
        (tmp_path / folder).mkdir()
        if content:
            packed((V, content))(tmp_path / folder / "12.zip")
        else:
            (tmp_path / folder / V.format(12)).write_bytes(good())
        card = prepare("ravdess", SMOKE, tmp_path / folder, tmp_path / "cache", workers=1).card
        keys.append(card["key"])
        sums.append([card["sha256"][f"{name}.npy"] for name in ("frames", "mels")])
    assert keys[0] == keys[1] and len(set(keys)) == 3
    assert sums[0] == sums[1] == sums[2] == sums[3]
