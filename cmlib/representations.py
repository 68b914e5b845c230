"""Mental representations in numbers, from outside the model: is the voice's emotion seen in the face, is it still the
same person, is it still a face?

Three witnesses, two of which share nothing with the networks.  The *judge* is a small network of another architecture that
learnt expressions from real frames of other actors than those who are judged.  *Fisherfaces* learnt from the crowd who
looks like whom.  *Typicality* asks whether the decoded picture, encoded once more, lies where pictures of faces lie.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from torch import Tensor
from torch.nn import functional as F

from cmlib import judge as judges
from cmlib import metrics
from cmlib.corpora import CorpusError, crowd, default_root
from cmlib.evaluation import PARTS
from cmlib.experiment import ROOT, Run
from cmlib.judge import Judge
from cmlib.models import Can, Posterior

STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
SIDE = 32  # pixels of the pictures that fisherfaces look at


@dataclass(frozen=True)
class Pairs:
    """N faces, each with a voice of the same actor: rows of frames (N,) and of clips (N,)."""

    frames: np.ndarray
    clips: np.ndarray


def neutral_pairs(run: Run, part: str = "test") -> Pairs:
    """The middle frame of every neutral clip with every labelled voice of the same actor, in "validation" or "test"."""
    clips, table = getattr(run.split, PARTS[part]), run.store.clips
    neutral = clips[((table.emotion == "neutral") & (table.n_frames > 0)).to_numpy()[clips]]
    return _same_actor(run, neutral, run.labelled(clips))


def conflict_pairs(run: Run, part: str = "test") -> Pairs:
    """The middle frame of every labelled clip with the voice of one labelled clip of the same actor for each emotion.

    The voice is that of the same sentence, repetition and, where there is one, intensity.
    """
    table, clips = run.store.clips, run.labelled(getattr(run.split, PARTS[part]))
    alike = ["actor", "statement", "repetition", "intensity"]
    rows = table.iloc[clips].assign(row=clips)
    both = rows.loc[rows.n_frames > 0, [*alike, "row"]].merge(rows[[*alike, "row"]], on=alike, suffixes=("_face", "_voice"))
    return Pairs(_middle(run)[both.row_face.to_numpy()], both.row_voice.to_numpy())


def _middle(run: Run) -> np.ndarray:
    """The row of the middle frame of each clip."""
    return (run.store.clips.first_frame + run.store.clips.n_frames // 2).to_numpy()


def _same_actor(run: Run, faces: np.ndarray, voices: np.ndarray) -> Pairs:
    actor = run.store.clips.actor.to_numpy()
    face, voice = np.nonzero(actor[faces][:, None] == actor[voices])
    return Pairs(_middle(run)[faces[face]], voices[voice])


# -------------------------------------------------------------------- witnesses


def train_judge(run: Run, learns_from: str = "others", epochs: int = 12) -> Judge:
    """A judge for the test actors of a run: ``learns_from`` "others", all actors but those, or "validation".

    The validation actors alone are strangers to the judged networks, too, but they are five.
    """
    known = {"others": np.r_[run.split.train, run.split.val], "validation": run.split.val}[learns_from]
    rows, labels = run.frames_of(known), run.clip_labels[run.frame_clip]
    return judges.train_judge(run.faces, rows[:: 1 + len(rows) // 4000], labels, epochs=epochs, seed=run.seed)


class Fisherfaces:
    """Who looks like whom: linear discriminants of people on principal components of small pictures.

    Belhumeur, Hespanha & Kriegman (1997), IEEE PAMI 19(7): directions in which pictures of one person, with all their
    expressions, are close together and people are far apart.
    """

    def __init__(self, pictures: np.ndarray, people: np.ndarray, components: int = 150, directions: int = 60):
        """``pictures`` (N, S, S, 3) uint8 of ``people`` (N,); each person needs two or more pictures."""
        flat = self._flat(torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float() / 255)
        self.axes = PCA(min(components, len(flat) // 2), svd_solver="randomized", random_state=0).fit(flat)
        most = min(directions, len(np.unique(people)) - 1, self.axes.n_components_)
        self.people = LinearDiscriminantAnalysis(solver="eigen", shrinkage="auto", n_components=most)
        self.people.fit(self.axes.transform(flat), people)

    @classmethod
    def of_crowd(cls, size: int, limit: int | None = None) -> Fisherfaces:
        """Learnt from the people of the crowd, where ``$CM_DATA`` has none the shipped one; CorpusError without it."""
        home = default_root("crowd")
        home = home if home.is_dir() else ROOT / "data" / "crowd"
        table = crowd.table(home, limit)
        if table.empty:
            raise CorpusError(f"{home}: the pictures of the crowd are not there; git checkout data/crowd")
        return cls(crowd.load(size, limit, home), table.person.to_numpy())

    @staticmethod
    def _flat(x: Tensor) -> np.ndarray:
        return F.interpolate(x, (SIDE, SIDE), mode="area").flatten(1).numpy()

    def __call__(self, x: Tensor) -> np.ndarray:
        """Pictures (N, 3, S, S) in 0...1 -> vectors of length one (N, E); their products are similarities."""
        vectors = self.people.transform(self.axes.transform(self._flat(x)))
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-9)


class Typicality:
    """Squared Mahalanobis distance to the latents of real training frames, and the distance that 99 % of the frames of
    unseen actors keep."""

    def __init__(self, train: Tensor, unseen: Tensor):
        """Latent means (N, D) of training frames and (M, D) of frames of validation actors."""
        self.mean, cov = train.mean(0), torch.cov(train.T)
        self.precision = torch.linalg.inv(cov + 1e-3 * cov.diagonal().mean() * torch.eye(len(cov)))
        self.limit = float(torch.quantile(self(unseen), 0.99))

    @classmethod
    def of(cls, run: Run) -> Typicality:
        mu = run.face_latents.mu[0]
        return cls(mu[run.frames_of(run.split.train, False)], mu[run.frames_of(run.split.val, False)])

    def __call__(self, mu: Tensor) -> Tensor:
        """(N, D) -> (N,)"""
        return ((mu - self.mean) @ self.precision * (mu - self.mean)).sum(1)


# -------------------------------------------------------------------- measuring


@torch.no_grad()
def measure(
    run: Run, can: Can, pairs: Pairs, judge: Judge, who: Fisherfaces, strengths: Sequence[float] = STRENGTHS
) -> pd.DataFrame:
    """One row per pair and strength.

    Columns: actor, emotion (of the voice), strength; ``judged``: the judge's probability of the voice's emotion in the
    decoded picture; ``named``: whether it is the judge's first choice; ``read``: whether it is the network's;
    ``kept``: whether the picture is more like the actor's own mean vector of real frames than like that of any other
    actor; ``distance``: ``Typicality`` of the picture, 1 being its limit.
    """
    table, face_net, typical = run.store.clips, run.vaegan("face"), Typicality.of(run)
    emotion, actor = run.clip_labels[pairs.clips], table.actor.to_numpy()[pairs.clips]
    actors, gallery = _gallery(run, who)
    own, rows = np.searchsorted(actors, actor), np.arange(len(emotion))
    face = Posterior(*(x[0, pairs.frames] for x in run.face_latents))
    voice = Posterior(*(x[pairs.clips] for x in run.voice_latents))
    done = []
    for t in strengths:
        logits, shifted = can(face, voice, t)
        pictures = torch.cat([face_net.decoder(part).clamp(0, 1) for part in shifted.mu.split(128)])
        seen = np.exp(judges.read(judge, pictures))
        alike = who(pictures) @ gallery.T  # (N, actors)
        again = torch.cat([face_net.encoder(part).mu for part in pictures.split(128)])
        done.append(pd.DataFrame({
            "actor": actor, "emotion": [run.classes[e] for e in emotion], "strength": t,
            "judged": seen[rows, emotion], "named": seen.argmax(1) == emotion, "read": logits.argmax(1).numpy() == emotion,
            "kept": alike.argmax(1) == own, "distance": typical(again).numpy() / typical.limit,
        }))  # fmt: skip
    return pd.concat(done, ignore_index=True)


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
        gain = level.judged.to_numpy() - before.judged.to_numpy()  # the same pairs in the same order
        for emotion in [*dict.fromkeys(table.emotion), "all"]:
            pick = np.flatnonzero((before.emotion == emotion) | (emotion == "all"))
            interval = metrics.actor_interval(_mean(gain[pick]), level.actor.to_numpy()[pick], resamples)
            shares = {"named": level.named.iloc[pick].mean(), "before": before.named.iloc[pick].mean()}
            rows.append({"emotion": emotion, "strength": t, **interval, **shares})
    return pd.DataFrame(rows)


def kept(table: pd.DataFrame, resamples: int = 2000) -> pd.DataFrame:
    """Share of pictures that stay the same person, and that stay as typical as 99 % of real ones, per strength:
    strength, measure ("same person", "typical face"), value, low, high."""
    rows = []
    for t, part in table.groupby("strength"):
        for name, good in (("same person", part.kept), ("typical face", part.distance <= 1)):
            interval = metrics.actor_interval(_mean(good.to_numpy()), part.actor.to_numpy(), resamples)
            rows.append({"strength": t, "measure": name, **interval})
    return pd.DataFrame(rows)


def _mean(values: np.ndarray) -> Callable[[np.ndarray], float]:
    return lambda rows: values[rows].mean()
