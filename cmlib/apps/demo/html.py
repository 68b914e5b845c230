"""The demo's pieces of HTML.

Bars are HTML and pictures are small PNGs, because a plot would take longer to draw than the
networks take to answer. Nothing is loaded from the web.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np

from cmlib.apps.encode import data_url, png_bytes
from cmlib.corpora.names import CLASSES
from cmlib.perceiver import Perception
from cmlib.plots.palette import ACCENT, EMOTION_COLORS

FOLDER = Path(__file__).parent
SMALL_PICTURE = 104  # pixels of a picture in the row of all voices


def page_setup(max_upload_bytes: int, recording_seconds: int) -> str:
    """Style sheet and script.

    Scripts in widget HTML are not executed, so the script runs from an image's onerror handler.
    """
    style = (FOLDER / "demo.css").read_text(encoding="utf-8")
    script = (FOLDER / "demo.js").read_text(encoding="utf-8")
    handler = escape(f"{script}\nsetUpFiles({max_upload_bytes}, {recording_seconds});")
    return (
        f"<style>.cm-demo {{ --accent: {ACCENT} }}\n{style}</style>"
        f'<img hidden src="data:," onerror="{handler}">'
    )


def block(style: str, content: str) -> str:
    """HTML ``content`` in a block of the class ``style`` of demo.css."""
    return f"<div class='{style}'>{content}</div>"


def title() -> str:
    """The name of the demo, and one line that says what to do."""
    line = "It depends on what you hear. Pick a face and a voice, then drag the context."
    return block("cm-title", f"How do you perceive my face?<span>{line}</span>")


def capture_button(kind: str, text: str, tooltip: str) -> str:
    """A button that demo.js connects with the camera (``kind`` "picture") or microphone ("sound").

    What it takes is handed to the upload button of the same panel.
    """
    return (
        f"<button type='button' class='jupyter-button cm-capture' data-kind='{kind}' "
        f"title='{escape(tooltip, quote=True)}'>{escape(text)}</button>"
    )


def disclosure(text: str) -> str:
    """What the demo is not, below everything else."""
    return block("cm-disclosure", escape(text))


def note(text: str) -> str:
    """A remark, such as what was done to a picture."""
    return block("cm-note", escape(text))


def warning(text: str) -> str:
    """A warning, which a screen reader says when it has finished speaking."""
    return f"<div class='cm-warning' role='status'>{escape(text)}</div>"


def error(text: str) -> str:
    """What went wrong, which a screen reader says at once."""
    return f"<div class='cm-error' role='alert'>{escape(text)}</div>"


def saved_file(shown_path: str, path: Path) -> str:
    """Where a picture has been saved, and a link that downloads it."""
    url = data_url(path.read_bytes(), path.suffix[1:])
    link = f"<a class='cm-link' download='{path.name}' href='{url}'>download</a>"
    return block("cm-note", f"saved: {escape(shown_path)} · {link}")


def headline(perception: Perception) -> str:
    """The class before and after, in words."""
    label_alone = perception.classes[int(perception.alone.argmax())]
    return (
        f"alone <b>{label_alone}</b> ({100 * perception.alone.max():.0f} %), "
        f"with this voice <b>{perception.label}</b> ({100 * perception.probabilities.max():.0f} %)"
    )


def bars(alone: np.ndarray, in_context: np.ndarray, classes: Sequence[str] = CLASSES) -> str:
    """Class probabilities (K,) of the face alone as hollow bars, and in context as filled ones."""
    rows = []
    for name, before, after in zip(classes, alone, in_context):
        color = EMOTION_COLORS[name]
        weight = "700" if after == in_context.max() else "400"
        hollow = f"border:1.5px solid {color};width:{100 * before:.1f}%"
        filled = f"background:{color};width:{100 * after:.1f}%"
        rows.append(
            f"<span style='font-weight:{weight}'>{name}</span>"
            f"<div class='cm-track'><i style='{hollow}'></i><i style='{filled}'></i></div>"
            f"<span style='font-weight:{weight}'>{100 * before:.0f} → {100 * after:.0f} %</span>"
        )
    key = block("cm-key", "hollow: the face alone · filled: with this voice")
    return block("cm-bars", "".join(rows)) + key


def voices_row(
    voices: Sequence[str], pictures: np.ndarray, labels: Sequence[str], chosen: str
) -> str:
    """One face with each of n voices, named by their emotions; the ``chosen`` one is marked.

    ``pictures`` are (n, S, S, 3) floats in 0...1, ``labels`` what is read in them.
    """
    figures = []
    for voice, picture, label in zip(voices, pictures, labels):
        marked = " class=cm-here" if voice == chosen else ""
        url = data_url(png_bytes(picture, SMALL_PICTURE), "png")
        figures.append(
            f"<figure{marked}><img alt='{voice} voice' src='{url}'>"
            f"<b style='border-color:{EMOTION_COLORS[voice]}'>{voice}</b>"
            f"<span>reads {label}</span></figure>"
        )
    return block("cm-row", "".join(figures))
