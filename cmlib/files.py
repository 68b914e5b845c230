"""Where files lie, and how they are written: whole or not at all."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]  # of the repository


def _plain(value):
    """numpy and torch numbers and arrays, tuples and paths as JSON values; NaN becomes null."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    return value if isinstance(value, (bool, int, str, type(None))) else str(value)


def write_whole(path: Path, text: str) -> Path:
    """Write ``text`` to ``path`` so that the file appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    (part := path.with_name(path.name + ".part")).write_text(text, encoding="utf-8")
    os.replace(part, path)
    return path


def record(out_dir: str | Path, notebook: str, metrics: dict) -> Path:
    """Write the numbers of one notebook to ``out_dir``/metrics/``notebook``.json: the last cell of every notebook.

    ``notebook`` is its name without suffix, such as "06_evaluation"; ``metrics`` holds numbers, strings, lists, arrays
    and dictionaries of them.  Snakemake takes the file as the sign that the notebook is done.
    """
    return write_whole(
        Path(out_dir) / "metrics" / f"{notebook}.json", json.dumps(_plain(metrics), indent=1) + "\n"
    )
