"""Single pictures and sounds that people bring: read within limits, or refused in one line.

A corpus is prepared by ``preparation.prepare``.  Here is what a demo or ``cm perceive`` is handed,
which may be of any kind and size.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import av
import av.error
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from cmlib.preparation import media

MAX_FILE_BYTES = 100_000_000
MAX_SOUND_SECONDS = 600  # more would fill the memory
MAX_PIXELS = 25_000_000  # of a picture that has to be decoded whole
MAX_SIDE = 1600  # pixels: larger pictures are made this small before the face is looked for


class InputError(ValueError):
    """A picture or sound that cannot be used; the message names it, the fault and the remedy."""


def check_size(path: str | Path, size: int | None = None) -> Path:
    """Return the path of a file that is not too large.

    ``size`` is its number of bytes, where the file does not lie on the disk yet.  InputError where
    it is missing, empty or too large.
    """
    path = Path(path)
    if size is None:
        try:
            size = path.stat().st_size
        except OSError as error:
            raise InputError(f"{path}: {error.strerror or error}; check the path") from None
    if not size:
        raise InputError(f"{path}: an empty file; copy or download it again")
    if size > MAX_FILE_BYTES:
        limit = f"{MAX_FILE_BYTES / 1e6:.0f}"
        raise InputError(f"{path}: {size / 1e6:.0f} MB, more than {limit}; use a smaller file")
    return path


def open_picture(path: Path) -> Image.Image:
    """A picture file as RGB, decoded no larger than needed.

    InputError where it cannot be read or would take too much memory.
    """
    try:
        with Image.open(path) as picture:
            picture.draft("RGB", (MAX_SIDE, MAX_SIDE))  # a large JPEG is decoded small
            pixels = picture.width * picture.height
            if pixels > MAX_PIXELS:
                raise InputError(
                    f"{path}: {pixels / 1e6:.0f} megapixels, more than {MAX_PIXELS / 1e6:.0f}; "
                    "make it smaller, or save it as a JPEG"
                )
            picture.load()
            return to_upright_rgb(picture)
    except InputError:
        raise
    except UnidentifiedImageError:
        reason = "no picture inside"
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason = " ".join(str(error).split())
    raise InputError(f"{path}: not a readable picture ({reason}); use a PNG or JPEG file")


def to_upright_rgb(picture: Image.Image) -> Image.Image:
    """Any PIL picture as RGB, turned as its EXIF says, at most ``MAX_SIDE`` pixels wide and high.

    What is transparent becomes white.
    """
    picture = ImageOps.exif_transpose(picture)
    if picture.mode.startswith(("I", "F")):
        picture = _to_8_bit(picture)
    elif picture.mode != "RGB":
        picture = picture.convert("RGBA" if picture.has_transparency_data else "RGB")
    if max(picture.size) > MAX_SIDE:
        picture = ImageOps.contain(picture, (MAX_SIDE, MAX_SIDE))
    if picture.mode == "RGBA":
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture)
    return picture.convert("RGB")


def _to_8_bit(picture: Image.Image) -> Image.Image:
    """A grey picture of 16 or 32 bits, or of floats, brought to 0...255.

    What its white is, the file does not say, unless it has 16 bits: 1, 255 or 65,535, whichever the
    largest value fits.
    """
    values = np.asarray(picture, np.float32)
    white = 65_535
    if not picture.mode.startswith("I;16"):
        if values.max() <= 1:
            white = 1
        elif values.max() <= 255:
            white = 255
    return Image.fromarray((values.clip(0, white) * (255 / white)).round().astype(np.uint8))


def read_sound(path: str | Path) -> tuple[np.ndarray, int]:
    """``media.read_audio`` of a file that is not too large and not too long, else InputError."""
    path = check_size(path)
    seconds = 0.0
    # A fault in the file is named by read_audio below, which knows its remedy
    with contextlib.suppress(av.error.FFmpegError, OSError, ValueError):
        with av.open(str(path)) as container:
            seconds = (container.duration or 0) / av.time_base
    if seconds > MAX_SOUND_SECONDS:
        limit = MAX_SOUND_SECONDS // 60
        raise InputError(f"{path}: {seconds / 60:.0f} minutes of sound, more than {limit}; cut it")
    return media.read_audio(path)
