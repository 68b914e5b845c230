"""Small VAE-GANs of cartoon faces, which are trained once for all corpora, folds and profiles.

They ship with the repository in ``checkpoints/cartoons``. What is trained here, with another seed
or with ``provenance.fresh``, is kept beside the prepared corpora.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from cmlib import checkpoints, files, provenance
from cmlib.config import VaeGanConfig
from cmlib.corpora import cache_root
from cmlib.locks import locked
from cmlib.models import VaeGan
from cmlib.provenance import Provenance
from cmlib.training.batches import TrainingData, fingerprint
from cmlib.training.small_vaegan import train_small_vaegan


@dataclass(frozen=True)
class SmallTraining:
    """A small VAE-GAN and the course of its training."""

    network: VaeGan  # in eval mode, without a discriminator if it was kept
    steps: pd.DataFrame  # a row for each step, as of ``SmallVaeGanTraining``
    course: Tensor  # (epochs + 1, N, 3, S, S) in 0...1: painted at the start and after each epoch


def small_vaegan(
    name: str,
    data: TrainingData,
    settings: VaeGanConfig,
    seed: int,
    paint: Callable[[VaeGan], Tensor],
) -> SmallTraining:
    """The small VAE-GAN ``name``: shipped, kept, or trained now and then kept.

    ``paint(model in eval mode)`` gives the pictures (N, 3, S, S) that show how far it is. They are
    kept as a picture of their own, in 256 levels of each colour.
    """
    record = record_of(data, settings, seed)
    shipped = shipped_folder() / file_name(name)
    if not provenance.fresh() and _is_whole(shipped, record):
        return _read(shipped, settings)
    path = kept_path(record)
    files.make_folder(path.parent)
    with locked(path.with_suffix(".lock"), f"training the same small network ({name})"):
        if not _is_whole(path, record):
            _train(path, name, record, data, settings, seed, paint)
    return _read(path, settings)


def record_of(data: TrainingData, settings: VaeGanConfig, seed: int) -> Provenance:
    """What a small VAE-GAN is made from."""
    labels = np.zeros(len(data.pictures), int) if data.labels is None else data.labels
    pictures = fingerprint(data.pictures, data.train, labels)
    record = provenance.of_code("small_vaegan", {"face": settings}, {"pictures": pictures}, seed)
    return dataclasses.replace(record, below={"face": provenance.of_code("face")})


def shipped_folder() -> Path:
    """Where the small VAE-GANs that ship with the repository lie."""
    return files.ROOT / "checkpoints" / "cartoons"


def file_name(name: str) -> str:
    """The name of the files of a network: "VAE-GAN" becomes "vae-gan"."""
    return name.lower().replace(" ", "_")


def kept_path(record: Provenance) -> Path:
    """Where a small VAE-GAN is kept (without suffix) if it does not ship."""
    return cache_root() / "cartoons" / record.fingerprint()


def _is_whole(path: Path, record: Provenance) -> bool:
    # The card is written last, so that the other files are there if it is.
    if not checkpoints.is_current(path, record):
        return False
    try:
        with Image.open(_course(path)) as sheet:
            sheet.verify()
        return _steps(path).exists()
    except (OSError, SyntaxError, UnidentifiedImageError):  # lost or damaged
        return False


def _train(
    path: Path,
    name: str,
    record: Provenance,
    data: TrainingData,
    settings: VaeGanConfig,
    seed: int,
    paint: Callable[[VaeGan], Tensor],
) -> None:
    painted = []

    @torch.no_grad()
    def watch(unfinished: VaeGan) -> None:
        painted.append(paint(unfinished))

    network, steps = train_small_vaegan(data, settings, seed, watch)
    with files.write_atomically(_steps(path)) as temporary:
        steps.to_csv(temporary, index=False)
    with files.write_atomically(_course(path)) as temporary:
        _to_sheet(torch.stack(painted)).save(temporary, "PNG")
    card = {
        "stage": file_name(name),
        "seed": seed,
        "command": f"cm figures 02_measures --fresh --seed {seed}",
        "provenance": record.to_json(),
    }
    checkpoints.save(path, network, card, without=("discriminator",))


def _read(path: Path, settings: VaeGanConfig) -> SmallTraining:
    network, _ = checkpoints.load(path, VaeGan)
    steps = pd.read_csv(_steps(path))
    with Image.open(_course(path)) as sheet:
        course = _from_sheet(sheet, settings.epochs + 1)
    return SmallTraining(network, steps, course)


def _steps(path: Path) -> Path:
    return path.with_suffix(".history.csv")


def _course(path: Path) -> Path:
    return path.with_suffix(".course.png")


def _to_sheet(course: Tensor) -> Image.Image:
    """Pictures (E, N, 3, S, S) in 0...1 as one with E rows of N pictures."""
    epochs, count, _, side, _ = course.shape
    values = (255 * course.clamp(0, 1)).round().to(torch.uint8)
    values = values.permute(0, 3, 1, 4, 2).reshape(epochs * side, count * side, 3)
    return Image.fromarray(values.numpy())


def _from_sheet(sheet: Image.Image, epochs: int) -> Tensor:
    """The inverse of ``_to_sheet``, but for rounding."""
    values = torch.from_numpy(np.array(sheet.convert("RGB")))
    side = len(values) // epochs
    values = values.reshape(epochs, side, -1, side, 3).permute(0, 2, 4, 1, 3)
    return values.float() / 255
