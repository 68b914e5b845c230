"""Files that do not hold what was written into them: how they are found and set aside."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from cmlib import files

# Up to this many bytes a file is compared with its checksum by every process that reads it. A
# larger one takes too long for that; it is compared where it is newer than the list of checksums.
ALWAYS_COMPARED = 1 << 27
MOMENT = 0.2  # seconds; two renames in a row take much less


class DamageError(RuntimeError):
    """A file that does not hold what was written into it; the message names it and the fault."""


def fault_of(path: Path, expected: str, listed_in: Path) -> str:
    """What is wrong with a file whose checksum should be ``expected``; "" if nothing is.

    ``listed_in`` is the file that holds the checksum. A large file that is older than that has been
    compared before and is not read again: after a comparison, ``listed_in`` gets a new date.
    """
    status = path.stat()
    if status.st_size > ALWAYS_COMPARED and status.st_mtime_ns < listed_in.stat().st_mtime_ns:
        return ""
    if files.known_checksum(path) != expected:
        return "changed since it was written"
    if status.st_size > ALWAYS_COMPARED:
        with suppress(OSError):  # somebody else's; then every process compares it
            listed_in.touch()
    return ""


def lasting_fault(find_fault: Callable[[], str]) -> str:
    """The fault that ``find_fault`` still finds after a moment; "" if there is none.

    Another process may be in between two files that belong together, such as weights and card.
    """
    if not find_fault():
        return ""
    time.sleep(MOMENT)
    return find_fault()


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
        raise files.PlaceError(
            f"{path}: damaged ({fault}), and cannot be renamed ({error.strerror}); remove it"
        ) from None
    print(f"{path}: damaged ({fault}); set aside as {aside.name}, {remedy}", file=sys.stderr)


def note_checksum(path: Path) -> None:
    """Write ``path``.sha256, as the command sha256sum does, for ``fault_of_noted``."""
    files.write_text(_checksum_file(path), f"{files.checksum(path)}  {path.name}\n")


def fault_of_noted(path: Path) -> str:
    """As ``fault_of``, for a file whose checksum ``note_checksum`` has written; "" without one."""
    listed_in = _checksum_file(path)
    if not listed_in.exists():  # written by an earlier version
        return ""
    expected = listed_in.read_text(errors="replace").partition(" ")[0]
    return fault_of(path, expected, listed_in)


def _checksum_file(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")
