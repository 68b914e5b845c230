"""Principal components of face crops, and a VAE-GAN that starts from them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from cmlib import files
from cmlib.models import VaeGan
from cmlib.models.vaegan import Components

from .data import Photographs, small_pictures

OVERSAMPLING = 32  # components that are computed beyond those that are kept
ITERATIONS = 3  # of the randomised decomposition


class Principal(NamedTuple):
    """The components of pictures of D values each, in the order of their variance."""

    mean: Tensor  # (D,)
    components: Tensor  # (K, D), unit vectors
    deviation: Tensor  # (K,), the standard deviation of the pictures along each

    def first(self, count: int) -> Principal:
        """The ``count`` components of the largest variance."""
        return Principal(self.mean, self.components[:count], self.deviation[:count])

    def project(self, x: Tensor) -> Tensor:
        """Pictures (B, C, P, P) as the components alone draw them."""
        centred = x.flatten(1) - self.mean
        return (centred @ self.components.T @ self.components + self.mean).view_as(x)

    def save(self, path: Path) -> Path:
        """Write ``path``, a file of safetensors."""
        with files.write_atomically(path) as temporary:
            save_file(self._asdict(), temporary)
        return path

    @classmethod
    def load(cls, path: Path) -> Principal:
        """Read what ``save`` wrote."""
        return cls(**load_file(path))


@torch.no_grad()
def principal(pictures: Tensor, count: int, seed: int = 0) -> Principal:
    """The ``count`` principal components of pictures (N, C, P, P) and their mirror images.

    Such a set has components that are symmetric or antisymmetric. The two kinds are therefore
    computed apart, each from one half of the picture, which is half the work.
    """
    torch.manual_seed(seed)
    mean = pictures.mean(0)
    mean = (mean + mean.flip(-1)) / 2
    deviations, components = [], []
    for sign in (1, -1):
        centred = pictures - mean
        of_one_kind = (centred + sign * centred.flip(-1)) / 2
        half = of_one_kind[..., : pictures.shape[-1] // 2].flatten(1)  # (N, D / 2)
        most = min(half.shape)
        wanted = min(count + OVERSAMPLING, most)
        _, singular, vectors = torch.svd_lowrank(half, q=wanted, niter=ITERATIONS)
        left = vectors.T.unflatten(1, (*pictures.shape[1:3], -1)) / math.sqrt(2)
        # The right half is the mirror image of the left one, times the sign.
        components.append(torch.cat([left, sign * left.flip(-1)], -1).flatten(1))
        deviations.append(math.sqrt(2 / len(pictures)) * singular)
    deviation = torch.cat(deviations)
    order = deviation.argsort(descending=True)[:count]
    return Principal(
        mean.flatten(), torch.cat(components)[order].contiguous(), deviation[order].contiguous()
    )


def of_training_pictures(photographs: Photographs, count: int, sets: list[str]) -> Principal:
    """The components of the crops of these sets that train."""
    rows = np.concatenate([photographs.rows(name, "train") for name in sets])
    return principal(small_pictures(photographs.pictures, rows).contiguous(), count)


@torch.no_grad()
def start(model: VaeGan, base: Principal, kl_weight: float) -> None:
    """Let ``model``, which has ``components``, begin as exactly these components.

    The last layers of its convolutions become zero. The posterior of each coordinate gets the
    variance at which the pixels' error, share * sigma^2, and the prior's gain, (kl_weight / 2) log
    sigma^2, are in balance. ValueError where the network has no linear path, or another latent.
    """
    encoder, decoder = model.encoder, model.decoder
    if not (isinstance(encoder.linear, Components) and isinstance(decoder.linear, Components)):
        raise ValueError("this network has no linear path; make it with components=True")
    if len(base.deviation) != model.config["latent"]:
        raise ValueError(
            f"{len(base.deviation)} components for a latent of {model.config['latent']};"
            " both must be equally many"
        )
    encoder.linear.weight.copy_(base.components / base.deviation[:, None])
    decoder.linear.weight.copy_(base.components * base.deviation[:, None])
    for path in (encoder.linear, decoder.linear):
        path.average.copy_(base.mean)
    predict = decoder.main.get_submodule("predict")
    for layer in (encoder.mean, encoder.var, predict):
        assert isinstance(layer, (nn.Linear, nn.Conv2d)) and layer.bias is not None
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    share = base.deviation.square() / base.components.shape[1]  # of the mean squared error
    encoder.var.bias.copy_((kl_weight / 2 / share).clamp(max=1.0).log())
