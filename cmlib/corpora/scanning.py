"""One function that lists the clips of any corpus."""

from __future__ import annotations

from pathlib import Path

from cmlib.corpora import recordings
from cmlib.corpora.catalogue import split_pair
from cmlib.corpora.clip import Clip, Skipped


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
    if split_pair(corpus) is None:
        return recordings.scan(corpus, root)
    from cmlib.corpora import pairs  # here, since only pairs need tables of pictures

    clips, skipped = pairs.scan(corpus, root, voices, labels)
    return sorted(clips, key=lambda clip: clip.name), sorted(skipped)
