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


def test_celeba_is_split_by_its_partition_file(celeba, tmp_path):
    faces = picture_crops.crop_folder(celeba, 64, tmp_path / "cache")
    assert faces.kind == "celeba" and faces.pictures.shape == (5, 64, 64, 3)
    assert isinstance(faces.pictures, np.memmap)
    assert faces.table.part.tolist() == ["train"] * 4 + ["val"]
    assert faces.table.file[4] == "img_align_celeba/000005.jpg"
    reasons = dict(zip(faces.skipped.path.str.split("/").str[-1], faces.skipped.reason))
    assert "a test picture" in reasons["000006.jpg"]
    assert reasons["000007.jpg"] == "face: none found"
    assert "unreadable" in reasons["000008.jpg"]
    absent = reasons["list_eval_partition.txt"]
    assert "1 listed pictures are missing, the first 000009" in absent


def test_pictures_are_cropped_as_frames_of_clips_are(celeba, tmp_path):
    faces = picture_crops.crop_folder(celeba, 64, tmp_path / "cache")
    frame = np.asarray(Image.open(celeba / faces.table.file[4]))
    (points,) = detector.find_faces([frame])
    square = cropping.square_around(points)
    assert np.array_equal(faces.pictures[4], cropping.cut_square(frame, *square, 64))


def test_another_partition_file_is_refused(celeba):
    (celeba / "list_eval_partition.txt").write_text("image_id,partition\n")
    with pytest.raises(CorpusError, match="list_eval_partition.txt: line 1"):
        picture_folders.scan(celeba)


def test_work_that_was_stopped_goes_on(celeba, tmp_path, monkeypatch):
    monkeypatch.setattr(picture_crops, "CHUNK_SIZE", 2)
    undisturbed = picture_crops.crop_folder(celeba, 32, tmp_path / "undisturbed", 1)
    searched, find_faces = [], detector.find_faces

    def stop_at_the_third_chunk(frames):
        searched.append(len(frames))
        if len(searched) == 3:
            raise KeyboardInterrupt
        return find_faces(frames)

    cache = tmp_path / "cache"
    monkeypatch.setattr(detector, "find_faces", stop_at_the_third_chunk)
    with pytest.raises(KeyboardInterrupt):
        picture_crops.crop_folder(celeba, 32, cache, 1)
    chunks = {path.stem for path in cache.glob("*.part/*.npz")}
    assert {"00000000", "00000002"} <= chunks and "00000004" not in chunks
    assert not list(cache.glob("*.npy"))
    again = picture_crops.crop_folder(celeba, 32, cache, 1)
    assert searched == [2, 2, 2, 2]  # the third chunk again; the fourth holds nothing readable
    assert np.array_equal(again.pictures, undisturbed.pictures)
    assert again.table.equals(undisturbed.table)


def test_faces_are_cropped_only_once(celeba, tmp_path, monkeypatch):
    first = picture_crops.crop_folder(celeba, 32, tmp_path)
    monkeypatch.setattr(detector, "find_faces", lambda frames: pytest.fail("searched again"))
    again = picture_crops.crop_folder(celeba, 32, tmp_path)
    assert again.key == first.key and np.array_equal(again.pictures, first.pictures)


def test_rafd_is_read_from_its_names(tmp_path, portraits):
    names = (
        "Rafd090_01_Caucasian_female_angry_frontal.jpg",
        "Rafd045_01_Caucasian_female_contemptuous_frontal.jpg",
        "Rafd180_01_Caucasian_female_happy_frontal.jpg",
        "Rafd090_02_Caucasian_female_sad_frontal.jpg",
        "Rafd135_12_Caucasian_female_neutral_frontal.jpg",
        "Rafd090_03_Caucasian_female_bored_frontal.jpg",
        "me.jpg",
    )
    for name, picture in zip(names, portraits):
        save(tmp_path / "RaFD" / name, picture)
    kind, table, skipped = picture_folders.scan(tmp_path / "RaFD")
    assert kind == "rafd" and table.person.tolist() == ["01", "01", "02", "12"]
    assert table.part.tolist() == ["train"] * 3 + ["val"]
    assert table.emotion.tolist() == ["contempt", "angry", "sad", "neutral"]
    assert picture_folders.labels(table) == [-1, 3, 2, -1]
    assert sorted(reason.split(":")[0] for _, reason in skipped) == ["name", "name", "view"]


@pytest.fixture
def faceless(tmp_path):
    """21 pictures without a face, in two folders."""
    for i in range(21):
        save(tmp_path / "mine" / f"sub{i % 2}" / f"{i}.png", np.full((4, 4, 3), 9, np.uint8))
    return tmp_path / "mine"


def test_of_any_other_folder_every_twentieth_picture_is_for_validation(faceless):
    kind, table, _ = picture_folders.scan(faceless)
    assert kind == "images" and table.file.is_monotonic_increasing
    assert np.flatnonzero(table.part == "val").tolist() == [0, 20]


def test_pictures_without_a_face_are_refused(faceless, tmp_path):
    refusal = "0 faces in 21 pictures, but none to train on; the first left out: "
    with pytest.raises(CorpusError, match=refusal):
        picture_crops.crop_folder(faceless, 32, tmp_path / "cache")


def test_a_face_of_too_few_pixels_is_refused(tmp_path):
    save(tmp_path / "small" / "1.png", np.asarray(Image.fromarray(face(160)).resize((64, 64))))
    with pytest.raises(CorpusError, match="small: the face fills"):
        picture_crops.crop_folder(tmp_path / "small", 128, tmp_path / "cache")


def test_a_folder_without_pictures_is_refused(tmp_path):
    with pytest.raises(CorpusError, match="no such folder"):
        picture_folders.scan(tmp_path / "none")
    with pytest.raises(CorpusError, match="no picture in it"):
        picture_folders.scan(tmp_path)


def test_a_network_is_pre_trained_on_a_folder(celeba, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(files, "ROOT", tmp_path)
    monkeypatch.setattr(
        pretrain,
        "CROWD",
        tuple(dataclasses.replace(s, width=0.0625, latent=8, epochs=1) for s in pretrain.CROWD),
    )
    assert main(["pretrain", "--images", str(celeba), "--size", "32"]) == 0
    output = capsys.readouterr().out
    assert "celeba: 5 faces" in output
    assert all(f"1 {kind}" in output for kind in ("face", "missing", "partition", "unreadable"))
    model, card = checkpoints.load(tmp_path / "checkpoints" / "celeba-32" / "face", VaeGan)
    assert card["pictures"] == {"training": 4, "validation": 1, "skipped": 4}
    assert card["corpus"] == "celeba"
    assert len(card["provenance"]["settings"]) == 1  # no labels, no second part
    assert model.config["size"] == 32
    assert card["validation"]["reconstruction_mse"] > 0
    assert not list(tmp_path.glob("runs/*.pt"))
