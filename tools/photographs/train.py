"""Train a face VAE-GAN of photographs, which starts from principal components.

The discriminator is left out. Sharpness comes from ``losses.edge_strength_error``, and emotions
from a linear classifier on the latents of the performers. The training goes on from its state
file after a stop, with the random numbers of an undisturbed one.

`checkpoints/photographs-128/fold-1` was trained in two parts: on CelebA alone, with a
``performers_batch`` of 0, which serves every fold, and then on both sets, with ``begin`` and a
``pair_weight``. Its card holds both commands.
"""

from __future__ import annotations

import dataclasses
import math
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn import functional as F

from cmlib import checkpoints
from cmlib.corpora import CorpusError
from cmlib.corpora.names import CLASSES
from cmlib.models import VaeGan
from cmlib.progress import progress_bar
from cmlib.provenance import VERSIONS, Provenance
from cmlib.training import losses
from cmlib.training.loop import (
    check_finite,
    launch,
    load_state,
    save_state,
    seed_epoch,
    set_aside_damaged_state,
)

from .components import Principal, start
from .data import Photographs
from .evaluate import encode, reconstruction
from .losses import added_detail, detail_strength_error, edge_strength_error

TERMS_OF_USE = "research and teaching, non-commercial"
LEAST_RATE = 0.01  # of the learning rate, at the end of the cosine
STRENGTHS = (0.5, 2.0)  # multiples of an emotion's direction that faces are moved by
Terms = dict[str, Tensor]  # of the loss, by name, weighted; scalars


@dataclass(frozen=True)
class Recipe:
    """The network and how it is trained; a weight of 0 leaves a term out."""

    size: int = 128
    space_to_depth: int = 2
    width: float = 0.25
    latent: int = 384  # as many components
    steps: int = 10_000
    round_steps: int = 500  # after so many it is measured, and the state is kept
    celeba_batch: int = 24  # pictures of a batch
    performers_batch: int = 8
    learning_rate: float = 1.5e-3  # of the convolutions; the components stay as they are
    warm_up: int = 100  # steps
    kl_weight: float = 3e-7
    focus: float = 4.0
    detail_weight: float = 0.25
    edge_weight: float = 1.5  # of ``losses.edge_strength_error``
    strength_weight: float = 0.0  # of ``losses.detail_strength_error``
    label_weight: float = 0.02
    moved_batch: int = 8  # pictures of a batch that are moved towards an emotion
    moved_weight: float = 1.5  # of ``losses.added_detail``
    pair_batch: int = 8  # calm pictures that are moved to an emotion of the same person
    pair_weight: float = 0.0  # of the error of those, beside the picture that shows the emotion


def train(
    photographs: Photographs,
    base: Principal,
    recipe: Recipe,
    folder: Path,
    seed: int = 0,
    command: str = "",
    begin: Path | None = None,
    fabric: Fabric | None = None,
    compiled: bool = False,
) -> VaeGan:
    """Train, and write ``folder``/face.safetensors, .json and .history.csv.

    ``base``: at least as many components as the latent has dimensions. The state of the training
    is ``folder``/face.state. ``begin``: the folder of a training whose weights are the first ones
    here, in place of the components. ``compiled``: compile the losses, which takes a minute and
    then saves about a quarter of each step on a processor. CorpusError where a batch cannot be
    filled; TrainingError where a term becomes NaN.
    """
    training = PhotographTraining(photographs, base, recipe, seed, fabric or launch(), compiled)
    state = folder / "face.state"
    folder.mkdir(parents=True, exist_ok=True)
    if begin is not None:
        training.take_weights(begin / "face.state")
    training.resume(state)
    first, rounds = len(training.history), math.ceil(recipe.steps / recipe.round_steps)
    bar = progress_bar(range(first, rounds), "photographs", unit=f" x {recipe.round_steps} steps")
    for number in bar:
        row = training.train_round(number)
        training.keep_state(state)
        bar.set_postfix(validation=f"{row['validation']:.5f}")
    path = folder / "face"
    pd.DataFrame(training.history).to_csv(path.with_suffix(".history.csv"), index=False)
    return write_checkpoint(path, training, command)


class PhotographTraining:
    """A VAE-GAN of photographs in training."""

    def __init__(
        self,
        photographs: Photographs,
        base: Principal,
        recipe: Recipe,
        seed: int,
        fabric: Fabric,
        compiled: bool = False,
    ):
        self.photographs = photographs
        self.recipe = recipe
        self.seed = seed
        self.fabric = fabric
        error = partial(picture_error, recipe)
        self.picture_error = torch.compile(error) if compiled else error
        self.history: list[dict] = []  # one row per round
        self.labels = photographs.table.label.to_numpy()
        self.train_rows = {
            "celeba": photographs.rows("celeba", "train"),
            "performers": photographs.rows("performers", "train"),
        }
        for name, wanted in (
            ("celeba", recipe.celeba_batch),
            ("performers", recipe.performers_batch),
        ):
            if len(self.train_rows[name]) < wanted:  # a batch of 0 leaves a set out
                raise CorpusError(
                    f"{name}: {len(self.train_rows[name])} pictures to train on, and a batch takes"
                    f" {wanted}; give more pictures or a smaller batch"
                )
        torch.manual_seed(seed)
        self.model = self._set_up_model(base)
        self.label_classifier = nn.Linear(recipe.latent, len(CLASSES)).to(fabric.device)
        self.directions = torch.zeros(len(CLASSES), recipe.latent, device=fabric.device)
        modules = (self.model.encoder, self.model.decoder, self.label_classifier)
        parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
        self.optimiser = torch.optim.Adam(parameters, lr=recipe.learning_rate, fused=True)

    def _set_up_model(self, base: Principal) -> VaeGan:
        recipe = self.recipe
        model = VaeGan(
            3,
            recipe.size,
            recipe.latent,
            recipe.width,
            components=True,
            space_to_depth=recipe.space_to_depth,
        )
        start(model, base.first(recipe.latent), recipe.kl_weight)
        for network in (model.encoder, model.decoder):
            assert network.linear is not None
            network.linear.requires_grad_(False)
        model.discriminator.requires_grad_(False)  # nobody asks it
        return model.to(self.fabric.device).to(memory_format=torch.channels_last)

    def resume(self, path: Path) -> None:
        """Go on from the state file ``path``, if it is there."""
        set_aside_damaged_state(path)
        state = load_state(path, [self.model, self.label_classifier], [self.optimiser])
        if state is not None:
            self.history = state["history"]

    def take_weights(self, path: Path) -> None:
        """Begin with the weights of another training, of which ``path`` is the state file."""
        weights = torch.load(path, map_location="cpu", weights_only=True)["modules"]
        for module, values in zip((self.model, self.label_classifier), weights, strict=True):
            module.load_state_dict(values)

    def keep_state(self, path: Path) -> None:
        """Write the state file from which ``resume`` goes on."""
        modules = [self.model, self.label_classifier]
        save_state(path, modules, [self.optimiser], self.history, None)

    # ------------------------------------------------------------ a round

    def train_round(self, number: int) -> dict:
        """Train for ``round_steps`` steps, and measure; the new row of the history."""
        started = time.perf_counter()
        rng = seed_epoch(self.seed, number)
        if self.recipe.performers_batch and (self.recipe.moved_weight or self.recipe.pair_weight):
            self.directions = self.emotion_directions()
        self.model.train()
        first = number * self.recipe.round_steps
        end = min(first + self.recipe.round_steps, self.recipe.steps)
        sums: dict[str, float] = {}
        for step in range(first, end):
            for name, value in self.train_step(step, rng).items():
                sums[name] = sums.get(name, 0.0) + float(value)
        row = {"epoch": number + 1, "step": end}
        row |= {name: total / (end - first) for name, total in sums.items()}
        row |= self.validate()
        row["seconds"] = time.perf_counter() - started
        self.history.append(row)
        return row

    def train_step(self, step: int, rng: np.random.Generator) -> Terms:
        """Learn from one batch; the terms of its loss."""
        x, labels = self.draw_batch(rng)
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.recipe, step)
        with self.fabric.autocast():
            terms = self.compute_losses(x, labels)
            if self.recipe.pair_weight:
                pairs, emotions = self.draw_pairs(rng)
                terms["pairs"] = self.recipe.pair_weight * self.pair_error(pairs, emotions)
        check_finite(terms, f"step {step + 1}")
        self.optimiser.zero_grad(set_to_none=True)
        torch.stack(list(terms.values())).sum().backward()
        self.optimiser.step()
        return {name: term.detach() for name, term in terms.items()}

    def draw_batch(self, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Pictures (B, 3, S, S), half of them mirrored, and labels (B,), -1 where unknown."""
        faces, acted = self.train_rows["celeba"], self.train_rows["performers"]
        chosen_faces = rng.choice(faces, self.recipe.celeba_batch, replace=False)
        chosen_acted = rng.choice(acted, self.recipe.performers_batch, replace=False)
        rows = np.concatenate([chosen_faces, chosen_acted])
        x = self.photographs.pictures.batch(rows, rng.random(len(rows)) < 0.5)
        x = x.to(self.fabric.device, memory_format=torch.channels_last)
        return x, torch.from_numpy(self.labels[rows]).to(self.fabric.device)

    def draw_pairs(self, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Calm pictures and emotional ones of the same performers (2, P, 3, S, S), labels (P,)."""
        table = self.photographs.table
        acted = self.train_rows["performers"]
        person = table.person.to_numpy()
        calm = acted[self.labels[acted] == 0]
        emotional = acted[(self.labels[acted] > 0) & np.isin(person[acted], person[calm])]
        after = rng.choice(emotional, self.recipe.pair_batch, replace=False)
        before = np.array([rng.choice(calm[person[calm] == person[row]]) for row in after])
        mirrored = np.tile(rng.random(len(after)) < 0.5, 2)
        x = self.photographs.pictures.batch(np.concatenate([before, after]), mirrored)
        x = x.to(self.fabric.device, memory_format=torch.channels_last)
        labels = torch.from_numpy(self.labels[after]).to(self.fabric.device)
        return x.unflatten(0, (2, -1)), labels

    def pair_error(self, pairs: Tensor, emotions: Tensor) -> Tensor:
        """How far calm faces that are moved to an emotion are from the same people's pictures.

        ``pairs`` (2, P, 3, S, S): calm, and with the emotions (P,). Each face goes as far along its
        emotion's direction as this person went, at most twice the mean and at least half of it.
        """
        before, after = self.model.encoder(pairs.flatten(0, 1)).mu.unflatten(0, (2, -1))
        direction = self.directions[emotions]  # (P, D)
        change = (after - before).detach().float()
        share = (change * direction).sum(1, keepdim=True) / direction.square().sum(1, keepdim=True)
        moved = self.model.decoder(before + share.clamp(*STRENGTHS) * direction).float()
        return self.picture_error(pairs[1], moved).sum()

    def compute_losses(self, x: Tensor, labels: Tensor) -> Terms:
        """The weighted terms of pictures (B, 3, S, S) with labels (B,)."""
        recipe = self.recipe
        posterior = self.model.encoder(x)
        drawn = self.model.decoder(posterior.sample()).float()
        mu, logvar = posterior.mu.float(), posterior.logvar.float()
        terms = dict(zip(("pixels", "detail", "edges"), self.picture_error(x, drawn)))
        terms["kl"] = recipe.kl_weight * losses.kl_to_unit_normal(mu, logvar)
        if recipe.strength_weight:
            terms["strength"] = recipe.strength_weight * detail_strength_error(x, drawn)
        known = labels >= 0
        if recipe.label_weight and known.any():
            logits = self.label_classifier(posterior.mu[known]).float()
            terms["labels"] = recipe.label_weight * F.cross_entropy(logits, labels[known])
        if recipe.moved_weight and recipe.performers_batch:
            moved = self._move_towards_emotions(posterior.mu[: recipe.moved_batch])
            terms["moved"] = recipe.moved_weight * added_detail(moved, drawn[: recipe.moved_batch])
        return terms

    def _move_towards_emotions(self, mu: Tensor) -> Tensor:
        """Latents (M, D) -> pictures (M, 3, S, S), each with an emotion and a strength by chance.

        The decoder learns here what faces look like that are moved along these directions.
        """
        weakest, strongest = STRENGTHS
        emotion = torch.randint(1, len(CLASSES), (len(mu),), device=mu.device)  # 0 is calm
        share = torch.rand(len(mu), 1, device=mu.device)
        strength = weakest + (strongest - weakest) * share
        return self.model.decoder(mu + strength * self.directions[emotion]).float()

    # ------------------------------------------------------------ between the rounds

    def emotion_directions(self) -> Tensor:
        """``directions`` of the performers who train, (classes, D)."""
        rows = self.train_rows["performers"]
        rows = rows[self.labels[rows] >= 0]
        codes = encode(self.model, self.photographs.pictures, rows, self.fabric)
        people = self.photographs.table.person.to_numpy()[rows]
        return directions(codes, self.labels[rows], people).to(self.fabric.device)

    def validate(self) -> dict[str, float]:
        """Error and sharpness of each set, and how often the label classifier is right."""
        result = {}
        for name in ("celeba", "performers"):
            rows = self.photographs.rows(name, "val")
            measures = reconstruction(self.model, self.photographs.pictures, rows, self.fabric)
            result[f"{name}_mse"] = float(measures.error.mean())
            result[f"{name}_gradients"] = float(measures.drawn.sum() / measures.real.sum())
        rows = self.photographs.rows("performers", "val")
        codes = encode(self.model, self.photographs.pictures, rows, self.fabric)
        with torch.no_grad():
            answers = self.label_classifier(codes.to(self.fabric.device)).argmax(1).cpu().numpy()
        result["label_accuracy"] = float((answers == self.labels[rows]).mean())
        return {"validation": result["celeba_mse"]} | result


def picture_error(recipe: Recipe, real: Tensor, drawn: Tensor) -> Tensor:
    """The weighted errors of pixels, differences and edges of pictures (B, 3, S, S): (3,)."""
    errors = (
        losses.pixel_error(real, drawn, recipe.focus),
        recipe.detail_weight * losses.detail_error(real, drawn, recipe.focus),
        recipe.edge_weight * edge_strength_error(real, drawn),
    )
    return torch.stack(errors)


def learning_rate(recipe: Recipe, step: int) -> float:
    """The rate of a step: a linear rise during ``warm_up``, times a half cosine to 1 %."""
    cosine = 0.5 * (1 + math.cos(math.pi * step / recipe.steps))
    rise = min(1.0, (step + 1) / recipe.warm_up)
    return recipe.learning_rate * rise * (LEAST_RATE + (1 - LEAST_RATE) * cosine)


def directions(codes: Tensor, labels: np.ndarray, people: np.ndarray) -> Tensor:
    """What each emotion adds to a person's mean latent, less what calm adds: (classes, D).

    ``codes`` (N, D), with a label of 0 or more and a person for each. An emotion that nobody shows
    has a direction of zero.
    """
    rows = []
    for label in range(len(CLASSES)):
        additions = []
        for person in np.unique(people):
            theirs = people == person
            shown = theirs & (labels == label)
            if shown.any():
                additions.append(codes[shown].mean(0) - codes[theirs].mean(0))
        rows.append(torch.stack(additions).mean(0) if additions else None)
    calm = rows[0] if rows[0] is not None else torch.zeros(codes.shape[1])
    return torch.stack([torch.zeros_like(calm) if row is None else row - calm for row in rows])


# ---------------------------------------------------------------- the checkpoint


def write_checkpoint(path: Path, training: PhotographTraining, command: str) -> VaeGan:
    """Save the network in eight bits, with the scores of its rounded weights in the card."""
    options = {"bits": 8, "without": ("discriminator",)}
    model = training.model.eval().requires_grad_(False)
    card = make_card(training, command)
    checkpoints.save(path, model, card, **options)
    rounded, _ = checkpoints.load(path, VaeGan)
    training.model = rounded.to(training.fabric.device)
    scores = training.validate()
    scores["reconstruction_mse"] = scores.pop("validation")
    checkpoints.save(path, rounded, card | {"validation": scores}, **options)
    return rounded


def make_card(training: PhotographTraining, command: str) -> dict:
    """What a reader of the checkpoint needs."""
    table = training.photographs.table
    people, pictures = {}, {}
    for name in ("celeba", "performers"):
        for part, purpose in (("train", "training"), ("val", "validation")):
            rows = training.photographs.rows(name, part)
            people[f"{name} {purpose}"] = int(table.person.iloc[rows].nunique())
            pictures[f"{name} {purpose}"] = len(rows)
    record = Provenance(
        "face",
        VERSIONS["face"],
        {"photographs": dataclasses.asdict(training.recipe)},
        training.photographs.keys,
        training.seed,
    )
    return {
        "stage": "face",
        "corpus": "photographs",
        "seed": training.seed,
        "terms": TERMS_OF_USE,
        "people": people,
        "pictures": pictures | {"left out": training.photographs.skipped},
        "start": f"{training.recipe.latent} principal components of the training crops",
        "hours": round(sum(row["seconds"] for row in training.history) / 3600, 2),
        "command": command,
        "provenance": record.to_json(),
    }
