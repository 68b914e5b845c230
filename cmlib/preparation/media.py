"""Frames and sound out of files: PyAV for video and its sound, soundfile for sound files; in zip archives too.

Whatever is wrong with a file becomes one ``MediaError`` that names the file, the fault and the remedy.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import av
import numpy as np
import soundfile
from av.video.reformatter import VideoReformatter

from cmlib.corpora import archives

SOUNDFILE_SUFFIXES = (".wav", ".flac", ".ogg", ".mp3")
MIN_FRAME_SHARE = (
    0.98  # a file that yields less than this share of the frames it promises is cut short
)

av.logging.set_level(av.logging.PANIC)


class MediaError(ValueError):
    """A file that cannot be read; the message names it, the fault and the remedy."""


@dataclass(frozen=True)
class VideoInfo:
    """What a video says about itself: number of frames, frames per second, length in seconds, pixels of a frame."""

    frames: int
    fps: float
    seconds: float
    pixels: int


def _source(path: Path) -> str | io.BytesIO:
    """What a decoder opens: the path, or a member of an archive in memory (see ``cmlib.archives``)."""
    data, member = b"", archives.split(path)[1]
    try:
        data = archives.read(path) if member else data
    except archives.ArchiveError as error:
        raise MediaError(str(error)) from None
    if not member and not path.is_file():
        raise MediaError(f"{path}: no such file; check the path")
    if not (len(data) if member else path.stat().st_size):
        raise MediaError(f"{path}: empty file; copy or download it again")
    return io.BytesIO(data) if member else str(path)


@contextmanager
def _opened(path: str | Path) -> Iterator[av.container.InputContainer]:
    source = _source(Path(path))
    try:
        with av.open(source) as container:
            if not (container.streams.video or container.streams.audio):
                raise MediaError(
                    f"{path}: not a video or sound file, or cut short; copy or download it again"
                )
            yield container
    except (av.error.FFmpegError, OSError, ValueError, IndexError) as error:
        if isinstance(error, MediaError):
            raise
        what = str(getattr(error, "strerror", None) or error)
        fault = (
            "not a video or sound file, or cut short"
            if "Invalid data" in what
            else "cannot be read"
        )
        raise MediaError(f"{path}: {fault} ({what}); copy or download it again") from None


def _video_stream(container: av.container.InputContainer, path: str | Path) -> av.VideoStream:
    if not container.streams.video:
        raise MediaError(f"{path}: no picture track; use a video file")
    stream = container.streams.video[0]
    stream.codec_context.thread_count = 1  # preparing runs one process a core
    return stream


def video_info(path: str | Path) -> VideoInfo:
    """Count the frames of a video without decoding them."""
    with _opened(path) as container:
        stream = _video_stream(container, path)
        frames, end = 0, 0
        for packet in container.demux(stream):
            frames += packet.size > 0
            end = max(end, (packet.pts or 0) + (packet.duration or 0))
        if not frames or frames < MIN_FRAME_SHARE * stream.frames:
            count = f"{frames} of {stream.frames} frames"
            raise MediaError(f"{path}: {count}, the file is cut short; copy or download it again")
        fps = float(stream.average_rate or stream.guessed_rate or 25)
        ticks = stream.duration or max(
            0, end - (stream.start_time or 0)
        )  # Matroska gives no length of its own
        length = ticks * stream.time_base if ticks else frames / fps
        return VideoInfo(frames, fps, float(length), stream.width * stream.height)


def evenly_spaced(count: int, total: int) -> list[int]:
    """``count`` numbers of ``range(total)``, the middles of equal stretches; all where ``count`` is 0 or too large."""
    return (
        list(range(total))
        if not 0 < count < total
        else [int((i + 0.5) * total / count) for i in range(count)]
    )


def iter_frames(path: str | Path, wanted: Iterable[int] | None = None) -> Iterator[np.ndarray]:
    """Yield the frames with the sorted numbers ``wanted`` (None: every one), one by one: RGB (H, W, 3) uint8, upright.

    Only these are turned into RGB, and nothing after the last is decoded.  MediaError where the file ends too early.
    """
    for picture in iter_decoded(path, wanted):
        yield picture()


def iter_decoded(
    path: str | Path, wanted: Iterable[int] | None = None
) -> Iterator[Callable[[], np.ndarray]]:
    """The same frames before they are RGB, which takes half the memory: calling one gives what ``iter_frames`` does."""
    convert = VideoReformatter()  # finds out once how
    wanted = None if wanted is None else list(wanted)
    given = number = 0
    with _opened(path) as container:
        stream = _video_stream(container, path)
        for frame in container.decode(stream):
            if wanted is not None and given == len(wanted):
                break
            if wanted is None or number == wanted[given]:
                yield partial(_rgb, frame, convert)
                given += 1
            number += 1
    if not given or (wanted is not None and given < len(wanted)):
        raise MediaError(
            f"{path}: ends at frame {number}, the file is cut short; copy or download it again"
        )


def _rgb(frame: av.VideoFrame, convert: VideoReformatter) -> np.ndarray:
    image = convert.reformat(frame, format="rgb24").to_ndarray()
    turns = round((getattr(frame, "rotation", 0) or 0) / 90) % 4
    return np.ascontiguousarray(np.rot90(image, turns)) if turns else image


def read_video(path: str | Path, count: int = 0) -> tuple[np.ndarray, VideoInfo]:
    """``count`` evenly spaced frames (0: every one) as (n, H, W, 3) uint8, and what the video says about itself."""
    info = video_info(path)
    return np.stack(list(iter_frames(path, evenly_spaced(count, info.frames)))), info


def read_audio(path: str | Path) -> tuple[np.ndarray, int]:
    """The sound of a sound or video file: (mono (N,) float32, full scale 1; samples per second).

    Channels are averaged.  The sound of a video starts with its first frame and ends with its last: the silence that
    AAC puts before and after is cut, a late start is padded.
    """
    path = Path(path)
    if path.suffix.lower() in SOUNDFILE_SUFFIXES:
        source = _source(path)
        try:
            sound, rate = soundfile.read(source, dtype="float32", always_2d=True)
        except (soundfile.SoundFileError, OSError, RuntimeError) as error:
            what = " ".join(str(error).split())
            raise MediaError(
                f"{path}: sound cannot be read ({what}); copy or download it again"
            ) from None
        mono = sound.mean(1)
    else:
        mono, rate = _sound_of_video(path)
    if not len(mono):
        raise MediaError(f"{path}: the sound has no samples; copy or download the file again")
    if not np.isfinite(mono).all():
        raise MediaError(f"{path}: the sound holds values that are no numbers; export it again")
    return mono, int(rate)


def _sound_of_video(path: Path) -> tuple[np.ndarray, int]:
    with _opened(path) as container:
        if not container.streams.audio:
            raise MediaError(f"{path}: no sound track; use a recording with sound")
        stream = container.streams.audio[0]
        to_float = av.AudioResampler(format="fltp")
        start, parts, rate = None, [], stream.rate
        for frame in container.decode(stream):
            if start is None:
                start = float(frame.time or 0)
            parts += [part.to_ndarray().mean(0) for part in to_float.resample(frame)]
        mono = np.concatenate(parts) if parts else np.zeros(0, np.float32)
        if container.streams.video:
            video = container.streams.video[0]
            late = round(((start or 0) - float((video.start_time or 0) * video.time_base)) * rate)
            mono = np.pad(mono, (late, 0)) if late > 0 else mono[-late:]
            if video.duration:
                mono = mono[: round(float(video.duration * video.time_base) * rate)]
    return mono.astype(np.float32), rate
