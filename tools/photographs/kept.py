"""What reconstructions keep of the expression and of the person, as judges of others see it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cmlib import checkpoints
from cmlib.corpora.names import CLASSES
from cmlib.evaluation import judges
from cmlib.evaluation.judges import PartialJudge, Recogniser
from cmlib.evaluation.observers import Observers
from cmlib.evaluation.recognisers import FaceApi, FaceIdentity, WeightsError, nearest_person
from cmlib.metrics import actor_interval, mean_interval
from cmlib.models.observers import OBSERVED_EMOTIONS

# Recognisers know neutral, but not calm, which is the same expression to them.
NEUTRAL_CLASSES = ("neutral", *CLASSES[1:])


@dataclass(frozen=True)
class Witnesses:
    """Judges of expressions and of identity that share no weights with the network under test."""

    recognisers: dict[str, PartialJudge] = field(default_factory=dict)
    observers: Observers | None = None
    identity: FaceIdentity | None = None
    missing: tuple[str, ...] = ()  # a line for each that is not there, with the remedy


def find_witnesses(
    fold: int, face_api: Path | None = None, observers: Path | None = None
) -> Witnesses:
    """All judges that are installed.

    ``fold`` (1...5) is the one whose performers are for test; the judge of observers has not seen
    them. ``face_api`` is the folder of face-api's weights, and ``observers`` that of the judges,
    by default where ``cm fetch face-api`` puts them and where the repository has them.
    """
    makers = {
        "facex": lambda: Recogniser(NEUTRAL_CLASSES, Recogniser.PHOTOGRAPH_SHARE),
        "face_api": lambda: FaceApi(NEUTRAL_CLASSES, face_api),
        "observers": lambda: Observers.shipped(fold, folder=observers),
        "identity": lambda: FaceIdentity(face_api),
    }
    present, missing = {}, []
    for name, make in makers.items():
        try:
            present[name] = make()
        except (ModuleNotFoundError, WeightsError, checkpoints.CheckpointError) as error:
            missing.append(f"{name}: {error}")
    return Witnesses(
        {name: present[name] for name in ("facex", "face_api") if name in present},
        present.get("observers"),
        present.get("identity"),
        tuple(missing),
    )


def recognised(judge: PartialJudge, pictures: Tensor, emotions: np.ndarray) -> np.ndarray:
    """Whether a recogniser's first choice for pictures (N, 3, S, S) is the emotion meant, (N,).

    Of calm pictures it should say neutral.
    """
    meant = np.where(emotions == "calm", "neutral", emotions)
    answers = np.array([*NEUTRAL_CLASSES, "none"])[judges.predict(judge, pictures).argmax(1)]
    return answers == meant


def accuracy_kept(
    judge: PartialJudge, real: Tensor, drawn: Tensor, emotions: np.ndarray, people: np.ndarray
) -> dict:
    """The accuracy of a recogniser on pictures (N, 3, S, S) and on their reconstructions.

    ``real``, ``drawn`` and ``kept`` (drawn over real) with intervals over people, over all
    pictures and for each emotion.
    """
    hits = recognised(judge, real, emotions), recognised(judge, drawn, emotions)
    return compared(hits[0].astype(float), hits[1].astype(float), emotions, people)


def share_kept(
    judge: Observers, real: Tensor, drawn: Tensor, emotions: np.ndarray, people: np.ndarray
) -> dict:
    """The predicted share of observers who name the emotion meant, as ``accuracy_kept`` has it.

    Calm pictures are left out, since the observers were not offered calm.
    """
    asked = np.flatnonzero(np.isin(emotions, OBSERVED_EMOTIONS))
    column = [OBSERVED_EMOTIONS.index(emotion) for emotion in emotions[asked]]

    def share_of_meant(pictures: Tensor) -> np.ndarray:
        shares = judge.probabilities(pictures[torch.from_numpy(asked)])  # (asked, 6)
        return shares[np.arange(len(asked)), column]

    return compared(share_of_meant(real), share_of_meant(drawn), emotions[asked], people[asked])


def compared(real: np.ndarray, drawn: np.ndarray, emotions: np.ndarray, people: np.ndarray) -> dict:
    """Means of two scores (N,), and the second over the first, with intervals over people."""

    def of(rows: np.ndarray) -> dict:
        return {
            "pictures": len(rows),
            "real": mean_interval(real[rows], people[rows]),
            "drawn": mean_interval(drawn[rows], people[rows]),
            "kept": kept_interval(real[rows], drawn[rows], people[rows]),
        }

    return {
        **of(np.arange(len(real))),
        "emotions": {
            emotion: of(np.flatnonzero(emotions == emotion))
            for emotion in CLASSES
            if (emotions == emotion).any()
        },
    }


def kept_interval(real: np.ndarray, drawn: np.ndarray, people: np.ndarray) -> dict | None:
    """The ratio of the sums of ``drawn`` and ``real`` (N,), with its interval over people.

    None where ``real`` is 0 throughout, because then there is nothing to keep.
    """
    if real.sum() == 0:
        return None
    overall = float(drawn.sum() / real.sum())

    def ratio(rows: np.ndarray) -> float:
        # If a draw has only people of whom nothing is recognised, it says nothing.
        return float(drawn[rows].sum() / real[rows].sum()) if real[rows].any() else overall

    return actor_interval(ratio, people)


def right_person(
    identity: FaceIdentity, real: Tensor, drawn: Tensor, people: np.ndarray
) -> dict[str, dict]:
    """How often an identity network names the right person from a reconstruction.

    ``real`` and ``drawn`` are pictures (N, 3, S, S) of ``people`` (N,) and their reconstructions.
    ``among_originals``: the first reconstruction of each person is compared with the first picture
    of everybody. ``among_other_pictures``: with the last one, which is another picture; so it is
    only there if everybody has two. ``original_among_other_pictures`` is the limit, which the first
    picture itself reaches.
    """
    names, first = np.unique(people, return_index=True)
    last = len(people) - 1 - np.unique(people[::-1], return_index=True)[1]
    everybody = np.arange(len(names))
    of_real, of_drawn = identity(real), identity(drawn)

    def share(queries: Tensor, known: Tensor) -> dict:
        return mean_interval((nearest_person(queries, known) == everybody).astype(float), names)

    report = {
        "people": len(names),
        "among_originals": share(of_drawn[first], of_real[first]),
    }
    if (first != last).all():
        report["among_other_pictures"] = share(of_drawn[first], of_real[last])
        report["original_among_other_pictures"] = share(of_real[first], of_real[last])
    return report
