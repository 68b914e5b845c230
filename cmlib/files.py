"""Where files lie, and how they are written: whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass

ROOT = Path(__file__).resolve().parents[1]  # the repository's folder
# Environment variables that put a folder elsewhere, and where it is without them.
PLACES = {"CM_RUNS": "runs", "CM_CACHE": "data/prepared", "CM_DATA": "data"}
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


class PlaceError(OSError):
    """A folder in which nothing can be written; the message names it and says what to do."""


def place(variable: str) -> Path:
    """The folder that one of ``PLACES`` names, or else its folder in the repository.

    Raises PlaceError if cmlib was installed without its repository and the variable is not set.
    """
    folder = os.environ.get(variable)
    if folder:
        return expand_home(folder).absolute()
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
            f"{folder}: cannot be made ({error.strerror}); {remedy_of_unwritable(folder)}"
        ) from None
    if not os.access(folder, os.W_OK | os.X_OK):
        fault = "nothing may be written into it"
        raise PlaceError(f"{folder.absolute()}: {fault}; {remedy_of_unwritable(folder)}")
    return folder


def remedy_of_unwritable(folder: Path) -> str:
    """What to do if nothing can be written into ``folder``."""
    for variable in PLACES:
        if folder.absolute().is_relative_to(place(variable)):
            return f"set {variable} to a folder of your own"
    return "choose a folder of your own"


# -------------------------------------------------------------------- full disks


def remedy_of_full_disk(folder: Path) -> str:
    """Say that the disk of ``folder`` is full, and what to do."""
    larger = "choose a larger one"
    for variable in PLACES:
        if folder.absolute().is_relative_to(place(variable)):
            larger = f"set {variable} to a folder on a larger one"
    again = "start the same command again: what is done is kept"
    return f"the disk is full; make room, or {larger}, and {again}"


def error_of_full_disk(path: Path) -> PlaceError:
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
        raise error_of_full_disk(path) from None
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


def known_checksum(path: Path) -> str:
    """``checksum``, computed once by a process as long as size and date of the file stay."""
    status = path.stat()
    return _checksum_of(path.absolute(), status.st_size, status.st_mtime_ns)


@cache
def _checksum_of(path: Path, size: int, date: int) -> str:
    return checksum(path)


# -------------------------------------------------------------------- numbers


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
