"""Figures of notebook 07: what a face becomes in the context of a voice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from cmlib.plots import kinds
from cmlib.plots.style import Plot


def one_perception(perception) -> Plot:
    """The pictures of one ``Perception``; the difference is divided by its largest value."""
    titles = ("original", "reconstruction", "mental representation", "difference")
    difference = perception.difference / perception.difference.max()
    row = [perception.original, perception.reconstruction, perception.perceived, difference]
    return kinds.image_grid([row], (), titles, size=1.6)


def mental_representations(perceptions: Mapping, table: pd.DataFrame) -> Plot:
    """A face as it is perceived with a voice of each emotion, and below what has changed.

    ``perceptions`` are those of one face, by emotion of the voice. ``table`` holds their class
    probabilities; it is saved beside the figure and not drawn.
    """
    first = next(iter(perceptions.values()))
    largest = max(p.difference.max() for p in perceptions.values())
    pictures = [first.original, first.reconstruction, *(p.perceived for p in perceptions.values())]
    changes = [None, None, *(p.difference / largest for p in perceptions.values())]
    labels = ["", "", *(f"read: {p.label}" for p in perceptions.values())]
    columns = ("original", "reconstruction", *perceptions)
    rows = ("perceived", f"change, x {1 / largest:.0f}")
    captions = [labels, [""] * len(labels)]
    return kinds.image_grid([pictures, changes], rows, columns, captions, size=1.15)


def strength_strip(perceptions: Mapping[str, Sequence]) -> Plot:
    """A row for each emotion of the voice: perceptions of one face at rising strengths t."""
    rows = list(perceptions.values())
    columns = [f"t = {p.strength:.1f}" for p in rows[0]]
    pictures = [[p.perceived for p in row] for row in rows]
    labels = [[p.label for p in row] for row in rows]
    return kinds.image_grid(pictures, list(perceptions), columns, labels, size=0.9)


def neutral_faces_in_context(
    pictures: Sequence[Sequence], actors: Sequence[int], emotions: Sequence[str]
) -> Plot:
    """A row for each actor: original, reconstruction, and a picture for each emotion of a voice."""
    rows = [f"actor {actor}" for actor in actors]
    columns = ("original", "reconstruction", *emotions)
    return kinds.image_grid(pictures, rows, columns, size=0.8)


def shift_size(table: pd.DataFrame) -> Plot:
    """Columns emotion, value, low, high: root mean square change of pixels."""
    title = "how much a voice changes a neutral face"
    return kinds.shift_bars(table, "value", "change of pixels, rms", title)


def where_faces_change(changes: Mapping[str, np.ndarray]) -> Plot:
    """The mean absolute change (S, S) for each emotion of the voice, all on the same scale."""
    largest = max(change.max() for change in changes.values())
    row = [change / largest for change in changes.values()]
    return kinds.image_grid([row], ["mean change"], list(changes), size=0.9)


def conflict_faces(perceptions: Mapping[str, Mapping]) -> Plot:
    """``perceptions[emotion of the face][emotion of the voice]``, with the emotion read in each."""
    rows = list(perceptions.values())
    pictures = [[p.perceived for p in row.values()] for row in rows]
    labels = [[p.label for p in row.values()] for row in rows]
    faces = [f"{emotion} face" for emotion in perceptions]
    return kinds.image_grid(pictures, faces, list(rows[0]), labels, "columns: the voice", size=0.72)


def conflict(table: pd.DataFrame) -> Plot:
    """Columns face and then the emotions of the voice: how often the voice wins, in per cent."""
    return kinds.heat_map(_by_face(table), "class follows the voice, %")


def conflict_size(table: pd.DataFrame) -> Plot:
    """Columns face and then the emotions of the voice: how far the voice moves the face."""
    title = "size of the shift, spreads of faces"
    return kinds.heat_map(_by_face(table), title, number=".1f", vmax=None)


def _by_face(table: pd.DataFrame) -> pd.DataFrame:
    return table.set_index("face").rename_axis(columns="voice")


def congruence(table: pd.DataFrame) -> Plot:
    """Columns emotion, strength, value, low, high: gain of the judge's probability."""
    single_emotions = table[table.emotion != "all"]
    title = "congruence, neutral test faces"
    return kinds.strength_curves(single_emotions, "gain of the judge's probability", title)


def same_person_typical_face(table: pd.DataFrame) -> Plot:
    """Columns strength, measure, value, low, high: shares of pictures."""
    strengths = table.strength.map("{:g}".format)
    panels = table.assign(panel=table.measure, x=strengths, group="share")
    title = "what context leaves as it was, against its strength"
    return kinds.point_panels(panels, "share of pictures", limits=(0, 1.05), title=title)


def nearest_real_frames(
    perceived: Mapping[str, np.ndarray], real: Mapping[str, np.ndarray], shown: Mapping[str, str]
) -> Plot:
    """For each emotion of the voice: the picture perceived, and the nearest real frame.

    ``shown`` are the emotions that the real frames show.
    """
    captions = [[""] * len(perceived), list(shown.values())]
    pictures = [list(perceived.values()), list(real.values())]
    rows = ("perceived", "nearest real")
    return kinds.image_grid(pictures, rows, list(perceived), captions, size=1.0)


def latents(table: pd.DataFrame, state: str) -> Plot:
    """Columns x, y, emotion: latents in the ``state`` "before" or "after" the shift."""
    return kinds.latent_scatter(table[["x", "y"]], list(table.emotion), f"{state} the shift")
