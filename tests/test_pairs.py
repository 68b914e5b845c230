"""Faces of one set of pictures with voices of another corpus, from a table to scores."""

import dataclasses
import wave
from collections import Counter

import numpy as np
import pytest
from conftest import face
from PIL import Image

from cmlib import config, corpora
from cmlib.checkpoints import CheckpointError
from cmlib.cli import main
from cmlib.config import get_profile
from cmlib.corpora import CorpusError, split_pair
from cmlib.corpora.names import CLASSES, EMOTIONS, MEAD_CLASSES, ClipName, classes_of
from cmlib.corpora.splits import fold_of
from cmlib.evaluation import representations
from cmlib.experiment import plan
from cmlib.experiment.run import Run
from cmlib.preparation.store import Store

PEOPLE = (1, 2, 3, 4, 5, 6)  # of folds 5, 1, 2, 5, 1 and 2; in fold 1, persons 3 and 6 validate
ACTORS = (1, 2, 3, 4, 5, 6)


def write_pictures(folder, table, people=PEOPLE, emotions=CLASSES, separator=","):
    """A drawn face of each person and emotion, and a table beside the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [separator.join(("file", "person", "emotion", "manner"))]
    for number, person in enumerate(people):
        for i, emotion in enumerate(emotions):
            skin = (150 + 15 * number, 120 + 10 * number, 100)
            drawn = face(160, dx=0.01 * i, dy=0.01 * (number - 2), skin=skin)
            Image.fromarray(drawn).save(folder / f"p{person}_{emotion}.png")
            row = (f"{folder.name}/p{person}_{emotion}.png", str(person), emotion, "drawn")
            lines.append(separator.join(row))
    table.write_text("\n".join(lines) + "\n")


def write_voices(folder, actors=ACTORS, rate=16_000):
    """Audio-only files in the layout of RAVDESS: a tone for each actor, emotion and statement."""
    for actor in actors:
        where = folder / f"Actor_{actor:02d}"
        where.mkdir(parents=True, exist_ok=True)
        for i, emotion in enumerate(EMOTIONS):
            for statement in (1, 2):
                name = ClipName(actor, "speech", emotion, 1, statement, 1, "audio-only")
                seconds = np.arange(int(0.6 * rate)) / rate
                tone = np.sin(2 * np.pi * (150 + 60 * i + 7 * actor + statement) * seconds)
                with wave.open(str(where / f"{name.stem}.wav"), "wb") as file:
                    file.setnchannels(1)
                    file.setsampwidth(2)
                    file.setframerate(rate)
                    file.writeframes((8000 * tone).astype("<i2").tobytes())


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    write_pictures(root / "drawn", root / "drawn.csv")
    write_voices(root / "ravdess")
    return root


@pytest.fixture
def elsewhere(data, tmp_path, monkeypatch):
    """Corpora, prepared corpora and runs of their own; the folder of the corpora."""
    monkeypatch.setenv("CM_DATA", str(data))
    monkeypatch.setenv("CM_CACHE", str(tmp_path / "prepared"))
    return data


def test_a_plus_means_a_pair_or_an_addition():
    assert split_pair("performers+ravdess") == ("performers", "ravdess")
    assert split_pair("performers+ravdess+song") == ("performers", "ravdess+song")
    for corpus in ("ravdess", "ravdess+song", "mead+left_30", "actors+ravdess", "performers"):
        assert split_pair(corpus) is None
    with pytest.raises(CorpusError, match=r"as in performers\+ravdess"):
        corpora.split_name("performers")
    assert classes_of("performers+ravdess") == CLASSES
    assert classes_of("performers+mead+top") == MEAD_CLASSES


def test_faces_meet_voices_of_their_emotion_and_fold(elsewhere):
    clips, skipped = corpora.scan("drawn+ravdess")
    assert not skipped
    assert all(fold_of(clip.actor) == fold_of(clip.voice_actor) for clip in clips)
    for clip in clips:
        spoken = ClipName.parse(clip.audio_path.stem).emotion
        assert spoken == clip.emotion
        assert clip.path.stem.endswith("calm" if spoken == "neutral" else spoken)
    # Each picture has three different voices, and no voice is used much more often than others.
    names = Counter((clip.path.name, clip.emotion) for clip in clips)
    assert set(names.values()) == {3} and len({clip.name for clip in clips}) == len(clips)
    for fold in (1, 2, 5):
        for emotion in EMOTIONS:
            used = Counter(
                clip.audio_path.name
                for clip in clips
                if (fold_of(clip.actor), clip.emotion) == (fold, emotion)
            )
            assert max(used.values()) - min(used.values()) <= 1
    assert clips == corpora.scan("drawn+ravdess")[0]


def test_calm_pictures_count_as_neutral_only_where_there_are_no_others(elsewhere, tmp_path):
    assert {clip.emotion for clip in corpora.scan("drawn+ravdess")[0]} == set(EMOTIONS)
    write_pictures(tmp_path / "faces", tmp_path / "faces.csv", emotions=("calm", "neutral"))
    clips, _ = corpora.scan("faces+ravdess", tmp_path / "faces")
    assert all(clip.path.stem.endswith(clip.emotion) for clip in clips)


def test_voices_of_mead_bring_their_own_emotions(elsewhere, tmp_path):
    emotions = ("happy", "contempt", "calm")
    write_pictures(tmp_path / "faces", tmp_path / "faces.csv", (1, 2, 3, 5), emotions)
    for person in range(3, 8):  # M003 is 103, of fold 3; and so on
        for word, level in (("happy", 2), ("contempt", 3), ("neutral", 1)):
            sound = tmp_path / f"mead/M{person:03d}/audio/{word}/level_{level}/001.m4a"
            sound.parent.mkdir(parents=True)
            sound.touch()
    clips, _ = corpora.scan("faces+mead", tmp_path / "faces", tmp_path / "mead")
    assert {clip.emotion for clip in clips} == {"happy", "contempt", "neutral"}
    assert all(fold_of(clip.actor) == fold_of(clip.voice_actor) for clip in clips)
    # MEAD has no calm voices, so calm faces are neutral and nothing else.
    neutral = [clip.path.stem for clip in clips if clip.emotion == "neutral"]
    assert neutral and all(stem.endswith("calm") for stem in neutral)


def test_a_picture_without_a_voice_is_named(elsewhere, tmp_path):
    people, emotions = ("ann", "bob", "cid"), ("happy", "contempt")  # of folds 5, 1 and 2
    write_pictures(tmp_path / "faces", tmp_path / "faces.csv", people, emotions)
    write_voices(tmp_path / "voices", actors=(1, 2))  # of folds 5 and 1
    clips, skipped = corpora.scan("faces+ravdess", tmp_path / "faces", tmp_path / "voices")
    assert {(clip.actor, clip.voice_actor) for clip in clips} == {(1, 1), (2, 2)}
    reasons = {path.name: reason for path, reason in skipped}
    assert reasons["pann_contempt.png"] == "pair: no voice is contempt"
    assert "person cid is of fold 2" in reasons["pcid_happy.png"]


def test_what_is_missing_is_said(elsewhere, tmp_path):
    with pytest.raises(CorpusError, match="portraits: no such folder.*--faces"):
        corpora.scan("portraits+ravdess")
    (tmp_path / "bare").mkdir()
    Image.fromarray(face()).save(tmp_path / "bare" / "a.png")
    with pytest.raises(CorpusError, match=r"put a table bare\.csv with the columns file"):
        corpora.scan("bare+ravdess", tmp_path / "bare")


# -------------------------------------------------------------------- from the command line


def test_pairs_go_all_the_way(elsewhere, tmp_path, monkeypatch, capsys):
    """Prepare, train, evaluate, congruence: a corpus like any other."""
    monkeypatch.setattr("cmlib.files.ROOT", tmp_path)
    faces, voices = elsewhere / "drawn", elsewhere / "ravdess"
    monkeypatch.delenv("CM_DATA")
    arguments = ["--profile", "smoke", "--faces", str(faces), "--voices", str(voices)]
    assert main(["prepare", "drawn+ravdess", *arguments]) == 0
    assert "96 clips of 6 actors, 96 frames" in capsys.readouterr().out
    corpus = ["--corpus", "drawn+ravdess", "--profile", "smoke"]
    assert main(["train", "all", *corpus]) == 0
    assert main(["evaluate", *corpus]) == 0
    assert "product of experts" in capsys.readouterr().out
    assert main(["congruence", *corpus]) == 0

    # Nobody who is tested has been seen or heard before.
    run = Run("drawn+ravdess", "smoke")
    table = run.store.clips
    for fold, clips in ((1, run.split.test), (2, run.split.val), (5, run.split.train)):
        people = {*table.actor[clips], *table.voice_actor[clips]}
        assert {fold_of(person) for person in people} == {fold}
    pairs = representations.neutral_pairs(run)
    faces_of_pairs = table.iloc[run.frame_clip[pairs.frames]]
    assert {file.split("_")[-1] for file in faces_of_pairs.file} == {"calm.png"}
    assert run.find("can") and Store.open(run.store.folder).verify() == []


def test_a_table_that_lies_elsewhere_is_found_again(elsewhere, tmp_path, capsys):
    write_pictures(tmp_path / "faces", tmp_path / "who.csv", emotions=("happy", "sad"))
    arguments = ["faces+ravdess", "--profile", "smoke", "--faces", str(tmp_path / "faces")]
    assert main(["prepare", *arguments]) == 1
    assert "or name one with --labels" in capsys.readouterr().err
    assert main(["prepare", *arguments, "--labels", str(tmp_path / "who.csv")]) == 0
    printed = capsys.readouterr().out
    assert "pairs: 12 pictures of 6 people with 24 voices of 6 actors" in printed
    assert "nobody is calm, angry, fearful, disgust, surprised" in printed
    assert len(Run("faces+ravdess", "smoke").store.clips) == 12 * 3


def test_a_plan_counts_each_picture_and_each_voice_once(elsewhere, monkeypatch):
    cost = plan.StepCost(0.5, 1e9)
    monkeypatch.setattr(plan, "measure_vaegan_step", lambda *arguments: cost)
    monkeypatch.setattr(plan, "measure_latent_step", lambda *arguments: 0.001)
    pictures = plan.plan("drawn+ravdess", "photographs").set_index("stage").pictures
    assert pictures["face"] == 2 * 7  # of persons 1 and 4
    assert pictures["voice"] == 2 * 8 * 2  # of actors 1 and 4: eight emotions, two statements
    assert pictures["can"] == 2 * 7 * 3


def test_a_fold_without_its_face_network_says_so(elsewhere, monkeypatch):
    profile = get_profile("photographs")
    face_settings = dataclasses.replace(profile.face, start="nowhere/fold-{fold}/face")
    changed = dataclasses.replace(profile, face=face_settings)
    monkeypatch.setitem(config.PROFILES, "photographs", changed)
    run = Run("drawn+ravdess", "photographs", fold=2)
    with pytest.raises(CheckpointError, match=r"nowhere/fold-2/face\.safetensors.*fold 2 is not"):
        run.vaegan("face")


def test_the_other_uses_of_plus_stay_as_they_were(elsewhere):
    with pytest.raises(CorpusError, match="cannot add 'ravdess' to actors"):
        corpora.scan("actors+ravdess")
    assert main(["prepare", "ravdess", "--voices", str(elsewhere)]) == 1
