import dataclasses
import json
import pickle
import shutil
import subprocess
import sys

import numpy as np
import pytest
import soundfile
from conftest import ROOT, talking, tone, write_clip

from cmlib import corpora
from cmlib.config import get_profile
from cmlib.preparation import keys, media, spectrograms, tracking, unprepared
from cmlib.preparation import prepare as preparing
from cmlib.preparation.prepare import prepare
from cmlib.preparation.store import Store, StoreError

SMOKE = get_profile("smoke")


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory, good_clip):
    """Clips of five actors, one without a face and one without a voice: prepared once."""
    root = tmp_path_factory.mktemp("tree")
    for actor in (1, 2, 3, 4):
        folder = root / f"Actor_{actor:02d}"
        folder.mkdir()
        shutil.copy(good_clip, folder / f"01-01-03-01-01-01-{actor:02d}.mp4")
    write_clip(
        root / "01-01-01-01-01-01-05.mp4", [np.full((64, 64, 3), 90, np.uint8)] * 10, tone(0.4)
    )
    write_clip(root / "01-01-08-02-01-01-05.mp4", talking(), np.zeros(38_400))
    return prepare("actors", SMOKE, root, tmp_path_factory.mktemp("cache"), workers=1), root


def test_table_and_arrays_belong_together(prepared):
    s, _ = prepared
    assert list(s.clips.columns) == [
        "name",
        "actor",
        "emotion",
        "label",
        "intensity",
        "statement",
        "repetition",
        "duration",
        "first_frame",
        "n_frames",
        "face_found",
        "face_rate",
        "silent",
        "file",
        "sound",
    ]
    assert len(s.clips) == 6 and s.clips.actor.dtype == int and s.clips.face_found.dtype == bool
    assert s.clips.name.is_monotonic_increasing
    assert s.frames.shape == (12, 32, 32, 3) and s.frames.dtype == np.uint8
    assert s.mels.shape == (6, 128, 128) and s.mels.dtype == np.float16
    assert np.array_equal(s.frame_clip, np.repeat(range(6), 2)) and s.frame_clip.dtype == np.int32
    assert list(s.clips.first_frame) == [0, 2, 4, 6, 8, 10]
    assert isinstance(s.frames, np.memmap) and isinstance(s.mels, np.memmap) and s.has_faces
    neutral = s.clips.set_index("name").loc["01-01-01-01-01-01-05"]
    assert (neutral.emotion, neutral.label, neutral.actor) == ("neutral", 0, 5)
    assert s.clips.duration.tolist() == pytest.approx([0.4, 0.8, 0.8, 0.8, 0.8, 0.8])


def test_arrays_hold_what_the_parts_give_alone(prepared):
    s, root = prepared
    clip = s.clips.iloc[2]
    path = root / clip.file
    frames, _ = media.read_video(path, 2)
    assert np.array_equal(
        s.frames[clip.first_frame : clip.first_frame + 2], tracking.crop_faces(frames, 32)[0]
    )
    assert np.array_equal(
        s.mels[2], spectrograms.mel_spectrogram(*media.read_audio(path)).astype(np.float16)
    )
    assert s.path(clip) == path


def test_faceless_and_silent_clips_are_kept_and_flagged(prepared):
    s, _ = prepared
    by_name = s.clips.set_index("name")
    assert not by_name.face_found["01-01-01-01-01-01-05"] and by_name.face_found.sum() == 5
    assert by_name.silent["01-01-08-02-01-01-05"] and by_name.silent.sum() == 1
    assert s.card["clips_without_face"] == 1 and s.card["silent_clips"] == 1
    assert not s.mels[list(s.clips.silent).index(True)].any() and np.isfinite(s.mels).all()
    assert np.all(np.abs(s.frames[:2].astype(int) - 90) < 4)  # the middle of a grey picture


def test_a_second_prepare_returns_at_once(prepared, monkeypatch):
    s, root = prepared
    monkeypatch.setattr(preparing, "_prepare_clips", lambda *a: pytest.fail("worked again"))
    again = prepare("actors", SMOKE, root, s.folder.parent)
    assert again.folder == s.folder and again.clips.equals(s.clips)
    assert not list(s.folder.parent.glob("*.part")) and not (s.folder / "clips").exists()


def test_the_key_is_the_same_in_another_place_and_at_another_time(prepared, tmp_path, monkeypatch):
    s, root = prepared
    clone = shutil.copytree(root, tmp_path / "elsewhere", copy_function=shutil.copy)  # new dates
    clips, _ = corpora.scan("actors", clone)
    settings = s.card["settings"]
    assert keys.inputs_key(clips, clone, settings) == s.card["key"]
    assert keys.inputs_key(clips, clone, settings | {"image_size": 64}) != s.card["key"]
    assert keys.inputs_key(clips[1:], clone, settings) != s.card["key"]
    data = clips[0].path.read_bytes()
    for changed in (b"\1" + data[1:], data[:-1] + b"\1", data + b"\0"):
        clips[0].path.write_bytes(changed)
        assert keys.inputs_key(clips, clone, settings) != s.card["key"]


def test_two_processes_give_the_bytes_of_one_and_do_not_run_the_script_again(corpus, tmp_path):
    """Nothing guards the script with ``if __name__ == "__main__"``: a notebook's cells do not."""
    every_frame = dataclasses.replace(SMOKE.data, frames_per_clip=0)
    one = prepare(
        "actors", dataclasses.replace(SMOKE, data=every_frame), corpus, tmp_path / "one", workers=1
    )
    script = f"""
import dataclasses, json
from cmlib.config import get_profile
from cmlib.preparation.prepare import prepare

smoke = get_profile("smoke")
profile = dataclasses.replace(smoke, data=dataclasses.replace(smoke.data, frames_per_clip=0))
print(json.dumps(prepare("actors", profile, {str(corpus)!r}, {str(tmp_path / "two")!r}, 2).card))"""
    process = subprocess.run(
        [sys.executable, "-"], input=script, cwd=ROOT, capture_output=True, text=True
    )
    (line,) = process.stdout.splitlines() or [process.stderr[-2000:]]
    assert len(one.clips) == 8 and one.card["frames"] == 20 * 8
    assert json.loads(line)["sha256"] == one.card["sha256"]


def test_a_few_clips_can_be_looked_at_before_anything_is_prepared(prepared, cache, monkeypatch):
    s, root = prepared
    monkeypatch.setattr(corpora, "current_root", lambda corpus, cache=None: root)
    raw = unprepared.open_or_scan("actors", SMOKE, cache)
    assert isinstance(raw, unprepared.UnpreparedCorpus)
    assert raw.has_faces
    assert raw.key == s.key
    assert not cache.exists()
    assert raw.clips.n_frames.eq(1).all()
    assert raw.clips.drop(columns="n_frames").equals(s.clips[raw.clips.columns[:-1]])
    for clip in range(len(s.clips)):
        assert np.array_equal(raw.frame(clip), s.frame(clip))
        assert np.array_equal(s.frame(clip), s.frames[2 * clip + 1])
        assert np.array_equal(raw.mel(clip), s.mel(clip)) and s.mel(clip).dtype == np.float32
        assert raw.path(raw.clips.iloc[clip]) == s.path(s.clips.iloc[clip])
    assert not cache.exists(), "looking has written something"
    assert unprepared.open_or_scan("actors", SMOKE, s.folder.parent).folder == s.folder, (
        "what is prepared is taken"
    )


def test_sound_alone_makes_a_corpus(tmp_path, cache):
    for actor in (1, 2):
        soundfile.write(tmp_path / f"03-01-04-01-01-01-{actor:02d}.flac", tone(0.5, 22_050), 22_050)
    s = prepare("ravdess", SMOKE, tmp_path, cache)
    assert not s.has_faces and s.frames.shape == (0, 32, 32, 3) and len(s.frame_clip) == 0
    assert s.mels.shape == (2, 128, 128) and s.clips.n_frames.sum() == 0


def test_picture_and_sound_from_two_files(tmp_path, cache):
    write_clip(tmp_path / "02-01-04-01-01-01-02.mp4", talking(), None)
    write_clip(tmp_path / "x.mp4", None, tone(0.8)).rename(tmp_path / "03-01-04-01-01-01-02.m4a")
    s = prepare("ravdess", SMOKE, tmp_path, cache)
    assert len(s.clips) == 1 and s.clips.sound[0] == "03-01-04-01-01-01-02.m4a" and s.mels[0].any()


def test_a_limit_spreads_over_actors_and_emotions():
    clips = [
        corpora.Clip(
            None,
            None,
            True,
            "actors",
            actor,
            emotion,
            1,
            statement,
            1,
            f"{actor:02d} {emotion} {statement}",
        )
        for actor in range(1, 25)
        for emotion in "abcdefgh"
        for statement in (1, 2)
    ]
    chosen = unprepared.choose_spread(clips, 96)
    assert len(chosen) == 96 and chosen == sorted(chosen, key=lambda c: c.name)
    actors, emotions = ([getattr(c, field) for c in chosen] for field in ("actor", "emotion"))
    assert {actors.count(a) for a in range(1, 25)} == {4}
    assert {emotions.count(e) for e in "abcdefgh"} == {12}
    assert unprepared.choose_spread(clips, None) == unprepared.choose_spread(clips, 1000) == clips


def test_another_process_gets_the_folder_and_not_the_arrays(prepared):
    s, _ = prepared
    assert s.frames.any() and s.mels.any()  # both are open now
    pickled = pickle.dumps(s)
    assert len(pickled) < 1000
    assert np.array_equal(pickle.loads(pickled).frames, s.frames)


def test_damage_is_noticed(prepared, tmp_path):
    folder = shutil.copytree(prepared[0].folder, tmp_path / "copy")
    assert Store.open(folder).verify() == []
    data = bytearray((folder / "mels.npy").read_bytes())
    data[-1] ^= 1
    (folder / "mels.npy").write_bytes(data)
    assert "mels.npy: changed since it was written" in Store.open(folder).verify()[0]
    (folder / "mels.npy").write_bytes(data[:-1])
    with pytest.raises(
        StoreError, match="mels.npy: .* bytes where .* are expected; run cm prepare"
    ):
        Store.open(folder)
    (folder / "mels.npy").write_bytes(data)
    (folder / "frames.npy").unlink()
    with pytest.raises(StoreError, match="frames.npy missing"):
        Store.open(folder)
    card = json.loads((prepared[0].folder / "card.json").read_text()) | {"format": 0}
    shutil.copy(prepared[0].folder / "frames.npy", folder)
    (folder / "card.json").write_text(json.dumps(card))
    with pytest.raises(StoreError, match="format 0"):
        Store.open(folder)


def test_a_moved_corpus_is_found_again(prepared, tmp_path, monkeypatch):
    s, root = prepared
    moved = dataclasses.replace(s)
    moved.__dict__["card"] = s.card | {"root": str(tmp_path / "gone")}
    with pytest.raises(StoreError, match="put the corpus back, or set CM_DATA"):
        moved.path(s.clips.iloc[0])
    shutil.copytree(root, tmp_path / "actors")
    monkeypatch.setenv("CM_DATA", str(tmp_path))
    assert moved.path(s.clips.iloc[0]).exists()


def test_the_folder_of_the_last_preparation_is_remembered(prepared, tmp_path, monkeypatch):
    """`cm prepare NAME --root FOLDER`, then notebooks that know only NAME."""
    s, root = prepared
    monkeypatch.setenv("CM_DATA", str(tmp_path))
    assert prepare("actors", SMOKE, cache=s.folder.parent).folder == s.folder
    (tmp_path / "actors").mkdir()  # the usual place goes first
    with pytest.raises(corpora.CorpusError, match="no clip"):
        prepare("actors", SMOKE, cache=s.folder.parent)


def test_a_video_without_sound_uses_its_sound_file(tmp_path, cache):
    """Its name says that it has sound, and a second file of the same recording has it."""
    film, sound = tmp_path / "01-01-04-01-01-01-02.mp4", tmp_path / "03-01-04-01-01-01-02.wav"
    write_clip(film, talking(), None)
    soundfile.write(sound, tone(0.8), 48_000)
    s = prepare("ravdess", SMOKE, tmp_path, cache)
    assert s.clips.file.tolist() == [film.name] and s.clips.sound.tolist() == [sound.name]
    assert s.clips.face_found.all() and s.mels[0].any() and s.skipped.empty
    assert s.path(s.clips.iloc[0]) == sound
    sound.unlink()
    other_key = unprepared.UnpreparedCorpus.scan("ravdess", SMOKE, tmp_path, cache).key
    assert other_key != s.key, "the sound belongs to the inputs"


def test_real_videos_prepare_as_they_are(shared_sample, tmp_path, cache):
    """One of 640 x 480 pixels with its sound, and a silent one with a sound file of its length."""
    shutil.copytree(shared_sample / "video", tmp_path / "video")
    with_sound, silent = sorted((tmp_path / "video").glob("*.mp4"))
    alone = prepare("ravdess", SMOKE, tmp_path / "video", cache)
    assert alone.clips.name.tolist() == [with_sound.stem]
    assert alone.skipped.path.tolist() == [str(silent)]
    assert alone.skipped.reason[0].endswith("no sound track; use a recording with sound")

    soundfile.write(tmp_path / "video" / f"03{silent.stem[2:]}.wav", tone(4.0), 48_000)
    both = prepare("ravdess", SMOKE, tmp_path / "video", cache)
    assert both.clips.actor.tolist() == [1, 19] and both.skipped.empty
    assert both.clips.emotion.tolist() == ["disgust", "surprised"]
    assert both.clips.face_rate.eq(1).all() and not both.clips.silent.any()
    assert both.clips.duration.between(3.9, 4.2).all()
