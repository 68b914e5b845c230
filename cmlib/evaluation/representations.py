"""Mental representations in numbers, from outside the model: is the voice's emotion seen in the face, is it still the
same person, is it still a face?

Three witnesses, two of which share nothing with the networks.  The *judge* is a small network of another architecture that
learnt expressions from real frames of other actors than those who are judged.  *Fisherfaces* learnt from the crowd who
looks like whom.  *Typicality* asks whether the decoded picture, encoded once more, lies where pictures of faces lie.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from cmlib import metrics
from cmlib.evaluation import judges
from cmlib.evaluation.identity import Fisherfaces, Typicality
from cmlib.evaluation.judges import Judge, Recogniser
from cmlib.evaluation.scoring import PARTS
from cmlib.experiment.run import Run
from cmlib.models import Can, Posterior, VaeGan
from cmlib.models.vaegan import AT_ONCE

STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class Pairs:
    """N faces, each with a voice of the same actor: rows of frames (N,) and of clips (N,)."""

    frames: np.ndarray
    clips: np.ndarray


def neutral_pairs(run: Run, part: str = "test") -> Pairs:
    """The middle frame of every neutral clip with every labelled voice of the same actor, in "validation" or "test"."""
    clips, table = getattr(run.split, PARTS[part]), run.store.clips
    neutral = clips[((table.emotion == "neutral") & (table.n_frames > 0)).to_numpy()[clips]]
    voices, actor = run.labelled(clips), table.actor.to_numpy()
    face, voice = np.nonzero(actor[neutral][:, None] == actor[voices])
    return Pairs(_middle(run)[neutral[face]], voices[voice])


def _middle(run: Run) -> np.ndarray:
    """The row of the middle frame of each clip."""
    return (run.store.clips.first_frame + run.store.clips.n_frames // 2).to_numpy()


# -------------------------------------------------------------------- witnesses


def train_judge(run: Run, learns_from: str = "others", epochs: int | None = None) -> Judge:
    """A judge that learns from real frames of "others" (all actors but those tested), of "validation" or "training" actors.

    "validation" is the strict one: the judged networks were never trained on its teachers, but they are five (four).
    ``epochs``: 12 if not said, fewer in profile smoke.  The seed is 0: runs of all seeds face the same judge.
    """
    epochs = (
        epochs or min(12, 4 * run.profile.face.epochs) or 12
    )  # faces may be those of others, not trained
    parts = {"others": ("train", "val"), "validation": ("val",), "training": ("train",)}[
        learns_from
    ]
    rows = run.frames_of(np.concatenate([getattr(run.split, part) for part in parts]))
    rows, labels = rows[:: 1 + len(rows) // 4000], run.clip_labels[run.frame_clip]
    return judges.train_judge(run.faces, rows, labels, epochs=epochs)


# -------------------------------------------------------------------- measuring


@torch.no_grad()
def measure(
    run: Run,
    can: Can,
    pairs: Pairs,
    judge: Judge | Recogniser,
    who: Fisherfaces | None = None,
    strengths: Sequence[float] = STRENGTHS,
) -> pd.DataFrame:
    """One row per pair and strength; only pairs whose voice has an emotion that the judge knows.

    Columns: actor, emotion (of the voice), strength; ``judged``: the judge's probability of the voice's emotion in the
    decoded picture; ``named``: whether it is the judge's first choice; ``read``: whether it is the network's; with
    ``who`` also ``kept``: whether the picture is more like the actor's own mean vector of real frames than like that of
    any other actor; and ``distance``: ``Typicality`` of the picture, 1 being its limit.
    """
    table, face_net = run.store.clips, run.vaegan("face")
    known = np.isin(table.emotion.to_numpy()[pairs.clips], asked(judge, run))
    pairs = Pairs(pairs.frames[known], pairs.clips[known])
    emotion, actor = run.clip_labels[pairs.clips], table.actor.to_numpy()[pairs.clips]
    face = run.face_latents.map(lambda x: x[0, pairs.frames])
    voice = run.voice_latents.map(lambda x: x[pairs.clips])
    if who:
        typical, (actors, gallery) = Typicality.of(run), _gallery(run, who)
    every, (first, same) = (
        np.arange(len(emotion)),
        np.unique(pairs.frames, return_index=True, return_inverse=True)[1:],
    )
    done = []
    for t in strengths:
        rows, of = (
            (every, every) if t else (first, same)
        )  # without context one picture for all voices of a face
        logits, shifted = can(
            Posterior(face.mu[rows], face.logvar[rows]),
            Posterior(voice.mu[rows], voice.logvar[rows]),
            t,
        )
        pictures = _decoded(face_net, shifted.mu)
        seen, read = np.exp(judges.read(judge, pictures, AT_ONCE))[of], logits.argmax(1).numpy()[of]
        said = {
            "judged": seen[every, emotion],
            "named": seen.argmax(1) == emotion,
            "read": read == emotion,
        }
        if who:
            alike = actors[(who(pictures) @ gallery.T).argmax(1)]  # (N, actors) -> (N,)
            again = torch.cat([face_net.encoder(part).mu for part in pictures.split(AT_ONCE)])
            said |= {
                "kept": alike[of] == actor,
                "distance": typical(again).numpy()[of] / typical.limit,
            }
        where = {"actor": actor, "emotion": [run.classes[e] for e in emotion], "strength": t}
        done.append(pd.DataFrame(where | said))
    return pd.concat(done, ignore_index=True)


def asked(judge: Judge | Recogniser, run: Run) -> tuple[str, ...]:
    """The emotions that a judge can be asked about: the classes of the run, or those of them that a recogniser knows."""
    return judge.asked if isinstance(judge, Recogniser) else run.classes


@torch.no_grad()
def seen(run: Run, judge: Judge | Recogniser, part: str = "test") -> pd.DataFrame:
    """What a judge sees without any context, in the middle frames of labelled clips, real and reconstructed.

    One row per picture: actor, emotion (played), pictures ("real", "reconstructed"), judged and named as in ``measure``;
    only emotions that the judge knows.
    """
    table, clips = run.store.clips, run.labelled(getattr(run.split, PARTS[part]))
    known = np.isin(table.emotion, asked(judge, run)) & (table.n_frames > 0).to_numpy()
    clips = clips[known[clips]]
    rows, truth = _middle(run)[clips], run.clip_labels[clips]
    both = {
        "real": run.faces.batch(rows),
        "reconstructed": _decoded(run.vaegan("face"), run.face_latents.mu[0, rows]),
    }
    done = []
    for name, pictures in both.items():
        p = np.exp(judges.read(judge, pictures, AT_ONCE))
        said = {"judged": p[np.arange(len(p)), truth], "named": p.argmax(1) == truth}
        where = {
            "actor": table.actor.to_numpy()[clips],
            "emotion": table.emotion.to_numpy()[clips],
            "pictures": name,
        }
        done.append(pd.DataFrame(where | said))
    return pd.concat(done, ignore_index=True)


def _decoded(face_net: VaeGan, mu: Tensor) -> Tensor:
    """Latents (N, D) -> pictures (N, 3, S, S) in 0...1."""
    return torch.cat([face_net.decoder(part).clamp(0, 1) for part in mu.split(AT_ONCE)])


def _gallery(run: Run, who: Fisherfaces) -> tuple[np.ndarray, np.ndarray]:
    """(actor numbers sorted (A,), mean vectors of 24 real frames of each (A, E))."""
    by_frame = run.store.clips.actor.to_numpy()[run.frame_clip]
    actors = np.unique(by_frame)
    rows = [np.flatnonzero(by_frame == a) for a in actors]
    few = [r[np.linspace(0, len(r) - 1, min(24, len(r))).astype(int)] for r in rows]
    return actors, np.stack([who(run.faces.batch(r)).mean(0) for r in few])


def congruence(table: pd.DataFrame, resamples: int = 2000) -> pd.DataFrame:
    """Gain of the judge's probability of the voice's emotion from strength 0 on, and its first choice: over ``measure``.

    One row per emotion and strength, and "all": emotion, strength, value, low, high (gain, 95 % interval over actors),
    named (share of first choices) and before (that share at strength 0).
    """
    rows, before = [], table[table.strength == 0]
    for t, level in table.groupby("strength"):
        gain = (
            level.judged.to_numpy() - before.judged.to_numpy()
        )  # the same pairs in the same order
        for emotion in [*dict.fromkeys(table.emotion), "all"]:
            pick = np.flatnonzero((before.emotion == emotion) | (emotion == "all"))
            interval = metrics.mean_interval(gain[pick], level.actor.to_numpy()[pick], resamples)
            shares = {
                "named": level.named.iloc[pick].mean(),
                "before": before.named.iloc[pick].mean(),
            }
            rows.append({"emotion": emotion, "strength": t, **interval, **shares})
    return pd.DataFrame(rows)


def kept(table: pd.DataFrame, resamples: int = 2000) -> pd.DataFrame:
    """Share of pictures that stay the same person, and that stay as typical as 99 % of real ones, per strength:
    strength, measure ("same person", "typical face"), value, low, high."""
    rows = []
    for t, part in table.groupby("strength"):
        for name, good in (("same person", part.kept), ("typical face", part.distance <= 1)):
            interval = metrics.mean_interval(good.to_numpy(), part.actor.to_numpy(), resamples)
            rows.append({"strength": t, "measure": name, **interval})
    return pd.DataFrame(rows)


def recognition(table: pd.DataFrame, resamples: int = 2000) -> pd.DataFrame:
    """Share of pictures whose intended emotion is a judge's first choice, over rows with columns judge, pictures, actor,
    emotion and named: judge, pictures, value, low, high (95 % interval over actors), emotions (asked about)."""
    rows = []
    for (judge, pictures), part in table.groupby(["judge", "pictures"], sort=False):
        interval = metrics.mean_interval(part.named.to_numpy(), part.actor.to_numpy(), resamples)
        rows.append(
            {"judge": judge, "pictures": pictures, **interval, "emotions": part.emotion.nunique()}
        )
    return pd.DataFrame(rows)
