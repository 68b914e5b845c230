"""Files in folders and in archives: one way to list, open, measure and fingerprint them.

The path of a member looks like that of a file in a folder named after the archive, with ``!``
behind: ``Video_Speech_Actor_01.zip!/Actor_01/01-01-05-02-01-01-01.mp4``. An archive may lie in
another one, as in a record that was downloaded as a whole. Nothing is ever unpacked onto the disk:
members are read into memory, one at a time.

Zip and tar archives are read as they are. From a compressed tar, 7z or rar archive a single file
can be read only by unpacking all in front of it, so these are reported with the way to unpack them.
"""

from __future__ import annotations

import errno
import io
import os
import re
import stat
import tarfile
import threading
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import IO

from cmlib.corpora.clip import Skipped

SUFFIXES = (".zip", ".tar")
MAX_MEMBER_BYTES = 2 << 30  # larger members are not read into memory
MAX_DEPTH = 2  # archives in archives; a malicious archive may hold itself
UNPACKED_BY = {  # a pattern of the name of an archive that is not read: how to unpack it
    r"\.(tgz|tbz2?|txz|tar\.\w+)": "tar xf",
    r"\.(7z|zipx|cab|iso)(\.\d+)?|\.(zip|7z)\.\d+|\.z\d\d": "7z x",
    r"\.(rar|r\d\d)": "unrar x",
    r"\.(gz|bz2|xz|zst)": "gunzip, bunzip2, unxz or unzstd",
}
UNFINISHED = (".part", ".partial", ".crdownload", ".download", ".aria2", ".opdownload", ".tmp")
# What goes with a corpus, or is made by a desktop, and needs no remark.
COMPANIONS = tuple(
    ".md .txt .csv .tsv .json .yaml .yml .xml .html .htm .pdf .doc .docx .xls .xlsx .bib .sha256"
    " .md5 .log .lnk .url .ini .db".split()
)
COMPANION_NAMES = ("readme", "license", "licence", "copying", "changelog", "citation", "checksums")
BROKEN_ARCHIVE = (
    OSError,
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
)
# One thread at a time reads from archives: two would move each other's position in the file.
_reading = threading.RLock()


class ArchiveError(ValueError):
    """An archive, or a member, cannot be read; the message names it, the fault and the remedy."""


def split(path: Path) -> tuple[Path, str]:
    """The archive, and the member's name in it; for an ordinary file, the file and "".

    The archive itself may be a member of another one.
    """
    for i in reversed(range(len(path.parts))):
        name = path.parts[i]
        if name.lower().endswith(tuple(f"{suffix}!" for suffix in SUFFIXES)):
            archive = Path(*path.parts[:i], name[:-1])
            if not Path(*path.parts[: i + 1]).is_dir():  # a folder may have such a name
                return archive, "/".join(path.parts[i + 1 :])
    return path, ""


def exists(path: Path) -> bool:
    """Whether the file, or the member of an archive, exists."""
    archive, member = split(path)
    if not member:
        return archive.is_file()
    try:
        return member in _members(archive)
    except ArchiveError:
        return False


def as_folder(path: Path) -> Path:
    """The path under which an archive is listed like a folder; any other path as it is."""
    if path.suffix.lower() in SUFFIXES and path.is_file():
        return path.with_name(f"{path.name}!")
    return path


def is_folder(path: Path) -> bool:
    """Whether this is a folder, or an archive as ``as_folder`` names it."""
    return path.is_dir() or split(path / "x")[0].is_file()


def remedy_of_archive(path: Path) -> str:
    """What to do with an archive that cannot be read as it is; "" for any other file."""
    for pattern, command in UNPACKED_BY.items():
        if re.search(rf"({pattern})$", path.name.lower()):
            return f"cannot be read as it is; unpack it in its folder ({command} {path.name})"
    return ""


def read(path: Path) -> bytes:
    """The bytes of a file, or of a member.

    The last member read is kept in memory, since the sound and the pictures of a clip are read
    separately.
    """
    archive, member = split(path)
    if not member:
        return path.read_bytes()
    return _read(archive, member, _stamp(archive))


def source(path: Path) -> Path | io.BytesIO:
    """What a reader of files can open: the path of a file, or a member in memory."""
    _, member = split(path)
    return io.BytesIO(read(path)) if member else path


def size(path: Path) -> int:
    """The size of a file, or of a member, in bytes."""
    archive, member = split(path)
    return _opened(archive).size(member) if member else path.stat().st_size


def fingerprint(path: Path, edge_bytes: int) -> bytes:
    """A short digest of size and content.

    For a file it is the size and ``edge_bytes`` at either end; for a member, the size and the
    checksum that the archive lists, or else its edges.
    """
    archive, member = split(path)
    if member:
        return _opened(archive).fingerprint(member, edge_bytes)
    size = path.stat().st_size
    sample = f"{size} ".encode()
    with suppress(PermissionError), open(path, "rb") as file:
        sample += _edges(file, size, edge_bytes)
    return sample


def _edges(file: IO[bytes], size: int, edge_bytes: int) -> bytes:
    """The first and the last bytes of a file."""
    first = file.read(edge_bytes)
    file.seek(max(edge_bytes, size - edge_bytes))
    return first + file.read()


def readings(path: Path, root: Path) -> Iterator[str]:
    """The path of a file, as the layouts read it: with forward slashes.

    Archives in it count as folders of their name, and then as if they were not there: an archive
    is unpacked into a folder of its own or into the one where it lies.
    """
    full = root.absolute() / path.relative_to(root)
    ends = re.compile(rf"({'|'.join(map(re.escape, SUFFIXES))})!", re.IGNORECASE)
    yield "/".join(ends.sub("", part) for part in full.parts[1:])
    outside = [part for part in full.parts[1:] if not ends.search(part)]
    if len(outside) < len(full.parts) - 1:
        yield "/".join(outside)


# -------------------------------------------------------------------- listing


def walk(root: Path, suffixes: tuple[str, ...]) -> tuple[list[Path], list[Skipped]]:
    """Every file below ``root`` with one of these (lower-case) suffixes, and what was left out.

    ``root`` is a folder, or an archive as ``as_folder`` names it. The files come first, sorted,
    then the members of archives, sorted. Left out are folders and archives that cannot be read,
    members with unsafe names, broken links, unfinished downloads, and files of other suffixes, with
    one line for each of these. Hidden files (``._x.mp4`` of macOS) and notes that go with a corpus
    are ignored. Links are followed once.
    """
    files, members, skipped = [], [], []
    others: dict[str, list[Path]] = defaultdict(list)
    archive, _ = split(root / "x")
    if not root.is_dir() and archive.is_file():
        members, skipped = _walk_archive(archive, suffixes, others)
    else:
        for path in files_below(root, suffixes, skipped):
            fault = _fault(path)
            if fault:
                skipped.append((path, f"{path}: {fault}"))
            elif path.suffix.lower() in suffixes:
                files.append(path)
            elif path.suffix.lower() in SUFFIXES:
                inside, faults = _walk_archive(path, suffixes, others)
                members += inside
                skipped += faults
            else:
                skipped += _judge_other(path, others)
    for suffix, paths in others.items():
        first = min(paths)
        ending = suffix or "no suffix"
        count = f"a file with {ending} is not read"
        if len(paths) > 1:
            count = f"{len(paths)} files with {ending} are not read"
        remedy = f"convert what belongs to the corpus; the first is {first}"
        skipped.append((first, f"suffix: {count}; {remedy}"))
    return sorted(files) + sorted(members), skipped


def files_below(
    root: Path, suffixes: tuple[str, ...] = (), skipped: list[Skipped] | None = None
) -> Iterator[Path]:
    """Every file below a folder that is not hidden; links to folders are followed once.

    Folders that cannot be read, or that have one of ``suffixes``, are added to ``skipped``.
    """
    faults: list[Skipped] = [] if skipped is None else skipped

    def list_unreadable(error: OSError) -> None:
        path = error.filename
        faults.append((Path(path), f"{path}: cannot be read ({error.strerror}); allow it"))

    visited = set()
    for folder, subfolders, names in os.walk(root, onerror=list_unreadable, followlinks=True):
        visited.add(os.path.realpath(folder))
        for name in subfolders:
            path = Path(folder, name)
            if path.suffix.lower() in suffixes:
                faults.append((path, f"{path}: a folder with the name of a file; rename it"))
        # Changing the list in place tells os.walk which folders to visit. A folder that was visited
        # already is a link that goes round in circles.
        subfolders[:] = sorted(
            name
            for name in subfolders
            if name[0] != "." and os.path.realpath(Path(folder, name)) not in visited
        )
        yield from (Path(folder, name) for name in sorted(names) if name[0] != ".")


def _fault(path: Path) -> str:
    """Why a path of a folder is no file that can be read, or ""."""
    try:
        is_file = stat.S_ISREG(path.stat().st_mode)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ELOOP):
            return f"cannot be read ({error.strerror}); allow it"
        is_file = False
    return "" if is_file else "not a file, or a link that leads nowhere; remove it"


def _judge_other(path: Path, others: dict[str, list[Path]]) -> list[Skipped]:
    """What is to be said of a file that is neither read nor listed.

    A file of an unknown suffix goes to ``others``, which is reported suffix by suffix.
    """
    suffix = path.suffix.lower()
    if remedy_of_archive(path):
        folder = path.with_suffix("")
        if folder.is_dir() or folder.with_suffix("").is_dir():
            return []  # it is unpacked
        return [(path, f"archive: {path.name} {remedy_of_archive(path)}")]
    if suffix in UNFINISHED:
        fault = "a download that is not finished; finish it, or remove it"
        return [(path, f"download: {path.name} is {fault}")]
    is_companion = suffix in COMPANIONS or path.stem.lower() in COMPANION_NAMES
    if not is_companion:
        others[suffix].append(path)
    return []


def _walk_archive(
    archive: Path, suffixes: tuple[str, ...], others: dict[str, list[Path]], depth: int = 1
) -> tuple[list[Path], list[Skipped]]:
    """See ``walk``, for one archive; ``depth`` counts the archives around its members."""
    try:
        names = _members(archive)
    except ArchiveError as error:
        return [], [(archive, str(error))]
    paths, skipped = [], []
    for name in names:
        path = Path(f"{archive}!/{name}")
        folders, suffix = PurePosixPath(name).parts, PurePosixPath(name).suffix.lower()
        if not _is_safe(name):
            if suffix in (*suffixes, *SUFFIXES):
                remedy = "get the archive from its publisher"
                fault = "a name that leads out of the archive"
                skipped.append((path, f"{path}: {fault}; {remedy}"))
        elif any(folder.startswith((".", "__MACOSX")) for folder in folders):
            continue
        elif suffix in suffixes:
            paths.append(path)
        elif suffix not in SUFFIXES:
            skipped += _judge_other(path, others)
        elif depth < MAX_DEPTH:
            inside, faults = _walk_archive(path, suffixes, others, depth + 1)
            paths += inside
            skipped += faults
        else:
            fault = "too many archives in one another; unpack the outermost"
            skipped.append((path, f"{path}: {fault}"))
    return paths, skipped


def _is_safe(name: str) -> bool:
    """Whether the name of a member stays below the folder of its archive, on any system."""
    folders = PurePosixPath(name).parts
    return bool(folders) and name[0] != "/" and ":" not in folders[0] and ".." not in folders


# -------------------------------------------------------------------- opening


class _Zip:
    """An open zip archive; the name of a member has forward slashes, whoever packed it."""

    def __init__(self, file: Path | IO[bytes]):
        self.opened = zipfile.ZipFile(file)
        self.members = {
            _plain_name(info.filename): info
            for info in self.opened.infolist()
            if not info.filename.endswith(("/", "\\"))
        }

    def size(self, member: str) -> int:
        return self.members[member].file_size

    def fingerprint(self, member: str, edge_bytes: int) -> bytes:
        info = self.members[member]
        return f"{info.file_size} {info.CRC:08x}".encode()

    def stream(self, member: str) -> IO[bytes]:
        return self.opened.open(self.members[member])


class _Tar:
    """An open tar archive that is not compressed; it lists no checksums."""

    def __init__(self, file: Path | IO[bytes]):
        if isinstance(file, Path):
            self.opened = tarfile.open(file, "r:")
        else:
            self.opened = tarfile.open(fileobj=file, mode="r:")
        self.members = {
            _plain_name(info.name): info for info in self.opened.getmembers() if info.isfile()
        }

    def size(self, member: str) -> int:
        return self.members[member].size

    def fingerprint(self, member: str, edge_bytes: int) -> bytes:
        size = self.size(member)
        with _reading, self.stream(member) as file:
            return f"{size} ".encode() + _edges(file, size, edge_bytes)

    def stream(self, member: str) -> IO[bytes]:
        file = self.opened.extractfile(self.members[member])
        assert file is not None  # it is a file
        return file


def _plain_name(name: str) -> str:
    """The name of a member as a relative path with forward slashes; Windows writes others."""
    return str(PurePosixPath(name.replace("\\", "/")))


def _stamp(archive: Path) -> tuple[int, int]:
    """A stamp that changes when the archive changes, or the one in which it lies."""
    around, member = split(archive)
    if member:
        return _stamp(around)
    try:
        status = archive.stat()
    except OSError as error:
        raise ArchiveError(f"{archive}: cannot be read ({error.strerror}); put it back") from None
    return status.st_mtime_ns, status.st_size


# RAVDESS has 24 archives, and clips are read from all of them in turn. The cache keeps each open,
# so that its table of contents is read only once.
@lru_cache(maxsize=32)
def _open(archive: Path, stamp: tuple[int, int]) -> _Zip | _Tar:
    around, member = split(archive)
    kind = _Tar if archive.suffix.lower() == ".tar" else _Zip
    if member and member not in _members(around):
        raise ArchiveError(f"{archive}: no such file in the archive; check the path")
    try:
        with _reading:
            return kind(_opened(around).stream(member) if member else archive)
    except ArchiveError:
        raise
    except BROKEN_ARCHIVE as error:
        name = archive.suffix.lower().removeprefix(".")
        detail = getattr(error, "strerror", None) or error
        raise ArchiveError(
            f"{archive}: not a {name} archive, or cut short ({detail}); download it again"
        ) from None


def _opened(archive: Path) -> _Zip | _Tar:
    return _open(archive, _stamp(archive))


def _members(archive: Path) -> Iterable[str]:
    return _opened(archive).members


@lru_cache(maxsize=1)
def _read(archive: Path, member: str, stamp: tuple[int, int]) -> bytes:
    path = f"{archive}!/{member}"
    opened = _open(archive, stamp)
    if member not in opened.members:
        raise ArchiveError(f"{path}: no such file in the archive; check the path")
    size = opened.size(member)
    if size > MAX_MEMBER_BYTES:
        raise ArchiveError(
            f"{path}: {size / 1e9:.1f} GB in one piece; unpack the archive, and remove it"
        )
    try:
        with _reading, opened.stream(member) as file:
            return file.read()
    except BROKEN_ARCHIVE as error:
        raise ArchiveError(
            f"{path}: damaged in the archive ({error}); download {archive.name} again"
        ) from None
