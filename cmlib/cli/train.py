"""``cm plan``, ``train``, ``pretrain`` and ``import-checkpoint``: where networks come from."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from cmlib.cli.options import Corpus, Fold, Profile, Seed, Side
from cmlib.corpora import CORPORA

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from cmlib.experiment.run import Run

Stage = Literal["face", "voice", "classifier", "can", "all"]
NETWORKS = {  # the networks of each stage, in the order in which they are trained
    "face": ("face",),
    "voice": ("voice",),
    "classifier": (
        "classifier_face",
        "classifier_voice",
        "classifier_product_of_experts",
        "classifier_concatenation",
    ),
    "can": ("can_released", "can"),
}
WITHOUT_FACES = ("voice", "classifier_voice")  # what can be trained on a corpus of sound only


def plan(profile: Profile = "quick", /, *, corpus: Corpus = "actors", fold: Fold = 1) -> None:
    """Estimate what a training would cost here, without training.

    The time and memory of each stage are measured on a few steps.
    """
    from cmlib.experiment.plan import plan as plan_training

    os.environ["CM_QUIET"] = "1"
    table = plan_training(corpus, profile, fold)
    print(
        f"profile {profile} on {corpus}, fold {fold}; "
        "measured on a few steps, without preparing and evaluating"
    )
    print(
        f"{'stage':<12}{'pictures':>10}{'epochs':>8}{'steps':>10}"
        f"{'s a step':>10}{'time':>10}{'memory':>10}"
    )
    for _, row in table.iterrows():
        on_latents = math.isnan(row.memory_gb)  # these take little memory
        memory = "" if on_latents else f"{row.memory_gb:.1f} GB"
        print(
            f"{row.stage:<12}{row.pictures:>10,}{row.epochs:>8}{row.steps:>10,}"
            f"{row.seconds_per_step:>10.3f}{span(row.hours):>10}{memory:>10}"
        )
    print(f"in all about {span(table.hours.sum())}")


def span(hours: float) -> str:
    """Hours in words of the right size: "12 s", "5.0 min", "3.2 h", "17 days"."""
    for size, name in ((24, "days"), (1, "h"), (1 / 60, "min")):
        count = hours / size
        if count >= 2:
            return f"{count:.1f} {name}" if count < 10 else f"{count:.0f} {name}"
    return f"{hours * 3600:.0f} s"


def train(
    stage: Annotated[Stage, Parameter(help="What to train.")],
    /,
    *,
    corpus: Corpus = "actors",
    profile: Profile = "quick",
    fold: Fold = 1,
    seed: Seed = 0,
    devices: Annotated[
        int,
        Parameter(help="Number of GPUs (or processes, without one) that share each batch."),
    ] = 1,
    nodes: Annotated[
        int,
        Parameter(
            help="Number of machines with a shared file system; start the command on each "
            "(torchrun, SLURM)."
        ),
    ] = 1,
    precision: Annotated[
        Literal["auto", "32-true", "bf16-mixed"], Parameter(help="Precision of the computations.")
    ] = "auto",
    log: Annotated[
        Literal["csv", "tensorboard"], Parameter(help="Format of the log of face and voice.")
    ] = "csv",
) -> None:
    """Train a stage, and first what it needs.

    A stopped VAE-GAN training resumes.
    """
    from lightning_fabric.utilities.exceptions import MisconfigurationException

    from cmlib.experiment.run import Run
    from cmlib.training.loop import launch

    try:
        fabric = launch(precision, devices, nodes)
    except (MisconfigurationException, TypeError) as error:  # too many devices, or none
        raise ValueError(f"--devices {devices}: {str(error).strip()}") from None
    run = Run(corpus, profile, seed, fold)
    names = _networks_to_train(stage, run)
    _train_vaegans(stage, names, run, fabric, log)
    if fabric.is_global_zero:  # training on latents takes seconds: one device does it alone
        _train_on_latents(names, run)


def _networks_to_train(stage: Stage, run: Run) -> list[str]:
    """Names of the networks of a stage that this run's corpus can train."""
    stages = NETWORKS if stage == "all" else (stage,)
    names = [name for each in stages for name in NETWORKS[each]]
    if not run.store.has_faces:
        names = [name for name in names if name in WITHOUT_FACES]
    if not names:
        raise ValueError(f"{run.corpus} has sound only: train voice, classifier or all")
    return names


def _train_vaegans(stage: Stage, names: list[str], run: Run, fabric: Fabric, log: str) -> None:
    """Train the VAE-GANs in ``names``, and those below a later stage where they are missing."""
    for kind in ("face", "voice"):
        can_train = kind == "voice" or run.store.has_faces
        if kind in names:
            run.vaegan(kind, retrain=True, fabric=fabric, log=log)
        elif stage in ("classifier", "can") and can_train:
            run.vaegan(kind, fabric=fabric, log=log)


def _train_on_latents(names: list[str], run: Run) -> None:
    """Train classifiers and context networks; print the validation scores of all networks."""
    from cmlib import checkpoints

    for name in names:
        if name not in ("face", "voice"):
            run.classifying_network(name.removeprefix("classifier_"), retrain=True)
        path = run.find(name)
        assert path is not None  # it has just been trained
        scores = []
        for score, value in checkpoints.read_card(path)["validation"].items():
            if isinstance(value, float):
                scores.append(f"{score} {value:.5f}")
            elif "value" in value:  # with an interval; a shipped network may have other measures
                scores.append(f"{score} {value['value']:.3f}")
        print(f"{name}: validation {', '.join(scores)}; {path}.safetensors")


def pretrain(
    *,
    voices: Annotated[
        bool,
        Parameter(help="Learn voices; first make them with python -m tools.corpus voices."),
    ] = False,
    images: Annotated[
        Path | None,
        Parameter(help="Learn from the pictures in this folder: CelebA, RaFD, or others."),
    ] = None,
    size: Side = 64,
    seed: Seed = 0,
) -> None:
    """Learn faces or voices from the crowd, or from pictures.

    The crowd are people who appear in no corpus of emotions. Most profiles use its networks.
    """
    from cmlib.experiment import pretrain as pretraining
    from cmlib.preparation.picture_crops import crop_folder

    if images and voices:
        raise ValueError("--images and --voices exclude each other: choose one")
    path = pretraining.pretrain(size, seed, images, voices)
    if images:
        faces = crop_folder(images, size)
        kinds = faces.skipped.reason.str.extract(r"^([a-z]+): ", expand=False)
        counts = kinds.fillna("unreadable").value_counts()
        skipped = ", ".join(f"{count} {kind}" for kind, count in counts.items()) or "none"
        print(f"{faces.kind}: {len(faces.table)} faces; left out: {skipped}")
    print(f"{path}.safetensors")


def import_checkpoint(
    file: Annotated[Path, Parameter(help="A .ckpt file of any stage; no code in it is run.")],
    /,
    *,
    out: Annotated[
        Path | None,
        Parameter(help="Folder for the networks; default: checkpoints/CORPUS-paper."),
    ] = None,
    corpus: Annotated[
        str,
        Parameter(
            choices=tuple(CORPORA), help="The corpus it was trained on, which gives the classes."
        ),
    ] = "ravdess_released",
) -> None:
    """Convert a checkpoint of the released code."""
    from cmlib import files, import_released

    folder = out or files.ROOT / "checkpoints" / f"{corpus}-paper"
    result = import_released.import_checkpoint(file, folder, corpus)
    print(f"{file}: a released {result.kind}")
    for line in (*result.written, *result.notes):
        print(f"  {line}")
