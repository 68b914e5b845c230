"""The lesson of leakage: one probe under three splits."""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from cmlib import metrics
from cmlib.corpora.splits import random_split
from cmlib.experiment.run import Run


def leakage(run: Run, seed: int = 0) -> pd.DataFrame:
    """The accuracy of one linear probe under three splits, of frames and of voices.

    Columns: sense ("face", "voice"), split, value, low, high.
    "actors apart" is the run's own split, "clips mixed" shuffles labelled clips, and "frames mixed"
    shuffles frames, so that frames of one clip are on both sides. Each uses about 60 % for
    training. The encoders were trained on the training actors, who are also among the test items of
    the two shuffled splits: that leak is part of the lesson.
    """
    rows = []
    for sense in ("face", "voice") if run.store.has_faces else ("voice",):
        if sense == "face":
            latents = run.face_latents.mu[0].numpy()
            clip_of_row = run.frame_clip
            splits = _face_splits(run, seed)
        else:
            latents = run.voice_latents.mu.numpy()
            clip_of_row = np.arange(len(run.store.clips))
            splits = _voice_splits(run, seed)
        labels = run.clip_labels[clip_of_row]
        actors = run.store.clips.actor.to_numpy()[clip_of_row]
        for name, (train, test) in splits.items():
            probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500))
            probe.fit(latents[train], labels[train])
            hits = probe.predict(latents[test]) == labels[test]
            interval = metrics.mean_interval(hits, actors[test], run.profile.bootstrap)
            rows.append({"sense": sense, "split": name, **interval})
    return pd.DataFrame(rows)


def _face_splits(run: Run, seed: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Rows of frames that a probe learns from and is tested on, by the name of the split."""
    labelled_frames = run.frames_of(np.flatnonzero(run.clip_labels >= 0))
    mixed_train, mixed_test = _mixed_clips(run, seed)
    frames = random_split(len(labelled_frames), seed)
    return {
        "actors apart": (run.frames_of(run.split.train), run.frames_of(run.split.test)),
        "clips mixed": (run.frames_of(mixed_train), run.frames_of(mixed_test)),
        "frames mixed": (labelled_frames[frames.train], labelled_frames[frames.test]),
    }


def _voice_splits(run: Run, seed: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Rows of clips that a probe learns from and is tested on, by the name of the split."""
    return {
        "actors apart": (run.labelled(run.split.train), run.labelled(run.split.test)),
        "clips mixed": _mixed_clips(run, seed),
    }


def _mixed_clips(run: Run, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Labelled clips in a random split: rows for training and for testing."""
    labelled_clips = np.flatnonzero(run.clip_labels >= 0)
    clips = random_split(len(labelled_clips), seed)
    return labelled_clips[clips.train], labelled_clips[clips.test]
