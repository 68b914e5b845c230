"""Cut out the square around a face, from brow to chin, with level eyes at 40 % of its height."""

from __future__ import annotations

import numpy as np
from PIL import Image

CROP_SIDE_IN_EYE_DISTANCES = 3.4  # the face then takes about 60 % of the crop's width
EYE_HEIGHT = 0.40  # distance of the eyes from the upper edge, as a share of the side


def square_around(points: np.ndarray) -> tuple[float, float, float, float]:
    """Face points (6, 2) -> the crop's centre x, y, its side in pixels and its roll in radians."""
    left_eye, right_eye, mouth = points[0], points[1], points[3]
    middle = (left_eye + right_eye) / 2
    across = right_eye - left_eye
    roll = float(np.arctan2(across[1], across[0]))

    # When a head turns away, its eyes move closer together in the picture, but the distance between
    # eyes and mouth stays the same.
    eye_to_mouth = float(np.hypot(*(mouth - middle)))
    eye_distance = max(float(np.hypot(*across)), 0.8 * eye_to_mouth)
    side = CROP_SIDE_IN_EYE_DISTANCES * eye_distance

    # The eyes lie above the centre of the crop, along the axis of the tilted head.
    below_eyes = (0.5 - EYE_HEIGHT) * side
    x = float(middle[0] - below_eyes * np.sin(roll))
    y = float(middle[1] + below_eyes * np.cos(roll))
    return x, y, side, roll


def cut_square(
    frame: np.ndarray, x: float, y: float, side: float, roll: float, size: int
) -> np.ndarray:
    """Cut a square out of a frame (H, W, 3) uint8 and scale it to (size, size, 3) uint8.

    Its centre is (x, y), its side ``side`` pixels, and it is turned by ``roll`` radians. Beyond the
    frame, the frame's edge is repeated. To avoid aliasing, source pixels are averaged in blocks,
    and the blocks are sampled more finely than needed and averaged again.
    """
    # Average blocks of source pixels in the upright box that contains the turned square.
    block = max(1, int(side / size / 1.5))
    reach = side * (abs(np.cos(roll)) + abs(np.sin(roll))) / 2 + 2 * block
    left, right = int(np.floor((x - reach) / block)), int(np.floor((x + reach) / block))
    top, bottom = int(np.floor((y - reach) / block)), int(np.floor((y + reach) / block))
    region = Image.fromarray(_block_means(frame, block, left, right, top, bottom))

    # From here on, a unit of length is a block, and the origin is the corner of the region.
    x, y, side = x / block - left, y / block - top, side / block
    oversampling = max(1, int(np.ceil(side / size)))
    samples = size * oversampling
    step_x, step_y = side / samples * np.cos(roll), side / samples * np.sin(roll)
    half = samples / 2
    corner_x = x - (step_x - step_y) * half
    corner_y = y - (step_y + step_x) * half
    to_source = (step_x, -step_y, corner_x, step_y, step_x, corner_y)  # from an output pixel
    sampled = region.transform(
        (samples, samples), Image.Transform.AFFINE, to_source, Image.Resampling.BILINEAR
    )
    return np.asarray(sampled.reduce(oversampling))


def _block_means(
    frame: np.ndarray, block: int, left: int, right: int, top: int, bottom: int
) -> np.ndarray:
    """Mean colours of blocks of ``block`` x ``block`` pixels: (rows, columns, 3) uint8.

    ``left``, ``right``, ``top`` and ``bottom`` are the first and last columns and rows of blocks;
    those outside the frame repeat its edge.
    """
    height, width = frame.shape[:2]
    columns_of_frame, rows_of_frame = -(-width // block), -(-height // block)  # rounded up
    first_column, last_column = np.clip((left, right), 0, columns_of_frame - 1)
    first_row, last_row = np.clip((top, bottom), 0, rows_of_frame - 1)
    inside = frame[
        first_row * block : (last_row + 1) * block,
        first_column * block : (last_column + 1) * block,
    ]
    means = np.asarray(Image.fromarray(np.ascontiguousarray(inside)).reduce(block))
    if (left, right, top, bottom) == (first_column, last_column, first_row, last_row):
        return means
    columns = np.clip(np.arange(left, right + 1), first_column, last_column) - first_column
    rows = np.clip(np.arange(top, bottom + 1), first_row, last_row) - first_row
    return np.ascontiguousarray(means[rows][:, columns])
