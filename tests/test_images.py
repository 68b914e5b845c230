"""Folders of pictures: CelebA, RaFD, and any other, from files to crops to a trained network."""

import dataclasses

import numpy as np
import pytest
from conftest import ROOT, face
from PIL import Image

from cmlib import checkpoints, files
from cmlib.cli import main
from cmlib.corpora import CorpusError, picture_folders
from cmlib.experiment import pretrain
from cmlib.models import VaeGan
from cmlib.preparation import cropping, detector, media, picture_crops


@pytest.fixture(scope="module")
def portraits():
    """Eight frames of eight embedded clips."""
    return [
        media.read_video(ROOT / f"data/actors/Actor_{a:02d}/01-01-01-01-01-01-{a:02d}.mp4", 1)[0][0]
        for a in range(1, 9)
    ]


def save(path, picture):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path)


@pytest.fixture
def celeba(tmp_path, portraits):
    root = tmp_path / "CelebA"
    for i, picture in enumerate(portraits[:6], 1):
        save(
            root / "img_align_celeba" / f"{i:06d}.jpg",
            np.asarray(Image.fromarray(picture).resize((178, 178))),
        )
    save(root / "img_align_celeba" / "000007.jpg", np.full((218, 178, 3), 90, np.uint8))  # nobody
    (root / "img_align_celeba" / "000008.jpg").write_bytes(b"torn")
    lines = [f"{i:06d}.jpg {part}" for i, part in zip(range(1, 10), (0, 0, 0, 0, 1, 2, 0, 0, 0))]
    (root / "list_eval_partition.txt").write_text("\n".join(lines) + "\n")
    return root


def test_celeba_goes_by_its_partition_file(celeba, tmp_path):
    made = picture_crops.crop_folder(celeba, 64, tmp_path / "cache")
    assert (
        made.kind == "celeba"
        and made.pictures.shape == (5, 64, 64, 3)
        and isinstance(made.pictures, np.memmap)
    )
    assert (
        made.table.part.tolist() == ["train"] * 4 + ["val"]
        and made.table.file[4] == "img_align_celeba/000005.jpg"
    )
    reasons = dict(zip(made.skipped.path.str[-10:], made.skipped.reason))
    assert "a test picture" in reasons["000006.jpg"] and reasons["000007.jpg"] == "face: none found"
    assert (
        "unreadable" in reasons["000008.jpg"]
        and "1 pictures listed are not there, the first 000009" in reasons["tition.txt"]
    )
    frame = np.asarray(Image.open(celeba / made.table.file[4]))
    assert np.array_equal(
        made.pictures[4],
        cropping.cut_square(frame, *cropping.square_around(detector.find_faces([frame])[0]), 64),
    )
    (celeba / "list_eval_partition.txt").write_text("image_id,partition\n")
    with pytest.raises(CorpusError, match="list_eval_partition.txt: line 1"):
        picture_folders.scan(celeba)


def test_work_that_was_stopped_goes_on(celeba, tmp_path, monkeypatch):
    monkeypatch.setattr(picture_crops, "CHUNK_SIZE", 2)
    whole, looked, find = (
        picture_crops.crop_folder(celeba, 32, tmp_path / "whole", 1),
        [],
        detector.find_faces,
    )

    def stop(frames):
        looked.append(len(frames))
        if len(looked) == 3:
            raise KeyboardInterrupt
        return find(frames)

    monkeypatch.setattr(detector, "find_faces", stop)
    with pytest.raises(KeyboardInterrupt):
        picture_crops.crop_folder(celeba, 32, tmp_path / "cache", 1)
    done = {path.stem for path in (tmp_path / "cache").glob("*.part/*.npz")}
    assert (
        not list((tmp_path / "cache").glob("*.npy"))
        and {"00000000", "00000002"} <= done
        and "00000004" not in done
    )
    again = picture_crops.crop_folder(celeba, 32, tmp_path / "cache", 1)
    assert looked == [2, 2, 2, 2]  # the third chunk again; the fourth holds nothing readable
    assert np.array_equal(again.pictures, whole.pictures) and again.table.equals(whole.table)
    monkeypatch.setattr(detector, "find_faces", lambda frames: pytest.fail("looked again"))
    assert len(picture_crops.crop_folder(celeba, 32, tmp_path / "cache").pictures) == 5


def test_rafd_is_read_from_its_names(tmp_path, portraits):
    names = [
        f"Rafd{angle}_{person:02d}_Caucasian_female_{emotion}_frontal.jpg"
        for angle, person, emotion in (
            ("090", 1, "angry"),
            ("045", 1, "contemptuous"),
            ("180", 1, "happy"),
            ("090", 2, "sad"),
            ("135", 12, "neutral"),
        )
    ]
    for name, picture in zip(
        [*names, "Rafd090_03_Caucasian_female_bored_frontal.jpg", "me.jpg"], portraits
    ):
        save(tmp_path / "RaFD" / name, picture)
    kind, table, skipped = picture_folders.scan(tmp_path / "RaFD")
    assert (
        kind == "rafd"
        and table.person.tolist() == ["01", "01", "02", "12"]
        and table.part.tolist() == ["train"] * 3 + ["val"]
    )
    assert table.emotion.tolist() == [
        "contempt",
        "angry",
        "sad",
        "neutral",
    ] and picture_folders.labels(table) == [-1, 3, 2, -1]
    assert sorted(reason.split(":")[0] for _, reason in skipped) == ["name", "name", "view"]


def test_any_folder_and_nothing_in_it(tmp_path):
    for i in range(21):
        save(tmp_path / "mine" / f"sub{i % 2}" / f"{i}.png", np.full((4, 4, 3), 9, np.uint8))
    kind, table, _ = picture_folders.scan(tmp_path / "mine")
    assert (
        kind == "images" and (table.part == "val").sum() == 2 and table.file.is_monotonic_increasing
    )
    with pytest.raises(
        CorpusError, match="0 faces in 21 pictures, but none to train on; the first left out: "
    ):
        picture_crops.crop_folder(tmp_path / "mine", 32, tmp_path / "cache")
    save(tmp_path / "small" / "1.png", np.asarray(Image.fromarray(face(160)).resize((64, 64))))
    with pytest.raises(CorpusError, match="small: the face fills"):
        picture_crops.crop_folder(tmp_path / "small", 128, tmp_path / "cache")
    for folder, wanted in (("none", "no such folder"), ("empty", "no picture in it")):
        (tmp_path / "empty").mkdir(exist_ok=True)
        with pytest.raises(CorpusError, match=wanted):
            picture_folders.scan(tmp_path / folder)


def test_a_network_is_pre_trained_on_a_folder(celeba, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(files, "ROOT", tmp_path)
    monkeypatch.setattr(
        pretrain,
        "CROWD",
        tuple(dataclasses.replace(s, width=0.0625, latent=8, epochs=1) for s in pretrain.CROWD),
    )
    assert main(["pretrain", "--images", str(celeba), "--size", "32"]) == 0
    said = capsys.readouterr().out
    assert "celeba: 5 faces" in said and all(
        f"1 {kind}" in said for kind in ("face", "missing", "partition", "unreadable")
    )
    model, card = checkpoints.load(tmp_path / "checkpoints" / "celeba-32" / "face", VaeGan)
    assert (
        card["pictures"] == {"training": 4, "validation": 1, "skipped": 4}
        and card["corpus"] == "celeba"
    )
    assert len(card["provenance"]["settings"]) == 1  # no labels, no second part
    assert (
        model.config["size"] == 32
        and card["validation"]["reconstruction_mse"] > 0
        and not list(tmp_path.glob("runs/*.pt"))
    )
