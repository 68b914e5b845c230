"""A fingerprint of everything a trained network was made from: the same recipe, the same network.

Kept in a checkpoint's card, it tells whether the weights are still what sources, settings and data would give.
"""

from __future__ import annotations

import ast
import hashlib
import json
from functools import cache
from pathlib import Path

LIBRARY = Path(__file__).resolve().parents[1]
CODE = ("models", "training")  # what turns arrays into weights


def recipe(*ingredients, code: tuple[str, ...] = CODE) -> str:
    """12 hex digits of the training code (or of other files of this library) and of ``ingredients``, anything that JSON can hold.

    Give it settings, seed, key of the store and the recipes of the networks below.  Comments, docstrings and line
    breaks in the code do not count.
    """
    text = json.dumps([_code(code), *ingredients], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


@cache
def _code(names: tuple[str, ...]) -> str:
    files = sorted(
        f
        for name in names
        for f in ([LIBRARY / name] if name.endswith(".py") else (LIBRARY / name).rglob("*.py"))
    )
    return hashlib.sha256(
        "".join(meaning(f.read_text(encoding="utf-8")) for f in files).encode()
    ).hexdigest()


def meaning(source: str) -> str:
    """The syntax tree of Python source without its docstrings, as text."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        first = body[0] if isinstance(body, list) and body else None
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
            node.body = body[1:] or [ast.Pass()]
    return ast.dump(tree)
