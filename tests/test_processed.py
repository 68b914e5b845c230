"""The authors' processed data: pictures, sounds, spectrograms, and lists of the parts."""

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
import yaml
from conftest import face, tone
from PIL import Image
from torchaudio.transforms import AmplitudeToDB, MelSpectrogram

from cmlib import files as files_room
from cmlib.corpora import CorpusError, processed, scan
from cmlib.corpora.splits import split_from_yaml
from cmlib.evaluation import robustness
from cmlib.experiment.run import Run
from cmlib.preparation import spectrograms as spectrograms_room
from cmlib.preparation.prepare import prepare


def picture(path, size=160, shade=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.maximum(face(size), shade)).save(path, quality=95)


@pytest.fixture
def ravdess(tmp_path):
    """Two actors, two emotions, a clip for each part.

    Frames are numbered without leading zeros, and sound lies in several places.
    """
    root, lists = tmp_path / "data" / "ravdess_released", {"train": [], "val": [], "test": []}
    for actor in (1, 2):
        for emotion in ("03", "05"):
            for repetition, stage in enumerate(lists, 1):
                clip = f"01-01-{emotion}-01-01-{repetition:02d}-{actor:02d}"
                folder = f"Actor_{actor:02d}/{emotion}/{stage}/{clip}"
                for number in (1, 2, 10):
                    picture(root / folder / f"{number}.jpg", 160, 20 * number)
                    lists[stage].append(f"{folder}/{number}.jpg")
                where = (
                    root / folder
                    if stage == "train"
                    else (root / folder).parents[int(stage == "test")]
                )
                soundfile.write(where / f"{clip}.wav", tone(0.6, 22_050), 22_050, "FLOAT")
    (root / "fold_1.yaml").write_text(yaml.safe_dump(lists))
    return root


@pytest.fixture
def mead(tmp_path):
    root = tmp_path / "data" / "mead_released"
    for take in ("001", "002"):
        for number in (1, 2, 11):
            picture(root / "M003" / "front" / "contempt" / "level_2" / f"{number}_{take}.jpg")
        (where := root / "M003" / "spectrograms" / "contempt" / "level_2").mkdir(
            parents=True, exist_ok=True
        )
        np.save(
            where / f"{take}.npy", np.linspace(0, 1, 128 * 100, dtype=np.float32).reshape(128, 100)
        )
    return root


def test_frames_and_sound_become_clips(ravdess, tmp_path):
    clips, skipped = scan("ravdess_released", ravdess)
    assert len(clips) == 12 and not skipped and all(c.audio_path.stem == c.name for c in clips)
    assert [p.stem for p in clips[0].frames] == ["1", "2", "10"]
    assert clips[0].path == clips[0].frames[0]
    s = prepare("ravdess_released", "smoke", ravdess, tmp_path / "cache", workers=1)
    assert s.frames.shape == (24, 32, 32, 3)
    assert s.clips.emotion.tolist() == (["happy"] * 6 + ["angry"] * 6)
    expected = spectrograms_room.mel_spectrogram(tone(0.6, 22_050), released=True).astype(
        np.float16
    )
    assert np.abs(s.mels[0].astype(float) - expected).max() < 0.002
    assert (
        np.abs(s.mels[0].astype(float) - spectrograms_room.mel_spectrogram(tone(0.6, 22_050))).max()
        > 0.1
    )
    assert s.clips.file[0].endswith("1.jpg") and s.path(s.clips.iloc[0]).suffix == ".wav"
    picture(clips[0].frames[0].with_name("3.jpg"))
    assert (
        prepare("ravdess_released", "smoke", ravdess, tmp_path / "cache").folder != s.folder
    )  # one frame more


def test_released_spectrograms_are_those_of_torchaudio_as_it_comes():
    sound = torch.from_numpy(tone(4.0, 22_050))[:83_200]
    decibels = AmplitudeToDB(top_db=100)(
        MelSpectrogram(sample_rate=22_050, n_fft=1310, n_mels=128)(sound)
    )
    expected = (decibels - decibels.min()) / (decibels.max() - decibels.min())
    np.testing.assert_allclose(
        spectrograms_room.mel_spectrogram(sound.numpy(), released=True), expected, atol=1e-5
    )


def test_spectrograms_and_takes_of_mead(mead, tmp_path):
    s = prepare("mead_released", "smoke", mead, tmp_path / "cache", workers=1)
    assert s.clips.name.tolist() == [
        "M003-contempt-2-001",
        "M003-contempt-2-002",
    ]
    assert s.clips.actor.tolist() == [103, 103]
    assert s.card["frames"] == 4
    assert s.mels.shape == (2, 128, 128)
    assert s.clips.duration.tolist() == [0, 0]
    assert np.abs(np.diff(s.mels[0].astype(float).mean(1))).max() < 0.02
    assert s.mels[0, 0, 0] == 0
    assert s.mels[0, -1, -1] == 1


def test_of_several_views_the_front_is_used(mead):
    other = mead / "M003" / "down" / "contempt" / "level_2"
    for take, number in (("001", 1), ("003", 1)):  # "down" comes before "front" in the alphabet
        picture(other / f"{number}_{take}.jpg")
    np.save(
        mead / "M003" / "spectrograms" / "contempt" / "level_2" / "003.npy",
        np.zeros((128, 128), np.float32),
    )
    clips, skipped = scan("mead_released", mead)
    assert [clip.path.parents[2].name for clip in clips] == ["front", "front", "down"]
    assert len(clips[0].frames) == 3
    assert [path for path, _ in skipped] == [other]
    assert "duplicate: M003-contempt-2-001 is in" in skipped[0][1]


def test_files_without_a_partner_or_unreadable_are_named(ravdess, mead, tmp_path):
    picture(ravdess / "Actor_01" / "04" / "train" / "01-01-04-01-01-01-01" / "1.jpg")  # no sound
    soundfile.write(
        ravdess / "Actor_01" / "04" / "01-01-04-01-01-02-01.wav", tone(0.2, 22_050), 22_050
    )  # no frames
    picture(
        ravdess / "Actor_01" / "03" / "train" / "01-01-04-01-01-01-01" / "1.jpg"
    )  # in another emotion's folder
    reasons = sorted(reason for _, reason in scan("ravdess_released", ravdess)[1])
    assert [r.split(":")[0] for r in reasons] == [
        "name",
        "sound",
        "sound",
    ]
    assert "there are no frames" in reasons[2]
    spectrograms = mead / "M003" / "spectrograms" / "contempt" / "level_2"
    np.save(spectrograms / "001.npy", np.array([print], object), allow_pickle=True)
    s = prepare("mead_released", "smoke", mead, tmp_path / "cache", workers=1)
    assert len(s.clips) == 1 and "001.npy: not a readable array" in s.skipped.reason[0]
    np.save(spectrograms / "002.npy", np.full((128, 128), np.nan))
    with pytest.raises(CorpusError, match="expected a spectrogram .H, W. of finite numbers"):
        processed.read_spectrogram(spectrograms / "002.npy")


def test_the_margin_is_cut_as_the_authors_cut_it(tmp_path):
    wide = np.zeros((500, 640, 3), np.uint8)
    wide[89:411, 159:481] = 200  # the central 322 pixels
    Image.fromarray(wide).save(tmp_path / "1.png")
    assert processed.read_picture(tmp_path / "1.png", 128).min() == 200
    Image.fromarray(wide[:100, :100]).save(tmp_path / "2.png")
    assert processed.read_picture(tmp_path / "2.png", 64).shape == (64, 64, 3)


def test_fold_0_is_the_authors_split(ravdess, tmp_path, monkeypatch):
    monkeypatch.setenv("CM_DATA", str(ravdess.parent))
    monkeypatch.setenv("CM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(files_room, "ROOT", tmp_path)
    run = Run("ravdess_released", "smoke", fold=0)
    names = run.store.clips.name
    assert {n[15:17] for n in names[run.split.train]} == {"01"}
    assert {n[15:17] for n in names[run.split.val]} == {"02"}
    assert len(run.split.train) == len(run.split.val) == len(run.split.test) == 4
    assert (
        set(run.store.clips.actor[run.split.train])
        == set(run.store.clips.actor[run.split.test])
        == {1, 2}
    )
    (ravdess / "fold_1.yaml").unlink()
    with pytest.raises(
        CorpusError, match="one YAML file in this folder, or fold_1.yaml; found: none"
    ):
        _ = Run("ravdess_released", "smoke", fold=0).split


def test_noise_is_heard_in_the_authors_bands(ravdess, tmp_path, monkeypatch):
    monkeypatch.setenv("CM_DATA", str(ravdess.parent))
    monkeypatch.setenv("CM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(files_room, "ROOT", tmp_path)
    monkeypatch.setattr(robustness, "SNRS", (120,))  # as good as none
    computed, mel = [], spectrograms_room.mel_spectrogram

    def listening(*arguments, **options):
        computed.append(mel(*arguments, **options))
        return computed[-1]

    monkeypatch.setattr(spectrograms_room, "mel_spectrogram", listening)
    run = Run("ravdess_released", "smoke", fold=0)
    mels = run.store.mels[run.split.test].astype(float)
    computed.clear()  # those of preparing
    table = robustness.robustness(run, models=("voice", "can"))
    assert np.abs(np.stack(computed) - mels).max() < 0.01
    value = table.pivot_table(index="disturbance", columns="model", values="value")
    assert (value.loc["noise in the voice"] == value.loc["nothing"]).all()


def test_spectrograms_alone_get_no_noise_and_a_line_says_so(mead, tmp_path, monkeypatch, capsys):
    lists = {part: [] for part in ("train", "val", "test")}
    for emotion in ("contempt", "happy"):
        for part, take in zip(lists, ("001", "002", "003")):
            frame = f"M003/front/{emotion}/level_2/1_{take}.jpg"
            picture(mead / frame)
            lists[part].append(frame)
            (where := mead / "M003" / "spectrograms" / emotion / "level_2").mkdir(
                parents=True, exist_ok=True
            )
            np.save(
                where / f"{take}.npy",
                np.random.default_rng(int(take)).random((128, 128), np.float32),
            )
    (mead / "fold_1.yaml").write_text(yaml.safe_dump(lists))
    monkeypatch.setenv("CM_DATA", str(mead.parent))
    monkeypatch.setenv("CM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(files_room, "ROOT", tmp_path)
    table = robustness.robustness(Run("mead_released", "smoke", fold=0), models=("face", "can"))
    assert set(table.disturbance) == {"nothing", "blurred face", "covered face", "missing sense"}
    assert "mead_released: spectrograms without their sound, so no noise" in capsys.readouterr().out


def test_lists_are_read_whatever_folder_they_start_from(tmp_path):
    clips = pd.DataFrame(
        {"name": ["M003-fear-1-001", "M003-fear-1-002", "M003-fear-1-003", "M003-fear-1-004"]}
    )
    frame = "/shared/datasets/mead/M003/front/fear/level_1/7_{}.jpg"
    lists = [{"train": [frame.format("002")], "val": [frame.format("001")], "test": []}]
    lists += [{"train": [], "val": [], "test": [frame.format("004"), frame.format("999")]}]
    files = [tmp_path / f"{i}.yaml" for i in range(2)]
    for file, content in zip(files, lists):
        file.write_text(yaml.safe_dump(content))
    split = split_from_yaml(files, clips)
    assert (split.train.tolist(), split.val.tolist(), split.test.tolist()) == ([1], [0], [3])
    files[1].write_text(yaml.safe_dump({"train": [], "val": [], "test": [frame.format("002")]}))
    with pytest.raises(ValueError, match="M003-fear-1-002 is in train and in test"):
        split_from_yaml(files, clips)
    files[1].write_text("train: [a]\n")
    with pytest.raises(ValueError, match="1.yaml: expected three lists"):
        split_from_yaml(files, clips)
    with pytest.raises(ValueError, match="none of the 2 listed clips is in the corpus"):
        split_from_yaml(files[:1], clips.assign(name="other"))
