"""What all diagrams share: colours, words, boxes, arrows, curves, and small faces and voices.

A diagram is a function that draws on a ``Canvas`` and returns it. Lengths are in units of the
picture, which are pixels if it is shown in full size. Text is never smaller than 15 units, so that
it can still be read when a page shows the picture 700 pixels wide.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from xml.sax.saxutils import escape

WIDTH = 900  # of every diagram

# Fill and line of each kind of thing: in light pages, and in dark ones.
KINDS = {
    "face": (("#dbe9f6", "#2b6ca3"), ("#1d3a54", "#8abdea")),
    "voice": (("#fbe6d0", "#a35a12"), ("#4d3213", "#eab27a")),
    "both": (("#e7e2f3", "#6a4fa3"), ("#37295a", "#bba8ee")),
    "good": (("#dcefe0", "#2a7347"), ("#1e4630", "#8ad0a5")),
    "bad": (("#f8dcd8", "#ab3327"), ("#552620", "#f2a198")),
    "plain": (("#efede6", "#62626c"), ("#2c2c34", "#b4b4be")),
    "dim": (("#f6f4ef", "#c9c6bd"), ("#222228", "#4a4a55")),  # what is not the subject
}
# What words and lines are drawn on, and with.
GROUND = {
    "paper": ("#fbfaf7", "#1b1b20"),
    "ink": ("#23232b", "#ececf0"),
    "soft": ("#56565f", "#b8b8c2"),
    "rule": ("#d9d6cd", "#3f3f49"),
}
SIZES = {"title": 19, "name": 17, "body": 16, "small": 15}  # of words
SUBSCRIPT = re.compile(r"_(\w|\{[^}]*\})")

# How expressions differ, in a face of radius 1: how high brows are at their inner and outer ends,
# how open the eyes are, how far the corners of the mouth are up, and how open it is.
MOODS = {
    "neutral": (0.0, 0.0, 0.09, 0.0, 0.0),
    "happy": (0.02, 0.02, 0.07, 0.20, 0.06),
    "sad": (0.13, -0.06, 0.06, -0.15, 0.0),
    "angry": (-0.12, 0.08, 0.08, -0.08, 0.0),
    "fearful": (0.16, 0.04, 0.13, -0.06, 0.08),
    "disgust": (-0.08, 0.0, 0.05, -0.12, 0.04),
    "surprised": (0.14, 0.14, 0.13, 0.0, 0.20),
}
# Loudness of a spoken sentence over time, as a small picture of a voice shows it.
SENTENCE = (0.2, 0.5, 0.9, 0.6, 0.3, 0.7, 1.0, 0.8, 0.4, 0.2, 0.5, 0.75, 0.35, 0.15)


def style_sheet() -> str:
    """The CSS of a diagram, for light pages and for dark ones."""
    sheets = []
    for scheme in (0, 1):
        rules = [
            f".paper {{ fill: {GROUND['paper'][scheme]}; }}",
            f".ink {{ fill: {GROUND['ink'][scheme]}; }}",
            f".soft {{ fill: {GROUND['soft'][scheme]}; }}",
            f".rule {{ stroke: {GROUND['rule'][scheme]}; fill: none; }}",
            f".pen {{ stroke: {GROUND['ink'][scheme]}; fill: none; }}",
            f".line {{ stroke: {GROUND['soft'][scheme]}; fill: none; }}",
        ]
        for kind, schemes in KINDS.items():
            fill, line = schemes[scheme]
            rules.append(f".{kind} {{ fill: {fill}; stroke: {line}; }}")
            rules.append(f".{kind}-line {{ fill: none; stroke: {line}; }}")
            rules.append(f".{kind}-ink {{ fill: {line}; }}")
        sheets.append("\n".join(f"  {rule}" for rule in rules))
    sizes = "\n".join(f"  .{name} {{ font-size: {size}px; }}" for name, size in SIZES.items())
    return (
        '\n  text { font-family: "DejaVu Sans", system-ui, sans-serif; }\n'
        "  .title, .name { font-weight: bold; }\n"
        f"{sizes}\n{sheets[0]}\n"
        f"  @media (prefers-color-scheme: dark) {{\n{sheets[1]}\n  }}\n"
    )


def number(value: float) -> str:
    """A length with at most one decimal, so that a picture is the same on every machine."""
    text = f"{value:.1f}".removesuffix(".0")
    return "0" if text == "-0" else text


def points_of(points: Sequence[tuple[float, float]]) -> str:
    """Points as the words of a path: "M 1 2 L 3 4"."""
    pairs = [f"{number(x)} {number(y)}" for x, y in points]
    return "M " + " L ".join(pairs)


def spans(words: str) -> str:
    """Words as SVG, in which ``x_i`` and ``x_{face}`` have a subscript."""
    parts = SUBSCRIPT.split(words)
    pieces = [escape(parts[0])]
    for below, after in zip(parts[1::2], parts[2::2]):
        below = escape(below.strip("{}"))
        pieces.append(f'<tspan dy="4" font-size="80%">{below}</tspan>')
        if after:
            pieces.append(f'<tspan dy="-4">{escape(after)}</tspan>')
    return "".join(pieces)


@dataclass(frozen=True)
class Box:
    """A rectangle on a canvas, by its middle and its size."""

    x: float
    y: float
    width: float
    height: float

    @property
    def left(self) -> tuple[float, float]:
        """The middle of the left edge; the others likewise."""
        return self.x - self.width / 2, self.y

    @property
    def right(self) -> tuple[float, float]:
        """The middle of the right edge."""
        return self.x + self.width / 2, self.y

    @property
    def top(self) -> tuple[float, float]:
        """The middle of the upper edge."""
        return self.x, self.y - self.height / 2

    @property
    def bottom(self) -> tuple[float, float]:
        """The middle of the lower edge."""
        return self.x, self.y + self.height / 2


class Canvas:
    """A diagram under construction: what is drawn later lies above what is drawn before.

    ``name`` is that of its file, ``title`` what it is called, and ``description`` what it shows,
    whatever its line breaks. The description is also the alternative text on every page.
    """

    def __init__(self, name: str, height: float, title: str, description: str):
        self.name, self.height = name, height
        self.title, self.description = title, " ".join(description.split())
        self.parts: list[str] = []

    def svg(self) -> str:
        """The whole picture."""
        size = f'viewBox="0 0 {WIDTH} {number(self.height)}"'
        size += f' width="{WIDTH}" height="{number(self.height)}"'
        head = [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img"'
            ' aria-labelledby="title description">',
            f'<title id="title">{escape(self.title)}</title>',
            f'<desc id="description">{escape(self.description)}</desc>',
            f"<style>{style_sheet()}</style>",
            '<defs><marker id="head" markerWidth="10" markerHeight="9" refX="8" refY="4.5"'
            ' orient="auto" markerUnits="userSpaceOnUse">'
            '<path class="soft" d="M0 0 L10 4.5 L0 9 z"/></marker></defs>',
            f'<rect class="paper" width="{WIDTH}" height="{number(self.height)}" rx="14"/>',
        ]
        return "\n".join([*head, *self.parts, "</svg>"]) + "\n"

    # ---------------------------------------------------------------- words

    def text(
        self,
        x: float,
        y: float,
        words: str,
        size: str = "body",
        colour: str = "ink",
        anchor: str = "middle",
    ) -> None:
        """Words whose baseline is at ``y``; ``size`` is a key of ``SIZES``."""
        self.parts.append(
            f'<text class="{size} {colour}" x="{number(x)}" y="{number(y)}"'
            f' text-anchor="{anchor}">{spans(words)}</text>'
        )

    def caption(self, x: float, y: float, words: str, anchor: str = "middle") -> None:
        """Small words in grey, which say something about what is beside them."""
        self.text(x, y, words, "small", "soft", anchor)

    def lines(
        self,
        x: float,
        y: float,
        lines: Sequence[str],
        size: str = "small",
        colour: str = "soft",
        anchor: str = "middle",
    ) -> None:
        """Several lines of words, the first with its baseline at ``y``."""
        for row, words in enumerate(lines):
            self.text(x, y + row * (SIZES[size] + 4), words, size, colour, anchor)

    # ---------------------------------------------------------------- shapes

    def box(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        kind: str = "plain",
        name: str = "",
        details: Sequence[str] = (),
        thick: float = 1.5,
    ) -> Box:
        """A box around the middle (x, y), with a name in bold and lines below it."""
        self.parts.append(
            f'<rect class="{kind}" x="{number(x - width / 2)}" y="{number(y - height / 2)}"'
            f' width="{number(width)}" height="{number(height)}" rx="10"'
            f' stroke-width="{thick}"/>'
        )
        rows = [(words, "name", "ink") for words in name.split("\n") if words]
        rows += [(words, "small", "soft") for words in details]
        first = y + 6 - 10 * (len(rows) - 1)
        for row, (words, size, colour) in enumerate(rows):
            self.text(x, first + 20 * row, words, size, colour)
        return Box(x, y, width, height)

    def frame(self, left: float, top: float, width: float, height: float) -> None:
        """A thin frame without filling, by its corner."""
        self.parts.append(
            f'<rect class="rule" x="{number(left)}" y="{number(top)}" width="{number(width)}"'
            f' height="{number(height)}" rx="8" stroke-width="1.5"/>'
        )

    def path(self, d: str, kind: str = "line", width: float = 1.8, dashes: str = "") -> None:
        """A path in SVG's own language, which says what ``d`` is."""
        dash = f' stroke-dasharray="{dashes}"' if dashes else ""
        self.parts.append(f'<path class="{kind}" d="{d}" stroke-width="{width}"{dash}/>')

    def line(
        self,
        points: Sequence[tuple[float, float]],
        kind: str = "line",
        width: float = 1.8,
        dashes: str = "",
    ) -> None:
        """A line through points."""
        self.path(points_of(points), kind, width, dashes)

    def dot(self, x: float, y: float, radius: float, kind: str = "soft") -> None:
        """A disc; ``kind`` is a colour of words, such as "face-ink"."""
        self.parts.append(
            f'<circle class="{kind}" cx="{number(x)}" cy="{number(y)}" r="{number(radius)}"/>'
        )

    def ellipse(
        self,
        x: float,
        y: float,
        across: float,
        down: float,
        kind: str = "plain",
        degrees: float = 0,
        opacity: float = 1,
        width: float = 1.5,
    ) -> None:
        """An ellipse with two half axes, turned clockwise."""
        turn = f' transform="rotate({number(degrees)} {number(x)} {number(y)})"' if degrees else ""
        fade = f' fill-opacity="{opacity}"' if opacity != 1 else ""
        self.parts.append(
            f'<ellipse class="{kind}" cx="{number(x)}" cy="{number(y)}" rx="{number(across)}"'
            f' ry="{number(down)}" stroke-width="{width}"{fade}{turn}/>'
        )

    def arrow(
        self,
        start: tuple[float, float],
        end: tuple[float, float],
        words: str = "",
        kind: str = "line",
        dashes: str = "",
        above: float = 9,
        is_straight: bool = False,
    ) -> None:
        """An arrow, with words above its middle.

        It leaves and arrives level, and is bent where the two ends differ in height, unless it has
        to be straight.
        """
        (x1, y1), (x2, y2) = start, end
        middle = (x1 + x2) / 2
        d = f"M {number(x1)} {number(y1)} "
        if is_straight or abs(y1 - y2) < 1 or abs(x1 - x2) < 1:
            d += f"L {number(x2)} {number(y2)}"
        else:
            d += f"C {number(middle)} {number(y1)} {number(middle)} {number(y2)}"
            d += f" {number(x2)} {number(y2)}"
        dash = f' stroke-dasharray="{dashes}"' if dashes else ""
        self.parts.append(
            f'<path class="{kind}" d="{d}" stroke-width="1.8" marker-end="url(#head)"{dash}/>'
        )
        if words:
            self.text(middle, (y1 + y2) / 2 - above, words, "small")

    @contextmanager
    def turned(self, degrees: float, x: float, y: float) -> Iterator[None]:
        """What is drawn inside is turned clockwise around (x, y)."""
        turn = f"rotate({number(degrees)} {number(x)} {number(y)})"
        self.parts.append(f'<g transform="{turn}">')
        yield
        self.parts.append("</g>")

    # ---------------------------------------------------------------- small pictures

    def face(
        self, x: float, y: float, radius: float, mood: str = "neutral", kind: str = "face"
    ) -> None:
        """A drawn face with an expression of ``MOODS``."""
        self.expression(x, y, radius, MOODS[mood], kind)

    def expression(
        self, x: float, y: float, radius: float, expression: Sequence[float], kind: str = "face"
    ) -> None:
        """A drawn face; ``expression`` has five numbers, as the values of ``MOODS`` have."""
        inner, outer, eye, corner, opening = (radius * share for share in expression)
        self.ellipse(x, y, 0.8 * radius, radius, kind)
        pen = min(4, max(1.2, round(radius / 16, 1)))
        for side in (-1, 1):
            self.ellipse(x + side * 0.32 * radius, y - 0.14 * radius, 0.12 * radius, eye, "pen")
            self.dot(x + side * 0.32 * radius, y - 0.14 * radius, 0.06 * radius, "ink")
            brow = [
                (x + side * 0.15 * radius, y - 0.4 * radius - inner),
                (x + side * 0.48 * radius, y - 0.4 * radius - outer),
            ]
            self.line(brow, "pen", pen)
        self.line([(x, y - 0.02 * radius), (x - 0.05 * radius, y + 0.2 * radius)], "pen", pen)
        mouth = y + 0.52 * radius
        half = 0.3 * radius - 0.7 * opening + 0.4 * abs(corner)  # a round mouth is a narrow one
        ends = (x - half, mouth - corner, x + half, mouth - corner)
        left, top, right, _ = (number(value) for value in ends)
        lower = number(mouth + corner + 2 * opening)
        upper = number(mouth + corner - opening)
        d = f"M {left} {top} Q {number(x)} {lower} {right} {top}"
        if opening:
            d += f" Q {number(x)} {upper} {left} {top}"
        self.path(d, "pen", pen)

    def voice(self, x: float, y: float, width: float, height: float) -> None:
        """A voice as bars of loudness around the middle (x, y)."""
        step = width / len(SENTENCE)
        for i, loudness in enumerate(SENTENCE):
            at = x - width / 2 + (i + 0.5) * step
            half = loudness * height / 2
            self.line([(at, y - half), (at, y + half)], "voice-line", round(0.55 * step, 1))

    def picture(
        self, left: float, top: float, cell: float, values: Sequence[Sequence[float]]
    ) -> None:
        """Values in 0...1 (rows, columns) as a grid of cells, from paper to ink.

        There are eight shades, because the last digits of values differ between machines.
        """
        strokes: dict[int, list[str]] = {}
        for row, line in enumerate(values):
            y = number(top + cell * (row + 0.5))
            shades = [round(8 * float(value)) for value in line]
            for first, shade, length in _runs(shades):
                if shade:
                    run = f"M{number(left + cell * first)} {y}h{number(cell * length)}"
                    strokes.setdefault(shade, []).append(run)
        for shade, runs in sorted(strokes.items()):
            self.parts.append(
                f'<path class="pen" d="{"".join(runs)}" stroke-width="{cell + 0.1:g}"'
                f' stroke-opacity="{shade / 8:g}"/>'
            )


def _runs(values: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """Runs of equal values: where they begin, the value, and how many there are."""
    first = 0
    for value, group in groupby(values):
        length = len(list(group))
        yield first, value, length
        first += length
