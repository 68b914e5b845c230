"""Follow the face through one clip with a steady crop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cmlib.preparation.cropping import cut_square, square_around
from cmlib.preparation.detector import (
    UPRIGHT_SCORE,
    find_scored_faces,
    other_faces,
    search_again,
    turn_upright,
)

# How closely the crop follows the head: standard deviation of the smoothing, in examined frames.
SMOOTHING_FRAMES = 2.0
MIN_FACE_SIDE = 48  # pixels of a crop: a smaller one shows little of a face


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
    for number, points in zip(numbers, _find_faces(frames)):
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
    # The rolls of a head upside down lie near half a turn of either sign: bring them together.
    squares[:, 3] += 2 * np.pi * np.round((squares[0, 3] - squares[:, 3]) / (2 * np.pi))
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


def _find_faces(frames: Sequence[np.ndarray]) -> list[np.ndarray | None]:
    """The face in each frame of a clip, or in a picture by itself; None without a face.

    Faces that are sure stay as they are. In a clip with doubtful ones, heads are turned upright. A
    doubtful face in a single picture may also be none. Where there is no face at all, it is
    searched for again, in more ways.
    """
    faces, scores = find_scored_faces(frames)
    face_scores = [score for points, score in zip(faces, scores) if points is not None]
    if face_scores and np.median(face_scores) >= UPRIGHT_SCORE:
        return faces
    if len(frames) == 1:
        return [search_again(frames[0], faces[0], scores[0])]
    if face_scores:
        for i, points in enumerate(faces):
            if points is not None:
                faces[i], _ = turn_upright(frames[i], points, scores[i])
        return faces
    # To search again takes long, so a few frames are tried first.
    sample = {0, len(frames) // 2, len(frames) - 1}
    if all(search_again(frames[i], None, 0.0) is None for i in sample):
        return faces
    return [search_again(frame, None, 0.0) for frame in frames]


# -------------------------------------------------------------------- a single picture


def is_crop(picture: np.ndarray) -> bool:
    """Whether the face of a square picture (S, S, 3) uint8 is where it is in a crop, or nowhere."""
    track, report = track_face([picture], [0])
    x, y, side, roll = track.squares[0]
    size = len(picture)
    off_centre = np.hypot(x - size / 2, y - size / 2) / size
    is_in_place = off_centre < 0.1 and 0.8 < side / size < 1.25 and abs(roll) < 0.25
    return not report.found_rate or bool(is_in_place)


def remarks(picture: np.ndarray, is_found: bool) -> tuple[str, ...]:
    """What is to be said about the face that ``crop_faces`` cuts out of a picture, in parts.

    ``is_found``: whether there is a face.
    """
    if not is_found:
        return ("no face found, so the middle of it was taken",)
    (points,) = _find_faces([picture])
    if points is None:
        return ("face found and cropped",)
    x, _, side, roll = square_around(points)
    parts = ["face found and cropped"]
    others = other_faces(picture, points)
    if others:
        third = int(np.clip(3 * x / picture.shape[1], 0, 2))
        place = ("on the left", "in the middle", "on the right")[third]
        parts.append(f"{len(others) + 1} faces, of which the most prominent, {place}, was taken")
    turn = abs(np.degrees((roll + np.pi) % (2 * np.pi) - np.pi))
    if turn > 45:
        degrees = round(turn, -1)
        parts.append(f"the head was turned by about {degrees:.0f} degrees, so it was set upright")
    if side < MIN_FACE_SIDE:
        parts.append(f"the face has only {side:.0f} pixels, so little of it can be seen")
    return tuple(parts)
