"""Prepare a corpus once: turn the files of its clips into flat arrays and a table.

A prepared corpus is a folder ``<corpus>-<key>`` that ``store.Store`` reads back. It holds

* ``clips.csv``, a row for each clip, and ``skipped.csv``, a row with the reason for each file that
  was left out,
* ``frames.npy`` (N, S, S, 3) uint8 face crops, and ``frame_clip.npy`` (N,) the clip of each,
* ``mels.npy`` (clips, 128, 128) float16 mel spectrograms,
* ``card.json`` with settings, counts and checksums.

To look at a few clips only, there is no need to prepare the corpus: see ``unprepared``.

The key is a hash of the settings and of the inputs (``keys``). Until all are done, each finished
clip has a file of its own in ``<corpus>-<key>.part``. So interrupted work resumes where it stopped,
and a folder gets its name only when it is complete.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from cmlib import corpora, files, provenance
from cmlib.config import Profile, get_profile
from cmlib.corpora import Clip
from cmlib.locks import locked
from cmlib.preparation import media, spectrograms
from cmlib.preparation.clip_arrays import prepare_clip
from cmlib.preparation.left_out import with_todays_report
from cmlib.preparation.store import (
    ARRAYS,
    TABLES,
    Store,
    StoreError,
    open_or_set_aside,
    save_in_blocks,
)
from cmlib.preparation.unprepared import UnpreparedCorpus, clip_columns
from cmlib.progress import progress_bar

CLIPS_PER_WORKER = 64  # at least, since a process takes seconds to start


def prepare(
    corpus: str,
    profile: Profile | str = "quick",
    root: str | Path | None = None,
    cache: str | Path | None = None,
    workers: int | None = None,
    voices: str | Path | None = None,
    labels: str | Path | None = None,
) -> Store:
    """Open the prepared corpus; if there is none, prepare it, or finish an interrupted preparation.

    ``root``: folder of the corpus, or of the pictures of a pair such as "performers+ravdess".
    Default: ``$CM_DATA``/corpus or data/corpus, else the folder it was last prepared from.
    ``voices``: folder of the voices of a pair. Default: as for ``root``.
    ``labels``: table of the pictures of a pair, if it lies neither among nor beside them.
    ``cache``: where prepared corpora are kept. Default: ``$CM_CACHE`` or data/prepared.
    ``workers``: number of processes. Default: one for each core.

    Raises CorpusError if the corpus is missing, and StoreError if none of its clips can be used or
    the disk is full.
    """
    if isinstance(profile, str):
        profile = get_profile(profile)
    cache = Path(cache or corpora.cache_root())
    unprepared = UnpreparedCorpus.scan(corpus, profile, root, cache, voices, labels)
    folder = unprepared.folder_in(cache)
    try:
        if open_or_set_aside(folder) is None:
            files.make_folder(cache)
            lock = folder.with_name(f"{folder.name}.lock")
            with locked(lock, f"preparing {folder.name}"):
                if not folder.exists():  # another process may have been faster
                    _prepare_into(folder, unprepared, workers)
    except OSError as error:
        if error.errno not in files.DISK_FULL:
            raise
        raise StoreError(
            f"{cache}: the disk is full; make room, or set CM_CACHE to a larger one, and run "
            "again: what is done is kept"
        ) from None
    store = with_todays_report(Store.open(folder), unprepared)
    pair = corpora.split_pair(corpus)
    if root:
        corpora.remember_root(corpus, unprepared.root, cache)
    if pair and voices:
        corpora.remember_root(pair[1], unprepared.sound_root, cache)
    return store


def prepare_shard(
    corpus: str,
    number: int,
    count: int,
    profile: Profile | str = "quick",
    root: str | Path | None = None,
    cache: str | Path | None = None,
    workers: int | None = None,
    voices: str | Path | None = None,
    labels: str | Path | None = None,
) -> tuple[int, int]:
    """Prepare every ``count``-th clip, from the ``number``-th on; return (clips, all clips).

    Several jobs with one cache prepare a shard each, at the same time. Then ``prepare`` finds all
    clips finished and joins them. It waits for shards that are still being prepared. ValueError if
    there is no such shard.
    """
    if not 1 <= number <= count:
        raise ValueError(f"shard {number}/{count}: choose a number from 1 to {count}")
    if isinstance(profile, str):
        profile = get_profile(profile)
    cache = Path(cache or corpora.cache_root())
    unprepared = UnpreparedCorpus.scan(corpus, profile, root, cache, voices, labels)
    folder = unprepared.folder_in(cache)
    numbers = range(number - 1, len(unprepared.recordings), count)
    if not folder.exists():
        clips = files.make_folder(folder.with_name(folder.name + ".part") / "clips")
        lock = folder.with_name(f"{folder.name}.shard-{number}-of-{count}.lock")
        with locked(lock, f"preparing shard {number} of {count} of {folder.name}"):
            _prepare_clips(unprepared, clips, workers, numbers)
    return len(numbers), len(unprepared.recordings)


def _prepare_into(folder: Path, unprepared: UnpreparedCorpus, workers: int | None) -> None:
    """Prepare all clips in a temporary folder, and name it ``folder`` when it is complete."""
    started = time.monotonic()
    unfinished = folder.with_name(folder.name + ".part")
    (unfinished / "clips").mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as shards:
        for lock in sorted(folder.parent.glob(f"{folder.name}.shard-*.lock")):
            shards.enter_context(locked(lock, f"preparing {lock.stem}"))
        every_clip = range(len(unprepared.recordings))
        _prepare_clips(unprepared, unfinished / "clips", workers, every_clip)
        assemble(unfinished, unprepared, started)
        os.replace(unfinished, folder)
    shutil.rmtree(folder / "clips", ignore_errors=True)


def _prepare_clips(
    unprepared: UnpreparedCorpus, folder: Path, workers: int | None, numbers: range
) -> None:
    """Write the file in ``folder`` of every clip that does not have one yet.

    ``numbers`` are those of the clips that are wanted: of all, or of a shard.
    """
    for leftover in folder.glob("*.part"):  # of a process that was killed, or of another shard
        if int(leftover.name.partition(".")[0]) in numbers:
            leftover.unlink()
    finished = {path.stem for path in folder.iterdir()}
    remaining = [number for number in numbers if f"{number:06d}" not in finished]
    if not remaining:
        return
    _check_room(folder, len(remaining), unprepared.settings)
    bar = progress_bar(
        _prepare_in_parallel(unprepared, folder, workers, remaining),
        f"preparing {unprepared.recordings[0].corpus}",
        total=len(numbers),
        initial=len(numbers) - len(remaining),
        unit="clip",
    )
    counts = Counter()
    for outcome in bar:
        counts[outcome] += 1
        if outcome != "whole":
            bar.set_postfix(skipped=counts["skipped"], faceless=counts["faceless"], refresh=False)


def _prepare_in_parallel(
    unprepared: UnpreparedCorpus, folder: Path, workers: int | None, numbers: list[int]
) -> Iterator[Any]:
    """Write the files of these clips; yield what ``_prepare_to_file`` returns for each."""
    import joblib  # here, so that the demo starts sooner

    workers = workers or max(1, min(joblib.cpu_count(), len(numbers) // CLIPS_PER_WORKER))
    prepare_to_file = joblib.delayed(_prepare_to_file)
    jobs = (
        prepare_to_file(
            folder / f"{number:06d}", unprepared.recordings[number], unprepared.settings
        )
        for number in numbers
    )
    # The processes of loky do not run the caller's file again. So this works in notebooks, and in
    # scripts without a guard for the main module.
    backend = {"backend": "sequential"}
    if workers > 1:
        backend = {"backend": "loky", "inner_max_num_threads": 1, "idle_worker_timeout": 10}
    with joblib.parallel_config(**backend):
        with _sigint_blocked():
            outcomes = joblib.Parallel(
                n_jobs=workers,
                return_as="generator_unordered",
                batch_size=1,  # pyright: ignore[reportArgumentType]  its type is taken from "auto"
            )(jobs)
        yield from outcomes


@contextlib.contextmanager
def _sigint_blocked() -> Iterator[None]:
    """Processes started in this context ignore Ctrl-C; their parent receives it and ends them.

    A terminal sends Ctrl-C to all processes. New processes inherit the blocked signal, and the
    parent receives it as soon as the context ends.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _check_room(folder: Path, count: int, settings: dict) -> None:
    """Raise OSError(ENOSPC) if the disk obviously cannot hold the result."""
    frames = settings["frames_per_clip"] or 120  # about as many as a clip of RAVDESS has
    bytes_per_clip = frames * settings["image_size"] ** 2 * 3 + 2 * spectrograms.N_MELS**2
    needed = 2 * count * bytes_per_clip  # twice: in the files of clips, and in the arrays
    if shutil.disk_usage(folder).free < needed:
        raise OSError(errno.ENOSPC, f"about {needed / 1e6:.0f} MB are needed")


def _prepare_to_file(path: Path, clip: Clip, settings: dict) -> str:
    """Prepare one clip into ``path``.npz, or write into ``path``.json why that is impossible.

    Returns "whole", "faceless" or "skipped".
    """
    torch.set_num_threads(1)
    try:
        arrays, facts = prepare_clip(clip, **settings)
    except Exception as error:  # one bad clip never stops a corpus
        reason = f"{type(error).__name__}: {error}"
        if isinstance(error, (media.MediaError, corpora.CorpusError)) and str(error):
            reason = str(error)
        left_out = {"path": str(clip.path), "reason": reason}
        files.write_text(path.with_suffix(".json"), json.dumps(left_out))
        return "skipped"
    row = np.frombuffer(json.dumps(facts).encode(), np.uint8)
    with files.write_atomically(path.with_suffix(".npz")) as temporary:
        with open(temporary, "wb") as file:
            np.savez(file, row=row, **arrays)
    return "faceless" if facts["n_frames"] and not facts["face_rate"] else "whole"


# -------------------------------------------------------------------- assembling


def assemble(folder: Path, unprepared: UnpreparedCorpus, started: float) -> None:
    """Turn the files in ``folder``/clips into the arrays, tables and card of ``folder``.

    ``started`` is the value of ``time.monotonic`` when the work began.
    """
    prepared, table, skipped = _collect(folder / "clips", unprepared)
    n_frames = int(table.n_frames.sum())
    _write_arrays(folder, prepared, table, (n_frames, unprepared.settings["image_size"]))
    for name, rows in (("clips", table), ("skipped", skipped)):
        # The name of a file may hold bytes that are no text.
        rows.to_csv(folder / f"{name}.csv", index=False, errors="surrogateescape")
    names = [f"{name}.csv" for name in TABLES] + [f"{name}.npy" for name in ARRAYS]
    card = {
        "format": provenance.VERSIONS["preparation"],
        "key": unprepared.key,
        "corpus": unprepared.corpus,
        **unprepared.folders,
        "settings": unprepared.settings,
        "clips": len(table),
        "actors": int(table.actor.nunique()),
        "frames": n_frames,
        "skipped": len(skipped),
        "clips_without_face": int(((table.n_frames > 0) & ~table.face_found).sum()),
        "silent_clips": int(table.silent.sum()),
        "sha256": {name: files.checksum(folder / name) for name in names},
        # Of the last start only: work before an interruption is not counted.
        "seconds": round(time.monotonic() - started, 1),
    }
    (folder / "card.json").write_text(json.dumps(card, indent=1))


def _collect(
    folder: Path, unprepared: UnpreparedCorpus
) -> tuple[list[Path], pd.DataFrame, pd.DataFrame]:
    """The files of prepared clips, their table ``Store.clips``, and ``Store.skipped``."""
    prepared, rows, unusable = [], [], []
    spares = set()  # spare sounds that were used
    first_frame = 0
    for number, clip in enumerate(unprepared.recordings):
        path = folder / f"{number:06d}.npz"
        if not path.exists():
            left_out = json.loads(path.with_suffix(".json").read_text())
            # The corpus may have been moved since the preparation was stopped.
            reason = left_out["reason"].replace(left_out["path"], str(clip.path))
            unusable.append((clip.path, reason))
            continue
        with np.load(path) as stored:
            facts = json.loads(stored["row"].tobytes())
        columns = clip_columns(clip, unprepared.root, unprepared.voices)
        paths = {"file": columns.pop("file"), "sound": columns.pop("sound")}
        if facts["uses_spare_audio"] and clip.spare_audio_path:
            spares.add(clip.spare_audio_path)
            paths["sound"] = clip.spare_audio_path.relative_to(unprepared.sound_root).as_posix()
        measured = {
            "duration": round(facts["duration"], 4),
            "first_frame": first_frame,
            "n_frames": facts["n_frames"],
            "face_found": facts["face_rate"] > 0,
            "face_rate": round(facts["face_rate"], 3),
            "silent": facts["silent"],
        }
        if "sound_remark" in facts:
            measured["sound_remark"] = facts["sound_remark"]
        if clip.is_pair:
            measured["remark"] = facts["remark"]
        rows.append(columns | measured | paths)
        prepared.append(path)
        first_frame += facts["n_frames"]
    if not rows:
        raise StoreError(
            f"{unprepared.root}: none of {len(unprepared.recordings)} clips can be used; "
            f"the first: {unusable[0][1]}"
        )
    skipped = [item for item in unprepared.skipped if item[0] not in spares] + unusable
    skipped = [(str(path), reason) for path, reason in skipped]
    return prepared, pd.DataFrame(rows), pd.DataFrame(skipped, columns=["path", "reason"])


def _write_arrays(
    folder: Path, prepared: list[Path], table: pd.DataFrame, size: tuple[int, int]
) -> None:
    """Write ``frames.npy``, ``mels.npy`` and ``frame_clip.npy``, with one clip in memory at a time.

    ``size`` is the number of all frames, and their side in pixels.
    """
    n_frames, side = size
    n_mels = spectrograms.N_MELS

    def stored(name: str) -> Iterator[np.ndarray]:
        for path in prepared:
            with np.load(path) as arrays:
                yield arrays[name]

    save_in_blocks(folder / "frames.npy", (n_frames, side, side, 3), "|u1", stored("frames"))
    save_in_blocks(folder / "mels.npy", (len(prepared), n_mels, n_mels), "<f2", stored("mel"))
    frame_clip = np.repeat(np.arange(len(prepared), dtype=np.int32), table.n_frames)
    np.save(folder / "frame_clip.npy", frame_clip)
