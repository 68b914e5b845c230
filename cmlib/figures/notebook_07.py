"""Tables and pictures of notebook 07: what a face becomes in the context of a voice."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from cmlib import metrics
from cmlib.evaluation import representations
from cmlib.experiment.run import Run, example, neutral_rows
from cmlib.figures.figure import Notebook, computed_once, neutral_faces
from cmlib.figures.notebook_06 import trained_folds
from cmlib.models import Posterior
from cmlib.perceiver import EncodedFace, EncodedVoice, Perceiver, Perception
from cmlib.plots import notebook_07 as plots
from cmlib.training import losses

notebook = Notebook("07_mental_representations", needs=neutral_faces)

# -------------------------------------------------------------------- one neutral face


@computed_once
def perceiver(run: Run) -> Perceiver:
    """The networks of the run."""
    return run.perceiver()


def actors_of_frames(run: Run) -> np.ndarray:
    """The actor of each frame of the corpus, (N,)."""
    return run.store.clips.actor.to_numpy()[run.frame_clip]


@computed_once
def first_face(run: Run) -> tuple[int, EncodedFace]:
    """The first test actor with a neutral face: (actor, the encoded face)."""
    frame = neutral_rows(run, run.split.test)[0]
    return int(actors_of_frames(run)[frame]), perceiver(run).encode_face(run.store.frames[frame])


def clips_heard(run: Run) -> dict[str, int]:
    """A test clip of each emotion that there is, of the actor of ``first_face`` if possible."""
    actor, _ = first_face(run)
    clips = {e: example(run, run.split.test, e, actor) for e in run.classes}
    return {emotion: clip for emotion, clip in clips.items() if clip is not None}


@computed_once
def voices(run: Run) -> dict[str, EncodedVoice]:
    """The voices of ``clips_heard``, encoded, by emotion."""
    mels = run.store.mels
    return {e: perceiver(run).encode_voice(mels[clip]) for e, clip in clips_heard(run).items()}


@computed_once
def perceptions(run: Run) -> dict[str, Perception]:
    """The first face in the context of each of ``voices``."""
    _, seen = first_face(run)
    return {e: perceiver(run).perceive(seen, voice) for e, voice in voices(run).items()}


@notebook.figure("07_one_perception", plots.one_perception, "one face in the context of one voice")
def one_perception(run: Run) -> dict:
    """The first face in the context of a happy voice, or of another where there is none."""
    of_voices = perceptions(run)
    clips = clips_heard(run)
    emotion = "happy" if "happy" in of_voices else min(clips, key=clips.__getitem__)
    return {"perception": of_voices[emotion]}


@notebook.figure(
    "mental_representations",
    plots.mental_representations,
    "one neutral face in the context of seven voices",
)
def mental_representations(run: Run) -> dict:
    """The first face with each voice; ``table`` holds the class probabilities, a row per voice."""
    probabilities = {emotion: p.probabilities for emotion, p in perceptions(run).items()}
    table = pd.DataFrame(probabilities, index=run.classes).T
    return {"perceptions": perceptions(run), "table": table.rename_axis("voice").reset_index()}


@notebook.figure(
    "07_strength_strip", plots.strength_strip, "the same face while context is turned up"
)
def strength_strip(run: Run) -> dict:
    """The first face with three voices, each at six strengths from 0 to 1."""
    _, seen = first_face(run)
    strips = {}
    for emotion in ("happy", "sad", "surprised"):
        if emotion in voices(run):
            voice = voices(run)[emotion]
            strengths = np.linspace(0, 1, 6)
            strips[emotion] = [perceiver(run).perceive(seen, voice, t) for t in strengths]
    return {"perceptions": strips}


# -------------------------------------------------------------------- all neutral faces


@notebook.figure(
    "07_neutral_faces_in_context",
    plots.neutral_faces_in_context,
    "a neutral face of every test actor in the context of seven voices",
)
def neutral_faces_in_context(run: Run) -> dict:
    """``pictures`` (S, S, 3) by actor: original, reconstruction, and with each voice."""
    pictures = []
    actors = []
    emotions = list(clips_heard(run))
    for frame in neutral_rows(run, run.split.test):
        actor = int(actors_of_frames(run)[frame])
        seen = perceiver(run).encode_face(run.store.frames[frame])
        row = [seen.picture, seen.reconstruction]
        for emotion in emotions:
            clip = example(run, run.split.test, emotion, actor)
            row.append(perceiver(run).perceive(seen, run.store.mels[clip]).perceived)
        pictures.append(row)
        actors.append(actor)
    return {"pictures": pictures, "actors": actors, "emotions": emotions}


@computed_once
def shifts(run: Run) -> tuple[pd.DataFrame, np.ndarray]:
    """One neutral face of each test actor with each labelled voice of that actor.

    Returns a table with a row for each pair, and the changes of the pictures (pairs, S, S, 3). The
    columns are actor, emotion (of the voice), kl (of the shift, in nats) and moved (root mean
    square change of the pixels).
    """
    neutral_frames = neutral_rows(run, run.split.test)
    labelled_clips = run.labelled(run.split.test)
    actor_of_clip = run.store.clips.actor.to_numpy()
    same_actor = actors_of_frames(run)[neutral_frames][:, None] == actor_of_clip[labelled_clips]
    face_index, voice_index = np.nonzero(same_actor)
    frames = neutral_frames[face_index]
    clips = labelled_clips[voice_index]

    face, voice, shifted = shifted_by(run, frames, clips)
    change = perceiver(run).decode(shifted.mu) - perceiver(run).decode(face.mu)
    table = pd.DataFrame(
        {
            "actor": actor_of_clip[clips],
            "emotion": [run.classes[label] for label in run.clip_labels[clips]],
            "kl": losses.kl_between(*face, *shifted).numpy(),
            "moved": np.sqrt((change**2).mean((1, 2, 3))),
        }
    )
    return table, change


@torch.no_grad()
def shifted_by(
    run: Run, frames: np.ndarray, clips: np.ndarray
) -> tuple[Posterior, Posterior, Posterior]:
    """Posteriors (N, D) of frames (N,), of the voices of clips (N,), and of the shifted faces."""
    face = run.face_latents.map(lambda latents: latents[0, frames])
    voice = run.voice_latents.map(lambda latents: latents[clips])
    return face, voice, perceiver(run).can.shift(face, voice)


def emotions_in_order(run: Run, table: pd.DataFrame) -> list[str]:
    """The emotions of a table, in the order of the classes."""
    return [emotion for emotion in run.classes if emotion in set(table.emotion)]


@notebook.figure("07_shift_size", plots.shift_size, "how much each voice changes a neutral face")
def shift_size(run: Run) -> pd.DataFrame:
    """Columns emotion, kl, and value, low, high of the change of pixels."""
    table, _ = shifts(run)
    rows = []
    for emotion in emotions_in_order(run, table):
        pairs = table[table.emotion == emotion]
        moved, actors = pairs.moved.to_numpy(), pairs.actor.to_numpy()
        pixels = metrics.mean_interval(moved, actors, run.profile.bootstrap)
        rows.append({"emotion": emotion, "kl": pairs.kl.to_numpy().mean(), **pixels})
    return pd.DataFrame(rows)


@notebook.figure(
    "07_where_faces_change", plots.where_faces_change, "where each voice changes a neutral face"
)
def where_faces_change(run: Run) -> dict:
    """``changes`` are the mean absolute changes (S, S) of pixels by emotion of the voice."""
    table, change = shifts(run)
    return {
        "changes": {
            emotion: np.abs(change[table.emotion == emotion]).mean((0, 3))
            for emotion in emotions_in_order(run, table)
        }
    }


# -------------------------------------------------------------------- conflicts


@notebook.figure(
    "07_conflict_faces", plots.conflict_faces, "faces of seven emotions with voices of seven"
)
def conflict_faces(run: Run) -> dict:
    """``perceptions[emotion of the face][emotion of the voice]`` of ``clips_heard``."""
    grid = {}
    middle_frames = representations.middle_frames(run)
    for emotion, clip in clips_heard(run).items():
        if run.store.clips.n_frames[clip]:  # a clip may be sound only
            face = perceiver(run).encode_face(run.store.frames[middle_frames[clip]])
            grid[emotion] = {e: perceiver(run).perceive(face, v) for e, v in voices(run).items()}
    return {"perceptions": grid}


@computed_once
def conflicts(run: Run) -> pd.DataFrame:
    """The middle frame of each labelled test clip with each voice of its actor.

    The columns are actor, face and voice (labels), answer (the label that is read) and size (length
    of the shift of the latent mean, in units of the spread of faces).
    """
    clips = run.labelled(run.split.test)
    actors = run.store.clips.actor.to_numpy()[clips]
    face_clips, voice_clips = clips[np.argwhere(actors[:, None] == actors)].T
    frames = representations.middle_frames(run)[face_clips]
    face, _, shifted = shifted_by(run, frames, voice_clips)
    spread = run.face_latents.mu[0].std(0).norm()
    with torch.no_grad():
        answer = perceiver(run).can.classifier(shifted.mu).argmax(1).numpy()
    return pd.DataFrame(
        {
            "actor": run.store.clips.actor.to_numpy()[face_clips],
            "face": run.clip_labels[face_clips],
            "voice": run.clip_labels[voice_clips],
            "answer": answer,
            "size": ((shifted.mu - face.mu).norm(dim=1) / spread).numpy(),
        }
    )


def mean_per_conflict(run: Run, table: pd.DataFrame, column: str) -> pd.DataFrame:
    """Means of ``column``, a row for each emotion of the face and a column for each voice."""
    means = table.pivot_table(index="face", columns="voice", values=column)
    name = run.classes.__getitem__
    return means.rename(index=name, columns=name).reset_index()


@notebook.figure("07_conflict", plots.conflict, "how often the voice wins a conflict")
def conflict(run: Run) -> pd.DataFrame:
    """How often the voice's emotion is read, in per cent (``mean_per_conflict``)."""
    table = conflicts(run)
    table = table.assign(follows=100 * (table.answer == table.voice))
    return mean_per_conflict(run, table, "follows")


@notebook.figure(
    "07_conflict_size", plots.conflict_size, "how far the voice moves the face in a conflict"
)
def conflict_size(run: Run) -> pd.DataFrame:
    """How far the voice moves the face, in units of the spread (``mean_per_conflict``)."""
    return mean_per_conflict(run, conflicts(run), "size")


# -------------------------------------------------------------------- witnesses


@computed_once
def measured(run: Run) -> pd.DataFrame:
    """``representations.measured`` of the neutral test faces of all folds that are trained."""
    return pd.concat([representations.measured(each) for each in trained_folds(run)])


@notebook.figure(
    "07_congruence",
    plots.congruence,
    "what a judge sees of the voice's emotion in neutral faces",
    work="trains a judge, decodes and judges faces of all folds",
)
def congruence(run: Run) -> pd.DataFrame:
    """``representations.congruence`` of ``measured``."""
    return representations.congruence(measured(run), run.profile.bootstrap)


@notebook.figure(
    "07_same_person_typical_face",
    plots.same_person_typical_face,
    "whether it is still the same person, and a face",
    work="as 07_congruence",
)
def same_person_typical_face(run: Run) -> pd.DataFrame:
    """``representations.identity_and_typicality`` of ``measured``."""
    return representations.identity_and_typicality(measured(run), run.profile.bootstrap)


@notebook.figure(
    "07_nearest_real_frames",
    plots.nearest_real_frames,
    "the real frame nearest to each mental representation",
)
def nearest_real_frames(run: Run) -> dict:
    """Pictures by emotion of the voice, and the emotion that each real frame shows."""
    can = perceiver(run).can
    basis = can.basis if can.config["directions"] else torch.eye(len(can.face_mean))

    def along(mu: Tensor) -> Tensor:
        """Coordinates (N, directions) of latents (N, D) along the directions of expression."""
        return ((mu - can.face_mean) / can.face_spread) @ basis

    actor, _ = first_face(run)
    clips = run.labelled(run.split.test)
    frames = run.frames_of(clips[run.store.clips.actor.to_numpy()[clips] == actor])
    places = along(run.face_latents.mu[0, frames])
    of_voices = perceptions(run)
    nearest = {
        emotion: frames[int(torch.cdist(along(p.shifted.mu), places).argmin())]
        for emotion, p in of_voices.items()
    }
    clip_emotions = run.store.clips.emotion
    return {
        "perceived": {emotion: p.perceived for emotion, p in of_voices.items()},
        "real": {emotion: run.store.frames[frame] for emotion, frame in nearest.items()},
        "shown": {e: clip_emotions[run.frame_clip[frame]] for e, frame in nearest.items()},
    }


# -------------------------------------------------------------------- latents


@computed_once
def latents_before_and_after(run: Run) -> pd.DataFrame:
    """The middle frames of test clips in two dimensions, by t-SNE.

    The columns are x, y, emotion and state, which is "before" or "after" the shift by the voice of
    the same clip.
    """
    from sklearn.manifold import TSNE

    clips = run.labelled(run.split.test)
    face, voice = run.paired(representations.middle_frames(run)[clips])
    with torch.no_grad():
        shifted = perceiver(run).can.shift(face, voice)
    both = torch.cat([face.mu, shifted.mu]).numpy()
    perplexity = min(30, len(both) // 4)
    flat = TSNE(2, perplexity=perplexity, init="pca", random_state=run.seed).fit_transform(both)
    emotions = [run.classes[label] for label in run.clip_labels[clips]]
    table = pd.DataFrame(flat, columns=["x", "y"]).assign(emotion=emotions * 2)
    return table.assign(state=np.repeat(["before", "after"], len(clips)))


def latents(run: Run, state: str) -> dict:
    """``table`` holds the rows of ``latents_before_and_after`` with one ``state``."""
    table = latents_before_and_after(run)
    return {"table": table[table.state == state], "state": state}


def add_latents(state: str) -> None:
    """Add the latents of one state to the figures of the notebook."""
    register = notebook.figure(f"07_latents_{state}", plots.latents, f"latents {state} the shift")
    register(partial(latents, state=state))


add_latents("before")
add_latents("after")
