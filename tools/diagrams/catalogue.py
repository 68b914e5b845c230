"""All diagrams, by name."""

from __future__ import annotations

from pathlib import Path

from tools.diagrams import (
    attention,
    autoencoders,
    fusion,
    observers,
    people,
    pipeline,
    preparation,
    staleness,
)
from tools.diagrams.drawing import Canvas

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "figures" / "diagrams"
SUBJECTS = (pipeline, preparation, autoencoders, attention, fusion, people, observers, staleness)


def diagrams() -> dict[str, Canvas]:
    """Every diagram, drawn now."""
    drawn = [canvas for subject in SUBJECTS for canvas in subject.diagrams()]
    return {canvas.name: canvas for canvas in drawn}
