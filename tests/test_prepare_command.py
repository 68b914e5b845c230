"""``cm prepare`` and ``cm verify``: what they print, and how they end."""

import hashlib
import shutil

import numpy as np
import pytest
from conftest import write_clip

from cmlib.cli import main


@pytest.fixture
def arguments(corpus, tmp_path):
    """The arguments of both commands for the toy corpus."""
    root, cache = str(corpus), str(tmp_path / "cache")
    return ["actors", "--profile", "smoke", "--root", root, "--cache", cache]


def test_the_summary_counts_and_names_what_was_left_out(corpus, arguments, capsys, good_clip):
    (corpus / "01-01-06-01-01-01-01.mp4").write_text("this is not a video\n" * 100)
    (corpus / "holiday.mp4").write_bytes(b"x")
    shutil.copy(good_clip, corpus / "01-02-03-01-01-01-01.mp4")
    grey = [np.full((64, 64, 3), 90, np.uint8)] * 10
    write_clip(corpus / "01-01-08-01-01-01-01.mp4", grey, np.zeros(19_200))
    assert main(["prepare", *arguments]) == 0
    summary = capsys.readouterr().out
    for words in (
        "9 clips of 4 actors, 18 frames",
        "1 clips without one",
        "no face, the middle",
        "silent: 01-01-08",
        "1 name",
        "1 song",
        "1 unreadable",
        "'holiday' is not a RAVDESS name",
        "not a video",
        " s, counted from its last start",
    ):
        assert words in summary


def test_verify_finds_nothing_wrong_with_what_was_just_prepared(arguments, capsys):
    assert main(["prepare", *arguments]) == 0
    assert main(["verify", *arguments]) == 0
    assert "as they were written" in capsys.readouterr().out


def test_verify_names_the_files_that_changed(corpus, arguments, tmp_path, capsys):
    paths = sorted(corpus.rglob("*.mp4"))
    checksums = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(corpus).as_posix()}\n"
        for path in paths
    ]
    (corpus / "checksums.sha256").write_text("".join(checksums))
    assert main(["verify", *arguments]) == 0
    (mels,) = (tmp_path / "cache").glob("*/mels.npy")
    mels.write_bytes(mels.read_bytes()[:-1] + b"!")
    assert main(["verify", *arguments]) == 1 and "mels.npy: changed" in capsys.readouterr().err
    paths[0].unlink()
    paths[1].write_bytes(b"x")
    assert main(["verify", *arguments]) == 1
    missing, other = capsys.readouterr().err.splitlines()
    assert f"{paths[0]}: missing" in missing and f"{paths[1]}: not what it was" in other


def test_a_missing_folder_is_one_line(tmp_path, capsys):
    assert main(["prepare", "ravdess", "--root", str(tmp_path / "none")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("cm: ") and "none: no such folder" in line
