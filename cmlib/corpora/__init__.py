"""Where the corpora are stored and what is in them.

``scan("ravdess")`` returns a ``Clip`` for each recording, and the files left out with the reason.
"""

from cmlib.corpora.catalogue import ADDITIONS, CORPORA, scan, split_name, split_pair
from cmlib.corpora.clip import Clip, CorpusError, Skipped
from cmlib.corpora.folders import (
    PICTURE_SUFFIXES,
    SOUND_SUFFIXES,
    VIDEO_SUFFIXES,
    cache_root,
    default_root,
    list_files,
    verify,
)

__all__ = [
    "ADDITIONS",
    "CORPORA",
    "PICTURE_SUFFIXES",
    "SOUND_SUFFIXES",
    "VIDEO_SUFFIXES",
    "Clip",
    "CorpusError",
    "Skipped",
    "cache_root",
    "default_root",
    "list_files",
    "scan",
    "split_name",
    "split_pair",
    "verify",
]
