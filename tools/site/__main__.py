"""Build the site, or compare what its page computes with what Python computes.

`python -m tools.site build` writes all of it to `site`. `... demo` and `... book` write the demo in
the page and the book alone, `... parity` compares the page with Python, and `... measures` says how
large and how fast the page is, and what Lighthouse gives it. See
`tools/site/__init__.py` for what each needs.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from cmlib import checkpoints, files
from cmlib.corpora import CorpusError

from .links import faults

SITE = files.ROOT / "site"


def make_parser() -> argparse.ArgumentParser:
    """The commands of this program and their options."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.site",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    build = commands.add_parser("build", help="the whole site: the demo and the book")
    demo = commands.add_parser("demo", help="the demo that runs in the reader's browser")
    book = commands.add_parser("book", help="the notebooks and pages as a book")
    for command, folder in ((build, SITE), (demo, SITE / "demo"), (book, SITE)):
        command.add_argument("--out", type=Path, default=folder)
    for command in (build, book):
        command.add_argument("--repository", default="", help="the project's address on GitHub")
    parity = commands.add_parser("parity", help="a table of page against Python")
    parity.add_argument("--demo", type=Path, default=SITE / "demo", help="the page, built before")
    parity.add_argument("--out", type=Path, default=files.ROOT / "docs" / "site_parity.csv")
    parity.add_argument("--faces", type=int, default=20)
    measures = commands.add_parser("measures", help="bytes, seconds, and scores of Lighthouse")
    measures.add_argument("--site", type=Path, default=SITE, help="the site, built before")
    measures.add_argument("--out", type=Path, default=files.ROOT / "docs" / "site_measures.json")
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
    if options.command in ("build", "demo"):
        from .demo import write_demo

        folder = options.out / "demo" if options.command == "build" else options.out
        print(f"{folder}: {write_demo(folder) / 1e6:.1f} MB")
    if options.command in ("build", "book"):
        from .book import write_book

        write_book(options.out, options.repository)
        print(f"{options.out}: the book")
        broken = faults(options.out)
        if options.command == "build" and broken:
            raise ValueError("\n".join(["broken links:", *broken]))
    if options.command in ("build", "demo", "book"):
        print(f"To look at it: python -m http.server --directory {options.out}")
    if options.command == "parity":
        from .parity import write_parity

        print(write_parity(options.demo, options.out, options.faces))
    if options.command == "measures":
        from .measures import write_measures

        print(write_measures(options.site, options.out))


if __name__ == "__main__":
    sys.exit(main())
