"""What a profile will cost on this machine before it starts: steps, time and memory of each stage.

Time and memory come from a few real training steps on random pictures, each in a process of its
own. Where the profile's batch is larger than those tried, time is taken to grow in proportion, and
memory along the line through both. Encoding is not counted.
"""

from __future__ import annotations

import dataclasses
import json
import math
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from cmlib import corpora
from cmlib.config import Profile, VaeGanConfig, get_profile
from cmlib.corpora import Clip, crowd
from cmlib.corpora.names import CLASSES, classes_of
from cmlib.corpora.splits import split
from cmlib.preparation.media import video_info
from cmlib.preparation.unprepared import UnpreparedCorpus

TIMED_STEPS = 3  # after one to warm up
TIMED_LATENT_EPOCHS = 12  # of one step each, after one to warm up
TRIED_BATCHES = (4, 16)  # batch sizes that are measured where the profile's is larger
SAMPLED_CLIPS = 24  # clips whose length is measured, where every frame is kept
FACE_CHANNELS, VOICE_CHANNELS = 3, 1
VOICE_SIZE = 128  # mel bands, frames
COLUMNS = ["stage", "pictures", "epochs", "steps", "seconds_per_step", "hours", "memory_gb"]


@dataclass(frozen=True)
class StepCost:
    """Seconds of one training step, and bytes at the peak of the process, or of the GPU."""

    seconds: float
    memory: float


def plan(corpus: str = "actors", profile: Profile | str = "quick", fold: int = 1) -> pd.DataFrame:
    """The expected cost of each VAE-GAN, of the classifier and of the context network, in rows.

    Columns: stage, pictures, epochs, steps, seconds_per_step, hours, memory_gb. ``memory_gb`` (1e9
    bytes) is the peak of the process, or of the GPU where there is one. CorpusError if the corpus
    is missing.
    """
    profile = get_profile(profile) if isinstance(profile, str) else profile
    clips = UnpreparedCorpus.scan(corpus, profile, None, corpora.cache_root()).recordings
    classes = classes_of(corpus, profile.neutral)
    table = pd.DataFrame(
        {
            "actor": [clip.actor for clip in clips],
            "has_label": [clip.emotion in classes for clip in clips],
            "picture": [str(clip.path) for clip in clips],
            "sound": [str(clip.audio_path or clip.path) for clip in clips],
        }
    )
    training = table.iloc[split(table, fold).train]
    faces, voices = training, training
    if any(clip.is_pair for clip in clips):  # each picture and each voice is learnt once
        faces, voices = training.drop_duplicates("picture"), training.drop_duplicates("sound")
    has_faces = any(clip.has_video for clip in clips)
    frames = mean_frames_per_clip(clips, profile)

    rows = []
    if has_faces:
        n_faces = round(len(faces) * frames) + len(crowd.table(limit=profile.data.crowd_limit))
        size = profile.data.image_size
        rows.append(_vaegan_row("face", n_faces, FACE_CHANNELS, size, profile.face))
    rows.append(_vaegan_row("voice", len(voices), VOICE_CHANNELS, VOICE_SIZE, profile.voice))
    n_labelled = int(training.has_label.sum()) * (round(frames) if has_faces else 1)
    for stage in ("classifier", "can"):
        rows.append(_latent_row(stage, n_labelled, profile))
    return pd.DataFrame(rows, columns=pd.Index(COLUMNS))


def mean_frames_per_clip(clips: Sequence[Clip], profile: Profile) -> float:
    """Frames kept of a clip: the profile's number, or the mean length of a sample of clips."""
    if profile.data.frames_per_clip:
        return profile.data.frames_per_clip
    videos = [clip for clip in clips if clip.has_video]
    if not videos:
        return 0.0
    count = min(SAMPLED_CLIPS, len(videos))
    spread = np.linspace(0, len(videos) - 1, count).round().astype(int)
    lengths = [len(videos[i].frames) or video_info(videos[i].path).frames for i in spread]
    return float(np.mean(lengths))


def _vaegan_row(
    stage: str, pictures: int, channels: int, size: int, settings: VaeGanConfig
) -> list:
    cost = StepCost(0.0, 0.0)
    if settings.epochs:
        cost = measure_vaegan_step(channels, size, settings)
    steps = math.ceil(pictures / settings.batch) * settings.epochs
    return _row(stage, pictures, settings.epochs, steps, cost)


def _latent_row(stage: str, examples: int, profile: Profile) -> list:
    """The row of a stage that trains on latents; its memory is too small to be worth a number."""
    settings = getattr(profile, stage)
    steps = math.ceil(examples / settings.batch) * settings.epochs
    cost = StepCost(measure_latent_step(stage, profile), np.nan)
    return _row(stage, examples, settings.epochs, steps, cost)


def _row(stage: str, examples: int, epochs: int, steps: int, cost: StepCost) -> list:
    hours = steps * cost.seconds / 3600
    return [stage, examples, epochs, steps, cost.seconds, hours, cost.memory / 1e9]


# -------------------------------------------------------------------- measuring


def measure_vaegan_step(channels: int, size: int, settings: VaeGanConfig) -> StepCost:
    """One training step of a VAE-GAN with the batch of ``settings``, forward and backward.

    ``channels`` and ``size`` are those of its pictures. RuntimeError where a step fails.
    """
    batches = [batch for batch in TRIED_BATCHES if batch < settings.batch] or [settings.batch]
    costs = [_measure_in_process(channels, size, settings, batch) for batch in batches]
    if len(costs) == 1:
        return costs[0]
    # Time grows in proportion to the batch; memory grows by the same amount for each picture.
    small, large = costs
    small_batch, large_batch = batches
    seconds = large.seconds * settings.batch / large_batch
    growth = max(large.memory - small.memory, 0)
    steps_beyond = (settings.batch - large_batch) / (large_batch - small_batch)
    return StepCost(seconds, large.memory + growth * steps_beyond)


def _measure_in_process(channels: int, size: int, settings: VaeGanConfig, batch: int) -> StepCost:
    """Measure in a process of its own, so that its peak of memory is that of this step alone."""
    settings = dataclasses.replace(settings, batch=batch)
    job = json.dumps([channels, size, dataclasses.asdict(settings)])
    command = [sys.executable, "-m", "cmlib.experiment.plan", job]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    if process.returncode:
        reason = process.stderr.strip().splitlines()[-1]
        raise RuntimeError(f"a training step at batch {batch} failed: {reason}")
    return StepCost(*json.loads(process.stdout.splitlines()[-1]))


def _run_vaegan_steps(channels: int, size: int, settings: VaeGanConfig) -> StepCost:
    """What that process does: train on random pictures, and look at the clock and at the memory."""
    from cmlib.training.batches import Pictures, TrainingData
    from cmlib.training.loop import launch
    from cmlib.training.vaegan import train_vaegan

    fabric = launch()
    rng = np.random.default_rng(0)
    count = settings.batch * TIMED_STEPS
    if channels == FACE_CHANNELS:
        array = rng.integers(0, 256, (count, size, size, channels), np.uint8)
    else:
        array = rng.random((count, size, size), np.float32)
    pictures = Pictures(array)
    one_epoch = dataclasses.replace(settings, epochs=1, start="", label_weight=0.0, accumulate=1)
    seconds = 0.0
    for steps in (1, TIMED_STEPS):  # the first warms up, the second is timed
        started = time.perf_counter()
        rows = np.arange(steps * settings.batch)
        data = TrainingData(pictures, train=rows, validation=rows[:0], flips=False)
        train_vaegan(data, one_epoch, fabric=fabric)
        seconds = (time.perf_counter() - started) / steps
    if fabric.device.type == "cuda":
        return StepCost(seconds, float(torch.cuda.max_memory_allocated()))
    unit = 1 if sys.platform == "darwin" else 1024  # bytes on macOS, KiB on Linux
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return StepCost(seconds, float(peak * unit))


def measure_latent_step(stage: str, profile: Profile) -> float:
    """Seconds of one step of the stage "classifier" or "can", on random latents."""
    from cmlib.models import Classifier, Posterior
    from cmlib.training.can import train_can
    from cmlib.training.classifier import train_classifier

    settings = getattr(profile, stage)
    count = settings.batch
    rng = np.random.default_rng(0)
    labels = rng.integers(0, len(CLASSES), count)
    people = np.arange(count) % 2
    face_shape, voice_shape = (1, count, profile.face.latent), (count, profile.voice.latent)
    face = Posterior(torch.randn(face_shape), torch.zeros(face_shape))
    voice = Posterior(torch.randn(voice_shape), torch.zeros(voice_shape))
    seconds = 0.0
    for epochs in (1, TIMED_LATENT_EPOCHS):  # the first warms up, the second is timed
        short = dataclasses.replace(settings, epochs=epochs)
        started = time.perf_counter()
        if stage == "classifier":
            train_classifier(face, labels, short)
        else:
            some_unlabelled = np.where(rng.random(count) < 0.1, -1, labels)
            teacher = Classifier(profile.face.latent + profile.voice.latent, len(CLASSES))
            train_can(face, voice, some_unlabelled, short, people=people, teacher=teacher)
        seconds = (time.perf_counter() - started) / epochs
    return seconds


if __name__ == "__main__":
    channels, size, values = json.loads(sys.argv[1])
    for name, value in values.items():
        if isinstance(value, list):  # JSON has no tuples
            values[name] = tuple(value)
    cost = _run_vaegan_steps(channels, size, VaeGanConfig(**values))
    print(json.dumps(dataclasses.astuple(cost)))
