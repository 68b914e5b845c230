"""Directions of expression that change the face and not what is around it."""

import numpy as np
import pytest
import torch
from torch import nn

from cmlib.config import CanConfig
from cmlib.models import Can, Posterior
from cmlib.training.can import train_can
from cmlib.training.face_region import changes_of_pictures, face_mask, keeping_to_face

SIZE, LATENT = 16, 5
FACE, BOTH, AROUND = 0, 1, 2  # what the first three coordinates of a latent change


class Painter(nn.Module):
    """A decoder of which every coordinate changes a known part of the picture."""

    def __init__(self):
        super().__init__()
        mask = face_mask(SIZE)
        generator = torch.Generator().manual_seed(0)
        paints = torch.rand(LATENT, 3, SIZE, SIZE, generator=generator) + 0.5
        paints[FACE] *= mask
        paints[AROUND] *= 1 - mask
        self.register_buffer("paints", paints)

    def forward(self, z):
        return torch.einsum("bd,dchw->bchw", z, self.paints)


def test_the_mask_covers_the_face_of_an_aligned_crop():
    mask = face_mask(100)
    eyes, mouth, chin = mask[40, 35] * mask[40, 65], mask[74, 50], mask[95, 50]
    assert eyes == mouth == chin == 1
    corners = mask[[0, 0, -1, -1], [0, -1, 0, -1]]
    assert not corners.any() and not mask[50, 5] and not mask[5, 50]
    assert 0.4 < mask.mean() < 0.5
    assert torch.equal(mask, mask.flip(1))


def test_changes_are_the_jacobian_of_the_decoder():
    painter = Painter()
    changes = changes_of_pictures(painter, torch.randn(LATENT))
    torch.testing.assert_close(changes, painter.paints, rtol=1e-4, atol=1e-4)

    curved = nn.Sequential(nn.Linear(LATENT, 12), nn.Tanh(), nn.Unflatten(1, (3, 2, 2)))
    mean = torch.zeros(LATENT)
    exact = torch.func.jacrev(lambda z: curved(z[None])[0])(mean).permute(3, 0, 1, 2)
    torch.testing.assert_close(changes_of_pictures(curved, mean), exact, rtol=0, atol=0.05)


def test_without_weight_a_shift_stays_as_it_is():
    keeping = keeping_to_face(changes_of_pictures(Painter(), torch.zeros(LATENT)), 0)
    torch.testing.assert_close(keeping, torch.eye(LATENT), rtol=0, atol=1e-3)


@pytest.mark.parametrize("weight", [0.1, 1.0, 10.0])
def test_the_surroundings_change_less_and_the_face_as_before(weight):
    painter, mask = Painter(), face_mask(SIZE)
    keeping = keeping_to_face(changes_of_pictures(painter, torch.zeros(LATENT)), weight)
    shift = torch.tensor([[1.0, 0.0, 1.0, 0.0, 0.0]])  # the face, and what is around it
    before, after = painter(shift), painter(shift @ keeping)
    assert (after * (1 - mask)).norm() < 0.2 * (before * (1 - mask)).norm()
    torch.testing.assert_close(after * mask, before * mask, rtol=0.05, atol=0.05)


def test_the_solution_minimises_what_its_docstring_says():
    changes = changes_of_pictures(Painter(), torch.zeros(LATENT)).double()
    mask, weight = face_mask(SIZE).double(), 0.7
    within, around = (changes * mask).flatten(1), (changes * (1 - mask)).flatten(1)
    ridge = 1e-3 * (within @ within.T).diagonal().mean()
    shift = torch.randn(LATENT, dtype=torch.double)
    found = (shift @ keeping_to_face(changes, weight)).requires_grad_()
    loss = (
        ((found - shift) @ within).square().sum()
        + weight * (found @ around).square().sum()
        + ridge * (found - shift).square().sum()
    )
    (gradient,) = torch.autograd.grad(loss, found)
    assert gradient.abs().max() < 1e-6 * loss.item() + 1e-6


def posed(people=12, seed=0):
    """Faces (N, D) of people at rest (-1) and with two expressions, labels and people (N,)."""
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for person in range(people):
        own = torch.randn(LATENT, generator=generator)
        for label, shift in ((-1, 0.0), (0, 1.0), (1, -2.0)):
            face = own.clone()
            face[FACE] += shift
            face[AROUND] += shift
            rows.append((face, label, person))
    faces, labels, numbers = zip(*rows, strict=True)
    return torch.stack(faces), torch.tensor(labels), torch.tensor(numbers)


def test_directions_keep_to_the_face():
    faces, labels, people = posed()
    keeping = keeping_to_face(changes_of_pictures(Painter(), torch.zeros(LATENT)), 10.0)
    free, kept = Can(LATENT, 2, directions=1), Can(LATENT, 2, directions=1)
    free.fit_directions(faces, labels, people)
    kept.fit_directions(faces, labels, people, keeping=keeping)
    assert free.basis[AROUND].abs() > 0.6
    assert kept.basis[AROUND].abs() < 0.2 < 0.9 < kept.basis[FACE].abs()
    torch.testing.assert_close(kept.basis.T @ kept.basis, torch.eye(1))


@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_no_shift_is_longer_than_the_longest(strength):
    faces, labels, people = posed()
    can, free = Can(LATENT, 2, directions=2, longest=0.1), Can(LATENT, 2, directions=2)
    for network in (can, free):
        network.fit_directions(faces, labels, people)
    free.load_state_dict({k: v for k, v in can.state_dict().items() if k != "longest"})
    # Class 1 lies two to the left in two coordinates of its people's faces at rest.
    assert can.longest.item() == pytest.approx(0.1 * 2 * 2**0.5, rel=1e-5)
    face, voice = (Posterior(3 * torch.randn(64, LATENT), torch.zeros(64, LATENT)) for _ in "fv")
    short = can.shift(face, voice, strength).mu - face.mu
    long = free.shift(face, voice, strength).mu - face.mu
    lengths, before = short.norm(dim=1), long.norm(dim=1)
    assert lengths.max() <= strength * can.longest.item() * (1 + 1e-5)
    is_longer = before > strength * can.longest
    assert 0 < is_longer.sum()
    torch.testing.assert_close(short[~is_longer], long[~is_longer])
    cosines = torch.cosine_similarity(short, long, dim=1)
    torch.testing.assert_close(cosines, torch.ones(64), rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    "settings, message",
    [
        (CanConfig(around_weight=0.1, directions=1), "give decoder"),
        (CanConfig(longest=1.0), "set directions"),
    ],
)
def test_settings_without_what_they_need_are_refused(settings, message):
    faces, labels, people = posed()
    latents = Posterior(faces[None], torch.zeros_like(faces)[None])
    with pytest.raises(ValueError, match=message):
        train_can(
            latents,
            latents.map(lambda x: x[0]),
            labels.numpy().clip(0),
            settings,
            people=people.numpy(),
            classes=2,
        )


def test_training_takes_both_settings():
    faces, labels, people = posed()
    latents = Posterior(faces[None], torch.full_like(faces, -4.0)[None])
    settings = CanConfig(
        epochs=2, pairing="emotion", directions=1, around_weight=10.0, longest=0.5, neutral=0.3
    )
    network, history = train_can(
        latents,
        latents.map(lambda x: x[0]),
        labels.numpy(),
        settings,
        people=people.numpy(),
        decoder=Painter(),
        classes=2,
    )
    assert len(history) == 2 and np.isfinite(history.to_numpy(float)).all()
    assert network.basis[AROUND].norm() < 0.3 and 0 < network.longest < 3
    assert network.config["longest"] == 0.5
