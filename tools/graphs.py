"""What the graphs of the notebooks (``Snakefile``) and of studies (``study.smk``) share."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from cmlib.files import PlaceError
from cmlib.locks import HeldError, hold

if TYPE_CHECKING:
    from filelock import FileLock


def show_only_warnings() -> None:
    """Let Snakemake show its warnings, its own errors, and "Nothing to be done".

    The jobs report on themselves.
    """
    for handler in logging.getLogger("snakemake.logging").handlers:
        handler.addFilter(_is_worth_saying)


def _is_worth_saying(record: logging.LogRecord) -> bool:
    text = record.getMessage()
    repeats = ("CalledProcessError", "a job execution failed", "At least one job did not")
    if any(repeat in text for repeat in repeats):
        return False
    return record.levelno >= logging.WARNING or "Nothing to be done" in text


def hold_or_exit(path: Path, work: str) -> FileLock:
    """Hold a lock as long as the graph runs; SystemExit if another process holds it.

    The system drops this lock whenever the process ends, even when it is killed. Hence Snakemake's
    own is off (--nolock).
    """
    try:
        return hold(path, wait=False)
    except HeldError:
        sys.exit(f"{path.parent}: another process is {work}; wait for it")
    except PlaceError as error:
        sys.exit(str(error))
