"""Limits hold, however one comes to them, and nothing that was brought is overwritten."""

import json
import shutil
import sys

import numpy as np
import pytest
import soundfile
from conftest import ROOT, face, tone
from PIL import Image

from cmlib.cli import main
from cmlib.figures import gallery
from tools.notebooks import execute


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a picture and a sound, from where the commands are given."""
    Image.fromarray(face(160)).save(tmp_path / "me.png")
    soundfile.write(tmp_path / "hello.wav", tone(1.0), 48_000)
    (tmp_path / "linked.png").symlink_to(tmp_path / "me.png")
    (tmp_path / "dangling.png").symlink_to(tmp_path / "nowhere" / "me.png")
    shutil.copy(tmp_path / "me.png", tmp_path / "face.json")
    (tmp_path / "folder.png").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def content(folder) -> dict:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


REFUSED = {  # options of cm perceive, and words of the one line
    "not a number": (["--strength", "nan"], "nan is not a number from 0 to 1"),
    "infinite": (["--strength", "inf"], "inf is not a number from 0 to 1"),
    "negative": (["--strength=-1"], "-1 is not a number from 0 to 1"),
    "too large": (["--strength", "100"], "100 is not a number from 0 to 1"),
    "a little too large": (["--strength", "1.0001"], "1.0001 is not a number from 0 to 1"),
    "onto the picture": (["-o", "me.png"], "me.png: -o me.png would overwrite it"),
    "a link that leads nowhere": (
        ["-o", "dangling.png"],
        "dangling.png: a link to a file that is not there; name another file",
    ),
    "onto the picture by a link": (["-o", "linked.png"], "-o linked.png would overwrite it"),
    "another way to say the same": (["-o", "../{folder}/me.png"], "would overwrite it"),
    "onto a folder": (["-o", "folder.png"], "folder.png: a folder; name the picture to write"),
    "numbers onto the picture": (["--image", "face.json", "-o", "face.png"], "face.json: -o"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_perceive_refuses_it_in_one_line_and_writes_nothing(case, folder, capsys):
    options, words = REFUSED[case]
    options = [option.format(folder=folder.name) for option in options]
    before = content(folder)
    try:
        image = [] if "--image" in options else ["--image", "me.png"]
        status = main(["perceive", "--audio", "hello.wav", *image, *options])
    except SystemExit as stopped:
        status = stopped.code
    printed = capsys.readouterr().err
    assert status and words in printed and printed.count("\n") == 1
    assert content(folder) == before


def test_after_all_that_was_refused_perceive_works(folder):
    assert main(["perceive", "--image", "me.png", "--audio", "hello.wav", "-o", "out.png"]) == 0
    numbers = json.loads((folder / "out.json").read_text(), parse_constant=pytest.fail)
    assert numbers["strength"] == 0.7


@pytest.mark.parametrize("size", ["33", "0", "-64", "16"])
def test_a_side_that_is_no_multiple_of_32_is_refused_at_once(size, folder, capsys):
    with pytest.raises(SystemExit):
        main(["pretrain", "--images", str(folder), f"--size={size}"])
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(f"{size} is not a multiple of 32")


def test_a_contact_sheet_replaces_nothing_of_the_corpus(corpus, tmp_path, capsys):
    Image.fromarray(face(64)).save(corpus / "note.png")
    before = (corpus / "note.png").read_bytes()
    command = ["prepare", "ravdess", "--profile", "smoke", "--root", str(corpus)]
    command += ["--cache", str(tmp_path / "cache"), "--sheet"]
    for sheet, words in (
        ("sheet.xyz", "the sheet's name should end in .png"),
        ("sheet", "the sheet's name should end in .png"),
        ("corpus/note.png", "belongs to the corpus; name another file with --sheet"),
    ):
        assert main([*command, str(tmp_path / sheet)]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert words in line and (corpus / "note.png").read_bytes() == before
    assert main([*command, str(tmp_path / "new.png")]) == 0
    assert Image.open(tmp_path / "new.png").width > 100


@pytest.mark.parametrize(
    "value, words",
    [
        ("fold=two", "FOLD=two: a whole number is needed"),
        ("fold=6", "FOLD=6: there are five folds"),
        ("seed=-1", "SEED=-1: a whole number is needed"),
        ("seed=9999999999", "SEED=9999999999: choose a number from 0 to"),
        ("profile=quik", "PROFILE=quik: unknown profile 'quik': choose one of"),
    ],
)
def test_make_refuses_it_in_one_line(value, words, monkeypatch, capsys):
    """Snakemake is called in this process; one of its own would take a second for each case."""
    from snakemake import cli

    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "path", sys.path[:])  # the graph puts its folder there
    with pytest.raises(SystemExit, match=words):
        cli.main(["--dry-run", "--cores", "1", "--config", value])
    assert "Traceback" not in capsys.readouterr().err


def test_a_gallery_replaces_only_a_gallery(tmp_path):
    gallery.check_folder(tmp_path / "new")
    (tmp_path / "README.md").write_text("# My project\n")
    with pytest.raises(ValueError, match="no gallery's; name another folder"):
        gallery.check_folder(tmp_path)
    (tmp_path / "README.md").unlink()
    (tmp_path / "preview").mkdir()
    with pytest.raises(ValueError, match="no gallery's; name another folder"):
        gallery.check_folder(tmp_path)
    gallery.check_folder(ROOT / "docs" / "figures")


def test_a_notebook_is_not_executed_onto_itself(tmp_path):
    source = tmp_path / "08_generation_demo.ipynb"
    shutil.copy(ROOT / "notebooks" / source.name, source)
    (tmp_path / "link.ipynb").symlink_to(source)
    before = source.read_bytes()
    for target in (source, tmp_path / "link.ipynb", tmp_path / "." / source.name):
        with pytest.raises(execute.NotebookError, match="would overwrite the notebook itself"):
            execute.execute(source, target, {})
    assert source.read_bytes() == before


def test_the_library_refuses_strengths_as_well(folder):
    from cmlib.perceiver import Perceiver
    from cmlib.preparation.inputs import InputError

    perceiver = Perceiver.load("actors")
    for strength in (np.nan, np.inf, -0.5):
        with pytest.raises(InputError, match="choose a number from 0 to 1"):
            perceiver.perceive("me.png", "hello.wav", strength)
        with pytest.raises(InputError, match="choose a number from 0 to 1"):
            perceiver.perceive_all(["me.png"], ["hello.wav"], [0.5, strength])
    assert perceiver.perceive("me.png", "hello.wav", 1.5).strength == 1.5  # exaggerates
