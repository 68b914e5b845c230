"""The crowd: pictures packed in one file, decoded once, with moods as labels."""

import io

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from PIL import Image

from cmlib.corpora import CorpusError, crowd
from cmlib.preparation import cropping, detector


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
    assert pictures.shape == (6, 32, 32, 3)
    assert pictures.dtype == np.uint8
    assert isinstance(pictures, np.memmap)
    assert np.allclose(pictures.mean((1, 2, 3)), 40 * np.arange(6), atol=3)
    three = crowd.load(32, 3).mean((1, 2, 3))
    assert np.allclose(three, [0, 80, 200], atol=3) or np.allclose(three, [0, 120, 200], atol=3)
    assert np.array_equal(crowd.load(32), pictures)
    assert len(list((small_crowd.parent / "cache").glob("*.npy"))) == 2


def test_moods_of_the_crowd_are_classes_in_the_order_of_its_pictures(small_crowd):
    labels = crowd.labels(crowd.table())
    assert labels.tolist() == [-1, 0, 1, 3, -1, 6]
    tones = crowd.load(32, 3).mean((1, 2, 3)) / 40
    assert crowd.labels(crowd.table(limit=3)).tolist() == labels[tones.round().astype(int)].tolist()
    assert crowd.labels(crowd.table(limit=0)).size == 0


def test_missing_voices_of_the_crowd_come_with_the_way_to_make_them(small_crowd):
    with pytest.raises(CorpusError, match="python -m tools.corpus voices makes them"):
        crowd.voices()
    np.save(small_crowd / "voices.npy", np.full((2, 128, 128, 1), 255, np.uint8))
    pd.DataFrame({"person": [1000, 1001], "mood": ["neutral", "sad"]}).to_csv(
        small_crowd / "voices.csv", index=False
    )
    pictures, table = crowd.voices()
    assert pictures.shape == (2, 128, 128, 1) and crowd.labels(table).tolist() == [-1, 2]


def test_the_crowd_is_the_shipped_one_where_there_is_no_other(small_crowd, monkeypatch):
    assert crowd.folder() == small_crowd
    monkeypatch.setenv("CM_DATA", str(small_crowd.parent / "other"))
    monkeypatch.setattr(crowd, "SHIPPED", small_crowd)
    assert crowd.folder() == small_crowd
    before = crowd.key()
    (small_crowd / "faces.csv").write_text(
        (small_crowd / "faces.csv").read_text().replace("angry", "sad")
    )
    assert crowd.key() != before  # other moods, another crowd
    monkeypatch.setattr(crowd, "SHIPPED", small_crowd / "none")
    with pytest.raises(CorpusError, match="git checkout data/crowd"):
        crowd.folder()


def test_crowd_may_be_missing_but_not_cut_short(small_crowd):
    assert crowd.load(16, root=small_crowd / "none").shape == (0, 16, 16, 3)
    (small_crowd / "faces.bin").write_bytes(b"short")
    with pytest.raises(CorpusError, match="shorter than faces.csv says"):
        crowd.load(16)


def test_crowd_is_framed_like_clips(tmp_path, monkeypatch):
    if not (ROOT / "data" / "crowd" / "faces.csv").exists():
        pytest.skip("the corpus crowd is not there")
    monkeypatch.setenv("CM_CACHE", str(tmp_path))
    faces = detector.find_faces(
        [np.pad(p, ((64, 64), (64, 64), (0, 0)), "edge") for p in crowd.load(128, 60)]
    )
    points = np.array([(p - 64) / 128 for p in faces if p is not None])
    assert len(points) >= 57
    eyes = points[:, :2].mean(1)
    assert np.allclose(np.median(eyes, 0), (0.5, cropping.EYE_HEIGHT), atol=0.02)
    distance = np.median(np.linalg.norm(points[:, 1] - points[:, 0], axis=1))
    assert (
        0.9 < distance * cropping.CROP_SIDE_IN_EYE_DISTANCES < 1.05
    )  # one would be the framing of clips; turned heads have it smaller
