"""Training the context attention network on latents that were encoded once."""

from __future__ import annotations

import dataclasses
import os
import time
from unittest.mock import patch

import numpy as np
import torch

from benchmarks.bare import ATTENTION, Recorder, seconds_alone
from benchmarks.measure import Row, Sizes, within
from cmlib.config import get_profile
from cmlib.models import Posterior
from cmlib.training.can import train_can

ALLOWED = 60.0  # seconds


def latents(clips: int, frames: int, width: int) -> tuple[Posterior, Posterior, np.ndarray]:
    """Random latents of faces and voices, and labels of 7 classes.

    Faces are (2 flips, clips * frames, width), and the voice of each (clips * frames, width).
    """
    generator = torch.Generator().manual_seed(0)
    face = Posterior(*torch.randn(2, 2, clips * frames, width, generator=generator))
    voice = Posterior(
        *(x.repeat_interleave(frames, 0) for x in torch.randn(2, clips, width, generator=generator))
    )
    return face, voice, np.repeat(np.arange(clips) % 8 - 1, frames)


def rows(sizes: Sizes) -> list[Row]:
    """Seconds of the trainings of the quick profile, one after the other, against those allowed.

    The share is that of the attention and the linear layers alone, counted in one epoch.
    """
    face, voice, labels = latents(sizes.can_clips, 8, sizes.can_latent)
    people = np.arange(len(labels)) // 8 % 14
    settings = dataclasses.replace(get_profile("quick").can, crowd=0.0)
    recorder = Recorder(ATTENTION)
    with patch.dict(os.environ, CM_QUIET="1"):
        with recorder:
            train_can(face, voice, labels, dataclasses.replace(settings, epochs=1), people=people)
        started = time.perf_counter()
        for seed in range(sizes.trainings):
            train_can(face, voice, labels, settings, people=people, seed=seed)
        seconds = time.perf_counter() - started
    share = seconds_alone(recorder.calls, least=20) * settings.epochs * sizes.trainings / seconds
    what = f"{sizes.trainings} CAN trainings of {len(labels):,} frames, quick profile / allowed"
    return [within("can", what, "s", seconds, ALLOWED, 1.0, share)]
