"""One loop per stage on Lightning Fabric: VAE-GAN, linear classifier, context attention network.

Every epoch draws its random numbers from (seed, epoch) alone, so a run that was killed goes on from its last finished
epoch and ends with the same numbers.
"""

from __future__ import annotations

import dataclasses
import math
import mmap
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm.auto import tqdm

from cmlib import losses
from cmlib.models import Can, Classifier, Posterior, VaeGan
from cmlib.profiles import Can as CanSettings
from cmlib.profiles import Head
from cmlib.profiles import VaeGan as VaeGanSettings

if TYPE_CHECKING:
    from lightning_fabric import Fabric

LARGE = 256_000_000  # bytes: memory-mapped pictures beyond this are not left to pile up in the process
READ = 16_000_000  # bytes read from them between two times that their pages are given back


class TrainingError(RuntimeError):
    """Training cannot go on; the message says which term is to blame."""


class Pictures:
    """Several (N, S, S, C) uint8 or (N, S, S) float arrays, memory-mapped or not, read as one."""

    def __init__(self, *arrays: np.ndarray):
        self.arrays = [a for a in arrays if len(a)]
        self.starts = np.cumsum([0] + [len(a) for a in self.arrays])
        maps = [a for a in self.arrays if isinstance(a, np.memmap)]
        self._large = maps if sum(a.nbytes for a in maps) > LARGE else []
        self._read = 0

    def __len__(self) -> int:
        return int(self.starts[-1])

    def batch(self, indices: np.ndarray, flip: np.ndarray | None = None) -> Tensor:
        """(B,) indices -> (B, C, S, S) float32 in 0...1; ``flip`` (B,) bool mirrors some left-right."""
        picked = [None] * len(indices)
        source = np.searchsorted(self.starts, indices, side="right") - 1
        for i, (s, index) in enumerate(zip(source, indices)):
            picked[i] = self.arrays[s][index - self.starts[s]]
        x = torch.from_numpy(np.stack(picked))
        self._forget(x.nbytes)
        if flip is not None and flip.any():  # bytes are mirrored sooner than numbers
            mirrored = torch.from_numpy(np.flatnonzero(flip))
            x[mirrored] = x[mirrored].flip(2)
        return x.permute(0, 3, 1, 2).float().div_(255) if x.dtype == torch.uint8 else x[:, None].float()

    def _forget(self, read: int) -> None:
        """Give back the pages of large memory maps each time READ bytes were read; the system's cache keeps them."""
        self._read += read if self._large else 0
        if self._read > READ and hasattr(mmap, "MADV_DONTNEED"):
            self._read = 0
            for array in self._large:
                array._mmap.madvise(mmap.MADV_DONTNEED)


def launch(precision: str = "auto", devices: int = 1, nodes: int = 1) -> Fabric:
    """Fabric on the best device there is; ``auto`` computes in bfloat16 where the device gains from it.

    With several devices this command is started once more for each; all but the first show no progress.
    """
    from lightning_fabric import Fabric  # a second and 150 MB, which only training needs

    if precision == "auto":
        gains = torch.cuda.is_available() or torch.ops.mkldnn._is_mkldnn_bf16_supported()
        precision = "bf16-mixed" if gains else "32-true"
    fabric = Fabric(accelerator="auto", devices=devices, num_nodes=nodes, precision=precision)
    fabric.launch()
    if not fabric.is_global_zero:
        os.environ["CM_QUIET"] = "1"
    return fabric


def quiet() -> bool:
    """Progress bars are off where CM_QUIET is set."""
    return bool(os.environ.get("CM_QUIET"))


def batches(
    rows: np.ndarray, size: int, rng: np.random.Generator | None = None, least: int = 2
) -> Iterator[np.ndarray]:
    """Cut (N,) rows into batches, shuffled where ``rng`` is given; batches below ``least`` are dropped then (batch norm)."""
    rows = rng.permutation(rows) if rng is not None else rows
    for start in range(0, len(rows), size):
        part = rows[start : start + size]
        if rng is None or len(part) >= least:
            yield part


def moved(x: Tensor, most: tuple[int, int], rng: np.random.Generator) -> Tensor:
    """A batch (B, C, S, S) moved by chance, by up to ``most`` (rows, columns); the edge is repeated where it came from."""
    rows, columns = most
    if not (rows or columns):
        return x
    down, right, size = int(rng.integers(2 * rows + 1)), int(rng.integers(2 * columns + 1)), x.shape[-1]
    x = F.pad(x, (columns, columns, rows, rows), mode="replicate")
    return x[..., down : down + size, right : right + size].contiguous(memory_format=torch.channels_last)


def _seed(seed: int, epoch: int, rank: int = 0) -> np.random.Generator:
    torch.manual_seed(seed * 100_003 + epoch + (rank << 40))  # noise of its own on every device
    return np.random.default_rng([seed, epoch])


def _check(terms: dict[str, Tensor], where: str) -> None:
    for name, value in terms.items():
        if not torch.isfinite(value).all():
            raise TrainingError(f"{where}: the term {name!r} is {value.item()}; lower the learning rate or its weight")


def _averaged(terms: dict[str, Tensor], weight: float, fabric: Fabric) -> dict[str, Tensor]:
    """The (scalar) terms averaged over the devices, of which this one counts ``weight``, on the CPU."""
    names = sorted(terms)
    stacked = fabric.all_reduce(torch.stack([terms[n].detach() for n in names]) * weight, reduce_op="mean").cpu()
    return {n: stacked[names.index(n)] for n in terms}


def _average_gradients(parameters: Sequence[nn.Parameter], fabric: Fabric) -> None:
    """Gradients averaged over the devices in one message; they have none on all devices, or on none."""
    if fabric.world_size == 1 or all(p.grad is None for p in parameters):
        return
    for p in parameters:
        if p.grad is None:  # the head, where this device saw no label
            p.grad = torch.zeros_like(p)
    flat = fabric.all_reduce(torch.cat([p.grad.flatten() for p in parameters]), reduce_op="mean")
    for p, mean in zip(parameters, flat.split([p.numel() for p in parameters])):
        p.grad.copy_(mean.view_as(p))


def _logger(log: Path | None, done: int) -> Callable[[list[dict]], None]:
    """What writes the history to ``log`` after an epoch; a folder's events after the epoch ``done`` no longer count."""
    if log is None:
        return lambda history: None
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.suffix == ".csv":  # written anew each time: a killed run leaves no row twice
        return lambda history: pd.DataFrame(history).to_csv(log, index=False)
    from lightning_fabric.loggers import TensorBoardLogger

    try:
        board = TensorBoardLogger(log, name="", version="", purge_step=done + 1)
    except ModuleNotFoundError:
        raise TrainingError(f"{log}: a log for TensorBoard needs a package: pip install tensorboard") from None

    def write(history: list[dict]) -> None:
        board.log_metrics({k: v for k, v in history[-1].items() if k != "epoch"}, history[-1]["epoch"])
        board.save()

    return write


def _resume(path: Path | None, modules: Sequence, optimisers: Sequence) -> tuple[int, list[dict], dict | None]:
    if path is None or not path.exists():
        return 0, [], None
    state = torch.load(path, map_location="cpu", weights_only=True)
    for module, saved in zip(modules, state["modules"]):
        module.load_state_dict(saved)
    for optimiser, saved in zip(optimisers, state["optimisers"]):
        optimiser.load_state_dict(saved)
    return state["epoch"], state["history"], state["best"]


def _keep(
    path: Path | None, epoch: int, history: list[dict], modules: Sequence, optimisers: Sequence, best: dict | None
) -> None:
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".part")
    torch.save({
        "epoch": epoch, "history": history, "best": best,
        "modules": [m.state_dict() for m in modules], "optimisers": [o.state_dict() for o in optimisers],
    }, temporary)  # fmt: skip
    os.replace(temporary, path)


def learning_rate(settings: VaeGanSettings, epoch: int) -> float:
    """The rate of an epoch: divided by ten at each milestone (released), or a half cosine down to one per cent."""
    if settings.schedule == "cosine":
        return settings.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * epoch / settings.epochs)))
    return settings.learning_rate * 0.1 ** sum(epoch >= m for m in settings.milestones)


def _optimiser(parameters, settings: VaeGanSettings) -> torch.optim.Optimizer:
    if settings.optimiser == "rmsprop":
        return torch.optim.RMSprop(parameters, lr=settings.learning_rate, alpha=0.9)
    return torch.optim.Adam(parameters, lr=settings.learning_rate, fused=True)


def vaegan_step(
    model: VaeGan, head: nn.Module | None, x: Tensor, labels: Tensor | None, settings: VaeGanSettings
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
        total = total + (settings.pixel_weight + settings.feature_weight * (settings.feature_level == 0)) * terms["pixels"]
    if settings.detail_weight:
        terms["detail"] = losses.detail_error(x, reconstruction.float(), settings.focus)
        total = total + settings.detail_weight * terms["detail"]
    if settings.expression_weight:
        with torch.no_grad():
            real_maps = model.discriminator.levels(x)
        maps = model.discriminator.levels(reconstruction)
        terms["expression"] = losses.relative_error([m.float() for m in real_maps], [m.float() for m in maps])
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
    model: VaeGan, pictures: Pictures, rows: np.ndarray, labels: np.ndarray, flips: bool, seed: int, fabric: Fabric, epochs: int = 12
) -> None:
    """Train the discriminator of ``model`` to tell labels (one per picture, -1 unknown) apart, in place of real and decoded.

    It learns the pictures ``rows``, mirrored where ``flips``, moved by up to a twentieth and blurred by chance, so that its
    features see the expression also in pictures that are not sharp.
    """
    reader, rows = model.discriminator, rows[labels[rows] >= 0]
    last = reader.fc[-1]
    reader.fc[-1] = nn.Linear(last.in_features, int(labels.max()) + 1).to(fabric.device)
    optimiser = torch.optim.AdamW(reader.parameters(), lr=1e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-3, total_steps=epochs * -(-len(rows) // 32) + 1)
    reader.train()
    for epoch in tqdm(range(epochs), disable=quiet(), desc="expressions", unit="epoch"):
        rng = _seed(seed, epoch)
        for part in batches(rows, 32, rng):
            x = pictures.batch(part, rng.random(len(part)) < 0.5 if flips else None).to(fabric.device, memory_format=torch.channels_last)
            size = x.shape[-1]
            x = moved(x, (size // 20, size // 20), rng)
            if rng.random() < 0.4:
                side = int(rng.integers(size // 2, size))
                x = F.interpolate(F.interpolate(x, (side, side), mode="area"), (size, size), mode="bicubic")
            with fabric.autocast():
                loss = F.cross_entropy(reader(x)[1].float(), torch.from_numpy(labels[part]).long().to(fabric.device), label_smoothing=0.1)
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
    settings: VaeGanSettings,
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
        raise ValueError("expression_weight takes the discriminator for itself: set feature_level and adversarial_weight to 0")
    torch.manual_seed(seed)
    fabric = fabric or launch()
    model = VaeGan(channels, size, settings.latent, settings.width, settings.bounded).to(fabric.device)
    model = model.to(memory_format=torch.channels_last)
    if start is not None:
        model.encoder.load_state_dict(start.encoder.state_dict())
        model.decoder.load_state_dict(start.decoder.state_dict())
    head = nn.Linear(settings.latent, int(labels.max()) + 1).to(fabric.device) if settings.label_weight and labels is not None else None
    coder = [*model.encoder.parameters(), *model.decoder.parameters(), *(head.parameters() if head else ())]
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
        raise TrainingError(f"{few}: {world} device(s) need {least} at a time; give more pictures or fewer devices")
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
        rng, started, sums, count = _seed(seed, epoch, fabric.global_rank), time.perf_counter(), {}, 0
        bar.set_description(f"VAE-GAN, epoch {epoch + 1} of {settings.epochs}")
        model.train()
        if settings.expression_weight:
            model.discriminator.eval()  # its batch norm must not drift
        for optimiser in (coder_optimiser, critic_optimiser):
            for group in optimiser.param_groups:
                group["lr"] = learning_rate(settings, epoch)
        for number, rows in enumerate(batches(train, settings.batch, rng, least), 1):
            flip = rng.random(len(rows))[mine] < 0.5 if flips else None
            x = pictures.batch(rows[mine], flip).to(fabric.device, memory_format=torch.channels_last)
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
            together = min(settings.accumulate, steps - (number - 1) // settings.accumulate * settings.accumulate)
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
    return bool(patience) and len(errors) > patience and min(errors[-patience:]) > min(errors[:-patience])


@torch.no_grad()
def reconstruction_error(model: VaeGan, pictures: Pictures, rows: np.ndarray, fabric: Fabric, batch: int = 128) -> float:
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


@torch.no_grad()
def encode(model: VaeGan, pictures: Pictures, rows: np.ndarray, flips: bool = False, batch: int = 128) -> Posterior:
    """Posteriors of the pictures ``rows``, the network in eval mode and float32: (V, N, latent), V = 2 views with ``flips``.

    The frozen network runs once; the later stages train on what it returned.
    """
    model.eval()
    device = next(model.parameters()).device
    views = []
    for mirrored in (False, True) if flips else (False,):
        done = []
        for part in batches(rows, batch):
            x = pictures.batch(part, np.full(len(part), mirrored)).to(device)
            done.append(torch.stack(model.encoder(x)).cpu())
        views.append(torch.cat(done, 1))
    stacked = torch.stack(views, 1)  # (2, V, N, latent)
    return Posterior(stacked[0], stacked[1])


@torch.enable_grad()  # also when asked for from within no_grad
def train_classifier(
    posterior: Posterior, labels: np.ndarray, settings: Head, *, classes: int = 7, seed: int = 0
) -> tuple[Classifier, pd.DataFrame]:
    """One linear layer on latents: posterior (V, N, D) with V views, labels (N,) -> (classifier, history)."""
    torch.manual_seed(seed)
    views, count, width = posterior.mu.shape
    model, target = Classifier(width, classes), torch.from_numpy(labels).long()
    optimiser = torch.optim.Adam(model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
    history = []
    for epoch in tqdm(range(settings.epochs), disable=quiet(), desc="classifier", unit="epoch"):
        rng, total, hits = _seed(seed, epoch), 0.0, 0
        for rows in batches(np.arange(count), settings.batch, rng):
            view = torch.from_numpy(rng.integers(views, size=len(rows)))
            z = Posterior(posterior.mu[view, rows], posterior.logvar[view, rows])
            logits = model(z.sample() if settings.sample else z.mu)
            loss = F.cross_entropy(logits, target[rows])
            _check({"cross-entropy": loss}, f"epoch {epoch + 1}")
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            total, hits = total + loss.item() * len(rows), hits + int((logits.argmax(1) == target[rows]).sum())
        history.append({"epoch": epoch + 1, "cross-entropy": total / count, "train accuracy": hits / count})
    return model.eval(), pd.DataFrame(history)


def _same_emotion(labels: np.ndarray, same: dict[int, np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """For each of (B,) labels any of the rows that ``same`` lists for it."""
    chosen = np.empty(len(labels), int)
    for label in np.unique(labels):
        here = labels == label
        chosen[here] = rng.choice(same[label], here.sum())
    return chosen


@torch.enable_grad()  # also when asked for from within no_grad
def train_can(
    face: Posterior,
    voice: Posterior,
    labels: np.ndarray,
    settings: CanSettings,
    *,
    people: np.ndarray | None = None,
    classifier: Classifier | None = None,
    classes: int = 7,
    seed: int = 0,
    on_epoch: Callable[[Can, dict], None] | None = None,
) -> tuple[Can, pd.DataFrame]:
    """Train the context attention network on paired latents: face (V, N + M, D), the voice of each face's own clip (N, D),
    labels (N + M,); the last M faces are of people who were not heard, the crowd.

    Faces labelled -1 are neutral: ``settings.neutral`` is the share of each batch that is replaced by them, and
    ``settings.directions`` needs them, and the person of each face, ``people`` (N + M,).  ``settings.crowd`` is the share
    that is replaced before by faces of the crowd with the same label, where it has any.  ``classifier`` (trained on the
    face latents) starts the network's own; it goes on learning where ``settings.finetune``.  Returns (network in eval
    mode, history).  ValueError where neutral faces would hear their own voices (``settings.pairing``).
    """
    if settings.neutral and settings.pairing == "own":
        raise ValueError('neutral faces need the voices of others: set pairing="emotion"')
    if settings.directions and people is None:
        raise ValueError("directions of expression are found within people: say whose each face is (people)")
    torch.manual_seed(seed)
    (views, _, width), heard_too = face.mu.shape, len(voice.mu)
    model, labels = Can(width, classes, settings.normalise, settings.directions, settings.attention), labels.astype(np.int64)
    expressive, neutral = np.flatnonzero(labels[:heard_too] >= 0), np.flatnonzero(labels < 0)
    model.fit_scale(face.mu[:, expressive].flatten(0, 1), voice.mu[expressive])
    if settings.directions:
        model.fit_directions(face.mu[0], torch.from_numpy(labels), torch.from_numpy(people))
    if classifier is not None:
        model.classifier.load_state_dict(classifier.linear.state_dict())
    model.classifier.requires_grad_(settings.finetune)
    attention = [*model.att_mu.parameters(), *model.att_logvar.parameters()]
    groups = [dict(params=attention, weight_decay=settings.weight_decay)]
    if settings.finetune:
        groups.append(dict(params=model.classifier.parameters(), weight_decay=settings.classifier_decay))
    optimiser = torch.optim.Adam(groups, lr=settings.learning_rate)
    same = {c: expressive[labels[expressive] == c] for c in np.unique(labels[expressive])}
    others = {c: rows if len(rows := heard_too + np.flatnonzero(labels[heard_too:] == c)) else same[c] for c in same}
    history = []
    for epoch in tqdm(range(settings.epochs), disable=quiet(), desc="context attention", unit="epoch"):
        rng, sums, hits = _seed(seed, epoch), {}, 0
        model.train()
        for rows in batches(expressive, settings.batch, rng):
            target = torch.from_numpy(labels[rows])
            heard = rows if settings.pairing == "own" else _same_emotion(labels[rows], same, rng)
            if settings.crowd:
                rows = np.where(rng.random(len(rows)) < settings.crowd, _same_emotion(labels[rows], others, rng), rows)
            if settings.neutral and len(neutral):
                rows = np.where(rng.random(len(rows)) < settings.neutral, rng.choice(neutral, len(rows)), rows)
            view = torch.from_numpy(rng.integers(views, size=len(rows)))
            v = Posterior(face.mu[view, rows], face.logvar[view, rows])
            a = Posterior(voice.mu[heard], voice.logvar[heard])
            if settings.voice_noise:
                a = Posterior(a.mu + settings.voice_noise * model.voice_spread * torch.randn_like(a.mu), a.logvar)
            shifted = model.shift(v, a)
            logits = model.classifier(shifted.sample() if settings.sample else shifted.mu)
            pair = (*v, *shifted) if settings.kl_direction == "prior_to_shifted" else (*shifted, *v)
            terms = {"cross-entropy": F.cross_entropy(logits, target), "kl": losses.kl_between(*pair).mean()}
            _check(terms, f"epoch {epoch + 1}")
            optimiser.zero_grad()
            (terms["cross-entropy"] + settings.kl_weight * terms["kl"]).backward()
            optimiser.step()
            hits += int((logits.argmax(1) == target).sum())
            for name, value in terms.items():
                sums[name] = sums.get(name, 0.0) + value.item() * len(rows)
        history.append({"epoch": epoch + 1, **{k: v / len(expressive) for k, v in sums.items()}, "train accuracy": hits / len(expressive)})
        if on_epoch:
            on_epoch(model.eval(), history[-1])
    return model.eval().requires_grad_(False), pd.DataFrame(history)
