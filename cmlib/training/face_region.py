"""Keep directions of a face latent to what they change in the face, not around it.

People differ in hair, light and background, and so do the pictures in which they pose. Directions
that few people have taught therefore change these, too. A decoder says what a direction changes
where: to first order, a shift s of a latent changes the picture by J^T s, where J (D, C * S * S) is
the decoder's Jacobian.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

STEP = 0.5  # of a latent's coordinate, in either direction, for its difference of pictures
BATCH = 32  # coordinates whose pictures are decoded together
RIDGE = 1e-3  # of the mean change within the face: how much the length of a shift counts


def face_mask(size: int) -> Tensor:
    """1 inside the face of an aligned crop and 0 around it, (size, size).

    The face is an ellipse around brows, eyes, nose, mouth and chin. The eyes of a crop lie at 40 %
    of its height (``cmlib.preparation.cropping``).
    """
    position = (torch.arange(size) + 0.5) / size  # centres of the pixels, in 0...1
    y, x = torch.meshgrid(position, position, indexing="ij")  # (size, size)
    return (((x - 0.5) / 0.33) ** 2 + ((y - 0.55) / 0.42) ** 2 <= 1).float()


@torch.inference_mode()
def changes_of_pictures(decoder: nn.Module, mean: Tensor) -> Tensor:
    """What each coordinate of a latent changes in the picture of ``mean`` (D,): (D, C, S, S).

    The Jacobian of the decoder, transposed, by central differences.
    """
    decoder.eval()
    steps = STEP * torch.eye(len(mean), device=mean.device)  # (D, D)
    changes = []
    for some in steps.split(BATCH):
        difference = decoder(mean + some) - decoder(mean - some)  # (n, C, S, S)
        changes.append(difference / (2 * STEP))
    return torch.cat(changes)


def keeping_to_face(changes: Tensor, weight: float) -> Tensor:
    """The matrix R (D, D) that keeps shifts to the face: ``s @ R`` for shifts s (..., D).

    With the Jacobian J of ``changes`` (D, C, S, S), split into J_F in the face and J_A around it,
    s R minimises over s'

        |J_F^T (s' - s)|^2 + weight |J_A^T s'|^2 + ridge |s' - s|^2.

    So the face changes as before as far as it can without a change around it. A ``weight`` of 0
    gives the identity.
    """
    mask = face_mask(changes.shape[-1]).to(changes.device)  # (S, S)
    within = (changes * mask).flatten(1)  # (D, C * S * S)
    around = (changes * (1 - mask)).flatten(1)
    of_face, of_rest = within @ within.T, around @ around.T  # (D, D)
    ridge = RIDGE * of_face.diagonal().mean() * torch.eye(len(of_face), device=changes.device)
    return torch.linalg.solve(of_face + weight * of_rest + ridge, of_face + ridge).T
