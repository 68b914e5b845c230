"""The table of what the notebooks offer has the counts of the notebooks as they are committed."""

import json

from tools.notebooks import measure


def test_the_table_has_the_counts_of_today():
    page = measure.PAGE.read_text(encoding="utf-8")
    assert measure.with_table(page) == page, "python -m tools.notebooks.measure"


def book(tmp_path, *cells: tuple[str, str]) -> measure.Book:
    path = tmp_path / "01_book.ipynb"
    rows = [{"cell_type": kind, "source": [text]} for kind, text in cells]
    path.write_text(json.dumps({"cells": rows}))
    return measure.Book(path)


def test_each_count_counts_what_it_says(tmp_path):
    prose = """Two *words*, see [this link](https://a.b/c) and ![a map of it](../x/map.svg).

$$a = b$$

```
not these words
```

## Quiz

**1.** One?

<details><summary>Answer</summary> Yes. </details>

**2.** Two?

## Take-aways

- One.

## Exercises

1. First.
2. Second.
"""
    solutions = "<details><summary>Solutions</summary>\n\n**1.** Here.\n\n3. Not an exercise.\n"
    code = "def by_hand(x):\n    return x\n\nassert by_hand(1) == 1\nknob = widgets.FloatSlider()"
    counted = book(tmp_path, ("markdown", prose), ("markdown", solutions), ("code", code))
    counts = {name: count(counted) for name, count in measure.COLUMNS.items()}
    assert counts == {
        "cells": 3,
        "words": 21,
        "diagrams": 1,
        "figures": 0,
        "exercises": 2,
        "equations": 1,
        "links": 1,
        "interactive": 1,
        "quiz": 2,
        "recaps": 1,
        "built here": 1,
        "checks": 1,
        "intervals": 0,
    }


def test_pictures_are_counted_once_each(tmp_path):
    counted = book(tmp_path, ("code", "1"), ("code", "2"))
    outputs = [{"data": {"image/jpeg": "x", "text/plain": "y"}}, {"text": "z"}]
    counted.cells[0]["outputs"] = outputs
    assert measure.figures(counted) == 1
