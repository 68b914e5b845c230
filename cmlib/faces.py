"""Find the face in a clip and cut it out: a square crop, eyes level at 40 % of its height, brow to chin.

The detector is BlazeFace (Bazarevsky et al. 2019, arXiv 1907.05047) as MediaPipe released it for faces within two
metres (Apache-2.0): 0.1 million weights beside this file, six points of the face, a few milliseconds a picture.

The camera of these corpora stands still, so the crop should too: the face is looked for in a few frames of a clip, one
size and one roll is taken for the whole clip (medians), and the place may only drift slowly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

VERSION = 2  # raise it whenever the same frame would give another crop
WEIGHTS = Path(__file__).with_name("blazeface.safetensors")  # made by tools/face_weights.py
LOOK = 128  # side of the picture that the detector sees, pixels
SURE = 0.5  # a face is one from this probability on
SIDE = 3.4  # side of the crop in distances between the eyes: the face is about 60 % of its width
EYE_HEIGHT = 0.40  # of the eyes in the crop, from above
DRIFT = 2.0  # how far the crop follows the head: standard deviation of the smoothing, in looked-at frames


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
            nn.Conv2d(a, a, 3, stride=2 if i in self.HALVING else 1, groups=a) for i, (a, _) in enumerate(pairs, 1)
        )
        self.point = nn.ModuleList(nn.Conv2d(a, b, 1) for a, b in pairs)
        self.score16, self.score8 = nn.Conv2d(88, 2, 1), nn.Conv2d(96, 6, 1)
        self.box16, self.box8 = nn.Conv2d(88, 32, 1), nn.Conv2d(96, 96, 1)
        centres = [torch.cartesian_prod(c, c).flip(1).repeat_interleave(r, 0) for c, r in
                   (((torch.arange(n) + 0.5) / n, r) for n, r in ((16, 2), (8, 6)))]  # fmt: skip
        self.register_buffer("anchors", torch.cat(centres)[:, None], persistent=False)  # (896, 1, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = F.relu(self.stem(F.pad(x, (1, 2, 1, 2))))  # (B, 24, 64, 64)
        for i, (depth, point) in enumerate(zip(self.depth, self.point), 1):
            y = point(depth(F.pad(x, (0, 1, 0, 1) if i in self.HALVING else (1, 1, 1, 1))))
            x = F.max_pool2d(x, 2) if i in self.HALVING else x
            x = F.relu(y + F.pad(x, (0, 0, 0, 0, 0, y.shape[1] - x.shape[1])))
            if x.shape[-1] == 16:
                fine = x  # (B, 88, 16, 16)

        def rows(head16: nn.Module, head8: nn.Module, width: int) -> Tensor:
            return torch.cat([h.permute(0, 2, 3, 1).reshape(len(x), -1, width) for h in (head16(fine), head8(x))], 1)

        points = rows(self.box16, self.box8, 16).unflatten(-1, (8, 2)) / LOOK
        offsets = self.anchors * torch.tensor([1, 0, 1, 1, 1, 1, 1, 1])[:, None]
        return points + offsets, rows(self.score16, self.score8, 1)[..., 0]


@cache
def detector() -> BlazeFace:
    """The one detector of this process."""
    model = BlazeFace()
    model.load_state_dict({name: weight.float() for name, weight in load_file(WEIGHTS).items()})
    return model.eval().to(memory_format=torch.channels_last)


@torch.inference_mode()
def _look(pictures: Sequence[np.ndarray], central: bool) -> tuple[np.ndarray, np.ndarray]:
    """Pictures (128, 128, 3) uint8 -> points (n, 8, 2) in pixels and probability (n,) of the face in each.

    Of several faces the largest and most central wins; what the anchors around it say is averaged by their scores.
    """
    x = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float().div(127.5).sub(1)
    points, logits = detector()(x.contiguous(memory_format=torch.channels_last))
    scores = logits.clamp(-50, 50).sigmoid()
    off_centre = (points[:, :, 0] - 0.5).norm(dim=-1)
    appeal = scores.where(scores > SURE, scores * 1e-3) * (points[:, :, 1, 0].clamp(0.02, 1) if central else 1)
    best = (appeal * (1 - off_centre).clamp(min=0.1)).argmax(1)
    each = torch.arange(len(x))
    chosen = points[each, best]  # (n, 8, 2)
    near = (points[:, :, 0] - chosen[:, None, 0]).norm(dim=-1) < 0.3 * chosen[:, None, 1, 0]
    weight = (scores * near * (scores > SURE)).clamp(min=1e-9)
    mean = (points * weight[..., None, None]).sum(1) / weight.sum(1)[:, None, None]
    sure = scores[each, best]
    return LOOK * torch.where((sure > SURE)[:, None, None], mean, chosen).numpy(), sure.numpy()


def find(frames: Sequence[np.ndarray]) -> list[np.ndarray | None]:
    """The face in each RGB frame (H, W, 3) uint8: points (6, 2), x and y in pixels (both eyes, nose, mouth, both ears;
    the left in the picture first), or None.

    Looks at the whole frame, then at its central square, then from further away (a face that fills the frame); what was
    found is looked at once more from near by, upright, which makes the points exact.
    """
    found: list[np.ndarray | None] = [None] * len(frames)
    for whole in (lambda h, w: max(h, w), lambda h, w: 0.6 * min(h, w), lambda h, w: 1.6 * max(h, w)):
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
        x, y, side, roll = square(found[i])
        near.append((x, y, 1.3 * side, roll))
    for i, points in zip(todo, _points(frames, todo, near, False) if todo else ()):
        found[i] = found[i] if points is None else points
    return found


def _points(frames: Sequence[np.ndarray], which: list[int], squares: list, central: bool) -> list[np.ndarray | None]:
    """Look into one square of each frame; points (6, 2) in the frame's pixels, None where there is no face."""
    result = []
    for start in range(0, len(which), 16):
        part = squares[start : start + 16]
        cuts = [cut(frames[i], *s, LOOK) for i, s in zip(which[start : start + 16], part)]
        for points, sure, (x, y, side, roll) in zip(*_look(cuts, central), part):
            c, s = np.cos(roll), np.sin(roll)
            local = (points[2:] / LOOK - 0.5) * side
            result.append(local @ np.array([[c, s], [-s, c]]) + (x, y) if sure > SURE else None)
    return result


# -------------------------------------------------------------------- the crop


@dataclass(frozen=True)
class Report:
    """In what share of the frames that were looked at a face was found, 0...1."""

    found_rate: float


@dataclass(frozen=True)
class Track:
    """Where the square is that is cut out, at some frame numbers: centre (x, y), side in pixels, roll in radians."""

    numbers: np.ndarray  # (k,)
    squares: np.ndarray  # (k, 4)

    def crop(self, frame: np.ndarray, number: float, size: int) -> np.ndarray:
        """(H, W, 3) uint8 -> (size, size, 3) uint8, antialiased."""
        return cut(frame, *(np.interp(number, self.numbers, column) for column in self.squares.T), size)


def square(points: np.ndarray) -> tuple[float, float, float, float]:
    """Face points (6, 2) -> the crop's centre x, y, its side in pixels and its roll in radians."""
    left, right, mouth = points[0], points[1], points[3]
    eyes, between = (left + right) / 2, right - left
    roll = float(np.arctan2(between[1], between[0]))
    # A head that is turned away has its eyes closer together, but its mouth as far below them as ever.
    distance = max(float(np.hypot(*between)), 0.8 * float(np.hypot(*(mouth - eyes))))
    side = SIDE * distance
    down = (0.5 - EYE_HEIGHT) * side
    return float(eyes[0] - down * np.sin(roll)), float(eyes[1] + down * np.cos(roll)), side, roll


def cut(frame: np.ndarray, x: float, y: float, side: float, roll: float, size: int) -> np.ndarray:
    """The square with centre (x, y), ``side`` pixels wide and turned by ``roll`` radians, as (size, size, 3) uint8.

    Beyond the frame its edge is repeated.  Averaged over source pixels and over finer samples, so nothing aliases.
    """
    coarse = max(1, int(side / size / 1.5))  # source pixels averaged first
    reach = side * (abs(np.cos(roll)) + abs(np.sin(roll))) / 2 + 2 * coarse
    height, width = frame.shape[:2]
    left, right = (int(np.floor(v / coarse)) for v in (x - reach, x + reach))  # in coarse pixels
    top, bottom = (int(np.floor(v / coarse)) for v in (y - reach, y + reach))
    across, down = -(-width // coarse), -(-height // coarse)  # of the whole frame
    l, r = np.clip((left, right), 0, across - 1)
    t, b = np.clip((top, bottom), 0, down - 1)
    inside = np.ascontiguousarray(frame[t * coarse : (b + 1) * coarse, l * coarse : (r + 1) * coarse])
    region = np.asarray(Image.fromarray(inside).reduce(coarse))
    if (left, right, top, bottom) != (l, r, t, b):
        columns, rows = np.clip(np.arange(left, right + 1), l, r), np.clip(np.arange(top, bottom + 1), t, b)
        region = np.ascontiguousarray(region[rows - t][:, columns - l])
    image = Image.fromarray(region)
    x, y, side = x / coarse - left, y / coarse - top, side / coarse
    times = max(1, int(np.ceil(side / size)))
    fine = size * times
    c, s, half = side / fine * np.cos(roll), side / fine * np.sin(roll), fine / 2
    affine = (c, -s, x - (c - s) * half, s, c, y - (s + c) * half)  # output pixel -> source pixel
    image = image.transform((fine, fine), Image.Transform.AFFINE, affine, Image.Resampling.BILINEAR)
    return np.asarray(image.reduce(times))


def follow(frames: Sequence[np.ndarray], numbers: Sequence[int]) -> tuple[Track, Report]:
    """Look for the face in frames (H, W, 3) of one clip with frame numbers ``numbers``; lay a steady crop through it.

    Where no face is found in any of them the crop is the central square of the frame, and the rate is 0.
    """
    found = [(n, square(points)) for n, points in zip(numbers, find(frames)) if points is not None]
    if not found:
        height, width = frames[0].shape[:2]
        return Track(np.zeros(1), np.array([[width / 2, height / 2, min(height, width), 0.0]])), Report(0.0)
    at = np.array([n for n, _ in found], float)
    squares = np.array([s for _, s in found])
    middle = np.median(squares, 0)
    shift = np.clip(squares[:, :2] - middle[:2], -middle[2] / 2, middle[2] / 2)
    order = np.arange(len(at))
    weight = np.exp(-0.5 * ((order[:, None] - order) / DRIFT) ** 2)
    squares = np.tile(middle, (len(at), 1))
    squares[:, :2] += (weight @ shift) / weight.sum(1, keepdims=True)
    return Track(at, squares), Report(len(found) / len(frames))


def crop_faces(frames: Sequence[np.ndarray], size: int = 128) -> tuple[np.ndarray, Report]:
    """Frames (n, H, W, 3) uint8 of one clip -> face crops (n, size, size, 3) uint8, and how often a face was found."""
    track, report = follow(frames, range(len(frames)))
    return np.stack([track.crop(frame, number, size) for number, frame in enumerate(frames)]), report
