"""A corpus of millions of frames, simulated: the memory and the time of each stage.

``python -m benchmarks.large_corpus --frames 30000 300000 3000000`` writes a corpus of each size to
a temporary folder and runs each stage on it, in a process of its own. The arrays are files with
holes: nearly all of them reads as zeros and takes no room, but as much memory as any others would.
So the numbers say what a stage costs, and nothing about how well anything is recognised.

Of what takes the same time for each picture, a share is computed: encoding reads at most
``MOST_ENCODED`` pictures, spread over the whole file. Context attention learns from one frame in
``EXPRESSIVE`` and reads the scale and the directions of expression off all of them.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import resource
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from cmlib import provenance
from cmlib.arrays import open_array
from cmlib.config import get_profile
from cmlib.corpora.names import EMOTIONS
from cmlib.evaluation import judges, representations
from cmlib.evaluation.identity import Typicality
from cmlib.experiment.run import Run
from cmlib.models import Can, Classifier, Posterior, VaeGan
from cmlib.preparation.store import Store
from cmlib.training import encoding
from cmlib.training.batches import Pictures
from cmlib.training.can import train_can
from cmlib.training.classifier import train_classifier
from cmlib.training.latents import Latents, Part

SIZE, FRAMES_PER_CLIP, ACTORS, BATCH = 32, 100, 48, 1024
MOST_ENCODED, EXPRESSIVE, FRAMES_PER_PAIR = 3000, 50, 400
ALLOWED_GB = 4.0


class SimulatedRun(Run):
    """A run on a simulated corpus, with untrained networks."""

    def vaegan(self, kind, *arguments, **options):
        """The untrained network of ``kind`` "face" or "voice"."""
        return self.__dict__["networks"][kind]


def write_array(path: Path, shape: tuple[int, ...], dtype: str) -> None:
    """A ``.npy`` file of zeros that takes no room on the disk."""
    with open(path, "wb") as file:
        header = {"descr": dtype, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_2_0(file, header)
        file.truncate(file.tell() + int(np.prod(shape)) * np.dtype(dtype).itemsize)


def write_corpus(folder: Path, frames: int, latent: int) -> None:
    """A prepared corpus of so many frames, and the latents of its faces and voices."""
    clips = frames // FRAMES_PER_CLIP
    number = np.arange(clips)
    table = pd.DataFrame(
        {
            "name": number,
            "actor": 1 + number % ACTORS,
            "emotion": np.array(EMOTIONS)[number // ACTORS % len(EMOTIONS)],
            "first_frame": number * FRAMES_PER_CLIP,
            "n_frames": FRAMES_PER_CLIP,
            "file": number,
            "sound": number,
        }
    )
    table.to_csv(folder / "clips.csv", index=False)
    (folder / "skipped.csv").write_text("path,reason\n")
    write_array(folder / "frames.npy", (frames, SIZE, SIZE, 3), "|u1")
    write_array(folder / "mels.npy", (clips, 128, 128), "<f2")
    np.save(folder / "frame_clip.npy", np.repeat(number.astype(np.int32), FRAMES_PER_CLIP))
    version = provenance.VERSIONS["preparation"]
    card = {"format": version, "frames": frames, "key": "0", "corpus": "ravdess", "sha256": {}}
    (folder / "card.json").write_text(json.dumps(card))
    write_array(folder / "face.npy", (2, 2, frames, latent), "<f4")
    faces = np.load(folder / "face.npy", mmap_mode="r+")
    some = faces[0, 0, : ACTORS * len(EMOTIONS) * FRAMES_PER_CLIP]  # else no matrix has an inverse
    some[:] = np.random.default_rng(0).standard_normal(some.shape)
    write_array(folder / "voice.npy", (2, 1, clips, latent), "<f4")


def open_run(folder: Path) -> SimulatedRun:
    """The run on such a corpus."""
    run = SimulatedRun("ravdess", "quick", out_dir=str(folder / "run"))
    face = Posterior(*torch.from_numpy(open_array(folder / "face.npy", "c")))
    voice = Posterior(*torch.from_numpy(open_array(folder / "voice.npy", "c")))
    store = Store.open(folder)
    networks = {"face": VaeGan(3, SIZE, face.mu.shape[-1], 0.0625).eval().requires_grad_(False)}
    run.__dict__.update(
        store=store,
        faces=Pictures(store.frames),
        face_latents=face,
        voice_latents=voice.map(lambda views: views[0]),
        networks=networks,
    )
    return run


# -------------------------------------------------------------------- the stages


def reading(run: SimulatedRun) -> None:
    """Open the corpus, and find the frames of each part of the split."""
    for clips in (run.split.train, run.split.val, run.split.test):
        run.frames_of(clips)


def encode(run: SimulatedRun) -> None:
    """Encode pictures from all over the file."""
    step = max(1, len(run.faces) // MOST_ENCODED)
    rows = np.arange(0, len(run.faces), step)
    path = run.store.folder / "encoded.npy"
    encoding.encode_to_file(path, run.vaegan("face"), run.faces, rows, np.arange(len(rows)))


def classifier(run: SimulatedRun, name: str = "face") -> None:
    """An epoch of the classifier of a fusion."""
    rows = run.frames_of(run.split.train)
    settings = dataclasses.replace(run.profile.classifier, epochs=1, batch=BATCH)
    labels = run.clip_labels[run.frame_clip[rows]]
    train_classifier(run.latents(name, rows), labels, settings)


def concatenation(run: SimulatedRun) -> None:
    """The same on faces and voices side by side."""
    classifier(run, "concatenation")


def context(run: SimulatedRun) -> None:
    """An epoch of context attention, with its scale and directions."""
    rows = run.frames_of(run.split.train, labelled=False)
    labels = run.clip_labels[run.frame_clip[rows]]
    labels = np.where(np.arange(len(rows)) % EXPRESSIVE, -1, labels)
    quick = get_profile("quick").can
    settings = dataclasses.replace(
        quick, epochs=1, batch=BATCH, crowd=0.0, directions=2, directions_of="both"
    )
    people = run.store.clips.actor.to_numpy()[run.frame_clip[rows]]
    faces = Latents(Part(run.face_latents, rows))
    train_can(faces, run.voices_of(rows), labels, settings, people=people)


def prediction(run: SimulatedRun) -> None:
    """Predictions of context attention for all test frames, and their scores."""
    latent = run.face_latents.mu.shape[-1]
    rows = run.frames_of(run.split.test)
    can = Can(latent, len(run.classes), attention="linear").eval().requires_grad_(False)
    run.scores(run.log_probabilities("can", rows, can), rows)
    fused = Classifier(2 * latent, len(run.classes)).eval().requires_grad_(False)
    run.log_probabilities("concatenation", rows, fused)


def typicality(run: SimulatedRun) -> None:
    """How typical the frames of validation actors are."""
    Typicality.of_run(run)


def representing(run: SimulatedRun) -> None:
    """Decode and judge mental representations of the test actors."""
    latent = run.face_latents.mu.shape[-1]
    can = Can(latent, len(run.classes), attention="linear").eval().requires_grad_(False)
    judge = judges.CnnJudge(len(run.classes), width=4).eval().requires_grad_(False)
    frames = run.frames_of(run.split.test)[:: max(1, FRAMES_PER_PAIR // 10)]
    pairs = representations.FaceVoicePairs(frames, run.frame_clip[frames])
    representations.measure(run, can, pairs, judge, strengths=(1.0,))


STAGES = (
    reading,
    encode,
    classifier,
    concatenation,
    context,
    prediction,
    typicality,
    representing,
)


# -------------------------------------------------------------------- measuring


def measure_here(stage: str, folder: Path) -> dict[str, float]:
    """Run a stage in this process: processor seconds, and gigabytes at the peak."""
    (work,) = (function for function in STAGES if function.__name__ == stage)
    torch.manual_seed(0)
    run = open_run(folder)
    started = time.process_time()
    work(run)
    seconds = time.process_time() - started
    unit = 1 if sys.platform == "darwin" else 1024  # bytes on macOS, KiB on Linux
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9
    return {"seconds": seconds, "peak_gb": peak}


def main(arguments: list[str] | None = None) -> int:
    """Print a line for each size and stage; 1 if one of them needs more than ``ALLOWED_GB``."""
    parser = argparse.ArgumentParser("python -m benchmarks.large_corpus", description=__doc__)
    parser.add_argument("--frames", type=int, nargs="+", default=[30_000, 300_000, 3_000_000])
    parser.add_argument("--latent", type=int, default=64)
    parser.add_argument("--stage", nargs="+", default=[function.__name__ for function in STAGES])
    parser.add_argument("--folder", type=Path, help="where the corpora are simulated")
    parser.add_argument("--start", default="fork" if sys.platform == "linux" else "spawn")
    options = parser.parse_args(arguments)
    peaks = []
    print(f"{'frames':>10} {'stage':<14}{'processor s':>12}{'peak GB':>9}")
    for frames in options.frames:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            write_corpus(Path(folder), frames, options.latent)
            for stage in options.stage:
                # A new process has the libraries, but nothing of the stages before it.
                with ProcessPoolExecutor(1, get_context(options.start)) as pool:
                    cost = pool.submit(measure_here, stage, Path(folder)).result()
                peaks.append(cost["peak_gb"])
                line = f"{cost['seconds']:>12.2f}{cost['peak_gb']:>9.2f}"
                print(f"{frames:>10,} {stage:<14}{line}", flush=True)
    return int(max(peaks) > ALLOWED_GB)


if __name__ == "__main__":
    sys.exit(main())
