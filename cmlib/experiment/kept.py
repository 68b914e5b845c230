"""Tables that take long to measure, kept with what they were measured from.

A kept table is a CSV file with a card beside it, in the folder ``tables`` of a run. It counts only
if its record equals the one that it would get if it were measured now. So notebooks and commands
that need the same table measure it once. Tables of a published run ship with the repository, among
its networks in ``checkpoints/``.
"""

from __future__ import annotations

import datetime
import json
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from cmlib import files, provenance
from cmlib.locks import locked
from cmlib.provenance import Provenance

if TYPE_CHECKING:
    from cmlib.experiment.run import Run

FOLDER = "tables"


def kept_table(
    run: Run,
    name: str,
    measure: Callable[[], pd.DataFrame],
    *,
    networks: Iterable[str],
    settings: Mapping[str, Any] | None = None,
    data: Mapping[str, str] | None = None,
    below: Mapping[str, Provenance] | None = None,
) -> pd.DataFrame:
    """The table ``name`` of a run: found, or the result of ``measure``, which is then kept.

    ``networks`` are the stages whose networks the table depends on; they are compared by their
    weights. ``settings``, ``data`` and ``below`` name whatever else the table depends on, beside
    the corpus and the number of resamples. The table has no index of its own, and its columns hold
    numbers, booleans or text. With ``provenance.fresh`` a table that ships with the repository does
    not count.
    """
    record = _record(run, name, networks, settings or {}, data or {}, below or {})
    path = run.folder / FOLDER / name
    places = [path] if provenance.fresh() else [path, shipped_tables(run) / name]
    current = _find(places, record)
    if current:
        return _read(current)
    files.make_folder(path.parent)
    with locked(path.with_suffix(".lock"), f"measuring the same table ({name})"):
        if not _find([path], record):
            started = time.process_time()
            table = measure()
            _write(path, table, record, time.process_time() - started)
    return _read(path)


def shipped_tables(run: Run) -> Path:
    """The folder of the tables of this corpus and profile that ship with the repository."""
    return run.shipped(FOLDER)


def _record(
    run: Run,
    name: str,
    networks: Iterable[str],
    settings: Mapping[str, Any],
    data: Mapping[str, str],
    below: Mapping[str, Provenance],
) -> Provenance:
    """What the table is measured from; trains the networks that are missing."""
    weights = {}
    for network in networks:
        if run.find(network) is None:
            run.network(network)
        weights[network] = files.checksum(run.weights(network))
    return Provenance(
        "evaluation",
        provenance.VERSIONS["evaluation"],
        {"table": name, "bootstrap": run.profile.bootstrap, **settings},
        {"corpus": f"{run.corpus}-{run.shown.key}", **weights, **data},
        run.seed,
        run.fold,
        run.classes,
        {"encoding": provenance.of_code("encoding"), **below},
    )


def _find(places: Iterable[Path], record: Provenance) -> Path | None:
    """The first of these paths (without suffix) whose table was measured from ``record``."""
    for path in places:
        if not path.with_suffix(".csv").exists():
            continue
        try:
            card = json.loads(path.with_suffix(".json").read_text())
        except (OSError, ValueError):  # killed between the two files, or damaged
            continue
        stored = provenance.of_card(card)
        if stored is not None and not record.differences(stored):
            return path
    return None


def _write(path: Path, table: pd.DataFrame, record: Provenance, seconds: float) -> None:
    """Write a table and its card; the card comes last, so a table without a card is incomplete."""
    card = {
        "provenance": record.to_json(),
        "types": {name: str(kind) for name, kind in table.dtypes.items()},
        "processor_seconds": round(seconds, 1),
        "written": datetime.date.today().isoformat(),
    }
    path.with_suffix(".json").unlink(missing_ok=True)
    with files.write_atomically(path.with_suffix(".csv")) as temporary:
        table.to_csv(temporary, index=False)
    files.write_text(path.with_suffix(".json"), json.dumps(card, indent=1) + "\n")


def _read(path: Path) -> pd.DataFrame:
    """The table as it was measured, to the last digit."""
    types = json.loads(path.with_suffix(".json").read_text())["types"]
    # pandas would round some numbers, so they are read as text first.
    table = pd.read_csv(path.with_suffix(".csv"), dtype=str, keep_default_na=False)
    for name, kind in types.items():
        if kind == "bool":
            table[name] = table[name] == "True"
        elif kind.startswith("float"):
            table[name] = table[name].replace("", "nan").astype(kind)
        else:
            table[name] = table[name].astype(kind)
    return table
