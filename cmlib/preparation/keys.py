"""The key of a prepared corpus: a hash of the settings and of the inputs.

For each file it has the relative name, the size, and the first and last 16 KiB, for each member of
an archive its checksum. Dates do not count, so that every clone has the same key.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from pathlib import Path

from cmlib import files, provenance
from cmlib.corpora import Clip, archives

HASHED_EDGE_BYTES = 16 * 1024  # at either end of an input file
LARGE_CORPUS = 2000  # clips from which their files are not opened at each start
REMEMBERED_KEYS = 20  # of one corpus: with other settings, from another folder, ...


def inputs_key(clips: list[Clip], root: Path, settings: dict, voices: Path | None = None) -> str:
    """12 hexadecimal digits that change with the files (name, size, content) and the settings.

    ``voices``: the folder of the sounds, if it is another one than that of the pictures.
    """
    digest = hashlib.sha256()
    for path, folder in _files_of(clips, root, voices):
        name = path.relative_to(folder).as_posix()
        digest.update(f"\n{name} ".encode(errors="surrogateescape"))
        digest.update(archives.fingerprint(path, HASHED_EDGE_BYTES))
    for clip in clips:
        if clip.is_pair:  # what the table of the pictures says, and how they were paired
            digest.update(f"\n{clip.name} {clip.actor} {clip.emotion}".encode())
    for clip in clips:
        if clip.frames:  # of ready-made pictures only the first is read; the others are counted
            digest.update(f"\n{clip.name} {len(clip.frames)}".encode())
    return provenance.of_preparation(settings, {"files": digest.hexdigest()}).fingerprint()


def _files_of(clips: list[Clip], root: Path, voices: Path | None = None) -> list[tuple[Path, Path]]:
    """Each file of the clips, sorted, and the folder to which its name is relative."""
    folder_of: dict[Path, Path] = {}
    for clip in clips:
        folder_of[clip.path] = root
        for sound in (clip.audio_path, clip.spare_audio_path):
            if sound is not None:
                folder_of.setdefault(sound, voices or root)
    return sorted(folder_of.items())


def remembered_key(
    corpus: str,
    cache: Path,
    clips: list[Clip],
    root: Path,
    settings: dict,
    voices: Path | None = None,
) -> str:
    """``inputs_key``, without opening the files of a large corpus at each start.

    Beside the prepared corpora, ``corpus.keys.json`` holds the key that belongs to the names,
    sizes and dates of all files. Where one of them is another than before, all are opened again.
    """
    if len(clips) < LARGE_CORPUS:
        return inputs_key(clips, root, settings, voices)
    digest = hashlib.sha256(provenance.of_preparation(settings, {}).fingerprint().encode())
    for path, _ in _files_of(clips, root, voices):
        outer, _ = archives.split(path)
        status = outer.stat()
        line = f"\n{path} {status.st_size} {status.st_mtime_ns}"
        digest.update(line.encode(errors="surrogateescape"))
    for clip in clips:
        digest.update(f"\n{clip.name} {clip.actor} {clip.emotion} {len(clip.frames)}".encode())
    state = digest.hexdigest()
    note = cache / f"{corpus}.keys.json"
    try:
        keys = dict(json.loads(note.read_text()))
    except (OSError, ValueError, TypeError):  # there is none, or it is damaged
        keys = {}
    if state not in keys:
        keys = dict(list(keys.items())[-REMEMBERED_KEYS:])
        keys[state] = inputs_key(clips, root, settings, voices)
        with contextlib.suppress(OSError):  # a cache of somebody else stays as it is
            files.write_text(note, json.dumps(keys, indent=1) + "\n")
    return keys[state]
