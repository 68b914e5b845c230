"""Emotion labels, and the file names of RAVDESS and MEAD that carry them."""

from __future__ import annotations

import re
from dataclasses import dataclass

# In RAVDESS names, the number of an emotion is its index + 1.
EMOTIONS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
# The classes to learn. Neutral clips serve to probe mental representations.
CLASSES = EMOTIONS[1:]
# MEAD has contempt in place of calm; the others keep their number.
MEAD_CLASSES = ("contempt", *CLASSES[1:])
MODALITIES = ("audio-visual", "video-only", "audio-only")  # number in RAVDESS = index + 1
CHANNELS = ("speech", "song")
MEAD_EMOTIONS = {  # MEAD's word: this project's word
    "angry": "angry",
    "contempt": "contempt",
    "disgusted": "disgust",
    "fear": "fearful",
    "happy": "happy",
    "neutral": "neutral",
    "sad": "sad",
    "surprised": "surprised",
}


def classes_of(corpus: str, neutral: bool = False) -> tuple[str, ...]:
    """The classes of a corpus in the order of the logits: seven, or eight with ``neutral`` last.

    Those of faces with voices of MEAD ("performers+mead") are MEAD's.
    """
    is_mead = corpus.startswith("mead") or corpus.split("+")[1:2] == ["mead"]
    classes = MEAD_CLASSES if is_mead else CLASSES
    return (*classes, "neutral") if neutral else classes


def label(emotion: str) -> int:
    """Index of ``emotion`` in ``EMOTIONS``; -1 for MEAD's contempt, which RAVDESS does not have."""
    return EMOTIONS.index(emotion) if emotion in EMOTIONS else -1


@dataclass(frozen=True, order=True)
class ClipName:
    """A RAVDESS name, as in ``01-01-05-02-01-01-12``.

    Its numbers are modality, channel, emotion, intensity, statement, repetition and actor.
    """

    actor: int  # 1...24 in RAVDESS; even numbers are women, odd ones men
    channel: str  # of CHANNELS
    emotion: str  # of EMOTIONS
    intensity: int  # 1 normal, 2 strong (never for neutral)
    statement: int  # 1 "Kids are talking by the door", 2 "Dogs are sitting by the door"
    repetition: int  # 1, 2
    modality: str = MODALITIES[0]

    @classmethod
    def parse(cls, stem: str) -> ClipName:
        """Parse a file name without folder and suffix; raises ValueError if it does not fit."""
        if not re.fullmatch(r"\d\d(-\d\d){6}", stem):
            raise ValueError(
                f"{stem!r} is not a RAVDESS name: seven two-digit numbers, "
                "as in 01-01-05-02-01-01-12"
            )
        numbers = [int(number) for number in stem.split("-")]
        modality, channel, emotion, intensity, statement, repetition, actor = numbers
        limits = {  # field: its number, and the largest one allowed
            "modality": (modality, len(MODALITIES)),
            "channel": (channel, len(CHANNELS)),
            "emotion": (emotion, len(EMOTIONS)),
            "intensity": (intensity, 1 if emotion == 1 else 2),
            "statement": (statement, 2),
            "repetition": (repetition, 99),
            "actor": (actor, 99),
        }
        for field, (value, most) in limits.items():
            if not 1 <= value <= most:
                raise ValueError(
                    f"{stem!r} is not a RAVDESS name: {field} {value:02d} is not in 01...{most:02d}"
                )
        return cls(
            actor=actor,
            channel=CHANNELS[channel - 1],
            emotion=EMOTIONS[emotion - 1],
            intensity=intensity,
            statement=statement,
            repetition=repetition,
            modality=MODALITIES[modality - 1],
        )

    @property
    def stem(self) -> str:
        """The file name without suffix; ``ClipName.parse(name.stem) == name``."""
        codes = (
            MODALITIES.index(self.modality) + 1,
            CHANNELS.index(self.channel) + 1,
            EMOTIONS.index(self.emotion) + 1,
            self.intensity,
            self.statement,
            self.repetition,
            self.actor,
        )
        return "-".join(f"{code:02d}" for code in codes)

    @property
    def recording(self) -> tuple:
        """A key of the recording, equal for its audio-visual, video-only and audio-only file."""
        return (
            self.actor,
            self.channel,
            self.emotion,
            self.intensity,
            self.statement,
            self.repetition,
        )


@dataclass(frozen=True, order=True)
class MeadName:
    """A MEAD path, as in ``M003/video/front/angry/level_2/001.mp4``.

    Its sound is ``M003/audio/angry/level_2/001.m4a``.
    """

    actor: str  # M or W and three digits
    emotion: str  # this project's word, a value of MEAD_EMOTIONS
    level: int  # 1...3 (neutral 1)
    take: int
    view: str = ""  # "" for sound

    @classmethod
    def parse(cls, path: str) -> MeadName:
        """Parse a path with forward slashes; what stands before the actor's folder is ignored.

        Raises ValueError if the path does not fit.
        """
        pattern = r"(?:.*/)?([MW]\d{3})/(?:video/(\w+)|audio)/(\w+)/level_([1-3])/(\d+)\.\w+"
        match = re.fullmatch(pattern, path)
        if not match or match[3] not in MEAD_EMOTIONS:
            raise ValueError(
                f"{path!r} is not a MEAD path, as in M003/video/front/angry/level_2/001.mp4"
            )
        return cls(
            actor=match[1],
            emotion=MEAD_EMOTIONS[match[3]],
            level=int(match[4]),
            take=int(match[5]),
            view=match[2] or "",
        )

    @property
    def word(self) -> str:
        """MEAD's own word for the emotion."""
        return next(mead for mead, ours in MEAD_EMOTIONS.items() if ours == self.emotion)

    @property
    def path(self) -> str:
        """The path without suffix."""
        kind = f"video/{self.view}" if self.view else "audio"
        return f"{self.actor}/{kind}/{self.word}/level_{self.level}/{self.take:03d}"

    @property
    def recording(self) -> str:
        """A key of the recording, equal for its views and its sound: "M003-angry-2-001"."""
        return f"{self.actor}-{self.word}-{self.level}-{self.take:03d}"

    @property
    def number(self) -> int:
        """The actor as one number: 100 is added for a man, 200 for a woman.

        So M009 and W009, who are two people, have different numbers.
        """
        return int(self.actor[1:]) + (100 if self.actor[0] == "M" else 200)
