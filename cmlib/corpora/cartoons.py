"""Cartoon faces: small pictures that a program draws, so that the cause of every pixel is known.

A network learns them in minutes. Notebook 02 trains a VAE-GAN on them while the reader watches.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

SIZE = 32  # pixels of a side
# Of each mood: how far the corners of the mouth are up, how far the mouth is open, how high the
# brows are, and how far their inner ends are down.
MOODS = {
    "neutral": (0.0, 0.0, 0.0, 0.0),
    "happy": (0.16, 0.0, 0.02, 0.0),
    "sad": (-0.14, 0.0, 0.02, -0.12),
    "angry": (-0.06, 0.0, -0.07, 0.13),
    "surprised": (0.0, 0.13, 0.12, 0.0),
}


def draw(count: int, seed: int = 0) -> tuple[NDArray[np.uint8], pd.DataFrame]:
    """``count`` cartoon faces: pictures (N, 32, 32, 3) and a table of what they show.

    The table has the mood, the colours (red, green, blue in 0...1) of background, hair and skin,
    and the width and height of the head in half pictures. Eyes and mouth are always at the same
    place, as in crops of aligned faces.
    """
    rng = np.random.default_rng(seed)
    mood = rng.choice(list(MOODS), count)
    skin = np.array([0.95, 0.78, 0.65]) * rng.uniform(0.45, 1.0, (count, 1))
    hair = rng.uniform(0.05, 0.75, (count, 1)) * [1.0, 0.8, 0.55]
    background = np.array([0.75, 0.88, 0.95]) * rng.uniform(0.3, 1.0, (count, 1))
    width, height = rng.uniform(0.5, 0.64, count), rng.uniform(0.66, 0.8, count)
    table = pd.DataFrame({"mood": mood, "width": width, "height": height})
    for name, colors in (("skin", skin), ("hair", hair), ("background", background)):
        table[[f"{name} {color}" for color in ("red", "green", "blue")]] = colors
    return np.stack([picture(row) for row in table.to_dict("records")]), table


def picture(face: dict, mood: str = "") -> NDArray[np.uint8]:
    """The picture (32, 32, 3) of a row of the table, with its own mood or another one."""
    corners, opened, raised, frown = MOODS[mood or face["mood"]]
    position = (np.arange(SIZE) + 0.5) / SIZE * 2 - 1  # centres of the pixels, in -1...1
    x, y = np.meshgrid(position, position)
    side = np.abs(x)  # a face is symmetric

    def color(name: str) -> NDArray:
        return np.array([face[f"{name} red"], face[f"{name} green"], face[f"{name} blue"]])

    dark, lips = np.array([0.08, 0.06, 0.06]), np.array([0.55, 0.12, 0.15])
    mouth_line = y - 0.4 + corners * ((side / 0.28) ** 2 - 0.5)
    brow_line = y + 0.3 + raised - frown * (0.22 - side) / 0.12 * 0.5
    layers = [
        (_ellipse(x, y + 0.16, face["width"] + 0.12, face["height"] + 0.06), color("hair")),
        (_ellipse(x, y - 0.06, face["width"], face["height"] - 0.04), color("skin")),
        (_ellipse(side - 0.22, y + 0.1, 0.11, 0.08 + 0.3 * opened), np.ones(3)),
        (_ellipse(side - 0.22, y + 0.1, 0.055, 0.07), dark),
        (_stroke(brow_line, side - 0.22, 0.13, 0.035), 0.5 * color("hair")),
        (_stroke(mouth_line, x, 0.28, 0.045), lips),
    ]
    if opened:
        layers[-1] = (_ellipse(x, y - 0.42, 0.14, 0.05 + opened), lips)
    pixels = np.broadcast_to(color("background"), (SIZE, SIZE, 3))
    for cover, paint in layers:
        pixels = pixels + cover[:, :, None] * (paint - pixels)
    return (255 * pixels.clip(0, 1)).round().astype(np.uint8)


def _ellipse(x: NDArray, y: NDArray, width: float, height: float) -> NDArray:
    """How much of each pixel an ellipse covers, 0...1, with a soft edge of about one pixel."""
    radius = np.sqrt((x / width) ** 2 + (y / height) ** 2)
    return np.clip(0.5 + (1 - radius) * min(width, height) * SIZE / 2, 0, 1)


def _stroke(across: NDArray, along: NDArray, length: float, thickness: float) -> NDArray:
    """How much of each pixel a brush stroke covers; ``across`` and ``along`` are distances."""
    inside = np.minimum(thickness - np.abs(across), length - np.abs(along))
    return np.clip(0.5 + inside * SIZE / 2, 0, 1)
