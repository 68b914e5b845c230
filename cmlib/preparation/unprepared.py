"""A corpus that has not been prepared: which clips a profile asks for, decoded on demand.

To look at a few clips only, there is no need to prepare a corpus: see ``open_or_scan``.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from cmlib import corpora, files
from cmlib.config import Profile
from cmlib.corpora import Clip, CorpusError, Skipped, archives
from cmlib.corpora.names import label
from cmlib.preparation.clip_arrays import load_face_crops, load_spectrogram
from cmlib.preparation.keys import inputs_key, remembered_key
from cmlib.preparation.store import Store, open_or_set_aside


@dataclass(frozen=True)
class UnpreparedCorpus:
    """A corpus that has not been prepared: its clips are decoded on demand.

    Offers the part of ``Store``'s interface that the demo needs.
    """

    corpus: str
    root: Path
    recordings: list[Clip]
    skipped: list[Skipped]
    settings: dict
    # Folder of the sounds, where faces and voices are of two corpora; ``root`` has the pictures.
    voices: Path | None = None
    labels: Path | None = None  # the table of the pictures, if it lies elsewhere
    cache: Path | None = None  # where the key of a large corpus is remembered

    @classmethod
    def scan(
        cls,
        corpus: str,
        profile: Profile,
        root: str | Path | None,
        cache: Path,
        voices: str | Path | None = None,
        labels: str | Path | None = None,
    ) -> UnpreparedCorpus:
        """List the clips that ``profile`` asks for; raises CorpusError if the corpus is missing.

        ``voices`` is the folder of the voices where the corpus is a pair such as
        "performers+ravdess", ``root`` then that of the pictures, and ``labels`` their table, if it
        does not lie beside them.
        """
        pair = corpora.split_pair(corpus)
        root = files.expand_home(root or corpora.current_root(corpus, cache))
        root = archives.as_folder(root)
        if pair:
            voices = files.expand_home(voices or corpora.current_root(pair[1], cache))
            voices = archives.as_folder(voices)
            labels = labels or _last_labels(corpus, cache)
            clips, skipped = corpora.scan(corpus, root, voices, labels)
        elif voices or labels:
            raise CorpusError(
                f"{corpus}: has faces and voices of its own, so name its folder with --root; or "
                f"pair pictures with its voices, as in performers+{corpus}"
            )
        else:
            clips, skipped = corpora.scan(corpus, root)
        settings = {
            "image_size": profile.data.image_size,
            "frames_per_clip": profile.data.frames_per_clip,
        }
        chosen = choose_spread(clips, profile.data.clips_limit)
        return cls(
            corpus,
            root,
            chosen,
            skipped,
            settings,
            Path(voices) if voices else None,
            Path(labels) if labels else None,
            cache,
        )

    @property
    def sound_root(self) -> Path:
        """The folder to which the paths of sounds are relative."""
        return self.voices or self.root

    @property
    def folders(self) -> dict[str, str]:
        """The folders of the corpus, as the card of ``Store`` names them."""
        paths = {"root": self.root, "voices": self.voices, "labels": self.labels}
        return {name: str(path.resolve()) for name, path in paths.items() if path}

    @cached_property
    def key(self) -> str:
        """As ``Store.key``."""
        inputs = self.recordings, self.root, self.settings, self.voices
        if self.cache is None:
            return inputs_key(*inputs)
        return remembered_key(self.corpus, self.cache, *inputs)

    def folder_in(self, cache: Path) -> Path:
        """The folder of the prepared corpus, whether it exists yet or not."""
        return cache / f"{self.corpus}-{self.key}"

    @cached_property
    def clips(self) -> pd.DataFrame:
        """``Store.clips``, as far as it is known before a file is opened.

        ``n_frames`` is 1 if there are any pictures, else 0.
        """
        rows = []
        for clip in self.recordings:
            has_pictures = clip.has_video or bool(clip.frames)
            columns = clip_columns(clip, self.root, self.voices)
            rows.append(columns | {"n_frames": int(has_pictures)})
        return pd.DataFrame(rows)

    @property
    def has_faces(self) -> bool:
        """Whether there is any picture."""
        return bool(self.clips.n_frames.any())

    def frame(self, clip: int) -> np.ndarray:
        """As ``Store.frame``; raises MediaError if the file cannot be read."""
        frames, _ = load_face_crops(self.recordings[clip], **self.settings)
        return frames[len(frames) // 2]

    def mel(self, clip: int) -> np.ndarray:
        """As ``Store.mel``; raises MediaError if the file cannot be read."""
        mel, _ = load_spectrogram(self.recordings[clip])
        return mel.astype(np.float32)

    def path(self, clip: pd.Series) -> Path:
        """The file that holds the sound of a row of ``clips``."""
        return self.sound_root / clip.sound


def open_or_scan(
    corpus: str, profile: Profile, cache: str | Path | None = None
) -> Store | UnpreparedCorpus:
    """The prepared corpus if there is one, else the corpus itself, to look at a few clips."""
    cache = Path(cache or corpora.cache_root())
    unprepared = UnpreparedCorpus.scan(corpus, profile, None, cache)
    return open_or_set_aside(unprepared.folder_in(cache)) or unprepared


def _last_labels(corpus: str, cache: Path) -> Path | None:
    """The table of the pictures in the newest card of a pair, if it is still there."""
    cards = sorted(
        cache.glob(f"{corpus}-*/card.json"), key=lambda path: path.stat().st_mtime, reverse=True
    )
    for card in cards:
        labels = json.loads(card.read_text()).get("labels")
        if labels and Path(labels).exists():
            return Path(labels)
    return None


def choose_spread(clips: list[Clip], limit: int | None) -> list[Clip]:
    """At most ``limit`` clips, every actor and every emotion about equally often.

    The choice is the same every time, and keeps the order of ``clips``.
    """
    if limit is None or len(clips) <= limit:
        return clips
    actors = {actor: i for i, actor in enumerate(sorted({clip.actor for clip in clips}))}
    emotions = {emotion: i for i, emotion in enumerate(sorted({clip.emotion for clip in clips}))}
    # Actors and emotions make a table of cells. Take the first clip of each cell, diagonal by
    # diagonal, then the second ones, and so on: a diagonal has every actor once.
    clips_in_cell = Counter()
    ranks = []
    for number, clip in enumerate(clips):
        cell = clip.actor, clip.emotion
        diagonal = (actors[clip.actor] + emotions[clip.emotion]) % len(emotions)
        ranks.append((clips_in_cell[cell], diagonal, number))
        clips_in_cell[cell] += 1
    chosen = sorted(number for _, _, number in sorted(ranks)[:limit])
    return [clips[number] for number in chosen]


def clip_columns(clip: Clip, root: Path, voices: Path | None = None) -> dict:
    """The columns of ``Store.clips`` that follow from a clip's name and path."""
    sound_root = voices or root
    return {
        "name": clip.name,
        "actor": clip.actor,
        "emotion": clip.emotion,
        "label": label(clip.emotion),
        "intensity": clip.intensity,
        "statement": clip.statement,
        "repetition": clip.repetition,
        **({"voice_actor": clip.voice_actor} if clip.is_pair else {}),
        "file": clip.path.relative_to(root).as_posix(),
        "sound": (clip.audio_path or clip.path).relative_to(sound_root).as_posix(),
    }
