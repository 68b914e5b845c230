import pandas as pd
import pytest
from conftest import ROOT

from cmlib import corpora
from cmlib.corpora import CorpusError, scan


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


def test_a_recording_is_counted_once_whatever_files_it_has(tmp_path):
    touch(
        tmp_path,
        "Video_Speech_Actor_01/Actor_01/01-01-03-01-01-01-01.mp4",  # audio-visual
        "Video_Speech_Actor_01/Actor_01/02-01-03-01-01-01-01.mp4",  # the same without sound
        "Audio_Speech_Actors_01-24/Actor_01/03-01-03-01-01-01-01.wav",  # the same without picture
        "Actor_02/02-01-04-01-01-01-02.mp4",  # picture and sound apart
        "Actor_02/03-01-04-01-01-01-02.wav",
        "Actor_03/03-01-05-01-01-01-03.flac",  # sound only
        "copy/Actor_03/03-01-05-01-01-01-03.wav",
    )
    clips, skipped = scan("ravdess", tmp_path)
    assert [c.name for c in clips] == [
        "01-01-03-01-01-01-01",
        "02-01-04-01-01-01-02",
        "03-01-05-01-01-01-03",
    ]
    assert [c.has_video for c in clips] == [True, True, False]
    assert [c.audio_path and c.audio_path.name for c in clips] == [
        None,
        "03-01-04-01-01-01-02.wav",
        None,
    ]
    assert [c.emotion for c in clips] == ["happy", "sad", "angry"]
    assert [c.actor for c in clips] == [
        1,
        2,
        3,
    ]
    assert len(skipped) == 3
    assert all("duplicate: the same recording" in reason for _, reason in skipped)


def test_song_is_left_out_unless_asked_for(tmp_path):
    touch(tmp_path, "01-01-03-01-01-01-01.mp4", "01-02-03-01-01-01-01.mp4")
    clips, skipped = scan("ravdess", tmp_path)
    assert len(clips) == 1 and "song" in skipped[0][1]
    assert len(scan("ravdess+song", tmp_path)[0]) == 2  # speech and song are two recordings


def test_files_that_are_not_clips_are_listed_or_ignored(tmp_path):
    touch(
        tmp_path,
        "01-01-03-01-01-01-01.mp4",
        "holiday.mp4",
        "03-01-03-01-01-01-02.mp4",
        "01-01-03-01-01-01-03.wav",
    )
    touch(
        tmp_path,
        "._01-01-03-01-01-01-04.mp4",
        ".cache/01-01-03-01-01-01-05.mp4",
        "README.md",
        "01-01-03-x.jpg",
    )
    clips, skipped = scan("ravdess", tmp_path)
    assert len(clips) == 1
    reasons = {path.name: reason for path, reason in skipped}
    assert "seven two-digit numbers" in reasons.pop("holiday.mp4")
    assert "a file with .jpg is not read" in reasons.pop("01-01-03-x.jpg")
    assert all("does not fit the modality" in reason for reason in reasons.values())
    assert len(reasons) == 2


def test_order_does_not_depend_on_the_file_system(tmp_path):
    touch(tmp_path, *(f"z{9 - a}/01-01-03-01-01-01-{a:02d}.mp4" for a in range(1, 9)))
    clips, _ = scan("actors", tmp_path)
    assert [c.actor for c in clips] == list(range(1, 9)) and {c.corpus for c in clips} == {"actors"}


def test_a_corpus_without_clips_is_one_clear_line(tmp_path):
    with pytest.raises(CorpusError, match="no such folder; put the corpus ravdess there"):
        scan("ravdess", tmp_path / "none")
    with pytest.raises(CorpusError, match="no clip of ravdess in it"):
        scan("ravdess", tmp_path)
    touch(tmp_path, "holiday.mp4")
    with pytest.raises(CorpusError, match="1 files left out, the first because: name: 'holiday'"):
        scan("ravdess", tmp_path)
    with pytest.raises(CorpusError, match="choose one of actors, ravdess"):
        scan("celeba", tmp_path)
    with pytest.raises(CorpusError, match="cannot add 'song' to actors; choose from actors alone"):
        scan("actors+song", tmp_path)


def test_folders_come_from_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("CM_DATA", str(tmp_path))
    assert (
        corpora.default_root("ravdess")
        == corpora.default_root("ravdess+song")
        == tmp_path / "ravdess"
    )
    monkeypatch.delenv("CM_DATA")
    assert corpora.default_root("actors") == ROOT / "data" / "actors"


def test_the_real_sample_is_18_actors_of_60_clips_and_a_silent_video(shared_sample):
    clips, skipped = scan("ravdess", shared_sample)
    counts = pd.Series([clip.actor for clip in clips]).value_counts()
    assert counts.to_dict() == dict.fromkeys(range(1, 19), 60) | {19: 1}
    videos = [clip.name for clip in clips if clip.has_video]
    assert videos == ["01-01-07-02-02-01-01", "01-01-08-02-01-01-19"]
    reasons = {path.name: reason.partition(":")[0] for path, reason in skipped}
    assert reasons.pop("03-01-07-02-02-01-01.flac") == "duplicate"
    assert set(reasons.values()) == {"suffix"}  # portraits and a single frame are no clips
