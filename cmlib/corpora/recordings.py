"""List the clips of one corpus of recordings."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from cmlib import files
from cmlib.corpora import archives
from cmlib.corpora.catalogue import CORPORA, split_name
from cmlib.corpora.clip import Clip, CorpusError, Skipped
from cmlib.corpora.remembered import current_root


def scan(corpus: str, root: str | Path | None = None) -> tuple[list[Clip], list[Skipped]]:
    """The clips of a corpus, sorted by name, and the files left out with the reason.

    ``corpus``: a name such as "ravdess", "ravdess+song" or "mead+left_30+top".
    ``root``: its folder (default: ``current_root(corpus)``). Raises CorpusError if it has no clips.
    """
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
