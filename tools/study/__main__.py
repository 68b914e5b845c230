"""``python -m tools.study FILE``: the report of a study whose cells are done."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tools.study.cells import read_study
from tools.study.report import write_report


def main(arguments: list[str] | None = None) -> int:
    """Write the report of the study that the arguments name; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.study", description="Write the report of a study."
    )
    parser.add_argument("file", type=Path, help="the YAML file of the study")
    options = parser.parse_args(arguments)
    try:
        page = write_report(read_study(options.file))
    except (ValueError, OSError) as error:
        print(f"study: {error}", file=sys.stderr)
        return 1
    print(page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
