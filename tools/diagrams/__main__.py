"""Draw all diagrams: ``python -m tools.diagrams``.

The drawing of the architecture and everything in ``docs/figures/diagrams`` is written again. Where
a page or a notebook shows a diagram, its alternative text becomes the diagram's description.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from tools.diagrams import architecture
from tools.diagrams.catalogue import FOLDER, diagrams
from tools.diagrams.drawing import Canvas

ROOT = FOLDER.parents[2]
SHOWN = re.compile(r"!\[[^\]]*\]\(([\w./]*figures/diagrams/(\w+)\.svg)\)")


def pages() -> Iterator[Path]:
    """The pages and notebooks that may show diagrams."""
    yield from sorted(ROOT.glob("*.md"))
    yield from sorted((ROOT / "docs").rglob("*.md"))
    yield from sorted((ROOT / "notebooks").glob("*.ipynb"))


def with_descriptions(text: str, drawn: Mapping[str, Canvas]) -> str:
    """A page or notebook whose diagrams have their descriptions as alternative texts.

    KeyError where a page shows a diagram that is not in ``drawn``.
    """

    def described(match: re.Match) -> str:
        target, name = match.groups()
        return f"![{drawn[name].description}]({target})"

    return SHOWN.sub(described, text)


def main() -> None:
    """Draw all diagrams, and put their descriptions into the pages that show them."""
    architecture.main()
    FOLDER.mkdir(parents=True, exist_ok=True)
    drawn = diagrams()
    for name, canvas in drawn.items():
        (FOLDER / f"{name}.svg").write_text(canvas.svg(), encoding="utf-8")
    print(f"{FOLDER}: {len(drawn)} diagrams")
    for page in pages():
        before = page.read_text(encoding="utf-8")
        after = with_descriptions(before, drawn)
        if after != before:
            page.write_text(after, encoding="utf-8")
            print(f"{page}: alternative texts")


if __name__ == "__main__":
    main()
