"""Put the results of all cells together: tables, tests, figures, and one page.

Folds and seeds of one corpus and profile belong together. Intervals and tests are over actors, of
whom each is tested in one fold by networks that never met them; sd is over folds and seeds.
"""

from __future__ import annotations

import base64
import datetime
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2
import numpy as np
import pandas as pd

from cmlib import files, metrics
from cmlib.cli.evaluate import SCORES, percent
from cmlib.config import get_profile
from cmlib.evaluation import scoring
from cmlib.evaluation.scoring import SCORED_SUBSETS, Predictions
from cmlib.plots import kinds, style
from cmlib.plots.palette import MODEL_NAMES
from tools.study.cells import Cell, Study, StudyError


@dataclass(frozen=True)
class Group:
    """The cells of one corpus and profile, and what their networks predict, by subset."""

    corpus: str
    profile: str
    cells: tuple[Cell, ...]
    classes: tuple[str, ...]
    predictions: dict[str, list[Predictions]]  # of each cell, in the order of ``cells``

    @property
    def resamples(self) -> int:
        """How often actors are drawn for an interval."""
        return get_profile(self.profile).bootstrap

    def together(self, subset: str) -> Predictions:
        """The predictions of all cells for a ``subset``, as one."""
        return scoring.concatenate(self.predictions[subset])


def write_report(study: Study) -> Path:
    """Write tables, figures, ``study.json`` and ``report.html``; return the last.

    StudyError where the results of a cell are missing.
    """
    records = [_record_of(study, cell) for cell in study.cells]
    groups = _groups(study, records)
    tables = {
        "scores": pd.concat([_scores(group) for group in groups], ignore_index=True),
        "differences": pd.concat([_differences(group) for group in groups], ignore_index=True),
        "settings": pd.concat(_settings_compared(groups), ignore_index=True),
    }
    for name, table in tables.items():
        files.write_text(study.folder / f"{name}.csv", table.to_csv(index=False))
    for group in groups:
        _draw(study, group, tables["scores"])
    hours = sum(record["processor_seconds"] for record in records) / 3600
    summary = {
        "study": study.name,
        "cells": [cell.name for cell in study.cells],
        "processor_hours": round(hours, 3),
        **{name: table.to_dict("records") for name, table in tables.items()},
    }
    text = json.dumps(files.plain(summary), indent=1, allow_nan=False)
    files.write_text(study.folder / "study.json", text + "\n")
    return files.write_text(study.folder / "report.html", _page(study, groups, tables, hours))


def _record_of(study: Study, cell: Cell) -> dict:
    """The contents of ``evaluation.json`` of a cell."""
    path = study.cell_folder(cell) / "evaluation.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        remedy = "delete it, and start the study again"
        raise StudyError(f"{path}: no results can be read ({error}); {remedy}") from None


def _groups(study: Study, records: Sequence[dict]) -> list[Group]:
    """The cells by corpus and profile, in the order of the study's file."""
    classes = {cell: tuple(record["classes"]) for cell, record in zip(study.cells, records)}
    groups = []
    for corpus, profile in dict.fromkeys((cell.corpus, cell.profile) for cell in study.cells):
        cells = tuple(
            cell for cell in study.cells if (cell.corpus, cell.profile) == (corpus, profile)
        )
        predictions = {
            subset: [
                scoring.load_predictions(study.cell_folder(cell) / f"predictions-{subset}.npz")
                for cell in cells
            ]
            for subset in SCORED_SUBSETS
        }
        groups.append(Group(corpus, profile, cells, classes[cells[0]], predictions))
    return groups


# -------------------------------------------------------------------- tables


def _scores(group: Group) -> pd.DataFrame:
    """``scoring.score_together`` of both subsets; columns: corpus, profile, subset and its own."""
    tables = []
    for subset, predictions in group.predictions.items():
        table, _ = scoring.score_together(predictions, group.resamples)
        tables.append(_named(table, group, subset))
    return pd.concat(tables)


def _differences(group: Group) -> pd.DataFrame:
    """Context attention minus each other model (``scoring.differences``), in both subsets."""
    tables = [pd.DataFrame(columns=pd.Index(["corpus", "profile", "subset", "other"]))]
    for subset in SCORED_SUBSETS:
        together = group.together(subset)
        if "can" in together.log_probabilities:
            table = scoring.differences(together, resamples=group.resamples)
            tables.append(_named(table, group, subset))
    return pd.concat(tables[1:] or tables)


def _settings_compared(groups: Sequence[Group]) -> list[pd.DataFrame]:
    """Clip accuracy of each profile minus that of the first of the same corpus, model by model.

    Columns: corpus, profile, subset, baseline, model, value, low, high, p
    (``metrics.paired_difference``). Only profiles that predict the same clips, and the same
    classes, can be compared.
    """
    columns = ["corpus", "profile", "subset", "baseline", "model", "value", "low", "high", "p"]
    tables = [pd.DataFrame(columns=pd.Index(columns))]
    for group in groups:
        first = next(each for each in groups if each.corpus == group.corpus)
        if group is first or group.classes != first.classes:
            continue
        for subset in SCORED_SUBSETS:
            rows = _compare(first.together(subset), group.together(subset), group.resamples)
            if rows:
                table = pd.DataFrame(rows)
                table.insert(0, "baseline", first.profile)
                tables.append(_named(table, group, subset))
    return tables[1:] or tables


def _compare(first: Predictions, other: Predictions, resamples: int) -> list[dict]:
    """Paired differences of the clip accuracies of two settings; [] if their clips differ."""
    first, other = first.by_clip(), other.by_clip()
    same = np.array_equal(first.clips, other.clips) and np.array_equal(first.labels, other.labels)
    if not same:
        return []
    before, after = first.hits(), other.hits()
    return [
        {
            "model": model,
            **metrics.paired_difference(after[model], before[model], first.actors, resamples),
        }
        for model in before
        if model in after
    ]


def _named(table: pd.DataFrame, group: Group, subset: str) -> pd.DataFrame:
    table = table.copy()
    for position, (name, value) in enumerate(
        {"corpus": group.corpus, "profile": group.profile, "subset": subset}.items()
    ):
        table.insert(position, name, value)
    return table


# -------------------------------------------------------------------- figures and page


def _draw(study: Study, group: Group, scores: pd.DataFrame) -> None:
    """The clip accuracies of test actors as bars."""
    rows = _rows_of(scores, group, "test")
    rows = rows[rows.score == "clip_accuracy"][["model", "value", "low", "high"]]
    figure = kinds.accuracy_bars(rows, 1 / len(group.classes), title=_title(group))
    style.save(figure, _figure_name(group), study.folder, rows)


def _rows_of(table: pd.DataFrame, group: Group, subset: str) -> pd.DataFrame:
    chosen = (table.corpus == group.corpus) & (table.profile == group.profile)
    return table[chosen & (table.subset == subset)]


def _title(group: Group) -> str:
    return f"{group.corpus}, {group.profile}"


def _figure_name(group: Group) -> str:
    return f"{group.corpus}-{group.profile}"


def _page(
    study: Study, groups: Sequence[Group], tables: dict[str, pd.DataFrame], hours: float
) -> str:
    """The page, which needs no other file."""
    template = Path(__file__).with_name("report.html").read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["percent"] = percent
    sections = []
    for group in groups:
        test = group.together("test")
        rows = {name: _rows_of(table, group, "test") for name, table in tables.items()}
        png = (study.folder / "figures" / f"{_figure_name(group)}.png").read_bytes()
        sections.append(
            {
                "title": _title(group),
                "folds": sorted({cell.fold for cell in group.cells}),
                "seeds": sorted({cell.seed for cell in group.cells}),
                "clips": len(set(test.clips)),
                "actors": len(set(test.actors)),
                "chance": 1 / len(group.classes),
                "scores": _score_lines(rows["scores"]),
                "differences": list(rows["differences"].itertuples()),
                "settings": list(rows["settings"].itertuples()),
                "figure": base64.b64encode(png).decode(),
            }
        )
    return environment.from_string(template).render(
        study=study.name,
        cells=len(study.cells),
        hours=hours,
        today=datetime.date.today().isoformat(),
        sections=sections,
        score_names=list(SCORES.values()),
        model_names=MODEL_NAMES,
    )


def _score_lines(scores: pd.DataFrame) -> list[dict]:
    """One line for each model: its name, its scores with intervals, and the spread over runs."""
    lines = []
    for model, rows in scores.groupby("model", sort=False):
        by_score = rows.set_index("score")
        clips = by_score.loc["clip_accuracy"]
        lines.append(
            {
                "name": MODEL_NAMES[str(model)],
                "cells": [percent(by_score.loc[score]) for score in SCORES],
                "mean": clips["mean"],
                "sd": clips["sd"],
                "count": int(clips["count"]),
            }
        )
    return lines
