"""What a run leaves behind, on one page: ``metrics.json`` and ``report.html``.

The page has a template of its own. nbconvert was tried: it turns one notebook into one page, so that
the scores, failures and figures of all notebooks would first have to be put into one more. Its
page begins at 280 kB and loads scripts from other servers, while this one has to open without a
network, from an archive or a mail.
"""

from __future__ import annotations

import argparse
import base64
import datetime
import json
import os
import platform
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import jinja2

from cmlib.cli.evaluate import SCORES
from cmlib.files import ROOT, write_text
from cmlib.plots.palette import MODEL_NAMES
from tools.notebooks.execute import duration

EVALUATION, VOICE_ONLY = "06_evaluation", "04_expression_classifier"
MODELS = tuple(MODEL_NAMES)
PACKAGES = ("torch", "torchaudio", "lightning-fabric", "librosa", "numpy", "scikit-learn")
LONGEST_LIST = 8  # numbers; longer lists are not shown
LARGEST_SVG = 300_000  # bytes; larger figures, of many small pictures, go into the report as PNG


class ReportError(RuntimeError):
    """A run that cannot be reported; the message names the file, what is missing and what to do."""


def collect(run: Path) -> dict:
    """The contents of ``metrics.json``, from what the evaluation notebook has recorded.

    A corpus without faces has no evaluation of the context; then they are the scores of the voice
    alone, from notebook 04. ReportError where a file or a key is missing.
    """
    file, models, scores_key = run / "metrics" / f"{EVALUATION}.json", MODELS, "models"
    numbers = _read_numbers(file)
    if "skipped" in numbers:
        file, models, scores_key = file.with_name(f"{VOICE_ONLY}.json"), ("voice",), "test"
        numbers = _read_numbers(file)
    try:
        metrics = {key: numbers[key] for key in ("corpus", "profile", "fold", "seed", "chance")}
        metrics["models"] = {
            model: {score: _interval_of(numbers[scores_key][model][score]) for score in SCORES}
            for model in models
        }
    except KeyError as error:
        raise ReportError(
            f"{file}: lacks {error}; the last cell of {file.stem}.ipynb must record it"
        ) from None
    return metrics


def _read_numbers(file: Path) -> dict:
    try:
        return json.loads(file.read_text())
    except OSError:
        raise ReportError(f"{file}: not there; run `make reproduce`") from None
    except ValueError as error:
        advice = "delete it and run `make reproduce`"
        raise ReportError(f"{file}: not JSON ({error}); {advice}") from None


def _interval_of(score: dict) -> dict:
    return {key: score[key] for key in ("value", "low", "high")}


def failure(book: dict) -> str:
    """Why an executed notebook is incomplete, in one line, or "" where it is complete.

    SystemExit(0) is no failure; a notebook ends with it where the corpus has nothing for it.
    """
    outputs = [output for cell in book["cells"] for output in cell.get("outputs", [])]
    errors = [output for output in outputs if output["output_type"] == "error"]
    for error in errors:
        if error["ename"] != "SystemExit" or error["evalue"] not in ("0", ""):
            return f"{error['ename']}: {error['evalue']}".splitlines()[0][:300]
    finished = book["metadata"].get("papermill", {}).get("end_time")
    return "" if errors or finished else "interrupted"


def notebooks(run: Path) -> list[dict]:
    """A row for each executed notebook: name, link, seconds, error and numbers.

    ``error`` is "" where all went well. ``numbers`` are those that the notebook has recorded, as
    ``flatten`` returns them.
    """
    rows = []
    for path in sorted((run / "notebooks").glob("*.ipynb")):
        try:
            book = json.loads(path.read_text(encoding="utf-8"))
            error = failure(book)
        except ValueError:  # the process was killed while it wrote the file
            book, error = {"metadata": {}}, "interrupted"
        recorded = run / "metrics" / f"{path.stem}.json"
        numbers = []
        if recorded.exists() and not error:
            numbers = flatten(json.loads(recorded.read_text()))
        seconds = book["metadata"].get("papermill", {}).get("duration") or 0
        row = {"name": path.stem, "link": f"notebooks/{path.name}", "seconds": seconds}
        rows.append(row | {"error": error, "numbers": numbers})
    return rows


def flatten(value, name: str = "") -> list[tuple[str, str]]:
    """Nested numbers as rows (path, text).

    A score with its interval is one row. Long lists, which are curves, are left out.
    """
    if isinstance(value, dict):
        is_score = {"value", "low", "high"} <= set(value) and not isinstance(value["value"], list)
        if is_score:
            return [(name, interval(value))]
        rows = []
        for key, inner in value.items():
            rows += flatten(inner, f"{name} › {key}" if name else key)
        return rows
    if isinstance(value, list):
        nested = any(isinstance(inner, (list, dict)) for inner in value)
        if nested or len(value) > LONGEST_LIST:
            return []
        return [(name, ", ".join(_as_text(inner) for inner in value))]
    return [(name, _as_text(value))]


def _as_text(value) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def interval(score: dict) -> str:
    """A score with its interval as text, in per cent where all three numbers lie in 0...1."""
    numbers = [score[key] for key in ("value", "low", "high")]
    if None in numbers:
        return "–"
    if all(0 <= number <= 1 for number in numbers):
        value, low, high = (100 * number for number in numbers)
        return f"{value:.1f} % ({low:.0f} to {high:.0f})"
    value, low, high = numbers
    return f"{value:.4g} ({low:.3g} to {high:.3g})"


def origins(run: Path) -> dict[str, list[str]]:
    """Names of networks and of long measurements, by where they come from.

    "here" are those that this run has trained or measured, "clone" those that came with the
    repository and were used as they are.
    """
    # Imported here, because this loads pandas, and `make reproduce` often prints a report that exists.
    from cmlib.experiment.kept import FOLDER

    shipped = ROOT / "checkpoints" / run.resolve().name
    here = []
    clone = []
    for folder in ("checkpoints", FOLDER):
        of_shipped = shipped if folder == "checkpoints" else shipped / folder
        own = {card.stem for card in (run / folder).glob("*.json")}
        all_shipped = {card.stem for card in of_shipped.glob("*.json")}
        here += sorted(own)
        clone += sorted(name for name in all_shipped - own if not name.startswith("judge_"))
    return {"here": here, "clone": clone}


def pictures(run: Path) -> list[dict]:
    """The figures of a run, each as a data address: the SVG, or the PNG where it is lighter."""
    rows = []
    for svg in sorted((run / "figures").glob("*.svg")):  # names without a number come last
        name = svg.stem
        file = svg if svg.stat().st_size < LARGEST_SVG else svg.with_suffix(".png")
        kind = "svg+xml" if file.suffix == ".svg" else "png"
        data = base64.b64encode(file.read_bytes()).decode()
        title = name.lstrip("0123456789_").replace("_", " ")
        rows.append(
            {
                "title": title[:1].upper() + title[1:],
                "notebook": name[:2] if name[:2].isdigit() else "",
                "address": f"data:image/{kind};base64,{data}",
                "link": f"figures/{svg.name}",
                "csv": f"figures/{name}.csv" if svg.with_suffix(".csv").exists() else "",
            }
        )
    return rows


def build(run: str | Path, partial: bool = False) -> Path:
    """Write ``run``/metrics.json and ``run``/report.html from what the notebooks left there.

    ``partial`` reports a run in which notebooks have failed; the table of scores is left out where
    there are none. Returns the path of the report.
    """
    run = Path(run)
    try:
        scores = collect(run)
        write_text(run / "metrics.json", json.dumps(scores, indent=1) + "\n")
    except ReportError:
        if not partial:
            raise
        scores = None
        (run / "metrics.json").unlink(missing_ok=True)
    return write_text(run / "report.html", _page(run, scores))


def _page(run: Path, scores: dict | None) -> str:
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(duration=duration, interval=interval)
    template = Path(__file__).with_name("report.html").read_text(encoding="utf-8")
    rows = notebooks(run)
    return environment.from_string(template).render(
        name=run.resolve().name,
        scores=scores,
        score_names=SCORES,
        model_names=MODEL_NAMES,
        notebooks=rows,
        pictures=pictures(run),
        origins=origins(run),
        seconds=sum(row["seconds"] for row in rows),
        versions={"Python": platform.python_version(), **dict(_versions())},
        system=f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        today=datetime.date.today().isoformat(),
    )


def _versions() -> Iterator[tuple[str, str]]:
    for package in PACKAGES:
        try:
            yield package, version(package)
        except PackageNotFoundError:
            continue


def summary(run: str | Path) -> str:
    """Two lines for the terminal: the scores of each model, and where the report is."""
    metrics = json.loads((Path(run) / "metrics.json").read_text())
    accuracies = []
    for model, scores in metrics["models"].items():
        accuracy = 100 * scores["clip_accuracy"]["value"]
        accuracies.append(f"{MODEL_NAMES[model]} {accuracy:.1f} %")
    chance = f"chance {100 * metrics['chance']:.1f} %"
    return (
        f"clip accuracy, held-out actors ({chance}): {', '.join(accuracies)}\n"
        f"report: {run}/report.html"
    )


def main(arguments: list[str] | None = None) -> int:
    """Write the report of a run, or only print what it says; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.notebooks.report",
        description="Write metrics.json and report.html of a run.",
    )
    parser.add_argument("run", type=Path, help="such as runs/actors-quick")
    parser.add_argument(
        "--partial", action="store_true", help="report what there is after notebooks failed"
    )
    parser.add_argument(
        "--show", action="store_true", help="only print the scores and where the report is"
    )
    options = parser.parse_args(arguments)
    try:
        if options.show:
            print(summary(options.run))
            return 0
        path = build(options.run, options.partial)
    except ReportError as error:
        print(error, file=sys.stderr)
        return 1
    if options.partial:
        for row in notebooks(options.run):
            if row["error"]:
                print(f"{row['name']}: {row['error']}", file=sys.stderr)
        print(f"not complete; what there is: {path}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
