"""Where the eyes are in the crops that the networks see.

`python -m tools.corpus.framing data/actors`: the preparation lays one steady crop through the
frames in which it looked for the face. This program measures how well that worked on frames in
between, in % of the crop's width. It measures in two ways. One uses the detector's points, found
again in the finished crop. The other uses the dark irises between the bright whites of the eyes,
which depend on the detector only for the window in which they are searched.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter1d
from tqdm import tqdm

from cmlib.preparation.detector import find_faces
from cmlib.preparation.media import read_video
from cmlib.preparation.tracking import track_face

SIZE = 256  # of the crops looked at, pixels
LOOKS = 6  # frames between the first and the last in which the eyes are measured
WINDOW = (
    0.045,
    0.040,
)  # half width and half height of where an iris is looked for, shares of the crop
IRIS, WHITES, SLIT = (
    0.014,
    0.032,
    0.010,
)  # blurs: of the iris and of what is beside it along x, of both along y
CONTRAST = (
    0.062  # an eye is open where its iris is darker than its whites by this share of full scale
)
MIDDLE = slice(int(0.51 * SIZE), int(0.57 * SIZE))  # rows below the lids and above the lips
MEASURES = (
    "left eye x",
    "left eye y",
    "right eye x",
    "right eye y",
    "midpoint x",
    "midpoint y",
    "eye distance",
)


def measures(points: np.ndarray) -> np.ndarray:
    """Left and right eye (2, 2) in pixels -> (7,) MEASURES in % of the crop's width."""
    return (
        np.array([*points.ravel(), *points.mean(0), np.hypot(*(points[1] - points[0]))])
        / SIZE
        * 100
    )


def irises(crop: np.ndarray, eyes: np.ndarray) -> np.ndarray | None:
    """Centres (2, 2) in pixels of the irises near the eyes (2, 2) of a crop (S, S, 3).

    Returns None if an eye is shut.
    """
    grey = gaussian_filter1d(
        np.asarray(Image.fromarray(crop).convert("L"), np.float32) / 255, SLIT * SIZE, axis=0
    )
    darker = gaussian_filter1d(grey, WHITES * SIZE, axis=1) - gaussian_filter1d(
        grey, IRIS * SIZE, axis=1
    )
    rows, columns = np.mgrid[:SIZE, :SIZE] + 0.5
    centres = []
    for x, y in eyes:
        near = np.where(
            (abs(columns - x) < WINDOW[0] * SIZE) & (abs(rows - y) < WINDOW[1] * SIZE), darker, 0
        ).clip(0)
        row, column = np.unravel_index(near.argmax(), near.shape)
        if near[row, column] < CONTRAST:
            return None
        weight = near * (np.hypot(columns - column - 0.5, rows - row - 0.5) < 2 * IRIS * SIZE)
        centres.append(
            [(weight * columns).sum() / weight.sum(), (weight * rows).sum() / weight.sum()]
        )
    return np.array(centres)


def face_width(crop: np.ndarray) -> float:
    """Width of the skin between lids and lips, in % of the crop.

    The skin reaches as far as the colour of the cheeks does.
    """
    ycc = np.asarray(Image.fromarray(crop).convert("YCbCr"), np.float32)[MIDDLE]
    cheeks = np.median(ycc[:, int(0.3 * SIZE) : int(0.7 * SIZE)].reshape(-1, 3), 0)
    skin = ((abs(ycc - cheeks) < (0.45 * cheeks[0], 9, 9)).all(2)).mean(0) > 0.5
    outside = np.flatnonzero(~skin)
    left, right = outside[outside < SIZE / 2], outside[outside >= SIZE / 2]
    return (
        ((right.min() if len(right) else SIZE) - (left.max() + 1 if len(left) else 0)) / SIZE * 100
    )


def measure(path: Path) -> dict[str, np.ndarray]:
    """Measure one clip.

    Returns rows of MEASURES by detector and by irises, and widths of the face by ears and by skin.
    """
    frames, _ = read_video(path, 2 * LOOKS + 1)
    track, _ = track_face(frames[::2], range(0, len(frames), 2))
    crops = [track.crop(frames[n], n, SIZE) for n in range(1, len(frames), 2)]
    points = [(crop, p) for crop, p in zip(crops, find_faces(crops)) if p is not None]
    dark = [iris for crop, p in points if (iris := irises(crop, p[:2])) is not None]
    return {
        "detector": np.array([measures(p[:2]) for _, p in points]).reshape(-1, len(MEASURES)),
        "irises": np.array([measures(p) for p in dark]).reshape(-1, len(MEASURES)),
        "ears": np.array([np.hypot(*(p[5] - p[4])) / SIZE * 100 for _, p in points]),
        "skin": np.array([face_width(crop) for crop in crops]),
    }


def line(name: str, clips: list[np.ndarray]) -> str:
    """A row of the table from the values of each clip.

    It holds the mean and the deviation of the clips' means, and the deviation within clips.
    """
    means = np.array([c.mean() for c in clips if len(c)])
    within = np.sqrt(np.mean([c.var() for c in clips if len(c)]))
    everything = np.concatenate(clips)
    values = (means.mean(), everything.std(), means.std(), within)
    return f"| {name} | " + " | ".join(f"{value:.2f}" for value in values) + " |"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", type=Path)
    options = parser.parse_args()
    clips = [
        measure(path) for path in tqdm(sorted(options.corpus.glob("Actor_*/*.mp4")), desc="clips")
    ]
    looked = LOOKS * len(clips)
    print(
        "| % of the crop's width | mean | sd of all frames | sd between clips | sd within a clip |"
    )
    print("|---|---|---|---|---|")
    for way in ("detector", "irises"):
        share = sum(len(c[way]) for c in clips) / looked
        for k, name in enumerate(MEASURES):
            note = f" ({share:.1%} of {looked} frames)" if k == 0 else ""
            print(line(f"{name}, {way}{note}", [c[way][:, k] for c in clips]))
    print(line("width of the face, ear to ear by the detector", [c["ears"] for c in clips]))
    print(line("width of the face, skin below the eyes", [c["skin"] for c in clips]))
    worst = max(
        np.concatenate([c[way] for c in clips]).std(0).max() for way in ("detector", "irises")
    )
    print(
        "\nlargest standard deviation of an eye's place or of the distance: "
        f"{worst:.2f} % (wanted: at most 3 %)"
    )


if __name__ == "__main__":
    main()
