"""Tables and pictures of notebook 02: the face VAE-GAN."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from cmlib import provenance
from cmlib.config import SMALL_FACES, VaeGanConfig
from cmlib.corpora import cartoons
from cmlib.evaluation import judges
from cmlib.experiment import small_vaegans
from cmlib.experiment.kept import kept_table
from cmlib.experiment.run import Run
from cmlib.experiment.small_vaegans import SmallTraining, small_vaegan
from cmlib.figures.figure import Notebook, computed_once, faces
from cmlib.models import VaeGan
from cmlib.models.vaegan import INFERENCE_BATCH
from cmlib.plots import kinds
from cmlib.plots import notebook_02 as plots
from cmlib.training.batches import Pictures, TrainingData
from cmlib.training.small_vaegan import ANSWERS, untrained_small_vaegan

notebook = Notebook("02_face_vae", needs=faces)
PENALTIES = [1e-4, 1e-3, 1e-2, 1e-1]  # inverse strengths C of the penalty of the probe
NEVER = -1e9  # log probability of a class that a probe has not met


@computed_once
def network(run: Run) -> VaeGan:
    """The face VAE-GAN of the run."""
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


# -------------------------------------------------------------------- small VAE-GANs

INVENTED = 10  # latents drawn from the prior, the same after every epoch
# What is looked at of each step.
GAME = ["step", "epoch", "discriminator", *ANSWERS, "critic trained", "decoder trained"]


def small_settings(run: Run) -> dict[str, VaeGanConfig]:
    """The settings of the small VAE-GANs by name; profile smoke trains them for a single epoch."""
    if run.profile_name != "smoke":
        return SMALL_FACES
    return {name: dataclasses.replace(each, epochs=1) for name, each in SMALL_FACES.items()}


@dataclass(frozen=True)
class Cartoons:
    """Cartoon faces to learn from, and others on which networks are compared."""

    data: TrainingData  # labelled with moods
    strangers: Tensor  # (N, 3, 32, 32) in 0...1, never trained on
    moods: np.ndarray  # (N,) of the strangers, as positions in ``cartoons.MOODS``
    shown: np.ndarray  # positions of two strangers of each mood, to look at
    one_face: dict  # what the first stranger is drawn from, for ``cartoons.picture``

    @property
    def names(self) -> list[str]:
        """The moods of ``shown``."""
        return [list(cartoons.MOODS)[mood] for mood in self.moods[self.shown]]


def strangers(run: Run) -> int:
    """On how many cartoons the small networks are compared; as many teach the judge of them."""
    return 100 if run.profile_name == "smoke" else 500


@computed_once
def small_corpus(run: Run) -> Cartoons:
    """The cartoons of a run: 4,000 to learn from (profile smoke: 128), and ``strangers``."""
    count = 128 if run.profile_name == "smoke" else 4000
    pictures, table = cartoons.draw(count, seed=run.seed)
    others, table_of_others = cartoons.draw(strangers(run), seed=run.seed + 1)
    numbers = {mood: number for number, mood in enumerate(cartoons.MOODS)}
    rows = np.arange(count)
    data = TrainingData(
        Pictures(pictures), rows, rows[:0], labels=table.mood.map(numbers).to_numpy()
    )
    unknown = Pictures(others).batch(np.arange(len(others)))
    moods = table_of_others.mood.map(numbers)
    shown = moods.groupby(moods).head(2).sort_values(kind="stable").index.to_numpy(copy=True)
    one_face = table_of_others.to_dict("records")[0]
    return Cartoons(data, unknown, moods.to_numpy(), shown, one_face)


def prior_latents(latent: int, seed: int) -> Tensor:
    """Points of the prior from which faces of nobody are painted: (INVENTED, latent)."""
    return torch.randn(INVENTED, latent, generator=torch.Generator().manual_seed(seed))


@computed_once
def small_training(run: Run, name: str) -> SmallTraining:
    """One of ``small_settings``, trained from principal components: shipped, kept or trained now.

    Its course shows the cartoons to look at, reconstructed, and then ``INVENTED`` faces of nobody.
    """
    settings, corpus = small_settings(run)[name], small_corpus(run)
    x = corpus.strangers[corpus.shown]
    points = prior_latents(settings.latent, run.seed)

    def paint(unfinished: VaeGan) -> Tensor:
        return torch.cat([unfinished(x)[0], unfinished.decoder(points)])

    return small_vaegan(name, corpus.data, settings, run.seed, paint)


def by_epoch(steps: pd.DataFrame) -> pd.DataFrame:
    """The means of ``GAME`` in each epoch."""
    table = pd.DataFrame(steps[GAME]).drop(columns="step").astype(float)
    return pd.DataFrame(table.groupby("epoch", as_index=False).mean())


@notebook.figure(
    "02_learning",
    plots.learning,
    "what a small VAE-GAN paints while it learns",
    work="trains a small VAE-GAN",
)
def learning(run: Run) -> dict:
    """The course of the training of the small VAE-GAN; ``table`` is ``by_epoch`` of its steps."""
    training, corpus = small_training(run, "VAE-GAN"), small_corpus(run)
    count = len(corpus.shown)
    return {
        "originals": list(corpus.strangers[corpus.shown]),
        "epochs": [list(pictures[:count]) for pictures in training.course],
        "invented": [list(pictures[count:]) for pictures in training.course],
        "moods": corpus.names,
        "table": by_epoch(training.steps),
    }


@notebook.figure(
    "02_game",
    plots.game,
    "the game of discriminator and decoder, step by step",
    work="trains a small VAE-GAN",
)
def game(run: Run) -> pd.DataFrame:
    """The steps of the small VAE-GAN, with the columns of ``GAME``."""
    return small_training(run, "VAE-GAN").steps[GAME]


@notebook.figure(
    "02_measures",
    plots.measures,
    "the same faces, learnt with three measures of likeness",
    work="trains three small VAE-GANs",
)
@torch.no_grad()
def measures(run: Run) -> dict:
    """Cartoons and what ``small_networks`` make of them; ``table`` is ``small_numbers``."""
    corpus = small_corpus(run)
    x = corpus.strangers[corpus.shown]
    networks = small_networks(run)
    return {
        "originals": list(x),
        "decoded": {name: list(trained(x)[0].clamp(0, 1)) for name, trained in networks.items()},
        "moods": corpus.names,
        "table": small_numbers(run),
    }


@computed_once
def small_networks(run: Run) -> dict[str, VaeGan]:
    """The small VAE-GANs by name, and the one that they start from: "components alone"."""
    settings = small_settings(run)["VAE-GAN"]
    untrained = untrained_small_vaegan(small_corpus(run).data, settings, run.seed)
    networks = {"components alone": untrained.eval()}
    return networks | {name: small_training(run, name).network for name in small_settings(run)}


def gradient_energy(x: Tensor) -> float:
    """Mean squared difference of neighbouring pixels (B, C, S, S): how sharp pictures are."""
    return float(x.diff(dim=-1).square().mean() + x.diff(dim=-2).square().mean())


@computed_once
def small_numbers(run: Run) -> pd.DataFrame:
    """How well ``small_networks`` paint cartoons that they have never seen, a row for each.

    ``error`` is the mean squared error of pixels, and ``sharpness`` the gradient energy as a share
    of that of the originals. ``read`` is the share of faces whose mood a judge names that has
    learnt from other cartoons, and ``plus_minus`` half the width of its 95 % interval. The row
    "originals" says how much the judge reads of those.
    """
    data = small_corpus(run).data
    records = {
        name: small_vaegans.record_of(data, settings, run.seed)
        for name, settings in small_settings(run).items()
    }
    return kept_table(
        run,
        "cartoons",
        lambda: measure_small_networks(run),
        networks=(),
        settings={"strangers": strangers(run)},
        below={"judge": provenance.of_code("judge"), **records},
    )


@torch.no_grad()
def measure_small_networks(run: Run) -> pd.DataFrame:
    """The table of ``small_numbers``."""
    corpus, smoke = small_corpus(run), run.profile_name == "smoke"
    pictures, table = cartoons.draw(strangers(run), seed=run.seed + 2)
    labels = table.mood.map({mood: i for i, mood in enumerate(cartoons.MOODS)}).to_numpy()
    rows = np.arange(len(pictures))
    judge = judges.train_judge(
        Pictures(pictures), rows, labels, epochs=1 if smoke else judges.EPOCHS, seed=run.seed
    )
    x = corpus.strangers
    numbers = []
    for name, trained in {"originals": None, **small_networks(run)}.items():
        painted = x
        if trained is not None:
            latents = [trained.encoder(batch)[0] for batch in x.split(50)]
            painted = torch.cat([trained.decoder(mu).clamp(0, 1) for mu in latents])
        share_read = float((judges.predict(judge, painted).argmax(1) == corpus.moods).mean())
        row = {
            "network": name,
            "error": float((painted - x).square().mean()),
            "sharpness": gradient_energy(painted) / gradient_energy(x),
            "read": share_read,
            # Every cartoon shows somebody else, so that the answers are independent.
            "plus_minus": 1.96 * (share_read * (1 - share_read) / len(x)) ** 0.5,
        }
        numbers.append(row)
    return pd.DataFrame(numbers)


# -------------------------------------------------------------------- the network of the run


@notebook.figure("02_loss_curves", plots.loss_curves, "training of the face VAE-GAN")
def loss_curves(run: Run) -> dict:
    """``table`` is the history of the face VAE-GAN, or of the small one (``short``)."""
    history = run.history("face")
    if history is None:
        steps = small_training(run, "VAE-GAN").steps
        return {"table": by_epoch(steps), "short": True}
    return {"table": history, "short": False}


@torch.no_grad()
def reconstruct(run: Run, rows: np.ndarray) -> Tensor:
    """Reconstructions (N, 3, S, S) in 0...1 from the latent means of the pictures ``rows`` (N,)."""
    batches = np.array_split(rows, -(-len(rows) // INFERENCE_BATCH))
    return torch.cat([network(run)(run.faces.batch(batch))[0].clamp(0, 1) for batch in batches])


@notebook.figure("02_reconstructions", plots.reconstructions, "faces of strangers, reconstructed")
def reconstructions(run: Run) -> dict:
    """The pictures of ``clips_to_show``, and what the decoder makes of their latent means."""
    shown = clips_to_show(run)
    rows = shown.row.to_numpy()
    originals = list(run.faces.batch(rows))
    decoded = list(reconstruct(run, rows))
    return {"originals": originals, "decoded": decoded, "emotions": list(shown.emotion)}


@notebook.figure("02_prior_samples", plots.prior_samples, "faces of nobody, decoded from the prior")
@torch.no_grad()
def prior_samples(run: Run) -> dict:
    """``pictures`` (3, S, S) are decoded from 16 latents that are drawn from the prior."""
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
    """``points`` (N, D) are the latent means of the validation frames."""
    frames = run.frames_of(run.split.val)
    clips = run.store.clips.iloc[run.frame_clip[frames]]
    return {"points": run.face_latents.mu[0].numpy()[frames], "emotions": list(clips.emotion)}


@computed_once
def three_scores(run: Run) -> dict[str, dict]:
    """``run.scores`` on validation actors, for readers that learn from training actors.

    A judge reads real crops and reconstructions; a linear probe reads latents.
    """
    table = kept_table(
        run,
        "three_numbers",
        lambda: measure_three_scores(run),
        networks=("face",),
        settings={"penalties": PENALTIES},
        below={"judge": judges.judge_record(run, "training")},
    )
    scores: dict[str, dict] = {}
    for row in table.to_dict("records"):
        interval = {key: row[key] for key in ("value", "low", "high")}
        scores.setdefault(row["reader"], {})[row["score"]] = interval
    return scores


def measure_three_scores(run: Run) -> pd.DataFrame:
    """The scores of ``three_scores`` in rows: reader, score, value, low, high."""
    train, val = run.frames_of(run.split.train), run.frames_of(run.split.val)
    labels = run.clip_labels[run.frame_clip]
    z = run.face_latents.mu[0].numpy()

    # The penalty of the probe is chosen by cross-validation over training actors.
    actors = run.store.clips.actor.to_numpy()[run.frame_clip[train]]
    folds = GroupKFold(min(5, len(np.unique(actors))))
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500))
    probe = GridSearchCV(pipeline, {"logisticregression__C": PENALTIES}, cv=folds)
    probe = probe.fit(z[train], labels[train], groups=actors)
    linear = np.full((len(val), len(run.classes)), NEVER)
    linear[:, probe.classes_] = probe.predict_log_proba(z[val])

    judge = judges.judge_for_run(run, "training")
    answers = {
        "judge on real crops": judges.predict(judge, run.faces.batch(val)),
        "linear probe on the latent": linear,
        "judge on reconstructions": judges.predict(judge, reconstruct(run, val)),
    }
    rows = []
    for reader, answer in answers.items():
        for score, interval in run.scores(answer, val).items():
            rows.append({"reader": reader, "score": score, **interval})
    return pd.DataFrame(rows)


@notebook.figure(
    "02_three_numbers",
    plots.three_numbers,
    "where the expression gets lost",
    work="trains a judge and a probe",
)
def three_numbers(run: Run) -> dict:
    """``table`` is ``three_scores`` with the columns where, score, value, low, high."""
    table = kinds.score_table(three_scores(run), "where")
    return {"table": table, "chance": 1 / len(run.classes)}
