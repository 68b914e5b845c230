import io

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from PIL import Image

from cmlib import corpora
from cmlib.corpora import CorpusError, crowd, scan
from cmlib.preparation import cropping, detector


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
    assert [c.emotion for c in clips] == ["happy", "sad", "angry"] and [c.actor for c in clips] == [
        1,
        2,
        3,
    ]
    assert len(skipped) == 3 and all(
        "duplicate: the same recording" in reason for _, reason in skipped
    )


def test_song_is_left_out_unless_asked_for(tmp_path):
    touch(tmp_path, "01-01-03-01-01-01-01.mp4", "01-02-03-01-01-01-01.mp4")
    clips, skipped = scan("ravdess", tmp_path)
    assert len(clips) == 1 and "song" in skipped[0][1]
    assert len(scan("ravdess+song", tmp_path)[0]) == 2  # speech and song are two recordings


def test_what_is_no_clip_is_listed_or_passed_over(tmp_path):
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
    assert (
        all("does not fit the modality" in reason for reason in reasons.values())
        and len(reasons) == 2
    )


def test_order_does_not_depend_on_the_file_system(tmp_path):
    touch(tmp_path, *(f"z{9 - a}/01-01-03-01-01-01-{a:02d}.mp4" for a in range(1, 9)))
    clips, _ = scan("actors", tmp_path)
    assert [c.actor for c in clips] == list(range(1, 9)) and {c.corpus for c in clips} == {"actors"}


def test_nothing_there_is_one_clear_line(tmp_path):
    with pytest.raises(CorpusError, match="no such folder; put the corpus ravdess there"):
        scan("ravdess", tmp_path / "none")
    with pytest.raises(CorpusError, match="no clip of ravdess in it"):
        scan("ravdess", tmp_path)
    touch(tmp_path, "holiday.mp4")
    with pytest.raises(CorpusError, match="1 files left out, the first because: name: 'holiday'"):
        scan("ravdess", tmp_path)
    with pytest.raises(CorpusError, match="choose one of actors, ravdess"):
        scan("celeba", tmp_path)
    with pytest.raises(CorpusError, match="actors has no 'song' to add; choose of actors alone"):
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


def test_the_real_sample_is_18_actors_of_60_clips(shared_sample):
    clips, skipped = scan("ravdess", shared_sample)
    assert len(clips) == 1080 and not skipped and not any(c.has_video for c in clips)
    counts = pd.Series([c.actor for c in clips]).value_counts()
    assert list(counts) == [60] * 18


@pytest.fixture
def small_crowd(tmp_path, monkeypatch):
    """Six pictures, packed as the corpus packs them."""
    monkeypatch.setenv("CM_DATA", str(tmp_path))
    monkeypatch.setenv("CM_CACHE", str(tmp_path / "cache"))
    parts, rows, moods = [], [], ("neutral", "calm", "happy", "angry", "neutral", "surprised")
    for i in range(6):
        Image.fromarray(np.full((128, 128, 3), 40 * i, np.uint8)).save(
            buffer := io.BytesIO(), "WEBP", quality=80
        )
        rows.append(
            {
                "offset": sum(map(len, parts)),
                "bytes": len(buffer.getvalue()),
                "person": 1000 + i,
                "mood": moods[i],
            }
        )
        parts.append(buffer.getvalue())
    (tmp_path / "crowd").mkdir()
    (tmp_path / "crowd" / "faces.bin").write_bytes(b"".join(parts))
    pd.DataFrame(rows).to_csv(tmp_path / "crowd" / "faces.csv", index=False)
    return tmp_path / "crowd"


def test_crowd_is_decoded_once_in_order(small_crowd):
    pictures = crowd.load(32)
    assert (
        pictures.shape == (6, 32, 32, 3)
        and pictures.dtype == np.uint8
        and isinstance(pictures, np.memmap)
    )
    assert np.allclose(pictures.mean((1, 2, 3)), 40 * np.arange(6), atol=3)
    three = crowd.load(32, 3).mean((1, 2, 3))
    assert np.allclose(three, [0, 80, 200], atol=3) or np.allclose(three, [0, 120, 200], atol=3)
    assert (
        np.array_equal(crowd.load(32), pictures)
        and len(list((small_crowd.parent / "cache").iterdir())) == 2
    )


def test_moods_of_the_crowd_are_classes_in_the_order_of_its_pictures(small_crowd):
    labels = crowd.labels(crowd.table())
    assert labels.tolist() == [-1, 0, 1, 3, -1, 6]
    tones = crowd.load(32, 3).mean((1, 2, 3)) / 40
    assert crowd.labels(crowd.table(limit=3)).tolist() == labels[tones.round().astype(int)].tolist()
    assert crowd.labels(crowd.table(limit=0)).size == 0


def test_voices_of_the_crowd_are_asked_for_where_they_are_not(small_crowd):
    with pytest.raises(CorpusError, match="python -m tools.corpus voices makes them"):
        crowd.voices()
    np.save(small_crowd / "voices.npy", np.full((2, 128, 128, 1), 255, np.uint8))
    pd.DataFrame({"person": [1000, 1001], "mood": ["neutral", "sad"]}).to_csv(
        small_crowd / "voices.csv", index=False
    )
    pictures, table = crowd.voices()
    assert pictures.shape == (2, 128, 128, 1) and crowd.labels(table).tolist() == [-1, 2]


def test_the_crowd_is_the_shipped_one_where_there_is_no_other(small_crowd, monkeypatch):
    assert crowd.home() == small_crowd
    monkeypatch.setenv("CM_DATA", str(small_crowd.parent / "other"))
    monkeypatch.setattr(crowd, "SHIPPED", small_crowd)
    assert crowd.home() == small_crowd
    before = crowd.key()
    (small_crowd / "faces.csv").write_text(
        (small_crowd / "faces.csv").read_text().replace("angry", "sad")
    )
    assert crowd.key() != before  # other moods, another crowd
    monkeypatch.setattr(crowd, "SHIPPED", small_crowd / "none")
    with pytest.raises(CorpusError, match="git checkout data/crowd"):
        crowd.home()


def test_crowd_may_be_missing_but_not_torn(small_crowd):
    assert crowd.load(16, root=small_crowd / "none").shape == (0, 16, 16, 3)
    (small_crowd / "faces.bin").write_bytes(b"short")
    with pytest.raises(CorpusError, match="shorter than faces.csv says"):
        crowd.load(16)


def test_crowd_is_framed_like_clips(tmp_path, monkeypatch):
    if not (ROOT / "data" / "crowd" / "faces.csv").exists():
        pytest.skip("the corpus crowd is not there")
    monkeypatch.setenv("CM_CACHE", str(tmp_path))
    found = detector.find_faces(
        [np.pad(p, ((64, 64), (64, 64), (0, 0)), "edge") for p in crowd.load(128, 60)]
    )
    points = np.array([(p - 64) / 128 for p in found if p is not None])
    assert len(points) >= 57
    eyes = points[:, :2].mean(1)
    assert np.allclose(np.median(eyes, 0), (0.5, cropping.EYE_HEIGHT), atol=0.02)
    distance = np.median(np.linalg.norm(points[:, 1] - points[:, 0], axis=1))
    assert (
        0.9 < distance * cropping.CROP_SIDE_IN_EYE_DISTANCES < 1.05
    )  # one would be the framing of clips; turned heads have it smaller
