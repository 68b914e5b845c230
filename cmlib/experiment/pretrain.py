"""Learn the faces, or voices, of people outside the corpus first."""

from __future__ import annotations

import dataclasses
import gc
from pathlib import Path
from typing import TYPE_CHECKING

from cmlib import files

gc.disable()  # the imports below make a million objects and no garbage: a tenth of the time
import numpy as np
import pandas as pd

from cmlib import checkpoints
from cmlib.config import CROWD, CROWD_VOICE
from cmlib.corpora import CorpusError, crowd, default_root, picture_folders
from cmlib.experiment.provenance import recipe
from cmlib.preparation.picture_crops import crop_folder
from cmlib.training import loop, vaegan
from cmlib.training.batches import Pictures

gc.enable()
if TYPE_CHECKING:
    pass


def pretrain(
    size: int = 64, seed: int = 0, folder: str | Path | None = None, voices: bool = False
) -> Path:
    """Train a face VAE-GAN on the corpus ``crowd`` alone, or on the pictures below ``folder`` (``cmlib.corpora.images``), or with
    ``voices`` a voice VAE-GAN on the voices of the crowd; write and return ``checkpoints/<crowd, celeba, rafd or
    images>-<size>/face`` or ``checkpoints/crowd/voice``, with the history beside it.

    Faces are learnt in two parts, the second of which reads expressions; without labels in the first alone.  The last 30 people of
    the crowd (360 pictures, 450 voices) only measure.  A killed training goes on.  CorpusError without pictures.
    """
    parts, name, command = CROWD, "crowd", f"cm pretrain --size {size} --seed {seed}"
    if folder is not None:
        found = crop_folder(folder, size)
        name, pictures, labels = (
            found.kind,
            Pictures(found.pictures),
            np.array(picture_folders.labels(found.table)),
        )
        held_out, data = (found.table.part == "val").to_numpy(), found.key
        counts = {
            "pictures": {
                "training": int((~held_out).sum()),
                "validation": int(held_out.sum()),
                "skipped": len(found.skipped),
            }
        }
        command += f" --images {folder}"
    else:
        if voices:
            made, table = crowd.voices()
            parts, size, command = (
                (CROWD_VOICE,),
                made.shape[1],
                f"cm pretrain --voices --seed {seed}",
            )
        else:
            made, table = crowd.load(size), crowd.table()
        if table.empty:
            raise CorpusError(
                f"{default_root('crowd')}: the pictures of the crowd are not there; get them again (git checkout data/crowd)"
            )
        pictures, labels, data = Pictures(made), crowd.labels(table), len(table)
        held_out = table.person.isin(table.person.unique()[-30:]).to_numpy()
        counts = {"people": {"training": int(table.person.nunique()) - 30, "validation": 30}}
    path = files.ROOT / "checkpoints" / ("crowd/voice" if voices else f"{name}-{size}/face")
    labels, parts = (labels, parts) if labels.max() >= 0 else (None, parts[:1])
    made = recipe(path.parent.name, size, seed, [dataclasses.asdict(s) for s in parts], data)
    states = [
        files.ROOT / "runs" / f"{path.parent.name}-{path.name}.{made[:8]}.{i}.state.pt"
        for i in range(len(parts))
    ]
    model, histories = None, []
    for settings, state in zip(parts, states):
        model, history = vaegan.train_vaegan(
            pictures,
            np.flatnonzero(~held_out),
            np.flatnonzero(held_out),
            settings,
            channels=1 if voices else 3,
            size=size,
            labels=labels,
            flips=not voices,
            seed=seed,
            state=state,
            start=model,
            log=state.with_suffix(".csv"),
        )
        histories.append(history.assign(epoch=history.epoch + sum(map(len, histories))))
    card = {
        "stage": path.name,
        "corpus": name,
        "seed": seed,
        **counts,
        "settings": [dataclasses.asdict(s) for s in parts],
        "recipe": made,
        "command": command,
    }
    leave = dict(bits=8, without=("discriminator",))  # it serves training only
    rounded, _ = checkpoints.load(checkpoints.save(path, model, card, **leave))
    error = vaegan.reconstruction_error(rounded, pictures, np.flatnonzero(held_out), loop.launch())
    checkpoints.save(path, rounded, card | {"validation": {"reconstruction_mse": error}}, **leave)
    pd.concat(histories).to_csv(path.with_suffix(".history.csv"), index=False)
    for file in (f for state in states for f in (state, state.with_suffix(".csv"))):
        file.unlink()
    return path
