"""The parameters of every notebook, and a check of those that papermill was given."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator

PARAMETERS: dict[str, type] = {
    "corpus": str,
    "profile": str,
    "seed": int,
    "fold": int,
    "out_dir": str,
}
INJECTED = "# Parameters"  # begins the cell that papermill puts behind the notebook's own


def check_injected() -> None:
    """Raise ValueError if papermill has given this notebook a parameter that it does not have.

    papermill only warns of a misspelt parameter, so the notebook would run with its default. A
    value of the wrong type is refused as well. Outside a notebook there is nothing to check.
    """
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    if shell is None:
        return
    for cell in shell.user_ns.get("In", []):
        if cell.startswith(INJECTED):
            for name, value in _assignments(cell):
                _check(name, value)


def _assignments(cell: str) -> Iterator[tuple[str, object]]:
    """The names that papermill's cell assigns, each with its value."""
    for statement in ast.parse(cell).body:
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            try:
                value = ast.literal_eval(statement.value)
            except ValueError:  # float("nan"), for example
                value = None
            yield statement.targets[0].id, value


def _check(name: str, value: object) -> None:
    if name not in PARAMETERS:
        raise ValueError(f"{name}: no such parameter; the notebook has {', '.join(PARAMETERS)}")
    wanted = PARAMETERS[name]
    if type(value) is not wanted:
        kind = "a whole number" if wanted is int else "a text"
        raise ValueError(f"{name}={value!r}: the parameter {name} is {kind}")
