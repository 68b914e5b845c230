"""What a profile will cost on this machine before it starts: steps, time and memory of each stage, measured on a few steps.

Time and memory come from real training steps on random pictures, each in a process of its own.  Where the profile's
batch is larger than those tried, time is taken to grow in proportion, and memory along the line through both.
Encoding is not counted.
"""

from __future__ import annotations

import dataclasses
import json
import resource
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import torch

from cmlib import corpora
from cmlib.config import Profile, VaeGanConfig, get_profile
from cmlib.corpora import crowd
from cmlib.corpora.names import CLASSES, classes_of
from cmlib.corpora.splits import split
from cmlib.preparation.media import video_info
from cmlib.preparation.prepare import UnpreparedCorpus

STEPS = 3  # timed, after one to warm up
SMALL = (4, 16)  # batches that are tried, where the profile's is larger
SAMPLE = 24  # clips whose length is looked at, where every frame is kept


def plan(corpus: str = "actors", profile: Profile | str = "quick", fold: int = 1) -> pd.DataFrame:
    """A row for each VAE-GAN and for the latents: stage, pictures, epochs, steps, seconds_per_step, hours, memory_gb.

    ``memory_gb`` (1e9 bytes) is the peak of the process, or of the GPU where there is one.  CorpusError where the
    corpus is not there.
    """
    profile = get_profile(profile) if isinstance(profile, str) else profile
    clips = UnpreparedCorpus.scan(corpus, profile, None, corpora.cache_root()).recordings
    classes = classes_of(corpus, profile.neutral)
    table = pd.DataFrame(
        {"actor": [c.actor for c in clips], "labelled": [c.emotion in classes for c in clips]}
    )
    train = table.iloc[split(table, fold).train]
    each, seen = frames_per_clip(clips, profile), any(c.has_video for c in clips)
    people = len(crowd.table(limit=profile.data.crowd_limit))
    rows = []
    if seen:
        rows.append(
            _row(
                "face", round(len(train) * each) + people, 3, profile.data.image_size, profile.face
            )
        )
    rows.append(_row("voice", len(train), 1, 128, profile.voice))
    labelled = int(train.labelled.sum()) * (round(each) if seen else 1)
    for name, settings in (("classifier", profile.classifier), ("can", profile.can)):
        seconds = _latent_step(name, profile)
        steps = -(-labelled // settings.batch) * settings.epochs
        rows.append(
            [name, labelled, settings.epochs, steps, seconds, steps * seconds / 3600, np.nan]
        )
    names = ["stage", "pictures", "epochs", "steps", "seconds_per_step", "hours", "memory_gb"]
    return pd.DataFrame(rows, columns=names)


def frames_per_clip(clips: list, profile: Profile) -> float:
    """Frames that are kept of a clip: the profile's number, or the mean length of a sample of clips."""
    if profile.data.frames_per_clip:
        return profile.data.frames_per_clip
    videos = [c for c in clips if c.has_video]
    picked = [
        videos[i]
        for i in np.linspace(0, len(videos) - 1, min(SAMPLE, len(videos))).round().astype(int)
    ]
    return (
        float(np.mean([len(c.frames) or video_info(c.path).frames for c in picked]))
        if picked
        else 0.0
    )


def _row(stage: str, pictures: int, channels: int, size: int, settings: VaeGanConfig) -> list:
    seconds, memory = cost(channels, size, settings) if settings.epochs else (0.0, 0.0)
    steps = -(-pictures // settings.batch) * settings.epochs
    return [stage, pictures, settings.epochs, steps, seconds, steps * seconds / 3600, memory / 1e9]


def cost(channels: int, size: int, settings: VaeGanConfig) -> tuple[float, float]:
    """(seconds, bytes at the peak) of one VAE-GAN training step of the profile's batch, forward and backward."""
    tried = [b for b in SMALL if b < settings.batch] or [settings.batch]
    answers = []
    for batch in tried:
        job = json.dumps(
            [channels, size, dataclasses.asdict(dataclasses.replace(settings, batch=batch))]
        )
        done = subprocess.run(
            [sys.executable, "-m", "cmlib.experiment.plan", job], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(
                f"a training step at batch {batch} failed: {done.stderr.strip().splitlines()[-1]}"
            )
        answers.append(json.loads(done.stdout.splitlines()[-1]))
    if len(tried) == 1:
        return tuple(answers[0])
    (_, m0), (s1, m1) = answers
    more = (settings.batch - tried[1]) / (tried[1] - tried[0])
    return s1 * settings.batch / tried[1], m1 + max(m1 - m0, 0) * more


def _step(channels: int, size: int, settings: VaeGanConfig) -> tuple[float, float]:
    """The same for the batch as given, in this process."""
    from cmlib.training.batches import Pictures, TrainingData
    from cmlib.training.loop import launch
    from cmlib.training.vaegan import train_vaegan

    fabric, rng = launch(), np.random.default_rng(0)
    shape = (settings.batch * STEPS, size, size, 3)[: 3 + (channels == 3)]
    pictures = Pictures(
        rng.integers(0, 256, shape, np.uint8) if channels == 3 else rng.random(shape, np.float32)
    )
    for count in (1, STEPS):  # to warm up; to be timed
        started = time.perf_counter()
        rows = np.arange(count * settings.batch)
        one = dataclasses.replace(
            settings, epochs=1, start="", label_weight=0.0, accumulate=1
        )
        data = TrainingData(pictures, train=rows, validation=rows[:0], flips=False)
        train_vaegan(data, one, fabric=fabric)
        seconds = (time.perf_counter() - started) / count
    if fabric.device.type == "cuda":
        return seconds, float(torch.cuda.max_memory_allocated())
    unit = 1 if sys.platform == "darwin" else 1024
    return seconds, float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)


def _latent_step(name: str, profile: Profile) -> float:
    """Seconds of one step of the classifier or of the context attention network, on random latents."""
    from cmlib.models import Posterior
    from cmlib.training.can import train_can
    from cmlib.training.classifier import train_classifier

    settings = getattr(profile, name)
    count, rng = settings.batch, np.random.default_rng(0)
    labels, people = rng.integers(0, len(CLASSES), count), np.arange(count) % 2
    face, voice = (
        Posterior(torch.randn(*shape), torch.zeros(shape))
        for shape in ((1, count, profile.face.latent), (count, profile.voice.latent))
    )
    for epochs in (1, 4 * STEPS):  # to warm up; to be timed
        short, started = dataclasses.replace(settings, epochs=epochs), time.perf_counter()
        if name == "classifier":
            train_classifier(face, labels, short)
        else:
            train_can(
                face, voice, np.where(rng.random(count) < 0.1, -1, labels), short, people=people
            )
        seconds = (time.perf_counter() - started) / epochs
    return seconds


if __name__ == "__main__":
    job = json.loads(sys.argv[1])
    job[2]["milestones"] = tuple(job[2]["milestones"])
    print(json.dumps(_step(job[0], job[1], VaeGanConfig(**job[2]))))
