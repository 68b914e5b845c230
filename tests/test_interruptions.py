"""Preparing a corpus is stopped in the middle: nothing is lost, and nothing passes for whole."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from conftest import ROOT

from cmlib import files
from cmlib.config import get_profile
from cmlib.preparation import prepare as preparing
from cmlib.preparation.prepare import prepare
from cmlib.preparation.store import StoreError

SMOKE = get_profile("smoke")


@pytest.fixture
def prepared_clips(monkeypatch):
    """Names of the clips that are prepared, as they come."""
    names, real = [], preparing.prepare_clip

    def noting(clip, **settings):
        names.append(clip.name)
        return real(clip, **settings)

    monkeypatch.setattr(preparing, "prepare_clip", noting)
    return names


def raising(error):
    """A function that raises ``error``, whatever it is called with."""

    def function(*arguments, **options):
        raise error

    return function


def folders(cache):
    return [path for path in cache.iterdir() if path.is_dir()]


def test_ctrl_c_keeps_what_is_done(corpus, tmp_path, monkeypatch, prepared_clips):
    cache, noting = tmp_path / "cache", preparing.prepare_clip

    def stop_at_the_sixth(clip, **settings):
        if len(prepared_clips) == 5:
            raise KeyboardInterrupt
        return noting(clip, **settings)

    with monkeypatch.context() as patch:
        patch.setattr(preparing, "prepare_clip", stop_at_the_sixth)
        with pytest.raises(KeyboardInterrupt):
            prepare("actors", SMOKE, corpus, cache, workers=1)
    assert [path.suffix for path in folders(cache)] == [".part"]
    prepared_clips.clear()
    s = prepare("actors", SMOKE, corpus, cache, workers=1)
    assert len(prepared_clips) == 3 and len(s.clips) == 8
    undisturbed = prepare("actors", SMOKE, corpus, tmp_path / "other", workers=1)
    assert s.card["sha256"] == undisturbed.card["sha256"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_one_line_and_the_work_goes_on_later(
    corpus, tmp_path, monkeypatch, prepared_clips, number
):
    cache, real, writes = tmp_path / "cache", np.savez, []

    def full_after_three(file, **arrays):
        if len(writes) == 3:
            file.write(b"torn")
            raise OSError(number, os.strerror(number))
        writes.append(file)
        real(file, **arrays)

    with monkeypatch.context() as patch:
        patch.setattr(np, "savez", full_after_three)
        with pytest.raises(StoreError, match="disk is full; make room, or set CM_CACHE"):
            prepare("actors", SMOKE, corpus, cache, workers=1)
    (unfinished,) = cache.glob("*.part")
    assert len(list((unfinished / "clips").iterdir())) == 3  # whole ones only
    prepared_clips.clear()
    assert len(prepare("actors", SMOKE, corpus, cache, workers=1).clips) == 8
    assert len(prepared_clips) == 5


def test_a_disk_that_fills_up_while_assembling(corpus, tmp_path, monkeypatch, prepared_clips):
    cache = tmp_path / "cache"
    with monkeypatch.context() as patch:
        patch.setattr(files, "checksum", raising(OSError(errno.ENOSPC, "no space")))
        with pytest.raises(StoreError, match="disk is full"):
            prepare("actors", SMOKE, corpus, cache, workers=1)
    assert [path.suffix for path in folders(cache)] == [".part"]
    prepared_clips.clear()
    s = prepare("actors", SMOKE, corpus, cache, workers=1)
    assert prepared_clips == [] and s.verify() == []


def test_too_little_room_is_noticed_before_the_work(corpus, tmp_path, monkeypatch, prepared_clips):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(100, 100, 0))
    with pytest.raises(StoreError, match="disk is full"):
        prepare("actors", SMOKE, corpus, tmp_path / "cache", workers=1)
    assert prepared_clips == []


@pytest.mark.skipif(
    not shutil.which("mount") or not hasattr(os, "geteuid") or os.geteuid(), reason="needs root"
)
@pytest.mark.parametrize("kilobytes", [100, 420])
def test_a_disk_that_is_really_full(corpus, tmp_path, monkeypatch, kilobytes):
    """It fills up while clips are prepared, or while the arrays are written."""
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", small]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no tmpfs can be mounted here")
    try:
        monkeypatch.setattr(preparing, "_check_room", lambda *arguments: None)
        with pytest.raises(StoreError, match="disk is full"):
            prepare("actors", SMOKE, corpus, small / "cache", workers=1)
        clips = list(small.glob("cache/*.part/clips/*.npz"))
        assert (len(clips) == 8) == (kilobytes > 400)
    finally:
        subprocess.run(["umount", small], check=True)


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize("sign, workers", [(signal.SIGKILL, 1), (signal.SIGINT, 2)])
def test_a_killed_process_leaves_nothing_that_passes_for_whole(
    large_corpus, tmp_path, sign, workers
):
    cache = tmp_path / "cache"
    options = {"root": large_corpus, "cache": cache, "profile": "smoke", "workers": workers}
    process = subprocess.Popen(
        [sys.executable, "-m", "cmlib.cli", "prepare", "actors"]
        + [f"--{name}={value}" for name, value in options.items()],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=os.environ | {"CM_QUIET": "1"},
        # A job in the background inherits that Ctrl-C is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while len(list(cache.glob("*.part/clips/*.npz"))) <= 5:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.005)
    os.killpg(process.pid, sign)  # as a terminal does: to the workers too
    stderr = process.communicate()[1]
    assert [path.suffix for path in folders(cache)] == [".part"]
    if sign == signal.SIGINT:
        assert process.returncode == 130 and "cm: stopped; finished work is kept" in stderr
        assert "Traceback" not in stderr, stderr
    done = len(list(cache.glob("*.part/clips/*.npz")))
    s = prepare("actors", SMOKE, large_corpus, cache, workers=1)
    assert len(s.clips) == 32 > done >= 6 and s.verify() == [] and s.skipped.empty
