"""Training of a VAE-GAN."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm.auto import tqdm

from cmlib.config import VaeGanConfig
from cmlib.models import VaeGan
from cmlib.training import losses
from cmlib.training.batches import Pictures, batches, moved
from cmlib.training.loop import (
    TrainingError,
    _average_gradients,
    _averaged,
    _check,
    _keep,
    _logger,
    _resume,
    _seed,
    launch,
    quiet,
)

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def learning_rate(settings: VaeGanConfig, epoch: int) -> float:
    """The rate of an epoch: divided by ten at each milestone (released), or a half cosine down to one per cent."""
    if settings.schedule == "cosine":
        return settings.learning_rate * (
            0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * epoch / settings.epochs))
        )
    return settings.learning_rate * 0.1 ** sum(epoch >= m for m in settings.milestones)


def _optimiser(parameters, settings: VaeGanConfig) -> torch.optim.Optimizer:
    if settings.optimiser == "rmsprop":
        return torch.optim.RMSprop(parameters, lr=settings.learning_rate, alpha=0.9)
    return torch.optim.Adam(parameters, lr=settings.learning_rate, fused=True)


def vaegan_step(
    model: VaeGan,
    head: nn.Module | None,
    x: Tensor,
    labels: Tensor | None,
    settings: VaeGanConfig,
) -> tuple[Tensor, Tensor | None, dict[str, Tensor]]:
    """Losses of one batch x (B, C, S, S): (for encoder and decoder, for the discriminator or None, the terms by name).

    Encoder and decoder share one backward pass; the discriminator sees the pictures detached.  Labels are (B,) with -1
    where unknown.  With ``expression_weight`` the discriminator has learnt labels, is frozen, and in eval mode.
    """
    posterior = model.encoder(x)
    reconstruction = model.decoder(posterior.sample())
    terms = {"kl": losses.kl_to_unit_normal(posterior.mu.float(), posterior.logvar.float())}
    total = settings.kl_weight * terms["kl"]
    use_discriminator = settings.feature_level > 0 or settings.adversarial_weight > 0
    if settings.pixel_weight or settings.feature_level == 0:
        terms["pixels"] = losses.pixel_error(x, reconstruction.float(), settings.focus)
        total = (
            total
            + (settings.pixel_weight + settings.feature_weight * (settings.feature_level == 0))
            * terms["pixels"]
        )
    if settings.detail_weight:
        terms["detail"] = losses.detail_error(x, reconstruction.float(), settings.focus)
        total = total + settings.detail_weight * terms["detail"]
    if settings.expression_weight:
        with torch.no_grad():
            real_maps = model.discriminator.levels(x)
        maps = model.discriminator.levels(reconstruction)
        terms["expression"] = losses.relative_error(
            [m.float() for m in real_maps], [m.float() for m in maps]
        )
        total = total + settings.expression_weight * terms["expression"]
    if head is not None and labels is not None and (known := labels >= 0).any():
        terms["labels"] = F.cross_entropy(head(posterior.mu[known]).float(), labels[known])
        total = total + settings.label_weight * terms["labels"]
    if not use_discriminator:
        return total, None, terms

    prior_noise = torch.randn_like(posterior.mu)
    with torch.set_grad_enabled(settings.adversarial_weight > 0):
        sampled = model.decoder(prior_noise)
    # the discriminator's own turn: its three passes see finished pictures
    model.discriminator.requires_grad_(True)
    real_features, real = model.discriminator(x, max(settings.feature_level, 1))
    fake = model.discriminator(reconstruction.detach())[1]
    prior = model.discriminator(sampled.detach())[1]
    terms["discriminator"] = losses.discriminator_loss(real.float(), fake.float(), prior.float())
    # the decoder's turn: features are a metric, its weights are constants
    model.discriminator.requires_grad_(False)
    if settings.feature_level > 0:
        features = model.discriminator.features(reconstruction, settings.feature_level)
        terms["features"] = losses.feature_error(real_features.detach().float(), features.float())
        total = total + settings.feature_weight * terms["features"]
    if settings.adversarial_weight > 0:
        terms["deception"] = losses.deception_loss(
            model.discriminator(reconstruction)[1].float(), model.discriminator(sampled)[1].float()
        )
        total = total + settings.adversarial_weight * terms["deception"]
    model.discriminator.requires_grad_(True)
    return total, terms["discriminator"], terms


def learn_expressions(
    model: VaeGan,
    pictures: Pictures,
    rows: np.ndarray,
    labels: np.ndarray,
    flips: bool,
    seed: int,
    fabric: Fabric,
    epochs: int = 12,
) -> None:
    """Train the discriminator of ``model`` to tell labels (one per picture, -1 unknown) apart, in place of real and decoded.

    It learns the pictures ``rows``, mirrored where ``flips``, moved by up to a twentieth and blurred by chance, so that its
    features see the expression also in pictures that are not sharp.
    """
    reader, rows = model.discriminator, rows[labels[rows] >= 0]
    last = reader.fc[-1]
    reader.fc[-1] = nn.Linear(last.in_features, int(labels.max()) + 1).to(fabric.device)
    optimiser = torch.optim.AdamW(reader.parameters(), lr=1e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, 1e-3, total_steps=epochs * -(-len(rows) // 32) + 1
    )
    reader.train()
    for epoch in tqdm(range(epochs), disable=quiet(), desc="expressions", unit="epoch"):
        rng = _seed(seed, epoch)
        for part in batches(rows, 32, rng):
            x = pictures.batch(part, rng.random(len(part)) < 0.5 if flips else None).to(
                fabric.device, memory_format=torch.channels_last
            )
            size = x.shape[-1]
            x = moved(x, (size // 20, size // 20), rng)
            if rng.random() < 0.4:
                side = int(rng.integers(size // 2, size))
                x = F.interpolate(
                    F.interpolate(x, (side, side), mode="area"), (size, size), mode="bicubic"
                )
            with fabric.autocast():
                loss = F.cross_entropy(
                    reader(x)[1].float(),
                    torch.from_numpy(labels[part]).long().to(fabric.device),
                    label_smoothing=0.1,
                )
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    reader.fc[-1] = last
    reader.zero_grad(set_to_none=True)  # or an optimiser would take them for its own


@torch.enable_grad()  # also when asked for from within no_grad
def train_vaegan(
    pictures: Pictures,
    train: np.ndarray,
    validation: np.ndarray,
    settings: VaeGanConfig,
    *,
    channels: int,
    size: int,
    labels: np.ndarray | None = None,
    flips: bool = True,
    seed: int = 0,
    state: Path | None = None,
    start: VaeGan | None = None,
    fabric: Fabric | None = None,
    log: Path | None = None,
    on_epoch: Callable[[VaeGan, dict], None] | None = None,
) -> tuple[VaeGan, pd.DataFrame]:
    """Train on the rows ``train`` of ``pictures``; return (model in eval mode, history with one row per epoch).

    ``validation`` rows are only measured: reconstruction error from the mean, mean square over pixels; with
    ``settings.patience`` they also say when to stop, and which epoch's weights are taken.  ``labels`` (one
    per picture, -1 unknown) are used only where ``settings.label_weight`` or ``expression_weight`` > 0; with the latter the
    discriminator learns them first (``learn_expressions``), which needs pictures of two labels at least, else the term is left out.  ``state`` is a file that lets a killed
    run go on.  ``start`` gives its encoder and decoder to begin with (of the same architecture).  ``flips`` mirrors
    half of the pictures (faces yes, spectrograms no).  ``log`` is a ``.csv`` file that holds the history after each
    epoch, or else a folder for TensorBoard (TrainingError without the package).

    With several devices in ``fabric`` each takes its share of every batch, and gradients, terms and validation are
    averaged.  Batch norm, the mean over known labels and the scale of the expression term see the share alone; running statistics are averaged after each
    epoch.  The first device alone writes ``state`` and ``log`` and calls ``on_epoch``.
    """
    if settings.expression_weight and (labels is None or len(set(labels[train]) - {-1}) < 2):
        settings = dataclasses.replace(settings, expression_weight=0.0)
    if settings.expression_weight and (settings.feature_level or settings.adversarial_weight):
        raise ValueError(
            "expression_weight takes the discriminator for itself: set feature_level and adversarial_weight to 0"
        )
    torch.manual_seed(seed)
    fabric = fabric or launch()
    model = VaeGan(channels, size, settings.latent, settings.width, settings.bounded).to(
        fabric.device
    )
    model = model.to(memory_format=torch.channels_last)
    if start is not None:
        model.encoder.load_state_dict(start.encoder.state_dict())
        model.decoder.load_state_dict(start.decoder.state_dict())
    head = (
        nn.Linear(settings.latent, int(labels.max()) + 1).to(fabric.device)
        if settings.label_weight and labels is not None
        else None
    )
    coder = [
        *model.encoder.parameters(),
        *model.decoder.parameters(),
        *(head.parameters() if head else ()),
    ]
    coder_optimiser = _optimiser(coder, settings)
    critic = [*model.discriminator.parameters()]
    critic_optimiser = _optimiser(critic, settings)
    parts = [model] + ([head] if head else [])
    first, history, best = _resume(state, parts, [coder_optimiser, critic_optimiser])
    write = _logger(log if fabric.is_global_zero else None, first)
    world, least = fabric.world_size, 2 * fabric.world_size
    mine = slice(fabric.global_rank, None, world)
    steps = len(list(batches(train, settings.batch, np.random.default_rng(), least)))
    if not steps:
        few = f"{len(train)} pictures in batches of {settings.batch} are too few"
        raise TrainingError(
            f"{few}: {world} device(s) need {least} at a time; give more pictures or fewer devices"
        )
    if settings.expression_weight:
        if not first:
            learn_expressions(model, pictures, train, labels, flips, seed, fabric)
            for tensor in model.discriminator.state_dict().values() if world > 1 else ():
                tensor.copy_(fabric.broadcast(tensor))
        model.discriminator.requires_grad_(False)
    if settings.compile:
        for module in (model.encoder, model.decoder, model.discriminator):
            module.compile()
    bar = tqdm(total=settings.epochs * steps, initial=first * steps, unit="step", disable=quiet())
    for epoch in range(first, settings.epochs):
        if _patience_is_over(history, settings.patience):
            break
        rng, started, sums, count = (
            _seed(seed, epoch, fabric.global_rank),
            time.perf_counter(),
            {},
            0,
        )
        bar.set_description(f"VAE-GAN, epoch {epoch + 1} of {settings.epochs}")
        model.train()
        if settings.expression_weight:
            model.discriminator.eval()  # its batch norm must not drift
        for optimiser in (coder_optimiser, critic_optimiser):
            for group in optimiser.param_groups:
                group["lr"] = learning_rate(settings, epoch)
        for number, rows in enumerate(batches(train, settings.batch, rng, least), 1):
            flip = rng.random(len(rows))[mine] < 0.5 if flips else None
            x = pictures.batch(rows[mine], flip).to(
                fabric.device, memory_format=torch.channels_last
            )
            x = moved(x, settings.translate, rng)
            y = torch.from_numpy(labels[rows[mine]]).to(fabric.device) if head else None
            weight = len(x) * world / len(rows)
            with fabric.autocast():
                coder_loss, critic_loss, terms = vaegan_step(model, head, x, y, settings)
            if head and world > 1:
                terms.setdefault("labels", torch.zeros_like(terms["kl"]))
            terms = _averaged(terms, weight, fabric)
            _check(terms, f"epoch {epoch + 1}")
            gate_critic, gate_coder = True, True
            if settings.equilibrium and critic_loss is not None:
                half = float(terms["discriminator"]) / 3
                gate_critic, gate_coder = losses.equilibrium_gates(half, half)
            together = min(
                settings.accumulate,
                steps - (number - 1) // settings.accumulate * settings.accumulate,
            )
            for loss, gate, parameters, optimiser in (
                (coder_loss, gate_coder, coder, coder_optimiser),
                (critic_loss, gate_critic, critic, critic_optimiser),
            ):
                if loss is None:
                    continue
                if gate:
                    (loss * weight / together).backward()
                if number % settings.accumulate == 0 or number == steps:
                    _average_gradients(parameters, fabric)
                    optimiser.step()
                    optimiser.zero_grad(set_to_none=True)
            count += len(rows)
            for name, value in terms.items():
                sums[name] = sums.get(name, 0.0) + float(value) * len(rows)
            figures = {k: sums[k] / count for k in ("pixels", "features") if k in sums}
            figures |= {"validation": history[-1]["validation"]} if history else {}
            bar.set_postfix({k: f"{v:.5f}" for k, v in figures.items()}, refresh=False)
            bar.update()
        row = {"epoch": epoch + 1, **{k: v / count for k, v in sums.items()}}
        for statistics in (b for b in model.buffers() if world > 1 and b.is_floating_point()):
            statistics.copy_(fabric.all_reduce(statistics, reduce_op="mean"))
        row["validation"] = reconstruction_error(model, pictures, validation, fabric)
        row["seconds"] = time.perf_counter() - started
        history.append(row)
        bar.set_postfix(validation=f"{row['validation']:.5f}")
        if settings.patience and row["validation"] <= min(r["validation"] for r in history):
            best = {k: v.clone() for k, v in model.state_dict().items()}
        if fabric.is_global_zero:
            _keep(state, epoch + 1, history, parts, [coder_optimiser, critic_optimiser], best)
            write(history)
            if on_epoch:
                on_epoch(model.eval(), row)
    bar.close()
    if best is not None:
        model.load_state_dict(best)
    return model.eval().requires_grad_(False), pd.DataFrame(history)


def _patience_is_over(history: list[dict], patience: int) -> bool:
    errors = [row["validation"] for row in history]
    return (
        bool(patience)
        and len(errors) > patience
        and min(errors[-patience:]) > min(errors[:-patience])
    )


@torch.no_grad()
def reconstruction_error(
    model: VaeGan, pictures: Pictures, rows: np.ndarray, fabric: Fabric, batch: int = 128
) -> float:
    """Mean squared error of the reconstruction from the posterior mean, over ``rows``, which the devices share."""
    model.eval()
    total = 0.0
    for part in batches(rows[fabric.global_rank :: fabric.world_size], batch):
        x = pictures.batch(part).to(fabric.device, memory_format=torch.channels_last)
        with fabric.autocast():
            reconstruction, _ = model(x)
        total += float((reconstruction.float() - x).square().mean()) * len(part)
    if fabric.world_size > 1:
        total = float(fabric.all_reduce(torch.tensor(total, device=fabric.device), reduce_op="sum"))
    return total / max(len(rows), 1)
