"""Mental representations of neutral photographs, as observers and networks of others see them.

Three sets of neutral faces are perceived in the context of real voices. *Performers* have the
voices of actors of their own fold. *Portraits* show the actors whose voices these are, so each has
the own voices: the paper's experiment. *London* are strangers to everything, with the voices of
other people. For every face and voice, the networks are those of the fold in which the voice's
actor, and the performer, are tested.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor

from cmlib import files, metrics
from cmlib.corpora.splits import fold_of
from cmlib.evaluation.observers import Observers, share_gain
from cmlib.evaluation.recognisers import nearest_person
from cmlib.evaluation.representations import decode_pictures
from cmlib.experiment.run import Run
from cmlib.models import Can, Posterior, VaeGan
from cmlib.models.observers import OBSERVED_EMOTIONS
from cmlib.preparation import detector, picture_crops
from cmlib.training.batches import Pictures

from .kept import Witnesses, find_witnesses

VOICES_PER_EMOTION = 4  # that a performer is perceived with
STRENGTHS = (0.0, 0.5, 1.0)  # of the context
SEED = 0  # of the choice of voices
MODELS = ("face", "voice", "product_of_experts", "concatenation", "can_released", "can")
SHEET_PEOPLE = 24


@dataclass(frozen=True)
class NeutralFaces:
    """One neutral picture of each of N people, and the fold whose networks perceive it."""

    name: str
    pictures: Tensor  # (N, 3, S, S) in 0...1
    people: np.ndarray  # (N,), numbers
    folds: np.ndarray  # (N,), 1...5
    own_voices: bool = False  # whether they are perceived with their own voices alone


def performers(runs: dict[int, Run]) -> NeutralFaces:
    """The first neutral picture of every performer, who is a test person of the fold."""
    pictures, people, folds = [], [], []
    for fold, run in runs.items():
        table = run.store.clips.iloc[run.split.test]
        first = table[table.emotion == "neutral"].drop_duplicates("actor")
        pictures.append(run.faces.batch(first.first_frame.to_numpy()))
        people += first.actor.tolist()
        folds += [fold] * len(first)
    return NeutralFaces("performers", torch.cat(pictures), np.array(people), np.array(folds))


def portraits(folder: Path, size: int, folds: Sequence[int]) -> NeutralFaces:
    """Neutral pictures of actors, with names that end in the actor's number: Actor_07.png."""
    crops = picture_crops.crop_folder(folder, size)
    numbers = np.array([int(Path(file).stem.split("_")[-1]) for file in crops.table.file])
    fold = np.array([fold_of(number) for number in numbers])
    rows = np.flatnonzero(np.isin(fold, folds))
    return NeutralFaces(
        "portraits", Pictures(crops.pictures).batch(rows), numbers[rows], fold[rows], True
    )


def strangers(folder: Path, size: int, folds: Sequence[int]) -> NeutralFaces:
    """Neutral pictures of people, one each, with the folds in turn."""
    crops = picture_crops.crop_folder(folder, size)
    rows = np.arange(len(crops.table))
    fold = np.array([folds[row % len(folds)] for row in rows])
    return NeutralFaces("london", Pictures(crops.pictures).batch(rows), rows, fold)


# -------------------------------------------------------------------- what is measured


@torch.no_grad()
def measure(faces: NeutralFaces, runs: dict[int, Run], witnesses: dict[int, Witnesses]) -> dict:
    """A row for each face, voice and strength, and the decoded pictures for a sheet.

    The table has the columns set, fold, person, speaker, emotion (of the voice), voice (its clip)
    and strength. For each judge it has the probability of this emotion, and whether the emotion is
    its first choice of six (``observers``, ``observers_first`` and so on). ``same_person`` says
    whether the identity network names the right person of the set, and ``face_found`` whether a
    face is found.
    """
    rows, sheets = [], {}
    known = None
    identity = next(iter(witnesses.values())).identity
    if identity is not None:
        known = identity(faces.pictures)
    rng = np.random.default_rng(SEED)
    networks = {fold: (run.vaegan("face"), run.can()) for fold, run in runs.items()}
    for index, (person, fold) in enumerate(zip(faces.people, faces.folds, strict=True)):
        run, judges = runs[fold], witnesses[fold]
        face_network, can = networks[fold]
        posterior = face_network.encoder(faces.pictures[index : index + 1])
        voices = choose_voices(run, person if faces.own_voices else None, rng)
        if voices.empty:
            continue
        clips = voices.index.to_numpy()
        heard = run.voice_latents.map(lambda x, rows=clips: x[rows])
        for strength in STRENGTHS:
            drawn = perceive(face_network, can, posterior, heard, strength)
            columns = judge(drawn, voices.emotion.to_numpy(), judges)
            if identity is not None:
                columns["same_person"] = nearest_person(identity(drawn), known) == index
            table = pd.DataFrame(
                {
                    "set": faces.name,
                    "fold": fold,
                    "person": person,
                    "speaker": voices.voice_actor.to_numpy(),
                    "emotion": voices.emotion.to_numpy(),
                    "voice": voices.name.to_numpy(),
                    "strength": strength,
                    **columns,
                }
            )
            rows.append(table)
            if strength in (0.0, 1.0):
                first = [
                    np.flatnonzero(voices.emotion.to_numpy() == emotion)[0]
                    for emotion in OBSERVED_EMOTIONS
                ]
                sheets.setdefault(index, []).append(drawn[first])
    return {"table": pd.concat(rows, ignore_index=True), "sheets": sheets}


def choose_voices(run: Run, actor: int | None, rng: np.random.Generator) -> pd.DataFrame:
    """Test voices with one of the six emotions: all of ``actor``, or else some of each emotion."""
    rows = run.distinct(run.split.test, "voice")
    table = run.store.clips.iloc[rows].assign(row=rows).set_index("row")
    table = table[table.emotion.isin(OBSERVED_EMOTIONS)]
    if actor is not None:
        return table[table.voice_actor == actor]
    chosen = [
        rng.choice(group.index.to_numpy(), VOICES_PER_EMOTION, replace=False)
        for _, group in table.groupby("emotion")
    ]
    return table.loc[np.concatenate(chosen)]


def perceive(
    face_network: VaeGan, can: Can, face: Posterior, voices: Posterior, strength: float
) -> Tensor:
    """Pictures (V, 3, S, S) in 0...1 of one face (1, D) in the context of voices (V, E)."""
    faces = face.map(lambda x: x.expand(len(voices.mu), -1))
    _, shifted = can(faces, voices, strength)
    return decode_pictures(face_network, shifted.mu)


def judge(pictures: Tensor, emotions: np.ndarray, witnesses: Witnesses) -> dict[str, np.ndarray]:
    """What each judge says of pictures (N, 3, S, S), and whether the detector finds a face."""
    columns = {}
    everybody = dict(witnesses.recognisers)
    if witnesses.observers is not None:
        everybody["observers"] = witnesses.observers
    for name, network in everybody.items():
        order = [network.OUTPUTS.index(emotion) for emotion in OBSERVED_EMOTIONS]
        six = network.probabilities(pictures)[:, order]  # (N, 6)
        asked = np.array([OBSERVED_EMOTIONS.index(emotion) for emotion in emotions])
        columns[name] = six[np.arange(len(six)), asked]
        columns[f"{name}_first"] = six.argmax(1) == asked
        for emotion, values in zip(OBSERVED_EMOTIONS, six.T, strict=True):
            columns[f"{name}:{emotion}"] = values
    columns["face_found"] = faces_found(pictures)
    return columns


def faces_found(pictures: Tensor) -> np.ndarray:
    """Whether the face detector finds a face in each of the pictures (N, 3, S, S): (N,)."""
    frames = [(p * 255).round().byte().permute(1, 2, 0).numpy() for p in pictures]
    return np.array([points is not None for points in detector.find_faces(frames)])


# -------------------------------------------------------------------- the report


def summarise(table: pd.DataFrame, own_voices: bool, resamples: int = 2000) -> dict:
    """Gains of each judge from strength 0 to every other, same person, faces, with intervals.

    With their ``own_voices`` people are drawn, and otherwise people and speakers both.
    """
    report = {}
    before = table[table.strength == 0].reset_index(drop=True)
    judges = [name for name in ("observers", "face_api", "facex") if name in table]
    for strength in STRENGTHS:
        after = table[table.strength == strength].reset_index(drop=True)
        people = after.person.to_numpy()
        # Without context no voice has had a part, so there are only people to draw.
        speakers = None if own_voices or strength == 0 else after.speaker.to_numpy()
        part: dict = {
            "pictures": len(after),
            "people": int(after.person.nunique()),
            "speakers": int(after.speaker.nunique()),
        }
        for name in judges:
            columns = [f"{name}:{emotion}" for emotion in OBSERVED_EMOTIONS]
            gains = share_gain(
                before[columns].to_numpy(),
                after[columns].to_numpy(),
                after.emotion.tolist(),
                people,
                resamples,
                speakers,
            )
            part[name] = {row.pop("emotion"): row for row in gains.to_dict("records")}
        for column in ("same_person", "face_found"):
            if column in after:
                values = after[column].to_numpy(float)
                part[column] = (
                    metrics.mean_interval(values, people, resamples)
                    if speakers is None
                    else metrics.crossed_interval(values, people, speakers, resamples)
                )
        report[f"{strength:g}"] = part
    return report


def recognition(runs: dict[int, Run], models: Sequence[str]) -> dict:
    """Clip accuracy of each model on the test pairs of all folds.

    Faces and voices are of different people, so intervals are over performers and speakers both.
    ``gain_over_better_sense`` and ``over_concatenation`` compare the context network clip by clip.
    """
    correct: dict[str, list[np.ndarray]] = {name: [] for name in models}
    performers_of_pairs, speakers_of_pairs = [], []
    for run in runs.values():
        rows = run.frames_of(run.labelled(run.split.test))
        clips = run.frame_clip[rows]
        performers_of_pairs.append(run.store.clips.actor.to_numpy()[clips])
        speakers_of_pairs.append(run.store.clips.voice_actor.to_numpy()[clips])
        for name in models:
            answers = run.log_probabilities(name, rows).argmax(1)
            correct[name].append((answers == run.clip_labels[clips]).astype(float))
    both = (np.concatenate(performers_of_pairs), np.concatenate(speakers_of_pairs))
    hits = {name: np.concatenate(values) for name, values in correct.items()}
    report = {name: metrics.crossed_interval(values, *both) for name, values in hits.items()}
    per_fold = {name: [float(v.mean()) for v in values] for name, values in correct.items()}
    best = max(("face", "voice"), key=lambda name: hits[name].mean())
    return {
        "pairs": len(both[0]),
        "performers": len(np.unique(both[0])),
        "speakers": len(np.unique(both[1])),
        "accuracy": report,
        "folds": per_fold,
        "better_sense": best,
        "gain_over_better_sense": metrics.crossed_interval(hits["can"] - hits[best], *both),
        "over_concatenation": metrics.crossed_interval(hits["can"] - hits["concatenation"], *both),
    }


def sheet(faces: NeutralFaces, drawn: dict[int, list[Tensor]]) -> Image.Image:
    """Decoded pictures: a row per person, its reconstruction and then the six emotions."""
    rows = []
    for index in list(drawn)[:SHEET_PEOPLE]:
        without, within = drawn[index]
        rows.append(torch.cat([*without[:1], *within], 2))
    picture = torch.cat(rows, 1)
    return Image.fromarray((255 * picture).round().byte().permute(1, 2, 0).numpy())


def represent(
    corpus: str,
    profile: str,
    folds: Sequence[int],
    out: Path,
    portrait_folder: Path | None = None,
    stranger_folder: Path | None = None,
    face_api: Path | None = None,
) -> Path:
    """Measure everything, and write ``out``/representations.json, tables and sheets of pictures.

    The networks of the folds are those of the runs, which are trained now where they are missing.
    """
    runs = {fold: Run(corpus, profile, 0, fold) for fold in folds}
    size = next(iter(runs.values())).profile.data.image_size
    of_folds = {fold: find_witnesses(fold, face_api) for fold in folds}
    sets = [(performers(runs), of_folds)]
    # Strangers to the judges of all folds are judged by the mean of them.
    mean = find_witnesses(folds[0], face_api)
    if mean.observers is not None:
        mean = Witnesses(mean.recognisers, Observers.shipped(0), mean.identity, mean.missing)
    for folder, load in ((portrait_folder, portraits), (stranger_folder, strangers)):
        if folder is not None:
            sets.append((load(folder, size, folds), dict.fromkeys(folds, mean)))
    report: dict = {"corpus": corpus, "profile": profile, "folds": list(folds)}
    report["recognition"] = recognition(runs, MODELS)
    report["representations"] = {}
    for faces, witnesses in sets:
        measured = measure(faces, runs, witnesses)
        table = measured["table"]
        judged = [column for column in table if ":" not in column]
        files.write_text(out / f"{faces.name}.csv", table[judged].to_csv(index=False))
        report["representations"][faces.name] = summarise(table, faces.own_voices)
        sheet(faces, measured["sheets"]).save(out / f"{faces.name}.png")
        print(faces.name, json.dumps(files.plain(report["representations"][faces.name]["1"])))
    text = json.dumps(files.plain(report), indent=1) + "\n"
    return files.write_text(out / "representations.json", text)
