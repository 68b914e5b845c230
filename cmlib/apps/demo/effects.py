"""Which voice changes which face most: what the buttons "best effect" and "worst effect" choose."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from cmlib.apps.demo.controls import Actor
from cmlib.apps.demo.stimuli import Stimuli
from cmlib.checkpoints import CheckpointError
from cmlib.evaluation.observers import Observers
from cmlib.perceiver import Perceiver
from cmlib.preparation import detector


@dataclass(frozen=True)
class Effect:
    """How much the picture of a face changes towards what a voice says.

    ``gain`` is the rise in the share of the voice's emotion, from the reconstruction to the mental
    representation at full strength. ``face`` and ``voice`` are an actor and an emotion each.
    """

    gain: float
    face: tuple[Actor, str]
    voice: tuple[Actor, str]


class Judge(Protocol):
    """Predicts which emotion people would name in a picture, as ``evaluation.observers`` does."""

    @property
    def OUTPUTS(self) -> tuple[str, ...]:
        """The emotions that it knows."""
        ...

    def probabilities(self, pictures: Tensor) -> np.ndarray:
        """Pictures (N, 3, S, S) in 0...1 -> shares of people (N, outputs)."""
        ...


def shipped_judge() -> Judge | None:
    """The judge that has learnt what observers answer; None where its networks are not there."""
    try:
        return Observers.shipped()
    except CheckpointError:
        return None


def shows_face(picture: np.ndarray) -> bool:
    """Whether a face is found in a decoded picture (S, S, 3), floats in 0...1."""
    (points,) = detector.find_faces([(255 * picture).round().astype(np.uint8)])
    return points is not None


def measure_effects(stimuli: Stimuli, judge: Judge | None) -> list[Effect]:
    """The effect of each voice on each test actor and real person, least gain first.

    The face is the first of the person, a neutral one if there is one. The voice is the
    actor's own; for a real person it is that of the first test actor. Left out are emotions
    that the judge does not know, and pictures that came apart: the detector finds no face in
    them.
    """
    effects = []
    for actor in [*stimuli.unseen_actors, *(name for _, name in stimuli.real_people)]:
        voice_actor = stimuli.actors[0][1] if isinstance(actor, str) else actor
        face = actor, stimuli.emotions_of(actor)[0]
        encoded, networks = stimuli.face(*face)
        known, read = _reader(networks, judge)
        voices = {
            emotion: voice
            for emotion, voice in stimuli.voices_of(voice_actor, networks).items()
            if emotion in known and emotion in stimuli.emotions_of(voice_actor)
        }
        if not voices:
            continue
        perceptions = networks.perceive_all([encoded], voices.values())
        perceived = perceptions.perceived[0, :, 0]  # (voices, S, S, 3)
        before, after = read(perceptions.reconstruction)[0], read(perceived)
        for i, emotion in enumerate(voices):
            if shows_face(perceived[i]):
                k = known.index(emotion)
                gain = float(after[i, k] - before[k])
                effects.append(Effect(gain, face, (voice_actor, emotion)))
    return sorted(effects, key=lambda effect: effect.gain)


def _reader(
    networks: Perceiver, judge: Judge | None
) -> tuple[Sequence[str], Callable[[np.ndarray], np.ndarray]]:
    """Who says how much of an emotion pictures show: the emotions, and the function.

    The function takes pictures (N, S, S, 3) and returns shares (N, emotions). It is the judge;
    without one it is the face classifier of the networks that have drawn them.
    """
    if judge is None:
        return networks.classes, networks.classify

    def read(pictures: np.ndarray) -> np.ndarray:
        return judge.probabilities(torch.from_numpy(pictures).permute(0, 3, 1, 2))

    return judge.OUTPUTS, read


def describe_effect(effects: list[Effect], rank: int, judge: Judge | None) -> str:
    """What is said of the pair at ``rank`` of ``effects``."""
    effect = effects[rank]
    quality, emotion = "best" if rank else "worst", effect.voice[1]
    if judge is None:
        share = f"the share of {emotion} that the face classifier reads in the picture"
    else:
        share = f"the share of people who would call the picture {emotion}, as predicted,"
    return (
        f"{quality} of {len(effects)} pairs of a face and a voice: "
        f"{share} changes by {100 * effect.gain:+.0f} points"
    )
