"""Bad input gets one clear line and loses nothing."""

import errno
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from conftest import ROOT, talking, tone, write_clip

from cmlib import files
from cmlib.cli import main
from cmlib.config import get_profile
from cmlib.preparation import prepare as preparing
from cmlib.preparation.media import MediaError, read_audio, read_video
from cmlib.preparation.prepare import prepare
from cmlib.preparation.store import StoreError

SMOKE = get_profile("smoke")


def spoil(path, kind, good):
    """Write a spoiled file of one kind to ``path``."""
    data = good.read_bytes()
    if kind == "cut short":  # the table of contents is in front, so half of the frames are missing
        path.write_bytes(data[: len(data) // 2])
    elif kind == "a little short":
        path.write_bytes(data[: len(data) * 9 // 10])
    elif kind == "cut to nothing":
        path.write_bytes(data[:200])
    elif kind == "text":
        path.write_text("this is not a video\n" * 100)
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "noise inside":
        path.write_bytes(data[:3000] + os.urandom(len(data) - 3000))
    elif kind == "no sound track":
        write_clip(path, talking(5), None)
    elif kind == "no picture track":
        write_clip(path, None, tone(0.4))
    elif kind == "picture":
        write_clip(path.with_suffix(".mkv"), talking(1), None).rename(path)
    else:
        raise ValueError(kind)


KINDS = (
    "cut short",
    "a little short",
    "cut to nothing",
    "text",
    "empty",
    "no sound track",
    "no picture track",
    "picture",
)


@pytest.mark.parametrize("kind", KINDS)
def test_one_bad_clip_is_listed_and_stops_nothing(corpus, tmp_path, kind):
    bad = corpus / "Actor_01" / "01-01-06-01-01-01-01.mp4"
    spoil(bad, kind, corpus / "Actor_01" / "01-01-03-01-01-01-01.mp4")
    s = prepare("actors", SMOKE, corpus, tmp_path / "cache", workers=1)
    assert len(s.clips) == 8 and s.card["skipped"] == 1
    (row,) = s.skipped.itertuples()
    assert (
        row.path == str(bad) and row.reason.startswith(str(bad) + ": ") and "\n" not in row.reason
    )
    assert any(word in row.reason for word in ("again", "use a"))  # the remedy


def test_the_faults_are_named(tmp_path, good_clip):
    faults = {
        "cut short": "cut short",
        "text": "not a video",
        "empty": "empty file",
        "no sound track": "no sound",
    }
    for kind, fault in faults.items():
        spoil(tmp_path / "x.mp4", kind, good_clip)
        with pytest.raises(MediaError, match=fault):
            read_video(tmp_path / "x.mp4", 4)
            read_audio(tmp_path / "x.mp4")


def test_noise_inside_a_video_is_noise_or_a_line_but_no_crash(corpus, tmp_path):
    spoil(
        corpus / "01-01-06-01-01-01-01.mp4",
        "noise inside",
        corpus / "Actor_01" / "01-01-03-01-01-01-01.mp4",
    )
    s = prepare("actors", SMOKE, corpus, tmp_path / "cache", workers=1)
    assert len(s.clips) + len(s.skipped) == 9 and len(s.clips) >= 8 and np.isfinite(s.mels).all()


def test_an_unreadable_file_is_listed(corpus, tmp_path, monkeypatch):
    bad = corpus / "Actor_01" / "01-01-03-01-01-01-01.mp4"
    if os.geteuid():
        bad.chmod(0)
    else:  # root may read everything

        def denied(*args, **options):
            raise PermissionError(errno.EACCES, "Permission denied")

        opened = preparing.media.av.open
        monkeypatch.setattr(
            preparing.media.av,
            "open",
            lambda f, mode: (denied if f == str(bad) else opened)(f, mode),
        )
    s = prepare("actors", SMOKE, corpus, tmp_path / "cache", workers=1)
    assert len(s.clips) == 7 and "Permission denied" in s.skipped.reason[0]


def test_nothing_usable_at_all_is_one_line(tmp_path, good_clip):
    spoil(tmp_path / "01-01-06-01-01-01-01.mp4", "text", good_clip)
    with pytest.raises(StoreError, match="none of 1 clips can be used; the first: .*not a video"):
        prepare("actors", SMOKE, tmp_path, tmp_path / "cache")


# -------------------------------------------------------------------- stopped in the middle


def counting(monkeypatch, stop_at=None, how=None):
    """Count the clips that are prepared; ``how()`` happens before number ``stop_at``."""
    count, real = [0], preparing.prepare_clip

    def wrapped(*args, **options):
        if count[0] == stop_at:
            how()
        count[0] += 1
        return real(*args, **options)

    monkeypatch.setattr(preparing, "prepare_clip", wrapped)
    return count


def raising(error):
    def how():
        raise error

    return how


def test_ctrl_c_keeps_what_is_done(corpus, tmp_path, monkeypatch):
    with monkeypatch.context() as m:
        counting(m, 5, raising(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            prepare("actors", SMOKE, corpus, tmp_path / "cache", workers=1)
    assert [p.suffix for p in (tmp_path / "cache").iterdir() if p.is_dir()] == [".part"]
    count = counting(monkeypatch)
    s = prepare("actors", SMOKE, corpus, tmp_path / "cache", workers=1)
    assert count == [3] and len(s.clips) == 8
    assert (
        s.card["sha256"]
        == prepare("actors", SMOKE, corpus, tmp_path / "other", workers=1).card["sha256"]
    )


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_one_line_and_the_work_goes_on_later(corpus, tmp_path, monkeypatch, number):
    cache, real, writes = tmp_path / "cache", np.savez, [0]

    def full(file, **arrays):
        writes[0] += 1
        if writes[0] > 3:
            file.write(b"torn")
            raise OSError(number, os.strerror(number))
        real(file, **arrays)

    with monkeypatch.context() as m:
        m.setattr(np, "savez", full)
        with pytest.raises(StoreError, match="disk is full; make room, or set CM_CACHE"):
            prepare("actors", SMOKE, corpus, cache, workers=1)
    (part,) = cache.glob("*.part")
    assert len(list((part / "clips").iterdir())) == 3  # whole ones only
    count = counting(monkeypatch)
    assert len(prepare("actors", SMOKE, corpus, cache, workers=1).clips) == 8 and count == [5]


def test_a_disk_that_fills_up_while_assembling(corpus, tmp_path, monkeypatch):
    with monkeypatch.context() as m:
        m.setattr(files, "checksum", lambda path: raising(OSError(errno.ENOSPC, "no space"))())
        with pytest.raises(StoreError, match="disk is full"):
            prepare("actors", SMOKE, corpus, tmp_path / "cache", workers=1)
    assert not [p for p in (tmp_path / "cache").iterdir() if p.is_dir() and p.suffix != ".part"]
    count = counting(monkeypatch)
    s = prepare("actors", SMOKE, corpus, tmp_path / "cache", workers=1)
    assert count == [0] and s.verify() == []


def test_too_little_room_is_said_before_the_work(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(100, 100, 0))
    count = counting(monkeypatch)
    with pytest.raises(StoreError, match="disk is full"):
        prepare("actors", SMOKE, corpus, tmp_path / "cache", workers=1)
    assert count == [0]


@pytest.mark.skipif(
    not shutil.which("mount") or not hasattr(os, "geteuid") or os.geteuid(), reason="needs root"
)
def test_a_disk_that_is_really_full(corpus, tmp_path, monkeypatch):
    (tmp_path / "tiny").mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", tmp_path / "tiny"]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no tmpfs can be mounted here")
    try:
        monkeypatch.setattr(preparing, "_check_room", lambda *a: None)
        with pytest.raises(StoreError, match="disk is full"):
            prepare("actors", SMOKE, corpus, tmp_path / "tiny" / "cache", workers=1)
    finally:
        subprocess.run(["umount", tmp_path / "tiny"], check=True)


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_process_leaves_nothing_that_passes_for_whole(large_corpus, tmp_path, sign):
    cache = tmp_path / "cache"
    command = [
        sys.executable,
        "-m",
        "cmlib.cli",
        "prepare",
        "actors",
        "--profile",
        "smoke",
        "--workers",
        "2",
    ]
    process = subprocess.Popen(
        [*command, "--root", large_corpus, "--cache", cache],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=os.environ | {"CM_QUIET": "1"},
        preexec_fn=lambda: signal.signal(
            signal.SIGINT, signal.SIG_DFL
        ),  # a background job inherits "ignore"
    )
    deadline = time.monotonic() + 60
    while not len(list(cache.glob("*.part/clips/*.npz"))) > 5:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(process.pid, sign)  # as a terminal does: to the workers too
    stderr = process.communicate(timeout=60)[1]
    folders = [p for p in cache.iterdir() if p.is_dir()]
    assert all(p.suffix == ".part" for p in folders) and folders
    if sign == signal.SIGINT:
        assert process.returncode == 130 and "cm: stopped; what is done is kept" in stderr
        assert "Traceback" not in stderr, stderr
    done = len(list(cache.glob("*.part/clips/*.npz")))
    s = prepare("actors", SMOKE, large_corpus, cache)
    assert len(s.clips) == 32 > done >= 6 and s.verify() == [] and s.skipped.empty


# -------------------------------------------------------------------- the command


def test_the_summary_says_what_was_left_out(corpus, tmp_path, capsys, good_clip):
    spoil(corpus / "01-01-06-01-01-01-01.mp4", "text", good_clip)
    (corpus / "holiday.mp4").write_bytes(b"x")
    shutil.copy(good_clip, corpus / "01-02-03-01-01-01-01.mp4")
    write_clip(
        corpus / "01-01-08-01-01-01-01.mp4",
        [np.full((64, 64, 3), 90, np.uint8)] * 10,
        np.zeros(19_200),
    )
    arguments = [
        "prepare",
        "actors",
        "--profile",
        "smoke",
        "--root",
        str(corpus),
        "--cache",
        str(tmp_path / "cache"),
    ]
    assert main(arguments) == 0
    out = capsys.readouterr().out
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
        " s of work",
    ):
        assert words in out
    assert (
        main(["verify", *arguments[1:]]) == 0 and "as they were written" in capsys.readouterr().out
    )


def test_verify_names_the_files_that_changed(corpus, tmp_path, capsys):
    paths = sorted(corpus.rglob("*.mp4"))
    lines = [
        f"{hashlib.sha256(p.read_bytes()).hexdigest()}  {p.relative_to(corpus).as_posix()}"
        for p in paths
    ]
    (corpus / "checksums.sha256").write_text("\n".join(lines) + "\n")
    arguments = [
        "actors",
        "--profile",
        "smoke",
        "--root",
        str(corpus),
        "--cache",
        str(tmp_path / "cache"),
    ]
    assert main(["verify", *arguments]) == 0
    (mels,) = (tmp_path / "cache").glob("*/mels.npy")
    mels.write_bytes(mels.read_bytes()[:-1] + b"!")
    assert main(["verify", *arguments]) == 1 and "mels.npy: changed" in capsys.readouterr().err
    paths[0].unlink()
    paths[1].write_bytes(b"x")
    assert main(["verify", *arguments]) == 1
    missing, other = capsys.readouterr().err.splitlines()
    assert f"{paths[0]}: missing" in missing and f"{paths[1]}: not what it was" in other


def test_the_command_fails_with_one_line(tmp_path, capsys):
    assert main(["prepare", "ravdess", "--root", str(tmp_path / "none")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("cm: ") and "none: no such folder" in line
