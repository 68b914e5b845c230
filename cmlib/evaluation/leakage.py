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

# -------------------------------------------------------------------- lessons


def leakage(run: Run, seed: int = 0) -> pd.DataFrame:
    """The same linear probe under three splits: columns sense, split, value, low, high (accuracy of frames, of voices).

    "actors apart" is the run's own split, "clips mixed" shuffles labelled clips, "frames mixed" shuffles frames (a
    clip's are then on both sides).  About 60 % train in each.  The encoders have met the training actors, who are among
    the questions of the two shuffled splits: that leak is part of the lesson.
    """
    clips, done = np.flatnonzero(run.clip_labels >= 0), []
    drawn = random_split(len(clips), seed)
    apart, mixed = (run.split.train, run.split.test), (clips[drawn.train], clips[drawn.test])
    for sense in ("face", "voice") if run.store.has_faces else ("voice",):
        if sense == "face":
            latents, clip_of = run.face_latents.mu[0].numpy(), run.frame_clip
            frames = run.frames_of(clips)
            drawn = random_split(len(frames), seed)
            splits = {
                "actors apart": tuple(map(run.frames_of, apart)),
                "clips mixed": tuple(map(run.frames_of, mixed)),
                "frames mixed": (frames[drawn.train], frames[drawn.test]),
            }
        else:
            latents, clip_of = run.voice_latents.mu.numpy(), np.arange(len(run.store.clips))
            splits = {"actors apart": tuple(map(run.labelled, apart)), "clips mixed": mixed}
        labels, actors = run.clip_labels[clip_of], run.store.clips.actor.to_numpy()[clip_of]
        for name, (seen, asked) in splits.items():
            probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500))
            right = probe.fit(latents[seen], labels[seen]).predict(latents[asked]) == labels[asked]
            done.append(
                {
                    "sense": sense,
                    "split": name,
                    **metrics.mean_interval(right, actors[asked], run.profile.bootstrap),
                }
            )
    return pd.DataFrame(done)
