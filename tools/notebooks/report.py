"""What a run leaves behind: one JSON of numbers per notebook, ``metrics.json`` and one ``report.html``."""

from __future__ import annotations

import argparse
import base64
import datetime
import json
import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from cmlib.files import write_text
from cmlib.plots.palette import MODEL_NAMES
from tools.notebooks.execute import duration

EVALUATION, VOICE_ONLY = "06_evaluation", "04_expression_classifier"
MODELS = ("face", "voice", "product_of_experts", "concatenation", "can_released", "can")
SCORES = ("clip_accuracy", "frame_accuracy", "unweighted_average_recall")
PACKAGES = ("torch", "torchaudio", "lightning-fabric", "librosa", "numpy", "scikit-learn")
LARGEST_SVG = 300_000  # bytes; figures above it (many small pictures) go into the report as PNG


class ReportError(RuntimeError):
    """A run that cannot be reported; the message names the file, what is missing and what to do."""


def collect(run: Path) -> dict:
    """``metrics.json`` out of what the evaluation notebook recorded; ReportError where a key is missing.

    A corpus without faces has no evaluation of the context: then it is the voice alone, as notebook 04 scored it.
    """
    file = run / "metrics" / f"{EVALUATION}.json"
    try:
        numbers, models = json.loads(file.read_text()), MODELS
        if "skipped" in numbers:
            file, models = file.with_name(f"{VOICE_ONLY}.json"), ("voice",)
            numbers = json.loads(file.read_text())
            numbers["models"] = numbers["test"]
        head = {key: numbers[key] for key in ("corpus", "profile", "fold", "seed", "chance")}
        pick = ("value", "low", "high")
        return {
            **head,
            "models": {
                m: {s: {k: numbers["models"][m][s][k] for k in pick} for s in SCORES}
                for m in models
            },
        }
    except OSError:
        raise ReportError(f"{file}: not there; run `make reproduce`") from None
    except ValueError as error:
        raise ReportError(
            f"{file}: not JSON ({error}); delete it and run `make reproduce`"
        ) from None
    except KeyError as error:
        raise ReportError(
            f"{file}: lacks {error}; the last cell of {file.stem}.ipynb must record it"
        ) from None


def failure(book: dict) -> str:
    """Why an executed notebook is not whole, in one line; "" where it is (a deliberate SystemExit(0) is no failure)."""
    outputs = [
        o for cell in book["cells"] for o in cell.get("outputs", []) if o["output_type"] == "error"
    ]
    for output in outputs:
        if (output["ename"], output["evalue"]) not in (("SystemExit", "0"), ("SystemExit", "")):
            return f"{output['ename']}: {output['evalue']}".splitlines()[0][:300]
    return "" if outputs or book["metadata"].get("papermill", {}).get("end_time") else "interrupted"


def notebooks(run: Path) -> list[dict]:
    """One row per executed notebook: name, link, seconds, error ("" where all went well), flat numbers."""
    rows = []
    for path in sorted((run / "notebooks").glob("*.ipynb")):
        try:
            book = json.loads(path.read_text(encoding="utf-8"))
            error = failure(book)
        except ValueError:  # it was being written when the power went
            book, error = {"metadata": {}}, "interrupted"
        timing = book["metadata"].get("papermill", {})
        numbers = run / "metrics" / path.with_suffix(".json").name
        flat = flatten(json.loads(numbers.read_text())) if numbers.exists() and not error else []
        rows.append(
            dict(
                name=path.stem,
                link=f"notebooks/{path.name}",
                seconds=timing.get("duration") or 0,
                error=error,
                numbers=flat,
            )
        )
    return rows


def flatten(value, name: str = "") -> list[tuple[str, str]]:
    """Nested numbers as (path, text) rows; a score with its interval is one row, long lists (curves) are left out."""
    if (
        isinstance(value, dict)
        and {"value", "low", "high"} <= set(value)
        and not isinstance(value["value"], list)
    ):
        return [(name, interval(value))]
    if isinstance(value, dict):
        return [
            row
            for key, v in value.items()
            for row in flatten(v, f"{name} › {key}" if name else key)
        ]
    if isinstance(value, list):
        return (
            [(name, ", ".join(map(_short, value)))]
            if len(value) <= 8 and not any(isinstance(v, (list, dict)) for v in value)
            else []
        )
    return [(name, _short(value))]


def _short(value) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "–" if value is None else str(value)


def interval(score: dict) -> str:
    """A score with its interval, per cent where all three lie in 0...1."""
    numbers = [score[k] for k in ("value", "low", "high")]
    if any(v is None for v in numbers):
        return "–"
    if all(0 <= v <= 1 for v in numbers):
        return "{:.1f} % ({:.0f} to {:.0f})".format(*(100 * v for v in numbers))
    return "{:.4g} ({:.3g} to {:.3g})".format(*numbers)


def pictures(run: Path) -> list[dict]:
    """The figures of a run, each as a data address: the SVG, or the PNG where that is much lighter."""
    rows = []
    for svg in sorted((run / "figures").glob("*.svg")):  # those without a number last
        file = svg if svg.stat().st_size < LARGEST_SVG else svg.with_suffix(".png")
        kind = "svg+xml" if file.suffix == ".svg" else "png"
        title = svg.stem.lstrip("0123456789_").replace("_", " ")
        data = base64.b64encode(file.read_bytes()).decode()
        csv = f"figures/{svg.stem}.csv" if svg.with_suffix(".csv").exists() else ""
        rows.append(
            dict(
                title=title[:1].upper() + title[1:],
                notebook=svg.stem[:2] if svg.stem[:2].isdigit() else "",
                address=f"data:image/{kind};base64,{data}",
                link=f"figures/{svg.name}",
                csv=csv,
            )
        )
    return rows


def build(run: str | Path, partial: bool = False) -> Path:
    """Write ``run``/metrics.json and ``run``/report.html from what the notebooks left there; returns the report's path.

    ``partial`` reports a run in which notebooks failed: the table of scores is left out where there are none.
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
    rows = notebooks(run)
    import jinja2  # notebooks that only record start sooner without

    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(duration=duration, interval=interval)
    template = Path(__file__).with_name("report.html").read_text(encoding="utf-8")
    page = environment.from_string(template).render(
        name=run.resolve().name,
        scores=scores,
        score_names=SCORES,
        model_names=MODEL_NAMES,
        notebooks=rows,
        pictures=pictures(run),
        seconds=sum(row["seconds"] for row in rows),
        versions={"Python": platform.python_version(), **dict(_versions())},
        system=f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        today=datetime.date.today().isoformat(),
    )
    return write_text(run / "report.html", page)


def _versions():
    for package in PACKAGES:
        try:
            yield package, version(package)
        except PackageNotFoundError:
            continue


def summary(run: str | Path) -> str:
    """Two lines for the terminal: the scores of each model, and where the report is."""
    scores = json.loads((Path(run) / "metrics.json").read_text())
    parts = [
        f"{MODEL_NAMES[m]} {100 * s['clip_accuracy']['value']:.1f} %"
        for m, s in scores["models"].items()
    ]
    chance = f"chance {100 * scores['chance']:.1f} %"
    return (
        f"clip accuracy, held-out actors ({chance}): {', '.join(parts)}\nreport: {run}/report.html"
    )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m cmlib.report", description=__doc__.splitlines()[0]
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
