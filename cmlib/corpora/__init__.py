"""Where the corpora are stored and what is in them.

``scan("ravdess")`` returns a ``Clip`` for each recording, and the files left out with the reason.
"""

from cmlib.corpora.catalogue import ADDITIONS, CORPORA, split_name, split_pair
from cmlib.corpora.clip import Clip, CorpusError, Skipped
from cmlib.corpora.folders import (
    PICTURE_SUFFIXES,
    SOUND_SUFFIXES,
    VIDEO_SUFFIXES,
    cache_root,
    default_root,
    verify,
)
from cmlib.corpora.remembered import current_root, remember_root
from cmlib.corpora.scanning import scan

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
    "current_root",
    "default_root",
    "remember_root",
    "scan",
    "split_name",
    "split_pair",
    "verify",
]
