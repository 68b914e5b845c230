"""Faces of one set of pictures with voices of another corpus, as in "performers+ravdess".

No person of the one set is a person of the other, so what belongs together is decided here.

*Emotion.* A picture is paired with voices of its own emotion.

*Folds.* Both sides are apart by person. The fold of a face is that of its person's number
(``splits.fold_of``; people with names get numbers in alphabetical order), and it is paired only
with voices of actors of the same fold. Whoever splits the pairs by the person of the face has
therefore split the voices by actor, too.

*How often.* Each picture has ``VOICES_PER_PICTURE`` different voices. One would make a score depend
on the luck of the draw. More would repeat the same pictures and voices without adding any of
either. The voices of a fold and emotion are dealt like cards, shuffled with a fixed seed: nobody's
voice is used twice before each was used once.

*Neutral.* The neutral faces of a corpus are those that voices colour in notebook 07, and a part of
the faces that the context network learns from. Many sets have none, but people who are calm or at
rest. If a set has no neutral picture, its calm ones therefore count twice: as calm, with calm
voices, and as neutral, with neutral voices. Calm and neutral faces are then the same pictures. In
a profile where neutral is a class of its own (``...-8``), only the voice tells the two apart.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import cycle, islice
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from cmlib.corpora import archives, recordings
from cmlib.corpora.catalogue import split_pair
from cmlib.corpora.clip import Clip, CorpusError, Skipped
from cmlib.corpora.picture_folders import scan as scan_pictures
from cmlib.corpora.picture_tables import person_numbers
from cmlib.corpora.remembered import current_root
from cmlib.corpora.splits import fold_of

VOICES_PER_PICTURE = 3
SEED = 0  # of the order in which voices are dealt
CALM, NEUTRAL = "calm", "neutral"


def scan(
    corpus: str,
    faces: str | Path | None = None,
    voices: str | Path | None = None,
    labels: str | Path | None = None,
) -> tuple[list[Clip], list[Skipped]]:
    """The pairs of ``corpus``, such as "performers+ravdess", and what was left out.

    ``faces`` and ``voices`` are the two folders (default: ``current_root`` of either name), and
    ``labels`` is the table of the pictures, if it does not lie among or beside them. A clip has a
    picture as ``path``, a sound as ``audio_path``, the number of the face's person as ``actor`` and
    that of the speaker as ``voice_actor``. Raises CorpusError if a folder is missing, if the
    pictures have no labels, or if nothing can be paired.
    """
    names = split_pair(corpus)
    if names is None:
        raise CorpusError(f"{corpus}: not a pair of pictures and voices, as in performers+ravdess")
    faces = archives.as_folder(Path(faces or current_root(names[0])))
    voices = Path(voices or current_root(names[1]))
    table, skipped = _pictures(faces, names[0], labels)
    speakers, unused = recordings.scan(names[1], voices)
    clips, unpaired = _pair(corpus, faces, table, speakers)
    if not clips:
        raise CorpusError(
            f"{corpus}: no picture of {faces} has a voice of its emotion and fold in {voices}; "
            f"the first: {unpaired[0][1]}"
        )
    return clips, skipped + unused + unpaired


def _pictures(
    root: Path, name: str, labels: str | Path | None
) -> tuple[pd.DataFrame, list[Skipped]]:
    """The labelled pictures of a folder, with columns number (of the person) and stem."""
    if not archives.is_folder(root):
        raise CorpusError(
            f"{root}: no such folder; put the pictures of {name} there, or name their folder "
            "with --faces"
        )
    kind, table, skipped = scan_pictures(root, labels)
    if not (table.person != "").any():
        raise CorpusError(
            f"{root}: nothing says whom its pictures show ({kind}); put a table {root.name}.csv "
            "with the columns file, person and emotion beside it, or name one with --labels"
        )
    table = table.assign(number=table.person.map(person_numbers(table.person)))
    stems = [str(PurePosixPath(file).with_suffix("")) for file in table.file]
    if len(set(stems)) < len(stems):  # a.png beside a.jpg
        stems = list(table.file)
    return table.assign(stem=[stem.replace("/", "_") for stem in stems]), skipped


def _pair(
    corpus: str, root: Path, table: pd.DataFrame, speakers: list[Clip]
) -> tuple[list[Clip], list[Skipped]]:
    """The clips of all pictures, and the pictures without a voice."""
    packs = _packs(speakers)
    emotions_of_voices = {speaker.emotion for speaker in speakers}
    has_neutral = NEUTRAL in set(table.emotion)
    clips, unpaired = [], []
    for _, row in table.iterrows():
        emotions = [row.emotion]
        if row.emotion == CALM and not has_neutral:
            emotions.append(NEUTRAL)
        fold = fold_of(row.number)
        paired = False
        for emotion in emotions:
            for speaker in packs[fold, emotion].deal():
                clips.append(_clip(corpus, root, row, emotion, speaker))
                paired = True
        if not paired:
            fault = f"no voice is {row.emotion}"
            if row.emotion in emotions_of_voices:
                fault = f"person {row.person} is of fold {fold}, no actor of which is {row.emotion}"
            unpaired.append((root / row.file, f"pair: {fault}"))
    return clips, unpaired


class _Pack:
    """The voices of one fold and emotion, shuffled and then dealt again and again."""

    def __init__(self, voices: list[Clip], rng: np.random.Generator):
        order = rng.permutation(len(voices))
        self.endless = cycle([voices[i] for i in order])
        self.hand = min(VOICES_PER_PICTURE, len(voices))

    def deal(self) -> list[Clip]:
        """Different voices for one picture."""
        return list(islice(self.endless, self.hand))


def _packs(speakers: list[Clip]) -> dict[tuple[int, str], _Pack]:
    """A pack for each fold and emotion; it is empty where there are no voices."""
    by_kind = defaultdict(list)
    for speaker in sorted(speakers, key=lambda speaker: speaker.name):
        by_kind[fold_of(speaker.actor), speaker.emotion].append(speaker)
    rng = np.random.default_rng(SEED)
    packs = defaultdict(lambda: _Pack([], rng))
    for kind, voices in sorted(by_kind.items()):
        packs[kind] = _Pack(voices, rng)
    return packs


def _clip(corpus: str, root: Path, row: pd.Series, emotion: str, speaker: Clip) -> Clip:
    return Clip(
        path=root / row.file,
        audio_path=speaker.audio_path or speaker.path,
        spare_audio_path=speaker.spare_audio_path,
        has_video=True,
        corpus=corpus,
        actor=int(row.number),
        voice_actor=speaker.actor,
        emotion=emotion,
        intensity=speaker.intensity,
        statement=speaker.statement,
        repetition=speaker.repetition,
        name=f"{row.stem}+{speaker.name}",
    )
