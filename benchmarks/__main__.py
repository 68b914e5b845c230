"""``python -m benchmarks``: measure, print the table, write the CSV."""

from __future__ import annotations

import argparse
import dataclasses
import logging
import platform
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import pandas as pd
import torch

from benchmarks import beside, context, preparation, processes, reading, step, waiting
from benchmarks.measure import QUICK, Row, Sizes
from cmlib.files import runs_root

GROUPS: dict[str, Callable[[Sizes], list[Row]]] = {
    "step": step.time_rows,  # and its bare convolutions
    "memory": step.memory_rows,
    "input": reading.input_rows,
    "store": reading.store_rows,
    "can": context.rows,
    "prepare": preparation.rows,
    "beside": beside.rows,
    "processes": processes.rows,
    "waiting": waiting.rows,
}
ONLY_IN_FULL = ("waiting",)  # whose commands cannot be made small


TITLES = (
    "| name | ours | other | ratio | lowest-highest | target | reached | share of the machine "
    "| what |"
)


def table(rows: Iterable[Row]) -> str:
    """The rows as a Markdown table."""
    lines = [TITLES, "|---" * TITLES.count(" | ") + "|---|"]
    for r in rows:
        share = f"{r.share:.0%}" if r.share is not None else "-"
        span = f"{r.ratio_low:.2f}-{r.ratio_high:.2f}" if r.repetitions > 1 else "-"
        reached = "yes" if r.reached else "no"
        measured = f"{r.ours:.4g} {r.unit} | {r.other:.4g} {r.unit} | {r.ratio:.2f} | {span}"
        lines.append(
            f"| {r.name} | {measured} | {r.sense} {r.target:g} | {reached} | {share} | {r.what} |"
        )
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Run the groups asked for; 0 whether or not the targets are reached."""
    parser = argparse.ArgumentParser("python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--quick",
        action="store_true",
        help="tiny sizes: shows that it runs, the ratios mean nothing",
    )
    names = f"one of {', '.join(GROUPS)} (step: with its convolutions); may be repeated"
    parser.add_argument("--only", action="append", choices=GROUPS, metavar="NAME", help=names)
    parser.add_argument(
        "--width",
        type=float,
        help="channels of the network of step and memory, 1.0 as released (0.25)",
    )
    parser.add_argument("--batch", type=int, help="pictures a training step (16)")
    parser.add_argument(
        "--out", type=Path, default=runs_root() / "bench", help="folder of bench.csv (runs/bench)"
    )
    options = parser.parse_args(arguments)
    changes = {
        name: value for name in ("width", "batch") if (value := getattr(options, name)) is not None
    }
    sizes = dataclasses.replace(QUICK if options.quick else Sizes(), **changes)
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)

    threads = torch.get_num_threads()
    processor = platform.processor() or platform.machine()
    print(f"{processor}, {threads} threads, torch {torch.__version__}; {sizes}\n")
    rows: list[Row] = []
    usual = [name for name in GROUPS if not (options.quick and name in ONLY_IN_FULL)]
    for name in options.only or usual:
        print(f"measuring {name} ...", file=sys.stderr, flush=True)
        rows += GROUPS[name](sizes)
    options.out.mkdir(parents=True, exist_ok=True)
    machine = {
        "threads": threads,
        "torch": torch.__version__,
        "quick": options.quick,
        "width": sizes.width,
    }
    pd.DataFrame([row.as_dict() | machine for row in rows]).to_csv(
        options.out / "bench.csv", index=False
    )
    print(table(rows))
    print(f"\nwritten: {options.out / 'bench.csv'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
