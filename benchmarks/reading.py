"""Reading: batches from the prepared store against files that are decoded item by item.

Also the memory of a large store.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import soundfile
import torch
from PIL import Image

from benchmarks.measure import MEGABYTE, Row, Sizes, faster, in_child, interleaved, within
from cmlib.corpora import Clip
from cmlib.corpora.names import EMOTIONS
from cmlib.preparation import prepare, spectrograms, store
from cmlib.preparation.store import Store
from cmlib.preparation.unprepared import UnpreparedCorpus
from cmlib.provenance import VERSIONS
from cmlib.training.batches import Pictures

RATE = 48_000  # samples per second of the simulated sounds, as in RAVDESS
Batch = tuple[
    torch.Tensor, torch.Tensor
]  # pictures (B, 3, S, S), mel spectrograms (B, 1, 128, 128), float32 in 0...1
NAMES = 60  # sound files an actor has in RAVDESS's speech; those that are not read are empty


def simulate(root: Path, sizes: Sizes) -> Store:
    """A corpus below ``root``: as files for the other side, and prepared for ours.

    The files are sounds and JPEG frames.

    ``root/Actor_01/03-<clip>.wav``, ``root/faces/01-<clip>_<frame>.jpg``, ``root/prepared``: as in
    RAVDESS, the first field of a sound's name differs from that of the video.
    """
    rng, clips, parts = np.random.default_rng(0), [], root / "prepared" / "clips"
    parts.mkdir(parents=True)
    (root / "faces").mkdir()
    for number in range(sizes.clips):
        actor, emotion = number % 24 + 1, number % 8
        name = f"01-01-{emotion + 1:02d}-01-01-{number // 24 + 1:02d}-{actor:02d}"
        path = root / f"Actor_{actor:02d}" / f"03{name[2:]}.wav"
        path.parent.mkdir(exist_ok=True)
        sound = rng.normal(scale=0.1, size=round(sizes.seconds * RATE)).astype(np.float32)
        soundfile.write(path, sound, RATE)
        small = rng.integers(0, 256, (sizes.frames_per_clip, 4, 4, 3), np.uint8)
        frames = np.stack([Image.fromarray(f).resize((sizes.size, sizes.size)) for f in small])
        for i, frame in enumerate(frames):
            Image.fromarray(frame).save(root / "faces" / f"{name}_{i}.jpg", quality=95)
        row = {
            "duration": sizes.seconds,
            "n_frames": len(frames),
            "face_rate": 1.0,
            "silent": False,
            "uses_spare_audio": False,
        }
        mel = spectrograms.mel_spectrogram(sound, RATE).astype(np.float16)
        text = np.frombuffer(json.dumps(row).encode(), np.uint8)
        np.savez(parts / f"{number:06d}.npz", row=text, frames=frames, mel=mel)
        clips.append(
            Clip(path, path, True, "actors", actor, EMOTIONS[emotion], 1, 1, number // 24 + 1, name)
        )
    for folder in root.glob("Actor_*"):
        for number in range(len(list(folder.iterdir())), NAMES):
            (folder / f"03-00-00-00-00-{number:02d}-00.wav").touch()
    settings = {"image_size": sizes.size, "frames_per_clip": sizes.frames_per_clip}
    prepare.assemble(
        parts.parent,
        UnpreparedCorpus("actors", root, clips, [], settings),
        time.monotonic(),
    )
    return Store.open(parts.parent)


def from_store(
    opened: Store, faces: Pictures, mels: Pictures, rows: np.ndarray, flip: np.ndarray
) -> Batch:
    """The frames ``rows`` (B,) and their sounds, as training reads them.

    Frames are mirrored where ``flip`` (B,) is true.
    """
    return faces.batch(rows, flip), mels.batch(opened.frame_clip[rows])


def from_files(root: Path, files: list[Path], rows: np.ndarray, flip: np.ndarray) -> Batch:
    """The same batch as research code reads it.

    For each item it decodes the JPEG, globs for the sound, and computes the mel.
    """
    pictures, mels = [], []
    for row, mirrored in zip(rows, flip):
        picture = np.asarray(Image.open(files[row]).convert("RGB"), np.float32) / 255
        pictures.append(
            torch.from_numpy(picture[:, ::-1].copy() if mirrored else picture).permute(2, 0, 1)
        )
        clip = files[row].stem.rsplit("_", 1)[0]
        (path,) = root.glob(f"Actor_*/*{clip[2:]}.wav")
        sound, rate = soundfile.read(path, dtype="float32")
        mels.append(torch.from_numpy(spectrograms.mel_spectrogram(sound, rate))[None])
    return torch.stack(pictures), torch.stack(mels)


def copied(like: Batch, times: int) -> float:
    """Seconds that this machine needs to copy a batch in memory; the mean of ``times`` copies."""
    into = [torch.empty_like(x) for x in like]
    started = time.perf_counter()
    for _ in range(times):
        for x, y in zip(like, into):
            y.copy_(x)
    return (time.perf_counter() - started) / times


def input_rows(sizes: Sizes) -> list[Row]:
    """Seconds per batch of pictures and mel spectrograms, from the prepared store and from files.

    Both use one process.
    """
    with TemporaryDirectory() as folder:
        root = Path(folder)
        opened = simulate(root, sizes)
        faces, mels, rng = Pictures(opened.frames), Pictures(opened.mels), np.random.default_rng(1)
        files = [
            root / "faces" / f"{n}_{i}.jpg"
            for n in opened.clips.name
            for i in range(sizes.frames_per_clip)
        ]
        some, count = np.arange(len(faces)), sizes.items
        wanted = [
            (rng.choice(some, count, replace=False), rng.random(count) < 0.5) for _ in range(8)
        ]
        ours, theirs = (
            from_store(opened, faces, mels, *wanted[0]),
            from_files(root, files, *wanted[0]),
        )
        for a, b in zip(ours, theirs):
            assert a.shape == b.shape and (a - b).abs().mean() < 0.02, "not the same batch"

        def from_store_often() -> float:
            started = time.perf_counter()
            for rows, flip in wanted:
                from_store(opened, faces, mels, rows, flip)
            return (time.perf_counter() - started) / len(wanted)

        sides = {
            "ours": from_store_often,
            "other": lambda: from_files(root, files, *wanted[0]) and None,
        }
        seconds = interleaved(sides | {"copy": lambda: copied(ours, 8)}, sizes.repetitions)
    what = f"a batch of {sizes.items} faces with mels: prepared store / JPEG + glob + mel per item"
    share = float(np.median(seconds["copy"]) / np.median(seconds["ours"]))
    return [faster("input", what, seconds["ours"], seconds["other"], 50.0, share)]


def sparse(folder: Path, frames: int, per_clip: int = 100, size: int = 64) -> Path:
    """A prepared store of ``frames`` black pictures (size, size, 3).

    Its arrays are sparse files, which take no disk space.
    """
    clips = -(-frames // per_clip)
    shapes = {
        "frames": ((frames, size, size, 3), "|u1"),
        "mels": ((clips, spectrograms.N_MELS, spectrograms.N_MELS), "<f2"),
    }
    for name, (shape, kind) in shapes.items():
        np.lib.format.open_memmap(folder / f"{name}.npy", mode="w+", dtype=kind, shape=shape)
    np.save(folder / "frame_clip.npy", (np.arange(frames) // per_clip).astype(np.int32))
    pd.DataFrame({"name": range(clips)}).to_csv(folder / "clips.csv", index=False)
    pd.DataFrame(columns=["path", "reason"]).to_csv(folder / "skipped.csv", index=False)
    (folder / "card.json").write_text(
        json.dumps({"format": VERSIONS["preparation"], "frames": frames})
    )
    return folder


def store_rows(sizes: Sizes) -> list[Row]:
    """Megabytes of a process that reads every frame of a large store once, in random order.

    The libraries are included.
    """
    with TemporaryDirectory() as folder:
        path = sparse(Path(folder), sizes.stored)
        held = sum((path / f"{name}.npy").stat().st_size for name in store.ARRAYS) / MEGABYTE
        memory = in_child("store", folder=str(path), batch=128)
    what = (
        f"peak memory of a process that reads {sizes.stored:,} frames ({held:,.0f} MB) at random "
        "/ allowed"
    )
    return [within("store", what, "MB", memory["peak"], 1000.0, 1.0)]
