"""Measure mental representations from outside the model.

Does the face show the voice's emotion (*congruence*), is it still the same person (*identity*), is
it still a face (*typicality*)? Three witnesses answer, two of which share no weights with the
networks. A *judge* is a network of another architecture; it has learnt expressions from real frames
of actors other than those that are judged. *Fisherfaces* have learnt from the crowd to tell people
apart. *Typicality* asks whether the decoded picture, encoded again, lies among pictures of faces.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from cmlib import metrics
from cmlib.corpora import crowd
from cmlib.evaluation import judges
from cmlib.evaluation.identity import Fisherfaces, Typicality, actor_vectors
from cmlib.evaluation.judges import Judge
from cmlib.experiment.kept import kept_table
from cmlib.experiment.run import Run
from cmlib.models import Can, VaeGan
from cmlib.models.vaegan import INFERENCE_BATCH
from cmlib.training.loop import best_device, on_device

PICTURE_BYTES = 1 << 30  # of decoded pictures that are in memory together
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
    """Latents (N, D) -> pictures (N, 3, S, S) in 0...1, on the device of the network."""
    device = next(face_network.parameters()).device
    decoder = face_network.decoder
    return torch.cat([decoder(z.to(device)).clamp(0, 1) for z in mu.split(INFERENCE_BATCH)])


def picture_blocks(rows: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """Cut rows (N,) into blocks whose pictures of ``size`` pixels fit into memory, at least one.

    A block holds whole batches, so that each picture shares its batch with the same others.
    """
    pictures = PICTURE_BYTES // (4 * 3 * size**2)
    count = max(1, pictures // INFERENCE_BATCH) * INFERENCE_BATCH
    for start in range(0, max(len(rows), 1), count):
        yield rows[start : start + count]


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
    is_known = np.isin(
        table.emotion.to_numpy()[pairs.clips], judges.known_emotions(judge, run.classes)
    )
    pairs = FaceVoicePairs(pairs.frames[is_known], pairs.clips[is_known])
    actor = table.actor.to_numpy()[pairs.clips]
    label = run.clip_labels[pairs.clips]
    witnesses = _Witnesses(run, can, judge, fisherfaces)
    _, first_pairs, face_of_pair = np.unique(pairs.frames, return_index=True, return_inverse=True)
    one_pair_of_each_face = FaceVoicePairs(pairs.frames[first_pairs], pairs.clips[first_pairs])
    tables = []
    for strength in strengths:
        if strength:
            answers = witnesses.answers(pairs, strength)
        else:  # without context the voice has no effect, so one picture per face is enough
            answers = witnesses.answers(one_pair_of_each_face, strength)
            answers = {name: column[face_of_pair] for name, column in answers.items()}
        columns = {
            "actor": actor,
            "emotion": [run.classes[k] for k in label],
            "strength": strength,
            **_judge_columns(answers["judge"], label),
            "network_hit": answers["network"] == label,
        }
        if fisherfaces:
            columns["same_person"] = answers["person"] == actor
            columns["distance"] = answers["distance"]
        tables.append(pd.DataFrame(columns))
    return pd.concat(tables, ignore_index=True)


class _Witnesses:
    """What the networks say about faces in the context of voices."""

    def __init__(self, run: Run, can: Can, judge: Judge, fisherfaces: Fisherfaces | None):
        self.run, self.can, self.judge = run, can, judge
        self.face_network = run.vaegan("face")
        self.device = best_device()
        self.identity = None
        if fisherfaces:
            self.identity = _IdentityWitness(run, self.face_network, fisherfaces)

    def _on_device(self) -> AbstractContextManager:
        """Lend the networks to the device for as long as the context lasts."""
        networks: list[nn.Module] = [self.can, self.face_network]
        if isinstance(self.judge, nn.Module):
            networks.append(self.judge)
        return on_device(self.device, *networks)

    def answers(self, pairs: FaceVoicePairs, strength: float) -> dict[str, np.ndarray]:
        """Columns of N pictures: "network" (N,), "judge" (N, classes), "person", "distance"."""
        blocks = []
        with self._on_device():
            every_pair = np.arange(len(pairs.frames))
            for rows in picture_blocks(every_pair, self.run.profile.data.image_size):
                block = FaceVoicePairs(pairs.frames[rows], pairs.clips[rows])
                blocks.append(self._answers_of_block(block, strength))
        return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}

    def _answers_of_block(self, pairs: FaceVoicePairs, strength: float) -> dict[str, np.ndarray]:
        """``answers`` about pairs whose pictures fit into memory together."""
        face = self.run.face_latents.map(lambda x: x[0, pairs.frames].to(self.device))
        voice = self.run.voice_latents.map(lambda x: x[pairs.clips].to(self.device))
        logits, shifted = self.can(face, voice, strength)
        pictures = decode_pictures(self.face_network, shifted.mu)
        columns = {
            "network": logits.argmax(1).cpu().numpy(),
            "judge": judges.predict(self.judge, pictures, INFERENCE_BATCH),
        }
        if self.identity:
            columns["person"], columns["distance"] = self.identity(pictures)
        return columns


def _judge_columns(log_probabilities: np.ndarray, label: np.ndarray) -> dict[str, np.ndarray]:
    """The columns probability and first_choice of N pairs with these labels (N,).

    ``log_probabilities`` (N, classes) are the judge's about the picture of each pair.
    """
    probabilities = np.exp(log_probabilities)
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
        similarity = self.fisherfaces(pictures.cpu()) @ self.vectors.T  # (N, actors)
        mu = torch.cat([self.encoder(x).mu.cpu() for x in pictures.split(INFERENCE_BATCH)])
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
    is_known = np.isin(table.emotion, judges.known_emotions(judge, run.classes))
    is_known &= (table.n_frames > 0).to_numpy()
    clips = clips[is_known[clips]]
    frames = middle_frames(run)[clips]
    face_network = run.vaegan("face")

    def real(rows: np.ndarray) -> Tensor:
        return run.faces.batch(rows)

    def reconstructed(rows: np.ndarray) -> Tensor:
        return decode_pictures(face_network, run.face_latents.mu[0, rows])

    tables = []
    lent = [face_network, judge] if isinstance(judge, nn.Module) else [face_network]
    with on_device(best_device(), *lent):
        for name, pictures in (("real", real), ("reconstructed", reconstructed)):
            blocks = picture_blocks(frames, run.profile.data.image_size)
            answers = [judges.predict(judge, pictures(rows), INFERENCE_BATCH) for rows in blocks]
            columns = {
                "actor": table.actor.to_numpy()[clips],
                "emotion": table.emotion.to_numpy()[clips],
                "pictures": name,
                **_judge_columns(np.concatenate(answers), run.clip_labels[clips]),
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
