"""The VAE-GAN of either modality: a residual encoder, a mirrored decoder, a discriminator.

Two options serve photographs and are off elsewhere: a linear path beside the convolutions, which
starts from principal components (``Components``), and convolutions that see squares of pixels as
channels (``space_to_depth``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cmlib.models.blocks import ResidualBlock, StridedBlock

CHANNELS = (64, 128, 256, 512, 512)  # of the encoder, one per halving of the picture
DISCRIMINATOR_CHANNELS = (32, 128, 256, 256)
COMPONENT_SIZE = 64  # pixels of a side of a principal component, at most

# Pictures that pass through a frozen network together. Feature maps of so few stay in the
# processor's cache, which is twice as fast as with 256.
INFERENCE_BATCH = 32


class Posterior(NamedTuple):
    """A diagonal Gaussian over the latent: ``mu`` and ``logvar`` = log sigma^2, (B, D) each."""

    mu: Tensor
    logvar: Tensor

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """z = mu + sigma * eps, eps ~ N(0, 1): (B, latent)."""
        noise = torch.randn(
            self.mu.shape, generator=generator, device=self.mu.device, dtype=self.mu.dtype
        )
        return self.mu + torch.exp(0.5 * self.logvar) * noise

    def map(self, function: Callable[[Tensor], Tensor]) -> Posterior:
        """Apply ``function`` to both: ``.map(lambda x: x[rows])`` takes rows of the batch."""
        return Posterior(function(self.mu), function(self.logvar))

    @classmethod
    def cat(cls, posteriors: Sequence[Posterior], dim: int = 0) -> Posterior:
        """Join posteriors along ``dim``, as ``torch.cat`` joins tensors."""
        return cls(
            torch.cat([p.mu for p in posteriors], dim),
            torch.cat([p.logvar for p in posteriors], dim),
        )


def scaled(channels: tuple[int, ...], width: float) -> list[int]:
    """Channel counts times ``width``, at least 4."""
    return [max(4, round(count * width)) for count in channels]


class Components(nn.Module):
    """The linear path of an encoder or a decoder: ``latent`` components of C x P x P values.

    P is 64, or the picture's size where that is smaller.  The encoder's components are divided by
    their standard deviations, so that it reads coordinates of unit variance; the decoder's are
    multiplied with them.  The rows of ``weight`` are components, and so each has its own scale in
    a checkpoint of eight bits.
    """

    def __init__(self, channels: int, size: int, latent: int):
        super().__init__()
        self.size = size
        self.component_size = min(size, COMPONENT_SIZE)
        self.shape = (channels, self.component_size, self.component_size)
        values = channels * self.component_size**2
        self.average = nn.Parameter(torch.zeros(values))
        self.weight = nn.Parameter(torch.zeros(latent, values))

    def read(self, x: Tensor) -> Tensor:
        """Picture (B, C, S, S) -> coordinates (B, latent)."""
        small = F.avg_pool2d(x, self.size // self.component_size)  # (B, C, P, P)
        return F.linear(small.flatten(1) - self.average, self.weight)

    def draw(self, z: Tensor) -> Tensor:
        """Coordinates (B, latent) -> picture (B, C, S, S).

        The picture of P x P pixels is enlarged bilinearly, which alone would blur it.  What the
        large picture lacks when it is made small again is therefore added to its squares of pixels.
        """
        values = z @ self.weight + self.average.to(z.dtype)  # (B, C * P * P)
        small = values.view(-1, *self.shape)  # (B, C, P, P)
        if self.size == self.component_size:
            return small
        small = small.float()  # a processor takes twice as long to enlarge in bfloat16
        large = F.interpolate(small, size=self.size, mode="bilinear")  # (B, C, S, S)
        lost = small - F.avg_pool2d(large, self.size // self.component_size)  # (B, C, P, P)
        return large + F.interpolate(lost, size=self.size)


class Encoder(nn.Module):
    """Picture (B, C, S, S) -> Posterior of (B, latent)."""

    def __init__(
        self,
        channels: int,
        size: int,
        latent: int,
        width: float,
        components: bool = False,
        space_to_depth: int = 1,
    ):
        super().__init__()
        self.fold = space_to_depth
        self.linear = Components(channels, size, latent) if components else None
        widths = scaled(CHANNELS, width)
        self.main = nn.Sequential(
            nn.Conv2d(channels * self.fold**2, widths[0], 5, padding=2, bias=False),
            nn.BatchNorm2d(widths[0]),
            nn.LeakyReLU(0.2),
            nn.AvgPool2d(2),
        )
        resolution = size // self.fold // 2
        for inputs, outputs in pairwise(widths):
            self.main.add_module(f"res_in_{resolution}", ResidualBlock(inputs, outputs))
            resolution //= 2
            self.main.add_module(f"down_to_{resolution}", nn.AvgPool2d(2))
        self.main.add_module(f"res_in_{resolution}", ResidualBlock(widths[-1], widths[-1]))
        self.mean = nn.Linear(widths[-1] * resolution**2, latent)
        self.var = nn.Linear(widths[-1] * resolution**2, latent)

    def forward(self, x: Tensor) -> Posterior:
        folded = F.pixel_unshuffle(x, self.fold) if self.fold > 1 else x  # (B, C F F, S/F, S/F)
        y = self.main(folded)  # (B, C', S/32F, S/32F)
        y = y.flatten(1)  # (B, C' * S/32F * S/32F)
        mu = self.mean(y)
        if self.linear is not None:
            mu = mu + self.linear.read(x)
        return Posterior(mu, self.var(y))


class Decoder(nn.Module):
    """Latent (B, D) -> picture (B, C, S, S): in 0...1 if ``bounded``, else linear as released."""

    def __init__(
        self,
        channels: int,
        size: int,
        latent: int,
        width: float,
        bounded: bool = False,
        components: bool = False,
        space_to_depth: int = 1,
    ):
        super().__init__()
        self.fold = space_to_depth
        self.linear = Components(channels, size, latent) if components else None
        widths = scaled(CHANNELS, width)[::-1]
        resolution = size // self.fold // 32
        self.first_shape = (widths[0], resolution, resolution)
        self.bounded = bounded
        self.fc = nn.Sequential(nn.Linear(latent, widths[0] * resolution**2), nn.ReLU())
        self.main = nn.Sequential()
        inputs = widths[0]
        for outputs in widths:
            self.main.add_module(f"res_in_{resolution}", ResidualBlock(inputs, outputs))
            resolution *= 2
            self.main.add_module(f"up_to_{resolution}", nn.Upsample(scale_factor=2, mode="nearest"))
            inputs = outputs
        self.main.add_module(f"res_in_{resolution}", ResidualBlock(inputs, inputs))
        self.main.add_module("predict", nn.Conv2d(inputs, channels * self.fold**2, 5, padding=2))

    def forward(self, z: Tensor) -> Tensor:
        y = self.fc(z).view(-1, *self.first_shape)  # (B, C', S/32F, S/32F)
        y = self.main(y)  # (B, C F F, S/F, S/F)
        if self.fold > 1:
            y = F.pixel_shuffle(y, self.fold)  # (B, C, S, S)
        if self.linear is not None:
            y = y + self.linear.draw(z)
        return torch.sigmoid(y) if self.bounded else y


class Discriminator(nn.Module):
    """Picture -> logit of "this is real", or of the labels (``training.expression_critic``).

    The features of the learned metric are the convolution outputs of levels 1, 2 and 3, before
    batch norm.
    """

    def __init__(self, channels: int, size: int, width: float):
        super().__init__()
        widths = scaled(DISCRIMINATOR_CHANNELS, width)
        self.conv = nn.ModuleList(
            [nn.Sequential(nn.Conv2d(channels, widths[0], 5, padding=2), nn.ReLU())]
        )
        self.conv.extend(StridedBlock(inputs, outputs) for inputs, outputs in pairwise(widths))
        hidden = max(16, round(512 * width))
        self.fc = nn.Sequential(
            nn.Linear(widths[-1] * (size // 8) ** 2, hidden, bias=False),
            nn.BatchNorm1d(hidden),
            nn.ReLU(),
            nn.Linear(hidden, 1),
        )

    def _strided_blocks(self) -> list[StridedBlock]:
        """The blocks of levels 1, 2 and 3; level 0, ``self.conv[0]``, has no stride."""
        return [block for block in self.conv if isinstance(block, StridedBlock)]

    def features(self, x: Tensor, level: int = 2) -> Tensor:
        """Convolution output of ``level``, (B, C', H', W'); level 0 is the picture itself."""
        if level == 0:
            return x
        blocks = self._strided_blocks()
        x = self.conv[0](x)
        for block in blocks[: level - 1]:
            x = block(x)
        return blocks[level - 1].conv(x)

    def levels(self, x: Tensor) -> list[Tensor]:
        """Convolution outputs of levels 1, 2 and 3, each (B, C', H', W')."""
        outputs = []
        x = self.conv[0](x)
        for block in self._strided_blocks():
            outputs.append(block.conv(x))
            x = block.activate(outputs[-1])
        return outputs

    def forward(self, x: Tensor, level: int = 2) -> tuple[Tensor, Tensor]:
        """(Features of ``level``, logit (B, 1)), in one pass."""
        features = x
        x = self.conv[0](x)
        for number, block in enumerate(self._strided_blocks(), 1):
            output = block.conv(x)
            if number == level:
                features = output
            x = block.activate(output)
        return features, self.fc(x.flatten(1))


class VaeGan(nn.Module):
    """The three networks, for pictures of ``channels`` x ``size`` x ``size``.

    ``components``: encoder and decoder have a linear path beside their convolutions.
    ``space_to_depth`` (F): their convolutions see squares of F x F pixels as channels, for a price
    that falls with F^2.  ValueError where ``size`` is no multiple of 32 F.
    """

    def __init__(
        self,
        channels: int = 3,
        size: int = 128,
        latent: int = 512,
        width: float = 1.0,
        bounded: bool = False,
        components: bool = False,
        space_to_depth: int = 1,
    ):
        super().__init__()
        unit = 32 * space_to_depth
        if size < unit or size % unit:
            raise ValueError(f"picture size must be a multiple of {unit}, got {size}")
        self.config = {
            "channels": channels,
            "size": size,
            "latent": latent,
            "width": width,
            "bounded": bounded,
        }
        options = {"components": components, "space_to_depth": space_to_depth}
        if components or space_to_depth > 1:  # the cards of other networks name neither
            self.config |= options
        self.encoder = Encoder(channels, size, latent, width, **options)
        self.decoder = Decoder(channels, size, latent, width, bounded, **options)
        self.discriminator = Discriminator(channels, size, width)

    def forward(self, x: Tensor) -> tuple[Tensor, Posterior]:
        """(Reconstruction from the mean (B, C, S, S), posterior)."""
        posterior = self.encoder(x)
        return self.decoder(posterior.mu), posterior
