"""Train the judges that predict the answers of observers, one for each fold, and score them.

The table of labels needs the columns file, person, emotion and, of every picture, the shares of
observers who named each emotion: rated_happy, rated_sad, rated_angry, rated_disgust, rated_fearful
and rated_surprised.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from cmlib import checkpoints, files
from cmlib.corpora import CorpusError
from cmlib.corpora.splits import FOLDS, fold_of
from cmlib.evaluation import observers
from cmlib.evaluation.judges import PartialJudge
from cmlib.evaluation.observers import ObserverConfig, Observers
from cmlib.metrics import mean_interval
from cmlib.models.observers import OBSERVED_EMOTIONS
from cmlib.preparation import picture_crops
from cmlib.provenance import VERSIONS, Provenance
from cmlib.training.batches import Pictures, batches

from .kept import recognised

COLUMNS = [f"rated_{emotion}" for emotion in OBSERVED_EMOTIONS]
ALL_FOLDS = range(1, len(FOLDS) + 1)
TERMS_OF_USE = "research and teaching, non-commercial"


@dataclass(frozen=True)
class Rated:
    """N face crops, with the answers of observers to each of them."""

    pictures: Pictures
    shares: np.ndarray  # (N, 6), in the order of OBSERVED_EMOTIONS; each row sums to 1
    people: np.ndarray  # (N,)
    emotions: np.ndarray  # (N,), what the performers meant to show
    folds: np.ndarray  # (N,), the fold in which the person is tested
    key: str  # changes with the pictures

    def parts(self, fold: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rows of the people who train, who validate (the next fold) and who are for test."""
        validating = self.folds == fold % len(FOLDS) + 1
        tested = self.folds == fold
        training = ~validating & ~tested
        return np.flatnonzero(training), np.flatnonzero(validating), np.flatnonzero(tested)


def load(folder: Path, labels: Path, size: int = 128, cache: Path | None = None) -> Rated:
    """The crops of a folder of pictures, and what observers named in them.

    CorpusError where the table of labels lacks a column or an answer, or where the people have no
    numbers, by which they are divided into folds.
    """
    crops = picture_crops.crop_folder(folder, size, cache, labels=labels)
    table = crops.table
    missing = [column for column in COLUMNS if column not in table]
    if missing:
        raise CorpusError(f"{labels}: lacks the columns {', '.join(missing)}")
    shares = table[COLUMNS].apply(pd.to_numeric, errors="coerce").to_numpy(float)
    unknown = table.file[np.isnan(shares).any(1)]
    if len(unknown):
        first = unknown.iloc[0]
        raise CorpusError(f"{labels}: no answers for {len(unknown)} pictures, the first {first}")
    if not table.person.str.isdecimal().all():
        raise CorpusError(f"{labels}: the column person must hold whole numbers, one a person")
    people = table.person.to_numpy(int)
    return Rated(
        Pictures(crops.pictures),
        shares / shares.sum(1, keepdims=True),  # the published shares are rounded
        people,
        table.emotion.to_numpy(str),
        np.array([fold_of(int(person)) for person in people]),
        crops.key,
    )


def train(
    rated: Rated,
    settings: ObserverConfig,
    out: Path,
    command: str,
    seed: int = 0,
    folds: Sequence[int] = ALL_FOLDS,
    recognisers: Mapping[str, PartialJudge] | None = None,
) -> None:
    """Train, calibrate and save the judges of ``folds``, those that ``out`` does not hold yet.

    A judge that was made from other pictures or settings is made again. When all five are there,
    their scores go to metrics.json, and beside them the accuracy of the ``recognisers``.
    """
    records = {
        fold: Provenance(
            "judge",
            VERSIONS["judge"],
            {"observers": dataclasses.asdict(settings)},
            {"performers": rated.key},
            seed,
            fold,
        )
        for fold in ALL_FOLDS
    }
    for fold in folds:
        path = out / f"fold-{fold}"
        if _is_current(path, records[fold]):
            continue
        training, validating, _ = rated.parts(fold)
        network = observers.train(rated.pictures, rated.shares, training, settings, seed)
        observers.calibrate(network, rated.pictures, rated.shares, validating)
        card = _card(rated, fold, command, records[fold])
        checkpoints.save(path, network, card, bits=8)
    if all(_is_current(out / f"fold-{fold}", record) for fold, record in records.items()):
        report = evaluate(rated, out)
        report["recognisers"] = {
            name: _accuracy(judge, rated) for name, judge in (recognisers or {}).items()
        }
        text = json.dumps(files.plain(report), indent=1) + "\n"
        files.write_text(out / "metrics.json", text)


def _is_current(path: Path, record: Provenance) -> bool:
    """Whether the judge at ``path`` was made from what this record says."""
    if not path.with_suffix(".json").exists():
        return False
    stored = checkpoints.read_card(path).get("provenance")
    return stored is not None and not record.differences(Provenance.from_json(stored))


def _card(rated: Rated, fold: int, command: str, record: Provenance) -> dict:
    """What a reader of the checkpoint needs."""
    names = ("training", "validation", "test")
    rows = dict(zip(names, rated.parts(fold)))
    return {
        "stage": "observers",
        "terms": TERMS_OF_USE,
        "fold": fold,
        "predicts": [f"share of 100 observers who name {e}" for e in OBSERVED_EMOTIONS],
        "people": {name: len(np.unique(rated.people[rows[name]])) for name in names},
        "pictures": {name: len(rows[name]) for name in names},
        "partition": "by person: those of the fold are for test, those of the next one validate",
        "seed": record.seed,
        "command": command,
        "provenance": record.to_json(),
    }


def evaluate(rated: Rated, folder: Path) -> dict:
    """The scores of the judges in ``folder``, each of its own test people, all pooled.

    The constant answer is the mean of the people who train. ``reaction_to_blur`` says how many
    observers would change their answer because of a blur with a standard deviation of 2 of 128
    pixels, and ``folds`` has the cross-entropy of each fold by itself. Everybody is for test in one
    fold and validates in another, so ``validation_cross_entropy`` is of the same pictures.
    """
    predicted, blurred, constants, validated = (np.empty_like(rated.shares) for _ in range(4))
    for fold in ALL_FOLDS:
        judge = Observers.shipped(fold, folder=folder)
        training, validating, tested = rated.parts(fold)
        validated[validating] = judge.probabilities(rated.pictures.batch(validating))
        constants[tested] = rated.shares[training].mean(0)
        pictures = rated.pictures.batch(tested)
        predicted[tested] = judge.probabilities(pictures)
        deviation = 2 * rated.pictures.size / 128
        blurred[tested] = judge.probabilities(observers.blur(pictures, deviation))
    report = observers.score(rated.shares, predicted, constants, rated.people)
    report["pictures"], report["people"] = len(predicted), len(np.unique(rated.people))
    change = observers.reaction(predicted, blurred)
    report["reaction_to_blur"] = mean_interval(change, rated.people)
    of_validation = observers.cross_entropy(rated.shares, validated)
    report["validation_cross_entropy"] = mean_interval(of_validation, rated.people)
    report["named_as_meant"] = _named_as_meant(rated, predicted)
    report["folds"] = {
        f"fold {fold}": observers.cross_entropy(
            rated.shares[rated.folds == fold], predicted[rated.folds == fold]
        ).mean()
        for fold in ALL_FOLDS
    }
    return report


def _accuracy(judge: PartialJudge, rated: Rated) -> dict:
    """How often a recogniser's first choice is what was meant, over all pictures and by emotion."""
    rows = np.arange(len(rated.people))
    hits = np.concatenate(
        [
            recognised(judge, rated.pictures.batch(batch), rated.emotions[batch])
            for batch in batches(rows, 100)
        ]
    ).astype(float)
    report = {"all": mean_interval(hits, rated.people)}
    for emotion in np.unique(rated.emotions):
        of_emotion = rated.emotions == emotion
        report[emotion] = mean_interval(hits[of_emotion], rated.people[of_emotion])
    return report


def _named_as_meant(rated: Rated, predicted: np.ndarray) -> dict:
    """Mean share of observers who name the emotion that was meant: observed and predicted."""
    result = {}
    for column, emotion in enumerate(OBSERVED_EMOTIONS):
        rows = np.flatnonzero(rated.emotions == emotion)
        result[emotion] = {
            "pictures": len(rows),
            "observed": mean_interval(rated.shares[rows, column], rated.people[rows]),
            "predicted": mean_interval(predicted[rows, column], rated.people[rows]),
        }
    return result
