"""Draw the data's way through the library: `python -m tools.diagrams.architecture`.

Writes docs/figures/architecture.svg. The picture has its own background and follows the reader's
light or dark colour scheme.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

TARGET = Path(__file__).resolve().parents[2] / "docs" / "figures" / "architecture.svg"
WIDTH, HEIGHT = 1300, 590
BOX_WIDTH, BOX_HEIGHT = 156, 64
FACE, BOTH, VOICE = (
    150,
    235,
    320,
)  # height of the middle of a box of the face, of both, of the voice
COLUMNS = [102, 312, 532, 762, 988, 1198]  # middle of each column
ROOM_ROW, STATE_ROW = 440, 520

TITLE = "How data flows through cmlib"
DESCRIPTION = (
    "A file becomes a Clip, which says what was recorded. The clip becomes two arrays, face crops "
    "and a mel spectrogram. Two VAE-GANs encode them to a face latent and a voice latent. The "
    "context attention network shifts the face latent by the voice latent. From the shifted latent "
    "a linear classifier reads the label, and the face decoder paints the picture. Below each step "
    "stand the rooms of cmlib that do it and the folder that keeps the result."
)

STYLE = """
  .paper { fill: #fbfaf7; } .ink { fill: #23232b; } .soft { fill: #62626c; }
  .face { fill: #dbe9f6; stroke: #2b6ca3; } .voice { fill: #fbe6d0; stroke: #b3661a; }
  .both { fill: #e7e2f3; stroke: #6a4fa3; } .line { stroke: #62626c; fill: none; }
  .head { fill: #62626c; } .rule { stroke: #d9d6cd; }
  text { font-family: "DejaVu Sans", system-ui, sans-serif; text-anchor: middle; }
  .name { font-size: 15px; font-weight: bold; } .small { font-size: 12.5px; }
  .left { text-anchor: start; font-weight: bold; }
  .before { text-anchor: end; } .after { text-anchor: start; }
  @media (prefers-color-scheme: dark) {
    .paper { fill: #1b1b20; } .ink { fill: #ececf0; } .soft { fill: #b4b4be; }
    .face { fill: #1d3a54; } .voice { fill: #553714; } .both { fill: #37295a; }
    .line { stroke: #b4b4be; } .head { fill: #b4b4be; } .rule { stroke: #3a3a44; }
  }
"""


@dataclass(frozen=True)
class Box:
    """A state of the data: its middle, its name, and one line that says what it is."""

    x: int
    y: int
    name: str
    detail: str
    kind: str

    def draw(self) -> str:
        """The SVG of the box with its two lines."""
        left, top = self.x - BOX_WIDTH // 2, self.y - BOX_HEIGHT // 2
        return (
            f'<rect class="{self.kind}" x="{left}" y="{top}" width="{BOX_WIDTH}" '
            f'height="{BOX_HEIGHT}" rx="10" stroke-width="1.5"/>'
            + text(self.x, self.y - 4, self.name, "name ink")
            + text(self.x, self.y + 18, self.detail, "small soft")
        )


def text(x: int, y: int, words: str, kind: str) -> str:
    """The SVG of words at (x, y); ``kind`` are the classes of the style sheet."""
    return f'<text class="{kind}" x="{x}" y="{y}">{escape(words)}</text>'


def arrow(start: Box, end: Box, words: str) -> str:
    """An arrow from the right edge of a box to the left edge of another, with words beside it."""
    x1, x2 = start.x + BOX_WIDTH // 2, end.x - BOX_WIDTH // 2 - 7
    x, y = (x1 + x2) // 2, (start.y + end.y) // 2
    path = f"M {x1} {start.y} C {x} {start.y} {x} {end.y} {x2} {end.y}"
    # The words stand on the outer side of a curve, where no other arrow passes.
    if start.y == end.y:
        place = (x + 3, y - 10, "small ink")
    elif start.y == BOTH:
        place = (x - 8, y - 10 if end.y < start.y else y + 20, "small ink before")
    else:
        place = (x + 10, y - 10 if start.y < end.y else y + 20, "small ink after")
    return f'<path class="line" d="{path}" stroke-width="1.8" marker-end="url(#head)"/>' + text(
        place[0], place[1], words, place[2]
    )


# Long: a list of boxes and arrows, with nothing to decide.
def diagram() -> str:
    """The whole picture as SVG."""
    x = COLUMNS
    file = Box(x[0], BOTH, "file", "mp4, wav, jpg", "both")
    clip = Box(x[1], BOTH, "Clip", "who, what, which files", "both")
    crops = Box(x[2], FACE, "face crops", "(N, S, S, 3) uint8", "face")
    mel = Box(x[2], VOICE, "mel spectrogram", "(128, 128) per clip", "voice")
    face = Box(x[3], FACE, "face latent", "μ, log σ²: (N, D)", "face")
    voice = Box(x[3], VOICE, "voice latent", "μ, log σ²: (D)", "voice")
    shifted = Box(x[4], BOTH, "shifted latent", "μ′, log σ′²: (N, D)", "both")
    label = Box(x[5], FACE, "label", "probabilities", "both")
    picture = Box(x[5], VOICE, "picture", "as perceived", "both")
    arrows = [
        (file, clip, "parse"),
        (clip, crops, "crop"),
        (clip, mel, "to mel"),
        (crops, face, "encode"),
        (mel, voice, "encode"),
        (face, shifted, "attend"),
        (voice, shifted, "attend"),
        (shifted, label, "classify"),
        (shifted, picture, "decode"),
    ]
    rooms = [
        ("corpora",),
        ("corpora",),
        ("preparation",),
        ("models, training",),
        ("models, training",),
        ("perceiver, evaluation,", "plots, figures, apps"),
    ]
    states = [
        ("data/<corpus>",),
        ("(in memory)",),
        ("data/prepared",),
        ("checkpoints/,", "runs/…/checkpoints", "runs/…/latents"),
        ("checkpoints/,", "runs/…/checkpoints"),
        ("runs/…/figures,", "runs/…/metrics"),
    ]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'width="{WIDTH}" height="{HEIGHT}" role="img" aria-labelledby="title description">',
        f'<title id="title">{escape(TITLE)}</title>',
        f'<desc id="description">{escape(DESCRIPTION)}</desc>',
        f"<style>{STYLE}</style>",
        '<defs><marker id="head" markerWidth="9" markerHeight="8" refX="2" refY="4" orient="auto"'
        ' markerUnits="userSpaceOnUse"><path class="head" d="M0 0 L9 4 L0 8 z"/></marker></defs>',
        f'<rect class="paper" width="{WIDTH}" height="{HEIGHT}" rx="14"/>',
        text(WIDTH // 2, 48, TITLE, "name ink"),
    ]
    parts += [arrow(*step) for step in arrows]
    boxes = (file, clip, crops, mel, face, voice, shifted, label, picture)
    parts += [box.draw() for box in boxes]
    for row, heading, columns in (
        (ROOM_ROW, "rooms of cmlib", rooms),
        (STATE_ROW, "where it is kept", states),
    ):
        parts.append(f'<path class="rule" d="M 24 {row - 38} H {WIDTH - 24}"/>')
        parts.append(text(24, row - 20, heading, "small soft left"))
        for column, lines in zip(COLUMNS, columns, strict=True):
            for number, line in enumerate(lines):
                parts.append(text(column, row + 6 + 18 * number, line, "small ink"))
    return "\n".join([*parts, "</svg>"]) + "\n"


def main() -> None:
    """Write the drawing to ``TARGET``."""
    TARGET.write_text(diagram(), encoding="utf-8")
    print(TARGET)


if __name__ == "__main__":
    main()
