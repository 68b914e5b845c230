"""Open video and sound files, and say what is wrong with one that cannot be read."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import av.logging
from av.container import InputContainer
from av.error import FFmpegError

from cmlib.corpora import archives

# Of formats that count no frames, the header states how long the file lasts.  Less than this share
# of it, by more than these seconds, means that the end is missing.
MIN_DURATION_SHARE = 0.9
MIN_MISSING_SECONDS = 0.25
STATE_THEIR_DURATION = ("matroska,webm", "flv")
GET_IT_AGAIN = "copy or download it again"
NO_MEDIA = "not a video or sound file, or cut short"
LFS_POINTER = "a pointer of Git LFS in the place of the file; run git lfs pull"

av.logging.set_level(av.logging.PANIC)

_terminal = threading.Lock()


class MediaError(ValueError):
    """A file that cannot be read; the message names the file, the fault and the remedy."""


class NotMedia(MediaError):
    """A file that is neither a video nor a sound, or one that is too damaged to tell."""


@contextmanager
def open_container(
    path: str | Path, options: dict[str, str] | None = None
) -> Iterator[InputContainer]:
    """Open a video or sound file; any failure while it is open is raised as a MediaError.

    ``options`` are those of FFmpeg's demuxer.
    """
    source = decoder_input(Path(path))
    try:
        with av.open(source, "r", options=options) as container:
            if not (container.streams.video or container.streams.audio):
                raise NotMedia(f"{path}: {NO_MEDIA}; {GET_IT_AGAIN}")
            yield container
    except MediaError:
        raise
    except (FFmpegError, OSError, ValueError, IndexError) as error:
        detail = str(getattr(error, "strerror", None) or error)
        fault = NO_MEDIA if "Invalid data" in detail else "cannot be read"
        raise NotMedia(f"{path}: {fault} ({detail}); {GET_IT_AGAIN}") from None


def decoder_input(path: Path) -> str | io.BytesIO:
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


def check_duration(path: str | Path, container: InputContainer) -> None:
    """Raise MediaError if a file ends long before the duration that its header states."""
    if container.format.name not in STATE_THEIR_DURATION or not container.duration:
        return
    stated = container.duration / av.time_base
    end = 0.0
    with open_container(path) as file:  # its packets have been read already, or will be
        for packet in file.demux():
            if packet.pts is not None and packet.time_base:
                end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
    check_seconds(path, end, stated)


def check_seconds(path: str | Path, present: float, stated: float) -> None:
    """Raise MediaError if a file holds much less than the seconds that it states."""
    if present < MIN_DURATION_SHARE * stated and stated - present > MIN_MISSING_SECONDS:
        share = f"{present:.1f} of {stated:.1f} seconds"
        raise MediaError(f"{path}: {share}, the file is cut short; {GET_IT_AGAIN}")


@contextmanager
def quiet_terminal() -> Iterator[None]:
    """Keep away what libraries in C, such as mpg123 and libtiff, print about odd files.

    They write to the process's standard error and not to Python's, so that is redirected for a
    moment, by one thread at a time.
    """
    with _terminal:
        try:
            standard_error = os.dup(2)
        except OSError:  # the process has no standard error
            yield
            return
        try:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, 2)
            os.close(nowhere)
            yield
        finally:
            os.dup2(standard_error, 2)
            os.close(standard_error)
