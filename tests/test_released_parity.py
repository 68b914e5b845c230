"""The released networks' own numbers, for weights that anyone can make again from a seed."""

import csv
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from cmlib.models import ContextAttention, Posterior, VaeGan

ORACLE = Path(__file__).resolve().parent / "data"  # its README.md says how the weights are made


def released_state(seed: int, voice: bool) -> tuple[dict[str, torch.Tensor], torch.Generator]:
    """The weights of a VAE-GAN under the released names, and the generator to go on with."""
    g = torch.Generator().manual_seed(seed)
    state = {}
    with open(ORACLE / "released_checkpoint_keys.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        key, text = row["key"], row["shape"]
        if voice and row["note"].startswith("voice:"):
            text = row["note"].removeprefix("voice:").strip()
        shape = () if text == "scalar" else tuple(int(n) for n in text.split("x"))
        if key.endswith("num_batches_tracked"):
            state[key] = torch.tensor(0)
        elif key.endswith("running_var"):
            state[key] = 0.5 + torch.rand(shape, generator=g)
        elif key.endswith("running_mean"):
            state[key] = 0.1 * torch.randn(shape, generator=g)
        elif len(shape) == 1:
            centre = 1 if key.endswith("weight") else 0
            state[key] = centre + 0.1 * torch.randn(shape, generator=g)
        else:
            state[key] = torch.randn(shape, generator=g) / math.sqrt(math.prod(shape[1:]))
    return state, g


def released_attention() -> tuple[dict[str, torch.Tensor], Posterior, Posterior]:
    """(weights of the attention under the released names, faces, voices)."""
    g = torch.Generator().manual_seed(2026)
    state = {}
    for layer in ("query", "key", "value"):
        state[f"{layer}.weight"] = torch.randn(512, 512, generator=g) / math.sqrt(512)
        state[f"{layer}.bias"] = 0.1 * torch.randn(512, generator=g)
    face, voice = (
        Posterior(torch.randn(4, 512, generator=g), torch.zeros(4, 512)) for _ in range(2)
    )
    return state, face, voice


def assert_close(ours: torch.Tensor, oracle: np.ndarray) -> None:
    """Equal to 1e-4 of the largest number of the oracle."""
    expected = torch.from_numpy(oracle)
    error = float((ours - expected).abs().max() / expected.abs().max())
    assert error <= 1e-4, error


@pytest.mark.parametrize("name, seed, channels", [("face", 2024, 3), ("voice", 2025, 1)])
def test_vaegan_computes_what_the_released_network_computes(name, seed, channels):
    model = VaeGan(channels).eval()
    state, g = released_state(seed, voice=channels == 1)
    model.load_state_dict(state)  # same names, same shapes
    x = torch.rand(2, channels, 128, 128, generator=g)
    oracle = np.load(ORACLE / f"released_parity_{name}.npz")
    with torch.no_grad():
        reconstruction, posterior = model(x)
        features, logit = model.discriminator(x, level=2)
        assert_close(posterior.mu, oracle["mu"])
        assert_close(posterior.logvar, oracle["logvar"])
        assert_close(reconstruction, oracle["recon"])
        assert_close(features.flatten(1)[:, :4096], oracle["features"])
        assert_close(model.discriminator.features(x, 2).flatten(1)[:, :4096], oracle["features"])
        assert_close(torch.sigmoid(logit), oracle["realness"])


def test_attention_computes_what_the_released_one_computes():
    oracle = np.load(ORACLE / "released_parity_attention.npz")
    state, face, voice = released_attention()
    attention = ContextAttention(512)
    attention.load_state_dict(state)
    with torch.no_grad():
        for strength, key in ((1.0, "shifted_t1"), (0.5, "shifted_t05")):
            assert_close(face.mu + strength * attention(face.mu, voice.mu), oracle[key])


def test_parameter_counts_of_the_released_face_network():
    model = VaeGan(3)
    counts = [
        sum(p.numel() for p in network.parameters())
        for network in (model.encoder, model.decoder, model.discriminator)
    ]
    assert counts == [22_656_320, 16_218_819, 36_119_681]
