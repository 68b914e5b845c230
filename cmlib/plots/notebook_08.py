"""The figure of notebook 08: what the demo shows first."""

from __future__ import annotations

import numpy as np

from cmlib.plots import kinds
from cmlib.plots.style import Plot

BRIGHTER = 4  # factor by which the difference is brightened


def demo(perception) -> Plot:
    """The four pictures of one ``Perception``."""
    difference = np.clip(BRIGHTER * perception.difference, 0, 1)
    row = [perception.original, perception.reconstruction, perception.perceived, difference]
    titles = ("original", "reconstruction", "mental representation", "difference")
    return kinds.image_grid([row], (), titles, size=1.6)
