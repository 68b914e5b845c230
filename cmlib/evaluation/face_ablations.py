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
from cmlib.evaluation.representations import _decoded, train_judge
from cmlib.experiment.run import Run

# -------------------------------------------------------------------- settings of the face VAE-GAN


@dataclass(frozen=True)
class FaceVariant(Run):
    """A run whose face VAE-GAN has settings of its own."""

    face: VaeGanConfig = VaeGanConfig()

    @property
    def profile(self) -> Profile:
        return dataclasses.replace(super().profile, face=self.face)


def face_variants(run: Run) -> dict[str, Run]:
    """The run itself, and runs in its folder ``ablations`` with features of another level, or with an adversarial term."""
    base = (
        run.profile.face
        if run.profile.face.epochs
        else dataclasses.replace(run.profile.face, epochs=get_profile("tuned").face.epochs)
    )
    found, weight = (
        {"as in the profile": run},
        base.feature_weight or 0.05,
    )  # docs/experiments.md, 12
    for level, name in enumerate(
        ("pixels, no features", "features of level 1", "features of level 2")
    ):
        for adversarial in (0.0, 1e-3):  # 1e-3: about as much as the pixels count
            measure = dict(
                feature_level=level, feature_weight=weight if level else base.feature_weight
            )
            face = dataclasses.replace(base, **measure, adversarial_weight=adversarial)
            if face != run.profile.face and (level != 1 or not adversarial):
                name += ", adversarial" * bool(adversarial)
                folder = run.folder / "ablations" / name.replace(",", "").replace(" ", "-")
                found[name] = FaceVariant(
                    run.corpus, run.profile_name, run.seed, run.fold, str(folder), face
                )
    return found


@torch.no_grad()
def face_ablations(run: Run, train: bool = False) -> pd.DataFrame:
    """What the measure of reconstruction does to faces and latents, on VALIDATION actors; one row per trained variant.

    ``train`` trains those of ``face_variants`` that are not there; a killed training goes on.  Empty where only the
    run's own network is there.  Columns: change, mse (reconstruction from the mean, over pixels), and clip accuracies
    with intervals over actors: of a judge that learnt from real frames of training actors, on reconstructions (judge,
    judge_low, judge_high), and of a logistic regression on the latents (probe, probe_low, probe_high).
    """
    variants = face_variants(run)
    if train:
        [variant.vaegan("face") for variant in variants.values()]
    there = {name: variant for name, variant in variants.items() if variant.find("face")}
    if len(there) < 2:
        return pd.DataFrame()
    known, asked = (run.frames_of(clips) for clips in (run.split.train, run.split.val))
    judge, labels, real = (
        train_judge(run, "training"),
        run.clip_labels[run.frame_clip],
        run.faces.batch(asked),
    )
    done = []
    for name, variant in there.items():
        mu = variant.face_latents.mu[0]
        drawn = _decoded(variant.vaegan("face"), mu[asked])
        probe = make_pipeline(StandardScaler(), LogisticRegression(C=1e-3, max_iter=500)).fit(
            mu[known], labels[known]
        )
        linear = np.full(
            (len(asked), len(run.classes)), -1e9
        )  # a corpus may lack a class in training
        linear[:, probe.classes_] = probe.predict_log_proba(mu[asked])
        answers = {"judge": judges.read(judge, drawn), "probe": linear}
        row = {"change": name, "mse": float((drawn - real).square().mean())}
        for reader, said in answers.items():
            score = run.scores(said, asked)["clip_accuracy"]
            row |= {
                reader: score["value"],
                f"{reader}_low": score["low"],
                f"{reader}_high": score["high"],
            }
        done.append(row)
    return pd.DataFrame(done)
