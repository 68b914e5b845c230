"""Learn the faces, or voices, of people outside the corpus first."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from cmlib import checkpoints, files, provenance
from cmlib.config import CROWD, CROWD_VOICE, VaeGanConfig
from cmlib.corpora import CorpusError, crowd, default_root, picture_folders
from cmlib.models import VaeGan
from cmlib.preparation.picture_crops import crop_folder
from cmlib.provenance import Provenance
from cmlib.training import loop, vaegan
from cmlib.training.batches import Pictures, TrainingData

HELD_OUT = 30  # people of the crowd who are kept for validation


@dataclass(frozen=True)
class Material:
    """What a VAE-GAN is pre-trained on: pictures, labels (-1: none), and which are held out."""

    corpus: str
    pictures: Pictures
    labels: np.ndarray
    held_out: np.ndarray
    key: str  # stands for the data
    counts: dict  # for the card
    command: str  # trains the network again, once the seed is added


def pretrain(
    size: int = 64, seed: int = 0, folder: str | Path | None = None, voices: bool = False
) -> Path:
    """Train a VAE-GAN on people outside the corpus; write it with its history, and return its path.

    Faces are those of the corpus ``crowd``, or of the pictures below ``folder``
    (``cmlib.corpora.picture_folders``); the network is ``checkpoints/<crowd, celeba, rafd or
    images>-<size>/face``. With ``voices`` it learns the voices of the crowd, as
    ``checkpoints/crowd/voice``.

    Faces are learnt in two parts, the second of which reads expressions; faces without labels are
    learnt in the first part alone. The last 30 people of the crowd (360 pictures, 450 voices) are
    kept for validation. A killed training resumes. CorpusError if there are no pictures.
    """
    if voices:
        material, parts, stage = _crowd_voices(), (CROWD_VOICE,), "voice"
        folder_name = "crowd"
    else:
        material = _crowd_faces(size) if folder is None else _folder_faces(folder, size)
        has_labels = material.labels.max() >= 0
        parts, stage = CROWD if has_labels else CROWD[:1], "face"
        folder_name = f"{material.corpus}-{size}"
    path = files.ROOT / "checkpoints" / folder_name / stage
    settings = {f"part {number}": part for number, part in enumerate(parts, 1)}
    data = {material.corpus: material.key}
    record = Provenance(stage, provenance.VERSIONS[stage], settings, data, seed)
    name = f"{path.parent.name}-{stage}.{record.fingerprint()}"
    states = [files.runs_root() / f"{name}.{i}.state.pt" for i in range(len(parts))]
    model, history = _train(material, parts, states, stage, seed)

    card = {
        "stage": stage,
        "corpus": material.corpus,
        "seed": seed,
        **material.counts,
        "provenance": record.to_json(),
        "command": f"{material.command} --seed {seed}",
    }
    # Only training needs the discriminator.
    smaller: dict = {"bits": 8, "without": ("discriminator",)}
    rounded, _ = checkpoints.load(checkpoints.save(path, model, card, **smaller), VaeGan)
    # The card states the error of the rounded weights.
    rows = np.flatnonzero(material.held_out)
    error = vaegan.reconstruction_error(rounded, material.pictures, rows, loop.launch())
    card["validation"] = {"reconstruction_mse": error}
    checkpoints.save(path, rounded, card, **smaller)
    history.to_csv(path.with_suffix(".history.csv"), index=False)
    for state in states:
        state.unlink()
        state.with_suffix(".csv").unlink()
    return path


def _train(
    material: Material,
    parts: tuple[VaeGanConfig, ...],
    states: list[Path],
    stage: str,
    seed: int,
) -> tuple[VaeGan, pd.DataFrame]:
    """Train part after part, each from the network of the one before; return it and its history."""
    model: VaeGan | None = None
    histories, epochs = [], 0
    for settings, state in zip(parts, states):
        model, history = vaegan.train_vaegan(
            TrainingData(
                material.pictures,
                train=np.flatnonzero(~material.held_out),
                validation=np.flatnonzero(material.held_out),
                labels=material.labels if material.labels.max() >= 0 else None,
                flips=stage == "face",
            ),
            settings,
            seed=seed,
            state=state,
            start=model,
            log=state.with_suffix(".csv"),
        )
        histories.append(history.assign(epoch=history.epoch + epochs))
        epochs += len(history)
    assert model is not None, "there is at least one part"
    return model, pd.concat(histories)


def _crowd_faces(size: int) -> Material:
    table = crowd.table()
    if table.empty:
        raise CorpusError(
            f"{default_root('crowd')}: the pictures of the crowd are not there;"
            " get them again (git checkout data/crowd)"
        )
    pictures = Pictures(crowd.load(size))
    return _of_crowd(table, pictures, crowd.key(), f"cm pretrain --size {size}")


def _crowd_voices() -> Material:
    spectrograms, table = crowd.voices()
    key = f"{len(table)} voices"
    return _of_crowd(table, Pictures(spectrograms), key, "cm pretrain --voices")


def _of_crowd(table: pd.DataFrame, pictures: Pictures, key: str, command: str) -> Material:
    people = table.person.unique()
    held_out = table.person.isin(people[-HELD_OUT:]).to_numpy()
    counts = {"people": {"training": len(people) - HELD_OUT, "validation": HELD_OUT}}
    return Material("crowd", pictures, crowd.labels(table), held_out, key, counts, command)


def _folder_faces(folder: str | Path, size: int) -> Material:
    crops = crop_folder(folder, size)
    held_out = (crops.table.part == "val").to_numpy()
    counts = {
        "training": int((~held_out).sum()),
        "validation": int(held_out.sum()),
        "skipped": len(crops.skipped),
    }
    return Material(
        crops.kind,
        Pictures(crops.pictures),
        np.array(picture_folders.labels(crops.table)),
        held_out,
        crops.key,
        {"pictures": counts},
        f"cm pretrain --size {size} --images {folder}",
    )
