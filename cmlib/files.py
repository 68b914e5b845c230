"""Where files lie, how they are written, whether they are damaged, and the one progress bar."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import mmap
import os
import shutil
import sys
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np
    from filelock import FileLock

ROOT = Path(__file__).resolve().parents[1]  # the repository's folder
# Environment variables that put a folder elsewhere, and where it is without them.
PLACES = {"CM_RUNS": "runs", "CM_CACHE": "data/prepared", "CM_DATA": "data"}
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP)
# Up to this many bytes a file is compared with its checksum by every process that reads it. A
# larger one takes too long for that; it is compared where it is newer than the list of checksums.
ALWAYS_COMPARED = 1 << 27

MOMENT = 0.2  # seconds; two renames in a row take much less
LARGE_MAP = 256_000_000  # bytes of a file from which its pages are given back (``release_maps``)
MAPPED_AROUND = 1 << 16  # bytes that are mapped with each place that is read, at most
RELEASE_AFTER = 1 << 29  # bytes that are mapped in between
_large_maps: list[weakref.ref] = []
_bytes_mapped = 0


class PlaceError(OSError):
    """A folder in which nothing can be written; the message names it and says what to do."""


class HeldError(OSError):
    """A lock that another process holds; the message names its file."""


def place(variable: str) -> Path:
    """The folder that one of ``PLACES`` names, or else its folder in the repository.

    Raises PlaceError if cmlib was installed without its repository and the variable is not set.
    """
    named = os.environ.get(variable)
    if named:
        return expand_home(named).absolute()
    if ROOT.name in ("site-packages", "dist-packages"):
        raise PlaceError(
            f"cmlib is installed in {ROOT} without its repository, so there are neither data nor "
            "networks; clone the repository and install it there with: pip install -e ."
        )
    return ROOT / PLACES[variable]


def expand_home(path: str | Path) -> Path:
    """The path with the home folder in place of a leading ``~``, or of ``~name`` for a user."""
    return Path(os.path.expanduser(path))  # Path.expanduser raises an error for an unknown user


def runs_root() -> Path:
    """The folder of all runs: ``$CM_RUNS``, or ``runs`` beside the package."""
    return place("CM_RUNS")


def fresh() -> bool:
    """Whether networks, judges and tables that ship with the repository do not count.

    Then an experiment trains and measures them itself. The environment variable CM_FRESH says so;
    the option ``--fresh`` of ``cm`` and ``make reproduce FRESH=1`` set it.
    """
    return os.environ.get("CM_FRESH", "") not in ("", "0")


def ignore_shipped() -> None:
    """From now on ``fresh`` holds, in this process and in those that it starts."""
    os.environ["CM_FRESH"] = "1"


def make_folder(folder: Path) -> Path:
    """Make a folder to write into, if it is not there yet; raises PlaceError if that fails.

    A checkout may belong to somebody else. Then the message says which variable to set.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        fault = "a file is in the way; rename it, or choose another folder"
        raise PlaceError(f"{folder}: cannot be made, {fault}") from None
    except OSError as error:
        if error.errno in DISK_FULL:
            raise
        raise PlaceError(
            f"{folder}: cannot be made ({error.strerror}); {_remedy(folder)}"
        ) from None
    if not os.access(folder, os.W_OK | os.X_OK):
        fault = "nothing may be written into it"
        raise PlaceError(f"{folder.absolute()}: {fault}; {_remedy(folder)}")
    return folder


def _remedy(folder: Path) -> str:
    """What to do if nothing can be written into ``folder``."""
    for variable in PLACES:
        if folder.absolute().is_relative_to(place(variable)):
            return f"set {variable} to a folder of your own"
    return "choose a folder of your own"


def remedy_of_full_disk(folder: Path) -> str:
    """Say that the disk of ``folder`` is full, and what to do."""
    larger = "choose a larger one"
    for variable in PLACES:
        if folder.absolute().is_relative_to(place(variable)):
            larger = f"set {variable} to a folder on a larger one"
    again = "start the same command again: what is done is kept"
    return f"the disk is full; make room, or {larger}, and {again}"


def _full(path: Path) -> PlaceError:
    """The error of a file ``path`` for which the disk has no room."""
    error = PlaceError(f"{path}: {remedy_of_full_disk(path.parent)}")
    error.errno = errno.ENOSPC
    return error


def is_disk_full(error: BaseException, folder: Path) -> bool:
    """Whether an ``error`` while writing into ``folder`` comes from a full disk.

    torch and safetensors raise errors of their own, which have no number.
    """
    if isinstance(error, OSError) and error.errno in DISK_FULL:
        return True
    if any(os.strerror(number) in str(error) for number in DISK_FULL):
        return True
    written_by_torch = any(
        name in str(error) for name in ("PytorchStreamWriter", "inline_container")
    )
    return written_by_torch and shutil.disk_usage(folder).free < 2**20


# -------------------------------------------------------------------- locks


def hold(path: Path, wait: bool = True) -> FileLock:
    """Hold the lock ``path`` until it is released or this process ends, even if it is killed.

    HeldError if another process holds it and ``wait`` is false; PlaceError if its file cannot be
    made. Some file systems have no locks. A line on stderr says so, and the lock is not held.
    """
    from filelock import FileLock, Timeout  # here: `cm --help` need not wait for it

    make_folder(path.parent)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=-1 if wait else 0)
    except Timeout:
        raise HeldError(f"{path}: another process holds this lock") from None
    except OSError as error:
        if error.errno in NO_LOCKS:
            print(
                f"{path.parent}: this file system has no locks, so nothing keeps two processes"
                " from doing the same work there; start one at a time",
                file=sys.stderr,
            )
            return lock
        if error.errno in DISK_FULL:
            raise _full(path) from None
        remedy = _remedy(path.parent)
        raise PlaceError(f"{path}: cannot be locked ({error.strerror}); {remedy}") from None
    return lock


@contextmanager
def locked(path: Path, work: str) -> Iterator[None]:
    """Let one process do ``work`` while others wait; they say so on stderr. See ``hold``."""
    try:
        lock = hold(path, wait=False)
    except HeldError:
        print(f"another process is {work}: waiting for it ({path})", file=sys.stderr, flush=True)
        lock = hold(path)
    try:
        yield
    finally:
        lock.release()


# -------------------------------------------------------------------- writing


@contextmanager
def write_atomically(path: Path) -> Iterator[Path]:
    """Yield a temporary file beside ``path``, which replaces ``path`` when the block ends.

    So ``path`` appears whole or not at all, even if the process is killed. If the block fails, the
    temporary file is removed. The name of the temporary file holds the number of the process, so
    that two processes do not collide. PlaceError if the disk is full.
    """
    make_folder(path.parent)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        temporary.touch()
        rights = temporary.stat().st_mode  # those that the umask allows
        yield temporary
        temporary.chmod(rights)  # safetensors makes files that only their owner may read
        os.replace(temporary, path)
    except Exception as error:
        if not is_disk_full(error, path.parent):
            raise
        raise _full(path) from None
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> Path:
    """Write ``text`` to ``path`` as UTF-8, whole or not at all."""
    with write_atomically(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


def checksum(path: Path) -> str:
    """The SHA-256 of a file, in 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# -------------------------------------------------------------------- damage


class DamageError(RuntimeError):
    """A file that does not hold what was written into it; the message names it and the fault."""


def known_checksum(path: Path) -> str:
    """``checksum``, computed once by a process as long as size and date of the file stay."""
    status = path.stat()
    return _checksum_of(path.absolute(), status.st_size, status.st_mtime_ns)


@cache
def _checksum_of(path: Path, size: int, date: int) -> str:
    return checksum(path)


def fault_of(path: Path, expected: str, listed_in: Path) -> str:
    """What is wrong with a file whose checksum should be ``expected``; "" if nothing is.

    ``listed_in`` is the file that holds the checksum. A large file that is older than that has been
    compared before and is not read again: after a comparison, ``listed_in`` gets a new date.
    """
    status = path.stat()
    if status.st_size > ALWAYS_COMPARED and status.st_mtime_ns < listed_in.stat().st_mtime_ns:
        return ""
    if known_checksum(path) != expected:
        return "changed since it was written"
    if status.st_size > ALWAYS_COMPARED:
        with suppress(OSError):  # somebody else's; then every process compares it
            listed_in.touch()
    return ""


def lasting(fault_now: Callable[[], str]) -> str:
    """The fault that ``fault_now`` finds, if it still finds one after a moment; "" if none.

    Another process may be in between two files that belong together, such as weights and card.
    """
    if not fault_now():
        return ""
    time.sleep(MOMENT)
    return fault_now()


def set_aside(path: Path, fault: str, remedy: str = "made again") -> None:
    """Rename a damaged file or folder to ``path``.bad, and print a line that says so.

    An older one of that name is replaced. PlaceError if it cannot be renamed.
    """
    aside = path.with_name(path.name + ".bad")
    try:
        if aside.is_dir():
            shutil.rmtree(aside)
        os.replace(path, aside)
    except FileNotFoundError:  # another process was faster
        return
    except OSError as error:
        raise PlaceError(
            f"{path}: damaged ({fault}), and cannot be renamed ({error.strerror}); remove it"
        ) from None
    print(f"{path}: damaged ({fault}); set aside as {aside.name}, {remedy}", file=sys.stderr)


def note_checksum(path: Path) -> None:
    """Write ``path``.sha256, as the command sha256sum does, for ``open_or_set_aside``."""
    write_text(_checksum_file(path), f"{checksum(path)}  {path.name}\n")


def _checksum_file(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")


def fault_of_noted(path: Path) -> str:
    """As ``fault_of``, for a file whose checksum ``note_checksum`` has written; "" without one."""
    noted = _checksum_file(path)
    if not noted.exists():  # written by an earlier version
        return ""
    expected = noted.read_text(errors="replace").partition(" ")[0]
    return fault_of(path, expected, noted)


def open_array(path: Path, mode: Literal["r", "c"] = "r") -> np.ndarray:
    """Map a ``.npy`` file into memory; "c" gives an array that may be changed, but not the file.

    DamageError if the file is no array, or has not as many bytes as it says.
    """
    import numpy as np

    try:
        with open(path, "rb") as file:
            version = np.lib.format.read_magic(file)
            readers = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }
            shape, _, dtype = readers[version](file)
            expected = file.tell() + math.prod(shape) * dtype.itemsize
    except (ValueError, KeyError) as error:
        fault = " ".join(str(error).split())[:80]
        raise DamageError(f"{path}: not an array of numpy ({fault})") from None
    size = path.stat().st_size
    if size != expected:
        raise DamageError(f"{path}: {size:,} bytes where {expected:,} are expected")
    if not math.prod(shape):  # nothing to map
        return np.load(path)
    array = np.load(path, mmap_mode=mode)
    if size > LARGE_MAP:
        _large_maps.append(weakref.ref(array))
    return array


def release_maps(places: int) -> None:
    """Give the pages of large mapped files back now and then, after so many more ``places`` read.

    The operating system counts every page that was read from a map as memory of this process, and
    with a page it maps those around it. Its own cache keeps them.
    """
    global _bytes_mapped
    if not _large_maps or not hasattr(mmap, "MADV_DONTNEED"):
        return
    _bytes_mapped += places * MAPPED_AROUND
    if _bytes_mapped < RELEASE_AFTER:
        return
    _bytes_mapped = 0
    for reference in list(_large_maps):
        array = reference()
        if array is None:
            _large_maps.remove(reference)
        else:
            array._mmap.madvise(mmap.MADV_DONTNEED)  # pyright: ignore[reportAttributeAccessIssue]


def open_or_set_aside(path: Path, mode: Literal["r", "c"] = "r") -> np.ndarray | None:
    """``open_array`` of what can be made again, if it is there and whole; None otherwise.

    It is then compared with the checksum of ``note_checksum``, too, and set aside if it is damaged.
    """
    if not path.exists():
        return None
    try:
        array = open_array(path, mode)
        fault = fault_of_noted(path)
    except DamageError as error:
        fault = str(error).removeprefix(f"{path}: ")
    if fault:
        set_aside(path, fault)
        return None
    return array


# -------------------------------------------------------------------- progress and numbers


def progress(
    iterable: Iterable | None = None, description: str = "", shown: bool | None = None, **options
):
    """A tqdm progress bar around an iterable, or one that is updated by hand.

    The ``options`` are tqdm's. The bar is shown on a terminal and in a notebook, unless the
    environment variable CM_QUIET is set. ``shown`` overrules this.
    """
    from tqdm.auto import tqdm  # here: it loads the widgets of notebooks

    if shown is None:
        watched = sys.stderr.isatty() or "ipykernel" in sys.modules
        shown = watched and not os.environ.get("CM_QUIET")
    return tqdm(iterable, description, disable=not shown, **options)


def plain(value):
    """Numbers, arrays, tuples and paths as JSON values; NaN and infinity become null."""
    if isinstance(value, dict):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(inner) for inner in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, (bool, int, str, type(None))) else str(value)


def record(out_dir: str | Path, notebook: str, metrics: dict) -> Path:
    """Write the numbers of one notebook to ``out_dir``/metrics/``notebook``.json.

    The last cell of each notebook calls this. ``notebook`` is its name without suffix, such as
    "06_evaluation"; ``metrics`` holds numbers, strings, lists, arrays and dictionaries of them.
    Snakemake takes the file as the sign that the notebook is done.
    """
    path = Path(out_dir) / "metrics" / f"{notebook}.json"
    return write_text(path, json.dumps(plain(metrics), indent=1, allow_nan=False) + "\n")
