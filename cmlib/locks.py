"""Locks between processes: two that could do the same work do not do it at the same time."""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from cmlib import files

if TYPE_CHECKING:
    from filelock import FileLock

NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP)


class HeldError(OSError):
    """A lock that another process holds; the message names its file."""


def hold(path: Path, wait: bool = True) -> FileLock:
    """Hold the lock ``path`` until it is released or this process ends, even if it is killed.

    HeldError if another process holds it and ``wait`` is false; PlaceError if its file cannot be
    made. Some file systems have no locks. A line on stderr says so, and the lock is not held.
    """
    from filelock import FileLock, Timeout  # here: `cm --help` need not wait for it

    files.make_folder(path.parent)
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
        if error.errno in files.DISK_FULL:
            raise files.error_of_full_disk(path) from None
        remedy = files.remedy_of_unwritable(path.parent)
        raise files.PlaceError(f"{path}: cannot be locked ({error.strerror}); {remedy}") from None
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
