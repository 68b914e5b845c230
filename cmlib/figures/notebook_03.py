"""Tables and pictures of notebook 03: the voice VAE-GAN."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from cmlib.experiment.run import Run
from cmlib.figures.figure import Notebook, computed_once, history, voices
from cmlib.models import VaeGan
from cmlib.plots import kinds
from cmlib.plots import notebook_03 as plots

notebook = Notebook("03_voice_vae", needs=voices)
NEVER = -1e9  # decision value of a class that a reader has not met


@computed_once
def network(run: Run) -> VaeGan:
    """The voice VAE-GAN of the run."""
    return run.vaegan("voice")


def clips_to_show(run: Run) -> pd.DataFrame:
    """The strongest clip of each emotion of the first validation speaker, indexed by its row."""
    table = run.store.clips.iloc[run.labelled(run.split.val)]
    speaker = table[table.actor == table.actor.iloc[0]]
    speaker = speaker.sort_values(["intensity", "name"], kind="stable")
    return speaker.groupby("label").tail(1).sort_values("label")


@notebook.figure(
    "03_loss_curves", plots.loss_curves, "training of the voice VAE-GAN", needs=history("voice")
)
def loss_curves(run: Run) -> dict:
    """``table`` is the history of the voice VAE-GAN."""
    return {"table": run.history("voice")}


@notebook.figure("03_reconstructions", plots.reconstructions, "voices of a stranger, reconstructed")
@torch.no_grad()
def reconstructions(run: Run) -> dict:
    """The voices of ``clips_to_show``, and what the decoder makes of their latent means."""
    shown = clips_to_show(run)
    originals = run.mels.batch(shown.index.to_numpy())
    decoded = network(run)(originals)[0].clamp(0, 1)
    return {"originals": originals, "decoded": decoded, "emotions": list(shown.emotion)}


@notebook.figure(
    "03_samples_and_walk", plots.samples_and_walk, "voices of nobody, and the way between two moods"
)
@torch.no_grad()
def samples_and_walk(run: Run) -> dict:
    """``walk`` is a straight line in the latent, between the ends of ``clips_to_show``."""
    torch.manual_seed(run.seed)
    samples = network(run).decoder(torch.randn(7, run.profile.voice.latent))
    shown = clips_to_show(run)
    ends = run.mels.batch(shown.index.to_numpy()[[0, -1]])
    first, last = network(run).encoder(ends).mu
    steps = torch.linspace(0, 1, 7)[:, None]
    walk = network(run).decoder((1 - steps) * first + steps * last)
    emotions = shown.emotion
    return {"samples": samples, "walk": walk, "first": emotions.iloc[0], "last": emotions.iloc[-1]}


@notebook.figure("03_latents", plots.latents, "latents of the voices of strangers")
def latents(run: Run) -> dict:
    """``points`` (N, D) are the latent means of the validation clips."""
    rows = run.labelled(run.split.val)
    emotions = list(run.store.clips.emotion.iloc[rows])
    return {"points": run.voice_latents.mu.numpy()[rows], "emotions": emotions}


@computed_once
def spectrum_baseline(run: Run) -> tuple[Pipeline, np.ndarray]:
    """A support vector machine on simple statistics of spectrograms, fitted to training clips.

    Also returns the statistics (clips, 256): mean and standard deviation of each mel band over
    time.
    """
    spectrograms = run.store.mels[:].astype(np.float32)  # (clips, 128, 128)
    statistics = np.concatenate([spectrograms.mean(2), spectrograms.std(2)], 1)
    rows = run.labelled(run.split.train)
    machine = make_pipeline(StandardScaler(), SVC(C=3.0))
    return machine.fit(statistics[rows], run.clip_labels[rows]), statistics


def reader_scores(run: Run, clips: np.ndarray) -> dict[str, dict]:
    """``run.scores`` on clips, of the linear classifier on the latent and of the baseline."""
    machine, statistics = spectrum_baseline(run)
    frames = run.frames_of(clips)
    values = np.full((len(frames), len(run.classes)), NEVER)
    decisions = machine.decision_function(statistics[run.frame_clip[frames]])
    values[:, machine[-1].classes_] = decisions
    return {
        "linear on the latent": run.scores(run.log_probabilities("voice", frames), frames),
        "mean spectrum + SVM": run.scores(values, frames),
    }


@notebook.figure("03_voice_scores", plots.voice_scores, "emotion from the voice alone")
def voice_scores(run: Run) -> dict:
    """``table`` is ``reader_scores`` of the test clips: reader, score, value, low, high."""
    table = kinds.score_table(reader_scores(run, run.split.test), "reader")
    return {"table": table, "chance": 1 / len(run.classes), "corpus": run.corpus}
