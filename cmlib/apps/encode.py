"""Pictures and sounds as the bytes that widgets and web pages show."""

from __future__ import annotations

import base64
import io

import numpy as np
import soundfile
from PIL import Image


def png_bytes(picture: np.ndarray, side: int) -> bytes:
    """A picture (S, S, 3), floats in 0...1, as a PNG of ``side`` x ``side`` pixels."""
    image = Image.fromarray((255 * np.clip(picture, 0, 1)).round().astype(np.uint8))
    buffer = io.BytesIO()
    image.resize((side, side), Image.Resampling.BICUBIC).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def wav_bytes(sound: np.ndarray, rate: int) -> bytes:
    """A waveform (N,) in -1...1 at ``rate`` hertz as the bytes of a 16-bit WAV file."""
    samples = (np.clip(sound, -1, 1) * 32767).astype(np.int16)
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, int(rate), format="WAV")
    return buffer.getvalue()


def data_url(data: bytes, image_type: str) -> str:
    """A picture file of the type png or gif as an address that holds the picture itself."""
    return f"data:image/{image_type};base64,{base64.b64encode(data).decode()}"
