"""Where corpora lie and what is in them: ``scan("ravdess")`` gives ``Clip`` records and what was left out, and why."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

CORPORA = ("actors", "ravdess")  # each is a module of this package with a function scan(root, song)
VIDEO = (".mp4", ".mov", ".mkv", ".avi", ".webm")
SOUND = (".wav", ".flac", ".ogg", ".mp3", ".m4a")
Skipped = tuple[Path, str]  # a file that is no clip, and why


class CorpusError(ValueError):
    """There is no corpus where one was looked for; the message says where and what to do."""


@dataclass(frozen=True)
class Clip:
    """One recording of one utterance, and the files that hold it."""

    path: Path  # the video, or the sound where there is no video
    audio_path: Path | None  # sound that lies in a file of its own, beside a video without sound
    has_video: bool
    corpus: str
    actor: int
    emotion: str
    intensity: int
    statement: int
    repetition: int
    name: str  # unique in its corpus


def default_root(corpus: str) -> Path:
    """``$CM_DATA``/corpus, or ``data/``corpus beside the package."""
    return Path(os.environ.get("CM_DATA") or Path(__file__).resolve().parents[2] / "data") / corpus


def cache_root() -> Path:
    """Where prepared corpora are kept: ``$CM_CACHE``, or ``data/prepared`` beside the package."""
    return Path(os.environ.get("CM_CACHE") or Path(__file__).resolve().parents[2] / "data" / "prepared")


def scan(corpus: str, root: str | Path | None = None, song: bool = False) -> tuple[list[Clip], list[Skipped]]:
    """The clips of a corpus, sorted by name, and the files left out with the reason; CorpusError if there is no clip.

    ``root``: its folder (default ``default_root(corpus)``).  ``song``: sung clips too.
    """
    if corpus not in CORPORA:
        raise CorpusError(f"unknown corpus {corpus!r}: choose one of {', '.join(CORPORA)}")
    folder = Path(root) if root else default_root(corpus)
    if not folder.is_dir():
        raise CorpusError(f"{folder}: no such folder; put the corpus {corpus} there, or name its folder with --root")
    clips, skipped = import_module(f"cmlib.corpora.{corpus}").scan(folder, song)
    if not clips:
        why = f" ({len(skipped)} files left out, the first because: {skipped[0][1]})" if skipped else ""
        wanted = "files such as Actor_12/01-01-05-02-01-01-12.mp4 belong there"
        raise CorpusError(f"{folder}: no clip of {corpus} in it{why}; {wanted}")
    return sorted(clips, key=lambda clip: clip.name), sorted(skipped)


def verify(root: Path) -> list[str]:
    """What is wrong with the files of a corpus that brings a list ``checksums.sha256`` (of ``sha256sum``)."""
    faults, listed = [], root / "checksums.sha256"
    for line in listed.read_text().splitlines() if listed.exists() else ():
        wanted, name = line.split(maxsplit=1)
        path = root / name.lstrip("*")
        if not path.exists():
            faults.append(f"{path}: missing; get it again")
        elif hashlib.sha256(path.read_bytes()).hexdigest() != wanted:
            faults.append(f"{path}: not what it was when the corpus was made; get it again")
    return faults


def files(root: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """Every file below ``root`` with one of these suffixes, sorted, without hidden ones (``._x.mp4`` of macOS)."""
    found = (path for path in root.rglob("*") if path.suffix.lower() in suffixes and path.is_file())
    return sorted(path for path in found if not any(part.startswith(".") for part in path.relative_to(root).parts))
