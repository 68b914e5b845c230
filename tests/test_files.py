"""Files appear whole or not at all, with the rights that the umask allows."""

import hashlib
import os
import stat
import sys

import pytest

from cmlib import checkpoints, files
from cmlib.models import Classifier
from cmlib.progress import progress_bar


def test_a_file_that_fails_half_way_leaves_the_old_one(tmp_path):
    path = tmp_path / "new folder" / "numbers.txt"
    files.write_text(path, "old")
    with pytest.raises(KeyboardInterrupt), files.write_atomically(path) as temporary:
        temporary.write_text("half of the n")
        raise KeyboardInterrupt
    assert path.read_text() == "old" and [*path.parent.iterdir()] == [path]


def test_two_processes_do_not_share_a_temporary_file(tmp_path, monkeypatch):
    path = tmp_path / "array.npy"
    with files.write_atomically(path) as first:
        monkeypatch.setattr(os, "getpid", lambda: 1)
        with files.write_atomically(path) as second:
            assert first != second
            second.write_bytes(b"2")
        assert path.read_bytes() == b"2"
        first.write_bytes(b"1")
    assert path.read_bytes() == b"1" and [*tmp_path.iterdir()] == [path]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no umask")
@pytest.mark.parametrize("umask, rights", [(0o022, 0o644), (0o077, 0o600)])
def test_weights_have_the_rights_that_the_umask_allows(tmp_path, umask, rights):
    before = os.umask(umask)
    try:
        weights = checkpoints.save(tmp_path / "classifier", Classifier(8), {})
    finally:
        os.umask(before)
    for path in (weights, weights.with_suffix(".json")):
        assert stat.S_IMODE(path.stat().st_mode) == rights


def test_a_checksum_is_that_of_sha256sum(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"abc" * 100_000)
    assert files.checksum(path) == hashlib.sha256(b"abc" * 100_000).hexdigest()


@pytest.mark.parametrize(
    "terminal, quiet, shown, expected",
    [
        (True, "", None, True),
        (True, "1", None, False),
        (False, "", None, False),
        (False, "1", True, True),
        (True, "", False, False),
    ],
)
def test_a_bar_is_shown_where_somebody_looks(monkeypatch, terminal, quiet, shown, expected):
    monkeypatch.setenv("CM_QUIET", quiet)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    bar = progress_bar(range(3), "counting", shown)
    assert (not bar.disable) == expected and list(bar) == [0, 1, 2]
