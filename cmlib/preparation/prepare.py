"""Prepare a corpus once into flat arrays and a table, and read them back.

A prepared corpus is a folder ``<corpus>-<key>`` with

* ``clips.csv``: a row for each clip, ``skipped.csv``: a row for each file that was left out, with the reason,
* ``frames.npy`` (N, S, S, 3) uint8 face crops, ``frame_clip.npy`` (N,) the row of the clip of each,
* ``mels.npy`` (clips, 128, 128) float16 mel spectrograms, ``card.json``: settings, counts, checksums.

Who wants to see a few clips only need not wait for that: ``open_or_scan``.

The key is a hash of the inputs (relative name, size, first and last 16 KiB of each file, check sum of each member of an
archive; no dates, so that every clone has the same) and of the settings.  Each finished clip is a file of its own in
``<corpus>-<key>.part`` until all are there, so work that was stopped at any moment goes on where it was; the folder
gets its name only when it is whole.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from filelock import FileLock, Timeout
from tqdm.auto import tqdm

from cmlib import corpora, provenance
from cmlib.config import Profile, get_profile
from cmlib.corpora import Clip, archives, processed
from cmlib.corpora.names import label
from cmlib.files import checksum
from cmlib.preparation import media, spectrograms, tracking
from cmlib.preparation.store import ARRAYS, Store, StoreError

HASHED_EDGE_BYTES = 16 * 1024  # bytes hashed at either end of an input file
FRAMES_TO_SEARCH = 8  # frames of a clip in which the face is looked for, when more are kept
MAX_BUFFERED_BYTES = (
    1 << 28
)  # bytes of decoded frames that wait in memory until it is known where the face is


@dataclass(frozen=True)
class UnpreparedCorpus:
    """A corpus as it lies there, nothing prepared: for looking at a few clips, each decoded when it is asked for."""

    corpus: str
    root: Path
    recordings: list[Clip]
    skipped: list[tuple[Path, str]]
    settings: dict

    @classmethod
    def scan(
        cls, corpus: str, profile: Profile, root: str | Path | None, cache: Path
    ) -> UnpreparedCorpus:
        """The clips that ``profile`` asks for; CorpusError where the corpus is not there."""
        root = Path(root or _last_root(corpus, cache))
        clips, skipped = corpora.scan(corpus, root)
        settings = {
            "image_size": profile.data.image_size,
            "frames_per_clip": profile.data.frames_per_clip,
        }
        return cls(corpus, root, choose_spread(clips, profile.data.clips_limit), skipped, settings)

    @cached_property
    def key(self) -> str:
        """As ``Store.key``."""
        return inputs_key(self.recordings, self.root, self.settings)

    @cached_property
    def clips(self) -> pd.DataFrame:
        """``Store.clips`` as far as it is known before a file is opened; ``n_frames`` says only whether there are any (1)."""
        return pd.DataFrame(
            [
                clip_columns(clip, self.root)
                | {"n_frames": int(clip.has_video or bool(clip.frames))}
                for clip in self.recordings
            ]
        )

    @property
    def has_faces(self) -> bool:
        """Whether there is any picture."""
        return bool(self.clips.n_frames.any())

    def frame(self, clip: int) -> np.ndarray:
        """As ``Store.frame``; MediaError where the file cannot be read."""
        return (frames := _frames(self.recordings[clip], **self.settings)[0])[len(frames) // 2]

    def mel(self, clip: int) -> np.ndarray:
        """As ``Store.mel``; MediaError where the file cannot be read."""
        return _mel(self.recordings[clip])[0].astype(np.float32)

    def path(self, clip: pd.Series) -> Path:
        """The file that holds the sound of a row of ``clips``."""
        return self.root / clip.sound


def open_or_scan(
    corpus: str, profile: Profile, cache: str | Path | None = None
) -> Store | UnpreparedCorpus:
    """The corpus for somebody who wants to see a few clips now: prepared if it is, else as it lies there."""
    raw = UnpreparedCorpus.scan(corpus, profile, None, cache := Path(cache or corpora.cache_root()))
    folder = cache / f"{corpus}-{raw.key}"
    return Store.open(folder) if folder.exists() else raw


# -------------------------------------------------------------------- preparing


def prepare(
    corpus: str,
    profile: Profile | str = "quick",
    root: str | Path | None = None,
    cache: str | Path | None = None,
    workers: int | None = None,
    progress: bool | None = None,
) -> Store:
    """The prepared corpus: opened if it is there, else made now (and continued if that was begun before).

    ``root``: folder of the corpus (default ``$CM_DATA``/corpus or data/corpus, else the one it was last prepared from); ``cache``: where prepared corpora are
    kept (default ``$CM_CACHE`` or data/prepared); ``workers``: processes (default: one a core); ``progress``: a bar
    (default: on a terminal or in a notebook, unless CM_QUIET is set).
    """
    profile = get_profile(profile) if isinstance(profile, str) else profile
    cache = Path(cache or corpora.cache_root())
    raw = UnpreparedCorpus.scan(corpus, profile, root, cache)
    folder = cache / f"{corpus}-{raw.key}"
    if folder.exists():
        return Store.open(folder)
    with contextlib.ExitStack() as stack:
        try:
            cache.mkdir(parents=True, exist_ok=True)
            stack.enter_context(_locked(folder))
            if folder.exists():  # another process was faster
                return Store.open(folder)
            started, part = time.monotonic(), folder.with_name(folder.name + ".part")
            (part / "clips").mkdir(parents=True, exist_ok=True)
            _work(raw.recordings, part / "clips", raw.settings, workers, progress)
            assemble(part, raw, started)
            os.replace(part, folder)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise StoreError(
                f"{cache}: the disk is full; make room, or set CM_CACHE to a larger one, and run again: "
                "what is done is kept"
            ) from None
    shutil.rmtree(folder / "clips", ignore_errors=True)
    return Store.open(folder)


def _last_root(corpus: str, cache: Path) -> Path:
    """The default folder of a corpus; where there is none, the one that it was last prepared from with --root."""
    folder = corpora.default_root(corpus)
    if not folder.is_dir():
        named = f"{corpus.partition('+')[0]}[-+]*/card.json"
        for card in sorted(cache.glob(named), key=lambda path: path.stat().st_mtime, reverse=True):
            if (used := Path(json.loads(card.read_text())["root"])).is_dir():
                return used
    return folder


def choose_spread(clips: list[Clip], limit: int | None) -> list[Clip]:
    """At most ``limit`` clips, the same ones every time, with every actor and every emotion about equally often."""
    if limit is None or len(clips) <= limit:
        return clips
    actors = {a: i for i, a in enumerate(sorted({c.actor for c in clips}))}
    emotions = {e: i for i, e in enumerate(sorted({c.emotion for c in clips}))}
    seen, order = {}, []
    for number, clip in enumerate(clips):
        cell = clip.actor, clip.emotion
        seen[cell] = seen.get(cell, -1) + 1
        diagonal = (actors[clip.actor] + emotions[clip.emotion]) % len(emotions)
        order.append((seen[cell], diagonal, number))
    return [clips[number] for number in sorted(number for *_, number in sorted(order)[:limit])]


def inputs_key(clips: list[Clip], root: Path, settings: dict) -> str:
    """12 hexadecimal digits that change with the files (name, size, content in short) and with the settings."""
    digest = hashlib.sha256()
    for path in sorted({p for clip in clips for p in (clip.path, clip.audio_path) if p}):
        digest.update(
            f"\n{path.relative_to(root).as_posix()} ".encode()
            + archives.fingerprint(path, HASHED_EDGE_BYTES)
        )
    for clip in clips:  # of pictures only the first is read, the others are counted
        digest.update(f"\n{clip.name} {len(clip.frames)}".encode() if clip.frames else b"")
    return provenance.of_preparation(settings, {"files": digest.hexdigest()}).fingerprint()


@contextlib.contextmanager
def _locked(folder: Path):
    """One process prepares, others wait; the lock goes with the process that holds it, however that ends."""
    lock = FileLock(folder.with_name(folder.name + ".lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print(f"another process is preparing {folder.name}: waiting for it", file=sys.stderr)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _work(
    clips: list[Clip], parts: Path, settings: dict, workers: int | None, progress: bool | None
) -> None:
    """Every clip that has no part file yet gets one."""
    for rest in parts.glob("*.tmp"):
        rest.unlink()
    done = {path.stem for path in parts.iterdir()}
    todo = [(i, clip) for i, clip in enumerate(clips) if f"{i:06d}" not in done]
    if not todo:
        return
    _check_room(parts, len(todo), settings)
    import joblib  # the demo starts sooner without

    workers = workers or max(
        1, min(joblib.cpu_count(), len(todo) // 64)
    )  # a process takes seconds to start
    if progress is None:
        progress = not os.environ.get("CM_QUIET") and (
            sys.stderr.isatty() or "ipykernel" in sys.modules
        )
    jobs = (joblib.delayed(_write_part)(parts / f"{i:06d}", clip, settings) for i, clip in todo)
    # loky's processes do not run the caller's file again, so this works in notebooks and in scripts of any kind
    loky = {"backend": "loky", "inner_max_num_threads": 1, "idle_worker_timeout": 10}
    with joblib.parallel_config(**loky if workers > 1 else {"backend": "sequential"}):
        with _interrupts_wait():
            results = joblib.Parallel(
                n_jobs=workers, return_as="generator_unordered", batch_size=1
            )(jobs)
        bar = tqdm(
            results,
            f"preparing {clips[0].corpus}",
            len(clips),
            unit="clip",
            disable=not progress,
            initial=len(clips) - len(todo),
        )
        without_face = bad = 0
        for found in bar:
            bad += found is None
            without_face += found == 0
            if bad or without_face:
                bar.set_postfix(skipped=bad, faceless=without_face, refresh=False)


@contextlib.contextmanager
def _interrupts_wait() -> Iterator[None]:
    """Processes started in here never see Ctrl-C, which a terminal sends to all: their parent does, and ends them."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(
        signal.SIG_BLOCK, {signal.SIGINT}
    )  # inherited; what comes meanwhile waits
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _check_room(parts: Path, count: int, settings: dict) -> None:
    """OSError(ENOSPC) if the disk obviously cannot hold the result."""
    frames = settings["frames_per_clip"] or 120
    need = count * (frames * settings["image_size"] ** 2 * 3 + 2 * spectrograms.N_MELS**2) * 2
    if shutil.disk_usage(parts).free < need:
        raise OSError(errno.ENOSPC, f"about {need / 1e6:.0f} MB are needed")


def _write_part(path: Path, clip: Clip, settings: dict) -> float | None:
    """Prepare one clip into ``path``.npz, or say in ``path``.json why not; face rate (1 for sound only), or None."""
    torch.set_num_threads(1)
    try:
        arrays, row = prepare_clip(clip, **settings)
    except Exception as error:  # one bad clip never stops a corpus
        reason = str(error) if isinstance(error, (media.MediaError, corpora.CorpusError)) else ""
        reason = reason or f"{type(error).__name__}: {error}"
        arrays, row = None, {"reason": reason}
    suffix = ".json" if arrays is None else ".npz"
    temporary = path.with_suffix(f"{suffix}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            text = json.dumps(row).encode()
            if arrays is None:
                file.write(text)
            else:
                np.savez(file, row=np.frombuffer(text, np.uint8), **arrays)
        os.replace(temporary, path.with_suffix(suffix))
    finally:
        temporary.unlink(missing_ok=True)
    return None if arrays is None else row["face_rate"] if row["n_frames"] else 1.0


def prepare_clip(clip: Clip, image_size: int, frames_per_clip: int) -> tuple[dict, dict]:
    """One clip -> arrays ``frames`` (n, S, S, 3) uint8 and ``mel`` (128, 128) float16; its share of the table."""
    mel, heard = _mel(clip)
    frames, seen = _frames(clip, image_size, frames_per_clip)
    return {"frames": frames, "mel": mel}, heard | seen


def _mel(clip: Clip) -> tuple[np.ndarray, dict]:
    """Mel spectrogram; duration (0: unknown) and whether it is silent."""
    if clip.frames and clip.audio_path.suffix == ".npy":
        mel, seconds = processed.read_spectrogram(clip.audio_path), 0.0
        silent = not mel.any()
    else:
        sound, rate = media.read_audio(clip.audio_path or clip.path)
        mel, seconds = (
            spectrograms.mel_spectrogram(sound, rate, released=bool(clip.frames)),
            len(sound) / rate,
        )
        silent = not mel.any() if clip.frames else spectrograms.is_silent(sound)
    return mel.astype(np.float16), {"duration": seconds, "silent": bool(silent)}


def _frames(clip: Clip, image_size: int, frames_per_clip: int) -> tuple[np.ndarray, dict]:
    """Face crops; how many, the share of those looked at that have a face, and the video's duration."""
    if clip.frames:  # finished crops
        wanted = media.evenly_spaced(frames_per_clip, len(clip.frames))
        frames = np.stack([processed.read_picture(clip.frames[i], image_size) for i in wanted])
        return frames, {"n_frames": len(frames), "face_rate": 1.0}
    if not clip.has_video:
        return np.zeros((0, image_size, image_size, 3), np.uint8), {"n_frames": 0, "face_rate": 0.0}
    info = media.video_info(clip.path)
    wanted = media.evenly_spaced(frames_per_clip, info.frames)
    if len(wanted) <= 2 * FRAMES_TO_SEARCH:  # few: decoded once, all looked at
        frames, report = tracking.crop_faces(list(media.iter_frames(clip.path, wanted)), image_size)
    else:  # many: looked at here and there
        looks = media.evenly_spaced(FRAMES_TO_SEARCH, info.frames)
        if 1.5 * info.pixels * len(wanted) < MAX_BUFFERED_BYTES:  # decoded once
            both = sorted({*looks, *wanted})
            held = dict(zip(both, media.iter_decoded(clip.path, both)))
            track, report = tracking.track_face([held[number]() for number in looks], looks)
            pairs = ((number, held.pop(number)()) for number in wanted)
        else:  # decoded again one by one, so that memory stays small
            track, report = tracking.track_face(list(media.iter_frames(clip.path, looks)), looks)
            pairs = zip(wanted, media.iter_frames(clip.path, wanted))
        frames = np.stack([track.crop(frame, number, image_size) for number, frame in pairs])
    return frames, {
        "duration": info.seconds,
        "n_frames": len(frames),
        "face_rate": report.found_rate,
    }


def clip_columns(clip: Clip, root: Path) -> dict:
    """What a clip's name and place say of it, as columns of ``Store.clips``."""
    return {
        "name": clip.name,
        "actor": clip.actor,
        "emotion": clip.emotion,
        "label": label(clip.emotion),
        "intensity": clip.intensity,
        "statement": clip.statement,
        "repetition": clip.repetition,
        "file": clip.path.relative_to(root).as_posix(),
        "sound": (clip.audio_path or clip.path).relative_to(root).as_posix(),
    }


def assemble(part: Path, raw: UnpreparedCorpus, started: float) -> None:
    """Part files -> arrays, tables and card in the folder ``part``."""
    kept, rows, first, left_out = [], [], 0, [(str(path), reason) for path, reason in raw.skipped]
    for i, clip in enumerate(raw.recordings):
        path = part / "clips" / f"{i:06d}.npz"
        if path.exists():
            with np.load(path) as stored:
                row = json.loads(stored["row"].tobytes())
            names = clip_columns(clip, raw.root)
            files = {column: names.pop(column) for column in ("file", "sound")}
            rows.append(
                names
                | {
                    "duration": round(row["duration"], 4),
                    "first_frame": first,
                    "n_frames": row["n_frames"],
                    "face_found": row["face_rate"] > 0,
                    "face_rate": round(row["face_rate"], 3),
                    "silent": row["silent"],
                }
                | files
            )
            first += row["n_frames"]
            kept.append(path)
        else:
            left_out.append(
                (str(clip.path), json.loads(path.with_suffix(".json").read_text())["reason"])
            )
    if not rows:
        raise StoreError(
            f"{raw.root}: none of {len(raw.recordings)} clips can be used; the first: {left_out[-1][1]}"
        )
    table = pd.DataFrame(rows)
    total, size = int(table.n_frames.sum()), raw.settings["image_size"]
    shapes = {
        "frames": ((total, size, size, 3), "|u1"),
        "mels": ((len(rows), spectrograms.N_MELS, spectrograms.N_MELS), "<f2"),
    }
    for name, (shape, kind) in shapes.items():
        with open(
            part / f"{name}.npy", "wb"
        ) as file:  # written in one go: a full disk is an error here, not later
            np.lib.format.write_array_header_2_0(
                file, {"descr": kind, "fortran_order": False, "shape": shape}
            )
            for path in kept:
                with np.load(path) as stored:
                    file.write(
                        np.ascontiguousarray(
                            stored["frames" if name == "frames" else "mel"]
                        ).tobytes()
                    )
    np.save(
        part / "frame_clip.npy", np.repeat(np.arange(len(rows), dtype=np.int32), table.n_frames)
    )
    table.to_csv(part / "clips.csv", index=False)
    reasons = pd.DataFrame(left_out, columns=["path", "reason"])
    reasons.to_csv(part / "skipped.csv", index=False)
    card = {
        "format": provenance.VERSIONS["preparation"],
        "key": raw.key,
        "corpus": raw.corpus,
        "root": str(raw.root.resolve()),
        "settings": raw.settings,
        "clips": len(rows),
        "actors": int(table.actor.nunique()),
        "frames": total,
        "skipped": len(reasons),
        "clips_without_face": int(((table.n_frames > 0) & ~table.face_found).sum()),
        "silent_clips": int(table.silent.sum()),
        "sha256": {
            n: checksum(part / n)
            for n in ("clips.csv", "skipped.csv", *(f"{a}.npy" for a in ARRAYS))
        },
        "seconds": round(time.monotonic() - started, 1),
    }
    (part / "card.json").write_text(json.dumps(card, indent=1))
