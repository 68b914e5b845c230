"""Tables of notebook 05: how context attention works, and what it does on validation actors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch

from cmlib import metrics
from cmlib.experiment.run import MODELS, Run
from cmlib.figures.figure import Notebook, computed_once, faces, history
from cmlib.models import Can, Posterior
from cmlib.plots import kinds
from cmlib.plots import notebook_05 as plots
from cmlib.training import losses

notebook = Notebook("05_context_attention", needs=faces)


@notebook.figure(
    "05_can_training",
    plots.can_training,
    "training of the context attention network",
    needs=history("can"),
)
def can_training(run: Run) -> dict:
    """``table`` is the history of the context attention network."""
    return {"table": run.history("can")}


@computed_once
def can(run: Run) -> Can:
    """The context attention network of the run."""
    return run.can()


def face_in_units(run: Run, face: Posterior) -> torch.Tensor:
    """Face latents (B, D), scaled as the attention reads them."""
    return (face.mu - can(run).face_mean) / can(run).face_spread


def voice_in_units(run: Run, voice: Posterior) -> torch.Tensor:
    """Voice latents (B, D), scaled as the attention reads them."""
    return (voice.mu - can(run).voice_mean) / can(run).voice_spread


@notebook.figure(
    "05_attention_map", plots.attention_map, "the attention weights of one face and voice"
)
@torch.no_grad()
def attention_map(run: Run) -> dict:
    """Weights (D, D) of the first validation face and its voice, sorted by query and by key.

    ``queries`` and ``keys`` (D,) are in the order of the rows and of the columns.
    """
    face, voice = run.paired(run.frames_of(run.split.val)[:1])
    attention = can(run).att_mu
    query = attention.query(voice_in_units(run, voice))[0].sort().values
    key = attention.key(face_in_units(run, face))[0].sort().values
    weights = torch.softmax(query[:, None] * key[None, :], dim=1)
    return {"weights": weights / weights.amax(1, keepdim=True), "queries": query, "keys": key}


def faces_of_one_actor(run: Run) -> pd.Series:
    """The first frame of each emotion, of the first actor among the validation frames."""
    frames = run.frames_of(run.split.val)
    table = run.store.clips.iloc[run.frame_clip[frames]].assign(frame=frames)
    first_actor = table[table.actor == table.actor.iloc[0]]
    by_emotion = first_actor.drop_duplicates("emotion").set_index("emotion")
    return by_emotion.frame[[e for e in run.classes if e in by_emotion.index]]


@notebook.figure(
    "05_attention_functions",
    plots.attention_functions,
    "attention as a function of the query, for seven faces of one actor",
)
@torch.no_grad()
def attention_functions(run: Run) -> pd.DataFrame:
    """Columns query, over the range of queries of training voices, and the output for each face."""
    frames = faces_of_one_actor(run)
    face, _ = run.paired(frames.to_numpy())
    _, training_voices = run.paired(run.frames_of(run.split.train))
    attention = can(run).att_mu
    queries = attention.query(voice_in_units(run, training_voices)).numpy()
    lowest, highest = np.quantile(queries, [0.001, 0.999])
    points = torch.linspace(float(lowest), float(highest), 121)
    outputs = attention.response(face_in_units(run, face), points)
    table = pd.DataFrame(outputs.T.numpy(), columns=list(frames.index))
    return table.assign(query=points.numpy())


@notebook.figure(
    "05_attention_function_one_face",
    plots.attention_function_one_face,
    "attention as a function of the query, for one face and voice",
)
@torch.no_grad()
def attention_function_one_face(run: Run) -> dict:
    """``table`` holds query and output of the first of ``faces_of_one_actor`` with its voice."""
    frames = faces_of_one_actor(run)
    face, voice = run.paired(frames.to_numpy()[:1])
    attention, units = can(run).att_mu, face_in_units(run, face)
    values = attention.value(units)[0]
    queries = attention.query(voice_in_units(run, voice))[0]
    return {
        "table": attention_functions(run).loc[:, ["query", frames.index[0]]],
        "bounds": (float(values.min()), float(values.max())),
        "queries": queries,
        "outputs": attention.response(units, queries)[0],
    }


@torch.no_grad()
def weights_at(run: Run, queries: Sequence[float]) -> pd.DataFrame:
    """The attention weights of the first of ``faces_of_one_actor`` at ``queries``.

    A row for each query and dimension, with the columns query, key, value and weight.
    """
    face, _ = run.paired(faces_of_one_actor(run).to_numpy()[:1])
    attention, units = can(run).att_mu, face_in_units(run, face)
    key, value = attention.key(units)[0], attention.value(units)[0]  # (D,) each
    tables = []
    for query in queries:
        weight = torch.softmax(query * key, dim=0)  # (D,)
        columns = {"key": key.numpy(), "value": value.numpy(), "weight": weight.numpy()}
        tables.append(pd.DataFrame(columns).assign(query=query))
    return pd.concat(tables, ignore_index=True)


@notebook.figure(
    "05_attention_at",
    plots.attention_at,
    "the weights of one face, and its output, at five queries",
)
def attention_at(run: Run) -> dict:
    """Five queries from the lowest to the highest of training voices, zero among them."""
    functions = attention_functions(run)
    lowest, highest = functions["query"].iloc[0], functions["query"].iloc[-1]
    weights = weights_at(run, [lowest, lowest / 10, 0.0, highest / 10, highest])
    return {"table": weights, "curve": functions[["query", functions.columns[0]]]}


@notebook.figure(
    "05_validation_accuracy", plots.validation_accuracy, "clip accuracy on validation actors"
)
def validation_accuracy(run: Run) -> dict:
    """``table`` has the scores of ``MODELS``: model, score, value, low, high."""
    frames = run.frames_of(run.split.val)
    scores = {name: run.scores(run.log_probabilities(name, frames), frames) for name in MODELS}
    return {"table": kinds.score_table(scores), "chance": 1 / len(run.classes)}


@notebook.figure("05_kl_shift", plots.kl_shift, "how far the voice moves the face, per emotion")
@torch.no_grad()
def kl_shift(run: Run) -> pd.DataFrame:
    """Columns emotion, kl (mean divergence of face and shifted face, in nats), low, high."""
    frames = run.frames_of(run.split.val)
    clips = run.frame_clip[frames]
    face, voice = run.paired(frames)
    kl = losses.kl_between(*face, *can(run).shift(face, voice)).numpy()
    labels, actors = run.clip_labels[clips], run.store.clips.actor.to_numpy()[clips]
    rows = []
    for label in np.unique(labels):
        same = labels == label
        interval = metrics.mean_interval(kl[same], actors[same], run.profile.bootstrap)
        kl_interval = {"kl": interval["value"], "low": interval["low"], "high": interval["high"]}
        rows.append({"emotion": run.classes[label], **kl_interval})
    return pd.DataFrame(rows)
