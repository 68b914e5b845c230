"""Build the site, or compare what its page computes with what Python computes.

`python -m tools.site demo` writes the demo in the page to `site/demo`, `... parity` compares the
page with Python. See `tools/site/__init__.py` for what each needs.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from cmlib import checkpoints, files
from cmlib.corpora import CorpusError

SITE = files.ROOT / "site"


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tools.site",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    demo = commands.add_parser("demo", help="the demo that runs in the reader's browser")
    demo.add_argument("--out", type=Path, default=SITE / "demo")
    parity = commands.add_parser("parity", help="a table of page against Python")
    parity.add_argument("--demo", type=Path, default=SITE / "demo", help="the page, built before")
    parity.add_argument("--out", type=Path, default=files.ROOT / "docs" / "site_parity.csv")
    parity.add_argument("--faces", type=int, default=20)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    options = make_parser().parse_args(arguments)
    try:
        run(options)
    except (CorpusError, checkpoints.CheckpointError, ValueError, RuntimeError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def run(options: argparse.Namespace) -> None:
    """Carry out one command."""
    if options.command == "demo":
        from .demo import write_demo

        print(f"{options.out}: {write_demo(options.out) / 1e6:.1f} MB")
        print(f"To look at it: python -m http.server --directory {options.out}")
    if options.command == "parity":
        from .parity import write_parity

        print(write_parity(options.demo, options.out, options.faces))


if __name__ == "__main__":
    sys.exit(main())
