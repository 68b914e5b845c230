"""The corpora by name, and one function that lists the clips of any of them."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from cmlib import files
from cmlib.corpora import archives
from cmlib.corpora.clip import Clip, CorpusError, Skipped
from cmlib.corpora.remembered import current_root

CORPORA = {  # name: a file as it lies in the folder of the corpus
    "actors": "Actor_12/01-01-05-02-01-01-12.mp4",
    "ravdess": "Actor_12/01-01-05-02-01-01-12.mp4",
    "mead": "M003/video/front/angry/level_2/001.mp4",
    "ravdess_released": "Actor_12/05/train/01-01-05-02-01-01-12/1.jpg",  # the authors' pictures
    "mead_released": "M003/front/angry/level_2/1_001.jpg",
}
ADDITIONS = {  # what may be added to a corpus, as in "mead+left_30": sung clips, more cameras
    "ravdess": ("song",),
    "mead": ("down", "left_30", "left_60", "right_30", "right_60", "top"),
}
VOICES = ("actors", "ravdess", "mead")  # corpora whose voices may be paired with pictures of others


def split_pair(corpus: str) -> tuple[str, str] | None:
    """Split "performers+ravdess" into ("performers", "ravdess"); None for any other corpus.

    The first is a folder of labelled pictures (``picture_folders``), and the second a corpus with
    voices, which may have additions: "performers+ravdess+song".
    """
    faces, _, voices = corpus.partition("+")
    is_pair = faces not in CORPORA and voices.partition("+")[0] in VOICES
    return (faces, voices) if is_pair else None


def split_name(corpus: str) -> tuple[str, tuple[str, ...]]:
    """Split "mead+left_30" into ("mead", ("left_30",)).

    Additions are part of the name, so that two choices are two corpora, with prepared arrays, runs
    and networks of their own. Raises CorpusError for an unknown corpus or addition.
    """
    name, *additions = corpus.split("+")
    if name not in CORPORA:
        raise CorpusError(
            f"unknown corpus {name!r}: choose one of {', '.join(CORPORA)}, "
            f"or pair a folder of pictures with voices, as in {name}+ravdess"
        )
    allowed = ADDITIONS.get(name, ())
    unknown = sorted(set(additions) - set(allowed))
    if unknown:
        choices = ", ".join(f"{name}+{addition}" for addition in allowed) or f"{name} alone"
        raise CorpusError(f"{corpus}: cannot add {unknown[0]!r} to {name}; choose from {choices}")
    return name, tuple(additions)


def scan(
    corpus: str,
    root: str | Path | None = None,
    voices: str | Path | None = None,
    labels: str | Path | None = None,
) -> tuple[list[Clip], list[Skipped]]:
    """The clips of a corpus, sorted by name, and the files left out with the reason.

    ``corpus``: a name such as "ravdess", "ravdess+song", "mead+left_30+top", or a pair such as
    "performers+ravdess". ``root``: its folder (default: ``current_root(corpus)``); of a pair, the
    folder of the pictures. ``voices`` and ``labels``: of a pair, the folder of the voices, and the
    table of the pictures if it does not lie beside them. Raises CorpusError if it has no clips.
    """
    pair = split_pair(corpus)
    if pair:
        pairs = import_module("cmlib.corpora.pairs")
        clips, skipped = pairs.scan(corpus, root, voices, labels)
        return sorted(clips, key=lambda clip: clip.name), sorted(skipped)
    name, additions = split_name(corpus)
    folder = archives.as_folder(files.expand_home(root)) if root else current_root(corpus)
    if not archives.is_folder(folder):
        fault = "no such folder"
        if folder.exists():
            fault = "neither a folder nor a zip or tar archive"
            fault = archives.remedy_of_archive(folder) or fault
        elif folder.is_symlink():
            fault = "a link that leads nowhere"
        raise CorpusError(
            f"{folder}: {fault}; put the corpus {name} there, or name its folder with --root"
        )
    module = "processed" if name.endswith("_released") else name
    layout = import_module(f"cmlib.corpora.{module}")  # import only the layout that is needed
    clips, skipped = layout.scan(folder, additions)
    if not clips:
        first = ""
        if skipped:
            first = f" ({len(skipped)} files left out, the first because: {skipped[0][1]})"
        raise CorpusError(
            f"{folder}: no clip of {name} in it{first}; files such as {CORPORA[name]} belong there"
        )
    return sorted(clips, key=lambda clip: clip.name), sorted(skipped)
