"""MEAD as it is published: embedded clips in its layout, transcoded to its sizes.

They go through scan, prepare and training.
"""

import dataclasses

import numpy as np
import pytest
from conftest import RATE, ROOT, tone, write_clip
from PIL import Image

from cmlib import files
from cmlib.cli import main
from cmlib.config import PROFILES
from cmlib.corpora import CorpusError, mead, scan
from cmlib.corpora.names import CLASSES, MEAD_CLASSES, MeadName, classes_of
from cmlib.corpora.splits import fold_of
from cmlib.experiment.run import Run
from cmlib.perceiver import Perceiver
from cmlib.preparation import media
from cmlib.preparation.prepare import prepare

TAKES = {  # MEAD path -> embedded clip
    "M003/front/angry/level_2/001": "Actor_01/01-01-05-02-01-01-01",
    "M003/front/neutral/level_1/001": "Actor_01/01-01-01-01-01-01-01",
    "W009/front/contempt/level_1/012": "Actor_02/01-01-02-01-01-01-02",
    "W009/front/happy/level_3/002": "Actor_02/01-01-03-02-01-01-02",
    "W009/left_30/happy/level_3/002": "Actor_02/01-01-03-02-01-01-02",
}


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """Five videos of 1920 x 1080 at 30 frames a second without sound, and four sounds of 48 kHz."""
    root = tmp_path_factory.mktemp("MEAD")
    for path, clip in TAKES.items():
        actor, view, rest = path.split("/", 2)
        source = ROOT / "data" / "actors" / f"{clip}.mp4"
        frames, _ = media.read_video(source, 8)
        wide = []
        for frame in frames:
            canvas = Image.new("RGB", (1920, 1080), (70, 90, 80))
            canvas.paste(Image.fromarray(frame).resize((900, 900)), (510, 150))
            wide.append(np.asarray(canvas))
        write_clip(root / actor / "video" / view / f"{rest}.mp4", wide, None, fps=30)
        sound, rate = media.read_audio(source)
        if not (target := root / actor / "audio" / f"{rest}.m4a").exists():
            sound = np.interp(
                np.arange(RATE) * rate / RATE, np.arange(len(sound)), sound
            )  # its first second
            write_clip(target.with_suffix(".mp4"), None, sound, rate=RATE).rename(target)
    return root


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


def test_sound_joins_its_picture_and_prepare_reads_both(tree, tmp_path):
    s = prepare("mead", "smoke", tree, tmp_path, workers=1)
    clips = s.clips.set_index("name")
    assert list(clips.index) == [
        "M003-angry-2-001",
        "M003-neutral-1-001",
        "W009-contempt-1-012",
        "W009-happy-3-002",
    ]
    assert clips.actor.tolist() == [103, 103, 209, 209] and clips.intensity.tolist() == [2, 1, 1, 3]
    assert clips.emotion.tolist() == [
        "angry",
        "neutral",
        "contempt",
        "happy",
    ]
    assert clips.label.tolist() == [4, 0, -1, 2]
    assert clips.sound["W009-contempt-1-012"] == "W009/audio/contempt/level_1/012.m4a"
    assert clips.file["W009-contempt-1-012"] == "W009/video/front/contempt/level_1/012.mp4"
    assert (clips.n_frames == 2).all() and clips.face_found.all() and not clips.silent.any()
    assert s.frames.shape == (8, 32, 32, 3) and s.mels.astype(float).std((1, 2)).min() > 0.05
    reasons = "\n".join(s.skipped.reason)
    assert "view: left_30, 1 videos" in reasons
    assert "missing: front of angry level_1" in reasons
    assert "(20 of 22)" in reasons


def test_other_views_are_clips_of_the_same_recording(tree):
    clips, skipped = scan("mead+top+left_30", tree)
    assert [c.name for c in clips][-2:] == ["W009-happy-3-002", "W009-happy-3-002-left_30"]
    assert clips[-1].audio_path == clips[-2].audio_path and clips[-1].actor == clips[-2].actor
    lacking = {path.name: reason for path, reason in skipped if "missing: view" in reason}
    assert lacking == {"M003": "missing: view left_30, top", "W009": "missing: view top"}
    with pytest.raises(
        CorpusError, match=r"cannot add 'side' to mead; choose from mead\+down, mead\+left_30"
    ):
        scan("mead+side", tree)


def test_a_view_that_mead_does_not_have_is_named(tmp_path):
    touch(tmp_path, "M005/video/front/sad/level_1/001.mp4", "M005/video/behind/sad/level_1/001.mp4")
    reasons = [reason for _, reason in scan("mead", tmp_path)[1] if reason.startswith("view: ")]
    assert reasons == ["view: behind, 1 videos left out; MEAD has no such camera"]


def test_what_was_added_is_prepared_once_and_found_by_its_name(tree, tmp_path, monkeypatch):
    monkeypatch.setenv("CM_DATA", str(tmp_path / "none"))
    monkeypatch.setenv("CM_CACHE", str(tmp_path / "cache"))
    assert main(["prepare", "mead+left_30", "--root", str(tree), "--profile", "smoke"]) == 0
    run = Run("mead+left_30", "smoke")
    assert len(run.store.clips) == 5
    assert len(list((tmp_path / "cache").glob("mead*-*/card.json"))) == 1
    assert run.classes == MEAD_CLASSES and run.store.card["corpus"] == run.corpus
    assert run.folder.name == "mead+left_30-smoke"
    assert (
        len(Run("mead", "smoke").store.clips) == 4
    )  # the same folder, found through the other's card


def test_a_partial_download_is_used_and_counted(tmp_path):
    touch(tmp_path, "M005/video/front/sad/level_1/001.mp4", "M005/video/front/sad/level_1/002.mp4")
    touch(
        tmp_path,
        "M005/audio/sad/level_1/001.m4a",
        "M005/audio/sad/level_1/003.m4a",
        "M007/video.tar",
        "M007/audio.tar",
    )
    touch(
        tmp_path,
        "M005/video/front/bored/level_1/001.mp4",
        "M005/video/front/sad/level_1/001.m4a",
        "W011/audio/sad/level_3/001.m4a",
    )
    touch(tmp_path, "copy/M005/audio/sad/level_1/001.m4a")
    clips, skipped = scan("mead", tmp_path)
    assert [(c.name, c.has_video, c.audio_path and c.audio_path.name) for c in clips] == [
        ("M005-sad-1-001", True, "001.m4a"),
        ("M005-sad-1-002", True, None),
        ("M005-sad-1-003", False, None),
        ("W011-sad-3-001", False, None),
    ]
    reasons = [f"{path.relative_to(tmp_path)}: {reason}" for path, reason in skipped]
    for wanted in (
        "M005: missing: the sound of 1 of 2 filmed takes",
        "M005: missing: the video of 1 of 2 takes with sound",
        "M005: missing: front of angry level_1",
        "W011: missing: view front",
        "M007/video.tar: not a tar archive, or cut short",
        "M005/video/front/bored/level_1/001.mp4: name: ",
        "M005/video/front/sad/level_1/001.m4a: suffix: ",
        "duplicate: the same recording as",
    ):
        assert sum(wanted in reason for reason in reasons) == 1, wanted


def test_the_sound_track_of_a_video_serves_where_there_is_no_sound_file(tmp_path, good_clip):
    path = tmp_path / "M003" / "video" / "front" / "sad" / "level_1" / "001.mp4"
    path.parent.mkdir(parents=True)
    path.write_bytes(good_clip.read_bytes())
    assert prepare("mead", "smoke", tmp_path, tmp_path / "cache").mels[0].any()


def test_classes_keep_their_number_and_contempt_takes_calm(tree):
    assert len(MEAD_CLASSES) == 7
    assert set(MEAD_CLASSES) - set(CLASSES) == {"contempt"}
    assert MEAD_CLASSES[1:] == CLASSES[1:]
    assert classes_of("mead") == classes_of("mead_released") == MEAD_CLASSES
    assert classes_of("ravdess") == CLASSES
    assert classes_of("mead", neutral=True) == (*MEAD_CLASSES, "neutral")
    assert (
        MeadName.parse("M009/audio/sad/level_1/001.m4a").number
        != MeadName.parse("W009/audio/sad/level_1/001.m4a").number
    )
    assert (
        {fold_of(100 + n) for n in range(1, 43)}
        == {fold_of(200 + n) for n in range(1, 43)}
        == {1, 2, 3, 4, 5}
    )


@pytest.fixture
def small(tmp_path, monkeypatch, good_clip):
    """Makes five actors with a clip of each of these words, and a folder for the results."""
    monkeypatch.setenv("CM_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("CM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(files, "ROOT", tmp_path)

    def make(*words):
        for actor in ("M001", "M002", "M003", "M004", "W005"):
            for word in words:
                path = (
                    tmp_path
                    / "data"
                    / "mead"
                    / actor
                    / "video"
                    / "front"
                    / word
                    / "level_1"
                    / "001.mp4"
                )
                path.parent.mkdir(parents=True)
                path.write_bytes(good_clip.read_bytes())

    return make


@pytest.mark.parametrize(
    "profile, classes", [("smoke", MEAD_CLASSES), ("smoke-8", (*MEAD_CLASSES, "neutral"))]
)
def test_training_knows_seven_classes_or_eight(small, profile, classes):
    small("contempt", "angry", "neutral")
    run = Run("mead", profile)
    seven = len(classes) == 7
    assert run.classes == classes
    assert sorted(set(run.clip_labels)) == ([-1, 0, 3] if seven else [0, 3, 7])
    rows = run.frames_of(run.split.test)
    assert len(rows) == (4 if seven else 6)
    assert run.log_probabilities("voice", rows).shape == (
        len(rows),
        len(classes),
    )
    assert run.log_probabilities("can", rows).shape[1] == len(classes)
    perception = Perceiver.load(run.folder).perceive(np.array(run.store.frames[0]), tone(0.8), 0.5)
    assert perception.label in classes and tuple(perception.summary()["in_context"]) == classes


def test_contempt_has_the_faces_of_the_corpus_alone(small, crowd_of, monkeypatch):
    small("contempt", "angry", "happy")
    crowd_of(5, "neutral", "calm", "angry", "happy")
    monkeypatch.setitem(
        PROFILES,
        "smoke",
        dataclasses.replace(
            PROFILES["smoke"], can=dataclasses.replace(PROFILES["quick"].can, epochs=1)
        ),
    )
    run = Run("mead", "smoke")
    _, labels, people = run.crowd_faces()
    assert labels.tolist() == [-1, run.classes.index("angry"), run.classes.index("happy")] * 5
    assert len(people) == 15  # calm is no class of MEAD
    can = run.can()
    assert (
        can.config["directions"] == 3
    )  # four kinds of faces: neutral of the crowd, three of the corpus
    assert run.log_probabilities("can", run.frames_of(run.split.test), can).shape[1] == len(
        run.classes
    )


def test_without_neutral_faces_there_are_fewer_directions_and_a_line_says_so(
    small, monkeypatch, capsys
):
    small("contempt", "angry", "happy")
    quick = dataclasses.replace(PROFILES["quick"].can, epochs=1, crowd=0.0)
    monkeypatch.setitem(PROFILES, "smoke", dataclasses.replace(PROFILES["smoke"], can=quick))
    run = Run("mead", "smoke")
    assert quick.directions == 6 and quick.neutral and run.can().config["directions"] == 2
    line = (
        "can: no training faces of neutral, sad, fearful, disgust, surprised, "
        "so 2 directions of expression, not 6"
    )
    assert line in capsys.readouterr().out
    assert run.log_probabilities("can", run.frames_of(run.split.test)).shape[1] == 7


def test_the_command_says_what_is_missing(tree, tmp_path, capsys):
    assert (
        main(
            ["prepare", "mead", "--root", str(tree), "--profile", "smoke", "--cache", str(tmp_path)]
        )
        == 0
    )
    out = capsys.readouterr().out
    assert "mead: 4 clips of 2 actors" in out and "W009: missing: front of angry level_1" in out
    assert "left_30: view: left_30, 1 videos left out; the corpus mead+left_30 has them" in out
    assert main(["prepare", "mead+behind", "--root", str(tree)]) == 1
    assert mead.VIEWS[-1] in capsys.readouterr().err
