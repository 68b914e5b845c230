"""The training step in the released order of passes, to compare ours with.

It is written from a description. Networks, losses and weights are the library's own; only the order
of work differs. One step makes three decoder passes (reconstruction, prior sample, reconstruction
again), ten whole discriminator passes, and three backward passes over a retained graph. There is
one backward pass for each network, which also computes gradients of the other two that nobody uses:

1. discriminator: D(x), D(x~), D(x_p), the pictures not detached; backward;
2. decoder: D(x), D(x~), D(x_p) again, and D(x), D(x~) for their features; backward of ``feature
   error - adversarial_weight * GAN loss`` (as released the weight is 0: the passes are made, and
   gradients of zero flow back);
3. encoder: encoder and decoder once more, D(x) and D(x~) for their features; backward of ``prior KL
   + feature error``.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cmlib.config import VaeGanConfig
from cmlib.models import VaeGan
from cmlib.training import losses


def optimisers(model: VaeGan, settings: VaeGanConfig) -> dict[str, torch.optim.Optimizer]:
    """Three RMSprop, one a network."""
    options = {"lr": settings.learning_rate, "alpha": 0.9}
    names = ("discriminator", "decoder", "encoder")
    return {
        name: torch.optim.RMSprop(getattr(model, name).parameters(), **options) for name in names
    }


# Longer than most functions, so that the step reads in the order of the list above.
def released_step(
    model: VaeGan,
    three: dict[str, torch.optim.Optimizer],
    x: Tensor,
    settings: VaeGanConfig,
    *,
    in_turn: bool = True,
    fresh_noise: bool = True,
) -> dict[str, float]:
    """One step on the pictures x (B, C, S, S) in the released order.

    The optimisers step, and the terms of the loss are returned by name.

    ``in_turn``: each network takes its step before the next one's losses are computed; otherwise
    all three step at the end, from gradients at one and the same point, as ours do.
    ``fresh_noise``: the second reconstruction draws its own noise instead of using that of the
    first.
    """
    level, kept = settings.feature_level, {}

    def turn(name: str, loss: Tensor) -> None:
        network: nn.Module = getattr(model, name)
        three[name].zero_grad()
        loss.backward(retain_graph=True)
        if in_turn:
            three[name].step()
        else:  # put this network's gradients aside; those of the others are by-products
            kept[name] = [p.grad for p in network.parameters()]
            model.zero_grad()

    def gan() -> Tensor:
        judged = [
            model.discriminator(picture, level)[1] for picture in (x, reconstruction, sampled)
        ]
        return losses.discriminator_loss(*judged)

    def feature_error() -> Tensor:
        (real, _), (fake, _) = (
            model.discriminator(picture, level) for picture in (x, reconstruction)
        )
        return losses.feature_error(real, fake)

    state = torch.get_rng_state()
    posterior = model.encoder(x)
    reconstruction = model.decoder(posterior.sample())
    sampled = model.decoder(torch.randn_like(posterior.mu))
    after = torch.get_rng_state()
    gan_loss = gan()
    turn("discriminator", gan_loss)

    again, features = gan(), feature_error()
    turn("decoder", settings.feature_weight * features - settings.adversarial_weight * again)

    if not fresh_noise:
        torch.set_rng_state(state)
    posterior = model.encoder(x)
    reconstruction = model.decoder(posterior.sample())
    if not fresh_noise:
        torch.set_rng_state(after)
    kl, error = losses.kl_to_unit_normal(*posterior), feature_error()
    turn("encoder", settings.kl_weight * kl + settings.feature_weight * error)

    for name, gradients in kept.items():
        for parameter, gradient in zip(getattr(model, name).parameters(), gradients):
            parameter.grad = gradient
        three[name].step()
    terms = {"discriminator": gan_loss, "features": features, "kl": kl, "features again": error}
    return {name: value.item() for name, value in terms.items()}
