"""The folders of corpora and of prepared corpora, and the files in a folder."""

from __future__ import annotations

from pathlib import Path

from cmlib import files

# By these suffixes files are looked for. What is in a file decides how it is read.
VIDEO_SUFFIXES = tuple(
    ".mp4 .mov .mkv .avi .webm .m4v .3gp .3g2 .flv .wmv .asf .mpg .mpeg .ts .mts .m2ts .ogv".split()
)
SOUND_SUFFIXES = tuple(
    ".wav .flac .ogg .mp3 .m4a .aac .aif .aiff .opus .oga .wma .amr .caf .weba .mka .au".split()
)
PICTURE_SUFFIXES = tuple(".jpg .jpeg .png .webp .bmp .heic .heif .avif .tif .tiff".split())


def default_root(corpus: str) -> Path:
    """The folder of a corpus: ``$CM_DATA``/corpus, or ``data/``corpus beside the package.

    Additions, as in "ravdess+song", do not change it.
    """
    return files.place("CM_DATA") / corpus.partition("+")[0]


def cache_root() -> Path:
    """The folder of prepared corpora: ``$CM_CACHE``, or ``data/prepared`` beside the package."""
    return files.place("CM_CACHE")


def verify(root: Path) -> list[str]:
    """Compare the files of a corpus with its list ``checksums.sha256``: a line for each fault.

    The list has the format of ``sha256sum``. Without a list there are no faults.
    """
    checksums = root / "checksums.sha256"
    if not checksums.exists():
        return []
    faults = []
    for line in checksums.read_text().splitlines():
        expected, name = line.split(maxsplit=1)
        path = root / name.lstrip("*")
        if not path.exists():
            faults.append(f"{path}: missing; get it again")
        elif files.checksum(path) != expected:
            faults.append(f"{path}: not what it was when the corpus was made; get it again")
    return faults
