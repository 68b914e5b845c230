"""The figures of notebook 00: the shipped networks in the reader's experiment.

Nothing is trained, and no corpus is prepared: clips and networks are the shipped ones, whatever the
run is about. All actors are test actors of these networks.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch

from cmlib import checkpoints, files, metrics
from cmlib.apps import listening
from cmlib.apps.listening import CHOICES, Trial, clip_path
from cmlib.experiment.run import Run
from cmlib.figures.figure import Notebook, computed_once
from cmlib.models import Classifier, Posterior
from cmlib.perceiver import EncodedFace, EncodedVoice, Perceiver
from cmlib.plots import notebook_00 as plots

NETWORKS = files.ROOT / "checkpoints" / "actors-quick"
METRICS = files.ROOT / "docs" / "metrics"
REAL_FACES = files.ROOT / "checkpoints" / "performers+ravdess-photographs"
ACTORS = (2, 5, 14, 15, 16)  # the test actors of these networks
ENDS = ("sad", "happy")  # the emotions at the two ends of the continuum
STATEMENTS = (1, 2)  # an actor's clips of one emotion that are used, by their sentence
STEPS = np.linspace(0, 1, 11)
SHOWN_STEPS = STEPS[::2]  # of which pictures are drawn
HEARD = ("happy", "angry", "surprised")  # with the neutral faces
STRENGTH = 0.6  # of the context for these pictures; stronger ones come apart in places


def shipped(run: Run) -> str:
    """Needed: the shipped networks and clips."""
    for path in (NETWORKS / "can.safetensors", clip_path(ACTORS[0], ENDS[0])):
        if not path.exists():
            return f"{path.name}: not there; get it again (git checkout checkpoints data/actors)"
    return ""


notebook = Notebook("00_why_context", needs=shipped)


@computed_once
def perceiver(run: Run) -> Perceiver:
    """The shipped networks, not those of the run."""
    return Perceiver.load(NETWORKS)


@computed_once
def voice_classifier(run: Run) -> Classifier:
    """The linear classifier that reads the latent of a voice alone."""
    return checkpoints.load(NETWORKS / "classifier_voice", Classifier)[0]


@computed_once
def face(run: Run, actor: int, emotion: str, statement: int = 1) -> EncodedFace:
    """The middle frame of a shipped clip."""
    return perceiver(run).encode_face(clip_path(actor, emotion, statement))


@computed_once
def voice(run: Run, actor: int, emotion: str, statement: int = 1) -> EncodedVoice:
    """The sound of a shipped clip."""
    return perceiver(run).encode_voice(clip_path(actor, emotion, statement))


# -------------------------------------------------------------------- the reader's trials


@computed_once
def single_senses(run: Run, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """What the face and the voice of each trial say alone: probabilities (N, K) twice.

    A row of NaN stands where a trial has no face, or no voice.
    """
    trials = listening.create_trials(seed)
    by_face, by_voice = np.full((2, len(trials), len(perceiver(run).classes)), np.nan)
    for number, trial in enumerate(trials):
        if trial.face:
            by_face[number] = _encoded_face(run, trial.face).probabilities
        if trial.voice:
            with torch.inference_mode():
                logits = voice_classifier(run)(voice_of(run, trial.voice).posterior.mu)
            by_voice[number] = logits.softmax(1)[0].numpy()
    return by_face, by_voice


@computed_once
def _encoded_face(run: Run, shown: listening.Face) -> EncodedFace:
    return perceiver(run).encode_face(shown.picture())


def voice_of(run: Run, heard: listening.Voice) -> EncodedVoice:
    """A voice of the experiment, encoded."""
    return voice(run, heard.actor, heard.emotion)


@computed_once
def probabilities(run: Run, seed: int) -> np.ndarray:
    """(N, K) class probabilities for each trial of the reader.

    One classifier reads faces alone, one reads voices alone, and the context network reads pairs.
    """
    by_face, by_voice = single_senses(run, seed)
    answers = np.where(np.isnan(by_face), by_voice, by_face)
    for number, trial in enumerate(listening.create_trials(seed)):
        if trial.face and trial.voice:
            perception = perceiver(run).perceive(
                _encoded_face(run, trial.face), voice_of(run, trial.voice)
            )
            answers[number] = perception.probabilities
    return answers


def choose(run: Run, answers: np.ndarray) -> list[str]:
    """The most probable of the reader's ``CHOICES`` for each row of probabilities (N, K)."""
    allowed = [perceiver(run).classes.index(choice) for choice in CHOICES]
    return [CHOICES[best] for best in answers[:, allowed].argmax(1)]


def pairs(trials: Sequence[Trial]) -> np.ndarray:
    """The positions of the trials that have both a face and a voice."""
    return np.array([n for n, trial in enumerate(trials) if trial.face and trial.voice])


# -------------------------------------------------------------------- a continuum of faces


def mixed_faces(run: Run, actor: int, statement: int, steps: np.ndarray) -> Posterior:
    """(steps, D) latents on the straight way between the two faces of ``ENDS`` of an actor."""
    first, second = (face(run, actor, emotion, statement).posterior for emotion in ENDS)
    t = torch.as_tensor(steps, dtype=torch.float32)[:, None]
    return Posterior(*((1 - t) * start + t * end for start, end in zip(first, second)))


@computed_once
def forced_choices(run: Run) -> pd.DataFrame:
    """Columns actor, voice, step and value: the second of ``ENDS`` rather than the first.

    ``value`` is its probability if only these two may be answered, as the mean over the sentences
    of the face and of the voice.
    """
    rows = []
    for actor in ACTORS:
        faces = [mixed_faces(run, actor, statement, STEPS) for statement in STATEMENTS]
        with torch.inference_mode():
            alone = [perceiver(run).classifier(mixed.mu) for mixed in faces]
        answers = {plots.NO_VOICE: alone}
        for emotion in ENDS:
            voices = [voice(run, actor, emotion, statement) for statement in STATEMENTS]
            answers[emotion] = [_heard(run, f, v) for f, v in itertools.product(faces, voices)]
        for name, logits in answers.items():
            shares = _share_of_second(run, torch.stack(logits))
            rows += [(actor, name, step, value) for step, value in zip(STEPS, shares)]
    return pd.DataFrame(rows, columns=pd.Index(["actor", "voice", "step", "value"]))


@torch.inference_mode()
def _heard(run: Run, faces: Posterior, heard: EncodedVoice) -> torch.Tensor:
    """(steps, K) logits of the context network for every face with one voice."""
    same_voice = heard.posterior.map(lambda x: x.expand(len(faces.mu), -1))
    logits, _ = perceiver(run).can(faces, same_voice, 1.0)
    return logits


def _share_of_second(run: Run, logits: torch.Tensor) -> np.ndarray:
    """(steps,) mean probability of the second of ``ENDS`` against the first, of (N, steps, K)."""
    columns = [perceiver(run).classes.index(emotion) for emotion in ENDS]
    return logits[..., columns].softmax(-1)[..., 1].mean(0).numpy()


@notebook.figure(
    "00_continuum", plots.continuum, "a face between sad and happy, read with two voices"
)
def continuum(run: Run) -> dict:
    """``table`` has a row for each voice (or none) and step: voice, step, value, low, high."""
    answers = forced_choices(run)
    rows = []
    for emotion in (ENDS[1], plots.NO_VOICE, ENDS[0]):
        for step in STEPS:
            part = answers.loc[(answers.voice == emotion) & (answers.step == step)]
            interval = metrics.mean_interval(part.value.to_numpy(), part.actor.to_numpy())
            rows.append({"voice": emotion, "step": step, **interval})
    faces = mixed_faces(run, ACTORS[-1], STATEMENTS[0], SHOWN_STEPS)
    pictures = list(perceiver(run).decode(faces.mu))
    return {"table": pd.DataFrame(rows), "pictures": pictures, "answers": ENDS}


def influence(run: Run) -> dict[str, dict[str, float]]:
    """How far a voice and how far a face moves the answer, from one of ``ENDS`` to the other.

    "voice": the mean over all steps of the difference between the two voices. "face": the mean over
    both voices of the difference between the two ends. Each with an interval over actors.
    """
    answers = forced_choices(run).pivot(index=["actor", "step"], columns="voice", values="value")
    by_voice = (answers[ENDS[1]] - answers[ENDS[0]]).groupby("actor").mean()
    with_voices = answers[list(ENDS)].mean(axis=1).unstack("step")
    by_face = with_voices[STEPS[-1]] - with_voices[STEPS[0]]
    return {
        name: metrics.mean_interval(values.to_numpy(), values.index.to_numpy())
        for name, values in {"voice": by_voice, "face": by_face}.items()
    }


# -------------------------------------------------------------------- neutral faces


@notebook.figure(
    "00_neutral_faces", plots.neutral_faces, "two neutral faces, perceived with three voices"
)
def neutral_faces(run: Run) -> dict:
    """``pictures`` (S, S, 3) by actor: reconstructed, and perceived with each of ``HEARD``."""
    faces = {
        listening.NEUTRAL_FACE.actor: _encoded_face(run, listening.NEUTRAL_FACE),
        ACTORS[-1]: face(run, ACTORS[-1], "neutral"),
    }
    pictures = {}
    for actor, neutral in faces.items():
        row = [neutral.reconstruction]
        for emotion in HEARD:
            heard = voice(run, actor, emotion)
            row.append(perceiver(run).perceive(neutral, heard, STRENGTH).perceived)
        pictures[f"actor {actor}"] = row
    return {"pictures": pictures, "voices": HEARD}


# -------------------------------------------------------------------- the paper, and here


def paper_and_here() -> pd.DataFrame:
    """Columns result, paper, here and file: the numbers of the paper beside those measured here.

    The numbers are read from the files in ``docs/metrics`` and beside the shipped networks.
    """
    five = json.loads((METRICS / "five_folds.json").read_text())
    real = json.loads((REAL_FACES / "representations.json").read_text())
    portraits = real["representations"]["portraits"]["1"]["observers"]["all"]
    models = json.loads((METRICS / "blind_models.json").read_text())["models"]
    chance = 100 / len(models[0]["by_emotion"])
    named = " and ".join(f"{100 * model['named']:.1f} %" for model in models)
    named += f" (chance: {chance:.1f} %)"
    synthetic, photographs = "five_folds.json", "representations.json"
    rows = [
        ("RAVDESS, seven emotions", "81.01 %", "not reproduced: 13 GB to fetch, and a GPU", ""),
        ("MEAD, seven emotions", "79.34 %", "not reproduced: its licence is the user's", ""),
        (
            "synthetic actors: context attention",
            "",
            with_interval(five["models"]["can"]),
            synthetic,
        ),
        ("… as released", "", with_interval(five["models"]["can_released"]), synthetic),
        ("… face only", "", with_interval(five["models"]["face"]), synthetic),
        ("… voice only", "", with_interval(five["models"]["voice"]), synthetic),
        ("… concatenation", "", with_interval(five["models"]["concatenation"]), synthetic),
        (
            "real faces, real voices: context attention",
            "",
            with_interval(real["recognition"]["accuracy"]["can"]),
            photographs,
        ),
        (
            "people rate the pictures",
            "a study with people",
            "not reproduced: nobody has been asked yet",
            "",
        ),
        (
            "… a judge that predicts people, gain",
            "",
            with_interval(portraits, unit="points"),
            photographs,
        ),
        ("… two vision-language models, of portraits", "", named, "blind_models.json"),
    ]
    return pd.DataFrame(rows, columns=pd.Index(["result", "paper", "here", "file"]))


def with_interval(score: dict, unit: str = "%") -> str:
    """A score in 0...1 and its interval in per cent, such as "79.1 % (74.6 – 83.3)"."""
    value, low, high = (f"{100 * score[key]:.1f}" for key in ("value", "low", "high"))
    return f"{value} {unit} ({low} – {high})"
