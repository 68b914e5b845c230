"""Files below a folder and in the zip archives there: one way to walk, open, size and fingerprint them.

A member of an archive is written like a file in a folder that is called as the archive, with ``!`` behind it:
``Video_Speech_Actor_01.zip!/Actor_01/01-01-05-02-01-01-01.mp4``.  Nothing is ever unpacked onto the disk: a member is
read into memory, one at a time.
"""

from __future__ import annotations

import os
import zipfile
import zlib
from contextlib import suppress
from functools import lru_cache
from pathlib import Path, PurePosixPath

LARGEST = 2 << 30  # bytes of a member that are read into memory, at most
BROKEN = (
    OSError,
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
)


class ArchiveError(ValueError):
    """An archive, or a member of one, that cannot be read; the message names it, the fault and the remedy."""


def split(path: Path) -> tuple[Path, str]:
    """The archive and the member's name in it; for a file that is no member, the file and ""."""
    for i, part in enumerate(path.parts):
        if part.lower().endswith(".zip!"):
            return Path(*path.parts[:i], part[:-1]), "/".join(path.parts[i + 1 :])
    return path, ""


def exists(path: Path) -> bool:
    """Whether there is such a file, or such a member."""
    archive, member = split(path)
    with suppress(ArchiveError):
        return archive.is_file() and (not member or member in _names(archive))
    return False


def read(path: Path) -> bytes:
    """A member as bytes; the last one stays in memory, since sound and pictures of a clip are asked for one by one."""
    archive, member = split(path)
    return _read(archive, member, _stamp(archive))


def fingerprint(path: Path, edge: int) -> bytes:
    """Size and content in short: ``edge`` bytes of either end of a file, the check sum of a whole member."""
    archive, member = split(path)
    if member:
        info = _open(archive, _stamp(archive)).getinfo(member)
        return f"{info.file_size} {info.CRC:08x}".encode()
    size = path.stat().st_size
    sample = f"{size} ".encode()
    with suppress(PermissionError), open(path, "rb") as file:
        sample += file.read(edge)
        file.seek(max(edge, size - edge))
        sample += file.read()
    return sample


def walk(root: Path, suffixes: tuple[str, ...]) -> tuple[list[Path], list[tuple[Path, str]]]:
    """Every file below ``root`` with one of these (lower-case) suffixes, sorted, then such members of the zip archives
    there; and what was left out with the reason: folders and archives that cannot be read, members with unsafe names,
    names without a file behind.  Hidden ones (``._x.mp4`` of macOS) are passed over; links are followed, once.
    """
    plain, members, skipped, seen = [], [], [], set()

    def unreadable(error: OSError) -> None:
        skipped.append(
            (Path(error.filename), f"{error.filename}: cannot be read ({error.strerror}); allow it")
        )

    for folder, below, names in os.walk(root, onerror=unreadable, followlinks=True):
        seen.add(os.path.realpath(folder))
        for name in [n for n in below if Path(n).suffix.lower() in suffixes]:
            skipped.append(
                (path := Path(folder, name), f"{path}: a folder with the name of a file; rename it")
            )
        below[:] = sorted(
            n for n in below if n[0] != "." and os.path.realpath(Path(folder, n)) not in seen
        )
        for path in (Path(folder, name) for name in names if name[0] != "."):
            if path.suffix.lower() not in (*suffixes, ".zip"):
                continue
            if not path.is_file():
                skipped.append(
                    (path, f"{path}: not a file, or a link that leads nowhere; remove it")
                )
            elif path.suffix.lower() != ".zip":
                plain.append(path)
            else:
                found, faults = _members(path, suffixes)
                members += found
                skipped += faults
    return sorted(plain) + sorted(members), skipped


def _members(archive: Path, suffixes: tuple[str, ...]) -> tuple[list[Path], list[tuple[Path, str]]]:
    """See ``walk``, for one archive."""
    found, skipped = [], []
    try:
        names = _names(archive)
    except ArchiveError as error:
        return [], [(archive, str(error))]
    for name in names:
        parts, path = PurePosixPath(name).parts, Path(f"{archive}!/{name}")
        if name.endswith("/") or PurePosixPath(name).suffix.lower() not in suffixes:
            continue
        if (
            name != str(PurePosixPath(name))
            or name[0] == "/"
            or ".." in parts
            or "\\" in name
            or ":" in parts[0]
        ):
            skipped.append(
                (
                    path,
                    f"{path}: a name that leads out of the archive; get the archive from its publisher",
                )
            )
        elif not any(part.startswith((".", "__MACOSX")) for part in parts):
            found.append(path)
    return found, skipped


def _stamp(archive: Path) -> tuple[int, int]:
    """Changes when the archive does."""
    try:
        status = archive.stat()
    except OSError as error:
        raise ArchiveError(f"{archive}: cannot be read ({error.strerror}); put it back") from None
    return status.st_mtime_ns, status.st_size


@lru_cache(
    maxsize=32
)  # the table of contents is read once; RAVDESS has 24 archives, and clips come in turn from all
def _open(archive: Path, stamp: tuple[int, int]) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(archive)
    except BROKEN as error:
        what = getattr(error, "strerror", None) or error
        raise ArchiveError(
            f"{archive}: not a zip archive, or cut short ({what}); download it again"
        ) from None


def _names(archive: Path) -> dict[str, zipfile.ZipInfo]:
    return _open(archive, _stamp(archive)).NameToInfo


@lru_cache(maxsize=1)
def _read(archive: Path, member: str, stamp: tuple[int, int]) -> bytes:
    path = f"{archive}!/{member}"
    opened = _open(archive, stamp)
    if member not in opened.NameToInfo:
        raise ArchiveError(f"{path}: no such file in the archive; check the path")
    if (size := opened.NameToInfo[member].file_size) > LARGEST:
        raise ArchiveError(
            f"{path}: {size / 1e9:.1f} GB in one piece; unpack the archive, and remove it"
        )
    try:
        return opened.read(member)
    except BROKEN as error:
        raise ArchiveError(
            f"{path}: damaged in the archive ({error}); download {archive.name} again"
        ) from None
