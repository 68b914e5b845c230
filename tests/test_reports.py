"""What ``cm prepare`` reports is of today, and the next command knows the folder."""

import shutil
from pathlib import Path

import pytest
from conftest import face
from PIL import Image

from cmlib import files
from cmlib.cli import main
from cmlib.corpora import current_root
from cmlib.preparation import prepare as preparing
from cmlib.preparation.picture_crops import crop_folder
from cmlib.preparation.prepare import prepare
from cmlib.preparation.store import Store
from tools.notebooks import staleness

BROKEN = "01-01-06-01-01-01-01.mp4"  # a clip that cannot be used


@pytest.fixture
def places(tmp_path, monkeypatch) -> Path:
    """No corpus lies in the usual place, and nothing is prepared yet."""
    monkeypatch.setenv("CM_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("CM_CACHE", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture
def cm_prepare(capsys):
    """Runs ``cm prepare ravdess`` in profile smoke; what it prints on stdout and stderr."""

    def run(*arguments) -> tuple[str, str]:
        command = ["prepare", "ravdess", "--profile", "smoke", "--workers", "1"]
        status = main([*command, *map(str, arguments)])
        printed = capsys.readouterr()
        assert status == (1 if printed.err else 0)
        return printed.out, printed.err

    return run


@pytest.fixture
def tree(places, good_clip) -> Path:
    """Two clips that can be used and one that cannot."""
    root = places / "tree"
    for name in ("01-01-03-01-01-01-01.mp4", "01-01-05-01-01-01-02.mp4"):
        (root / "Actor").mkdir(parents=True, exist_ok=True)
        shutil.copy(good_clip, root / "Actor" / name)
    (root / BROKEN).write_text("not a video\n" * 100)
    return root


ADDED = {  # a file, what is in it, and words of the report
    "a broken archive": ("x.zip", b"<html>404</html>", "x.zip: not a zip archive"),
    "a file with another name": ("holiday.mp4", b"x", "'holiday' is not a RAVDESS name"),
    "a song": ("01-02-03-01-01-01-01.mp4", b"x", "the corpus ravdess+song has it"),
    "a second copy": ("copy/01-01-03-01-01-01-01.mp4", b"x", "the same recording as"),
    "a download that runs": ("x.zip.part", b"x", "a download that is not finished"),
    "an unknown suffix": ("x.xyz", b"x", "a file with .xyz is not read"),
}


@pytest.mark.parametrize("case", ADDED)
def test_the_report_follows_what_is_added_and_removed(case, tree, places, cm_prepare):
    name, content, words = ADDED[case]
    before, _ = cm_prepare("--root", tree)
    assert "2 clips of 2 actors" in before and words not in before and BROKEN in before
    (tree / name).parent.mkdir(exist_ok=True)
    (tree / name).write_bytes(content)
    added, _ = cm_prepare()
    assert "2 clips of 2 actors" in added and words in added and BROKEN in added
    store = prepare("ravdess", "smoke")
    assert store.card["skipped"] == len(store.skipped) == 2 and store.verify() == []
    (tree / name).unlink()
    removed, _ = cm_prepare()
    assert words not in removed and BROKEN in removed
    assert len(list((places / "cache").glob("ravdess-*/"))) == 1, "it was prepared once"


def test_another_tree_with_the_same_clips_has_a_report_of_its_own(tree, places, cm_prepare):
    (tree / "only here.mp4").write_bytes(b"x")
    first, _ = cm_prepare("--root", tree)
    other = shutil.copytree(tree, places / "other")
    (other / "only here.mp4").rename(other / "only there.mp4")
    second, _ = cm_prepare("--root", other)
    assert "only here" in first and f"{other}/{BROKEN}" in second and "only there" in second
    assert str(tree) not in second and "only here" not in second
    again, _ = cm_prepare("--root", tree)
    assert str(other) not in again and "only here" in again


def test_a_corpus_may_be_moved_while_its_preparation_is_interrupted(
    tree, places, cm_prepare, monkeypatch
):
    def stop(*_):
        raise OSError("stopped")

    with monkeypatch.context() as patch:
        patch.setattr(preparing, "assemble", stop)
        cm_prepare("--root", tree)
    printed, _ = cm_prepare("--root", tree.rename(places / "new"))
    assert f"{places}/new/{BROKEN}: not a video" in printed and str(tree) not in printed


@pytest.mark.parametrize("how", ["moved", "copied", "packed", "linked", "named by a link"])
def test_the_next_command_finds_the_new_folder(how, tree, places, cm_prepare):
    """The clips are those of the first tree, so nothing has to be prepared again."""
    cm_prepare("--root", tree)
    new = places / "new"
    if how == "moved":
        tree.rename(new)
    elif how == "copied":
        shutil.copytree(tree, new)
        shutil.rmtree(tree)
    elif how == "packed":
        new = Path(shutil.make_archive(str(new), "zip", tree))
        shutil.rmtree(tree)
    elif how == "linked":
        tree.rename(places / "disk")
        new.mkdir()
        for path in (places / "disk").iterdir():
            (new / path.name).symlink_to(path)
    else:
        tree.rename(places / "disk")
        new.symlink_to(places / "disk")
    cm_prepare("--root", new)
    printed, _ = cm_prepare()  # without --root
    assert "2 clips of 2 actors" in printed
    assert str(tree) not in printed
    store = prepare("ravdess", "smoke")
    assert all(
        str(store.path(clip)).startswith(str(store.root)) for _, clip in store.clips.iterrows()
    )
    assert current_root("ravdess").resolve() == store.root


def test_of_several_folders_the_last_one_counts(tree, places, cm_prepare):
    other = shutil.copytree(tree, places / "other")
    (other / "Actor" / "01-01-05-01-01-01-02.mp4").unlink()
    for root, clips in ((tree, 2), (other, 1), (tree, 2)):
        cm_prepare("--root", root)
        printed, _ = cm_prepare()
        assert f"{clips} clips of" in printed
    assert current_root("ravdess") == current_root("ravdess+song") == tree
    # A damaged note is none: the newest of what was prepared counts.
    (places / "cache" / "ravdess.root.json").write_text("{")
    assert current_root("ravdess") in (tree, other)


def test_a_folder_that_is_gone_is_named(tree, places, cm_prepare):
    cm_prepare("--root", tree)
    tree.rename(places / "away")
    _, error = cm_prepare()
    assert error.startswith(f"cm: {tree}: no such folder") and "--root" in error
    (places / "away").rename(tree)
    printed, _ = cm_prepare()
    assert "2 clips" in printed


def test_the_usual_folder_goes_first_and_a_line_says_so(tree, places, cm_prepare):
    usual = shutil.copytree(tree, places / "data" / "ravdess")
    printed, _ = cm_prepare("--root", tree)
    assert f"without --root, other commands read {usual}; " in printed
    printed, _ = cm_prepare("--root", usual)
    assert "without --root" not in printed
    printed, _ = cm_prepare("--root", usual, "--cache", places / "elsewhere")
    assert f"CM_CACHE={places / 'elsewhere'}" in printed


@pytest.mark.parametrize(
    "put, words",
    [
        (lambda usual: usual.symlink_to("/nowhere/ravdess"), "a link that leads nowhere"),
        (lambda usual: usual.write_text("x"), "neither a folder nor a zip or tar archive"),
        (lambda usual: usual.mkdir(), "no clip of ravdess in it"),
    ],
    ids=["a link to nowhere", "a file", "an empty folder"],
)
def test_what_is_wrong_with_the_usual_folder_is_said(put, words, tree, places, cm_prepare):
    cm_prepare("--root", tree)
    (places / "data").mkdir()
    put(places / "data" / "ravdess")
    _, error = cm_prepare()
    assert f"{places / 'data' / 'ravdess'}: {words}" in error
    printed, _ = cm_prepare("--root", tree)
    assert "2 clips" in printed


def test_a_damaged_card_is_named_and_its_clips_are_prepared_again(tree, places, cm_prepare, capsys):
    cm_prepare("--root", tree)
    (card,) = (places / "cache").glob("ravdess-*/card.json")
    card.write_text("{")
    command = ["prepare", "ravdess", "--profile", "smoke", "--workers", "1", "--root", str(tree)]
    assert main(command) == 0
    seen = capsys.readouterr()
    assert str(card.parent) in seen.err and ".bad" in seen.err and "2 clips" in seen.out
    printed, _ = cm_prepare("--root", tree)
    assert "2 clips" in printed


def test_notebooks_are_stale_if_the_remembered_folder_changes(tree, places, cm_prepare):
    cm_prepare("--root", tree)

    def listing() -> str:
        staleness.listing.cache_clear()
        return staleness.listing("ravdess")

    before = listing()
    (tree / "round").symlink_to(tree)
    assert listing() == before
    shutil.move(tree, places / "moved")
    assert listing() != before, "nothing is there"
    cm_prepare("--root", places / "moved")
    assert listing() == before, "the place does not matter"
    (places / "moved" / "x.mp4").write_bytes(b"more")
    assert listing() != before


def test_the_report_is_of_today_if_the_prepared_folder_is_somebody_elses(
    tree, places, cm_prepare, monkeypatch
):
    cm_prepare("--root", tree)
    (tree / "holiday.mp4").write_bytes(b"x")

    def refuse(folder):
        raise files.PlaceError(f"{folder}: nothing may be written into it")

    monkeypatch.setattr(files, "make_folder", refuse)
    printed, _ = cm_prepare()
    assert "'holiday' is not a RAVDESS name" in printed
    (folder,) = (places / "cache").glob("ravdess-*/")
    assert len(Store.open(folder).skipped) == 1, "nothing was written"


def test_pictures_that_were_added_or_removed_are_reported(places):
    root = places / "pictures"
    root.mkdir()
    for number in range(4):
        Image.fromarray(face(96, dx=0.01 * number)).save(root / f"{number}.png")
    Image.new("RGB", (96, 96)).save(root / "black.png")
    assert list(crop_folder(root, 32, workers=1).skipped.path) == ["black.png"]
    (root / "x.zip").write_bytes(b"<html>")
    paths = list(crop_folder(root, 32, workers=1).skipped.path)
    assert paths == [str(root / "x.zip"), "black.png"]
    (root / "x.zip").unlink()
    faces = crop_folder(root, 32, workers=1)
    assert list(faces.skipped.path) == ["black.png"] and len(faces.pictures) == 4
