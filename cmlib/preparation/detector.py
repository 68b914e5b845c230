"""The face detector: the network BlazeFace, and the search for the face in a frame.

Bazarevsky et al. (2019), BlazeFace: Sub-millisecond Neural Face Detection on Mobile GPUs.
"""

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
DETECTOR_SIZE = 128  # side of the picture that the network sees, in pixels
FACE_THRESHOLD = 0.5  # a face counts as found if its probability is higher
BATCH = 16  # pictures that pass through the network together
CLOSE_UP = 1.3  # the second, closer look covers this multiple of the crop's side

# Of upright faces the closer look is mostly surer than this. If it is not, the head may be on its
# side or upside down, or there is no face at all.
UPRIGHT_SCORE = 0.85
TURN_MARGIN = 0.03  # a head is turned only if the detector is then by so much surer
# In pictures that networks learn from, the detector must be as sure of a turned head as this. Of
# 7,440 upright photographs 233 were doubtful, and none of them reached 0.85.
TURNED_SCORE = 0.88
# How sure the detector must be of a doubtful face and of its mirror image. Of 150 drawn road signs
# none reached 0.73.
MIN_CERTAINTY = 0.75
MIN_CERTAINTY_OF_SMALL = 0.85  # a search in many small squares finds more that is no face
SMALL_SQUARE = 0.4  # the side of these squares, as a share of the frame's shorter side
MIN_SMALL_SQUARE = 32  # pixels: smaller squares show nothing
MAX_CANDIDATES = 8  # faces of small squares that are looked at more closely

# Squares of these sides, given the frame's height and width, are searched for a face one after
# another. The last one is larger than the frame, for a face that fills it.
SEARCH_SIDES = (
    lambda height, width: max(height, width),
    lambda height, width: 0.6 * min(height, width),
    lambda height, width: 1.6 * max(height, width),
)
Square = tuple[float, float, float, float]  # centre x, y, side in pixels, roll in radians


class BlazeFace(nn.Module):
    """(B, 3, 128, 128) in -1...1 -> points (B, 896, 8, 2) and logits (B, 896) that there is a face.

    Points are measured from the upper left corner, in units of the side: the face's centre, its
    size, both eyes, nose, mouth and both ears. "Left" means on the left in the picture.
    """

    CHANNELS = (24, 24, 28, 32, 36, 42, 48, 56, 64, 72, 80, 88, 96, 96, 96, 96, 96)
    HALVING = (3, 6, 12)  # blocks that halve the resolution: 64 -> 32 -> 16 -> 8

    anchors: Tensor  # (896, 1, 2), the points that the network's outputs are relative to

    def __init__(self):
        super().__init__()
        pairs = list(zip(self.CHANNELS, self.CHANNELS[1:]))
        self.stem = nn.Conv2d(3, 24, 5, stride=2)
        self.depth = nn.ModuleList(
            nn.Conv2d(inputs, inputs, 3, stride=2 if i in self.HALVING else 1, groups=inputs)
            for i, (inputs, _) in enumerate(pairs, 1)
        )
        self.point = nn.ModuleList(nn.Conv2d(inputs, outputs, 1) for inputs, outputs in pairs)
        # Two anchors at each place of the 16 x 16 map, six at each place of the 8 x 8 map.
        self.score16, self.score8 = nn.Conv2d(88, 2, 1), nn.Conv2d(96, 6, 1)
        self.box16, self.box8 = nn.Conv2d(88, 32, 1), nn.Conv2d(96, 96, 1)
        anchors = torch.cat([self._grid(16, 2), self._grid(8, 6)])
        self.register_buffer("anchors", anchors[:, None], persistent=False)

    @staticmethod
    def _grid(side: int, repeats: int) -> Tensor:
        """Centres x, y of the cells of a map, row by row, each ``repeats`` times."""
        centres = (torch.arange(side) + 0.5) / side
        return torch.cartesian_prod(centres, centres).flip(1).repeat_interleave(repeats, 0)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = F.relu(self.stem(F.pad(x, (1, 2, 1, 2))))  # (B, 24, 64, 64)
        at16 = x
        for i, (depth, point) in enumerate(zip(self.depth, self.point), 1):
            halving = i in self.HALVING
            y = point(depth(F.pad(x, (0, 1, 0, 1) if halving else (1, 1, 1, 1))))
            if halving:
                x = F.max_pool2d(x, 2)
            # The shortcut has fewer channels than the block's output: the others are zero.
            x = F.relu(y + F.pad(x, (0, 0, 0, 0, 0, y.shape[1] - x.shape[1])))
            if x.shape[-1] == 16:
                at16 = x  # (B, 88, 16, 16) after the last block at this resolution
        boxes = self._by_anchor(self.box16(at16), self.box8(x), 16)  # (B, 896, 16)
        logits = self._by_anchor(self.score16(at16), self.score8(x), 1)  # (B, 896, 1)
        # Everything but the size is relative to the anchor.
        from_anchor = torch.tensor([1, 0, 1, 1, 1, 1, 1, 1])[:, None]
        points = boxes.unflatten(-1, (8, 2)) / DETECTOR_SIZE + self.anchors * from_anchor
        return points, logits[..., 0]

    @staticmethod
    def _by_anchor(map16: Tensor, map8: Tensor, width: int) -> Tensor:
        """Two maps (B, C, H, W) -> (B, anchors, width)."""
        rows = [m.permute(0, 2, 3, 1).reshape(len(m), -1, width) for m in (map16, map8)]
        return torch.cat(rows, 1)


@cache
def load_detector() -> BlazeFace:
    """The detector, loaded once in a process."""
    model = BlazeFace()
    model.load_state_dict({name: weight.float() for name, weight in load_file(WEIGHTS).items()})
    return model.eval().to(memory_format=torch.channels_last)


def find_faces(frames: Sequence[np.ndarray]) -> list[np.ndarray | None]:
    """The face in each RGB frame (H, W, 3) uint8: points (6, 2) in pixels, or None without a face.

    The points are both eyes, nose, mouth and both ears, the left one of an upright head first. The
    face is searched for in the whole frame, then in its central square, then in a square larger
    than the frame. A face that was found is examined again, upright and close up, for more precise
    points. If it is then doubtful, it is also looked at on its sides and upside down.
    """
    faces, scores = find_scored_faces(frames)
    for i, points in enumerate(faces):
        if points is not None and scores[i] < UPRIGHT_SCORE:
            turned, score = turn_upright(frames[i], points, scores[i])
            if score >= TURNED_SCORE:
                faces[i] = turned
    return faces


def find_scored_faces(
    frames: Sequence[np.ndarray],
) -> tuple[list[np.ndarray | None], list[float]]:
    """``find_faces`` without turning, and the score (0...1) of each face in the closer look."""
    faces: list[np.ndarray | None] = [None] * len(frames)
    for search_side in SEARCH_SIDES:
        missing = [i for i, points in enumerate(faces) if points is None]
        if not missing:
            break
        squares = []
        for i in missing:
            height, width = frames[i].shape[:2]
            squares.append((width / 2, height / 2, search_side(height, width), 0.0))
        answers = _find_in_squares([frames[i] for i in missing], squares, prefer_large=True)
        for i, (points, _) in zip(missing, answers):
            faces[i] = points

    scores = [0.0] * len(frames)
    close_ups = {i: _close_up(points) for i, points in enumerate(faces) if points is not None}
    answers = _find_in_squares(
        [frames[i] for i in close_ups], list(close_ups.values()), prefer_large=False
    )
    for i, (points, score) in zip(close_ups, answers):
        scores[i] = score
        if points is not None:
            faces[i] = points
    return faces, scores


def turn_upright(frame: np.ndarray, points: np.ndarray, score: float) -> tuple[np.ndarray, float]:
    """Points and score of a face; others, if the detector is surer of it after quarter turns.

    A head on its side or upside down is mostly found, but with its eyes where its mouth is.
    """
    x, y, side, roll = _close_up(points)
    turned = [(x, y, side, roll + quarters * np.pi / 2) for quarters in (1, 2, 3)]
    answers = _find_in_squares([frame] * 3, turned, prefer_large=False)
    turned_points, turned_score = max(answers, key=lambda answer: answer[1])
    if turned_points is None or turned_score < max(score + TURN_MARGIN, MIN_CERTAINTY):
        return points, score
    # Only now it is known where the eyes are, so the head is looked at once more.
    ((precise, precise_score),) = _find_in_squares([frame], [_close_up(turned_points)], False)
    if precise is None:
        return turned_points, turned_score
    if precise_score < score + TURN_MARGIN:
        return points, score
    return precise, precise_score


def search_again(frame: np.ndarray, points: np.ndarray | None, score: float) -> np.ndarray | None:
    """The face in a frame in which none or only a doubtful one was found, or None without a face.

    ``points`` and ``score`` are what was found. The head may be turned, or so small that it is
    found only in a part of the frame. What looks a little like a face, such as a road sign, looks
    less like one close up, or in the mirror.
    """
    if points is not None:
        points, score = turn_upright(frame, points, score)
        if _certainty(frame, points) >= MIN_CERTAINTY:
            return points
    height, width = frame.shape[:2]
    whole = width / 2, height / 2, max(height, width)
    turned = [(*whole, quarters * np.pi / 2) for quarters in (1, 2, 3)]
    face = _most_certain(frame, turned, MIN_CERTAINTY)
    if face is not None:
        return face
    return _most_certain(frame, _small_squares(height, width), MIN_CERTAINTY_OF_SMALL)


def _small_squares(height: int, width: int) -> list[Square]:
    """Squares that cover a frame; each overlaps its neighbours by half of its side."""
    side = SMALL_SQUARE * min(height, width)
    if side < MIN_SMALL_SQUARE:
        return []
    columns = np.linspace(side / 2, width - side / 2, int(np.ceil(2 * width / side)) - 1)
    rows = np.linspace(side / 2, height - side / 2, int(np.ceil(2 * height / side)) - 1)
    return [(float(x), float(y), side, 0.0) for y in rows for x in columns]


def _most_certain(frame: np.ndarray, squares: Sequence[Square], least: float) -> np.ndarray | None:
    """The face in squares of a frame that is the most certain one, or None if all are less."""
    answers = _find_in_squares([frame] * len(squares), squares, prefer_large=True)
    faces = [(points, score) for points, score in answers if points is not None]
    certain: list[tuple[float, np.ndarray]] = []
    for points, score in sorted(faces, key=lambda answer: -answer[1])[:MAX_CANDIDATES]:
        points, _ = turn_upright(frame, points, score)
        certain.append((_certainty(frame, points), points))
    certainty, points = max(certain, key=lambda candidate: candidate[0], default=(0.0, None))
    return points if certainty >= least else None


def _certainty(frame: np.ndarray, points: np.ndarray) -> float:
    """The lower score of a face close up and of its mirror image, 0...1."""
    picture = cut_square(frame, *_close_up(points), DETECTOR_SIZE)
    _, scores = _detect([picture, np.ascontiguousarray(picture[:, ::-1])], False)
    return float(scores.min())


def other_faces(frame: np.ndarray, points: np.ndarray) -> list[np.ndarray]:
    """Points of further faces that are seen in the whole frame beside the one at ``points``."""
    height, width = frame.shape[:2]
    side = max(height, width)
    picture = cut_square(frame, width / 2, height / 2, side, 0.0, DETECTOR_SIZE)
    x = torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].float().div(127.5).sub(1)
    with torch.inference_mode():
        anchors, logits = load_detector()(x)
    confident = logits[0].sigmoid() > FACE_THRESHOLD
    order = logits[0][confident].argsort(descending=True)
    faces = [points]
    for face in anchors[0][confident][order].numpy():
        points_in_frame = (face[2:] - 0.5) * side + (width / 2, height / 2)
        nearest = min(np.hypot(*(points_in_frame.mean(0) - other.mean(0))) for other in faces)
        is_another = nearest > 0.6 * face[1, 0] * side
        if is_another and _certainty(frame, points_in_frame) > MIN_CERTAINTY:
            faces.append(points_in_frame)
    return faces[1:]


def _close_up(points: np.ndarray) -> Square:
    """The square in which a face is examined again."""
    x, y, side, roll = square_around(points)
    return x, y, CLOSE_UP * side, roll


def _find_in_squares(
    frames: Sequence[np.ndarray], squares: Sequence[Square], prefer_large: bool
) -> list[tuple[np.ndarray | None, float]]:
    """Search one square of each frame: points (6, 2) in pixels, or None without a face; score."""
    faces: list[tuple[np.ndarray | None, float]] = []
    for start in range(0, len(frames), BATCH):
        batch = squares[start : start + BATCH]
        pictures = [
            cut_square(frame, *square, DETECTOR_SIZE)
            for frame, square in zip(frames[start : start + BATCH], batch)
        ]
        points, probabilities = _detect(pictures, prefer_large)
        for face, probability, (x, y, side, roll) in zip(points, probabilities, batch):
            if probability <= FACE_THRESHOLD:
                faces.append((None, float(probability)))
                continue
            cos, sin = np.cos(roll), np.sin(roll)
            from_centre = (face[2:] / DETECTOR_SIZE - 0.5) * side
            points_in_frame = from_centre @ np.array([[cos, sin], [-sin, cos]]) + (x, y)
            faces.append((points_in_frame, float(probability)))
    return faces


@torch.inference_mode()
def _detect(pictures: Sequence[np.ndarray], prefer_large: bool) -> tuple[np.ndarray, np.ndarray]:
    """Pictures (128, 128, 3) uint8 -> points (n, 8, 2) in pixels and probability (n,) of each face.

    Of several faces the most central one is chosen; with ``prefer_large``, size counts as well. The
    points are the mean of those of the anchors that see the face, weighted by their scores.
    """
    x = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float().div(127.5).sub(1)
    points, logits = load_detector()(x.contiguous(memory_format=torch.channels_last))
    scores = logits.clamp(-50, 50).sigmoid()  # (n, 896)

    # Choose the anchor that sees the most prominent face
    sizes = points[:, :, 1, 0].clamp(0.02, 1) if prefer_large else 1
    prominence = scores.where(scores > FACE_THRESHOLD, scores * 1e-3) * sizes
    off_centre = (points[:, :, 0] - 0.5).norm(dim=-1)
    best = (prominence * (1 - off_centre).clamp(min=0.1)).argmax(1)  # (n,)
    rows = torch.arange(len(x))
    chosen, probability = points[rows, best], scores[rows, best]  # (n, 8, 2), (n,)

    # Average over the confident anchors that see the same face
    near = (points[:, :, 0] - chosen[:, None, 0]).norm(dim=-1) < 0.3 * chosen[:, None, 1, 0]
    weights = (scores * near * (scores > FACE_THRESHOLD)).clamp(min=1e-9)
    mean = (points * weights[..., None, None]).sum(1) / weights.sum(1)[:, None, None]
    is_face = (probability > FACE_THRESHOLD)[:, None, None]
    return DETECTOR_SIZE * torch.where(is_face, mean, chosen).numpy(), probability.numpy()
