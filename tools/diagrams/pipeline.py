"""The map of the notebooks: what leads from recordings to mental representations.

Every notebook has this map at its top, with its own stage lit.
"""

from __future__ import annotations

from dataclasses import dataclass

from tools.diagrams.drawing import Canvas

HEIGHT = 330
BOX_WIDTH, BOX_HEIGHT = 152, 70
UPPER, MIDDLE, LOWER = 108, 166, 224  # heights of the middles of boxes
COLUMNS = (100, 275, 450, 625, 800)
BAR_WIDTH = 852  # of the bars above and below, which concern every stage
LAST_HEIGHT = 58  # of the boxes of the last column, of which there are three


@dataclass(frozen=True)
class Stage:
    """A box of the map: its place, its size, its name, its colour and its notebooks."""

    x: float
    y: float
    name: str
    kind: str
    notebooks: tuple[str, ...]
    width: float = BOX_WIDTH
    height: float = BOX_HEIGHT


STAGES = {
    "question": Stage(450, 32, "why context?", "plain", ("00",), BAR_WIDTH, 34),
    "data": Stage(COLUMNS[0], MIDDLE, "faces\nand voices", "plain", ("01",)),
    "face": Stage(COLUMNS[1], UPPER, "face VAE-GAN", "face", ("02",)),
    "voice": Stage(COLUMNS[1], LOWER, "voice VAE-GAN", "voice", ("03",)),
    "can": Stage(COLUMNS[2], MIDDLE, "context\nattention", "both", ("05",)),
    "classifier": Stage(COLUMNS[3], UPPER, "classifier", "both", ("04",)),
    "picture": Stage(COLUMNS[3], LOWER, "mental\nrepresentation", "both", ("07", "08")),
    "scores": Stage(COLUMNS[4], UPPER - 8, "evaluation", "good", ("06",), height=LAST_HEIGHT),
    "judges": Stage(COLUMNS[4], MIDDLE, "judges", "good", ("11",), height=LAST_HEIGHT),
    "people": Stage(COLUMNS[4], LOWER + 8, "ratings", "good", ("09", "10"), height=LAST_HEIGHT),
    "photographs": Stage(
        450, 300, "the same with photographs of people", "plain", ("12",), BAR_WIDTH, 34
    ),
}
ARROWS = (
    ("data", "face"),
    ("data", "voice"),
    ("face", "can"),
    ("voice", "can"),
    ("face", "classifier"),
    ("can", "classifier"),
    ("can", "picture"),
    ("classifier", "scores"),
    ("picture", "judges"),
    ("picture", "people"),
)
NOTEBOOKS = tuple(sorted(n for stage in STAGES.values() for n in stage.notebooks))


def stage_of(notebook: str) -> str:
    """The stage that a notebook, such as "02", is about: a key of ``STAGES``."""
    return next(key for key, stage in STAGES.items() if notebook in stage.notebooks)


def pipeline(notebook: str) -> Canvas:
    """The map with the stage of ``notebook`` lit."""
    lit = stage_of(notebook)
    name = STAGES[lit].name.replace("\n", " ")
    canvas = Canvas(
        f"pipeline_{notebook}",
        HEIGHT,
        f"Map of the notebooks: you are at {notebook}",
        f"""Map of the notebooks. Faces and voices go through a face VAE-GAN and a voice VAE-GAN
        into context attention, which leads to a classifier and to the mental representation.
        They are examined by an evaluation, by judges and by ratings. Lit is the stage of
        notebook {notebook}: {name}.""",
    )
    for start, end in ARROWS:
        first, second = STAGES[start], STAGES[end]
        canvas.arrow(
            (first.x + first.width / 2, first.y), (second.x - second.width / 2 - 2, second.y)
        )
    for key, stage in STAGES.items():
        _draw_stage(canvas, stage, notebook, key == lit)
    return canvas


def _draw_stage(canvas: Canvas, stage: Stage, notebook: str, is_lit: bool) -> None:
    """A box with the numbers of its notebooks; only the lit one has a colour and a thick line."""
    kind = stage.kind if is_lit else "dim"
    canvas.box(stage.x, stage.y, stage.width, stage.height, kind, thick=4 if is_lit else 1.2)
    colour = "ink" if is_lit else "soft"
    is_bar = stage.width == BAR_WIDTH
    if is_bar:
        canvas.text(stage.x, stage.y + 6, f"{stage.notebooks[0]} · {stage.name}", "name", colour)
        return
    rows = stage.name.split("\n")
    first = stage.y - 10 * (len(rows) - 1) - 4
    for row, words in enumerate(rows):
        canvas.text(stage.x, first + 20 * row, words, "name", colour)
    numbers = " · ".join(stage.notebooks)
    if is_lit and len(stage.notebooks) > 1:  # which of them it is
        numbers = " · ".join(f"▸{n}" if n == notebook else n for n in stage.notebooks)
    canvas.text(stage.x, stage.y + stage.height / 2 - 9, numbers, "small", colour)


def diagrams() -> list[Canvas]:
    """The map of every notebook."""
    return [pipeline(notebook) for notebook in NOTEBOOKS]
