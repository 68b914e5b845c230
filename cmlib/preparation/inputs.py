"""Read single pictures and sounds of users, or refuse them with one clear line.

They come from the demo or from ``cm perceive``, and may be of any kind and size. Corpora are
prepared by ``preparation.prepare`` instead.
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
MAX_SOUND_SECONDS = 600  # a longer sound would take too much memory
MAX_PIXELS = 25_000_000  # of a picture that can only be decoded at full size
MAX_SIDE = 1600  # pixels: larger pictures are scaled down to this before the face is searched for


class InputError(ValueError):
    """A picture or sound that cannot be used; the message names it, the fault and the remedy."""


def check_size(path: str | Path, size: int | None = None) -> Path:
    """Return the path of a file that is not too large.

    ``size`` is its number of bytes, for a file that is not on the disk yet. Raises InputError if
    the file is missing, empty or too large.
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

    Raises InputError if it cannot be read or would take too much memory.
    """
    try:
        with Image.open(path) as picture:
            picture.draft("RGB", (MAX_SIDE, MAX_SIDE))  # decodes a large JPEG at a smaller size
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

    Transparent pixels become white.
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

    Only a file of 16 bits tells which value is white. For others it is the smallest of 1, 255 and
    65,535 that no value exceeds.
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
    """``media.read_audio``; raises InputError if the file is too large or the sound too long."""
    path = check_size(path)
    seconds = 0.0
    # If the file is damaged, read_audio below says so and names the remedy.
    with contextlib.suppress(av.error.FFmpegError, OSError, ValueError):
        with av.open(str(path)) as container:
            seconds = (container.duration or 0) / av.time_base
    if seconds > MAX_SOUND_SECONDS:
        limit = MAX_SOUND_SECONDS // 60
        raise InputError(f"{path}: {seconds / 60:.0f} minutes of sound, more than {limit}; cut it")
    return media.read_audio(path)
