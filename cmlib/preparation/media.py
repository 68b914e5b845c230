"""Read frames and sound: videos and their sound with PyAV, sound files with soundfile.

Files in zip archives are read as well, without unpacking (see ``cmlib.corpora.archives``). Whatever
is wrong with a file is raised as a ``MediaError`` that names the file, the fault and the remedy.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import av
import av.logging
import numpy as np
import soundfile
from av.container import InputContainer
from av.error import FFmpegError
from av.video.reformatter import VideoReformatter

from cmlib.corpora import archives

SOUNDFILE_SUFFIXES = (".wav", ".flac", ".ogg", ".mp3")  # PyAV reads the others
MIN_FRAME_SHARE = 0.98  # a file with a smaller share of its announced frames is cut short
GET_IT_AGAIN = "copy or download it again"

av.logging.set_level(av.logging.PANIC)


class MediaError(ValueError):
    """A file that cannot be read; the message names the file, the fault and the remedy."""


class NoSoundTrack(MediaError):
    """A video without sound."""


@dataclass(frozen=True)
class VideoInfo:
    """Length and size of a video."""

    frames: int
    fps: float
    seconds: float
    pixels: int  # of a frame


@contextmanager
def _open_container(path: str | Path) -> Iterator[InputContainer]:
    """Open a video or sound file; any failure while it is open is raised as a MediaError."""
    source = _decoder_input(Path(path))
    try:
        with av.open(source, "r") as container:
            if not (container.streams.video or container.streams.audio):
                fault = "not a video or sound file, or cut short"
                raise MediaError(f"{path}: {fault}; {GET_IT_AGAIN}")
            yield container
    except MediaError:
        raise
    except (FFmpegError, OSError, ValueError, IndexError) as error:
        detail = str(getattr(error, "strerror", None) or error)
        fault = "cannot be read"
        if "Invalid data" in detail:
            fault = "not a video or sound file, or cut short"
        raise MediaError(f"{path}: {fault} ({detail}); {GET_IT_AGAIN}") from None


def _decoder_input(path: Path) -> str | io.BytesIO:
    """What a decoder opens: the path of a file, or a member of an archive in memory."""
    _, member = archives.split(path)
    if not member:
        if not path.is_file():
            raise MediaError(f"{path}: no such file; check the path")
        if not path.stat().st_size:
            raise MediaError(f"{path}: empty file; {GET_IT_AGAIN}")
        return str(path)
    try:
        data = archives.read(path)
    except archives.ArchiveError as error:
        raise MediaError(str(error)) from None
    if not data:
        raise MediaError(f"{path}: empty file; {GET_IT_AGAIN}")
    return io.BytesIO(data)


# -------------------------------------------------------------------- pictures


def video_info(path: str | Path) -> VideoInfo:
    """Length and size of a video. Its frames are counted without being decoded."""
    with _open_container(path) as container:
        stream = _video_stream(container, path)
        frames = end = 0
        for packet in container.demux(stream):
            frames += packet.size > 0
            end = max(end, (packet.pts or 0) + (packet.duration or 0))
        if not frames or frames < MIN_FRAME_SHARE * stream.frames:
            count = f"{frames} of {stream.frames} frames"
            raise MediaError(f"{path}: {count}, the file is cut short; {GET_IT_AGAIN}")
        fps = float(stream.average_rate or stream.guessed_rate or 25)
        # Matroska does not state the length of a track: take the end of the last packet.
        ticks = stream.duration or max(0, end - (stream.start_time or 0))
        seconds = frames / fps
        if ticks and stream.time_base:
            seconds = float(ticks * stream.time_base)
        return VideoInfo(frames, fps, seconds, stream.width * stream.height)


def _video_stream(container: InputContainer, path: str | Path) -> av.VideoStream:
    if not container.streams.video:
        raise MediaError(f"{path}: no picture track; use a video file")
    stream = container.streams.video[0]
    stream.codec_context.thread_count = 1  # corpora are prepared by one process on each core
    return stream


def evenly_spaced(count: int, total: int) -> list[int]:
    """``count`` numbers of ``range(total)``: the middles of ``count`` equal intervals.

    Returns all numbers if ``count`` is 0 or larger than ``total``.
    """
    if not 0 < count < total:
        return list(range(total))
    return [int((i + 0.5) * total / count) for i in range(count)]


def iter_frames(path: str | Path, wanted: Iterable[int] | None = None) -> Iterator[np.ndarray]:
    """Yield the frames with the sorted numbers ``wanted``, one by one, upright: (H, W, 3) uint8.

    ``None`` asks for every frame. Only these are converted to RGB, and nothing after the last of
    them is decoded. Raises MediaError if the file ends too early.
    """
    for to_rgb in iter_decoded(path, wanted):
        yield to_rgb()


def iter_decoded(
    path: str | Path, wanted: Iterable[int] | None = None
) -> Iterator[Callable[[], np.ndarray]]:
    """``iter_frames`` before conversion to RGB, at half the memory: call an item for its RGB."""
    converter = VideoReformatter()  # shared, because setting up a conversion takes time
    numbers = None if wanted is None else list(wanted)
    delivered = number = 0
    with _open_container(path) as container:
        stream = _video_stream(container, path)
        for frame in container.decode(stream):
            if numbers is not None and delivered == len(numbers):
                break
            if numbers is None or number == numbers[delivered]:
                yield partial(_rgb, frame, converter)
                delivered += 1
            number += 1
    if not delivered or (numbers is not None and delivered < len(numbers)):
        raise MediaError(f"{path}: ends at frame {number}, the file is cut short; {GET_IT_AGAIN}")


def _rgb(frame: av.VideoFrame, converter: VideoReformatter) -> np.ndarray:
    image = converter.reformat(frame, format="rgb24").to_ndarray()
    quarter_turns = round((getattr(frame, "rotation", 0) or 0) / 90) % 4
    if not quarter_turns:
        return image
    return np.ascontiguousarray(np.rot90(image, quarter_turns))


def read_video(path: str | Path, count: int = 0) -> tuple[np.ndarray, VideoInfo]:
    """``count`` evenly spaced frames (0: every one) as (n, H, W, 3) uint8; length and size."""
    info = video_info(path)
    return np.stack(list(iter_frames(path, evenly_spaced(count, info.frames)))), info


# -------------------------------------------------------------------- sound


def read_audio(path: str | Path) -> tuple[np.ndarray, int]:
    """The sound of a sound or video file: mono (N,) float32 of full scale 1, samples per second.

    Channels are averaged. The sound of a video starts with its first frame and ends with its last:
    the padding that AAC adds before and after it is cut off, and if the sound starts late, silence
    is put before it.
    """
    path = Path(path)
    if path.suffix.lower() in SOUNDFILE_SUFFIXES:
        mono, rate = _sound_of_sound_file(path)
    else:
        mono, rate = _sound_of_video(path)
    if not len(mono):
        raise MediaError(f"{path}: the sound has no samples; copy or download the file again")
    if not np.isfinite(mono).all():
        raise MediaError(f"{path}: the sound holds values that are not numbers; export it again")
    return mono, int(rate)


def _sound_of_sound_file(path: Path) -> tuple[np.ndarray, int]:
    source = _decoder_input(path)
    try:
        sound, rate = soundfile.read(source, dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, OSError, RuntimeError) as error:
        detail = " ".join(str(error).split())
        raise MediaError(f"{path}: sound cannot be read ({detail}); {GET_IT_AGAIN}") from None
    return sound.mean(1), rate


def _sound_of_video(path: Path) -> tuple[np.ndarray, int]:
    with _open_container(path) as container:
        if not container.streams.audio:
            raise NoSoundTrack(f"{path}: no sound track; use a recording with sound")
        stream = container.streams.audio[0]
        rate = stream.rate
        to_float = av.AudioResampler(format="fltp")
        sound_start = None
        blocks = []
        for frame in container.decode(stream):
            if sound_start is None:
                sound_start = float(frame.time or 0)
            blocks += [block.to_ndarray().mean(0) for block in to_float.resample(frame)]
        mono = np.concatenate(blocks) if blocks else np.zeros(0, np.float32)

        # Sound and picture begin and end together.
        if container.streams.video:
            video = container.streams.video[0]
            time_base = video.time_base or 0
            video_start = float((video.start_time or 0) * time_base)
            late = round(((sound_start or 0) - video_start) * rate)
            mono = np.pad(mono, (late, 0)) if late > 0 else mono[-late:]
            if video.duration:
                mono = mono[: round(float(video.duration * time_base) * rate)]
    return mono.astype(np.float32), rate
