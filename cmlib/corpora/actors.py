"""The embedded corpus: synthetic actors in real video files, with names and folders of RAVDESS."""

from __future__ import annotations

from pathlib import Path

from cmlib.corpora import ravdess
from cmlib.corpora.clip import Clip, Skipped


def scan(root: Path, additions: tuple[str, ...] = ()) -> tuple[list[Clip], list[Skipped]]:
    """See ``cmlib.corpora.scan``."""
    return ravdess.scan(root, additions, corpus="actors")
