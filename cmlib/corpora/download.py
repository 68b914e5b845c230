"""Download the published archives of RAVDESS (Zenodo record 1188976, CC BY-NC-SA 4.0).

An archive is written to ``NAME.zip.part`` and gets its name only when its size and MD5 are those of
the record's listing, so that a partial file never passes for a complete one. An interrupted
download resumes where it stopped. The SHA-256 is kept beside the archive in ``checksums.sha256``,
in the format of ``sha256sum``. ``cm verify ravdess`` compares with it later, and so does a download
if the record lists no checksum.

This is written by hand because pooch and zenodo-get check sizes and checksums, but restart a broken
download from its first byte: they never send a Range, and an archive has half a gigabyte.
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
from tqdm.auto import tqdm

from cmlib import files
from cmlib.locks import locked
from cmlib.progress import progress_bar

RECORD = "https://zenodo.org/api/records/1188976"
PAGE = "https://zenodo.org/records/1188976"
ACTORS = range(1, 25)
TIMEOUT = (10, 60)  # seconds to wait for a connection, and for the next bytes
TRIES = 6  # in a row without any new bytes
PAUSE = 1.0  # seconds after the first of them; doubled after each further one
MAX_PAUSE = 300  # seconds, even if the server asks for more
# After these answers it may help to ask again.
TRANSIENT_STATUS = (408, 425, 429, 500, 502, 503, 504)
RANGE_NOT_SATISFIABLE = 416
LOST = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)


class FetchError(RuntimeError):
    """An archive could not be downloaded; the message names it, says why and what to do."""


class ConnectionLost(FetchError):
    """The connection breaks however often it is tried, so the next archive is not tried either."""


@dataclass(frozen=True)
class Archive:
    """A file in the listing of a record."""

    name: str
    size: int  # bytes
    md5: str  # hexadecimal digits, "" where the record lists none
    url: str


def fetch(
    root: str | Path, actors: Sequence[int] = ACTORS, audio_only: bool = False, url: str = RECORD
) -> list[Path]:
    """Download the archives of these actors' videos with sound into ``root``.

    ``audio_only``: the single archive of everybody's sound instead. ``url``: the record in Zenodo's
    interface, or a mirror of it. Archives that exist are not downloaded again. If some archives
    fail, the others are downloaded first. Then FetchError is raised, which names each that failed
    and says how to get it by hand.
    """
    root = Path(root)
    names = [f"Video_Speech_Actor_{actor:02d}.zip" for actor in actors]
    if audio_only:
        names = ["Audio_Speech_Actors_01-24.zip"]
    try:
        files.make_folder(root)
        # Two processes that write the same file would spoil it.
        with locked(root / ".fetch.lock", f"downloading into {root}"):
            _fetch_missing(names, root, url)
    except FetchError as error:
        which = names[0] if len(names) == 1 else f"{names[0]} ... {names[-1]}"
        raise type(error)(
            f"{error}\n  by hand: open {PAGE}, download {which} into {root}, leave it packed; "
            "cm prepare ravdess reads it so"
        ) from None
    return [root / name for name in names]


def fetch_archive(archive: Archive, root: Path) -> Path:
    """Download one archive whose size and checksum are known into ``root``; its path.

    An archive that exists is not downloaded again. FetchError if it cannot be downloaded, which
    says how to get it by hand.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        with locked(root / ".fetch.lock", f"downloading into {root}"):
            _download_missing([archive], root)
    except FetchError as error:
        raise type(error)(
            f"{error}\n  by hand: download {archive.url} as {root / archive.name}, and run again"
        ) from None
    return root / archive.name


def _fetch_missing(names: Sequence[str], root: Path, url: str) -> None:
    archives = listing(url)
    unlisted = [name for name in names if name not in archives]
    if unlisted:
        raise FetchError(f"{url}: does not list {', '.join(unlisted)}")
    _download_missing([archives[name] for name in names], root)


def _download_missing(archives: list[Archive], root: Path) -> None:
    missing = [archive for archive in archives if not _is_whole(archive, root)]
    _check_room(missing, root)
    faults = []
    with progress_bar(
        total=sum(archive.size for archive in missing),
        initial=sum(_length(_part_file(archive, root)) for archive in missing),
        unit="B",
        unit_scale=True,
        shown=None if missing else False,
    ) as bar:
        for archive in missing:
            bar.set_description(archive.name)
            try:
                _download(archive, root, bar)
            except ConnectionLost:
                raise
            except FetchError as error:
                faults.append(str(error))
    if faults:
        raise FetchError("\n  ".join(faults) + "\n  run again")


def listing(url: str = RECORD) -> dict[str, Archive]:
    """The files of a record by name.

    They come from its JSON: ``{"files": [{"key", "size", "checksum", "links": {"self"}}]}``.
    """
    with _request(url, {}) as response:
        try:
            entries = response.json()["files"]
            return {entry["key"]: _archive(entry, url) for entry in entries}
        except LOST as error:
            raise ConnectionLost(
                f"{url}: the listing breaks off ({_innermost_reason(error)}); run again"
            ) from None
        except (ValueError, KeyError, TypeError):
            raise FetchError(f"{url}: not the listing of a record; check --url") from None


def _archive(entry: dict, url: str) -> Archive:
    name = entry["key"]
    return Archive(
        name=name,
        size=int(entry["size"]),
        md5=(entry.get("checksum") or "").removeprefix("md5:"),
        url=entry.get("links", {}).get("self") or f"{url}/files/{name}/content",
    )


def _request(url: str, headers: dict[str, str]) -> requests.Response:
    """Send a request, and return the response with its body still to be read.

    A temporary fault is answered by asking again, after longer and longer pauses.
    """
    fault = ""
    for attempt in range(TRIES):
        pause = PAUSE * 2**attempt
        try:
            response = requests.get(url, headers=headers, stream=True, timeout=TIMEOUT)
        except LOST as error:
            fault = f"no connection ({_innermost_reason(error)})"
        except requests.RequestException as error:
            raise FetchError(f"{url}: {_innermost_reason(error)}; check --url") from None
        else:
            if response.ok or response.status_code == RANGE_NOT_SATISFIABLE:
                return response
            fault = f"{response.status_code} {response.reason}"
            response.close()
            if response.status_code not in TRANSIENT_STATUS:
                raise FetchError(f"{url}: {fault}")
            retry_after = response.headers.get("Retry-After", "")
            if retry_after.isdigit():
                pause = min(float(retry_after), MAX_PAUSE)
        if attempt < TRIES - 1:
            tqdm.write(f"{url}: {fault}; again in {pause:.0f} s", file=sys.stderr)
            time.sleep(pause)
    raise ConnectionLost(f"{url}: {fault}, {TRIES} times; run again later, what is there is kept")


def _innermost_reason(error: BaseException) -> str:
    """The root cause of a network error, in one line."""
    while error.__context__ is not None:
        error = error.__context__
    return " ".join(str(error).split()) or type(error).__name__


def _download(archive: Archive, root: Path, bar: tqdm) -> None:
    """Download one archive, starting where its part file ends."""
    part = _part_file(archive, root)
    furthest, tries_without_progress = -1, 0
    while not part.exists() or _length(part) < archive.size:
        present = _length(part)
        if present > furthest:
            furthest, tries_without_progress = present, 0
        else:
            tries_without_progress += 1
            if tries_without_progress >= TRIES:
                raise ConnectionLost(
                    f"{archive.url}: breaks off at {present / archive.size:.0%}, {TRIES} times; "
                    "run again later, what is there is kept"
                )
            time.sleep(PAUSE * 2 ** (tries_without_progress - 1))
        _receive(archive, part, present, bar)
    _accept(archive, part, root)


def _receive(archive: Archive, part: Path, present: int, bar: tqdm) -> None:
    """Append to the part file what one connection delivers; if it breaks, that is not an error."""
    headers = {"Accept-Encoding": "identity"}
    if present:
        headers["Range"] = f"bytes={present}-"
    with _request(archive.url, headers) as response, contextlib.suppress(*LOST):
        content_range = response.headers.get("Content-Range", "")  # with status 206
        continues = content_range.startswith(f"bytes {present}-")
        if not continues:  # the server sends the whole file, or another part: start again
            bar.update(-present)
        with open(part, "ab" if continues else "wb") as file:
            if response.status_code == RANGE_NOT_SATISFIABLE:
                return
            for block in response.iter_content(1 << 16):
                file.write(block)
                bar.update(len(block))
                if file.tell() > archive.size:
                    break


def _accept(archive: Archive, file: Path, root: Path) -> None:
    """Check a complete file, name it and keep its checksum; if it is wrong, remove it and raise."""
    known = _checksums(root)
    md5, sha256 = _digests(file)
    fault = ""
    if _length(file) != archive.size or archive.md5 not in ("", md5):
        fault = (
            f"{_length(file):,} bytes with MD5 {md5}, "
            f"the record lists {archive.size:,} and {archive.md5 or 'none'}"
        )
    elif not archive.md5 and known.get(archive.name, sha256) != sha256:
        fault = f"SHA-256 {sha256}, at the first download {known[archive.name]}"
    if fault:
        file.unlink()
        raise FetchError(f"{file}: {fault}; removed")
    os.replace(file, root / archive.name)
    known[archive.name] = sha256
    lines = [f"{checksum}  {name}\n" for name, checksum in sorted(known.items())]
    files.write_text(root / "checksums.sha256", "".join(lines))


def _digests(file: Path) -> tuple[str, str]:
    """MD5 and SHA-256 of a file, reading it once."""
    md5, sha256 = hashlib.md5(), hashlib.sha256()
    with open(file, "rb") as opened:
        while block := opened.read(1 << 20):
            md5.update(block)
            sha256.update(block)
    return md5.hexdigest(), sha256.hexdigest()


def _is_whole(archive: Archive, root: Path) -> bool:
    """Whether the complete archive exists.

    An archive that was put there by hand is checked, and one that is too short becomes a part file.
    """
    path = root / archive.name
    if not path.exists():
        return False
    if _length(path) == archive.size and archive.name in _checksums(root):
        return True
    if _length(path) < archive.size:
        os.replace(path, _part_file(archive, root))
        return False
    try:
        _accept(archive, path, root)
    except FetchError as error:
        print(f"{error}; it is downloaded again", file=sys.stderr)
    return path.exists()


def _check_room(archives: list[Archive], root: Path) -> None:
    needed = sum(archive.size - _length(_part_file(archive, root)) for archive in archives)
    free = shutil.disk_usage(root).free
    if free < needed:
        raise FetchError(
            f"{root}: {needed / 1e9:.1f} GB are needed, {free / 1e9:.1f} GB are free; make room, "
            "or name another folder with --root, or fewer actors with --actors"
        )


def _checksums(root: Path) -> dict[str, str]:
    """SHA-256 by name, from the list beside the archives."""
    file = root / "checksums.sha256"
    if not file.exists():
        return {}
    checksums = {}
    for line in file.read_text().splitlines():
        if line.strip():
            checksum, name = line.split(maxsplit=1)
            checksums[name.lstrip("*")] = checksum
    return checksums


def _part_file(archive: Archive, root: Path) -> Path:
    return root / f"{archive.name}.part"


def _length(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
