"""Mental representations in numbers, from outside the model: is the voice's emotion seen in the face, is it still the
same person, is it still a face?

Three witnesses, two of which share nothing with the networks.  The *judge* is a small network of another architecture that
learnt expressions from real frames of other actors than those who are judged.  *Fisherfaces* learnt from the crowd who
looks like whom.  *Typicality* asks whether the decoded picture, encoded once more, lies where pictures of faces lie.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor
from torch.nn import functional as F

from cmlib import judge as judges
from cmlib import metrics
from cmlib.corpora import crowd
from cmlib.evaluation import PARTS
from cmlib.experiment import AT_ONCE, Run
from cmlib.judge import Judge, Recogniser
from cmlib.models import Can, Posterior, VaeGan
from cmlib.profiles import Profile, get_profile
from cmlib.profiles import VaeGan as VaeGanSettings

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
    epochs = epochs or min(12, 4 * run.profile.face.epochs) or 12  # faces may be those of others, not trained
    parts = {"others": ("train", "val"), "validation": ("val",), "training": ("train",)}[learns_from]
    rows = run.frames_of(np.concatenate([getattr(run.split, part) for part in parts]))
    rows, labels = rows[:: 1 + len(rows) // 4000], run.clip_labels[run.frame_clip]
    return judges.train_judge(run.faces, rows, labels, epochs=epochs)


class Fisherfaces:
    """Who looks like whom: linear discriminants of people on principal components of small pictures.

    Belhumeur, Hespanha & Kriegman (1997), IEEE PAMI 19(7): directions in which pictures of one person, with all their
    expressions, are close together and people are far apart.
    """

    def __init__(self, pictures: np.ndarray, people: np.ndarray, components: int = 150, directions: int = 60):
        """``pictures`` (N, S, S, 3) uint8 of ``people`` (N,); each person needs two or more pictures."""
        flat = self._flat(torch.from_numpy(np.array(pictures)).permute(0, 3, 1, 2).float() / 255)
        self.axes = PCA(min(components, len(flat) // 2), svd_solver="randomized", random_state=0).fit(flat)
        most = min(directions, len(np.unique(people)) - 1, self.axes.n_components_)
        self.people = LinearDiscriminantAnalysis(solver="eigen", shrinkage="auto", n_components=most)
        self.people.fit(self.axes.transform(flat), people)

    @classmethod
    def of_crowd(cls, size: int, limit: int | None = None) -> Fisherfaces:
        """Learnt from the people of the crowd (``crowd.home``); CorpusError without it."""
        return cls(crowd.load(size, limit, home := crowd.home()), crowd.table(home, limit).person.to_numpy())

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
    run: Run, can: Can, pairs: Pairs, judge: Judge | Recogniser, who: Fisherfaces | None = None,
    strengths: Sequence[float] = STRENGTHS,
) -> pd.DataFrame:  # fmt: skip
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
    face = Posterior(*(x[0, pairs.frames] for x in run.face_latents))
    voice = Posterior(*(x[pairs.clips] for x in run.voice_latents))
    if who:
        typical, (actors, gallery) = Typicality.of(run), _gallery(run, who)
    every, (first, same) = np.arange(len(emotion)), np.unique(pairs.frames, return_index=True, return_inverse=True)[1:]
    done = []
    for t in strengths:
        rows, of = (every, every) if t else (first, same)  # without context one picture for all voices of a face
        logits, shifted = can(*(Posterior(*(x[rows] for x in p)) for p in (face, voice)), t)
        pictures = _decoded(face_net, shifted.mu)
        seen, read = np.exp(judges.read(judge, pictures, AT_ONCE))[of], logits.argmax(1).numpy()[of]
        said = {"judged": seen[every, emotion], "named": seen.argmax(1) == emotion, "read": read == emotion}
        if who:
            alike = actors[(who(pictures) @ gallery.T).argmax(1)]  # (N, actors) -> (N,)
            again = torch.cat([face_net.encoder(part).mu for part in pictures.split(AT_ONCE)])
            said |= {"kept": alike[of] == actor, "distance": typical(again).numpy()[of] / typical.limit}
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
    both = {"real": run.faces.batch(rows), "reconstructed": _decoded(run.vaegan("face"), run.face_latents.mu[0, rows])}
    done = []
    for name, pictures in both.items():
        p = np.exp(judges.read(judge, pictures, AT_ONCE))
        said = {"judged": p[np.arange(len(p)), truth], "named": p.argmax(1) == truth}
        where = {"actor": table.actor.to_numpy()[clips], "emotion": table.emotion.to_numpy()[clips], "pictures": name}
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
        gain = level.judged.to_numpy() - before.judged.to_numpy()  # the same pairs in the same order
        for emotion in [*dict.fromkeys(table.emotion), "all"]:
            pick = np.flatnonzero((before.emotion == emotion) | (emotion == "all"))
            interval = metrics.mean_interval(gain[pick], level.actor.to_numpy()[pick], resamples)
            shares = {"named": level.named.iloc[pick].mean(), "before": before.named.iloc[pick].mean()}
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
        rows.append({"judge": judge, "pictures": pictures, **interval, "emotions": part.emotion.nunique()})
    return pd.DataFrame(rows)


# -------------------------------------------------------------------- settings of the face VAE-GAN


@dataclass(frozen=True)
class FaceVariant(Run):
    """A run whose face VAE-GAN has settings of its own."""

    face: VaeGanSettings = VaeGanSettings()

    @property
    def profile(self) -> Profile:
        return dataclasses.replace(super().profile, face=self.face)


def face_variants(run: Run) -> dict[str, Run]:
    """The run itself, and runs in its folder ``ablations`` with features of another level, or with an adversarial term."""
    base = run.profile.face if run.profile.face.epochs else dataclasses.replace(run.profile.face, epochs=get_profile("tuned").face.epochs)
    found, weight = {"as in the profile": run}, base.feature_weight or 0.05  # docs/experiments.md, 12
    for level, name in enumerate(("pixels, no features", "features of level 1", "features of level 2")):
        for adversarial in (0.0, 1e-3):  # 1e-3: about as much as the pixels count
            measure = dict(feature_level=level, feature_weight=weight if level else base.feature_weight)
            face = dataclasses.replace(base, **measure, adversarial_weight=adversarial)
            if face != run.profile.face and (level != 1 or not adversarial):
                name += ", adversarial" * bool(adversarial)
                folder = run.folder / "ablations" / name.replace(",", "").replace(" ", "-")
                found[name] = FaceVariant(run.corpus, run.profile_name, run.seed, run.fold, str(folder), face)
    return found


@torch.no_grad()
def face_ablations(run: Run, train: bool = False) -> pd.DataFrame:
    """What the measure of reconstruction does to faces and latents, on VALIDATION actors; one row per trained variant.

    ``train`` trains those of ``face_variants`` that are not there; a killed training goes on.  Empty where only the
    run's own network is there.  Columns: change, mse (reconstruction from the mean, over pixels), and clip accuracies
    with intervals over actors: of a judge that learnt from real frames of training actors, on reconstructions (judge,
    judge_low, judge_high), and of a logistic regression on the latents (probe, probe_low, probe_high).
    """
    variants = face_variants(run)
    if train:
        [variant.vaegan("face") for variant in variants.values()]
    there = {name: variant for name, variant in variants.items() if variant.find("face")}
    if len(there) < 2:
        return pd.DataFrame()
    known, asked = (run.frames_of(clips) for clips in (run.split.train, run.split.val))
    judge, labels, real = train_judge(run, "training"), run.clip_labels[run.frame_clip], run.faces.batch(asked)
    done = []
    for name, variant in there.items():
        mu = variant.face_latents.mu[0]
        drawn = _decoded(variant.vaegan("face"), mu[asked])
        probe = make_pipeline(StandardScaler(), LogisticRegression(C=1e-3, max_iter=500)).fit(mu[known], labels[known])
        linear = np.full((len(asked), len(run.classes)), -1e9)  # a corpus may lack a class in training
        linear[:, probe.classes_] = probe.predict_log_proba(mu[asked])
        answers = {"judge": judges.read(judge, drawn), "probe": linear}
        row = {"change": name, "mse": float((drawn - real).square().mean())}
        for reader, said in answers.items():
            score = run.scores(said, asked)["clip_accuracy"]
            row |= {reader: score["value"], f"{reader}_low": score["low"], f"{reader}_high": score["high"]}
        done.append(row)
    return pd.DataFrame(done)
