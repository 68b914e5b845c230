"""Read single pictures and sounds of users, or refuse them with one clear line.

They come from the demo or from ``cm perceive``, and may be of any kind and size. What a file holds
decides how it is read, not its suffix. Corpora are prepared by ``preparation.prepare`` instead.
"""

from __future__ import annotations

import importlib
import io
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from cmlib.corpora import PICTURE_SUFFIXES, VIDEO_SUFFIXES, archives
from cmlib.preparation import media

MAX_FILE_BYTES = 100_000_000
MAX_SOUND_SECONDS = 600  # a longer sound would take too much memory
MAX_PIXELS = 25_000_000  # of a picture that can only be decoded at full size
MAX_SIDE = 1600  # pixels: larger pictures are scaled down to this before the face is searched for
# What Pillow raises where it cannot read a picture; RuntimeError is about a damaged AVIF picture.
UNREADABLE = (OSError, ValueError, SyntaxError, RuntimeError, Image.DecompressionBombError)
# Brands of the picture format of phones, in the bytes 8 to 11 of a file.
HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
ANIMATIONS = ("GIF", "PNG", "WEBP", "AVIF", "TIFF")  # formats with several frames or pages

# Pillow warns of odd metadata; whether a picture can be used, its user is told in other ways.
warnings.filterwarnings("ignore", module=r"PIL\.")


class InputError(ValueError):
    """A picture or sound that cannot be used; the message names it, the fault and the remedy."""


class NotAPicture(InputError):
    """A file in which no picture is found; it may be a video."""


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


def open_face_picture(path: Path) -> tuple[Image.Image | np.ndarray, tuple[str, ...]]:
    """The picture of a file, or the middle frame of a video; and remarks without the file's name.

    Raises InputError or MediaError if the file holds neither.
    """
    try:
        return read_picture(path)
    except NotAPicture as error:
        try:
            frames, _ = media.read_video(path, 1)
        except media.MediaError as fault:
            # The message is about the kind of file that it seems to be.
            if isinstance(fault, media.NotMedia):
                seems_video = path.suffix.lower() in VIDEO_SUFFIXES
            else:
                seems_video = path.suffix.lower() not in PICTURE_SUFFIXES
            raise (fault if seems_video else error) from None
        return frames[0], ("a video, its middle frame was taken",)


def open_picture(path: Path) -> Image.Image:
    """As ``read_picture``, without remarks."""
    return read_picture(path)[0]


def read_picture(path: Path) -> tuple[Image.Image, tuple[str, ...]]:
    """A picture file as RGB, decoded no larger than needed; and remarks without the file's name.

    Raises NotAPicture if it is of another kind, and InputError if it cannot be read or would take
    too much memory.
    """
    try:
        with identify(path) as picture:
            picture.draft("RGB", (MAX_SIDE, MAX_SIDE))  # decodes a large JPEG at a smaller size
            pixels = picture.width * picture.height
            if pixels > MAX_PIXELS:
                raise InputError(
                    f"{path}: {pixels / 1e6:.0f} megapixels, more than {MAX_PIXELS / 1e6:.0f}; "
                    "make it smaller, or save it as a JPEG"
                )
            with media.quiet_terminal():
                picture.load()
            remarks = []
            if picture.format in ANIMATIONS and getattr(picture, "is_animated", False):
                remarks.append("only the first of its frames or pages was taken")
            size = media.square_pixels(*picture.size, _pixel_aspect(picture))
            if size != picture.size:
                remarks.append("its pixels are not square, so it was stretched")
                return to_upright_rgb(picture.resize(size)), tuple(remarks)
            return to_upright_rgb(picture), tuple(remarks)
    except InputError:
        raise
    except UNREADABLE as error:
        reason = " ".join(str(error).split())
    raise InputError(f"{path}: not a readable picture ({reason}); use a PNG or JPEG file")


def identify(path: Path) -> Image.Image:
    """Open a picture as ``Image.open`` does, and HEIC pictures if the package pillow-heif is there.

    The picture may be a member of an archive. Raises NotAPicture if the file holds something else.
    """
    source = archives.source(path)
    content = media.first_bytes(str(source) if isinstance(source, Path) else source)
    if media.is_lfs_pointer(content):
        raise InputError(f"{path}: {media.LFS_POINTER}")
    if content.startswith(b"%PDF"):  # PyAV would take a picture in it for a film
        raise InputError(f"{path}: a PDF document; save the picture as a PNG or JPEG file")
    try:
        picture = Image.open(source)
    except UnidentifiedImageError:
        if content[4:8] == b"ftyp" and content[8:12] in HEIF_BRANDS:
            return _open_heic(path, source)
        picture = None
    if picture is None or picture.format == "MPEG":  # a video that Pillow knows by name only
        fault = "not a readable picture (no picture inside)"
        raise NotAPicture(f"{path}: {fault}; use a PNG or JPEG file")
    return picture


def _open_heic(path: Path, source: Path | io.BytesIO) -> Image.Image:
    try:
        pillow_heif = importlib.import_module("pillow_heif")  # an extra
    except ImportError:
        remedy = "pip install pillow-heif, or export it as a JPEG"
        raise InputError(f"{path}: a HEIC picture, which needs a package; {remedy}") from None
    pillow_heif.register_heif_opener()
    return Image.open(source)


def _pixel_aspect(picture: Image.Image) -> float:
    """How many times as wide as high the pixels of a picture are, as its file says."""
    across, down = picture.info.get("dpi") or picture.info.get("jfif_density") or (1, 1)
    return float(down) / float(across) if across and down else 1.0


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
        if MAX_SIDE * min(picture.size) < max(picture.size):  # so thin that no pixel would be left
            picture = picture.resize((min(picture.width, MAX_SIDE), min(picture.height, MAX_SIDE)))
        else:
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
    sound = open_sound(path)
    return sound.waveform, sound.rate


def open_sound(path: str | Path) -> media.Sound:
    """As ``read_sound``, with remarks without the file's name."""
    try:
        return media.read_sound(check_size(path), MAX_SOUND_SECONDS)
    except media.TooLong as error:
        raise InputError(str(error)) from None
