"""Make the embedded corpora again.

`python -m tools.corpus build actors` makes the clips, `... crowd` the pictures of the crowd and
`... voices` its voices. `python -m tools.corpus reenact` lets the same actors act out real action
units with real sounds.
"""

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
    if arguments[:1] in (["crowd"], ["voices"]):
        from . import crowd, crowd_voices

        return {"crowd": crowd, "voices": crowd_voices}[arguments[0]].main(arguments[1:]) or 0
    parser = argparse.ArgumentParser(
        prog="python -m tools.corpus",
        description=__doc__,
        epilog="see also: python -m tools.corpus crowd --help, ... voices --help",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    build = commands.add_parser("build", help="make the clips of the corpus `actors`")
    build.add_argument("corpus", choices=["actors"])
    build.add_argument("--out", type=Path, default=Path("data/actors"))
    again = commands.add_parser("reenact", help="make clips of given action units and sounds")
    again.add_argument(
        "--units", type=Path, required=True, help="CSV: clip, AU01_r, ... (OpenFace's clip means)"
    )
    again.add_argument(
        "--audio", type=Path, required=True, help="folder with Actor_NN/03-01-....flac or .wav"
    )
    again.add_argument("--out", type=Path, required=True, help="a folder outside the repository")
    for command in (build, again):
        command.add_argument(
            "--actors", type=numbers, default=list(range(1, 25)), help="such as 1-4,7; default: all"
        )
        command.add_argument("--workers", type=int, default=2)
        command.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    common = options.out, options.actors, options.workers, options.seed
    try:
        if options.command == "reenact":
            from .reenact import reenact

            try:
                clip_count, skipped_count = reenact(options.units, options.audio, *common)
            except (OSError, ValueError) as error:
                print(" ".join(str(error).split()), file=sys.stderr)
                return 2
            print(f"{clip_count} clips in {options.out}; {skipped_count} rows or sounds left out")
        else:
            from .build import build_actors

            build_actors(*common)
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
