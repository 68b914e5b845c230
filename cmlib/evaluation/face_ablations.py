"""Face VAE-GANs with one setting changed at a time."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from cmlib.config import Profile, VaeGanConfig, get_profile
from cmlib.evaluation import judges
from cmlib.evaluation.judges import CnnJudge, judge_for_run
from cmlib.evaluation.leakage import MAX_PROBED
from cmlib.evaluation.representations import decode_pictures, picture_blocks
from cmlib.experiment.run import Run
from cmlib.models import VaeGan
from cmlib.models.moments import weighted_mean
from cmlib.training.loop import best_device, on_device

# What the reconstruction error compares; the index is ``VaeGanConfig.feature_level``.
MEASURES = ("pixels, no features", "features of level 1", "features of level 2")
FEATURE_WEIGHT = 0.05  # if the profile does not use features; see docs/experiments.md, 12
ADVERSARIAL_WEIGHT = 1e-3  # so the term counts about as much as the pixels do


@dataclass(frozen=True)
class FaceVariant(Run):
    """A run whose face VAE-GAN has settings of its own."""

    face: VaeGanConfig = VaeGanConfig()

    @property
    def profile(self) -> Profile:
        """The run's profile, with the face settings of this variant."""
        return dataclasses.replace(super().profile, face=self.face)


def face_variants(run: Run) -> dict[str, Run]:
    """The run itself, and runs whose face network learns with another error, by name.

    The error compares features of another level, or an adversarial term is added to it. Such a run
    has a folder of its own in the run's folder ``ablations``.
    """
    base = run.profile.face
    if not base.epochs:  # the network is shipped; its variants are trained as in profile tuned
        base = dataclasses.replace(base, epochs=get_profile("tuned").face.epochs)
    variants = {"as in the profile": run}
    for level, measure in enumerate(MEASURES):
        for adversarial_weight in (0.0, ADVERSARIAL_WEIGHT):
            if level == 1 and adversarial_weight:
                continue  # one learned metric with an adversarial term is enough
            feature_weight = base.feature_weight
            if level:
                feature_weight = feature_weight or FEATURE_WEIGHT
            face = dataclasses.replace(
                base,
                feature_level=level,
                feature_weight=feature_weight,
                adversarial_weight=adversarial_weight,
            )
            if face == run.profile.face:
                continue
            name = f"{measure}, adversarial" if adversarial_weight else measure
            folder = run.folder / "ablations" / name.replace(",", "").replace(" ", "-")
            variants[name] = FaceVariant(
                run.corpus, run.profile_name, run.seed, run.fold, str(folder), face
            )
    return variants


@torch.no_grad()
def face_ablations(run: Run, train: bool = False) -> pd.DataFrame:
    """How the reconstruction error affects faces and latents, on VALIDATION actors.

    One row per trained variant of ``face_variants``. ``train``: also train the missing ones; an
    interrupted training resumes. The table is empty if only the run's own network exists.

    Columns: change, mse (of the reconstruction from the mean, over pixels), and two clip accuracies
    with intervals over actors. One is that of a judge which learnt from real frames of training
    actors and sees reconstructions (judge, judge_low, judge_high). The other is that of a logistic
    regression on the latents (probe, probe_low, probe_high).
    """
    variants = face_variants(run)
    if train:
        for variant in variants.values():
            variant.vaegan("face")
    trained = {name: variant for name, variant in variants.items() if variant.find("face")}
    if len(trained) < 2:
        return pd.DataFrame()

    frames = run.frames_of(run.split.val)
    judge = judge_for_run(run, "training")
    rows = []
    for name, variant in trained.items():
        latents = variant.face_latents.mu[0]  # (frames of the corpus, D)
        error, judged = _reconstructions(run, variant.vaegan("face"), latents, frames, judge)
        row = {"change": name, "mse": error}
        log_probabilities = {"judge": judged, "probe": _probe(run, latents, frames)}
        for classifier in log_probabilities:
            accuracy = run.scores(log_probabilities[classifier], frames)["clip_accuracy"]
            row[classifier] = accuracy["value"]
            row[f"{classifier}_low"] = accuracy["low"]
            row[f"{classifier}_high"] = accuracy["high"]
        rows.append(row)
    return pd.DataFrame(rows)


def _reconstructions(
    run: Run, face_network: VaeGan, mu: torch.Tensor, frames: np.ndarray, judge: CnnJudge
) -> tuple[float, np.ndarray]:
    """The mean squared error of the ``frames``, and what the judge says about their pictures.

    ``mu`` (frames of the corpus, D) are the latents of ``face_network``.
    """
    errors, answers, sizes = [], [], []
    with on_device(best_device(), face_network, judge):
        for rows in picture_blocks(frames, run.profile.data.image_size):
            pictures = decode_pictures(face_network, mu[rows])
            real = run.faces.batch(rows).to(pictures.device)
            errors.append((pictures - real).square().mean().cpu())
            answers.append(judges.predict(judge, pictures))
            sizes.append(len(rows))
    return float(weighted_mean(torch.stack(errors), sizes)), np.concatenate(answers)


def _probe(run: Run, mu: torch.Tensor, frames: np.ndarray) -> np.ndarray:
    """Log probabilities (N, classes) that a linear probe gives to ``frames`` (N,).

    It is a logistic regression on the latents of the run's training frames; ``mu`` (frames of the
    corpus, D).
    """
    labels = run.clip_labels[run.frame_clip]
    train = run.frames_of(run.split.train)
    train = train[:: 1 + (len(train) - 1) // MAX_PROBED]
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=1e-3, max_iter=500))
    probe.fit(mu[train], labels[train])
    log_probabilities = np.full((len(frames), len(run.classes)), -1e9)
    # A class without training frames is never predicted.
    log_probabilities[:, probe.classes_] = probe.predict_log_proba(mu[frames])
    return log_probabilities
