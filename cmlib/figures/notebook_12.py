"""The figures of notebook 12: people in place of drawings.

No photograph is needed. The faces are decoded from stored latents of strangers, and what was
measured on photographs lies beside the networks.
"""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import torch

from cmlib import checkpoints, files
from cmlib.checkpoints import CheckpointError
from cmlib.evaluation.observers import Observers, share_gain
from cmlib.experiment.run import Run
from cmlib.figures.figure import Notebook, computed_once
from cmlib.models.observers import OBSERVED_EMOTIONS
from cmlib.perceiver import MEL_SHAPE, PHOTOGRAPHS, EncodedFace, EncodedVoice, Perceiver, Perception
from cmlib.plots import notebook_12 as plots

FACE_METRICS = files.ROOT / "checkpoints" / "photographs-128" / "fold-1" / "metrics.json"
RUN_METRICS = files.ROOT / "checkpoints" / PHOTOGRAPHS / "representations.json"
SETS = {
    "performers": "unknown performers",
    "portraits": "portraits, own voices",
    "london": "London, voices of others",
}
MODELS = ("face", "voice", "product_of_experts", "concatenation", "can_released", "can")
JUDGES = {"observers": "observers' judge", "face_api": "face-api", "facex": "facex"}


def shipped(run: Run) -> str:
    """Needed: the networks of photographs, and what was measured with them."""
    for path in (FACE_METRICS, RUN_METRICS):
        if not path.exists():
            return f"{path.name}: not there; get checkpoints/ (git checkout checkpoints)"
    return ""


notebook = Notebook("12_real_faces", needs=shipped)


@computed_once
def perceiver(run: Run) -> Perceiver:
    """The networks that have learnt photographs."""
    return Perceiver.load(PHOTOGRAPHS)


@computed_once
def strangers(run: Run) -> dict[str, EncodedFace]:
    """The neutral faces whose latents are stored, by person, decoded."""
    people = perceiver(run).people
    faces = {
        person: perceiver(run).decode_face(posterior)
        for (person, emotion), posterior in people.items()
        if emotion == "neutral"
    }
    if not faces:
        raise CheckpointError(
            "no stored faces belong to this face network; make them again: "
            "python -m tools.photographs.people"
        )
    return faces


@computed_once
def voices(run: Run) -> dict[str, EncodedVoice]:
    """The typical voice of each emotion that observers were asked for: a mean over many latents."""
    folder = files.ROOT / "checkpoints" / PHOTOGRAPHS
    typical = {
        emotion: posterior
        for (_, emotion), posterior in checkpoints.load_people(folder / "voice").items()
    }
    if not typical:
        raise CheckpointError(
            "no typical voices belong to this voice network; make them again: "
            "python -m tools.photographs.typical_voices"
        )
    silence = np.zeros(MEL_SHAPE, np.float32)  # a mean of latents has no spectrogram
    return {emotion: EncodedVoice(silence, typical[emotion]) for emotion in OBSERVED_EMOTIONS}


@computed_once
def perceptions(run: Run) -> dict[str, dict[str, Perception]]:
    """Every stranger in the context of every voice, by person and emotion."""
    return {
        person: {
            emotion: perceiver(run).perceive(face, voice) for emotion, voice in voices(run).items()
        }
        for person, face in strangers(run).items()
    }


# -------------------------------------------------------------------- pictures


@notebook.figure("12_beginning", plots.beginning, "what components draw, and what convolutions add")
def beginning(run: Run) -> dict:
    """Pairs of pictures (S, S, 3) of each stranger: components alone, and the whole decoder."""
    face = perceiver(run).face
    pictures = []
    for stranger in strangers(run).values():
        with torch.inference_mode():
            alone = face.decoder.linear.draw(stranger.posterior.mu).clamp(0, 1)[0]
        pictures.append((alone.permute(1, 2, 0).numpy(), stranger.reconstruction))
    return {"pictures": pictures}


@notebook.figure("12_in_context", plots.in_context, "strangers in the context of typical voices")
def in_context(run: Run) -> dict:
    """``perceptions`` of each stranger by emotion of the voice."""
    return {"perceptions": perceptions(run)}


@notebook.figure("12_strength", plots.strength, "one stranger, one voice, rising strength")
def strength(run: Run) -> dict:
    """One stranger in the context of two voices at rising strengths."""
    person, face = next(iter(strangers(run).items()))
    rows = {
        emotion: [perceiver(run).perceive(face, voices(run)[emotion], t) for t in plots.STRENGTHS]
        for emotion in ("happy", "surprised")
        if emotion in voices(run)
    }
    return {"perceptions": rows}


# -------------------------------------------------------------------- what was measured


def face_metrics() -> dict:
    """What ``python -m tools.photographs evaluate`` has measured."""
    return json.loads(FACE_METRICS.read_text())


def run_metrics() -> dict:
    """What ``python -m tools.photographs represent`` has measured, over five folds."""
    return json.loads(RUN_METRICS.read_text())


def reconstructions() -> pd.DataFrame:
    """Error and sharpness of people who trained nothing, beside as many principal components."""
    rows = []
    for name, scores in face_metrics()["reconstruction"].items():
        rows.append(
            {
                "set": name,
                "people": scores["people"],
                "squared error": scores["mse"]["value"],
                "of components": scores["components_mse"]["value"],
                "gradients kept": scores["gradients_kept"]["value"],
                "by components": scores["components_gradients_kept"]["value"],
            }
        )
    return pd.DataFrame(rows)


@notebook.figure("12_recognition", plots.recognition, "faces, voices, and both")
def recognition(run: Run) -> pd.DataFrame:
    """A row for each model: its accuracy on the test people of all folds, with the interval."""
    accuracy = run_metrics()["recognition"]["accuracy"]
    return pd.DataFrame([{"model": name, **accuracy[name]} for name in MODELS])


def gains(strength: str = "1") -> pd.DataFrame:
    """Columns set, judge, emotion, before, after, value, low, high: what context changes."""
    rows = []
    for name, label in SETS.items():
        measured = run_metrics()["representations"].get(name, {}).get(strength, {})
        for judge, title in JUDGES.items():
            for emotion, row in measured.get(judge, {}).items():
                rows.append({"set": label, "judge": title, "emotion": emotion, **row})
    return pd.DataFrame(rows)


@notebook.figure("12_gains", plots.gains, "how many more would name the emotion of the voice")
def gains_figure(run: Run) -> pd.DataFrame:
    """``gains`` at full strength, without the rows of all emotions together."""
    table = gains()
    return table.loc[table.emotion != "all"].reset_index(drop=True)


def same_person() -> pd.DataFrame:
    """Columns set, strength, same_person and face_found: shares with intervals, as text."""
    rows = []
    text = "{value:.2f} ({low:.2f} to {high:.2f})".format
    for name, label in SETS.items():
        for strength, measured in run_metrics()["representations"].get(name, {}).items():
            row = {"set": label, "strength": strength}
            for column in ("same_person", "face_found"):
                if column in measured:
                    row[column] = text(**measured[column])
            rows.append(row)
    return pd.DataFrame(rows)


@computed_once
def seen_by_observers(run: Run) -> pd.DataFrame:
    """What the judge of observers predicts for the strangers above, before and after."""
    judge = Observers.shipped()
    before, after, emotions, people = [], [], [], []
    for number, row in enumerate(perceptions(run).values()):
        for emotion, perception in row.items():
            before.append(perception.reconstruction)
            after.append(perception.perceived)
            emotions.append(emotion)
            people.append(number)
    shares = [
        judge.probabilities(torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2))
        for pictures in (before, after)
    ]
    return share_gain(shares[0], shares[1], emotions, np.array(people))
