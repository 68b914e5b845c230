"""Read frames and sound: videos and their sound with PyAV, sound files with soundfile.

What a file holds decides how it is read, not its suffix. Files in zip archives are read as well,
without unpacking (see ``cmlib.corpora.archives``). Whatever is wrong with a file is raised as a
``MediaError`` that names the file, the fault and the remedy.
"""

from __future__ import annotations

import io
import math
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import TypeVar

import av
import av.logging
import numpy as np
import soundfile
from av.container import InputContainer
from av.error import FFmpegError, InvalidDataError
from av.video.reformatter import VideoReformatter

from cmlib.corpora import SOUND_SUFFIXES, archives

# A file with a smaller share of the frames in its table of contents is cut short.
MIN_FRAME_SHARE = 0.98
# The header of an AVI file only estimates the number of frames, and some players drop a few.
MIN_ESTIMATED_SHARE = 0.8
# Some packets have no picture of their own. Fewer pictures than this are a sign of damage.
MIN_DECODED_SHARE = 0.5
# Of formats that count no frames, the header states how long the file lasts.  Less than this share
# of it, by more than these seconds, means that the end is missing.
MIN_DURATION_SHARE = 0.9
MIN_MISSING_SECONDS = 0.25
STATE_THEIR_DURATION = ("matroska,webm", "flv")
MAX_WAV_BYTES = 0x7FFF0000  # of sound; a stream whose length is not known states more
MAX_FRAME_PIXELS = 40_000_000  # 8K video has 33 million
MAX_PIXEL_ASPECT = 3  # CinemaScope has 2
MAX_SAMPLES = 1 << 40  # more than this means that the number is unknown
# Of stereo sound whose channels cancel each other out, less of the level than this remains.
MIN_LEVEL_OF_MEAN = 0.2
GET_IT_AGAIN = "copy or download it again"
NO_MEDIA = "not a video or sound file, or cut short"
LFS_POINTER = "a pointer of Git LFS in the place of the file; run git lfs pull"

av.logging.set_level(av.logging.PANIC)

T = TypeVar("T")
_terminal = threading.Lock()


class MediaError(ValueError):
    """A file that cannot be read; the message names the file, the fault and the remedy."""


class NotMedia(MediaError):
    """A file that is neither a video nor a sound, or one that is too damaged to tell."""


class NoPictureTrack(MediaError):
    """A sound file where a video is wanted."""


class NoSoundTrack(MediaError):
    """A video without sound."""


class TooLong(MediaError):
    """A sound that lasts longer than it may."""


class FewerFrames(MediaError):
    """A video in which only ``frames`` frames can be decoded, fewer than its packets promise."""

    def __init__(self, message: str, frames: int):
        super().__init__(message)
        self.frames = frames


@dataclass(frozen=True)
class VideoInfo:
    """Length and size of a video."""

    frames: int
    fps: float
    seconds: float
    pixels: int  # of a frame


@dataclass(frozen=True)
class Sound:
    """A sound, and remarks about how it was read.

    ``waveform`` is mono, (N,) float32 of full scale 1. A remark is half a sentence without the name
    of the file.
    """

    waveform: np.ndarray
    rate: int  # samples per second
    remarks: tuple[str, ...] = ()


@contextmanager
def quiet_terminal() -> Iterator[None]:
    """Keep away what libraries in C, such as mpg123 and libtiff, print about odd files.

    They write to the process's standard error and not to Python's, so that is redirected for a
    moment, by one thread at a time.
    """
    with _terminal:
        try:
            kept = os.dup(2)
        except OSError:  # the process has no standard error
            yield
            return
        try:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, 2)
            os.close(nowhere)
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)


@contextmanager
def _open_container(
    path: str | Path, options: dict[str, str] | None = None
) -> Iterator[InputContainer]:
    """Open a video or sound file; any failure while it is open is raised as a MediaError.

    ``options`` are those of FFmpeg's demuxer.
    """
    source = _decoder_input(Path(path))
    try:
        opened = av.open(source, "r", options=options) if options else av.open(source, "r")
        with opened as container:
            if not (container.streams.video or container.streams.audio):
                raise NotMedia(f"{path}: {NO_MEDIA}; {GET_IT_AGAIN}")
            yield container
    except MediaError:
        raise
    except (FFmpegError, OSError, ValueError, IndexError) as error:
        detail = str(getattr(error, "strerror", None) or error)
        fault = NO_MEDIA if "Invalid data" in detail else "cannot be read"
        raise NotMedia(f"{path}: {fault} ({detail}); {GET_IT_AGAIN}") from None


def _decoder_input(path: Path) -> str | io.BytesIO:
    """What a decoder opens: the path of a file, or a member of an archive in memory."""
    _, member = archives.split(path)
    if not member:
        if not path.is_file():
            raise MediaError(f"{path}: no such file; check the path")
        if not path.stat().st_size:
            raise MediaError(f"{path}: empty file; {GET_IT_AGAIN}")
        source = os.path.abspath(path)  # FFmpeg would take "a:b.mp4" for an address
        try:
            source.encode()
        except UnicodeEncodeError:  # FFmpeg wants names that are text
            source = io.BytesIO(path.read_bytes())
    else:
        try:
            data = archives.read(path)
        except archives.ArchiveError as error:
            raise MediaError(str(error)) from None
        if not data:
            raise MediaError(f"{path}: empty file; {GET_IT_AGAIN}")
        source = io.BytesIO(data)
    if is_lfs_pointer(first_bytes(source)):
        raise MediaError(f"{path}: {LFS_POINTER}")
    return source


def first_bytes(source: str | io.BytesIO) -> bytes:
    """The first 64 bytes of a file, or fewer if it cannot be read; the decoder says why."""
    if isinstance(source, io.BytesIO):
        return source.getvalue()[:64]
    try:
        with open(source, "rb") as file:
            return file.read(64)
    except OSError:
        return b""


def is_lfs_pointer(content: bytes) -> bool:
    """Whether a file begins like the text that Git LFS puts in the place of a large file."""
    return content.startswith(b"version https://git-lfs.github.com/spec/")


# -------------------------------------------------------------------- pictures


def video_info(path: str | Path) -> VideoInfo:
    """Length and size of a video. Its frames are counted without being decoded."""
    with _open_container(path) as container:
        stream = _video_stream(container, path)
        frames = stored = end = 0
        for packet in container.demux(stream):
            stored += packet.size > 0
            # An edit list hides what was cut off a clip without encoding it again.
            frames += packet.size > 0 and not packet.is_discard
            end = max(end, (packet.pts or 0) + (packet.duration or 0))
        if not frames or _is_cut_short(path, container, stored, stream.frames):
            count = f"{stored} of {stream.frames} frames"
            raise MediaError(f"{path}: {count}, the file is cut short; {GET_IT_AGAIN}")
        _check_duration(path, container)
        fps = float(stream.average_rate or stream.guessed_rate or 25)
        # Matroska does not state the length of a track: take the end of the last packet.
        ticks = stream.duration or max(0, end - (stream.start_time or 0))
        seconds = frames / fps
        if ticks and stream.time_base:
            seconds = float(ticks * stream.time_base)
        return VideoInfo(frames, fps, seconds, stream.width * stream.height)


def _is_cut_short(path: str | Path, container: InputContainer, stored: int, announced: int) -> bool:
    """Whether a video that announces so many frames has lost some of its ``stored`` ones."""
    if stored >= MIN_FRAME_SHARE * announced:
        return False
    if container.format.name == "avi":
        # Its first bytes say how long the file was when it was written.
        riff_bytes = int.from_bytes(first_bytes(_decoder_input(Path(path)))[4:8], "little")
        return stored < MIN_ESTIMATED_SHARE * announced or container.size < riff_bytes + 8
    # An edit list may leave frames out altogether. Without it, all that the file has are counted.
    with _open_container(path, {"ignore_editlist": "1"}) as unedited:
        packets = unedited.demux(unedited.streams.video[0])
        return sum(packet.size > 0 for packet in packets) < MIN_FRAME_SHARE * announced


def _check_duration(path: str | Path, container: InputContainer) -> None:
    """Raise MediaError if a file ends long before the duration that its header states."""
    if container.format.name not in STATE_THEIR_DURATION or not container.duration:
        return
    stated = container.duration / av.time_base
    end = 0.0
    with _open_container(path) as file:  # its packets have been read already, or will be
        for packet in file.demux():
            if packet.pts is not None and packet.time_base:
                end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
    _check_seconds(path, end, stated)


def _check_seconds(path: str | Path, present: float, stated: float) -> None:
    if present < MIN_DURATION_SHARE * stated and stated - present > MIN_MISSING_SECONDS:
        share = f"{present:.1f} of {stated:.1f} seconds"
        raise MediaError(f"{path}: {share}, the file is cut short; {GET_IT_AGAIN}")


def _video_stream(container: InputContainer, path: str | Path) -> av.VideoStream:
    if not container.streams.video:
        raise NoPictureTrack(f"{path}: no picture track; use a video file")
    stream = container.streams.video[0]
    if stream.codec_context is None:
        raise NotMedia(f"{path}: pictures of a kind that cannot be decoded; convert the file")
    if stream.width * stream.height > MAX_FRAME_PIXELS:
        size = f"{stream.width} x {stream.height}"
        raise MediaError(f"{path}: frames of {size} pixels are too large; export a smaller video")
    stream.codec_context.thread_count = 1  # corpora are prepared by one process on each core
    return stream


def for_decodable_frames(path: str | Path, read: Callable[[VideoInfo], T]) -> T:
    """``read(info)`` of a video, with the number of its packets, or else of its pictures.

    They differ where packets have no picture of their own, or where a clip begins between two key
    frames. Raises MediaError if so many pictures are missing that the file must be damaged.
    """
    info = video_info(path)
    try:
        return read(info)
    except FewerFrames as error:
        if error.frames < MIN_DECODED_SHARE * info.frames:
            raise
        return read(replace(info, frames=error.frames))


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
        pixel_aspect = stream.sample_aspect_ratio
        for frame in _decode(container, stream):
            if numbers is not None and delivered == len(numbers):
                break
            if numbers is None or number == numbers[delivered]:
                yield partial(_rgb, frame, converter, pixel_aspect)
                delivered += 1
            number += 1
    if not delivered or (numbers is not None and delivered < len(numbers)):
        fault = f"ends at frame {number}, the file is cut short"
        raise FewerFrames(f"{path}: {fault}; {GET_IT_AGAIN}", number)


def _decode(container: InputContainer, stream: av.VideoStream) -> Iterator[av.VideoFrame]:
    """The frames of a stream. A clip may begin between two key frames, with what is undecodable."""
    started = False
    for packet in container.demux(stream):
        try:
            frames = packet.decode()
        except InvalidDataError:
            if started:
                raise
            continue
        for frame in frames:
            started = True
            yield frame


def _rgb(
    frame: av.VideoFrame, converter: VideoReformatter, pixel_aspect: Fraction | None
) -> np.ndarray:
    """A frame as (H, W, 3) uint8, upright, with square pixels."""
    width, height = square_pixels(frame.width, frame.height, pixel_aspect)
    if (width, height) == (frame.width, frame.height):
        image = converter.reformat(frame, format="rgb24").to_ndarray()
    else:
        image = converter.reformat(frame, width, height, "rgb24").to_ndarray()
    quarter_turns = round((getattr(frame, "rotation", 0) or 0) / 90) % 4
    if not quarter_turns:
        return image
    return np.ascontiguousarray(np.rot90(image, quarter_turns))


def square_pixels(width: int, height: int, aspect: float | Fraction | None) -> tuple[int, int]:
    """Width and height of a picture whose pixels are ``aspect`` times as wide as high.

    The shorter side of the pixels is stretched, so nothing is lost. Pixels that are almost square
    stay as they are, and so do those of an aspect that no camera has.
    """
    if not aspect or abs(aspect - 1) < 0.01 or not 1 / MAX_PIXEL_ASPECT < aspect < MAX_PIXEL_ASPECT:
        return width, height
    if aspect > 1:
        return round(width * aspect), height
    return width, round(height / aspect)


def read_video(path: str | Path, count: int = 0) -> tuple[np.ndarray, VideoInfo]:
    """``count`` evenly spaced frames (0: every one) as (n, H, W, 3) uint8; length and size."""

    def read(info: VideoInfo) -> tuple[np.ndarray, VideoInfo]:
        return np.stack(list(iter_frames(path, evenly_spaced(count, info.frames)))), info

    return for_decodable_frames(path, read)


# -------------------------------------------------------------------- sound


def read_audio(path: str | Path) -> tuple[np.ndarray, int]:
    """The sound of a sound or video file: mono (N,) float32 of full scale 1, samples per second.

    Channels are averaged, unless they cancel each other out. The sound of a video starts with its
    first frame and ends with its last: the padding that AAC adds before and after it is cut off,
    and if the sound starts late, silence is put before it.
    """
    sound = read_sound(path)
    return sound.waveform, sound.rate


def read_sound(path: str | Path, max_seconds: float = math.inf) -> Sound:
    """As ``read_audio``, with remarks; raises TooLong if it lasts longer than ``max_seconds``."""
    path = Path(path)
    sound, fault = _read_by_soundfile(path, max_seconds)
    if sound is None:
        sound = _read_by_pyav(path, fault, max_seconds)
    elif not len(sound.waveform):
        sound = _read_to_the_end(path, max_seconds)
    if not len(sound.waveform):
        raise MediaError(f"{path}: the sound has no samples; copy or download the file again")
    if not np.isfinite(sound.waveform).all():
        raise MediaError(f"{path}: the sound holds values that are not numbers; export it again")
    return sound


def _read_by_soundfile(path: Path, max_seconds: float) -> tuple[Sound | None, str]:
    """The sound of a sound file; or None, and why soundfile cannot open it."""
    source = _decoder_input(path)
    try:
        with quiet_terminal():
            file = soundfile.SoundFile(source)
    except (soundfile.SoundFileError, OSError, RuntimeError) as error:
        # It says of text with the suffix .mp3 that there is no such file.
        detail = " ".join(str(error).split())
        return None, "format not recognised" if "does not exist" in detail else detail
    with file:
        if file.frames > MAX_SAMPLES:  # the header does not know how many there are
            return None, "the number of samples is not known"
        _check_length(path, file.frames / file.samplerate, max_seconds)
        try:
            with quiet_terminal():
                channels = file.read(dtype="float32", always_2d=True)
        except (soundfile.SoundFileError, OSError, RuntimeError) as error:
            detail = " ".join(str(error).split())
            raise MediaError(f"{path}: sound cannot be read ({detail}); {GET_IT_AGAIN}") from None
        _check_seconds(path, len(channels) / file.samplerate, _stated_seconds(source))
        mono, remarks = _to_mono(channels)
        return Sound(mono, int(file.samplerate), remarks), ""


def _stated_seconds(source: str | io.BytesIO) -> float:
    """How many seconds a WAV file says it lasts; 0 where it does not know, and for other files.

    libsndfile tells only how many there are.
    """
    is_open = isinstance(source, io.BytesIO)
    file = io.BytesIO(source.getvalue()) if is_open else open(source, "rb")
    bytes_a_second = stated = 0
    with file:
        file.seek(0)
        if file.read(4) != b"RIFF":
            return 0.0
        file.seek(12)
        while not stated:
            head = file.read(8)
            if len(head) < 8:
                return 0.0
            size = int.from_bytes(head[4:], "little")
            if head[:4] == b"data":
                stated = size
            elif head[:4] == b"fmt ":
                bytes_a_second = int.from_bytes(file.read(size)[8:12], "little")
                file.seek(size % 2, io.SEEK_CUR)
            else:
                file.seek(size + size % 2, io.SEEK_CUR)
            if not size:
                return 0.0
    return stated / bytes_a_second if bytes_a_second and stated < MAX_WAV_BYTES else 0.0


def _read_by_pyav(path: Path, fault: str, max_seconds: float) -> Sound:
    """The sound of a video, or of a sound file that soundfile cannot open because of ``fault``."""
    try:
        return _sound_of_video(path, max_seconds)
    except NotMedia:
        if path.suffix.lower() in SOUND_SUFFIXES:
            fault = f"sound cannot be read ({fault})"
            raise NotMedia(f"{path}: {fault}; {GET_IT_AGAIN}") from None
        raise


def _read_to_the_end(path: Path, max_seconds: float) -> Sound:
    """The sound of a file whose header counts no samples, because its recorder was stopped."""
    try:
        sound = _sound_of_video(path, max_seconds)
    except NotMedia:
        sound = Sound(np.zeros(0, np.float32), 1)
    remark = "its header counts no samples, so it was read to the end of the file"
    return replace(sound, remarks=(remark, *sound.remarks))


def _check_length(path: Path, seconds: float, max_seconds: float) -> None:
    """Raise TooLong if a sound lasts longer than it may."""
    if seconds > max_seconds:
        minutes = f"{seconds / 60:.0f} minutes of sound"
        raise TooLong(f"{path}: {minutes}, more than {max_seconds / 60:.0f}; cut it")


def _to_mono(channels: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """Samples (N, C) -> their mean (N,), or the louder of two channels that cancel; remarks."""
    mono = channels.mean(1)
    if channels.shape[1] == 2:
        levels = [float(np.linalg.norm(channel)) for channel in channels.T]
        if float(np.linalg.norm(mono)) < MIN_LEVEL_OF_MEAN * max(levels):
            remark = "its two channels cancel each other out, so only one was taken"
            return np.ascontiguousarray(channels[:, np.argmax(levels)]), (remark,)
    return mono, ()


def _sound_of_video(path: Path, max_seconds: float) -> Sound:
    with _open_container(path) as container:
        if not container.streams.audio:
            raise NoSoundTrack(f"{path}: no sound track; use a recording with sound")
        _check_duration(path, container)
        stream = container.streams.audio[0]
        if stream.codec_context is None:
            raise MediaError(f"{path}: sound of a kind that cannot be decoded; convert the file")
        rate = stream.rate
        to_float = av.AudioResampler(format="fltp")
        sound_start = None
        blocks = []
        samples = 0
        for frame in container.decode(stream):
            if sound_start is None:
                sound_start = float(frame.time or 0)
            for block in to_float.resample(frame):
                channels = block.to_ndarray()
                # Only two channels are kept apart, to see whether they cancel each other out.
                blocks.append(channels if len(channels) == 2 else channels.mean(0, keepdims=True))
                samples += channels.shape[1]
            if samples > max_seconds * rate:
                limit = f"{max_seconds / 60:.0f} minutes"
                raise TooLong(f"{path}: more than {limit} of sound; cut it")
        mono, remarks = np.zeros(0, np.float32), ()
        if blocks:
            mono, remarks = _to_mono(np.concatenate(blocks, 1).T)

        # Sound and picture begin and end together.
        if container.streams.video:
            video = container.streams.video[0]
            time_base = video.time_base or 0
            video_start = float((video.start_time or 0) * time_base)
            late = round(((sound_start or 0) - video_start) * rate)
            mono = np.pad(mono, (late, 0)) if late > 0 else mono[-late:]
            if video.duration:
                mono = mono[: round(float(video.duration * time_base) * rate)]
    return Sound(mono.astype(np.float32), int(rate), remarks)
