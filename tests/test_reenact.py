"""Re-enactment: the sounds are made on the spot by espeak, the action units are made up."""

import numpy as np
import pytest
import soundfile
from conftest import ROOT

from cmlib.preparation.media import read_audio, video_info

for module in ("pyworld", "espeakng_loader", "numba"):
    pytest.importorskip(module, reason=f"{module} is not installed: pip install -e .[corpus]")
librosa = pytest.importorskip("librosa")
command = pytest.importorskip("tools.corpus.__main__")
reenact = pytest.importorskip("tools.corpus.reenact")
voice = pytest.importorskip("tools.corpus.voice")
clips = pytest.importorskip("tools.corpus.clips")
SR, UNITS = reenact.SR, reenact.UNITS

HEAD = ",".join(["clip", *(f"{u}_r" for u in UNITS)])
QUIET, BROWS = np.full(17, 0.2), np.full(17, 0.2) + 2.0 * (np.arange(17) < 2)


@pytest.fixture(scope="module")
def sentence():
    """(sound (n,), starts of its phonemes in s): a female espeak voice says the first sentence.

    There is silence around the sentence.

    The voice is none of those that the alignment tries.
    """
    name = voice.FEMALE[reenact.VOICES]
    sound, marks = voice.say(voice.TEXT[1], name)
    first, last, _ = reenact.speech_range(sound)
    spoken = [(t, p) for t, p in marks if not p.startswith("_")]
    pad = SR // 5
    times = np.array([max(t, first / SR) for t, _ in spoken]) - first / SR + pad / SR
    sound = np.pad(sound[first:last], pad)
    return 0.1 * sound / np.abs(sound).max(), times


def clip_line(stem, values=QUIET):
    return ",".join([stem, *(f"{v:.4f}" for v in values)])


@pytest.fixture(scope="module")
def material(tmp_path_factory, sentence):
    """(CSV, folder of sounds): three good clips.

    Two of them have the same sound and units but another label.
    """
    root = tmp_path_factory.mktemp("material")
    lines = [HEAD, clip_line("01-01-01-01-01-01-02"), clip_line("01-01-05-02-01-01-02", BROWS)]
    lines += [
        clip_line("01-01-04-01-01-01-02", BROWS),
        clip_line("01-01-03-01-01-01-02"),
    ]  # the last one: no sound
    lines += [clip_line("01-01-03-01-01-01-25"), clip_line("a clip"), "01-01-06-01-01-01-02,1,x"]
    lines += [
        clip_line("01-01-05-01-01-01-02"),
        clip_line("01-01-05-01-01-01-03"),
    ]  # cut short; no neutral row
    (root / "units.csv").write_text("\n".join(lines) + "\n")
    folder = root / "audio" / "Actor_02"
    folder.mkdir(parents=True)
    (root / "audio" / "Actor_03").mkdir()
    x = sentence[0]
    soundfile.write(
        folder / "03-01-01-01-01-01-02.wav",
        librosa.resample(x, orig_sr=SR, target_sr=48_000),
        48_000,
    )
    for stem in ("05-02-01-01-02", "04-01-01-01-02", "07-01-01-01-02"):  # the last one: no row
        soundfile.write(folder / f"03-01-{stem}.flac", np.stack([x, x], 1), SR)
    soundfile.write(root / "audio" / "Actor_03" / "03-01-05-01-01-01-03.wav", x, SR)
    (folder / "03-01-05-01-01-01-02.wav").write_bytes(b"RIFF")
    (folder / "noise.wav").write_bytes(b"")
    return root / "units.csv", root / "audio"


def starts(sound):
    return np.array([a for a, _, _ in reenact.align(sound, 1, female=True)])


def test_alignment_finds_its_own_phonemes(sentence, monkeypatch):
    sound, times = sentence
    other = np.abs(starts(sound) - times)
    assert np.median(other) < 0.04 and other.max() < 0.15  # another voice
    monkeypatch.setattr(reenact, "FEMALE", voice.FEMALE[reenact.VOICES :])
    assert np.abs(starts(sound) - times).max() < 0.03
    for rate in (0.75, 1.3):
        stretched = librosa.effects.time_stretch(sound, rate=rate)
        assert np.abs(starts(stretched) - times / rate).max() < 0.06
    halt = round(times[10] * SR)  # before "by"
    halted = np.concatenate([sound[:halt], np.zeros(SR // 4), sound[halt:]])
    error = np.abs(starts(halted) - times - 0.25 * (times >= times[10]))
    assert np.delete(error, 10).max() < 0.06


def test_the_face_follows_units_and_sound(sentence):
    sound, _ = sentence
    plain, raised = (reenact.follow(sound, 1, 2, units, QUIET) for units in (QUIET, BROWS))
    assert raised.au[:, :2].mean() > plain.au[:, :2].mean() + 1
    assert np.array_equal(raised.visemes, plain.visemes) and np.array_equal(raised.pose, plain.pose)
    assert np.allclose(raised.audio[: len(sound)], sound)
    assert len(raised.audio) == len(raised.au) * SR // 25
    loud = np.log((raised.audio.reshape(len(raised.au), -1) ** 2).mean(1) + 1e-7)
    assert np.corrcoef(loud, raised.visemes[:, 0])[0, 1] > 0.6
    with pytest.raises(ValueError, match="silent"):
        reenact.follow(np.zeros(SR), 1, 2, QUIET, QUIET)


def test_clips_come_out_and_bad_rows_are_counted(material, tmp_path, capsys):
    units, audio = material
    arguments = [
        "reenact",
        "--units",
        str(units),
        "--audio",
        str(audio),
        "--out",
        str(tmp_path),
        "--workers",
        "1",
    ]
    assert command.main(arguments) == 0
    clips = sorted(tmp_path.glob("*/*"))
    wanted = ["01-01-01-01-01-01-02", "01-01-04-01-01-01-02", "01-01-05-02-01-01-02"]
    assert [(p.parent.name, p.stem, p.suffix) for p in clips] == [
        ("Actor_02", stem, ".mp4") for stem in wanted
    ]
    sound = len(read_audio(audio / "Actor_02" / "03-01-05-02-01-01-02.flac")[0]) / SR
    assert all(0 <= video_info(p).seconds - sound <= 0.0401 for p in clips)
    output = capsys.readouterr()
    for fault in (
        "01-01-03-01-01-01-02: no sound",
        "the cast has 24",
        "'a clip' is not",
        "'noise' is not",
        "01-01-06-01-01-01-02: an action unit is no number",
        "03-01-07-01-01-01-02.flac: no row",
        "03-01-05-01-01-01-02.wav: sound cannot be read",
        "-03: no neutral clip",
    ):
        assert output.err.count(fault) == 1, fault
    assert output.out == f"3 clips in {tmp_path}; 8 rows or sounds left out\n"
    before = [p.stat().st_mtime_ns for p in clips]
    clips[0].unlink()
    assert command.main(arguments) == 0
    assert [p.stat().st_mtime_ns for p in clips[1:]] == before[1:] and clips[0].exists()


def test_the_label_has_no_influence(material, tmp_path, monkeypatch):
    written = {}

    def keep(path, pictures, audio, fps):
        written[path.stem] = np.stack([picture for _, picture in zip(range(30), pictures)]), audio

    monkeypatch.setattr(clips, "write_clip", keep)
    jobs, _ = reenact.pairs(*material, [2])
    assert [reenact.make(job, tmp_path, 0) for job in jobs if "-05-01-" not in job[0].stem] == [
        "",
        "",
        "",
    ]
    neutral, sad, angry = (written[stem] for stem in sorted(written))
    assert all(np.array_equal(a, b) for a, b in zip(sad, angry))  # same sound, same units
    assert not np.array_equal(neutral[0], sad[0])


def test_refusals_take_one_line(material, tmp_path, capsys):
    units, audio = material
    bare = tmp_path / "bare.csv"
    bare.write_text("clip,AU01_r\n")
    for table, sounds, out, fault in (
        (units, audio, ROOT / "data" / "again", "lies in the repository"),
        (units, tmp_path / "none", tmp_path / "out", "no such folder"),
        (tmp_path / "none.csv", audio, tmp_path / "out", "No such file"),
        (bare, audio, tmp_path / "out", "no column AU02_r"),
    ):
        assert (
            command.main(
                ["reenact", "--units", str(table), "--audio", str(sounds), "--out", str(out)]
            )
            == 2
        )
        output = capsys.readouterr().err.strip()
        assert fault in output and "\n" not in output
    assert not (ROOT / "data" / "again").exists()
