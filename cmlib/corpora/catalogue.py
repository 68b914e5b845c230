"""The corpora by name: what there is, and what a name is made of."""

from __future__ import annotations

from cmlib.corpora.clip import CorpusError

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
