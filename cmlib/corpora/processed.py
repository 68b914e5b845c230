"""The processed data of the released code's authors: pictures of faces beside their sound.

RAVDESS: ``Actor_12/05/train/01-01-05-02-01-01-12/17.jpg``, that is actor, emotion code, stage, clip
and frame, with the sound ``01-01-05-02-01-01-12.wav`` anywhere below actor and emotion. MEAD:
``M003/front/angry/level_2/17_001.jpg``, with the take in the last three digits, and the spectrogram
``M003/spectrograms/angry/level_2/001.npy``. YAML files beside the actors list the clips for
training, validation and test (``splits.split_from_yaml``).
"""

from __future__ import annotations

import contextlib
import re
from collections import defaultdict
from pathlib import Path

import numpy as np
from PIL import Image

from cmlib.corpora import archives, mead
from cmlib.corpora.clip import Clip, CorpusError, Skipped
from cmlib.corpora.folders import PICTURE_SUFFIXES
from cmlib.corpora.names import MEAD_EMOTIONS, ClipName, MeadName

CROP_SIDE = 322  # pixels: side of the central square that is kept of a picture
SPECTROGRAM_SIDE = 128
RAVDESS_FILE = re.compile(  # groups: emotion, clip
    r"(?:.*/)?(\d\d)/(?:[^/]+/)*?(\d\d-\d\d-\1(?:-\d\d){4})(?:/[^/]+)?\.\w+"
)
MEAD_FILE = re.compile(  # groups: actor, view, emotion, level, take
    r"(?:.*/)?([MW]\d{3})/([^/]+)/(\w+)/level_([1-3])/[^/]*?(\d{3})\.\w+"
)


def clip_of(path: str) -> ClipName | MeadName | None:
    """The clip to which a frame, a sound or a spectrogram belongs, or None.

    ``path`` has forward slashes.
    """
    ravdess = RAVDESS_FILE.fullmatch(path)
    if ravdess:
        with contextlib.suppress(ValueError):
            return ClipName.parse(ravdess[2])
    match = MEAD_FILE.fullmatch(path)
    if match and match[3] in MEAD_EMOTIONS:
        return MeadName(match[1], MEAD_EMOTIONS[match[3]], int(match[4]), int(match[5]), match[2])
    return None


def name_of(clip: ClipName | MeadName) -> str:
    """``Clip.name`` of a clip that ``clip_of`` recognised."""
    return clip.stem if isinstance(clip, ClipName) else clip.recording


def scan(root: Path, additions: tuple[str, ...] = ()) -> tuple[list[Clip], list[Skipped]]:
    """See ``cmlib.corpora.scan``. Reads the layouts of both corpora; neither has additions.

    Of several views of a take only one is used: the front, else the next one of ``mead.VIEWS``.
    """
    pictures, sounds, skipped = _find_files(root)
    clips: dict[str, Clip] = {}
    for (folder, clip), frames in sorted(pictures.items(), key=_view_order):
        name = name_of(clip)
        if isinstance(clip, ClipName) and clip.channel == "song":
            skipped.append((folder, "song: left out"))
        elif name not in sounds:
            fault = f"{len(frames)} frames of {name}, but no .wav or .npy of it"
            skipped.append((folder, f"sound: {fault}"))
        elif name in clips:
            skipped.append((folder, f"duplicate: {name} is in {clips[name].path.parent} too"))
        else:
            clips[name] = _clip(clip, sorted(frames, key=_natural_order), sounds[name])
    with_pictures = {name_of(clip) for _, clip in pictures}
    for name, path in sounds.items():
        if name not in with_pictures:
            skipped.append((path, "sound: there are no frames of it"))
    return list(clips.values()), skipped


def _find_files(root: Path) -> tuple[dict, dict[str, Path], list[Skipped]]:
    """Frames by folder and clip, sounds and spectrograms by ``Clip.name``, and what is left out."""
    pictures, sounds = defaultdict(list), {}
    paths, skipped = archives.walk(root, (*PICTURE_SUFFIXES, ".wav", ".npy"))
    for path in paths:
        clips = [clip_of(reading) for reading in archives.readings(path, root)]
        clip = next((clip for clip in clips if clip), None)
        if clip is None:
            skipped.append((path, "name: neither a frame nor a sound in the layout of the authors"))
        elif path.suffix.lower() in PICTURE_SUFFIXES:
            pictures[path.parent, clip].append(path)
        else:
            sounds.setdefault(name_of(clip), path)
    return pictures, sounds, skipped


def _view_order(item: tuple[tuple[Path, ClipName | MeadName], list[Path]]) -> int:
    """A sort key that puts the front before the other views; RAVDESS has only the front."""
    (_, clip), _ = item
    view = getattr(clip, "view", mead.FRONT)
    return mead.VIEWS.index(view) if view in mead.VIEWS else len(mead.VIEWS)


def _natural_order(path: Path) -> list[int | str]:
    """A sort key that puts frame 9 before frame 10."""
    pieces = re.split(r"(\d+)", path.stem)
    return [int(piece) if piece.isdigit() else piece for piece in pieces]


def _clip(clip: ClipName | MeadName, frames: list[Path], sound: Path) -> Clip:
    if isinstance(clip, ClipName):
        corpus = "ravdess_released"
        numbers = (clip.actor, clip.emotion, clip.intensity, clip.statement, clip.repetition)
    else:
        corpus = "mead_released"
        numbers = (clip.number, clip.emotion, clip.level, clip.take, 1)
    return Clip(frames[0], sound, True, corpus, *numbers, name_of(clip), tuple(frames))


def read_picture(path: Path, size: int) -> np.ndarray:
    """The central square of a frame, at most 322 pixels wide, scaled to (size, size, 3) uint8.

    Networks of the released code see frames in this way. Raises CorpusError if the frame cannot be
    read.
    """
    try:
        with Image.open(archives.source(path)) as opened:
            image = opened.convert("RGB")
    except archives.ArchiveError as error:
        raise CorpusError(str(error)) from None
    except (OSError, ValueError) as error:
        raise CorpusError(f"{path}: not a readable picture ({error}); copy it again") from None
    side = min(*image.size, CROP_SIDE)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    image = image.crop((left, top, left + side, top + side))
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))


def read_spectrogram(path: Path) -> np.ndarray:
    """The spectrogram (H, W) of a ``.npy`` file, floats or 0...255 -> (128, 128) float32.

    Raises CorpusError if it cannot be read. Pickled objects are refused, so no code in the file is
    run.
    """
    try:
        values = np.squeeze(np.load(archives.source(path), allow_pickle=False))
    except archives.ArchiveError as error:
        raise CorpusError(str(error)) from None
    except (OSError, ValueError, EOFError) as error:
        reason = str(error).partition(". ")[0]  # then numpy would explain how to load pickles
        raise CorpusError(f"{path}: not a readable array ({reason}); copy it again") from None
    is_numeric = np.issubdtype(values.dtype, np.number)
    if values.ndim != 2 or not is_numeric or not np.isfinite(values).all():
        raise CorpusError(
            f"{path}: expected a spectrogram (H, W) of finite numbers, "
            f"got {values.dtype} {values.shape}"
        )
    scale = 255 if values.dtype == np.uint8 else 1
    image = Image.fromarray(values.astype(np.float32) / scale)
    size = (SPECTROGRAM_SIDE, SPECTROGRAM_SIDE)
    return np.asarray(image.resize(size, Image.Resampling.BILINEAR))
