"""Forty spoiled or odd inputs in one tree: each is used or reported, and none stops the rest."""

import errno
import os
import re

import av
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from spoiled_files import (
    CASES,
    CLIP,
    FACELESS,
    FRAMES,
    OUTCOMES,
    SILENT,
    good,
    packed,
    written_clip,
)

from cmlib.cli import main
from cmlib.config import get_profile
from cmlib.corpora import archives
from cmlib.corpora.names import EMOTIONS
from cmlib.plots import kinds
from cmlib.preparation import media
from cmlib.preparation.prepare import prepare
from cmlib.preparation.store import Store, StoreError

SMOKE = get_profile("smoke")


@pytest.fixture(scope="module")
def spoiled(tmp_path_factory) -> tuple[Store, dict]:
    """The tree with all of them and three good clips, prepared once; the path of each case."""
    root, paths = tmp_path_factory.mktemp("tree"), {}
    for number, (case, (name, write, _)) in enumerate(CASES.items(), 1):
        paths[case] = path = root / name.format(f"{number:02d}")
        path.parent.mkdir(exist_ok=True)
        write(path)
    for actor in (97, 98, 99):
        (root / CLIP.format(actor)).write_bytes(good())
    (root / "round").symlink_to(root, target_is_directory=True)  # links that go round in circles
    (root / "holiday.mp4.part").write_bytes(good())  # a download that is not finished
    return prepare("ravdess", SMOKE, root, tmp_path_factory.mktemp("cache"), workers=1), paths


@pytest.mark.parametrize("case", [c for c in CASES if CASES[c][2] in OUTCOMES])
def test_it_is_used_correctly(spoiled, case):
    store, _ = spoiled
    number, outcome = list(CASES).index(case) + 1, CASES[case][2]
    (row,) = store.clips[store.clips.actor == number].itertuples()
    mel = store.mels[row.Index]
    assert np.isfinite(mel).all() and mel.any() != row.silent
    assert row.silent == (outcome == SILENT)
    if row.name.startswith("03-"):
        assert row.n_frames == 0
    else:
        assert row.n_frames == (1 if case == "one frame" else 2)
        assert row.face_found == (outcome != FACELESS)


@pytest.mark.parametrize("case", [c for c in CASES if CASES[c][2] not in OUTCOMES])
def test_it_is_reported_by_name_in_one_line(spoiled, case):
    store, paths = spoiled
    number, reason = list(CASES).index(case) + 1, CASES[case][2]
    assert number not in set(store.clips.actor)
    skipped = store.skipped[[path.split("!")[0] == str(paths[case]) for path in store.skipped.path]]
    (line,) = skipped.reason
    assert re.search(reason, line) and paths[case].stem in line and "\n" not in line
    remedies = ("again", "use a", "rename", "remove", "publisher", "seven two-digit numbers")
    assert any(remedy in line for remedy in remedies)


def test_nothing_stops_the_rest_and_nothing_is_forgotten(spoiled):
    store, _ = spoiled
    used = [case for case, (*_, outcome) in CASES.items() if outcome in OUTCOMES]
    assert len(store.clips) == len(used) + 3
    (unfinished,) = store.skipped.path[store.skipped.reason.str.startswith("download: ")]
    assert unfinished.endswith("holiday.mp4.part")
    assert len(store.skipped) == len(CASES) - len(used) + 1
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
    assert str(path).endswith(f"{row.actor}.zip!/Actor_x/" + CLIP.format(row.actor))
    assert archives.exists(path) and not path.exists()
    assert len(media.read_audio(path)[0]) == 38_400 and len(media.read_video(path)[0]) == 20
    for missing in (path.with_name("x.mp4"), path.parents[2] / "99.zip!/x.mp4"):
        assert not archives.exists(missing)
        with pytest.raises(media.MediaError, match="no such file|cannot be read"):
            media.read_video(missing)


def test_the_contact_sheet_shows_each_actor_and_emotion(corpus, tmp_path, capsys, monkeypatch):
    written_clip([np.zeros_like(f) for f in FRAMES])(corpus / "01-01-08-01-01-01-01.mp4")
    drawn = {}
    real = kinds.image_grid
    monkeypatch.setattr(kinds, "image_grid", lambda *a, **k: drawn.update(grid=a) or real(*a, **k))
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
    assert Image.open(tmp_path / "new" / "sheet.png").width > 300
    assert "contact sheet: " in capsys.readouterr().out
    crops, actors, emotions, captions = drawn["grid"]
    assert actors == ["1", "2", "3", "10"] and emotions == list(EMOTIONS)
    assert [[c is not None for c in row] for row in crops] == [
        [e in ("happy", "angry", a) for e in EMOTIONS] for a in ("surprised", "", "", "")
    ]
    assert captions[0][-1] == "no face" and sum(map(bool, sum(captions, []))) == 1


def test_all_real_sound_prepares_without_a_skip(shared_sample, tmp_path):
    s = prepare("ravdess", "quick", shared_sample / "audio", tmp_path, workers=1)
    assert len(s.clips) == 1080 and s.clips.actor.nunique() == 18
    assert s.skipped.empty and not s.clips.silent.any()
    assert np.isfinite(s.mels).all() and s.mels.max() == 1


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
            packed((CLIP, content))(tmp_path / folder / "12.zip")
        else:
            (tmp_path / folder / CLIP.format(12)).write_bytes(good())
        card = prepare("ravdess", SMOKE, tmp_path / folder, tmp_path / "cache", workers=1).card
        keys.append(card["key"])
        sums.append([card["sha256"][f"{name}.npy"] for name in ("frames", "mels")])
    assert keys[0] == keys[1] and len(set(keys)) == 3
    assert sums[0] == sums[1] == sums[2] == sums[3]


def test_an_unreadable_file_is_listed(corpus, tmp_path, monkeypatch):
    locked = corpus / "Actor_01" / "01-01-03-01-01-01-01.mp4"
    if os.geteuid():
        locked.chmod(0)
    else:  # root may read everything
        real = av.open

        def open_unless_locked(file, *arguments, **options):
            if file == str(locked):
                raise PermissionError(errno.EACCES, "Permission denied")
            return real(file, *arguments, **options)

        monkeypatch.setattr(av, "open", open_unless_locked)
    s = prepare("actors", SMOKE, corpus, tmp_path / "cache", workers=1)
    assert len(s.clips) == 7 and "Permission denied" in s.skipped.reason[0]


def test_noise_inside_a_video_is_noise_or_a_line_but_no_crash(corpus, tmp_path):
    """What a decoder makes of it does not matter."""
    noise = np.random.default_rng(0).bytes(len(good()) - 3000)
    (corpus / "01-01-06-01-01-01-01.mp4").write_bytes(good()[:3000] + noise)
    s = prepare("actors", SMOKE, corpus, tmp_path / "cache", workers=1)
    assert len(s.clips) + len(s.skipped) == 9 and len(s.clips) >= 8 and np.isfinite(s.mels).all()


def test_nothing_usable_at_all_is_one_line(tmp_path):
    (tmp_path / "01-01-06-01-01-01-01.mp4").write_text("not a video\n" * 200)
    with pytest.raises(StoreError, match="none of 1 clips can be used; the first: .*not a video"):
        prepare("actors", SMOKE, tmp_path, tmp_path / "cache")
