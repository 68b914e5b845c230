"""The context attention network with one setting changed at a time."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence

import pandas as pd
import torch

from cmlib import checkpoints, files
from cmlib.config import CanConfig
from cmlib.experiment.run import Run
from cmlib.models import Can
from cmlib.models.moments import blocks_of, mean_and_spread, weighted_mean
from cmlib.training import losses
from cmlib.training.latents import Latents, Means, Part, row_blocks
from cmlib.training.loop import best_device, on_device

# Changes to the settings of the context network in the profile.
ABLATIONS = {
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
STRENGTHS = (0.0, 0.5, 1.5)  # context strengths of the unchanged network, beside 1


def variants(
    profile_settings: CanConfig, changes: Mapping[str, Mapping] = ABLATIONS
) -> dict[str, CanConfig]:
    """The settings of each context network that ``ablations`` scores, by the name of its change.

    The first are those of the profile. Changes that change nothing are left out.
    """
    settings_by_name = {"as in the profile": profile_settings}
    for name, change in changes.items():
        settings = dataclasses.replace(profile_settings, **change)
        if settings != profile_settings:
            settings_by_name[name] = settings
    return settings_by_name


@torch.no_grad()
def ablations(
    run: Run, changes: Mapping[str, Mapping] = ABLATIONS, strengths: Sequence[float] = STRENGTHS
) -> pd.DataFrame:
    """Score context networks with one setting changed each, on the VALIDATION actors.

    They are trained on cached latents, with the settings of ``variants``. Each network is trained
    once, and kept in the run's folder ``ablations``.

    Columns: change, value, low, high (clip accuracy), kl (mean KL(face || shifted), nats), shift
    (root mean square change of the latent mean, in units of its spread over training faces),
    seconds (to train the network, or to load it).
    """
    rows = []
    for name, settings in variants(run.profile.can, changes).items():
        start = time.perf_counter()
        model = _context_network(run, settings)
        seconds = time.perf_counter() - start
        rows.append({"change": name, **_measure(run, model, 1.0), "seconds": seconds})
        if settings == run.profile.can:
            for strength in strengths:
                measures = _measure(run, model, strength)
                rows.append({"change": f"strength {strength:g}", **measures, "seconds": seconds})
    return pd.DataFrame(rows)


def _measure(run: Run, model: Can, strength: float) -> dict[str, float]:
    """Clip accuracy with interval, KL and shift of a context network, on the validation actors."""
    frames = run.frames_of(run.split.val)
    log_probabilities = run.log_probabilities("can", frames, model, strength)
    accuracy = run.scores(log_probabilities, frames)["clip_accuracy"]

    training_frames = run.frames_of(run.split.train)
    latents = run.face_latents
    every_view = Means(Latents(Part(latents)), training_frames, range(len(latents.mu)))
    _, spread = mean_and_spread(blocks_of(every_view, latents.mu.shape[-1]))
    blocks = list(row_blocks(frames, 4 * latents.mu.shape[-1]))
    divergences, changes = [], []
    device = best_device()
    spread = spread.to(device)
    with on_device(device, model):
        for rows in blocks:
            face, voice = (part.map(lambda x: x.to(device)) for part in run.paired(rows))
            shifted = model.shift(face, voice, strength)
            divergences.append(losses.kl_between(*face, *shifted).cpu())  # (n,)
            changes.append(((shifted.mu - face.mu) / spread).square().mean().cpu())
    kl = float(torch.cat(divergences).mean())
    shift = float(weighted_mean(torch.stack(changes), [len(rows) for rows in blocks]).sqrt())
    return {**accuracy, "kl": kl, "shift": shift}


def _context_network(run: Run, settings: CanConfig) -> Can:
    """The network with these settings: the run's own, one trained before, or one trained now."""
    for name in ("can", "can_released"):
        if settings == run.settings(name):
            return run.can(name)
    # All variants read the same latents, so the networks behind the latents are identified by their
    # weights.
    record = run.provenance("can")
    data = dict(record.data or {})
    for name in ("face", "voice", "classifier_face"):
        data[name] = files.known_checksum(run.weights(name))
    record = dataclasses.replace(record, settings={"can": settings}, data=data)
    folder = run.folder / "ablations"
    for card_file in sorted(folder.glob("can-*.json")):
        path = card_file.with_suffix("")
        if checkpoints.is_current(path, record):
            return checkpoints.load(path, Can)[0]
    path = folder / f"can-{record.fingerprint()}"
    network, _ = run.train_can(settings)
    checkpoints.save(path, network, {"stage": "can", "provenance": record.to_json()})
    return checkpoints.load(path, Can)[0]
