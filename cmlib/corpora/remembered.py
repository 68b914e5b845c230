"""The folder of a corpus: the usual one, or else the one from which it was prepared last.

``cm prepare ravdess --root FOLDER`` notes the folder beside the prepared corpora, in
``ravdess.root.json``. A command that names only the corpus finds it there. The usual folder goes
first, so that a note can never hide what lies in it. What is stale does not depend on the folder,
only on the names and the contents of the files.
"""

from __future__ import annotations

import json
from pathlib import Path

from cmlib import files
from cmlib.corpora import archives
from cmlib.corpora.folders import cache_root, default_root


def current_root(corpus: str, cache: Path | None = None) -> Path:
    """Where a command looks for a corpus if it is not told a folder; it may be gone.

    ``cache`` is the folder of prepared corpora (default: ``cache_root()``). Additions, as in
    "ravdess+song", do not change the folder. Of a pair it is the folder of the pictures.
    """
    default = default_root(corpus)
    if default.exists() or default.is_symlink():  # whatever is wrong with it will be said
        return default
    roots = _noted_roots(corpus, cache or cache_root())
    existing = [root for root in roots if archives.is_folder(root)]
    return [*existing, *roots, default][0]


def remember_root(corpus: str, root: Path, cache: Path) -> None:
    """Note the folder from which a corpus was prepared; a cache of somebody else stays as it is."""
    note = _note(corpus, cache)
    text = json.dumps({"root": str(root.resolve())}) + "\n"
    try:
        if not note.exists() or note.read_text() != text:
            files.write_text(note, text)
    except OSError:
        return


def _noted_roots(corpus: str, cache: Path) -> list[Path]:
    """The folder in the note, and then those in the cards of what was prepared, newest first."""
    name = corpus.partition("+")[0]
    cards = sorted(
        cache.glob(f"{name}[-+]*/card.json"), key=lambda path: path.stat().st_mtime, reverse=True
    )
    roots = []
    for file in (_note(corpus, cache), *cards):
        try:
            roots.append(Path(json.loads(file.read_text())["root"]))
        except (OSError, ValueError, KeyError, TypeError):  # there is none, or it is damaged
            continue
    return roots


def _note(corpus: str, cache: Path) -> Path:
    return cache / f"{corpus.partition('+')[0]}.root.json"
