"""A large corpus: several jobs prepare a shard each, and a start does not open every clip."""

import os
import re

import pytest

from cmlib.cli import main
from cmlib.config import get_profile
from cmlib.corpora import archives
from cmlib.locks import locked
from cmlib.preparation import keys
from cmlib.preparation import prepare as preparing
from cmlib.preparation.prepare import prepare, prepare_shard
from cmlib.preparation.unprepared import UnpreparedCorpus

SMOKE = get_profile("smoke")


def test_shards_are_joined_into_what_one_job_prepares(corpus, tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    counts = [prepare_shard("actors", k, 3, SMOKE, corpus, cache, workers=1) for k in (1, 2, 3)]
    assert counts == [(3, 8), (3, 8), (2, 8)]
    (unfinished,) = cache.glob("*.part")
    assert len(list((unfinished / "clips").glob("*.npz"))) == 8
    with monkeypatch.context() as patch:
        patch.setattr(preparing, "prepare_clip", lambda *a, **k: pytest.fail("prepared twice"))
        joined = prepare("actors", SMOKE, corpus, cache, workers=1)
    undisturbed = prepare("actors", SMOKE, corpus, tmp_path / "other", workers=1)
    assert joined.card["sha256"] == undisturbed.card["sha256"]
    assert prepare_shard("actors", 1, 3, SMOKE, corpus, cache, workers=1) == (3, 8)
    assert not list(cache.glob("*.part")), "what is joined is not begun again"


def test_a_shard_leaves_the_unfinished_files_of_others_alone(corpus, tmp_path):
    cache = tmp_path / "cache"
    prepare_shard("actors", 1, 2, SMOKE, corpus, cache, workers=1)
    (clips,) = cache.glob("*.part/clips")
    for number in (0, 1):
        (clips / f"{number:06d}.npz.1.part").write_bytes(b"half")
    prepare_shard("actors", 1, 2, SMOKE, corpus, cache, workers=1)
    assert [path.name for path in clips.glob("*.part")] == ["000001.npz.1.part"]


def test_joining_waits_for_shards_that_are_being_prepared(corpus, tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    prepare_shard("actors", 2, 2, SMOKE, corpus, cache, workers=1)
    (lock,) = cache.glob("*.shard-2-of-2.lock")
    held = []

    def noting(path, work):
        held.append(path)
        return locked(path, work)

    monkeypatch.setattr("cmlib.preparation.prepare.locked", noting)
    assert len(prepare("actors", SMOKE, corpus, cache, workers=1).clips) == 8
    assert held[-1] == lock and len(held) == 2


def test_the_command_prepares_a_shard_and_says_what_is_next(corpus, tmp_path, capsys):
    command = ["prepare", "actors", "--profile", "smoke", "--root", str(corpus)]
    command += ["--cache", str(tmp_path / "cache"), "--workers", "1"]
    assert main([*command, "--shard", "2/2"]) == 0
    assert "shard 2/2, 4 of 8 clips; when all shards are done" in capsys.readouterr().out
    for wrong, words in (("2", "as in 1/8"), ("3/2", "choose a number from 1 to 2")):
        assert main([*command, "--shard", wrong]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert re.search(words, line)


def test_the_files_of_a_large_corpus_are_opened_once(corpus, tmp_path, monkeypatch):
    opened, real = [], archives.fingerprint
    monkeypatch.setattr(
        archives, "fingerprint", lambda path, size: opened.append(path) or real(path, size)
    )

    def key() -> str:
        return UnpreparedCorpus.scan("actors", SMOKE, corpus, tmp_path / "cache").key

    small = key()
    assert len(opened) == 8
    monkeypatch.setattr(keys, "LARGE_CORPUS", 1)
    assert [key(), key(), key()] == [small] * 3 and len(opened) == 16
    clip = sorted(corpus.rglob("*.mp4"))[0]
    clip.write_bytes(clip.read_bytes()[:-1] + b"\1")
    other = key()
    assert other != small and len(opened) == 24
    (note,) = (tmp_path / "cache").glob("actors.keys.json")
    note.write_text("damaged")
    assert key() == other and len(opened) == 32
    os.utime(clip, (0, 0))  # another date alone opens the files again and changes no key
    assert key() == other and len(opened) == 40
