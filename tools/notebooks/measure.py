"""Count what each notebook offers a reader: ``python -m tools.notebooks.measure``.

The table in docs/notebooks.md is written again between its two marks. All counts come from the
notebooks as they are committed; a test compares the table with them.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "notebooks.md"
BEGIN, END = "<!-- counted by tools.notebooks.measure -->", "<!-- end of what is counted -->"
PICTURES = ("image/png", "image/jpeg", "image/gif", "image/svg+xml")
INTERACTIVE = re.compile(r"\b(?:widgets?\.\w*[A-Z]\w*|\w+\.widget\b|interact\(|Session\()")
RECAP = re.compile(r"^## (?:Take-aways|What to remember)", re.M)


class Book:
    """A notebook: its prose, its code and its outputs."""

    def __init__(self, path: Path):
        self.name = path.stem
        self.cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        self.markdown = self._sources("markdown")
        self.prose = "\n\n".join(self.markdown)
        self.code = self._sources("code")
        self.trees = [ast.parse(source) for source in self.code]

    def _sources(self, kind: str) -> list[str]:
        return ["".join(cell["source"]) for cell in self.cells if cell["cell_type"] == kind]

    def nodes(self, *kinds: type[ast.AST]) -> list[ast.AST]:
        """The nodes of these kinds in all code cells."""
        return [node for tree in self.trees for node in ast.walk(tree) if isinstance(node, kinds)]

    def section(self, heading: str) -> str:
        """The prose from a heading, such as "Quiz", to the next one of its level; "" without it."""
        match = re.search(rf"^## {heading}\b.*?(?=^## |\Z)", self.prose, flags=re.M | re.S)
        return match.group() if match else ""


def words(book: Book) -> int:
    """Words of the prose, without pictures, equations, blocks of code and addresses of links."""
    text = re.sub(r"^```.*?^```", " ", book.prose, flags=re.M | re.S)
    text = re.sub(r"!\[[^\]]*\]\([^)]*\)", " ", text)
    text = re.sub(r"\$\$.*?\$\$|\$[^$\n]+\$", " ", text, flags=re.S)
    text = re.sub(r"\]\([^)]*\)|<[^>]+>", " ", text)
    return len(re.findall(r"[^\W\d_][\w'’-]*", text))


def figures(book: Book) -> int:
    """Pictures among the outputs."""
    outputs = [output for cell in book.cells for output in cell.get("outputs", [])]
    return sum(kind in output.get("data", {}) for output in outputs for kind in PICTURES)


def exercises(book: Book) -> int:
    """Numbered tasks under the heading Exercises: "1. ..." or "**1.** ..."."""
    before_solutions = book.section("Exercises").split("<details><summary>Solutions")[0]
    return len(re.findall(r"^(?:\*\*)?\d+\.", before_solutions, flags=re.M))


def intervals(book: Book) -> int:
    """Code cells that compute, draw or record an interval, and sentences that name one."""
    pattern = r"interval|\blow\b|\bhigh\b|bootstrap"
    cells = sum(bool(re.search(pattern, source)) for source in book.code)
    return cells + len(re.findall(r"\bintervals?\b", book.prose))


def checks(book: Book) -> int:
    """Assertions, such as those that compare a computation by hand with the library."""
    compared = [source for source in book.code for _ in re.findall(r"assert_\w+\(", source)]
    return len(book.nodes(ast.Assert)) + len(compared)


# Heading of a column -> how it is counted.
COLUMNS: dict[str, Callable[[Book], int]] = {
    "cells": lambda book: len(book.cells),
    "words": words,
    "diagrams": lambda book: len(re.findall(r"!\[[^\]]*\]\([^)]+\.svg\)", book.prose)),
    "figures": figures,
    "exercises": exercises,
    "equations": lambda book: len(re.findall(r"\$\$.+?\$\$", book.prose, flags=re.S)),
    "links": lambda book: len(re.findall(r"(?<!!)\[[^\]]*\]\([^)]+\)", book.prose)),
    "interactive": lambda book: sum(bool(INTERACTIVE.search(source)) for source in book.code),
    "quiz": lambda book: len(re.findall(r"^\*\*\d+\.\*\*", book.section("Quiz"), flags=re.M)),
    "recaps": lambda book: len(RECAP.findall(book.prose)),
    "built here": lambda book: len(book.nodes(ast.FunctionDef, ast.ClassDef)),
    "checks": checks,
    "intervals": intervals,
}


def table() -> str:
    """The counts of every notebook, and their sums, as Markdown."""
    rows = []
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        book = Book(path)
        rows.append((book.name[:2], [count(book) for count in COLUMNS.values()]))
    rows.append(("all", [sum(column) for column in zip(*(counts for _, counts in rows))]))
    lines = ["| | " + " | ".join(COLUMNS) + " |", "|---|" + "---:|" * len(COLUMNS)]
    for name, counts in rows:
        lines.append(f"| {name} | " + " | ".join(f"{count:,}" for count in counts) + " |")
    return "\n".join(lines)


def with_table(page: str) -> str:
    """The text of the page with the counts of today; ValueError if the marks are missing."""
    if BEGIN not in page or END not in page:
        raise ValueError(f"{PAGE}: has no marks for the table; put back {BEGIN} and {END}")
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{table()}\n\n{END}{after}"


def main() -> None:
    """Count again, and write the table into ``PAGE``."""
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    print(PAGE)


if __name__ == "__main__":
    main()
