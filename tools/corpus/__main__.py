"""`python -m tools.corpus build actors` and `python -m tools.corpus crowd`: make the embedded corpora again."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def numbers(text: str) -> list[int]:
    """ "1-4,7" -> [1, 2, 3, 4, 7]."""
    out = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        out += range(int(first), int(last or first) + 1)
    if not out or min(out) < 1 or max(out) > 24:
        raise argparse.ArgumentTypeError("actors are 1..24, for example 1-4,7")
    return out


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] == ["crowd"]:
        from . import crowd

        return crowd.main(arguments[1:]) or 0
    parser = argparse.ArgumentParser(
        prog="python -m tools.corpus", description=__doc__, epilog="see also: python -m tools.corpus crowd --help"
    )
    build = parser.add_subparsers(dest="command", required=True).add_parser(
        "build", help="make the clips of the corpus `actors`"
    )
    build.add_argument("corpus", choices=["actors"])
    build.add_argument("--out", type=Path, default=Path("data/actors"))
    build.add_argument("--actors", type=numbers, default=list(range(1, 25)), help="for example 1-4,7; all by default")
    build.add_argument("--workers", type=int, default=2)
    build.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    from .build import build_actors

    try:
        build_actors(options.out, options.actors, options.workers, options.seed)
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
