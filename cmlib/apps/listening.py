"""The listening experiment of notebook 00: voices, faces, and both at once.

The design is the expanded factorial one of Massaro and Egan (1996, doi 10.3758/BF03212421): every
face and every voice is judged alone, and in all combinations. As in de Gelder and Vroomen (2000,
doi 10.1080/026999300378824), the face is a still picture. Clips are those of two synthetic test
actors. A third actor lends a neutral face, which is paired with two voices.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import ipywidgets as widgets
import numpy as np
import pandas as pd
from PIL import Image

from cmlib import files
from cmlib.corpora.names import EMOTIONS
from cmlib.preparation import media

CLIPS = files.ROOT / "data" / "actors"  # as shipped, wherever the reader keeps other corpora
CHOICES = ("happy", "sad", "angry", "fearful")  # the answers to choose from
CONDITIONS = ("voice alone", "face alone", "congruent", "incongruent", "neutral face")
PICTURE_SIDE = 264  # pixels on the screen; the clips have 176
COLUMNS = ["number", "condition", "face", "voice", "answer"]


class AnswerError(ValueError):
    """An answer that is none of the choices, or one to a trial that does not exist."""


@dataclass(frozen=True)
class Voice:
    """The sound of a clip."""

    actor: int
    emotion: str

    @property
    def path(self) -> Path:
        """The file of the clip."""
        return clip_path(self.actor, self.emotion)


@dataclass(frozen=True)
class Face:
    """One frame of a clip, at ``moment`` in 0...1 of its length."""

    actor: int
    emotion: str
    moment: float
    statement: int = 1

    @property
    def path(self) -> Path:
        """The file of the clip."""
        return clip_path(self.actor, self.emotion, self.statement)

    def picture(self) -> np.ndarray:
        """(H, W, 3) uint8."""
        frames, _ = media.read_video(self.path)
        return frames[round(self.moment * (len(frames) - 1))]


def clip_path(actor: int, emotion: str, statement: int = 1) -> Path:
    """The first repetition of a shipped clip, in the strongest intensity that the emotion has."""
    intensity = 1 if emotion == EMOTIONS[0] else 2
    code = f"01-01-{EMOTIONS.index(emotion) + 1:02d}-{intensity:02d}-{statement:02d}-01-{actor:02d}"
    return CLIPS / f"Actor_{actor:02d}" / f"{code}.mp4"


# Frames with open eyes and a typical mouth, chosen by looking at them.
FACES = (
    Face(16, "happy", 0.65),
    Face(16, "sad", 0.65),
    Face(15, "angry", 0.35),
    Face(15, "fearful", 0.35),
)
VOICES = tuple(Voice(face.actor, face.emotion) for face in FACES)
NEUTRAL_FACE = Face(5, "neutral", 0.85, statement=2)
VOICES_FOR_NEUTRAL = (Voice(5, "happy"), Voice(5, "angry"))


# -------------------------------------------------------------------- what is shown


@dataclass(frozen=True)
class Trial:
    """A face, a voice, or both, which the reader is asked about."""

    face: Face | None
    voice: Voice | None

    @property
    def condition(self) -> str:
        """One of ``CONDITIONS``."""
        if self.face is None:
            return "voice alone"
        if self.voice is None:
            return "face alone"
        if self.face.emotion == EMOTIONS[0]:
            return "neutral face"
        return "congruent" if self.face.emotion == self.voice.emotion else "incongruent"


def create_trials(seed: int = 0) -> list[Trial]:
    """All trials: first voices, then faces, then pairs; each part in an order drawn by ``seed``."""
    rng = np.random.default_rng(seed)
    voices = [Trial(None, voice) for voice in VOICES]
    faces = [Trial(face, None) for face in FACES]
    pairs = [Trial(f, v) for f in FACES for v in VOICES if f.actor == v.actor]
    pairs += [Trial(NEUTRAL_FACE, voice) for voice in VOICES_FOR_NEUTRAL]
    order = []
    for part in (voices, faces, pairs):
        order += [part[index] for index in rng.permutation(len(part))]
    return order


def sound_track(path: Path) -> bytes:
    """The sound of a clip as an M4A file, as it was encoded in the clip."""
    buffer = io.BytesIO()
    with av.open(str(path)) as clip, av.open(buffer, "w", format="ipod") as sound:
        source = clip.streams.audio[0]
        target = sound.add_stream_from_template(source)
        for packet in clip.demux(source):
            if packet.dts is None:  # the mark of the end
                continue
            packet.stream = target
            sound.mux(packet)
    return buffer.getvalue()


def player(voice: Voice) -> str:
    """HTML that plays a voice; the sound is inside it."""
    data = base64.b64encode(sound_track(voice.path)).decode()
    return f'<audio controls src="data:audio/mp4;base64,{data}"></audio>'


def picture(face: Face) -> str:
    """HTML that shows a face; the picture is inside it, and its description does not tell."""
    buffer = io.BytesIO()
    Image.fromarray(face.picture()).save(buffer, "JPEG", quality=88)
    data = base64.b64encode(buffer.getvalue()).decode()
    return (
        f'<img width="{PICTURE_SIDE}" alt="the face of a synthetic actor, for you to judge" '
        f'src="data:image/jpeg;base64,{data}">'
    )


def card(trial: Trial, number: int) -> str:
    """HTML of one trial, which does not say what the trial shows."""
    parts = [picture(trial.face)] if trial.face else []
    parts += [player(trial.voice)] if trial.voice else []
    return f"<p><b>{number}</b></p>" + "".join(f"<p>{part}</p>" for part in parts)


def page(trials: Sequence[Trial]) -> str:
    """HTML of all trials below each other, with their numbers, to be unfolded."""
    cards = "\n".join(card(trial, number) for number, trial in enumerate(trials, start=1))
    return f"<details><summary>All {len(trials)} trials on one page</summary>{cards}</details>"


# -------------------------------------------------------------------- answers


class Session:
    """The trials one after the other, as a widget; display ``widget``.

    ``answer`` does what the buttons do. ``answers`` holds one of ``CHOICES`` for each trial, or ""
    where there is none yet.
    """

    def __init__(self, trials: Sequence[Trial]):
        self.trials = list(trials)
        self.answers = [""] * len(self.trials)
        self.position = 0
        self.content = widgets.HTML()
        self.question = widgets.Label("What does this person express?")
        self.choices = [widgets.Button(description=choice) for choice in CHOICES]
        for button in self.choices:
            button.on_click(lambda clicked: self.answer(clicked.description))
        self.widget = widgets.VBox([self.content, self.question, widgets.HBox(self.choices)])
        self._show()

    def answer(self, choice: str) -> None:
        """Keep the answer to the present trial, and show the next."""
        self.note({self.position + 1: choice})
        self.position += 1
        self._show()

    def note(self, answers: Mapping[int, str]) -> None:
        """Keep answers by the number of their trial, from 1; AnswerError if one cannot be used."""
        for number, choice in answers.items():
            if not 1 <= number <= len(self.trials):
                raise AnswerError(f"trial {number}: there are trials 1 to {len(self.trials)}")
            if choice not in CHOICES:
                raise AnswerError(f"trial {number}, {choice!r}: answer {', '.join(CHOICES)}")
            self.answers[number - 1] = choice

    def _show(self) -> None:
        if self.position < len(self.trials):
            self.content.value = card(self.trials[self.position], self.position + 1)
            return
        self.content.value = "<p>That was all. Thank you! Run the next cell.</p>"
        for part in (self.question, *self.choices):
            part.layout.display = "none"


def outcomes(trials: Sequence[Trial], answers: Sequence[str]) -> pd.DataFrame:
    """A row for each trial: its number and condition, the emotions shown, and the answer."""
    rows = []
    for number, (trial, answer) in enumerate(zip(trials, answers, strict=True), start=1):
        face = trial.face.emotion if trial.face else ""
        voice = trial.voice.emotion if trial.voice else ""
        rows.append((number, trial.condition, face, voice, answer))
    return pd.DataFrame(rows, columns=pd.Index(COLUMNS))


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """How often the answers of ``outcomes`` were the emotion of the face, and that of the voice."""
    answered = table.loc[table.answer != ""]
    rows = {}
    for condition in CONDITIONS:
        part = answered.loc[answered.condition == condition]
        rows[condition] = {
            "answers": len(part),
            "as the face": int((part.answer == part.face).sum()),
            "as the voice": int((part.answer == part.voice).sum()),
        }
    return pd.DataFrame(rows).T


def sentence(table: pd.DataFrame, who: str = "you") -> str:
    """What the answers of ``outcomes`` amount to, in words; ``who`` has given them."""
    counts = summary(table)
    if not counts.answers.sum():
        return "There are no answers yet, so there is nothing to count."
    alone_face, alone_voice = counts.loc["face alone"], counts.loc["voice alone"]
    both, against = counts.loc["congruent"], counts.loc["incongruent"]
    lines = [
        f"Of the faces alone, {who} named {alone_face['as the face']} of {alone_face.answers}, "
        f"and of the voices alone {alone_voice['as the voice']} of {alone_voice.answers}.",
        f"Where both agreed, {who} named {both['as the face']} of {both.answers}.",
        f"Where they disagreed, {who} followed the face in {against['as the face']} and the "
        f"voice in {against['as the voice']} of {against.answers}.",
    ]
    neutral = table.loc[(table.condition == "neutral face") & (table.answer != "")]
    for row in neutral.sort_values("voice").itertuples():
        lines.append(f"With the {row.voice} voice, {who} called the neutral face {row.answer}.")
    return " ".join(lines)
