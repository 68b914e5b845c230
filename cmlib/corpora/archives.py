"""Files in folders and in zip archives: one way to list, open, measure and fingerprint them.

The path of a member looks like that of a file in a folder named after the archive, with ``!``
behind: ``Video_Speech_Actor_01.zip!/Actor_01/01-01-05-02-01-01-01.mp4``. Nothing is ever unpacked
onto the disk: members are read into memory, one at a time.
"""

from __future__ import annotations

import os
import zipfile
import zlib
from contextlib import suppress
from functools import lru_cache
from pathlib import Path, PurePosixPath

from cmlib.corpora.clip import Skipped

MAX_MEMBER_BYTES = 2 << 30  # larger members are not read into memory
BROKEN_ARCHIVE = (
    OSError,
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
)


class ArchiveError(ValueError):
    """An archive, or a member, cannot be read; the message names it, the fault and the remedy."""


def split(path: Path) -> tuple[Path, str]:
    """The archive, and the member's name in it; for an ordinary file, the file and ""."""
    for i, folder in enumerate(path.parts):
        if folder.lower().endswith(".zip!"):
            archive = Path(*path.parts[:i], folder[:-1])
            return archive, "/".join(path.parts[i + 1 :])
    return path, ""


def exists(path: Path) -> bool:
    """Whether the file, or the member of an archive, exists."""
    archive, member = split(path)
    if not archive.is_file():
        return False
    if not member:
        return True
    try:
        return member in _members(archive)
    except ArchiveError:
        return False


def read(path: Path) -> bytes:
    """The bytes of a member.

    The last member read is kept in memory, since the sound and the pictures of a clip are read
    separately.
    """
    archive, member = split(path)
    return _read(archive, member, _stamp(archive))


def fingerprint(path: Path, edge_bytes: int) -> bytes:
    """A short digest of size and content.

    For a file it is the size and ``edge_bytes`` at either end; for a member, the size and the
    checksum that the archive lists.
    """
    archive, member = split(path)
    if member:
        info = _open(archive, _stamp(archive)).getinfo(member)
        return f"{info.file_size} {info.CRC:08x}".encode()
    size = path.stat().st_size
    sample = f"{size} ".encode()
    with suppress(PermissionError), open(path, "rb") as file:
        sample += file.read(edge_bytes)
        file.seek(max(edge_bytes, size - edge_bytes))
        sample += file.read()
    return sample


# -------------------------------------------------------------------- listing


def walk(root: Path, suffixes: tuple[str, ...]) -> tuple[list[Path], list[Skipped]]:
    """Every file below ``root`` with one of these (lower-case) suffixes, and what was left out.

    The files come first, sorted, then the members of zip archives, sorted. Left out are folders and
    archives that cannot be read, members with unsafe names, and broken links. Hidden files
    (``._x.mp4`` of macOS) are ignored. Links are followed once.
    """
    files, members, skipped = [], [], []

    def list_unreadable(error: OSError) -> None:
        path = error.filename
        skipped.append((Path(path), f"{path}: cannot be read ({error.strerror}); allow it"))

    visited = set()
    for folder, subfolders, names in os.walk(root, onerror=list_unreadable, followlinks=True):
        visited.add(os.path.realpath(folder))
        for name in subfolders:
            path = Path(folder, name)
            if path.suffix.lower() in suffixes:
                skipped.append((path, f"{path}: a folder with the name of a file; rename it"))
        # Changing the list in place tells os.walk which folders to visit. A folder that was visited
        # already is a link that goes round in circles.
        subfolders[:] = sorted(
            name
            for name in subfolders
            if name[0] != "." and os.path.realpath(Path(folder, name)) not in visited
        )
        for name in names:
            path = Path(folder, name)
            if name[0] == "." or path.suffix.lower() not in (*suffixes, ".zip"):
                continue
            if not path.is_file():
                fault = "not a file, or a link that leads nowhere; remove it"
                skipped.append((path, f"{path}: {fault}"))
            elif path.suffix.lower() == ".zip":
                inside, faults = _walk_archive(path, suffixes)
                members += inside
                skipped += faults
            else:
                files.append(path)
    return sorted(files) + sorted(members), skipped


def _walk_archive(archive: Path, suffixes: tuple[str, ...]) -> tuple[list[Path], list[Skipped]]:
    """See ``walk``, for one archive."""
    try:
        names = _members(archive)
    except ArchiveError as error:
        return [], [(archive, str(error))]
    paths, skipped = [], []
    for name in names:
        if name.endswith("/") or PurePosixPath(name).suffix.lower() not in suffixes:
            continue
        path = Path(f"{archive}!/{name}")
        folders = PurePosixPath(name).parts
        if not _is_safe(name):
            remedy = "get the archive from its publisher"
            skipped.append((path, f"{path}: a name that leads out of the archive; {remedy}"))
        elif not any(folder.startswith((".", "__MACOSX")) for folder in folders):
            paths.append(path)
    return paths, skipped


def _is_safe(name: str) -> bool:
    """Whether the name of a member stays below the folder of its archive, on any system."""
    folders = PurePosixPath(name).parts
    is_plain = name == str(PurePosixPath(name))
    is_absolute = name[0] == "/" or ":" in folders[0]
    return is_plain and not is_absolute and ".." not in folders and "\\" not in name


# -------------------------------------------------------------------- opening


def _stamp(archive: Path) -> tuple[int, int]:
    """A stamp that changes when the archive changes."""
    try:
        status = archive.stat()
    except OSError as error:
        raise ArchiveError(f"{archive}: cannot be read ({error.strerror}); put it back") from None
    return status.st_mtime_ns, status.st_size


# RAVDESS has 24 archives, and clips are read from all of them in turn. The cache keeps each open,
# so that its table of contents is read only once.
@lru_cache(maxsize=32)
def _open(archive: Path, stamp: tuple[int, int]) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(archive)
    except BROKEN_ARCHIVE as error:
        detail = getattr(error, "strerror", None) or error
        raise ArchiveError(
            f"{archive}: not a zip archive, or cut short ({detail}); download it again"
        ) from None


def _members(archive: Path) -> dict[str, zipfile.ZipInfo]:
    return _open(archive, _stamp(archive)).NameToInfo


@lru_cache(maxsize=1)
def _read(archive: Path, member: str, stamp: tuple[int, int]) -> bytes:
    path = f"{archive}!/{member}"
    opened = _open(archive, stamp)
    if member not in opened.NameToInfo:
        raise ArchiveError(f"{path}: no such file in the archive; check the path")
    size = opened.NameToInfo[member].file_size
    if size > MAX_MEMBER_BYTES:
        raise ArchiveError(
            f"{path}: {size / 1e9:.1f} GB in one piece; unpack the archive, and remove it"
        )
    try:
        return opened.read(member)
    except BROKEN_ARCHIVE as error:
        raise ArchiveError(
            f"{path}: damaged in the archive ({error}); download {archive.name} again"
        ) from None
