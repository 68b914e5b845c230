"""The faces and voices that the demo offers."""

from __future__ import annotations

import numpy as np

from cmlib.apps.demo.controls import Actor
from cmlib.corpora.names import EMOTIONS, MEAD_CLASSES
from cmlib.experiment.run import Run, example
from cmlib.perceiver import EncodedFace, EncodedVoice, Perceiver
from cmlib.preparation import media, spectrograms
from cmlib.preparation.store import StoreError

REAL_PERSON = (
    "a real person, whom the network has never seen in training, decoded from a stored latent "
    "(Face Research Lab London Set, CC BY 4.0); the photograph is not shipped"
)


class Stimuli:
    """Faces and voices of the corpus of ``run``, and real people.

    The corpus need not be prepared. Actors that no network was trained on come first, and real
    people, of whom the networks of ``photographs`` store latents, come last.
    """

    def __init__(self, run: Run, perceiver: Perceiver, photographs: Perceiver | None):
        self.run = run
        self.perceiver = perceiver
        self.photographs = photographs
        self.people = photographs.people if photographs else {}
        self.corpus = run.shown
        # Encoded when first needed, by the name of the networks and by the actor
        self._encoded_voices: dict[tuple[str, Actor], dict[str, EncodedVoice]] = {}
        self._list_actors()

    def _list_actors(self) -> None:
        """Labels and numbers of all actors; those of the test set first."""
        clips, split = self.corpus.clips, self.run.split_of(self.corpus)
        trained_on = set(clips.actor.iloc[split.train])
        self.unseen_actors = sorted(set(clips.actor.iloc[split.test]) - trained_on)
        other_actors = sorted(set(clips.actor) - set(self.unseen_actors))
        self.actors = [(f"actor {a} (never trained on)", a) for a in self.unseen_actors]
        self.actors += [(f"actor {a}", a) for a in other_actors]
        names = dict.fromkeys(name for name, _ in self.people)
        self.real_people = [(f"{name} (a real person, decoded)", name) for name in names]

    def emotions_of(self, actor: Actor | None) -> list[str]:
        """The emotions that an actor has shown (None: anybody), in the usual order."""
        if isinstance(actor, str):
            return [emotion for name, emotion in self.people if name == actor]
        clips = self.corpus.clips
        shown = set(clips.emotion if actor is None else clips.emotion[clips.actor == actor])
        return [emotion for emotion in EMOTIONS + MEAD_CLASSES[:1] if emotion in shown]

    def find_clip(self, emotion: str, actor: Actor) -> int | None:
        """The best clip of an emotion: of this actor, or else of another; None if there is none."""
        everyone = np.arange(len(self.corpus.clips))
        return example(self.run, everyone, emotion, int(actor), self.corpus.clips)

    def clip(self, emotion: str, actor: Actor) -> int:
        """As ``find_clip``, for an emotion that ``emotions_of`` lists."""
        clip = self.find_clip(emotion, actor)
        assert clip is not None, "the lists offer only what the corpus has"
        return clip

    def sound(self, clip: int) -> tuple[np.ndarray, int]:
        """Waveform (N,) and rate of a clip; made from its spectrogram if its file is gone."""
        try:
            return media.read_audio(self.corpus.path(self.corpus.clips.iloc[clip]))
        except (StoreError, media.MediaError):
            return spectrograms.to_sound(self.corpus.mel(clip)), spectrograms.SAMPLE_RATE

    def face(self, actor: Actor, emotion: str) -> tuple[EncodedFace, Perceiver]:
        """A face of the list, and the networks that draw it."""
        latent = self.people.get((str(actor), emotion))
        if latent is None:
            clip = self.clip(emotion, actor)
            return self.perceiver.encode_face(self.corpus.frame(clip)), self.perceiver
        assert self.photographs is not None  # the people are theirs
        return self.photographs.decode_face(latent, (REAL_PERSON,)), self.photographs

    def voices_of(self, actor: Actor, networks: Perceiver) -> dict[str, EncodedVoice]:
        """A voice of each class, of one actor, as these networks encode it."""
        key = networks.name, actor
        if key not in self._encoded_voices:
            voices = {}
            for emotion in networks.classes:
                clip = self.find_clip(emotion, actor)
                if clip is not None:
                    voices[emotion] = networks.encode_voice(self.corpus.mel(clip))
            self._encoded_voices[key] = voices
        return self._encoded_voices[key]
