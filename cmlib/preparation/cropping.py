"""The square that is cut out around a face: eyes level at 40 % of its height, brow to chin."""

from __future__ import annotations

import numpy as np
from PIL import Image

CROP_SIDE_IN_EYE_DISTANCES = (
    3.4  # side of the crop in distances between the eyes: the face is about 60 % of its width
)
EYE_HEIGHT = 0.40  # of the eyes in the crop, from above


def square_around(points: np.ndarray) -> tuple[float, float, float, float]:
    """Face points (6, 2) -> the crop's centre x, y, its side in pixels and its roll in radians."""
    left, right, mouth = points[0], points[1], points[3]
    eyes, between = (left + right) / 2, right - left
    roll = float(np.arctan2(between[1], between[0]))
    # A head that is turned away has its eyes closer together, but its mouth as far below them as ever.
    distance = max(float(np.hypot(*between)), 0.8 * float(np.hypot(*(mouth - eyes))))
    side = CROP_SIDE_IN_EYE_DISTANCES * distance
    down = (0.5 - EYE_HEIGHT) * side
    return float(eyes[0] - down * np.sin(roll)), float(eyes[1] + down * np.cos(roll)), side, roll


def cut_square(
    frame: np.ndarray, x: float, y: float, side: float, roll: float, size: int
) -> np.ndarray:
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
    inside = np.ascontiguousarray(
        frame[t * coarse : (b + 1) * coarse, l * coarse : (r + 1) * coarse]
    )
    region = np.asarray(Image.fromarray(inside).reduce(coarse))
    if (left, right, top, bottom) != (l, r, t, b):
        columns, rows = (
            np.clip(np.arange(left, right + 1), l, r),
            np.clip(np.arange(top, bottom + 1), t, b),
        )
        region = np.ascontiguousarray(region[rows - t][:, columns - l])
    image = Image.fromarray(region)
    x, y, side = x / coarse - left, y / coarse - top, side / coarse
    times = max(1, int(np.ceil(side / size)))
    fine = size * times
    c, s, half = side / fine * np.cos(roll), side / fine * np.sin(roll), fine / 2
    affine = (c, -s, x - (c - s) * half, s, c, y - (s + c) * half)  # output pixel -> source pixel
    image = image.transform((fine, fine), Image.Transform.AFFINE, affine, Image.Resampling.BILINEAR)
    return np.asarray(image.reduce(times))
