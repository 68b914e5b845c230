"""What every corpus consists of: clips, and files that were left out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

Skipped = tuple[Path, str]  # a file that was left out, and the reason


class CorpusError(ValueError):
    """A corpus is missing or cannot be used; the message says where, and what to do."""


@dataclass(frozen=True)
class Clip:
    """One recording of one utterance, and the files that hold it."""

    path: Path  # the video, or the first of ``frames``, or the sound if there are no pictures
    audio_path: Path | None  # the sound file of a video without sound
    has_video: bool
    corpus: str
    actor: int
    emotion: str
    intensity: int
    statement: int
    repetition: int
    name: str  # unique in its corpus
    frames: tuple[Path, ...] = ()  # instead of a video: ready-made pictures, in order
    spare_audio_path: Path | None = None  # used if the video turns out to have no sound track
    # Whose voice it is, where face and voice are of two corpora; ``path`` is then a picture.
    voice_actor: int | None = None

    @property
    def is_pair(self) -> bool:
        """Whether face and voice come from two corpora (``cmlib.corpora.pairs``)."""
        return self.voice_actor is not None
