"""Read the frames of videos, with PyAV."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import TypeVar

import av
import numpy as np
from av.container import InputContainer
from av.error import InvalidDataError
from av.video.reformatter import VideoReformatter

from cmlib.preparation.media.containers import (
    GET_IT_AGAIN,
    MediaError,
    NotMedia,
    check_duration,
    decoder_input,
    first_bytes,
    open_container,
)

# A file with a smaller share of the frames in its table of contents is cut short.
MIN_FRAME_SHARE = 0.98
# The header of an AVI file only estimates the number of frames, and some players drop a few.
MIN_ESTIMATED_SHARE = 0.8
# Some packets have no picture of their own. Fewer pictures than this are a sign of damage.
MIN_DECODED_SHARE = 0.5
MAX_FRAME_PIXELS = 40_000_000  # 8K video has 33 million
MAX_PIXEL_ASPECT = 3  # CinemaScope has 2

T = TypeVar("T")


class NoPictureTrack(MediaError):
    """A sound file where a video is wanted."""


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


def read_video(path: str | Path, count: int = 0) -> tuple[np.ndarray, VideoInfo]:
    """``count`` evenly spaced frames (0: every one) as (n, H, W, 3) uint8; length and size."""

    def read(info: VideoInfo) -> tuple[np.ndarray, VideoInfo]:
        return np.stack(list(iter_frames(path, evenly_spaced(count, info.frames)))), info

    return for_decodable_frames(path, read)


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


def video_info(path: str | Path) -> VideoInfo:
    """Length and size of a video. Its frames are counted without being decoded."""
    with open_container(path) as container:
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
        check_duration(path, container)
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
        riff_bytes = int.from_bytes(first_bytes(decoder_input(Path(path)))[4:8], "little")
        return stored < MIN_ESTIMATED_SHARE * announced or container.size < riff_bytes + 8
    # An edit list may leave frames out altogether. Without it, all that the file has are counted.
    with open_container(path, {"ignore_editlist": "1"}) as unedited:
        packets = unedited.demux(unedited.streams.video[0])
        return sum(packet.size > 0 for packet in packets) < MIN_FRAME_SHARE * announced


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
    with open_container(path) as container:
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
