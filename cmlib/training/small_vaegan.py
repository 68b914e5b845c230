"""A VAE-GAN that somebody watches: small pictures, minutes of training, a record of every step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from cmlib.config import VaeGanConfig
from cmlib.models import VaeGan
from cmlib.progress import progress_bar
from cmlib.training import losses
from cmlib.training.batches import TrainingData, batches
from cmlib.training.expression_critic import train_expression_critic
from cmlib.training.loop import check_finite, launch, seed_epoch
from cmlib.training.vaegan import learning_rate, vaegan_step

BETAS = (0.5, 0.999)  # of the discriminator's Adam, as is usual in adversarial games
ANSWERS = ("D(x)", "D(x~)", "D(x_p)")  # of a picture, a reconstruction, a sample from the prior
# The discriminator's task is the easier one, so it learns with this share of the rate.
CRITIC_SHARE = 0.5
# Bias of log sigma^2. Clouds that begin narrow let the decoder see what the encoder says; the noise
# of clouds that begin as wide as the prior would drown it.
NARROW = -4.0
EXAMPLES = 1000  # pictures, at most, whose principal components are taken
CRITIC_EPOCHS = 4  # in which a critic of expressions learns, before the training


class SmallVaeGanTraining:
    """A VAE-GAN in training, from principal components, with a row of ``steps`` for each step.

    A row has the columns step and epoch and the unweighted terms. Where a discriminator plays
    against the decoder, it also has the discriminator's mean answers (``ANSWERS``, probabilities in
    0...1), and whether each of the two was trained in this step.
    """

    def __init__(self, data: TrainingData, settings: VaeGanConfig, seed: int):
        self.data, self.settings, self.seed = data, settings, seed
        self.steps: list[dict[str, Any]] = []
        model = untrained_small_vaegan(data, settings, seed)
        if settings.expression_weight:
            fabric = launch(precision="32-true")
            train_expression_critic(model, data, seed, fabric, CRITIC_EPOCHS)
            model.discriminator.requires_grad_(False)
        self.model = model
        coder_weights = [*model.encoder.parameters(), *model.decoder.parameters()]
        critic_weights = model.discriminator.parameters()
        self.coder = torch.optim.Adam(coder_weights, settings.learning_rate)
        self.critic = torch.optim.Adam(critic_weights, settings.learning_rate, betas=BETAS)
        # The library's step returns losses alone, so the answers are read where they come out.
        self._logits: list[Tensor] = []
        model.discriminator.fc.register_forward_hook(
            lambda _module, _inputs, output: self._logits.append(output.detach())
        )

    def train_epoch(self, epoch: int) -> None:
        """Train on every picture once."""
        settings, data = self.settings, self.data
        self.model.train()
        if settings.expression_weight:
            self.model.discriminator.eval()  # its batch norm must not drift
        for optimiser, share in ((self.coder, 1.0), (self.critic, CRITIC_SHARE)):
            optimiser.param_groups[0]["lr"] = share * learning_rate(settings, epoch)
        rng = seed_epoch(self.seed, epoch)
        for rows in batches(data.train, settings.batch, rng):
            x = data.pictures.batch(rows, rng.random(len(rows)) < 0.5)  # half of them mirrored
            row = {"step": len(self.steps) + 1, "epoch": epoch + 1}
            self.steps.append(row | self._train_step(x))

    def _train_step(self, x: Tensor) -> dict[str, Any]:
        settings = self.settings
        self._logits.clear()
        coder_loss, critic_loss, terms = vaegan_step(self.model, None, x, None, settings)
        check_finite(terms, f"step {len(self.steps) + 1}")
        row = {name: term.item() for name, term in terms.items()}
        trains_critic, trains_coder = True, True
        if critic_loss is not None:
            if settings.equilibrium:  # whoever is far ahead waits for the other
                cross_entropy = critic_loss.item() / 3  # of three kinds of pictures
                trains_critic, trains_coder = losses.equilibrium_gates(cross_entropy, cross_entropy)
            for name, logits in zip(ANSWERS, self._logits):
                row[name] = logits.sigmoid().mean().item()
            row |= {"critic trained": trains_critic, "decoder trained": trains_coder}

        self.coder.zero_grad()
        self.critic.zero_grad()
        if trains_coder:
            coder_loss.backward()
            self.coder.step()
        if trains_critic and critic_loss is not None:
            critic_loss.backward()
            self.critic.step()
        return row


def untrained_small_vaegan(data: TrainingData, settings: VaeGanConfig, seed: int) -> VaeGan:
    """The network from which a training begins: principal components of the first pictures."""
    torch.manual_seed(seed)
    model = VaeGan(
        data.pictures.channels,
        data.pictures.size,
        settings.latent,
        settings.width,
        settings.bounded,
        components=True,
    )
    start_from_components(model, data.pictures.batch(data.train[:EXAMPLES]))
    return model


@torch.no_grad()
def start_from_components(model: VaeGan, pictures: Tensor) -> None:
    """Let ``model`` read and draw the principal components of pictures (N, C, S, S) at first.

    Its linear paths hold the components, and their coordinates have unit variance, as the prior
    has. The convolutions beside them begin with zeros. All weights are trained from there.
    """
    encoder, decoder = model.encoder, model.decoder
    values = pictures.flatten(1)  # (N, C * S * S)
    average = values.mean(0)
    _, spread, components = torch.linalg.svd(values - average, full_matrices=False)
    latent = len(encoder.mean.bias)
    deviation = (spread[:latent] / len(values) ** 0.5)[:, None]  # (latent, 1)
    assert encoder.linear is not None and decoder.linear is not None
    encoder.linear.weight.copy_(components[:latent] / deviation)
    decoder.linear.weight.copy_(components[:latent] * deviation)
    predict = decoder.main[-1]
    assert isinstance(predict, torch.nn.Conv2d) and predict.bias is not None
    for linear in (encoder.linear, decoder.linear):
        linear.average.copy_(average)
    for weights in (encoder.mean.weight, encoder.mean.bias, predict.weight, predict.bias):
        weights.zero_()
    encoder.var.bias.fill_(NARROW)


@torch.enable_grad()  # also where the caller is inside no_grad
def train_small_vaegan(
    data: TrainingData,
    settings: VaeGanConfig,
    seed: int = 0,
    on_epoch: Callable[[VaeGan], None] | None = None,
) -> tuple[VaeGan, pd.DataFrame]:
    """Train a VAE-GAN; return (model in eval mode, ``SmallVaeGanTraining.steps``).

    ``on_epoch(model in eval mode)`` is called before the first epoch and after each one.
    ``cmlib.training.vaegan.train_vaegan`` is the training for serious use: it resumes, validates,
    runs on several devices, and knows all settings. TrainingError where a term becomes NaN.
    """
    training = SmallVaeGanTraining(data, settings, seed)
    if on_epoch is not None:
        on_epoch(training.model.eval())
    for epoch in progress_bar(range(settings.epochs), "a small VAE-GAN", unit="epoch"):
        training.train_epoch(epoch)
        if on_epoch is not None:
            on_epoch(training.model.eval())
    return training.model.eval().requires_grad_(False), pd.DataFrame(training.steps)
