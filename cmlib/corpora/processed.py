"""What the authors of the released code trained on: finished pictures of faces beside their sound, not videos.

RAVDESS: ``Actor_12/05/train/01-01-05-02-01-01-12/17.jpg``, that is actor, emotion code, stage, clip and frame, with the
sound ``01-01-05-02-01-01-12.wav`` anywhere below actor and emotion.  MEAD: ``M003/front/angry/level_2/17_001.jpg``, the
take in the last three digits, with the spectrogram ``M003/spectrograms/angry/level_2/001.npy``.
YAML files beside the actors say who is in which part (``cmlib.splits.from_yaml``).
"""

from __future__ import annotations

import contextlib
import re
from collections import defaultdict
from pathlib import Path

import numpy as np
from PIL import Image

from cmlib.corpora import PICTURE_SUFFIXES, Clip, CorpusError, Skipped, list_files, mead
from cmlib.corpora.names import MEAD_EMOTIONS, ClipName, MeadName

RELEASED_CROP_SIDE = (
    322  # side of the central square of a picture that is kept, pixels: the rest is margin
)
SPECTROGRAM_SIDE = 128  # of a spectrogram
RAVDESS_FILE = re.compile(
    r"(?:.*/)?(\d\d)/(?:[^/]+/)*?(\d\d-\d\d-\1(?:-\d\d){4})(?:/[^/]+)?\.\w+"
)  # emotion, clip
MEAD_FILE = re.compile(r"(?:.*/)?([MW]\d{3})/([^/]+)/(\w+)/level_([1-3])/[^/]*?(\d{3})\.\w+")


def clip_of(path: str) -> ClipName | MeadName | None:
    """The clip that a frame, a sound or a spectrogram belongs to, by its path with forward slashes; None if none."""
    if match := RAVDESS_FILE.fullmatch(path):
        with contextlib.suppress(ValueError):
            return ClipName.parse(match[2])
    if (match := MEAD_FILE.fullmatch(path)) and match[3] in MEAD_EMOTIONS:
        return MeadName(match[1], MEAD_EMOTIONS[match[3]], int(match[4]), int(match[5]), match[2])
    return None


def name_of(clip: ClipName | MeadName) -> str:
    """``Clip.name`` of what ``clip_of`` found."""
    return clip.stem if isinstance(clip, ClipName) else clip.recording


def scan(root: Path, added: tuple[str, ...] = ()) -> tuple[list[Clip], list[Skipped]]:
    """See ``cmlib.corpora.scan``; the layouts of both corpora, to which nothing can be ``added``.

    Of several views of a take one is used: the front, else the next in the order of ``mead.VIEWS``.
    """
    pictures, sounds, skipped, clips = defaultdict(list), {}, [], {}
    for path in list_files(root, (*PICTURE_SUFFIXES, ".wav", ".npy")):
        clip = clip_of(path.absolute().as_posix())
        if clip is None:
            skipped.append((path, "name: neither a frame nor a sound as the authors lay them out"))
        elif path.suffix.lower() in PICTURE_SUFFIXES:
            pictures[path.parent, clip].append(path)
        else:
            sounds.setdefault(name_of(clip), path)
    sides = {view: i for i, view in enumerate(mead.VIEWS)}
    for (folder, clip), frames in sorted(
        pictures.items(), key=lambda p: sides.get(getattr(p[0][1], "view", "front"), 9)
    ):
        name = name_of(clip)
        if isinstance(clip, ClipName) and clip.channel == "song":
            skipped.append((folder, "song: left out"))
        elif name not in sounds:
            skipped.append(
                (folder, f"sound: {len(frames)} frames of {name}, but no .wav or .npy of it")
            )
        elif name in clips:
            skipped.append((folder, f"duplicate: {name} is in {clips[name].path.parent} too"))
        else:
            clips[name] = _clip(clip, name, tuple(sorted(frames, key=_number)), sounds[name])
    seen = {name_of(clip) for _, clip in pictures}
    skipped += [
        (path, "sound: there are no frames of it")
        for name, path in sounds.items()
        if name not in seen
    ]
    return list(clips.values()), skipped


def _clip(clip: ClipName | MeadName, name: str, frames: tuple[Path, ...], sound: Path) -> Clip:
    if isinstance(clip, ClipName):
        numbers = clip.actor, clip.emotion, clip.intensity, clip.statement, clip.repetition
        return Clip(frames[0], sound, True, "ravdess_released", *numbers, name, frames)
    numbers = clip.number, clip.emotion, clip.level, clip.take, 1
    return Clip(frames[0], sound, True, "mead_released", *numbers, name, frames)


def _number(path: Path) -> list:
    """Sorts 9 before 10."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", path.stem)]


def read_picture(path: Path, size: int) -> np.ndarray:
    """A frame as the released networks see it: its central square of at most 322 pixels, (size, size, 3) uint8."""
    try:
        with Image.open(path) as opened:
            image = opened.convert("RGB")
    except (OSError, ValueError) as error:
        raise CorpusError(f"{path}: not a readable picture ({error}); copy it again") from None
    side = min(*image.size, RELEASED_CROP_SIDE)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    image = image.crop((left, top, left + side, top + side))
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))


def read_spectrogram(path: Path) -> np.ndarray:
    """A spectrogram (H, W) of a ``.npy`` file, floats or 0...255 -> (128, 128) float32; nothing in the file is run."""
    try:
        values = np.squeeze(np.load(path, allow_pickle=False))
    except (OSError, ValueError, EOFError) as error:
        raise CorpusError(f"{path}: not a readable array ({error}); copy it again") from None
    if (
        values.ndim != 2
        or not np.issubdtype(values.dtype, np.number)
        or not np.isfinite(values).all()
    ):
        raise CorpusError(
            f"{path}: wanted a spectrogram (H, W) of finite numbers, got {values.dtype} {values.shape}"
        )
    scale = 255 if values.dtype == np.uint8 else 1
    image = Image.fromarray(values.astype(np.float32) / scale)
    return np.asarray(image.resize((SPECTROGRAM_SIDE, SPECTROGRAM_SIDE), Image.Resampling.BILINEAR))
