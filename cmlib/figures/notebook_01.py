"""Tables and pictures of notebook 01: what the corpus holds, and what becomes of a clip."""

from __future__ import annotations

import numpy as np
import pandas as pd

from cmlib import corpora
from cmlib.corpora.splits import fold_of
from cmlib.experiment.run import Run
from cmlib.figures.figure import FigureError, Notebook, clips, clips_with_faces, computed_once
from cmlib.plots import notebook_01 as plots
from cmlib.plots.palette import EMOTION_COLORS
from cmlib.preparation import media, spectrograms, tracking

notebook = Notebook("01_data_preparation", needs=clips)


@computed_once
def scanned(run: Run) -> tuple[list, list]:
    """Scan the corpus in the folder where it lies: (clips, files left out)."""
    pair = corpora.split_pair(run.corpus)
    voices = corpora.current_root(pair[1]) if pair else None
    return corpora.scan(run.corpus, corpora.current_root(run.corpus), voices)


def example_clip(run: Run):
    """A clip with pictures, happy and strong, or the nearest to it that there is."""
    all_clips, _ = scanned(run)
    return min(all_clips, key=lambda c: (not c.has_video, c.emotion != "happy", c.intensity != 2))


def emotions_of(run: Run) -> list[str]:
    """The emotions of the corpus, in the order of their colours."""
    all_clips, _ = scanned(run)
    return sorted({clip.emotion for clip in all_clips}, key=list(EMOTION_COLORS).index)


@notebook.figure("01_crops", plots.crops, "the face in eight frames of a clip", clips_with_faces)
def crops(run: Run) -> dict:
    """``pictures`` are crops (S, S, 3) uint8 of eight frames of ``example_clip``."""
    clip = example_clip(run)
    if not clip.has_video:
        raise FigureError(f"01_crops: the corpus {run.corpus} has no clip with pictures")
    frames, _ = media.read_video(clip.path, count=8)
    pictures, _ = tracking.crop_faces(list(frames), run.profile.data.image_size)
    return {"pictures": list(pictures)}


@notebook.figure("01_mel", plots.mel, "a voice as a mel spectrogram")
def mel(run: Run) -> dict:
    """``spectrogram`` is that of ``example_clip``, (128, 128) in 0...1."""
    clip = example_clip(run)
    waveform, rate = media.read_audio(clip.audio_path or clip.path)
    spectrogram = spectrograms.mel_spectrogram(spectrograms.resample(waveform, rate))
    return {"spectrogram": spectrogram, "emotion": clip.emotion, "actor": clip.actor}


@notebook.figure(
    "01_faces", plots.faces, "four actors, a crop of each emotion", needs=clips_with_faces
)
def faces(run: Run) -> dict:
    """``pictures`` are the middle crops of a strong clip of each emotion, of four actors."""
    filmed = run.store.clips.loc[run.store.clips.n_frames > 0].sort_values("intensity")
    everybody = sorted(filmed.actor.unique())
    actors = everybody[:: max(1, len(everybody) // 4)][:4]
    emotions = emotions_of(run)
    grid = []
    for actor in actors:
        strongest = filmed[filmed.actor == actor].groupby("emotion").tail(1).set_index("emotion")
        middle = strongest.first_frame + strongest.n_frames // 2
        grid.append([run.store.frames[middle[e]] if e in middle else None for e in emotions])
    return {"pictures": grid, "actors": actors, "emotions": emotions}


@notebook.figure("01_mean_voices", plots.mean_voices, "the mean spectrogram of each emotion")
def mean_voices(run: Run) -> dict:
    """``spectrograms`` are the mean spectrograms (128, 128) of all clips of each emotion."""
    clip_emotions = run.store.clips.emotion
    means = {}
    for emotion in emotions_of(run):
        rows = np.flatnonzero(clip_emotions == emotion)
        if len(rows):
            means[emotion] = run.store.mels[rows].astype(np.float32).mean(0)
    return {"spectrograms": means}


@notebook.figure("01_folds", plots.folds, "who trains, validates and tests in each fold")
def folds(run: Run) -> pd.DataFrame:
    """A row for each fold, a column for each actor: 2 tests, 1 validates, 0 trains."""
    actors = sorted(set(run.store.clips.actor))
    tested_in = np.array([fold_of(actor) - 1 for actor in actors])
    tests = np.array([tested_in == fold for fold in range(5)])
    validates = np.array([tested_in == (fold + 1) % 5 for fold in range(5)])
    return pd.DataFrame(2 * tests + validates, range(1, 6), actors)
