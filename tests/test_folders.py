"""Folders as people have them: packed in many ways, linked, and with much else in them."""

import io
import os
import shutil
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import face, tone
from PIL import Image

from cmlib.cli import main
from cmlib.corpora import archives
from cmlib.preparation import media
from cmlib.preparation.picture_crops import crop_folder
from cmlib.preparation.store import Store

NAMES = ("01-01-03-01-01-01-01.mp4", "01-01-05-01-01-01-02.mp4")


# -------------------------------------------------------------------- trees


def ravdess(root: Path, clip: Path) -> Path:
    """Two clips of RAVDESS in the folders of their actors."""
    for name in NAMES:
        folder = root / f"Actor_{name[18:20]}"
        folder.mkdir(parents=True)
        shutil.copy(clip, folder / name)
    return root


def mead(root: Path, clip: Path) -> Path:
    """Two takes of MEAD, with picture and sound apart."""
    for actor in ("M003", "W009"):
        video = root / actor / "video" / "front" / "angry" / "level_2" / "001.mp4"
        audio = root / actor / "audio" / "angry" / "level_2" / "001.wav"
        for path in (video, audio):
            path.parent.mkdir(parents=True)
        shutil.copy(clip, video)
        soundfile.write(audio, tone(0.8), 48_000)
    return root


def zipped(folder: Path, compression: int = zipfile.ZIP_STORED, separator: str = "/") -> bytes:
    """A zip archive of what is in a folder."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                name = path.relative_to(folder).as_posix().replace("/", separator)
                archive.writestr(name, path.read_bytes())
    return buffer.getvalue()


def tarred(folder: Path, name: str, compression: str = "") -> bytes:
    """A tar archive of a folder under a name."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=f"w:{compression}") as archive:
        archive.add(folder, name)
    return buffer.getvalue()


def nested(tree: Path, root: Path, compression: int) -> Path:
    """The published archives in one archive, as a record is downloaded as a whole."""
    packed = root.with_name("packed")
    packed.mkdir()
    for actor in sorted(tree.iterdir()):
        wrapped = root.with_name("wrapped")
        shutil.copytree(actor, wrapped / actor.name)
        (packed / f"Video_Speech_{actor.name}.zip").write_bytes(zipped(wrapped, compression))
        shutil.rmtree(wrapped)
    root.mkdir()
    (root / "1188976.zip").write_bytes(zipped(packed, compression))
    return root


def with_file(root: Path, name: str, content: bytes) -> Path:
    root.mkdir(exist_ok=True)
    (root / name).write_bytes(content)
    return root / name


def linked(tree: Path, root: Path) -> Path:
    """The folders of the actors are links to another disk."""
    root.mkdir()
    for folder in tree.iterdir():
        (root / folder.name).symlink_to(folder, target_is_directory=True)
    return root


def tar_of_each_actor(tree: Path, root: Path) -> Path:
    """MEAD as it is published: ``M003/video.tar``."""
    for actor in tree.iterdir():
        for kind in ("video", "audio"):
            content = tarred(actor / kind, kind)
            (root / actor.name).mkdir(parents=True, exist_ok=True)
            (root / actor.name / f"{kind}.tar").write_bytes(content)
    return root


def zip_of_each_actor(tree: Path, root: Path) -> Path:
    root.mkdir()
    for actor in tree.iterdir():
        (root / f"{actor.name}.zip").write_bytes(zipped(actor))
    return root


def copied_into_itself(tree: Path, root: Path) -> Path:
    """Kaggle's download has the whole corpus a second time in a folder of it."""
    shutil.copytree(tree, root)
    shutil.copytree(tree, root / "audio_speech_actors_01-24")
    return root


READ = {  # what it is: the corpus, and what makes the folder or archive that is its root
    "a record as one archive": ("ravdess", lambda t, r: nested(t, r, zipfile.ZIP_STORED)),
    "a compressed record": ("ravdess", lambda t, r: nested(t, r, zipfile.ZIP_DEFLATED)),
    "an archive as root": ("ravdess", lambda t, r: with_file(r, "all.zip", zipped(t))),
    "an archive of Windows": (
        "ravdess",
        lambda t, r: with_file(r, "a.ZIP", zipped(t, separator="\\")).parent,
    ),
    "a tar archive": ("ravdess", lambda t, r: with_file(r, "a.tar", tarred(t, ".")).parent),
    "linked folders": ("ravdess", linked),
    "a link as root": ("ravdess", lambda t, r: r.symlink_to(t) or r),
    "a copy in itself": ("ravdess", copied_into_itself),
    "a name that is no text": (
        "ravdess",
        lambda t, r: shutil.copytree(t, r / os.fsdecode(b"Sch\xfctz")).parent,
    ),
    "MEAD in its archives": ("mead", tar_of_each_actor),
    "MEAD, a zip for each actor": ("mead", zip_of_each_actor),
    "MEAD, one zip as root": ("mead", lambda t, r: with_file(r, "MEAD.zip", zipped(t))),
    "MEAD, a tar in a zip": (
        "mead",
        lambda t, r: with_file(r, "a.zip", zipped(tar_of_each_actor(t, r.with_name("p")))).parent,
    ),
    "MEAD, linked folders": ("mead", linked),
}


@pytest.fixture
def places(tmp_path, monkeypatch) -> Path:
    """No corpus lies in the usual place, and nothing is prepared yet."""
    monkeypatch.setenv("CM_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("CM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def prepared(corpus: str, cache: Path) -> Store:
    (folder,) = cache.glob(f"{corpus}-*/")
    return Store.open(folder)


@pytest.mark.parametrize("case", READ)
def test_it_is_read_as_it_is(case, places, good_clip, capsys):
    corpus, make = READ[case]
    tree = {"ravdess": ravdess, "mead": mead}[corpus](places / "tree", good_clip)
    root = make(tree, places / "root")
    assert main(["prepare", corpus, "--profile", "smoke", "--root", str(root)]) == 0
    assert "2 clips of 2 actors, 4 frames" in capsys.readouterr().out
    # The next command finds the folder again, and what was prepared from it.
    assert main(["prepare", corpus, "--profile", "smoke"]) == 0
    assert "2 clips of 2 actors, 4 frames" in capsys.readouterr().out
    store = prepared(corpus, places / "cache")
    assert store.clips.face_found.all() and store.mels.any((1, 2)).all()
    for _, clip in store.clips.iterrows():
        assert len(media.read_audio(store.path(clip))[0]) == 38_400
    duplicates = store.skipped.reason.str.startswith("duplicate")
    assert duplicates.sum() == (2 if case == "a copy in itself" else 0)


def nameless(content: bytes):
    return lambda path: path.write_bytes(content)


REPORTED = {  # a name, what writes it, and words of the line that reports it
    "rar": ("x.rar", nameless(b"Rar!"), r"unpack it in its folder (unrar x x.rar)"),
    "7z": ("x.7z", nameless(b"7z"), r"unpack it in its folder (7z x x.7z)"),
    "tar.gz": ("x.tar.gz", nameless(b"x"), r"unpack it in its folder (tar xf x.tar.gz)"),
    "a part of an archive": ("x.zip.001", nameless(b"PK"), "(7z x x.zip.001)"),
    "a download that runs": ("x.zip.part", nameless(b"PK"), "a download that is not finished"),
    "another suffix": ("01-01-06-01-01-01-01.xyz", nameless(b"x"), "a file with .xyz is not read"),
    "no suffix": ("01-01-06-01-01-01-01", nameless(b"x"), "a file with no suffix is not read"),
    "a disk that is not there": (
        "Actor_07",
        lambda path: path.symlink_to("/nowhere/Actor_07"),
        "a link that leads nowhere",
    ),
    "a rar called zip": ("x.zip", nameless(b"Rar!\x1a\x07\x00"), "not a zip archive"),
    "a zip called tar": ("x.tar", nameless(b"PK\3\4" * 300), "not a tar archive"),
    "a cut tar": (
        "x.tar",
        lambda path: path.write_bytes(tarred(path.parent / "Actor_01", "a")[:900]),
        "not a tar archive, or cut short",
    ),
    "archives without end": (
        "x.zip",
        lambda path: path.write_bytes(in_one_another(5)),
        "too many archives in one another",
    ),
}


def in_one_another(times: int) -> bytes:
    content = b""
    for _ in range(times):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("x.zip", content)
        content = buffer.getvalue()
    return content


@pytest.mark.parametrize("case", REPORTED)
def test_it_is_reported_and_stops_nothing(case, places, good_clip, capsys):
    name, write, words = REPORTED[case]
    root = ravdess(places / "root", good_clip)
    write(root / name)
    command = ["prepare", "ravdess", "--profile", "smoke", "--root", str(root)]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "2 clips of 2 actors" in printed and words in printed and name in printed
    (root / name).unlink()
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "2 clips of 2 actors" in printed and words not in printed


def test_what_goes_with_a_corpus_is_no_fault(places, good_clip, capsys):
    root = ravdess(places / "root", good_clip)
    for name in ("README.md", "LICENSE", "labels.csv", "Thumbs.db", ".DS_Store", "a.sha256"):
        (root / name).write_bytes(b"x")
    (root / "Actor_09.rar").write_bytes(b"x")
    (root / "Actor_09").mkdir()  # it is unpacked
    assert main(["prepare", "ravdess", "--profile", "smoke", "--root", str(root)]) == 0
    assert "skipped" not in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["--root", ""], ["--root="], ["--cache", ""]])
def test_an_empty_argument_is_not_the_current_folder(arguments, places, good_clip, capsys):
    ravdess(places / "tree", good_clip)
    command = ["prepare", "ravdess", "--profile", "smoke"]
    with pytest.raises(SystemExit):
        main([*command, *arguments])
    option = arguments[0].removesuffix("=")
    assert (
        capsys.readouterr().err == f"cm: {option} is empty; is a variable of the shell not set?\n"
    )
    assert main([*command, "--root", str(places / "tree")]) == 0


@pytest.mark.parametrize("option", ["--root=~/my tree", "--root", "CM_DATA"])
def test_a_tilde_is_the_home_folder(option, places, good_clip, capsys, monkeypatch):
    ravdess(places / "my tree" / "ravdess", good_clip)
    arguments = [option, "~/my tree"] if option == "--root" else [option]
    if option == "CM_DATA":
        monkeypatch.setenv("CM_DATA", "~/my tree")
        arguments = []
    assert main(["prepare", "ravdess", "--profile", "smoke", *arguments]) == 0
    assert "2 clips" in capsys.readouterr().out


@pytest.mark.parametrize(
    "name, words",
    [
        ("x.rar", "cannot be read as it is; unpack it in its folder (unrar x x.rar)"),
        ("x.tar.gz", "(tar xf x.tar.gz)"),
        ("x.mp4", "neither a folder nor a zip or tar archive"),
        ("x.zip", "not a zip archive, or cut short"),
        ("nowhere", "no such folder"),
    ],
)
def test_a_root_that_cannot_be_read_is_one_line(name, words, places, capsys):
    if name != "nowhere":
        (places / name).write_bytes(b"x")
    assert main(["prepare", "ravdess", "--root", str(places / name)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line and name in line


def test_pictures_may_stay_packed(places):
    """CelebA is published as ``img_align_celeba.zip`` with a list beside it."""
    for name, folder in (("packed", "x"), ("plain", "plain/x")):
        (places / folder).mkdir(parents=True, exist_ok=True)
        for number in range(1, 4):
            Image.fromarray(face(96, dx=0.01 * number)).save(places / folder / f"{number:06d}.png")
        (places / name).mkdir(exist_ok=True)
        lines = "000001.png 0\n000002.png 1\n000003.png 2\n"
        (places / name / "list_eval_partition.txt").write_text(lines)
    with_file(places / "packed", "img_align_celeba.zip", zipped(places / "x"))
    plain, packed = (crop_folder(places / name, 32, workers=2) for name in ("plain", "packed"))
    assert plain.kind == packed.kind == "celeba"
    assert list(packed.table.part) == ["train", "val"]
    assert np.array_equal(packed.pictures, plain.pictures)
    assert [reason for reason in packed.skipped.reason] == ["partition: a test picture"]


def test_a_folder_may_be_named_like_an_open_archive(places, good_clip):
    root = ravdess(places / "odd.zip!", good_clip)
    assert main(["prepare", "ravdess", "--profile", "smoke", "--root", str(root)]) == 0
    assert archives.split(root / "Actor_01" / NAMES[0]) == (root / "Actor_01" / NAMES[0], "")
    assert not archives.exists(places / "none.zip!" / "in.zip!" / NAMES[0])
