"""What was left out of a prepared corpus, as of today.

The arrays depend on the files that are used, and so does the key of the prepared folder. A broken
archive beside them changes nothing in the arrays, nor does another tree with the same files. In
both cases the folder is opened again. Only its report must not be that of yesterday.
"""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from cmlib import files
from cmlib.preparation.store import Store
from cmlib.preparation.unprepared import UnpreparedCorpus


def with_todays_report(store: Store, corpus: UnpreparedCorpus) -> Store:
    """The store with the folders of today's scan, and with what that has left out.

    Both are written into the prepared folder. If that belongs to somebody else, they are kept in
    memory only.
    """
    rows = _left_out_today(store, corpus)
    skipped = pd.DataFrame(rows, columns=["path", "reason"])
    card = store.card | corpus.folders | {"skipped": len(skipped)}
    is_old = card != store.card or rows != list(zip(store.skipped.path, store.skipped.reason))
    if not is_old:
        return store
    try:
        with files.write_atomically(store.folder / "skipped.csv") as temporary:
            skipped.to_csv(temporary, index=False, errors="surrogateescape")
        checksum = files.checksum(store.folder / "skipped.csv")
        card["sha256"] = store.card["sha256"] | {"skipped.csv": checksum}
        files.write_text(store.folder / "card.json", json.dumps(card, indent=1))
    except OSError:
        store.__dict__.update(card=card, skipped=skipped)  # as cached_property keeps them
        return store
    return Store.open(store.folder)


def _left_out_today(store: Store, corpus: UnpreparedCorpus) -> list[tuple[str, str]]:
    """Paths and reasons: of today's scan, and of the clips that could not be prepared."""
    used_sounds = {corpus.sound_root / sound for sound in store.clips.sound}
    rows = [(str(path), reason) for path, reason in corpus.skipped if path not in used_sounds]
    prepared = set(store.clips.name)
    for clip in corpus.recordings:
        if clip.name not in prepared:
            rows.append((str(clip.path), _reason(clip.path, corpus.root, store.skipped)))
    return rows


def _reason(path: Path, root: Path, skipped: pd.DataFrame) -> str:
    """Why a clip could not be prepared, with the path that it has today."""
    name = f"/{path.relative_to(root).as_posix()}"
    # The shortest path that ends like this is the clip's; a longer one is in another folder.
    rows = [row for row in zip(skipped.path, skipped.reason) if row[0].endswith(name)]
    if not rows:
        return f"{path}: could not be prepared; copy or download it again"
    old_path, reason = min(rows, key=lambda row: len(row[0]))
    old_root = old_path.removesuffix(name)
    return reason.replace(f"{old_root}/", f"{root}/")
