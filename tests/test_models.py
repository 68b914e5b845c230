"""Shapes, options and the attention's equation."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from scipy.special import softmax
from torch.nn import functional as F

from cmlib import checkpoints, files
from cmlib.models import (
    Can,
    Classifier,
    ContextAttention,
    Posterior,
    VaeGan,
    attend,
    fuse,
    product_of_classifiers,
    product_of_experts,
)
from tools.photographs import components


@pytest.mark.parametrize(
    "channels, size, width", [(3, 32, 0.0625), (1, 64, 0.125), (3, 96, 0.0625)]
)
def test_vaegan_keeps_shapes_for_any_multiple_of_32(channels, size, width):
    model = VaeGan(channels, size, latent=10, width=width).eval()
    x = torch.rand(2, channels, size, size)
    reconstruction, posterior = model(x)
    assert reconstruction.shape == x.shape
    assert posterior.mu.shape == posterior.logvar.shape == (2, 10)
    features, logit = model.discriminator(x, 2)
    assert logit.shape == (2, 1)
    torch.testing.assert_close(features, model.discriminator.features(x, 2))


def test_squares_of_pixels_as_channels_keep_the_shapes():
    model = VaeGan(3, 128, latent=10, width=0.0625, components=True, space_to_depth=2).eval()
    x = torch.rand(2, 3, 128, 128)
    reconstruction, posterior = model(x)
    assert reconstruction.shape == x.shape
    assert posterior.mu.shape == posterior.logvar.shape == (2, 10)
    assert model.encoder.main[0].in_channels == model.decoder.main.predict.out_channels == 12
    with pytest.raises(ValueError, match="multiple of 64, got 96"):
        VaeGan(3, 96, space_to_depth=2)


@pytest.mark.parametrize("size", [32, 128])
def test_a_network_that_starts_from_components_draws_what_they_draw(size):
    g = torch.Generator().manual_seed(0)
    x = torch.rand(20, 3, size, size, generator=g)
    small = F.avg_pool2d(x, max(1, size // 64))
    base = components.principal(small, 6)
    model = VaeGan(3, size, latent=6, width=0.0625, components=True).eval()
    components.start(model, base, kl_weight=1e-6)
    with torch.no_grad():
        reconstruction, posterior = model(x)
    drawn = F.avg_pool2d(reconstruction, max(1, size // 64))
    torch.testing.assert_close(drawn, base.project(small), rtol=1e-4, atol=1e-5)
    # With their mirror images the coordinates have a variance of one.
    with torch.no_grad():
        mirrored = model.encoder(x.flip(-1)).mu
    both = torch.cat([posterior.mu, mirrored])
    torch.testing.assert_close(both.square().mean(0), torch.ones(6), rtol=1e-3, atol=1e-3)


def test_the_components_leave_all_other_weights_as_they_are():
    torch.manual_seed(0)
    plain = VaeGan(3, 32, latent=8, width=0.0625)
    torch.manual_seed(0)
    linear = VaeGan(3, 32, latent=8, width=0.0625, components=True)
    assert set(plain.config) == {"channels", "size", "latent", "width", "bounded"}
    weights = linear.state_dict()
    for name, tensor in plain.state_dict().items():
        assert torch.equal(weights.pop(name), tensor), name
    assert {name.split(".")[1] for name in weights} == {"linear"}


def test_levels_of_the_discriminator_are_its_features():
    network = VaeGan(3, 32, 8, 0.0625).discriminator.eval()
    x = torch.rand(2, 3, 32, 32)
    for level, features in enumerate(network.levels(x), 1):
        torch.testing.assert_close(features, network.features(x, level))
    assert level == 3


def test_a_size_that_cannot_work_is_named():
    with pytest.raises(ValueError, match="multiple of 32, got 100"):
        VaeGan(3, 100)


def test_attention_equals_its_equation_in_numpy():
    g = torch.Generator().manual_seed(1)
    q, k, u = (torch.randn(3, 11, generator=g) for _ in range(3))
    out = attend(q, k, u).numpy()
    for b in range(3):
        weights = softmax(np.outer(q[b], k[b]), axis=1)
        np.testing.assert_allclose(out[b], weights @ u[b].numpy(), rtol=1e-5, atol=1e-6)
    assert (out >= u.amin(1, keepdim=True).numpy() - 1e-6).all()
    assert (out <= u.amax(1, keepdim=True).numpy() + 1e-6).all()


def test_attention_gradients_by_finite_differences():
    tensors = [torch.randn(2, 5, dtype=torch.float64).requires_grad_() for _ in range(3)]
    assert torch.autograd.gradcheck(attend, tensors)


def test_response_is_the_function_that_all_dimensions_share():
    attention, face, voice = ContextAttention(9), torch.randn(2, 9), torch.randn(2, 9)
    queries = attention.query(voice)
    by_response = torch.stack([attention.response(face[[b]], queries[b])[0] for b in range(2)])
    torch.testing.assert_close(attention(face, voice), by_response, rtol=1e-4, atol=1e-5)


def test_strength_zero_changes_nothing_and_the_shift_is_linear_in_strength():
    can = Can(9)
    face, voice = (Posterior(torch.randn(4, 9), torch.randn(4, 9)) for _ in range(2))
    still, half, full = (can.shift(face, voice, t) for t in (0.0, 0.5, 1.0))
    torch.testing.assert_close(still.mu, face.mu)
    torch.testing.assert_close(still.logvar, face.logvar)
    torch.testing.assert_close(half.mu - face.mu, (full.mu - face.mu) / 2)


def test_product_of_experts_against_the_density_on_a_grid():
    mu, logvar = torch.tensor([[0.8]]), torch.tensor([[-0.5]])
    other_mu, other_logvar = torch.tensor([[-1.1]]), torch.tensor([[0.7]])
    joint = product_of_experts(Posterior(mu, logvar), Posterior(other_mu, other_logvar))
    z = torch.linspace(-8, 8, 20001, dtype=torch.float64)
    log = -0.5 * z**2 - 0.5 * (z - 0.8) ** 2 / np.exp(-0.5) - 0.5 * (z + 1.1) ** 2 / np.exp(0.7)
    weight = torch.softmax(log, 0)
    mean = (weight * z).sum()
    assert joint.mu.item() == pytest.approx(mean.item(), abs=1e-4)
    assert joint.logvar.exp().item() == pytest.approx(
        (weight * (z - mean) ** 2).sum().item(), abs=1e-4
    )


def test_checkpoint_returns_the_same_network_and_refuses_another(tmp_path):
    model = VaeGan(3, 32, latent=8, width=0.0625).eval()
    checkpoints.save(tmp_path / "face", model, {"seed": 3})
    loaded, card = checkpoints.load(tmp_path / "face", VaeGan)
    x = torch.rand(1, 3, 32, 32)
    torch.testing.assert_close(loaded(x)[0], model(x)[0])
    assert card["seed"] == 3 and card["config"]["latent"] == 8
    with pytest.raises(checkpoints.CheckpointError, match="holds a VaeGan, wanted Can"):
        checkpoints.load(tmp_path / "face", Can)
    card_file = tmp_path / "face.json"
    card_file.write_text(card_file.read_text().replace('"latent": 8', '"latent": 9'))
    with pytest.raises(checkpoints.CheckpointError, match="does not fit its card"):
        checkpoints.load(tmp_path / "face")
    (tmp_path / "face.json").unlink()
    with pytest.raises(checkpoints.CheckpointError, match="no readable model card"):
        checkpoints.load(tmp_path / "face")


def test_half_precision_checkpoint_is_close(tmp_path):
    model = Classifier(20)
    checkpoints.save(tmp_path / "c", model, {}, bits=16)
    torch.testing.assert_close(
        checkpoints.load(tmp_path / "c")[0].linear.weight, model.linear.weight, rtol=1e-3, atol=1e-4
    )


@pytest.mark.parametrize("linear", [False, True])
def test_eight_bits_are_a_quarter_of_the_bytes_and_nearly_the_same_network(tmp_path, linear):
    model = VaeGan(3, 32, latent=8, width=0.25, components=linear).eval()
    with torch.no_grad():
        for path in (model.encoder.linear, model.decoder.linear):
            if path is not None:
                path.weight.normal_()
        model.decoder.main.predict.weight[0] = 0  # an output that nothing moves
    whole = checkpoints.save(tmp_path / "whole", model, {}).stat().st_size
    assert checkpoints.save(tmp_path / "less", model, {}, bits=8).stat().st_size < 0.3 * whole
    loaded, _ = checkpoints.load(tmp_path / "less", VaeGan)
    for name, weights in model.state_dict().items():
        worst = (
            weights.flatten(1).abs().amax(1) / 254
            if weights.dim() > 1
            else weights.abs() / 1000 + 1e-4
        )
        error = (loaded.state_dict()[name] - weights).abs()
        assert (
            (error.flatten(1).amax(1) if weights.dim() > 1 else error)
            .le(worst * 1.001 + 1e-9)
            .all()
        ), name
    lost = {
        k: v
        for k, v in load_file(tmp_path / "less.safetensors").items()
        if k != "encoder.mean.weight" + checkpoints.SCALE
    }
    save_file(lost, tmp_path / "less.safetensors")
    card_file = tmp_path / "less.json"
    card = json.loads(card_file.read_text()) | {
        "sha256": files.checksum(tmp_path / "less.safetensors")
    }
    card_file.write_text(json.dumps(card))
    with pytest.raises(checkpoints.CheckpointError, match="without their scale"):
        checkpoints.load(tmp_path / "less")
    with pytest.raises(ValueError, match="not 4"):
        checkpoints.save(tmp_path / "less", model, {}, bits=4)


def test_a_part_left_out_of_a_checkpoint_keeps_its_own_weights(tmp_path):
    model = VaeGan(1, 32, latent=8, width=0.0625)
    whole = checkpoints.save(tmp_path / "whole", model, {}).stat().st_size
    assert (
        checkpoints.save(tmp_path / "less", model, {}, without=("discriminator",)).stat().st_size
        < 0.9 * whole
    )
    loaded, card = checkpoints.load(tmp_path / "less")
    x = torch.rand(2, 1, 32, 32)
    torch.testing.assert_close(
        loaded.decoder(loaded.encoder(x)[0]), model.eval().decoder(model.encoder(x)[0])
    )
    assert card["without"] == ["discriminator"]
    card_file = tmp_path / "less.json"
    card_file.write_text(card_file.read_text().replace("discriminator", "decoder"))
    with pytest.raises(checkpoints.CheckpointError, match="does not fit its card"):
        checkpoints.load(tmp_path / "less")


def test_directions_of_expression_hold_the_shift_and_leave_identity_out():
    g = torch.Generator().manual_seed(0)
    people = torch.arange(20).repeat_interleave(60)
    labels = (torch.arange(1200) % 4) - 1  # -1 and three classes
    expression = torch.linalg.qr(torch.randn(16, 3, generator=g))[0].T
    identity = 5 * torch.randn(20, 16, generator=g)
    levels = torch.cat([torch.zeros(1, 3), 2 * torch.eye(3)])
    faces = (
        identity[people]
        + levels[labels + 1] @ expression
        + 0.1 * torch.randn(1200, 16, generator=g)
    )
    can = Can(16, 3, directions=3)
    can.fit_directions(faces, labels, people)
    torch.testing.assert_close(can.basis.T @ can.basis, torch.eye(3), atol=1e-5, rtol=0)
    onto = can.basis @ can.basis.T
    # The true directions lie in the span.
    torch.testing.assert_close(expression @ onto, expression, atol=0.02, rtol=0)
    face, voice = (Posterior(torch.randn(8, 16, generator=g), torch.zeros(8, 16)) for _ in range(2))
    shift = can.shift(face, voice).mu - face.mu
    torch.testing.assert_close(shift @ onto, shift, atol=1e-5, rtol=0)
    assert shift.norm() > 0
    with pytest.raises(ValueError, match="need more than 4 classes"):
        Can(16, 3, directions=4).fit_directions(faces, labels, people)


def test_linear_map_in_place_of_attention():
    can = Can(16, attention="linear")
    face, voice = (Posterior(torch.randn(8, 16), torch.zeros(8, 16)) for _ in range(2))
    both = torch.cat([face.mu, voice.mu], 1)
    expected = face.mu + both @ can.att_mu.map.weight.T + can.att_mu.map.bias
    torch.testing.assert_close(can.shift(face, voice).mu, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("attention", ["softmax", "linear"])
@pytest.mark.parametrize("normalise", [False, True])
def test_a_voice_may_have_a_latent_of_another_size(attention, normalise, tmp_path):
    can = Can(16, 3, normalise, directions=2, attention=attention, voice_latent=5)
    assert can.config["voice_latent"] == 5
    face = Posterior(torch.randn(8, 16), torch.randn(8, 16))
    voice = Posterior(torch.randn(8, 5), torch.randn(8, 5))
    can.fit_scale(face.mu, voice.mu)
    logits, shifted = can(face, voice)
    assert logits.shape == (8, 3) and shifted.mu.shape == shifted.logvar.shape == (8, 16)
    other = voice.map(lambda x: x.flip(0))
    assert not torch.allclose(can(face, other)[1].mu, shifted.mu)
    checkpoints.save(tmp_path / "can", can, {})
    again, _ = checkpoints.load(tmp_path / "can", Can)
    assert torch.equal(again(face, voice)[0], logits)


def test_equal_sizes_make_the_network_and_the_card_that_they_always_made():
    torch.manual_seed(0)
    before = Can(16, 3)
    torch.manual_seed(0)
    now = Can(16, 3, voice_latent=16)
    assert now.config == before.config and "voice_latent" not in now.config
    for name, tensor in before.state_dict().items():
        assert torch.equal(now.state_dict()[name], tensor), name


def test_the_product_of_two_classifiers_follows_the_product_rule():
    torch.manual_seed(0)
    face_classifier, voice_classifier = Classifier(16, 3), Classifier(5, 3)
    counts = torch.tensor([70, 20, 10])
    product = product_of_classifiers(face_classifier, voice_classifier, counts)
    face = Posterior(torch.randn(8, 16), torch.zeros(8, 16))
    voice = Posterior(torch.randn(8, 5), torch.zeros(8, 5))
    probabilities = product(fuse("product_of_experts", face, voice).mu).softmax(1)
    from_face = face_classifier(face.mu).softmax(1)
    from_voice = voice_classifier(voice.mu).softmax(1)
    expected = from_face * from_voice / (counts / counts.sum())
    expected = expected / expected.sum(1, keepdim=True)
    torch.testing.assert_close(probabilities, expected)
    # A class that nobody showed divides by no zero.
    unseen = product_of_classifiers(face_classifier, voice_classifier, torch.tensor([5, 5, 0]))
    assert torch.isfinite(unseen.linear.bias).all()


def test_gaussians_are_multiplied_where_both_latents_have_one_size():
    face, voice = (Posterior(torch.randn(8, 4), torch.randn(8, 4)) for _ in range(2))
    product = product_of_experts(face, voice)
    assert torch.equal(fuse("product_of_experts", face, voice).mu, product.mu)
    assert fuse("concatenation", face, voice).mu.shape == (8, 8)


def test_posteriors_are_mapped_and_joined():
    mu, logvar = torch.randn(2, 5, 3)
    posterior = Posterior(mu, logvar)
    first, rest = posterior.map(lambda x: x[:2]), posterior.map(lambda x: x[2:])
    assert torch.equal(first.mu, mu[:2]) and torch.equal(first.logvar, logvar[:2])
    joined = Posterior.cat([first, rest])
    assert torch.equal(joined.mu, mu) and torch.equal(joined.logvar, logvar)
    assert Posterior.cat([posterior, posterior], dim=1).mu.shape == (5, 6)
