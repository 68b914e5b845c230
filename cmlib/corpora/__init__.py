"""Where corpora lie and what is in them: ``scan("ravdess")`` gives ``Clip`` records and what was left out, and why."""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from cmlib.files import checksum

CORPORA = {  # name: a file as it lies in the corpus's folder
    "actors": "Actor_12/01-01-05-02-01-01-12.mp4",
    "ravdess": "Actor_12/01-01-05-02-01-01-12.mp4",
    "mead": "M003/video/front/angry/level_2/001.mp4",
    "ravdess_released": "Actor_12/05/train/01-01-05-02-01-01-12/1.jpg",  # the authors' processed data
    "mead_released": "M003/front/angry/level_2/1_001.jpg",
}
ADDITIONS = {  # what a name may add to a corpus, as in "mead+left_30": sung clips, further cameras
    "ravdess": ("song",),
    "mead": ("down", "left_30", "left_60", "right_30", "right_60", "top"),
}
VIDEO_SUFFIXES = (".mp4", ".mov", ".mkv", ".avi", ".webm")
SOUND_SUFFIXES = (".wav", ".flac", ".ogg", ".mp3", ".m4a")
PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
Skipped = tuple[Path, str]  # a file that is no clip, and why


class CorpusError(ValueError):
    """There is no corpus where one was looked for; the message says where and what to do."""


@dataclass(frozen=True)
class Clip:
    """One recording of one utterance, and the files that hold it."""

    path: Path  # the video, or the first of ``frames``, or the sound where there is no picture
    audio_path: Path | None  # sound that lies in a file of its own, beside a video without sound
    has_video: bool
    corpus: str
    actor: int
    emotion: str
    intensity: int
    statement: int
    repetition: int
    name: str  # unique in its corpus
    frames: tuple[Path, ...] = ()  # in place of a video: finished pictures, in order


def split_name(corpus: str) -> tuple[str, tuple[str, ...]]:
    """ "mead+left_30" -> ("mead", ("left_30",)); CorpusError where there is no such corpus, or no such addition.

    What is added is part of the name, so that two choices are two corpora with stores, runs and networks of their own.
    """
    name, *added = corpus.split("+")
    if name not in CORPORA:
        raise CorpusError(f"unknown corpus {name!r}: choose one of {', '.join(CORPORA)}")
    if wrong := set(added) - set(ADDITIONS.get(name, ())):
        choices = (
            ", ".join(f"{name}+{extra}" for extra in ADDITIONS.get(name, ())) or f"{name} alone"
        )
        raise CorpusError(f"{corpus}: {name} has no {min(wrong)!r} to add; choose of {choices}")
    return name, tuple(added)


def default_root(corpus: str) -> Path:
    """``$CM_DATA``/corpus, or ``data/``corpus beside the package; the same whatever is added to the corpus."""
    data = Path(os.environ.get("CM_DATA") or Path(__file__).resolve().parents[2] / "data")
    return data / corpus.partition("+")[0]


def cache_root() -> Path:
    """Where prepared corpora are kept: ``$CM_CACHE``, or ``data/prepared`` beside the package."""
    return Path(
        os.environ.get("CM_CACHE") or Path(__file__).resolve().parents[2] / "data" / "prepared"
    )


def scan(corpus: str, root: str | Path | None = None) -> tuple[list[Clip], list[Skipped]]:
    """The clips of a corpus, sorted by name, and the files left out with the reason; CorpusError if there is no clip.

    ``corpus``: such as "ravdess", "ravdess+song", "mead+left_30+top".  ``root``: its folder (default
    ``default_root(corpus)``).
    """
    name, added = split_name(corpus)
    folder = Path(root) if root else default_root(corpus)
    if not folder.is_dir():
        raise CorpusError(
            f"{folder}: no such folder; put the corpus {name} there, or name its folder with --root"
        )
    home = import_module(f"cmlib.corpora.{'processed' if name.endswith('_released') else name}")
    clips, skipped = home.scan(folder, added)
    if not clips:
        why = (
            f" ({len(skipped)} files left out, the first because: {skipped[0][1]})"
            if skipped
            else ""
        )
        raise CorpusError(
            f"{folder}: no clip of {name} in it{why}; files such as {CORPORA[name]} belong there"
        )
    return sorted(clips, key=lambda clip: clip.name), sorted(skipped)


def verify(root: Path) -> list[str]:
    """What is wrong with the files of a corpus that brings a list ``checksums.sha256`` (of ``sha256sum``)."""
    faults, listed = [], root / "checksums.sha256"
    for line in listed.read_text().splitlines() if listed.exists() else ():
        wanted, name = line.split(maxsplit=1)
        path = root / name.lstrip("*")
        if not path.exists():
            faults.append(f"{path}: missing; get it again")
        elif checksum(path) != wanted:
            faults.append(f"{path}: not what it was when the corpus was made; get it again")
    return faults


def list_files(root: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """Every file below ``root`` with one of these suffixes, sorted, without hidden ones (``._x.mp4`` of macOS)."""
    found = (path for path in root.rglob("*") if path.suffix.lower() in suffixes and path.is_file())
    return sorted(
        path
        for path in found
        if not any(part.startswith(".") for part in path.relative_to(root).parts)
    )
