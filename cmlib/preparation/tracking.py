"""A steady crop through one clip: the face is looked for in a few frames, and the square drifts slowly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cmlib.preparation.cropping import cut_square, square_around
from cmlib.preparation.detector import find_faces

SMOOTHING_FRAMES = 2.0  # how far the crop follows the head: standard deviation of the smoothing, in looked-at frames


# -------------------------------------------------------------------- the crop


@dataclass(frozen=True)
class FaceReport:
    """In what share of the frames that were looked at a face was found, 0...1."""

    found_rate: float


@dataclass(frozen=True)
class Track:
    """Where the square is that is cut out, at some frame numbers: centre (x, y), side in pixels, roll in radians."""

    numbers: np.ndarray  # (k,)
    squares: np.ndarray  # (k, 4)

    def crop(self, frame: np.ndarray, number: float, size: int) -> np.ndarray:
        """(H, W, 3) uint8 -> (size, size, 3) uint8, antialiased."""
        return cut_square(
            frame, *(np.interp(number, self.numbers, column) for column in self.squares.T), size
        )


def track_face(frames: Sequence[np.ndarray], numbers: Sequence[int]) -> tuple[Track, FaceReport]:
    """Look for the face in frames (H, W, 3) of one clip with frame numbers ``numbers``; lay a steady crop through it.

    Where no face is found in any of them the crop is the central square of the frame, and the rate is 0.
    """
    found = [
        (n, square_around(points))
        for n, points in zip(numbers, find_faces(frames))
        if points is not None
    ]
    if not found:
        height, width = frames[0].shape[:2]
        return Track(
            np.zeros(1), np.array([[width / 2, height / 2, min(height, width), 0.0]])
        ), FaceReport(0.0)
    at = np.array([n for n, _ in found], float)
    squares = np.array([s for _, s in found])
    middle = np.median(squares, 0)
    shift = np.clip(squares[:, :2] - middle[:2], -middle[2] / 2, middle[2] / 2)
    order = np.arange(len(at))
    weight = np.exp(-0.5 * ((order[:, None] - order) / SMOOTHING_FRAMES) ** 2)
    squares = np.tile(middle, (len(at), 1))
    squares[:, :2] += (weight @ shift) / weight.sum(1, keepdims=True)
    return Track(at, squares), FaceReport(len(found) / len(frames))


def crop_faces(frames: Sequence[np.ndarray], size: int = 128) -> tuple[np.ndarray, FaceReport]:
    """Frames (n, H, W, 3) uint8 of one clip -> face crops (n, size, size, 3) uint8, and how often a face was found."""
    track, report = track_face(frames, range(len(frames)))
    return np.stack(
        [track.crop(frame, number, size) for number, frame in enumerate(frames)]
    ), report
