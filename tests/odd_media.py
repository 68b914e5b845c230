"""Media files as people have them: trimmed, renamed, half finished, inverted; what writes them."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import soundfile
from conftest import SHARED, talking, tone, write_clip

REAL = SHARED / "real_inputs"
FRAMES = talking(60, 128)
SECONDS = 2.4
RATE = 48_000


def given(name: str) -> Callable[[Path], None]:
    """A writer that copies a file of the folder ``real_inputs`` beside the repository."""
    return lambda path: path.write_bytes((REAL / name).read_bytes())


def contents(suffix: str) -> Callable[[Path], None]:
    """A writer of a clip in the container of this suffix, whatever the name of the file."""

    def write(path: Path) -> None:
        written = path.with_name(f"written{suffix}")
        write_clip(written, FRAMES, tone(SECONDS))
        written.rename(path)

    return write


def encoded(
    container: str, video: str, sound: str, options: dict[str, str] | None = None
) -> Callable[[Path], None]:
    """A writer of a clip with these codecs; ``video`` may be empty."""

    def write(path: Path) -> None:
        with av.open(str(path), "w", format=container) as file:
            picture = None
            if video:
                picture = file.add_stream(video, rate=25, options=options or {})
                picture.width = picture.height = len(FRAMES[0])
                picture.pix_fmt = "yuv420p"
                picture.bit_rate = 800_000
                picture.thread_count = 1  # libvpx's threads spin while they wait for each other
            track = file.add_stream(sound, rate=RATE, layout="mono")
            for image in FRAMES if picture else ():
                file.mux(picture.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            if picture:
                file.mux(picture.encode())
            frame = av.AudioFrame.from_ndarray(tone(SECONDS)[None], format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = RATE, 0, Fraction(1, RATE)
            to_codec = av.AudioResampler(
                track.codec_context.format,
                "mono",
                RATE,
                frame_size=track.codec_context.frame_size or 1024,
            )
            for block in to_codec.resample(frame) + to_codec.resample(None):
                file.mux(track.encode(block))
            file.mux(track.encode())

    return write


# -------------------------------------------------------------------- cut, and not cut


def remuxed(path: Path, container: str, seconds: float, skipped_frames: int = 0) -> None:
    """A clip without its first seconds: hidden by an edit list, or its packets left out."""
    source = path.with_name("whole")
    options = {"g": "20", "preset": "veryfast"} if skipped_frames else {"preset": "veryfast"}
    encoded(container, "libx264", "aac", options)(source)
    to_mux = {"avoid_negative_ts": "disabled"} if container == "mp4" else {}
    with (
        av.open(str(source)) as whole,
        av.open(str(path), "w", format=container, options=to_mux) as trimmed,
    ):
        streams = {s.index: trimmed.add_stream_from_template(s) for s in whole.streams}
        start = (whole.start_time or 0) / av.time_base
        pictures = 0
        for packet in whole.demux():
            if packet.dts is None:
                continue
            is_picture = packet.stream.type == "video"
            pictures += is_picture
            if is_picture and pictures <= skipped_frames:
                continue
            if not is_picture and packet.pts * packet.time_base - start < seconds:
                continue
            if not skipped_frames:
                packet.pts -= round(seconds / packet.time_base)
                packet.dts -= round(seconds / packet.time_base)
            packet.stream = streams[packet.stream.index]
            trimmed.mux(packet)
    source.unlink()


def hidden_start(path: Path) -> None:
    """An edit list hides the first 20 of 60 frames, as after a cut without encoding."""
    remuxed(path, "mp4", 0.8)


def hidden_end(path: Path) -> None:
    """An edit list ends after half of the clip, as after a trim on a phone."""
    encoded("mp4", "libx264", "aac", {"preset": "veryfast"})(path)
    content = bytearray(path.read_bytes())
    track = content.rindex(b"trak", 0, content.index(b"vmhd"))
    duration = content.index(b"elst", track) + 12
    (milliseconds,) = struct.unpack_from(">I", content, duration)
    struct.pack_into(">I", content, duration, milliseconds // 2)
    path.write_bytes(content)


def between_key_frames(path: Path) -> None:
    """A recording of television begins with 8 frames whose key frame is missing."""
    remuxed(path, "mpegts", 0.5, skipped_frames=12)


def avi(extra_frames: int) -> Callable[[Path], None]:
    """A writer of an AVI file whose header counts so many frames more than it has."""

    def write(path: Path) -> None:
        encoded("avi", "mpeg4", "pcm_s16le")(path)
        content = bytearray(path.read_bytes())
        for offset in (content.index(b"avih") + 24, content.index(b"strh") + 40):
            (count,) = struct.unpack_from("<I", content, offset)
            struct.pack_into("<I", content, offset, count + extra_frames)
        path.write_bytes(content)

    return write


def cut(write: Callable[[Path], None], share: float) -> Callable[[Path], None]:
    """A writer of the first part of what ``write`` writes."""

    def write_part(path: Path) -> None:
        write(path)
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * share)])

    return write_part


def anamorphic(path: Path, frames: list[np.ndarray], aspect: int) -> None:
    """A film whose pixels are ``aspect`` times as wide as high."""
    with av.open(str(path), "w") as file:
        picture = file.add_stream("libx264", rate=25, options={"preset": "veryfast", "crf": "10"})
        picture.height, picture.width = frames[0].shape[:2]
        picture.pix_fmt = "yuv444p"
        picture.codec_context.sample_aspect_ratio = Fraction(aspect)
        for image in frames:
            file.mux(picture.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        file.mux(picture.encode())


# -------------------------------------------------------------------- sound


def wav(samples: np.ndarray, form: str = "WAV") -> bytes:
    """A sound file of 16 bits of samples (N,) or (N, channels)."""
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, RATE, format=form)
    return buffer.getvalue()


def sound_bytes(change: Callable[[bytearray], bytearray], form: str = "WAV"):
    """A writer of a changed sound file."""
    return lambda path: path.write_bytes(change(bytearray(wav(tone(SECONDS), form))))


def stereo(left: float, right: float, delay: int = 0) -> Callable[[Path], None]:
    """A writer of a tone at these levels in two channels."""
    mono = tone(SECONDS)
    samples = np.stack([left * mono, right * np.roll(mono, delay)], 1)
    return lambda path: path.write_bytes(wav(samples))


def stereo_video(path: Path) -> None:
    """A clip whose microphone was connected the wrong way round."""
    write_clip(path, FRAMES, np.stack([tone(SECONDS), -tone(SECONDS)]))


def unfinished(content: bytearray) -> bytearray:
    """The header of a recorder that was stopped: all sizes are 0."""
    data = content.index(b"data")
    content[4:8] = content[data + 4 : data + 8] = bytes(4)
    return content


def endless(content: bytearray) -> bytearray:
    """The header of a stream: all sizes are as large as can be."""
    data = content.index(b"data")
    content[4:8] = content[data + 4 : data + 8] = b"\xff" * 4
    return content


def unfinished_aiff(content: bytearray) -> bytearray:
    """The same of the recorder of another system."""
    frames, sound = content.index(b"COMM") + 10, content.index(b"SSND") + 4
    content[frames : frames + 4] = content[sound : sound + 4] = bytes(4)
    return content


def unfinished_flac(content: bytearray) -> bytearray:
    """A FLAC stream does not know how many samples it has: the 36 bits are 0."""
    content[21] &= 0xF0
    content[22:26] = bytes(4)
    return content
