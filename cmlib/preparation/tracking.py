"""Follow the face through one clip with a steady crop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cmlib.preparation.cropping import cut_square, square_around
from cmlib.preparation.detector import find_faces

# How closely the crop follows the head: standard deviation of the smoothing, in examined frames.
SMOOTHING_FRAMES = 2.0


@dataclass(frozen=True)
class FaceReport:
    """The share of the examined frames in which a face was found, 0...1."""

    found_rate: float


@dataclass(frozen=True)
class Track:
    """The square to cut out at some frame numbers; in between it is interpolated."""

    numbers: np.ndarray  # (k,) frame numbers
    squares: np.ndarray  # (k, 4): centre x, y, side in pixels, roll in radians

    def crop(self, frame: np.ndarray, number: float, size: int) -> np.ndarray:
        """Cut the square out of frame ``number``, (H, W, 3) uint8 -> (size, size, 3) uint8."""
        x, y, side, roll = (np.interp(number, self.numbers, column) for column in self.squares.T)
        return cut_square(frame, x, y, side, roll, size)


def track_face(frames: Sequence[np.ndarray], numbers: Sequence[int]) -> tuple[Track, FaceReport]:
    """Find the face in frames (H, W, 3) of one clip and lay a steady crop through them.

    ``numbers`` are the numbers of the frames in the clip. If none of them shows a face, the crop is
    the central square of the frame and the rate is 0.
    """
    found_numbers, squares = [], []
    for number, points in zip(numbers, find_faces(frames)):
        if points is not None:
            found_numbers.append(number)
            squares.append(square_around(points))
    if not squares:
        height, width = frames[0].shape[:2]
        centre = np.array([[width / 2, height / 2, min(height, width), 0.0]])
        return Track(np.zeros(1), centre), FaceReport(0.0)

    # The camera stands still, so one side and one roll serve the whole clip, and the crop does not
    # jitter with the detected points. Only its centre moves, smoothed by a Gaussian.
    squares = np.array(squares)
    median = np.median(squares, 0)
    shift = np.clip(squares[:, :2] - median[:2], -median[2] / 2, median[2] / 2)
    order = np.arange(len(squares))
    weight = np.exp(-0.5 * ((order[:, None] - order) / SMOOTHING_FRAMES) ** 2)
    steady = np.tile(median, (len(squares), 1))
    steady[:, :2] += (weight @ shift) / weight.sum(1, keepdims=True)
    return Track(np.array(found_numbers, float), steady), FaceReport(len(squares) / len(frames))


def crop_faces(frames: Sequence[np.ndarray], size: int = 128) -> tuple[np.ndarray, FaceReport]:
    """Frames (n, H, W, 3) uint8 of one clip -> crops (n, size, size, 3) uint8 and a report."""
    track, report = track_face(frames, range(len(frames)))
    crops = [track.crop(frame, number, size) for number, frame in enumerate(frames)]
    return np.stack(crops), report
