"""Training of a VAE-GAN: the losses of a batch, an epoch, and a training that can be resumed."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cmlib.config import VaeGanConfig
from cmlib.models import Posterior, VaeGan
from cmlib.progress import progress_bar
from cmlib.training import losses
from cmlib.training.batches import (
    Pictures,
    TrainingData,
    batches,
    prefetched,
    randomly_translated,
)
from cmlib.training.expression_critic import train_expression_critic
from cmlib.training.loop import (
    RunningMeans,
    TrainingError,
    across_devices,
    average_gradients,
    average_terms,
    launch,
    load_state,
    on_device,
    open_log,
    save_state,
    seed_epoch,
    set_aside_damaged_state,
    waiting_for_others,
)

if TYPE_CHECKING:
    from lightning_fabric import Fabric
    from tqdm import tqdm


# ---------------------------------------------------------------- optimisers


def learning_rate(settings: VaeGanConfig, epoch: int) -> float:
    """The rate of an epoch: a tenth after each milestone, as released, or a half cosine to 1 %."""
    if settings.schedule == "cosine":
        cosine = 0.5 * (1 + math.cos(math.pi * epoch / settings.epochs))
        return settings.learning_rate * (0.01 + 0.99 * cosine)
    return settings.learning_rate * 0.1 ** sum(epoch >= m for m in settings.milestones)


def make_optimiser(
    parameters: Iterable[nn.Parameter], settings: VaeGanConfig
) -> torch.optim.Optimizer:
    """RMSprop as released, or Adam."""
    if settings.optimiser == "rmsprop":
        return torch.optim.RMSprop(parameters, lr=settings.learning_rate, alpha=0.9)
    return torch.optim.Adam(parameters, lr=settings.learning_rate, fused=True)


# ---------------------------------------------------------------- the losses of one batch


class StepLosses(NamedTuple):
    """The losses of one batch, each a scalar."""

    autoencoder: Tensor  # for encoder, decoder and label classifier
    discriminator: Tensor | None  # None where the discriminator is not trained
    terms: dict[str, Tensor]  # the unweighted terms of both, by name


def term_weights(settings: VaeGanConfig) -> dict[str, float]:
    """The weight of each term in the loss of the autoencoder."""
    # At level 0 the "features" are the pixels themselves.
    pixels_as_features = settings.feature_weight * (settings.feature_level == 0)
    return {
        "kl": settings.kl_weight,
        "pixels": settings.pixel_weight + pixels_as_features,
        "detail": settings.detail_weight,
        "expression": settings.expression_weight,
        "labels": settings.label_weight,
        "features": settings.feature_weight,
        "deception": settings.adversarial_weight,
    }


def vaegan_step(
    model: VaeGan,
    label_classifier: nn.Module | None,
    x: Tensor,
    labels: Tensor | None,
    settings: VaeGanConfig,
) -> StepLosses:
    """The losses of one batch of pictures x (B, C, S, S) with labels (B,), -1 where unknown.

    Encoder and decoder share one backward pass; the discriminator's own loss sees their pictures
    detached. With ``expression_weight`` the discriminator has already learnt to read labels; it is
    frozen and in eval mode. The losses are computed in float32, whatever the networks compute in.
    """
    posterior = model.encoder(x)  # mu, logvar: (B, D)
    reconstruction = model.decoder(posterior.sample())  # (B, C, S, S)

    terms = {"kl": losses.kl_to_unit_normal(posterior.mu.float(), posterior.logvar.float())}
    if settings.pixel_weight or settings.feature_level == 0:
        terms["pixels"] = losses.pixel_error(x, reconstruction.float(), settings.focus)
    if settings.detail_weight:
        terms["detail"] = losses.detail_error(x, reconstruction.float(), settings.focus)
    if settings.expression_weight:
        terms["expression"] = _expression_error(model, x, reconstruction)
    if label_classifier is not None and labels is not None and (labels >= 0).any():
        terms["labels"] = _label_error(label_classifier, posterior, labels)
    if settings.feature_level > 0 or settings.adversarial_weight > 0:
        terms |= _discriminator_terms(model, x, reconstruction, posterior, settings)

    autoencoder_loss = torch.zeros((), device=x.device)
    for name, weight in term_weights(settings).items():
        if name in terms:
            autoencoder_loss = autoencoder_loss + weight * terms[name]
    return StepLosses(autoencoder_loss, terms.get("discriminator"), terms)


def _expression_error(model: VaeGan, x: Tensor, reconstruction: Tensor) -> Tensor:
    """How far reconstructions differ from pictures in the features of an expression critic."""
    with torch.no_grad():
        real_maps = model.discriminator.levels(x)  # three of (B, C', H', W')
    maps = model.discriminator.levels(reconstruction)
    return losses.relative_error([m.float() for m in real_maps], [m.float() for m in maps])


def _label_error(classifier: nn.Module, posterior: Posterior, labels: Tensor) -> Tensor:
    """Cross-entropy of the linear classifier on the latent means, over the known labels."""
    is_known = labels >= 0
    logits = classifier(posterior.mu[is_known])  # (known, labels)
    return F.cross_entropy(logits.float(), labels[is_known])


def _discriminator_terms(
    model: VaeGan, x: Tensor, reconstruction: Tensor, posterior: Posterior, settings: VaeGanConfig
) -> dict[str, Tensor]:
    """The discriminator's loss on real and decoded pictures, and the decoder's through it."""
    terms = {}
    with torch.set_grad_enabled(settings.adversarial_weight > 0):
        sampled = model.decoder(torch.randn_like(posterior.mu))  # from the prior: (B, C, S, S)

    # The discriminator's turn: the decoded pictures are constants.
    model.discriminator.requires_grad_(True)
    real_features, real = model.discriminator(x, max(settings.feature_level, 1))  # logits: (B, 1)
    _, fake = model.discriminator(reconstruction.detach())
    _, prior = model.discriminator(sampled.detach())
    terms["discriminator"] = losses.discriminator_loss(real.float(), fake.float(), prior.float())

    # The decoder's turn: the weights of the discriminator are constants.
    model.discriminator.requires_grad_(False)
    if settings.feature_level > 0:
        features = model.discriminator.features(reconstruction, settings.feature_level)
        terms["features"] = losses.feature_error(real_features.detach().float(), features.float())
    if settings.adversarial_weight > 0:
        _, fake = model.discriminator(reconstruction)
        _, prior = model.discriminator(sampled)
        terms["deception"] = losses.deception_loss(fake.float(), prior.float())
    model.discriminator.requires_grad_(True)
    return terms


# ---------------------------------------------------------------- the training


@torch.enable_grad()  # also where the caller is inside no_grad
def train_vaegan(
    data: TrainingData,
    settings: VaeGanConfig,
    *,
    seed: int = 0,
    start: VaeGan | None = None,
    state: Path | None = None,
    log: Path | None = None,
    on_epoch: Callable[[VaeGan, dict], None] | None = None,
    fabric: Fabric | None = None,
) -> tuple[VaeGan, pd.DataFrame]:
    """Train a VAE-GAN; return (model in eval mode, history with one row per epoch).

    On ``data.validation`` each epoch measures the error of reconstructions from the latent mean, as
    the mean square over pixels. With ``settings.patience`` this error also decides when to stop,
    and which epoch's weights to keep. ``data.labels`` are used only with ``settings.label_weight``
    or ``settings.expression_weight``. With the latter the discriminator first learns to read them
    (``train_expression_critic``); the term is left out where there are not at least two labels.

    ``start`` is a network of the same architecture, from whose encoder and decoder training starts.
    ``state`` is a file from which a killed training resumes; it ends with the numbers of an
    undisturbed one. ``log`` is a ``.csv`` file that holds the history after each epoch, or else a
    folder for TensorBoard. ``on_epoch(model, row of the history)`` is called after each epoch.

    With several devices in ``fabric``, each takes its share of every batch, and gradients, terms
    and validation errors are averaged. Batch norm, the mean over known labels and the scale of the
    expression term are computed within each share; running statistics are averaged after each
    epoch. Only the first device writes ``state`` and ``log`` and calls ``on_epoch``.

    TrainingError where a term becomes NaN, where there are too few pictures for a step, or where
    the log needs a package that is missing; ValueError where ``expression_weight`` is combined with
    other uses of the discriminator.
    """
    fabric = fabric or launch()
    training = VaeGanTraining(data, settings, seed, fabric, start)
    training.resume(state)
    is_first_device = fabric.is_global_zero
    write_log = open_log(log if is_first_device else None, training.epochs_done)
    training.prepare_discriminator()
    with training.progress_bar() as bar:
        while not training.is_over():
            row = training.train_epoch(bar)
            if is_first_device:
                training.keep_state(state)
                write_log(training.history)
                if on_epoch is not None:
                    on_epoch(training.model.eval(), row)
    return training.finished_model(), pd.DataFrame(training.history)


class Share(NamedTuple):
    """A device's share of a batch: pictures (B, C, S, S), their labels (B,) if they are needed.

    ``batch_size`` is the number of pictures in the shares of all devices.
    """

    x: Tensor
    labels: Tensor | None
    batch_size: int


class VaeGanTraining:
    """A VAE-GAN in training: its networks, its optimisers, and its history so far."""

    def __init__(
        self,
        data: TrainingData,
        settings: VaeGanConfig,
        seed: int,
        fabric: Fabric,
        start: VaeGan | None = None,
    ):
        self.data = data
        self.settings = _drop_unusable_terms(settings, data)
        self.seed = seed
        self.fabric = fabric
        self.history: list[dict] = []  # one row per epoch
        self.best: dict[str, Tensor] | None = None  # weights of the best epoch, with patience

        # The devices share a batch, and each of them needs two pictures for its batch norm.
        self.min_batch = 2 * fabric.world_size
        self.steps = self._count_steps()

        torch.manual_seed(seed)
        self.model = self._set_up_model(start)
        self.label_classifier = self._set_up_label_classifier()
        modules = [self.model.encoder, self.model.decoder]
        if self.label_classifier is not None:
            modules.append(self.label_classifier)
        self.autoencoder_parameters = [p for module in modules for p in module.parameters()]
        self.discriminator_parameters = list(self.model.discriminator.parameters())
        self.autoencoder_optimiser = make_optimiser(self.autoencoder_parameters, self.settings)
        self.discriminator_optimiser = make_optimiser(self.discriminator_parameters, self.settings)

    def _count_steps(self) -> int:
        """Count the batches of an epoch; TrainingError where there is none."""
        rows, batch, devices = self.data.train, self.settings.batch, self.fabric.world_size
        # Every shuffled order has the same number of batches.
        steps = sum(1 for _ in batches(rows, batch, np.random.default_rng(0), self.min_batch))
        if not steps:
            raise TrainingError(
                f"{len(rows)} pictures in batches of {batch} are too few: "
                f"{devices} device(s) need {self.min_batch} at a time; "
                "give more pictures or fewer devices"
            )
        return steps

    def _set_up_model(self, start: VaeGan | None) -> VaeGan:
        pictures, settings = self.data.pictures, self.settings
        model = VaeGan(
            pictures.channels, pictures.size, settings.latent, settings.width, settings.bounded
        )
        model = model.to(self.fabric.device).to(memory_format=torch.channels_last)
        if start is not None:
            model.encoder.load_state_dict(start.encoder.state_dict())
            model.decoder.load_state_dict(start.decoder.state_dict())
        return model

    def _set_up_label_classifier(self) -> nn.Linear | None:
        """A linear layer that reads the label from the latent mean, so that the latent keeps it."""
        if self.data.labels is None or not self.settings.label_weight:
            return None
        classes = int(self.data.labels.max()) + 1
        return nn.Linear(self.settings.latent, classes).to(self.fabric.device)

    # ------------------------------------------------------------ before the first epoch

    @property
    def epochs_done(self) -> int:
        """How many epochs are in the history, those before a restart among them."""
        return len(self.history)

    @property
    def modules(self) -> list[nn.Module]:
        """The modules with weights, in the order of the state file."""
        return [m for m in (self.model, self.label_classifier) if m is not None]

    @property
    def optimisers(self) -> list[torch.optim.Optimizer]:
        """The optimisers, in the order of the state file."""
        return [self.autoencoder_optimiser, self.discriminator_optimiser]

    def resume(self, path: Path | None) -> None:
        """Continue from the state file ``path``, if there is one; a damaged one is set aside."""
        if self.fabric.is_global_zero:
            set_aside_damaged_state(path)
        with waiting_for_others("start of the training", self.fabric):
            self.fabric.barrier()  # all devices find the same file, or none
        state = load_state(path, self.modules, self.optimisers)
        if state is not None:
            self.history = state["history"]
            self.best = state["best"]

    def prepare_discriminator(self) -> None:
        """With ``expression_weight``, teach the discriminator to read labels, then freeze it."""
        if not self.settings.expression_weight:
            return
        discriminator = self.model.discriminator
        if not self.epochs_done:
            train_expression_critic(self.model, self.data, self.seed, self.fabric)
            if self.fabric.world_size > 1:
                for tensor in discriminator.state_dict().values():
                    tensor.copy_(self.fabric.broadcast(tensor))
        discriminator.requires_grad_(False)

    def progress_bar(self) -> tqdm:
        """A bar that counts steps, beginning where the training resumes."""
        return progress_bar(
            total=self.settings.epochs * self.steps,
            initial=self.epochs_done * self.steps,
            unit="step",
        )

    def is_over(self) -> bool:
        """Whether all epochs are done, or the last ``patience`` epochs brought no lower error."""
        errors = [row["validation"] for row in self.history]
        patience = self.settings.patience
        if patience and len(errors) > patience:
            if min(errors[-patience:]) > min(errors[:-patience]):
                return True
        return self.epochs_done >= self.settings.epochs

    # ------------------------------------------------------------ an epoch

    def train_epoch(self, bar: tqdm) -> dict:
        """Train on every picture once and validate; return the new row of the history."""
        epoch = self.epochs_done
        started = time.perf_counter()
        rng = seed_epoch(self.seed, epoch, self.fabric.global_rank)
        bar.set_description(f"VAE-GAN, epoch {epoch + 1} of {self.settings.epochs}")
        self._set_train_mode()
        self._set_learning_rate(epoch)

        means = RunningMeans(f"epoch {epoch + 1}")
        shares = prefetched(self._shares(rng), self.fabric.device)
        for number, share in enumerate(shares, 1):
            terms = self.train_step(number, share)
            is_read = means.add(terms, share.batch_size)
            self._show(bar, means if is_read else None)
        means.read()

        self._average_running_statistics()
        row = {"epoch": epoch + 1} | means.over(means.rows_read)
        row["validation"] = self.validate()
        row["seconds"] = time.perf_counter() - started
        self.history.append(row)
        bar.set_postfix(validation=f"{row['validation']:.5f}")
        self._remember_best()
        return row

    def train_step(self, number: int, share: Share) -> dict[str, Tensor]:
        """Learn from batch ``number`` of an epoch; return its terms, averaged over the devices."""
        settings, fabric = self.settings, self.fabric
        x, labels = share.x, share.labels
        # This turns the average over the devices into one over pictures.
        weight = len(x) * fabric.world_size / share.batch_size

        # Compute the losses.
        with fabric.autocast():
            autoencoder_loss, discriminator_loss, terms = vaegan_step(
                self.model, self.label_classifier, x, labels, settings
            )
        if self.label_classifier is not None and fabric.world_size > 1:
            # All devices must average the same terms, but one may have had no known label.
            terms.setdefault("labels", torch.zeros_like(terms["kl"]))
        step = f"epoch {self.epochs_done + 1}, batch {number} of {self.steps}"
        terms = average_terms(terms, weight, fabric, step)

        # Accumulate gradients. The last step of an epoch may average over fewer batches than the
        # other steps.
        batches_before = (number - 1) // settings.accumulate * settings.accumulate
        batches_in_step = min(settings.accumulate, self.steps - batches_before)
        trains_discriminator, trains_autoencoder = self._gates(terms)
        if trains_autoencoder:
            (autoencoder_loss * weight / batches_in_step).backward()
        if trains_discriminator and discriminator_loss is not None:
            (discriminator_loss * weight / batches_in_step).backward()

        # Update weights.
        if number % settings.accumulate == 0 or number == self.steps:
            self._update(self.autoencoder_optimiser, self.autoencoder_parameters, step)
            if discriminator_loss is not None:
                self._update(self.discriminator_optimiser, self.discriminator_parameters, step)
        return terms

    def _set_train_mode(self) -> None:
        self.model.train()
        if self.settings.expression_weight:
            self.model.discriminator.eval()  # its batch norm must not drift

    def _set_learning_rate(self, epoch: int) -> None:
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = learning_rate(self.settings, epoch)

    def _shares(self, rng: np.random.Generator) -> Iterator[Share]:
        """This device's share of each batch of an epoch, in random order and augmented."""
        data, settings = self.data, self.settings
        mine = slice(self.fabric.global_rank, None, self.fabric.world_size)
        for rows in batches(data.train, settings.batch, rng, self.min_batch):
            # Every device draws for the whole batch, so that augmentation does not depend on the
            # number of devices.
            mirrored = rng.random(len(rows))[mine] < 0.5 if data.flips else None
            x = data.pictures.batch(rows[mine], mirrored)
            x = x.contiguous(memory_format=torch.channels_last)
            x = randomly_translated(x, settings.translate, rng)
            labels = None
            if self.label_classifier is not None and data.labels is not None:
                labels = torch.from_numpy(data.labels[rows[mine]])
            yield Share(x, labels, len(rows))

    def _gates(self, terms: dict[str, Tensor]) -> tuple[bool, bool]:
        """(train the discriminator?, train the autoencoder?): both, unless one is far ahead."""
        if not self.settings.equilibrium or "discriminator" not in terms:
            return True, True
        # To read this number from a GPU is to wait for it, once in each step.
        # The loss is the sum of three cross-entropies: of pictures, of reconstructions, and of
        # samples from the prior. Their mean stands both for real and for decoded pictures.
        cross_entropy = float(terms["discriminator"]) / 3
        return losses.equilibrium_gates(cross_entropy, cross_entropy)

    def _update(
        self, optimiser: torch.optim.Optimizer, parameters: Sequence[nn.Parameter], step: str
    ) -> None:
        average_gradients(parameters, self.fabric, step)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)

    def _show(self, bar: tqdm, means: RunningMeans | None) -> None:
        """Advance the bar by a step; show the errors of this epoch and the latest validation.

        ``means`` is None where the errors are still on the device, and the old ones stay.
        """
        if means is not None:
            averages = means.over(means.rows_read)
            errors = {name: averages[name] for name in ("pixels", "features") if name in averages}
            if self.history:
                errors["validation"] = self.history[-1]["validation"]
            bar.set_postfix({name: f"{value:.5f}" for name, value in errors.items()}, refresh=False)
        bar.update()

    # ------------------------------------------------------------ after an epoch

    def validate(self) -> float:
        """The reconstruction error of the validation pictures."""
        return reconstruction_error(
            self.model, self.data.pictures, self.data.validation, self.fabric
        )

    def keep_state(self, path: Path | None) -> None:
        """Write the state file from which ``resume`` continues."""
        if path is not None:
            save_state(path, self.modules, self.optimisers, self.history, self.best)

    def finished_model(self) -> VaeGan:
        """The model in eval mode and frozen; with patience, as it was after its best epoch."""
        if self.best is not None:
            self.model.load_state_dict(self.best)
        return self.model.eval().requires_grad_(False)

    def _average_running_statistics(self) -> None:
        """Give all devices the same batch norm statistics; each has seen only its own share."""
        if self.fabric.world_size > 1:
            for buffer in self.model.buffers():
                if buffer.is_floating_point():
                    step = f"end of epoch {self.epochs_done + 1}"
                    buffer.copy_(across_devices(buffer, "mean", self.fabric, step))

    def _remember_best(self) -> None:
        errors = [row["validation"] for row in self.history]
        if self.settings.patience and errors[-1] <= min(errors):
            self.best = {k: v.clone() for k, v in self.model.state_dict().items()}


def _drop_unusable_terms(settings: VaeGanConfig, data: TrainingData) -> VaeGanConfig:
    """The settings, without the expression term where there are not two labels to tell apart.

    ValueError where the discriminator would have to serve two purposes at once.
    """
    if not settings.expression_weight:
        return settings
    if data.labels is None or len(set(data.labels[data.train]) - {-1}) < 2:
        return dataclasses.replace(settings, expression_weight=0.0)
    if settings.feature_level or settings.adversarial_weight:
        raise ValueError(
            "expression_weight takes the discriminator for itself: "
            "set feature_level and adversarial_weight to 0"
        )
    return settings


@torch.no_grad()
def reconstruction_error(
    model: VaeGan, pictures: Pictures, rows: np.ndarray, fabric: Fabric, batch: int = 128
) -> float:
    """Mean squared error of reconstructions from the latent mean; devices share the ``rows``."""
    model.eval()
    mine = rows[fabric.global_rank :: fabric.world_size]

    def read() -> Iterator[Tensor]:
        for indices in batches(mine, batch):
            yield pictures.batch(indices).contiguous(memory_format=torch.channels_last)

    errors = []
    with on_device(fabric.device, model):
        for x in prefetched(read(), fabric.device):
            with fabric.autocast():
                reconstruction, _ = model(x)
            errors.append((reconstruction.float() - x).square().mean())
    total = 0.0
    if errors:
        values = torch.stack(errors).cpu().tolist()
        for error, indices in zip(values, batches(mine, batch), strict=True):
            total += error * len(indices)
    if fabric.world_size > 1:
        total_here = torch.tensor(total, device=fabric.device)
        total = float(across_devices(total_here, "sum", fabric, "validation"))
    return total / max(len(rows), 1)
