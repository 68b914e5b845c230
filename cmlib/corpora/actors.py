"""The embedded corpus: synthetic actors in real video files, named and laid out as RAVDESS."""

from __future__ import annotations

from pathlib import Path

from cmlib.corpora import Clip, Skipped, ravdess


def scan(root: Path, added: tuple[str, ...] = ()) -> tuple[list[Clip], list[Skipped]]:
    """See ``cmlib.corpora.scan``."""
    return ravdess.scan(root, added, corpus="actors")
