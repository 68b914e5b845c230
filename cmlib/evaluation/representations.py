"""Measure mental representations from outside the model.

Does the face show the voice's emotion (*congruence*), is it still the same person (*identity*), is
it still a face (*typicality*)? Three witnesses answer, two of which share nothing with the
networks. A *judge* is a network of another architecture; it has learnt expressions from real frames
of actors other than those that are judged. *Fisherfaces* have learnt from the crowd to tell people
apart. *Typicality* asks whether the decoded picture, encoded again, lies among pictures of faces.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from cmlib import metrics
from cmlib.corpora import crowd
from cmlib.evaluation import judges
from cmlib.evaluation.identity import Fisherfaces, Typicality, actor_vectors
from cmlib.evaluation.judges import Judge
from cmlib.experiment.kept import kept_table
from cmlib.experiment.run import Run
from cmlib.models import Can, Posterior, VaeGan
from cmlib.models.vaegan import INFERENCE_BATCH

STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)  # of the context


@dataclass(frozen=True)
class FaceVoicePairs:
    """N faces, each with a voice of the same actor: rows of frames (N,) and of clips (N,)."""

    frames: np.ndarray
    clips: np.ndarray


def neutral_pairs(run: Run) -> FaceVoicePairs:
    """The middle frame of every neutral test clip with every labelled voice of the same actor.

    In pairs across corpora (``cmlib.corpora.pairs``) these are the voices that the actor's pictures
    are paired with.
    """
    table = run.store.clips
    clips = run.split.test
    is_neutral = ((table.emotion == "neutral") & (table.n_frames > 0)).to_numpy()
    faces = run.distinct(clips[is_neutral[clips]], "face")
    voices = run.distinct(run.labelled(clips), "voice", of_actor=True)
    actor = table.actor.to_numpy()
    face, voice = np.nonzero(actor[faces][:, None] == actor[voices])
    return FaceVoicePairs(middle_frames(run)[faces[face]], voices[voice])


def middle_frames(run: Run) -> np.ndarray:
    """The row of the middle frame of each clip, (clips,)."""
    return (run.store.clips.first_frame + run.store.clips.n_frames // 2).to_numpy()


def decode_pictures(face_network: VaeGan, mu: Tensor) -> Tensor:
    """Latents (N, D) -> pictures (N, 3, S, S) in 0...1."""
    return torch.cat([face_network.decoder(z).clamp(0, 1) for z in mu.split(INFERENCE_BATCH)])


# -------------------------------------------------------------------- one row for each picture


def measured(run: Run) -> pd.DataFrame:
    """``measure`` of the neutral faces of test actors, with the run's own judge and fisherfaces.

    It is measured once for everything that needs it (``kept_table``).
    """

    def measure_now() -> pd.DataFrame:
        fisherfaces = Fisherfaces.of_crowd(run.profile.data.image_size)
        judge = judges.judge_for_run(run)
        return measure(run, run.can(), neutral_pairs(run), judge, fisherfaces)

    return kept_table(
        run,
        "neutral_faces_judge",
        measure_now,
        networks=("face", "voice", "can"),
        settings={"strengths": STRENGTHS},
        data={"crowd": crowd.key()},
        below={"judge": judges.judge_record(run, "others")},
    )


@torch.no_grad()
def measure(
    run: Run,
    can: Can,
    pairs: FaceVoicePairs,
    judge: Judge,
    fisherfaces: Fisherfaces | None = None,
    strengths: Sequence[float] = STRENGTHS,
) -> pd.DataFrame:
    """One row per pair and strength, for pairs whose voice has an emotion that the judge knows.

    Columns: actor, emotion (of the voice) and strength; ``probability`` that the judge gives to the
    voice's emotion in the decoded picture; ``first_choice``, whether that emotion is the judge's
    first choice; and ``network_hit``, whether it is the network's. With ``fisherfaces`` there are
    two more: ``same_person``, whether the picture is more similar to the mean vector of the actor's
    real frames than to that of any other actor; and ``distance``, the ``Typicality`` of the picture
    divided by its limit.
    """
    table = run.store.clips
    known = np.isin(
        table.emotion.to_numpy()[pairs.clips], judges.known_emotions(judge, run.classes)
    )
    pairs = FaceVoicePairs(pairs.frames[known], pairs.clips[known])
    actor = table.actor.to_numpy()[pairs.clips]
    label = run.clip_labels[pairs.clips]
    face = run.face_latents.map(lambda x: x[0, pairs.frames])
    voice = _take(run.voice_latents, pairs.clips)
    face_network = run.vaegan("face")
    witness = _IdentityWitness(run, face_network, fisherfaces) if fisherfaces else None

    every_pair = np.arange(len(label))
    _, first_pairs, face_of_pair = np.unique(pairs.frames, return_index=True, return_inverse=True)
    tables = []
    for strength in strengths:
        # Without context the voice has no effect, so one picture per face is enough.
        rows = every_pair if strength else first_pairs
        picture_of_pair = every_pair if strength else face_of_pair
        logits, shifted = can(_take(face, rows), _take(voice, rows), strength)
        pictures = decode_pictures(face_network, shifted.mu)
        columns = {
            "actor": actor,
            "emotion": [run.classes[k] for k in label],
            "strength": strength,
            **_judge_columns(judge, pictures, label, picture_of_pair),
            "network_hit": logits.argmax(1).numpy()[picture_of_pair] == label,
        }
        if witness:
            likeliest_actor, distance = witness(pictures)
            columns["same_person"] = likeliest_actor[picture_of_pair] == actor
            columns["distance"] = distance[picture_of_pair]
        tables.append(pd.DataFrame(columns))
    return pd.concat(tables, ignore_index=True)


def _take(latents: Posterior, rows: np.ndarray) -> Posterior:
    """Rows of posteriors (N, D)."""
    return latents.map(lambda x: x[rows])


def _judge_columns(
    judge: Judge, pictures: Tensor, label: np.ndarray, picture: np.ndarray
) -> dict[str, np.ndarray]:
    """The columns probability and first_choice of N pairs with these labels (N,).

    ``picture`` (N,) is the row of each pair in ``pictures``.
    """
    log_probabilities = judges.predict(judge, pictures, INFERENCE_BATCH)  # (pictures, classes)
    probabilities = np.exp(log_probabilities)[picture]  # (N, classes)
    return {
        "probability": probabilities[np.arange(len(label)), label],
        "first_choice": probabilities.argmax(1) == label,
    }


class _IdentityWitness:
    """Fisherfaces and typicality of one run, ready for pictures (N, 3, S, S)."""

    def __init__(self, run: Run, face_network: VaeGan, fisherfaces: Fisherfaces):
        self.encoder = face_network.encoder
        self.fisherfaces = fisherfaces
        self.actors, self.vectors = actor_vectors(run, fisherfaces)
        self.typicality = Typicality.of_run(run)

    def __call__(self, pictures: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """(the actor most similar to each picture (N,), ``Typicality`` over its limit (N,))."""
        similarity = self.fisherfaces(pictures) @ self.vectors.T  # (N, actors)
        mu = torch.cat([self.encoder(x).mu for x in pictures.split(INFERENCE_BATCH)])
        distance = self.typicality(mu).numpy() / self.typicality.limit
        return self.actors[similarity.argmax(1)], distance


@torch.no_grad()
def judge_frames(run: Run, judge: Judge) -> pd.DataFrame:
    """How a judge rates faces without context: the middle frames of test clips.

    One row per picture whose emotion the judge knows: actor, emotion (played), pictures ("real",
    "reconstructed"), and probability and first_choice as in ``measure``.
    """
    table = run.store.clips
    clips = run.labelled(run.split.test)
    known = np.isin(table.emotion, judges.known_emotions(judge, run.classes))
    known &= (table.n_frames > 0).to_numpy()
    clips = clips[known[clips]]
    frames = middle_frames(run)[clips]
    pictures_of = {
        "real": run.faces.batch(frames),
        "reconstructed": decode_pictures(run.vaegan("face"), run.face_latents.mu[0, frames]),
    }
    tables = []
    for name, pictures in pictures_of.items():
        columns = {
            "actor": table.actor.to_numpy()[clips],
            "emotion": table.emotion.to_numpy()[clips],
            "pictures": name,
            **_judge_columns(judge, pictures, run.clip_labels[clips], np.arange(len(clips))),
        }
        tables.append(pd.DataFrame(columns))
    return pd.concat(tables, ignore_index=True)


# ------------------------------------------------------ shares and gains with intervals over actors


def congruence(table: pd.DataFrame, resamples: int = 2000) -> pd.DataFrame:
    """How much the judge's probability of the voice's emotion rises over strength 0.

    ``table`` is that of ``measure``. One row per emotion and strength, and per strength for "all"
    emotions. Columns: emotion, strength, value, low, high (the gain and its 95 % interval over
    actors), first_choice (share of pictures whose first choice is the voice's emotion) and
    first_choice_before (that share at strength 0).
    """
    rows = []
    before = table[table.strength == 0]
    for strength, after in table.groupby("strength"):
        # Both tables have the same pairs in the same order.
        gain = after.probability.to_numpy() - before.probability.to_numpy()
        for emotion in [*table.emotion.unique(), "all"]:
            chosen = np.flatnonzero((before.emotion == emotion) | (emotion == "all"))
            actors = after.actor.to_numpy()[chosen]
            rows.append(
                {
                    "emotion": emotion,
                    "strength": strength,
                    **metrics.mean_interval(gain[chosen], actors, resamples),
                    "first_choice": after.first_choice.iloc[chosen].mean(),
                    "first_choice_before": before.first_choice.iloc[chosen].mean(),
                }
            )
    return pd.DataFrame(rows)


def identity_and_typicality(table: pd.DataFrame, resamples: int = 2000) -> pd.DataFrame:
    """Shares of pictures that still show the same person, and that are still typical faces.

    ``table`` is that of ``measure`` with fisherfaces. A picture is typical if it is within the
    limit of ``Typicality``, as 99 % of real frames are.

    One row per strength and measure: strength, measure ("same person", "typical face"), value, low,
    high.
    """
    rows = []
    for strength, pictures in table.groupby("strength"):
        shares = {
            "same person": pictures.same_person,
            "typical face": pictures.distance <= 1,
        }
        for name, holds in shares.items():
            interval = metrics.mean_interval(holds.to_numpy(), pictures.actor.to_numpy(), resamples)
            rows.append({"strength": strength, "measure": name, **interval})
    return pd.DataFrame(rows)


def recognition(table: pd.DataFrame, resamples: int = 2000) -> pd.DataFrame:
    """Share of pictures whose intended emotion is a judge's first choice.

    ``table`` has the columns judge, pictures, actor, emotion and first_choice.

    Columns: judge, pictures, value, low, high (95 % interval over actors) and emotions (the
    number of emotions judged).
    """
    rows = []
    for _, chosen in table.groupby(["judge", "pictures"], sort=False):
        interval = metrics.mean_interval(
            chosen.first_choice.to_numpy(), chosen.actor.to_numpy(), resamples
        )
        rows.append(
            {
                "judge": chosen.judge.iloc[0],
                "pictures": chosen.pictures.iloc[0],
                **interval,
                "emotions": chosen.emotion.nunique(),
            }
        )
    return pd.DataFrame(rows)
