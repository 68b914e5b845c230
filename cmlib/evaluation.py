"""What the models of a run are worth: scores, differences, and what is left of them when a sense is disturbed.

Functions over ``experiment.Run`` that return tables.  ``value``, ``low`` and ``high`` are a score and its 95 % interval
over actors (``metrics.actor_interval``).  Nothing here chooses anything: settings are compared on validation actors.
"""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from scipy.ndimage import gaussian_filter
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from cmlib import checkpoints, losses, media, metrics, training, voices
from cmlib.experiment import AT_ONCE, MODELS, Run
from cmlib.models import Can, Posterior, concatenation, product_of_experts
from cmlib.profiles import Can as CanSettings
from cmlib.recipes import recipe
from cmlib.splits import random_split
from cmlib.training import Pictures

PARTS = {"validation": "val", "test": "test"}
SNRS = (20, 10, 5, 0, -5)  # decibels of voice over white noise
SIGMAS = (1, 2, 4)  # pixels
BARS = {"eyes covered": (0.25, 0.5), "mouth covered": (0.6, 0.85)}  # rows of a crop, as shares of its height
ABLATIONS = {  # changes to the profile's settings of the context network; those that change nothing are left out
    "KL weight 0": {"kl_weight": 0.0},
    "KL weight 1e-5 (released)": {"kl_weight": 1e-5},
    "KL weight 1e-4": {"kl_weight": 1e-4},
    "KL weight 1e-2": {"kl_weight": 1e-2},
    "KL(face || shifted)": {"kl_direction": "prior_to_shifted"},
    "KL(shifted || face)": {"kl_direction": "shifted_to_prior"},
    "classifier fixed": {"finetune": False},
    "classifier learns on (released)": {"finetune": True},
    "latents in units of their spread": {"normalise": True},
    "raw latents (released)": {"normalise": False},
    "shift along the whole latent (released)": {"directions": 0},
    "no neutral faces (released)": {"neutral": 0.0},
    "no faces of the crowd (released)": {"crowd": 0.0},
    "no crowd, no neutral faces, the clip's own voice (released)": {"pairing": "own", "neutral": 0.0, "crowd": 0.0},
    "any voice of the emotion": {"pairing": "emotion"},
    "voices without noise (released)": {"voice_noise": 0.0},
    "a linear map in place of attention": {"attention": "linear"},
    "all as released": dataclasses.asdict(CanSettings()),
}
STRENGTHS = (0.0, 0.5, 1.5)  # of the unchanged network, beside 1


@dataclass(frozen=True)
class Answers:
    """What models said about N frames or clips: log probabilities (N, K) by model; labels, clips, actors (N,)."""

    log_probabilities: dict[str, np.ndarray]
    labels: np.ndarray
    clips: np.ndarray
    actors: np.ndarray

    def by_clip(self) -> Answers:
        """One row per clip: the mean log probabilities of its frames."""
        clips, first = np.unique(self.clips, return_index=True)
        pooled = {name: metrics.by_clip(p, self.clips)[1] for name, p in self.log_probabilities.items()}
        return Answers(pooled, self.labels[first], clips, self.actors[first])

    def right(self) -> dict[str, np.ndarray]:
        """Which rows each model calls by their label, (N,) bool."""
        return {name: p.argmax(1) == self.labels for name, p in self.log_probabilities.items()}


def models(run: Run) -> tuple[str, ...]:
    """The models that a corpus allows: all of ``MODELS``, or the voice alone where there are no faces."""
    return MODELS if run.store.has_faces else ("voice",)


def networks(run: Run) -> list[str]:
    """The names of the networks behind ``models``."""
    readers = [name if name.startswith("can") else f"classifier_{name}" for name in models(run)]
    return ["face"] * run.store.has_faces + ["voice", *readers]


def missing(run: Run) -> list[str]:
    """Those of ``networks`` that are neither the run's own nor shipped."""
    return [name for name in networks(run) if run.find(name) is None]


def ask(run: Run, part: str = "test", models: Iterable[str] = MODELS) -> Answers:
    """Answers about the labelled frames of a ``part``, "validation" or "test"; missing networks are trained."""
    rows = run.frames_of(getattr(run.split, PARTS[part]))
    clips = run.frame_clip[rows]
    said = {name: run.log_probabilities(name, rows) for name in models}
    return Answers(said, run.clip_labels[clips], clips, run.store.clips.actor.to_numpy()[clips])


def join(parts: Sequence[Answers]) -> Answers:
    """Answers of several folds (or seeds) as one; clips of different parts stay apart, their actors do not."""
    offset = 1 + max(int(p.clips.max()) for p in parts)
    clips = np.concatenate([p.clips + i * offset for i, p in enumerate(parts)])
    said = {name: np.concatenate([p.log_probabilities[name] for p in parts]) for name in parts[0].log_probabilities}
    labels, actors = (np.concatenate([getattr(p, k) for p in parts]) for k in ("labels", "actors"))
    return Answers(said, labels, clips, actors)


def score(answers: Answers, resamples: int = 2000) -> pd.DataFrame:
    """Frame accuracy, clip accuracy and unweighted average recall: columns model, score, value, low, high."""
    rows = []
    for name, p in answers.log_probabilities.items():
        own = metrics.scores(p, answers.labels, answers.clips, answers.actors, resamples)
        rows += [{"model": name, "score": s, **v} for s, v in own.items()]
    return pd.DataFrame(rows)


def pooled(runs: Sequence[Run], part: str = "test", models: Iterable[str] = MODELS) -> tuple[pd.DataFrame, Answers]:
    """All folds (and seeds) together: (scores, the answers behind them).

    ``value``, ``low`` and ``high`` are over all actors at once: each is tested in one fold, by networks that do not
    know it.  ``mean``, ``sd`` and ``count`` are over the runs, whose networks share training actors: sd is no interval.
    """
    parts = [ask(run, part, models) for run in runs]
    values = pd.concat([score(p, 1) for p in parts]).groupby(["model", "score"]).value
    spread = values.apply(lambda v: pd.Series(metrics.mean_and_sd(v.to_numpy()))).unstack()
    everyone = join(parts)
    return score(everyone, runs[0].profile.bootstrap).merge(spread.reset_index(), on=["model", "score"]), everyone


def differences(answers: Answers, model: str = "can", resamples: int = 2000) -> pd.DataFrame:
    """Clip accuracy of ``model`` minus each other's, by ``metrics.paired_difference``: other, value, low, high, p."""
    clips = answers.by_clip()
    ours = (right := clips.right()).pop(model)
    gains = {name: metrics.paired_difference(ours, r, clips.actors, resamples) for name, r in right.items()}
    return pd.DataFrame([{"other": name, **gain} for name, gain in gains.items()])


def calibration(answers: Answers, bins: int = 10) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Of clips: (model, calibration_error, confidence, accuracy), and ``metrics.reliability`` with a column model.

    The log probabilities of a clip are the mean of its frames', normalised again, so that they are probabilities.
    """
    clips, rows, bars = answers.by_clip(), [], []
    for name, p in clips.log_probabilities.items():
        p = p - np.logaddexp.reduce(p, 1, keepdims=True)
        bars.append(metrics.reliability(p, clips.labels, bins).assign(model=name))
        error = metrics.calibration_error(p, clips.labels, bins)
        sure, right = np.exp(p.max(1)).mean(), (p.argmax(1) == clips.labels).mean()
        rows.append({"model": name, "calibration_error": error, "confidence": sure, "accuracy": right})
    return pd.DataFrame(rows), pd.concat(bars, ignore_index=True)


# -------------------------------------------------------------------- disturbed senses


def some(run: Run, clips: np.ndarray, count: int | None, seed: int = 0) -> np.ndarray:
    """At most ``count`` of the rows ``clips``, sorted: drawn by chance, every emotion about equally often."""
    drawn = run.store.clips.iloc[clips].assign(row=clips).sample(frac=1, random_state=seed)
    turn = drawn.groupby("emotion").cumcount().sort_values(kind="stable").index
    return np.sort(drawn.row[turn].to_numpy()[:count])


def with_noise(waveform: np.ndarray, snr: float, rng: np.random.Generator) -> np.ndarray:
    """A waveform (N,) at ``voices.RATE`` with white noise ``snr`` decibels below its mean power."""
    noise = rng.standard_normal(len(waveform)).astype(np.float32)
    return waveform + noise * np.sqrt(np.mean(waveform**2) / 10 ** (snr / 10) / max(np.mean(noise**2), 1e-12))


def blurred(frames: np.ndarray, sigma: float) -> np.ndarray:
    """Pictures (N, S, S, 3) uint8 through a Gaussian of ``sigma`` pixels."""
    return gaussian_filter(frames.astype(np.float32), (0, sigma, sigma, 0)).round().astype(np.uint8)


def covered(frames: np.ndarray, rows: tuple[float, float]) -> np.ndarray:
    """Pictures (N, S, S, 3) uint8 with a grey bar over ``rows``, from and to as shares of the height."""
    first, last = (round(share * frames.shape[1]) for share in rows)
    frames = frames.copy()
    frames[:, first:last] = 128
    return frames


@torch.no_grad()
def robustness(
    run: Run, part: str = "test", clips: int | None = 140, models: Iterable[str] = MODELS, seed: int = 0
) -> pd.DataFrame:
    """Clip accuracy while one sense is disturbed: columns disturbance, level, model, value, low, high.

    At most ``clips`` labelled clips of the part, of every emotion as many (None: all).  White noise in the voice
    (``SNRS``), a blurred face (``SIGMAS``), a grey bar over eyes and brows or over the mouth (``BARS``), and a missing
    sense: its latent is the mean of the training clips', or that of silence.  "nothing": the same clips undisturbed.
    Where voices come as finished spectrograms there is no sound to add noise to: no rows of noise, and a line says so.
    """
    own = run.labelled(getattr(run.split, PARTS[part]))
    own = some(run, own[run.store.clips.n_frames.to_numpy()[own] > 0], clips, seed)
    rows = run.frames_of(own)
    clip_of = run.frame_clip[rows]
    place = np.searchsorted(own, clip_of)  # (N,) of each frame among the chosen clips
    face, voice = run.paired(rows)
    frames = np.asarray(run.store.frames[rows])
    paths = [run.store.path(run.store.clips.iloc[c]) for c in own]
    audible = all(path.suffix != ".npy" for path in paths)  # as the authors' processed MEAD has them
    sounds = [voices.resample(*media.read_audio(path)) for path in paths if audible]
    released = run.corpus.endswith("_released")  # whose mel bands are others
    networks = {"face": run.vaegan("face"), "voice": run.vaegan("voice")}
    readers = {name: run.reader(name) for name in models}
    actors, resamples = run.store.clips.actor.to_numpy()[clip_of], run.profile.bootstrap

    def latent(kind: str, pictures: np.ndarray) -> Posterior:
        found = training.encode(networks[kind], Pictures(pictures), np.arange(len(pictures)), batch=AT_ONCE)
        return Posterior(*(x[0] for x in found))

    def heard(snr: float) -> Posterior:
        noisy = (with_noise(s, snr, np.random.default_rng([seed, c])) for c, s in zip(own, sounds))
        mels = [voices.mel(s, released=released) for s in noisy]
        return Posterior(*(x[place] for x in latent("voice", np.stack(mels))))

    def mean(kind: str) -> Posterior:
        known = run.labelled(run.split.train)
        every = (
            Posterior(*(x[0, run.frames_of(known)] for x in run.face_latents))
            if kind == "face"
            else Posterior(*(x[known] for x in run.voice_latents))
        )
        return Posterior(*(x.mean(0).expand(len(rows), -1) for x in every))

    silence = latent("voice", np.zeros((1, voices.BANDS, voices.BANDS), np.float32))
    cases = [("nothing", "", face, voice)]
    if audible:
        cases += [("noise in the voice", f"{snr} dB", face, heard(snr)) for snr in SNRS]
    else:
        print(f"{run.corpus}: spectrograms without their sound, so no noise in the voice is tried")
    cases += [("blurred face", f"{sigma} px", latent("face", blurred(frames, sigma)), voice) for sigma in SIGMAS]
    cases += [("covered face", name, latent("face", covered(frames, bar)), voice) for name, bar in BARS.items()]
    cases += [("missing sense", "mean voice", face, mean("voice")), ("missing sense", "mean face", mean("face"), voice)]
    cases += [("missing sense", "silence", face, Posterior(*(x.expand(len(rows), -1) for x in silence)))]
    done = []
    for disturbance, level, v, a in cases:
        said = {name: _read(name, reader, v, a).log_softmax(1).numpy() for name, reader in readers.items()}
        asked = Answers(said, run.clip_labels[clip_of], clip_of, actors).by_clip()
        for name, right in asked.right().items():
            interval = metrics.mean_interval(right, asked.actors, resamples)
            done.append({"disturbance": disturbance, "level": level, "model": name, **interval})
    return pd.DataFrame(done)


def _read(name: str, reader: torch.nn.Module, face: Posterior, voice: Posterior) -> torch.Tensor:
    """Logits (N, K) of one of ``MODELS`` for posteriors (N, D) of face and voice."""
    if isinstance(reader, Can):
        return reader(face, voice)[0]
    if name in ("face", "voice"):
        return reader((face if name == "face" else voice).mu)
    return reader((product_of_experts if name == "product_of_experts" else concatenation)(face, voice).mu)


# -------------------------------------------------------------------- lessons


def leakage(run: Run, seed: int = 0) -> pd.DataFrame:
    """The same linear probe under three splits: columns sense, split, value, low, high (accuracy of frames, of voices).

    "actors apart" is the run's own split, "clips mixed" shuffles labelled clips, "frames mixed" shuffles frames (a
    clip's are then on both sides).  About 60 % train in each.  The encoders have met the training actors, who are among
    the questions of the two shuffled splits: that leak is part of the lesson.
    """
    clips, done = np.flatnonzero(run.clip_labels >= 0), []
    drawn = random_split(len(clips), seed)
    apart, mixed = (run.split.train, run.split.test), (clips[drawn.train], clips[drawn.test])
    for sense in ("face", "voice") if run.store.has_faces else ("voice",):
        if sense == "face":
            latents, clip_of = run.face_latents.mu[0].numpy(), run.frame_clip
            frames = run.frames_of(clips)
            drawn = random_split(len(frames), seed)
            splits = {"actors apart": tuple(map(run.frames_of, apart)), "clips mixed": tuple(map(run.frames_of, mixed)),
                      "frames mixed": (frames[drawn.train], frames[drawn.test])}  # fmt: skip
        else:
            latents, clip_of = run.voice_latents.mu.numpy(), np.arange(len(run.store.clips))
            splits = {"actors apart": tuple(map(run.labelled, apart)), "clips mixed": mixed}
        labels, actors = run.clip_labels[clip_of], run.store.clips.actor.to_numpy()[clip_of]
        for name, (seen, asked) in splits.items():
            probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500))
            right = probe.fit(latents[seen], labels[seen]).predict(latents[asked]) == labels[asked]
            done.append({"sense": sense, "split": name, **metrics.mean_interval(right, actors[asked], run.profile.bootstrap)})
    return pd.DataFrame(done)


@torch.no_grad()
def ablations(run: Run, settings: Mapping = ABLATIONS, strengths: Sequence[float] = STRENGTHS) -> pd.DataFrame:
    """Context networks with one setting changed each, trained on cached latents and scored on the VALIDATION actors.

    ``settings`` names changes to the profile's settings; those that it has already are left out.  A network is trained
    once: it is kept in the run's folder ``ablations``.  Columns: change, value, low, high (clip accuracy), kl (mean
    KL(face || shifted), nats), shift (root mean square change of the latent mean, in units of its spread over training
    faces), seconds (of training it, or of reading it).
    """
    base, asked = run.profile.can, run.frames_of(run.split.val)
    spread = run.face_latents.mu[:, run.frames_of(run.split.train)].flatten(0, 1).std(0)
    variants = {name: dataclasses.replace(base, **change) for name, change in settings.items()}
    done = []
    for name, variant in {"as in the profile": base, **{n: v for n, v in variants.items() if v != base}}.items():
        began = time.perf_counter()
        model = _context_network(run, variant)
        seconds = time.perf_counter() - began
        for t in (1.0, *strengths) if variant == base else (1.0,):
            score = run.scores(run.log_probabilities("can", asked, model, t), asked)["clip_accuracy"]
            own, heard = run.paired(asked)
            there = model.shift(own, heard, t)
            kl = float(losses.kl_between(*own, *there).mean())
            moved = float(((there.mu - own.mu) / spread).square().mean().sqrt())
            named = name if t == 1 else f"strength {t:g}"
            done.append({"change": named, **score, "kl": kl, "shift": moved, "seconds": seconds})
    return pd.DataFrame(done)


def _context_network(run: Run, settings: CanSettings) -> Can:
    """With these settings the run's own network, one that was kept, or one that is trained now."""
    for name in ("can", "can_released"):
        if settings == run.settings(name):
            return run.can(name)
    below = [run.find(name).with_suffix(".safetensors").read_bytes() for name in ("face", "voice", "classifier_face")]
    made = recipe(run.recipe("can"), dataclasses.asdict(settings), hashlib.sha256(b"".join(below)).hexdigest())
    path = run.folder / "ablations" / f"can-{made}"
    if not path.with_suffix(".json").exists():  # the card is written last
        checkpoints.save(path, run.train_can(settings)[0], {"stage": "can", "settings": dataclasses.asdict(settings)})
    return checkpoints.load(path, Can)[0]
