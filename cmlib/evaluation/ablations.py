"""The context attention network with one setting changed at a time."""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Mapping, Sequence

import pandas as pd
import torch

from cmlib import checkpoints
from cmlib.config import CanConfig
from cmlib.experiment.provenance import recipe
from cmlib.experiment.run import Run
from cmlib.models import Can
from cmlib.training import losses

ABLATIONS = {  # changes to the profile's settings of the context network; those that change nothing are left out
    "KL weight 0": {"kl_weight": 0.0},
    "KL weight 1e-5 (released)": {"kl_weight": 1e-5},
    "KL weight 1e-4": {"kl_weight": 1e-4},
    "KL weight 1e-2": {"kl_weight": 1e-2},
    "KL(face || shifted)": {"kl_direction": "prior_to_shifted"},
    "KL(shifted || face)": {"kl_direction": "shifted_to_prior"},
    "classifier fixed": {"finetune": False},
    "classifier learns on (released)": {"finetune": True},
    "latents in units of their spread": {"normalise": True},
    "raw latents (released)": {"normalise": False},
    "shift along the whole latent (released)": {"directions": 0},
    "no neutral faces (released)": {"neutral": 0.0},
    "no faces of the crowd (released)": {"crowd": 0.0},
    "no crowd, no neutral faces, the clip's own voice (released)": {
        "pairing": "own",
        "neutral": 0.0,
        "crowd": 0.0,
    },
    "any voice of the emotion": {"pairing": "emotion"},
    "voices without noise (released)": {"voice_noise": 0.0},
    "a linear map in place of attention": {"attention": "linear"},
    "all as released": dataclasses.asdict(CanConfig()),
}
STRENGTHS = (0.0, 0.5, 1.5)  # of the unchanged network, beside 1


@torch.no_grad()
def ablations(
    run: Run, settings: Mapping = ABLATIONS, strengths: Sequence[float] = STRENGTHS
) -> pd.DataFrame:
    """Context networks with one setting changed each, trained on cached latents and scored on the VALIDATION actors.

    ``settings`` names changes to the profile's settings; those that it has already are left out.  A network is trained
    once: it is kept in the run's folder ``ablations``.  Columns: change, value, low, high (clip accuracy), kl (mean
    KL(face || shifted), nats), shift (root mean square change of the latent mean, in units of its spread over training
    faces), seconds (of training it, or of reading it).
    """
    base, asked = run.profile.can, run.frames_of(run.split.val)
    spread = run.face_latents.mu[:, run.frames_of(run.split.train)].flatten(0, 1).std(0)
    variants = {name: dataclasses.replace(base, **change) for name, change in settings.items()}
    done = []
    for name, variant in {
        "as in the profile": base,
        **{n: v for n, v in variants.items() if v != base},
    }.items():
        began = time.perf_counter()
        model = _context_network(run, variant)
        seconds = time.perf_counter() - began
        for t in (1.0, *strengths) if variant == base else (1.0,):
            score = run.scores(run.log_probabilities("can", asked, model, t), asked)[
                "clip_accuracy"
            ]
            own, heard = run.paired(asked)
            there = model.shift(own, heard, t)
            kl = float(losses.kl_between(*own, *there).mean())
            moved = float(((there.mu - own.mu) / spread).square().mean().sqrt())
            named = name if t == 1 else f"strength {t:g}"
            done.append({"change": named, **score, "kl": kl, "shift": moved, "seconds": seconds})
    return pd.DataFrame(done)


def _context_network(run: Run, settings: CanConfig) -> Can:
    """With these settings the run's own network, one that was kept, or one that is trained now."""
    for name in ("can", "can_released"):
        if settings == run.settings(name):
            return run.can(name)
    below = [
        run.find(name).with_suffix(".safetensors").read_bytes()
        for name in ("face", "voice", "classifier_face")
    ]
    made = recipe(
        run.recipe("can"), dataclasses.asdict(settings), hashlib.sha256(b"".join(below)).hexdigest()
    )
    path = run.folder / "ablations" / f"can-{made}"
    if not path.with_suffix(".json").exists():  # the card is written last
        checkpoints.save(
            path,
            run.train_can(settings)[0],
            {"stage": "can", "settings": dataclasses.asdict(settings)},
        )
    return checkpoints.load(path, Can)[0]
