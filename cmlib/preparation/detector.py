"""The face detector: BlazeFace, and where it finds a face in a frame."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from cmlib.preparation.cropping import cut_square, square_around

WEIGHTS = Path(__file__).with_name("blazeface.safetensors")  # made by tools/face_weights.py
DETECTOR_SIZE = 128  # side of the picture that the detector sees, pixels
FACE_THRESHOLD = 0.5  # a face is one from this probability on


# -------------------------------------------------------------------- the detector


class BlazeFace(nn.Module):
    """(B, 3, 128, 128) in -1...1 -> points (B, 896, 8, 2) as shares of the side (centre, size, both eyes, nose, mouth,
    both ears; the eye on the left of the picture first) and logits (B, 896) that there is a face."""

    CHANNELS = (24, 24, 28, 32, 36, 42, 48, 56, 64, 72, 80, 88, 96, 96, 96, 96, 96)
    HALVING = (3, 6, 12)  # blocks that halve the resolution: 64 -> 32 -> 16 -> 8

    def __init__(self):
        super().__init__()
        pairs = list(zip(self.CHANNELS, self.CHANNELS[1:]))
        self.stem = nn.Conv2d(3, 24, 5, stride=2)
        self.depth = nn.ModuleList(
            nn.Conv2d(a, a, 3, stride=2 if i in self.HALVING else 1, groups=a)
            for i, (a, _) in enumerate(pairs, 1)
        )
        self.point = nn.ModuleList(nn.Conv2d(a, b, 1) for a, b in pairs)
        self.score16, self.score8 = nn.Conv2d(88, 2, 1), nn.Conv2d(96, 6, 1)
        self.box16, self.box8 = nn.Conv2d(88, 32, 1), nn.Conv2d(96, 96, 1)
        centres = [
            torch.cartesian_prod(c, c).flip(1).repeat_interleave(r, 0)
            for c, r in (((torch.arange(n) + 0.5) / n, r) for n, r in ((16, 2), (8, 6)))
        ]
        self.register_buffer(
            "anchors", torch.cat(centres)[:, None], persistent=False
        )  # (896, 1, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = F.relu(self.stem(F.pad(x, (1, 2, 1, 2))))  # (B, 24, 64, 64)
        for i, (depth, point) in enumerate(zip(self.depth, self.point), 1):
            y = point(depth(F.pad(x, (0, 1, 0, 1) if i in self.HALVING else (1, 1, 1, 1))))
            x = F.max_pool2d(x, 2) if i in self.HALVING else x
            x = F.relu(y + F.pad(x, (0, 0, 0, 0, 0, y.shape[1] - x.shape[1])))
            if x.shape[-1] == 16:
                fine = x  # (B, 88, 16, 16)

        def rows(head16: nn.Module, head8: nn.Module, width: int) -> Tensor:
            return torch.cat(
                [
                    h.permute(0, 2, 3, 1).reshape(len(x), -1, width)
                    for h in (head16(fine), head8(x))
                ],
                1,
            )

        points = rows(self.box16, self.box8, 16).unflatten(-1, (8, 2)) / DETECTOR_SIZE
        offsets = self.anchors * torch.tensor([1, 0, 1, 1, 1, 1, 1, 1])[:, None]
        return points + offsets, rows(self.score16, self.score8, 1)[..., 0]


@cache
def load_detector() -> BlazeFace:
    """The one detector of this process."""
    model = BlazeFace()
    model.load_state_dict({name: weight.float() for name, weight in load_file(WEIGHTS).items()})
    return model.eval().to(memory_format=torch.channels_last)


@torch.inference_mode()
def _detect(pictures: Sequence[np.ndarray], central: bool) -> tuple[np.ndarray, np.ndarray]:
    """Pictures (128, 128, 3) uint8 -> points (n, 8, 2) in pixels and probability (n,) of the face in each.

    Of several faces the largest and most central wins; what the anchors around it say is averaged by their scores.
    """
    x = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float().div(127.5).sub(1)
    points, logits = load_detector()(x.contiguous(memory_format=torch.channels_last))
    scores = logits.clamp(-50, 50).sigmoid()
    off_centre = (points[:, :, 0] - 0.5).norm(dim=-1)
    appeal = scores.where(scores > FACE_THRESHOLD, scores * 1e-3) * (
        points[:, :, 1, 0].clamp(0.02, 1) if central else 1
    )
    best = (appeal * (1 - off_centre).clamp(min=0.1)).argmax(1)
    each = torch.arange(len(x))
    chosen = points[each, best]  # (n, 8, 2)
    near = (points[:, :, 0] - chosen[:, None, 0]).norm(dim=-1) < 0.3 * chosen[:, None, 1, 0]
    weight = (scores * near * (scores > FACE_THRESHOLD)).clamp(min=1e-9)
    mean = (points * weight[..., None, None]).sum(1) / weight.sum(1)[:, None, None]
    sure = scores[each, best]
    return DETECTOR_SIZE * torch.where(
        (sure > FACE_THRESHOLD)[:, None, None], mean, chosen
    ).numpy(), sure.numpy()


def find_faces(frames: Sequence[np.ndarray]) -> list[np.ndarray | None]:
    """The face in each RGB frame (H, W, 3) uint8: points (6, 2), x and y in pixels (both eyes, nose, mouth, both ears;
    the left in the picture first), or None.

    Looks at the whole frame, then at its central square, then from further away (a face that fills the frame); what was
    found is looked at once more from near by, upright, which makes the points exact.
    """
    found: list[np.ndarray | None] = [None] * len(frames)
    for whole in (
        lambda h, w: max(h, w),
        lambda h, w: 0.6 * min(h, w),
        lambda h, w: 1.6 * max(h, w),
    ):
        todo = [i for i, points in enumerate(found) if points is None]
        if not todo:
            break
        squares = []
        for i in todo:
            height, width = frames[i].shape[:2]
            squares.append((width / 2, height / 2, whole(height, width), 0.0))
        for i, points in zip(todo, _points(frames, todo, squares, True)):
            found[i] = points
    todo = [i for i, points in enumerate(found) if points is not None]
    near = []
    for i in todo:
        x, y, side, roll = square_around(found[i])
        near.append((x, y, 1.3 * side, roll))
    for i, points in zip(todo, _points(frames, todo, near, False) if todo else ()):
        found[i] = found[i] if points is None else points
    return found


def _points(
    frames: Sequence[np.ndarray], which: list[int], squares: list, central: bool
) -> list[np.ndarray | None]:
    """Look into one square of each frame; points (6, 2) in the frame's pixels, None where there is no face."""
    result = []
    for start in range(0, len(which), 16):
        part = squares[start : start + 16]
        cuts = [
            cut_square(frames[i], *s, DETECTOR_SIZE)
            for i, s in zip(which[start : start + 16], part)
        ]
        for points, sure, (x, y, side, roll) in zip(*_detect(cuts, central), part):
            c, s = np.cos(roll), np.sin(roll)
            local = (points[2:] / DETECTOR_SIZE - 0.5) * side
            result.append(
                local @ np.array([[c, s], [-s, c]]) + (x, y) if sure > FACE_THRESHOLD else None
            )
    return result
