"""Read sound: sound files with soundfile, the sound of videos with PyAV."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass, replace
from pathlib import Path

import av
import numpy as np
import soundfile
from av.container import InputContainer

from cmlib.corpora import SOUND_SUFFIXES
from cmlib.preparation.media.containers import (
    GET_IT_AGAIN,
    MediaError,
    NotMedia,
    check_duration,
    check_seconds,
    decoder_input,
    open_container,
    quiet_terminal,
)

MAX_WAV_BYTES = 0x7FFF0000  # of sound; a stream whose length is not known states more
MAX_SAMPLES = 1 << 40  # more than this means that the number is unknown
# Of stereo sound whose channels cancel each other out, less of the level than this remains.
MIN_LEVEL_OF_MEAN = 0.2


class NoSoundTrack(MediaError):
    """A video without sound."""


class TooLong(MediaError):
    """A sound that lasts longer than it may."""


@dataclass(frozen=True)
class Sound:
    """A sound, and remarks about how it was read.

    ``waveform`` is mono, (N,) float32 of full scale 1. A remark is half a sentence without the name
    of the file.
    """

    waveform: np.ndarray
    rate: int  # samples per second
    remarks: tuple[str, ...] = ()


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
    source = decoder_input(path)
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
        check_seconds(path, len(channels) / file.samplerate, _stated_seconds(source))
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
    """The sound of a video, from its first frame to its last; or of any file that PyAV can open."""
    with open_container(path) as container:
        if not container.streams.audio:
            raise NoSoundTrack(f"{path}: no sound track; use a recording with sound")
        check_duration(path, container)
        stream = container.streams.audio[0]
        if stream.codec_context is None:
            raise MediaError(f"{path}: sound of a kind that cannot be decoded; convert the file")
        channels, start = _decode(path, container, stream, max_seconds)
        mono, remarks = _to_mono(channels)
        if container.streams.video:
            mono = _beside_pictures(mono, stream.rate, start, container.streams.video[0])
    return Sound(mono.astype(np.float32), int(stream.rate), remarks)


def _decode(
    path: Path, container: InputContainer, stream: av.AudioStream, max_seconds: float
) -> tuple[np.ndarray, float]:
    """The samples of a stream (N, C), and the second at which they start.

    Two channels are kept apart, to see whether they cancel each other out; more are averaged.
    """
    to_float = av.AudioResampler(format="fltp")
    start = None
    blocks = []
    samples = 0
    for frame in container.decode(stream):
        if start is None:
            start = float(frame.time or 0)
        for block in to_float.resample(frame):
            channels = block.to_ndarray()  # (C, n)
            blocks.append(channels if len(channels) == 2 else channels.mean(0, keepdims=True))
            samples += channels.shape[1]
        if samples > max_seconds * stream.rate:
            limit = f"{max_seconds / 60:.0f} minutes"
            raise TooLong(f"{path}: more than {limit} of sound; cut it")
    if not blocks:
        return np.zeros((0, 1), np.float32), 0.0
    return np.concatenate(blocks, 1).T, start or 0.0


def _beside_pictures(
    mono: np.ndarray, rate: int, start: float, video: av.VideoStream
) -> np.ndarray:
    """A sound (N,) that starts in second ``start``, cut to begin and end with the pictures."""
    time_base = video.time_base or 0
    video_start = float((video.start_time or 0) * time_base)
    late = round((start - video_start) * rate)
    mono = np.pad(mono, (late, 0)) if late > 0 else mono[-late:]
    if not video.duration:
        return mono
    return mono[: round(float(video.duration * time_base) * rate)]
