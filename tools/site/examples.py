"""The networks of the page, with faces and voices to begin with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image

from cmlib.apps.demo.demo import Demo
from cmlib.apps.demo.effects import describe_effect
from cmlib.apps.demo.stimuli import REAL_PERSON
from cmlib.corpora.names import EMOTIONS
from cmlib.experiment.run import Run, example
from cmlib.perceiver import PHOTOGRAPHS, Perceiver
from cmlib.preparation import media

CORPUS, PROFILE = "actors", "quick"  # whose test actors are shown


@dataclass(frozen=True)
class NetworkSet:
    """Four networks that work together.

    ``where`` is what ``Perceiver.load`` takes, and ``about`` says what the networks were taught on.
    """

    name: str
    where: str
    about: str


# The first set draws every face that is not strange to it. A strange one is drawn by the set that
# finds it least strange.
SETS = (
    NetworkSet(
        name="drawn",
        where="actors-quick",
        about=(
            "Nobody was filmed or recorded for the networks of drawn people. They learnt faces from"
            " drawn pictures of 600 synthetic people, voices from synthetic recordings of the same"
            " crowd, and the context from some of 24 synthetic actors, who speak with computed"
            " voices. The actors in the lists are others, whom no network was trained on."
        ),
    ),
    NetworkSet(
        name="photographs",
        where=PHOTOGRAPHS,
        about=(
            "A photograph is unlike anything that they have seen. It is drawn by networks of"
            " photographs, which are fetched when they are first needed. They learnt faces from"
            " photographs of 8,893 people (CelebA) and of 17 performers, voices from recordings"
            " of actors (RAVDESS), and the context from these performers and voices. They are for"
            " research and teaching, non-commercial. No photograph and no recording is in this"
            " page: the real people in the list are decoded from stored latents."
        ),
    ),
)


def write_examples(perceiver: Perceiver, folder: Path) -> dict[str, list]:
    """Write a face and a voice of each emotion of each test actor to ``folder``.

    Faces are crops in WebP files, as large as ``perceiver`` draws them; voices are FLAC files.
    Both lose nothing.  Returns ``faces`` and ``voices``, lists of actor, emotion and file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    run = Run(CORPUS, PROFILE)
    corpus = run.shown
    clips, split = corpus.clips, run.split_of(corpus)
    unseen = sorted(set(clips.actor.iloc[split.test]) - set(clips.actor.iloc[split.train]))
    faces, voices = [], []
    for actor in unseen:
        shown = set(clips.emotion[clips.actor == actor])
        for emotion in (each for each in EMOTIONS if each in shown):
            row = example(run, np.arange(len(clips)), emotion, actor, clips)
            path = corpus.path(clips.iloc[row])
            stem = f"actor-{actor:02d}-{emotion}"
            entry = {"actor": str(actor), "emotion": emotion}
            picture = (255 * perceiver.encode_face(path).picture).round().astype(np.uint8)
            Image.fromarray(picture).save(folder / f"{stem}.webp", lossless=True, method=6)
            faces.append({**entry, "file": f"{folder.name}/{stem}.webp"})
            if emotion in perceiver.classes:
                sound = folder / f"{stem}.flac"
                samples, rate = media.read_audio(path)
                soundfile.write(sound, samples, rate, subtype="PCM_16", compression_level=1.0)
                voices.append({**entry, "file": f"{folder.name}/{stem}.flac"})
    return {"faces": faces, "voices": voices}


def write_people(perceiver: Perceiver, path: Path) -> list[dict]:
    """Write the latents of the real people of a set, if it has any: float32, one after another.

    Returns their entries in the list of faces: person, emotion, where the latent is, what the face
    classifier reads in it, and the remark on whose face it is.
    """
    entries, latents = [], []
    for (person, emotion), posterior in perceiver.people.items():
        encoded = perceiver.decode_face(posterior)
        latents.append(posterior.mu.numpy().astype("<f4"))
        entries.append(
            {
                "actor": person,
                "emotion": emotion,
                "file": f"{path.parent.name}/{path.name}",
                "latent": len(entries),
                "probabilities": [round(float(p), 6) for p in encoded.probabilities],
                "remark": REAL_PERSON,
            }
        )
    if latents:
        path.write_bytes(np.concatenate(latents).tobytes())
    return entries


def effects() -> dict[str, dict]:
    """The pairs that the buttons "best effect" and "worst effect" choose, with what they say.

    They are those of the demo in Python.  ValueError if no judge has been shipped.
    """
    demo = Demo(Run(CORPUS, PROFILE))
    if demo.judge is None:
        raise ValueError("no judge to say which effect is the best; restore checkpoints/observers")
    chosen = {}
    for name, rank in (("best", -1), ("worst", 0)):
        effect = demo.effects[rank]
        chosen[name] = {
            "face": [str(effect.face[0]), effect.face[1]],
            "voice": [str(effect.voice[0]), effect.voice[1]],
            "remark": describe_effect(demo.effects, rank, demo.judge),
        }
    return chosen
