"""One clip as a file: pictures and sound go in, and an mp4 that any player shows comes out.

H.264, yuv420p, closed groups of 2 s; AAC, mono.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from .prosody import SR

X264 = {
    "preset": "veryslow",
    "tune": "animation",
    "crf": "32",  # constant rate factor
    "sc_threshold": "0",
    # With AVX-512 and x264's macroblock tree the bytes vary from run to run.
    "x264-params": "asm=sse2",
}
SOUND = 20_000  # bit/s; the cutoff keeps what AAC would drop at this rate
GROUP = 2  # s between key frames


def stem(emotion: int, intensity: int, statement: int, repetition: int, actor: int) -> str:
    """RAVDESS's name without suffix: 01 audio-video, 01 speech; `emotion` 1..8."""
    return f"01-01-{emotion:02d}-{intensity:02d}-{statement:02d}-{repetition:02d}-{actor:02d}"


def planes(picture: np.ndarray) -> np.ndarray:
    """(S, S, 3) uint8 RGB -> (3 S / 2, S) uint8: the planes Y, Cb, Cr of yuv420p, S even (ITU-R
    BT.601, 16..235).

    Done here, so that no other version of FFmpeg's scaler gives other bytes.
    """
    rgb = picture.astype(np.float32)
    side = len(rgb)
    small = rgb.reshape(side // 2, 2, side // 2, 2, 3).mean((1, 3))
    y = 16 + rgb @ np.array([65.738, 129.057, 25.064], np.float32) / 256
    cb = 128 + small @ np.array([-37.945, -74.494, 112.439], np.float32) / 256
    cr = 128 + small @ np.array([112.439, -94.154, -18.285], np.float32) / 256
    flat = np.concatenate([y.ravel(), cb.ravel(), cr.ravel()])
    return np.rint(flat).astype(np.uint8).reshape(3 * side // 2, side)


def write_clip(path: Path, frames: Iterable[np.ndarray], audio: np.ndarray, fps: int) -> None:
    """Encode frames (S, S, 3) uint8 and mono float32 at 22,050 Hz.

    The file appears under its name only when it is whole.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with av.open(
            str(part), "w", format="mp4", options={"movflags": "+faststart", "fflags": "+bitexact"}
        ) as box:
            video = box.add_stream("libx264", rate=fps)
            video.pix_fmt = "yuv420p"
            video.codec_context.thread_count = 1
            video.codec_context.flags |= (
                av.codec.context.Flags.bitexact | av.codec.context.Flags.closed_gop
            )
            video.options = X264 | {"g": str(GROUP * fps), "keyint_min": str(GROUP * fps)}
            sound = box.add_stream("aac", rate=SR)
            sound.bit_rate = SOUND
            sound.codec_context.layout = "mono"
            sound.options = {"cutoff": "10000"}
            sound.codec_context.flags |= av.codec.context.Flags.bitexact
            for k, picture in enumerate(frames):
                if k == 0:
                    video.height, video.width = picture.shape[:2]
                frame = av.VideoFrame.from_ndarray(planes(picture), format="yuv420p")
                frame.pts, frame.time_base = k, Fraction(1, fps)
                box.mux(video.encode(frame))
            box.mux(video.encode(None))
            for first in range(0, len(audio), 1024):
                chunk = av.AudioFrame.from_ndarray(
                    np.ascontiguousarray(audio[None, first : first + 1024], np.float32),
                    format="fltp",
                    layout="mono",
                )
                chunk.sample_rate, chunk.pts, chunk.time_base = SR, first, Fraction(1, SR)
                box.mux(sound.encode(chunk))
            box.mux(sound.encode(None))
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
