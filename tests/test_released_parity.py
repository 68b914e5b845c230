"""The released networks' own numbers, for weights that anyone can make again from a seed."""

import csv
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from cmlib.models import ContextAttention, VaeGan

ORACLE = Path(__file__).resolve().parents[2] / "shared"
needs_oracle = pytest.mark.skipif(
    not (ORACLE / "released_parity_face.npz").exists(),
    reason="the numerical oracle of the released networks is not beside the checkout",
)


def released_state(seed: int, voice: bool) -> tuple[dict[str, torch.Tensor], torch.Generator]:
    """The oracle's weights by their recipe, under the released key names."""
    g, state = torch.Generator().manual_seed(seed), {}
    for row in csv.DictReader((ORACLE / "released_checkpoint_keys.csv").open()):
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
            state[key] = (1 if key.endswith("weight") else 0) + 0.1 * torch.randn(
                shape, generator=g
            )
        else:
            state[key] = torch.randn(shape, generator=g) / math.sqrt(math.prod(shape[1:]))
    return state, g


def assert_close(ours: torch.Tensor, oracle: np.ndarray) -> None:
    oracle = torch.from_numpy(oracle)
    assert (ours - oracle).abs().max() <= 1e-4 * oracle.abs().max(), float(
        (ours - oracle).abs().max() / oracle.abs().max()
    )


@needs_oracle
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


@needs_oracle
def test_attention_computes_what_the_released_one_computes():
    oracle = np.load(ORACLE / "released_parity_attention.npz")
    attention = ContextAttention(512)
    attention.load_state_dict(
        {
            k.replace("_", "."): torch.from_numpy(oracle[k])
            for k in oracle.files
            if k.endswith(("_weight", "_bias"))
        }
    )
    face, voice = (torch.from_numpy(oracle[f"{m}_mu"]) for m in ("face", "voice"))
    with torch.no_grad():
        for strength, key in ((1.0, "shifted_t1"), (0.5, "shifted_t05")):
            assert_close(face + strength * attention(face, voice), oracle[key])


def test_parameter_counts_of_the_released_face_network():
    model = VaeGan(3)
    counts = [
        sum(p.numel() for p in part.parameters())
        for part in (model.encoder, model.decoder, model.discriminator)
    ]
    assert counts == [22_656_320, 16_218_819, 36_119_681]
