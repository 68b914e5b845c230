"""The sets of networks that the page offers, with faces and voices to begin with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image

from cmlib.corpora.names import EMOTIONS
from cmlib.experiment.run import Run, example
from cmlib.perceiver import Perceiver
from cmlib.preparation import media


@dataclass(frozen=True)
class NetworkSet:
    """Four networks that work together, and the corpus whose test actors are shown with them.

    ``where`` is what ``Perceiver.load`` takes, and ``about`` says what the networks were taught on.
    """

    name: str
    title: str
    where: str
    about: str
    corpus: str = "actors"
    profile: str = "quick"


SETS = (
    NetworkSet(
        name="drawn",
        title="drawn people, 64 × 64 pixels",
        where="actors-quick",
        about=(
            "Nobody was filmed or recorded for these networks. They learnt faces from drawn"
            " pictures of 600 synthetic people, voices from synthetic recordings of the same"
            " crowd, and the context from some of 24 synthetic actors, who speak with computed"
            " voices. The actors in the lists are others, whom no network was trained on. A"
            " photograph is unlike anything that these networks have seen: they draw its face as"
            " one of their own."
        ),
    ),
)


def write_examples(networks: NetworkSet, perceiver: Perceiver, folder: Path) -> dict[str, list]:
    """Write a face and a voice of each emotion of each test actor to ``folder``.

    Faces are crops in PNG files, as large as the networks draw them; voices are FLAC files.  Both
    formats lose nothing.  Returns ``faces`` and ``voices``, lists of actor, emotion and file name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    run = Run(networks.corpus, networks.profile)
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
            picture = (255 * perceiver.encode_face(path).picture).round().astype(np.uint8)
            Image.fromarray(picture).save(folder / f"{stem}.png", optimize=True)
            faces.append({"actor": int(actor), "emotion": emotion, "file": f"{stem}.png"})
            if emotion in perceiver.classes:
                soundfile.write(folder / f"{stem}.flac", *media.read_audio(path), subtype="PCM_16")
                voices.append({"actor": int(actor), "emotion": emotion, "file": f"{stem}.flac"})
    return {"faces": faces, "voices": voices}
