"""Fetch the published archives of RAVDESS (Zenodo record 1188976, CC BY-NC-SA 4.0), and go on where that was stopped.

An archive is written to ``NAME.zip.part`` and gets its name only when size and MD5 are those of the record's listing:
a half file never passes for a whole one.  Its SHA-256 is kept beside it in ``checksums.sha256``, in the format of
``sha256sum``: ``cm verify ravdess`` compares with that later, and so does a download where the record lists none.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import requests
from filelock import FileLock
from tqdm.auto import tqdm

RECORD = "https://zenodo.org/api/records/1188976"
PAGE = "https://zenodo.org/records/1188976"
ACTORS = range(1, 25)
TIMEOUT = (10, 60)  # seconds until a connection stands; until the next bytes come
TRIES = 6  # in a row that bring nothing new
PAUSE = 1.0  # seconds after the first of them; doubled after each further one
PASSING = (408, 425, 429, 500, 502, 503, 504)  # answers after which asking again may help
LOST = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)


class FetchError(RuntimeError):
    """An archive that could not be fetched; the message names it, says why and what to do."""


class ConnectionLost(FetchError):
    """The server does not answer, or not to the end, however often it is asked: no use asking for the next archive."""


@dataclass(frozen=True)
class Archive:
    """What the record says about a file: size in bytes, MD5 in hexadecimal digits ("" if it says none)."""

    name: str
    size: int
    md5: str
    url: str


def fetch(
    root: str | Path, actors: Sequence[int] = ACTORS, audio_only: bool = False, url: str = RECORD
) -> list[Path]:
    """The archives of these actors' videos with sound (or the one of everybody's sound) as whole files in ``root``.

    ``url``: the record in Zenodo's interface, or a mirror of it.  What is there already is not fetched again.
    FetchError names each archive that failed, after the others were fetched, and says how to do it by hand.
    """
    root = Path(root)
    names = (
        ["Audio_Speech_Actors_01-24.zip"]
        if audio_only
        else [f"Video_Speech_Actor_{a:02d}.zip" for a in actors]
    )
    faults = []
    try:
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / ".fetch.lock"):  # two that write one file would spoil it
            listed = listing(url)
            if absent := [name for name in names if name not in listed]:
                raise FetchError(f"{url}: lists no {', '.join(absent)}")
            todo = [listed[name] for name in names if not _is_whole(listed[name], root)]
            _check_room(todo, root)
            size, there = sum(a.size for a in todo), sum(_length(_part(a, root)) for a in todo)
            quiet = (
                True if os.environ.get("CM_QUIET") or not todo else None
            )  # None: a bar on a terminal only
            with tqdm(total=size, initial=there, unit="B", unit_scale=True, disable=quiet) as bar:
                for archive in todo:
                    bar.set_description(archive.name)
                    try:
                        _download(archive, root, bar)
                    except ConnectionLost:
                        raise
                    except FetchError as error:
                        faults.append(str(error))
            if faults:
                raise FetchError("\n  ".join(faults) + "\n  run again")
    except FetchError as error:
        some = names[0] if len(names) == 1 else f"{names[0]} ... {names[-1]}"
        raise type(error)(
            f"{error}\n  by hand: open {PAGE}, download {some} into {root}, leave it packed; "
            "cm prepare ravdess reads it so"
        ) from None
    return [root / name for name in names]


def listing(url: str = RECORD) -> dict[str, Archive]:
    """The files of a record by name, from its JSON: ``{"files": [{"key", "size", "checksum", "links": {"self"}}]}``."""
    with _asked(url, {}) as response:
        try:
            return {
                f["key"]: Archive(
                    f["key"],
                    int(f["size"]),
                    (f.get("checksum") or "").removeprefix("md5:"),
                    f.get("links", {}).get("self") or f"{url}/files/{f['key']}/content",
                )
                for f in response.json()["files"]
            }
        except LOST as error:
            raise ConnectionLost(
                f"{url}: the listing breaks off ({_cause(error)}); run again"
            ) from None
        except (ValueError, KeyError, TypeError):
            raise FetchError(f"{url}: not the listing of a record; check --url") from None


def _asked(url: str, headers: dict[str, str]) -> requests.Response:
    """The beginning of an answer; asks again, more and more seldom, while the fault may pass."""
    for attempt in range(TRIES):
        wait = PAUSE * 2**attempt
        try:
            response = requests.get(url, headers=headers, stream=True, timeout=TIMEOUT)
        except LOST as error:
            fault = f"no connection ({_cause(error)})"
        except requests.RequestException as error:
            raise FetchError(f"{url}: {_cause(error)}; check --url") from None
        else:
            if response.ok or response.status_code == 416:
                return response
            fault = f"{response.status_code} {response.reason}"
            response.close()
            if response.status_code not in PASSING:
                raise FetchError(f"{url}: {fault}")
            if (asked := response.headers.get("Retry-After", "")).isdigit():
                wait = min(float(asked), 300)
        if attempt < TRIES - 1:
            tqdm.write(f"{url}: {fault}; again in {wait:.0f} s", file=sys.stderr)
            time.sleep(wait)
    raise ConnectionLost(f"{url}: {fault}, {TRIES} times; run again later, what is there is kept")


def _cause(error: BaseException) -> str:
    """The innermost reason of an error of the network, in one line."""
    while error.__context__ is not None:
        error = error.__context__
    return " ".join(str(error).split()) or type(error).__name__


def _download(archive: Archive, root: Path, bar: tqdm) -> None:
    """One archive, from where its part file ends."""
    part, furthest, idle = _part(archive, root), -1, 0
    while (have := _length(part)) < archive.size or not part.exists():
        if have > furthest:
            furthest, idle = have, 0
        elif (idle := idle + 1) >= TRIES:
            raise ConnectionLost(
                f"{archive.url}: breaks off at {have / archive.size:.0%}, {TRIES} times; run again "
                "later, what is there is kept"
            )
        else:
            time.sleep(PAUSE * 2 ** (idle - 1))
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
        with _asked(archive.url, headers) as response, contextlib.suppress(*LOST):
            goes_on = response.headers.get("Content-Range", "").startswith(
                f"bytes {have}-"
            )  # with status 206
            if not goes_on:  # the server sends all of it, or something else: from the beginning
                bar.update(-have)
            with open(part, "ab" if goes_on else "wb") as file:
                for block in response.iter_content(1 << 16) if response.status_code != 416 else ():
                    file.write(block)
                    bar.update(len(block))
                    if file.tell() > archive.size:
                        break
    _accept(archive, part, root)


def _accept(archive: Archive, file: Path, root: Path) -> None:
    """Compare a complete file, give it its name and keep its sum; or remove it and say so."""
    known, sums = _sums(root), {kind: hashlib.new(kind) for kind in ("md5", "sha256")}
    with open(file, "rb") as opened:
        while block := opened.read(1 << 20):
            for each in sums.values():
                each.update(block)
    md5, sha256 = (each.hexdigest() for each in sums.values())
    if _length(file) != archive.size or archive.md5 not in ("", md5):
        fault = f"{_length(file):,} bytes with MD5 {md5}, the record lists {archive.size:,} and {archive.md5 or 'none'}"
    elif not archive.md5 and known.get(archive.name, sha256) != sha256:
        fault = f"SHA-256 {sha256}, at the first download {known[archive.name]}"
    else:
        os.replace(file, root / archive.name)
        lines = [
            f"{value}  {name}\n" for name, value in sorted((known | {archive.name: sha256}).items())
        ]
        (whole := root / "checksums.sha256.part").write_text("".join(lines))
        os.replace(whole, root / "checksums.sha256")
        return
    file.unlink()
    raise FetchError(f"{file}: {fault}; removed")


def _is_whole(archive: Archive, root: Path) -> bool:
    """Whether the archive is there; one that came by other ways is compared, one that is too short is a part."""
    path = root / archive.name
    if not path.exists() or (_length(path) == archive.size and archive.name in _sums(root)):
        return path.exists()
    if _length(path) < archive.size:
        os.replace(path, _part(archive, root))
        return False
    try:
        _accept(archive, path, root)
    except FetchError as error:
        print(f"{error}, it is fetched again", file=sys.stderr)
    return path.exists()


def _check_room(archives: list[Archive], root: Path) -> None:
    need = sum(a.size - _length(_part(a, root)) for a in archives)
    if (free := shutil.disk_usage(root).free) < need:
        raise FetchError(
            f"{root}: {need / 1e9:.1f} GB are needed, {free / 1e9:.1f} GB are free; make room, or name "
            "another folder with --root, or fewer actors with --actors"
        )


def _sums(root: Path) -> dict[str, str]:
    """SHA-256 by name, as kept beside the archives."""
    file = root / "checksums.sha256"
    lines = file.read_text().splitlines() if file.exists() else ()
    return {
        name.lstrip("*"): value
        for value, name in (line.split(maxsplit=1) for line in lines if line.strip())
    }


def _part(archive: Archive, root: Path) -> Path:
    return root / f"{archive.name}.part"


def _length(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
