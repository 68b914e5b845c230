"""Tables and pictures of notebook 02: the face VAE-GAN."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from cmlib.evaluation import judges
from cmlib.experiment.run import Run
from cmlib.figures.figure import Notebook, computed_once, faces
from cmlib.models import VaeGan
from cmlib.models.vaegan import INFERENCE_BATCH
from cmlib.plots import kinds
from cmlib.plots import notebook_02 as plots
from cmlib.training import vaegan
from cmlib.training.batches import TrainingData

notebook = Notebook("02_face_vae", needs=faces)
NEVER = -1e9  # log probability of a class that a probe has not met


@computed_once
def network(run: Run) -> VaeGan:
    return run.vaegan("face")


def validation_clips(run: Run) -> pd.DataFrame:
    """Labelled validation clips with a picture, the weak expressions first."""
    table = run.store.clips.iloc[run.labelled(run.split.val)]
    return table[table.n_frames > 0].sort_values(["intensity", "name"], kind="stable")


def clips_to_show(run: Run) -> pd.DataFrame:
    """One of the three strongest validation clips of each emotion; ``row`` is its middle frame."""
    strongest = validation_clips(run).groupby("label").tail(3)
    shown = strongest.groupby("label").sample(1, random_state=run.seed)
    return shown.assign(row=shown.first_frame + shown.n_frames // 2)


@computed_once
def short_training(run: Run) -> tuple[pd.DataFrame, list]:
    """Train six epochs from random weights on few frames: (history, reconstructions by epoch)."""
    rows = clips_to_show(run).row.to_numpy()
    x = run.faces.batch(rows)
    epochs = []

    def watch(unfinished: VaeGan, _) -> None:
        epochs.append(list(unfinished(x)[0].detach().clamp(0, 1)))

    frames = run.frames_of(run.split.train, labelled=False)
    few = frames[:: max(1, len(frames) // 840)]
    short = dataclasses.replace(
        run.profile.face,
        epochs=6,
        start="",
        label_weight=0.0,
        learning_rate=1e-3,
        schedule="cosine",
    )
    data = TrainingData(run.faces, train=few, validation=rows)
    _, history = vaegan.train_vaegan(data, short, seed=run.seed, on_epoch=watch)
    return history, epochs


@notebook.figure(
    "02_learning",
    plots.learning,
    "what a short training paints after each epoch",
    work="trains another network for six epochs",
)
def learning(run: Run) -> dict:
    history, epochs = short_training(run)
    shown = clips_to_show(run)
    originals = list(run.faces.batch(shown.row.to_numpy()))
    emotions = list(shown.emotion)
    return {"originals": originals, "epochs": epochs, "emotions": emotions, "table": history}


@notebook.figure("02_loss_curves", plots.loss_curves, "training of the face VAE-GAN")
def loss_curves(run: Run) -> dict:
    history = run.history("face")
    if history is None:
        return {"table": short_training(run)[0], "short": True}
    return {"table": history, "short": False}


@torch.no_grad()
def reconstruct(run: Run, rows: np.ndarray) -> Tensor:
    """Reconstructions (N, 3, S, S) in 0...1 from the latent means of the pictures ``rows`` (N,)."""
    batches = np.array_split(rows, -(-len(rows) // INFERENCE_BATCH))
    return torch.cat([network(run)(run.faces.batch(batch))[0].clamp(0, 1) for batch in batches])


@notebook.figure("02_reconstructions", plots.reconstructions, "faces of strangers, reconstructed")
def reconstructions(run: Run) -> dict:
    shown = clips_to_show(run)
    rows = shown.row.to_numpy()
    originals = list(run.faces.batch(rows))
    decoded = list(reconstruct(run, rows))
    return {"originals": originals, "decoded": decoded, "emotions": list(shown.emotion)}


@notebook.figure("02_prior_samples", plots.prior_samples, "faces of nobody, decoded from the prior")
@torch.no_grad()
def prior_samples(run: Run) -> dict:
    torch.manual_seed(run.seed)
    latents = torch.randn(16, run.profile.face.latent)
    return {"pictures": list(network(run).decoder(latents))}


@notebook.figure("02_interpolation", plots.interpolation, "the way between two faces")
@torch.no_grad()
def interpolation(run: Run) -> dict:
    """``walks`` lead from one face to another; ``names`` (one per walk) say from which to which.

    The first walk joins two strong expressions of one actor, the second the first expression of two
    actors. Each face is the middle frame of its clip, where an expression is at its height.
    """
    clips = validation_clips(run)
    strong = clips.loc[clips.intensity == clips.intensity.max()]
    strong = strong.drop_duplicates(["actor", "emotion"])
    of_one_actor = strong.loc[strong.actor == strong.actor.iloc[0]]
    first, last = (_emotion_or_any(of_one_actor, emotion) for emotion in ("happy", "angry"))
    others = strong.loc[strong.actor != first.actor]
    other = _emotion_or_any(others if len(others) else strong, first.emotion)
    steps = torch.linspace(0, 1, 7)[:, None]
    walks = []
    for ends in ((first, last), (first, other)):
        frames = np.array([clip.first_frame + clip.n_frames // 2 for clip in ends])
        start, end = network(run).encoder(run.faces.batch(frames)).mu
        walks.append(list(network(run).decoder((1 - steps) * start + steps * end)))
    names = [
        f"actor {first.actor},\n{first.emotion} to {last.emotion}",
        f"{first.emotion}, actor\n{first.actor} to actor {other.actor}",
    ]
    return {"walks": walks, "steps": steps[:, 0].tolist(), "names": names}


def _emotion_or_any(clips: pd.DataFrame, emotion: str) -> pd.Series:
    """The first clip of an emotion, or the last clip where there is none, as in a small corpus."""
    chosen = clips[clips.emotion == emotion]
    return chosen.iloc[0] if len(chosen) else clips.iloc[-1]


@notebook.figure("02_latents", plots.latents, "latents of the faces of strangers")
def latents(run: Run) -> dict:
    frames = run.frames_of(run.split.val)
    clips = run.store.clips.iloc[run.frame_clip[frames]]
    return {"points": run.face_latents.mu[0].numpy()[frames], "emotions": list(clips.emotion)}


@computed_once
def three_scores(run: Run) -> dict[str, dict]:
    """``run.scores`` on validation actors, for readers that learn from training actors.

    A judge reads real crops and reconstructions; a linear probe reads latents.
    """
    train, val = run.frames_of(run.split.train), run.frames_of(run.split.val)
    labels = run.clip_labels[run.frame_clip]
    z = run.face_latents.mu[0].numpy()

    # The penalty of the probe is chosen by cross-validation over training actors.
    actors = run.store.clips.actor.to_numpy()[run.frame_clip[train]]
    folds = GroupKFold(min(5, len(np.unique(actors))))
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500))
    penalties = {"logisticregression__C": [1e-4, 1e-3, 1e-2, 1e-1]}
    probe = GridSearchCV(pipeline, penalties, cv=folds)
    probe = probe.fit(z[train], labels[train], groups=actors)
    linear = np.full((len(val), len(run.classes)), NEVER)
    linear[:, probe.classes_] = probe.predict_log_proba(z[val])

    epochs = 4 if run.profile_name == "smoke" else 12
    judge = judges.train_judge(run.faces, train[::2], labels, epochs=epochs, seed=run.seed)
    answers = {
        "judge on real crops": judges.predict(judge, run.faces.batch(val)),
        "linear probe on the latent": linear,
        "judge on reconstructions": judges.predict(judge, reconstruct(run, val)),
    }
    return {reader: run.scores(answer, val) for reader, answer in answers.items()}


@notebook.figure(
    "02_three_numbers",
    plots.three_numbers,
    "where the expression gets lost",
    work="trains a judge and a probe",
)
def three_numbers(run: Run) -> dict:
    table = kinds.score_table(three_scores(run), "where")
    return {"table": table, "chance": 1 / len(run.classes)}
