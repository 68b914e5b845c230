"""Diagrams are what their code draws, can be read, and stand where they belong."""

import json
import re
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree

import pytest
from matplotlib import font_manager
from PIL import ImageFont

from tools.diagrams.__main__ import SHOWN, pages
from tools.diagrams.catalogue import FOLDER, diagrams
from tools.diagrams.drawing import GROUND, KINDS, SIZES, WIDTH
from tools.diagrams.pipeline import NOTEBOOKS, STAGES, stage_of
from tools.notebooks.execute import redirect_links
from tools.site.pages import without_pictures

ROOT = Path(__file__).parents[1]
AGAIN = "python -m tools.diagrams draws it again"
DRAWN = diagrams()
SVG = "{http://www.w3.org/2000/svg}"
MINIMUM = 4.5  # contrast of words with what is behind them: WCAG 2.2, level AA


@pytest.mark.parametrize("name", DRAWN)
def test_a_diagram_is_what_its_code_draws(name):
    path = FOLDER / f"{name}.svg"
    assert path.read_text(encoding="utf-8") == DRAWN[name].svg(), AGAIN


def test_no_other_diagrams_are_kept():
    assert {path.stem for path in FOLDER.iterdir()} == set(DRAWN), AGAIN


def words(name: str) -> list[ElementTree.Element]:
    """The lines of words of a diagram."""
    return list(ElementTree.fromstring(DRAWN[name].svg()).iter(f"{SVG}text"))


@pytest.mark.parametrize("name", DRAWN)
def test_words_lie_inside_and_are_large_enough(name):
    for line in words(name):
        size = line.get("class").split()[0]
        assert SIZES[size] >= 15, "at 700 pixels it would have fewer than 11.5"
        bold = "bold" if size in ("title", "name") else "normal"
        file = font_manager.findfont(font_manager.FontProperties(family="DejaVu Sans", weight=bold))
        text = "".join(line.itertext())
        width = ImageFont.truetype(file, SIZES[size]).getlength(text)
        x = float(line.get("x"))
        left = x - width * {"start": 0, "middle": 0.5, "end": 1}[line.get("text-anchor")]
        assert left >= 4 and left + width <= WIDTH - 4, text
        assert 0 < float(line.get("y")) < DRAWN[name].height - 4, text


def luminance(colour: str) -> float:
    """The relative luminance of "#rrggbb", 0 to 1 (WCAG 2.2)."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(first: str, second: str) -> float:
    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_words_can_be_told_from_what_is_behind_them(scheme):
    fills = {kind: schemes[scheme][0] for kind, schemes in KINDS.items()}
    fills["paper"] = GROUND["paper"][scheme]
    for kind, fill in fills.items():
        for ink in ("ink", "soft"):
            assert contrast(GROUND[ink][scheme], fill) >= MINIMUM, (ink, kind)
    for kind in set(KINDS) - {"dim"}:  # nothing is written in its colour
        assert contrast(KINDS[kind][scheme][1], fills["paper"]) >= MINIMUM, kind


@pytest.mark.parametrize("name", DRAWN)
def test_a_diagram_says_what_it_shows(name):
    description = DRAWN[name].description
    assert len(description) > 100 and description.endswith(".")
    assert not set(description) & set('[]"\\<>'), "it is an alternative text in Markdown and JSON"


def shown(path: Path) -> dict[str, str]:
    """The diagrams of a page or notebook, by name, with their alternative texts."""
    text = path.read_text(encoding="utf-8")
    pattern = SHOWN.pattern.replace(r"[^\]]*", r"([^\]]*)")
    return {name: alt for alt, _, name in re.findall(pattern, text)}


def test_every_diagram_is_shown_with_its_description():
    seen = {}
    for page in pages():
        for name, alt in shown(page).items():
            assert alt == DRAWN[name].description, f"{page.name}: {AGAIN}"
            seen[name] = page
    notebooks = {path.stem[:2] for path in (ROOT / "notebooks").glob("*.ipynb")}
    waiting = {f"pipeline_{number}" for number in NOTEBOOKS if number not in notebooks}
    assert set(DRAWN) == set(seen) | waiting


@pytest.mark.parametrize(
    "path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem
)
def test_a_notebook_begins_with_the_map_and_its_own_stage(path):
    number = path.stem[:2]
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    markdown = ["".join(c["source"]) for c in cells[:3] if c["cell_type"] == "markdown"]
    maps = re.findall(r"pipeline_(\d\d)\.svg", "\n".join(markdown))
    assert maps == [number]
    boxes = ElementTree.fromstring(DRAWN[f"pipeline_{number}"].svg()).iter(f"{SVG}rect")
    thick = [box for box in boxes if box.get("stroke-width") == "4"]
    stage = STAGES[stage_of(number)]
    assert len(thick) == 1
    assert float(thick[0].get("x")) == stage.x - stage.width / 2
    assert float(thick[0].get("y")) == stage.y - stage.height / 2
    assert stage.name.replace("\n", " ") in DRAWN[f"pipeline_{number}"].description


def test_an_executed_notebook_shows_the_same_diagrams(tmp_path):
    """A run may keep its executed notebooks anywhere."""
    executed = tmp_path / "runs" / "actors-smoke" / "notebooks" / "01.ipynb"
    executed.parent.mkdir(parents=True)
    prose = "![the map](../docs/figures/diagrams/pipeline_01.svg) and [results](../docs/results.md)"
    cells = [
        {"cell_type": "markdown", "source": prose},
        {"cell_type": "code", "source": "x = y[0](../z)", "outputs": []},
    ]
    executed.write_text(json.dumps({"cells": cells}))
    redirect_links(ROOT / "notebooks" / "01_data_preparation.ipynb", executed)
    changed, code = json.loads(executed.read_text())["cells"]
    targets = re.findall(r"\]\(([^)]+)\)", changed["source"])
    assert len(targets) == 2
    assert all((executed.parent / unquote(target)).exists() for target in targets)
    assert code["source"] == cells[1]["source"]


def test_a_diagram_is_not_taken_for_what_a_figure_below_it_shows():
    assert without_pictures("![the map](../map.svg)\n\nLook at it.") == "Look at it."
