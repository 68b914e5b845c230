"""Set the limits of strangeness of a network, or measure how often they warn.

`python -m tools.strangeness limits NETWORK SOURCE` writes the limits into the card of a network of
checkpoints/. SOURCE is actors, celeba (with --celeba FOLDER) or run (the run that has trained it).
`python -m tools.strangeness rates NETWORK ...` writes docs/strangeness.json. Sets of photographs
and recordings are measured where their folders are given.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from cmlib import checkpoints, files, strangeness
from cmlib.corpora import CorpusError
from cmlib.models import VaeGan
from cmlib.preparation.store import StoreError
from cmlib.training.loop import best_device, on_device

from . import inputs
from .inputs import LIMITS, RATES, Inputs

REPORT = files.ROOT / "docs" / "strangeness.json"


def make_parser() -> argparse.ArgumentParser:
    """The commands of this program and their options."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.strangeness",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    limits = commands.add_parser("limits", help="write the limits into the card of a network")
    limits.add_argument("network", help="below checkpoints/, such as crowd-64/face")
    limits.add_argument("source", choices=("actors", "celeba", "run"))
    rates = commands.add_parser("rates", help="measure how often the limits warn")
    rates.add_argument("networks", nargs="+", help="below checkpoints/, such as crowd-64/face")
    rates.add_argument("--ravdess", type=Path, help="recordings of RAVDESS")
    rates.add_argument(
        "--strangers", nargs="*", default=[], metavar="NAME=FOLDER", help="further photographs"
    )
    for command in (limits, rates):
        command.add_argument("--celeba", type=Path, help="pictures and lists of CelebA")
        command.add_argument("--cache", type=Path, help="folder for the crops")
    return parser


def write_limits(options: argparse.Namespace) -> None:
    """Measure the people who set the limits, and put these into the card of the network."""
    path = files.ROOT / "checkpoints" / options.network
    model, card = checkpoints.load(path, VaeGan)
    kind, size = card["stage"], model.config["size"]
    if options.source == "actors":
        people = inputs.actors(kind, LIMITS)
    elif options.source == "run":
        people = inputs.of_run(kind, LIMITS, card)
    elif options.celeba:
        people = inputs.celeba(options.celeba, LIMITS, options.cache)
    else:
        raise CorpusError("celeba: give the folder of its pictures with --celeba")
    with on_device(best_device(), model):
        values = strangeness.measure_all(model, people.batches(size))
    card[strangeness.KEY] = strangeness.card_entry(values, people.name, people.people)
    files.write_text(path.with_suffix(".json"), json.dumps(card, indent=1))
    print(json.dumps(card[strangeness.KEY], indent=1))


def faces(size: int, card: dict, options: argparse.Namespace) -> Iterator[Inputs]:
    """Faces and other pictures of every kind that is there, without those it has learnt from."""
    rng = np.random.default_rng(0)
    for make in (inputs.noise_pictures, inputs.landscapes, inputs.plain_pictures):
        yield make(size, rng)
    if options.celeba:
        yield inputs.celeba(options.celeba, RATES, options.cache)
    for text in options.strangers:
        name, folder = text.split("=", 1)
        yield inputs.strangers(name, Path(folder), options.cache)
    if card["corpus"] != "crowd":
        yield inputs.drawn_people(size)
    yield inputs.actors("face", RATES)


def voices(options: argparse.Namespace) -> Iterator[Inputs]:
    """Voices and other sounds of every kind that is there."""
    rng = np.random.default_rng(0)
    root = files.ROOT / "data" / "actors"
    for make in (inputs.white_noise, inputs.pink_noise, inputs.tone, inputs.chords):
        yield inputs.sounds(make.__name__.replace("_", " "), lambda make=make: make(rng))
    for decibels in (20, 10, 0):
        yield inputs.noisy(root, decibels, rng)
    if options.ravdess:
        yield inputs.recordings("RAVDESS", options.ravdess)
    try:
        yield inputs.german()
    except ImportError as error:
        print(f"German sentences are left out: {error}", file=sys.stderr)
    yield inputs.actors("voice", RATES)


def write_rates(options: argparse.Namespace) -> None:
    """Measure every network on every kind of input, and write the shares that are strange."""
    report = json.loads(REPORT.read_text()) if REPORT.exists() else {}
    for network in options.networks:
        model, card = checkpoints.load(files.ROOT / "checkpoints" / network, VaeGan)
        limits = strangeness.limits_of(card)
        if not limits:
            raise checkpoints.CheckpointError(
                f"{network}: no limits in its card; run python -m tools.strangeness limits"
            )
        size = model.config["size"]
        kinds = voices(options) if card["stage"] == "voice" else faces(size, card, options)
        report[network] = {}
        for kind in kinds:
            kind = kind.evenly()
            with on_device(best_device(), model):
                values = strangeness.measure_all(model, kind.batches(size))
            how_strange = strangeness.strangeness(values, limits)
            report[network][kind.name] = {
                "strange": round(float((how_strange > 1).mean()), 3),
                "median": round(float(np.median(how_strange)), 2),
                "inputs": len(how_strange),
            }
            print(network, kind.name, report[network][kind.name], flush=True)
        files.write_text(REPORT, json.dumps(report, indent=1) + "\n")


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    options = make_parser().parse_args(arguments)
    try:
        write_limits(options) if options.command == "limits" else write_rates(options)
    except (CorpusError, StoreError, checkpoints.CheckpointError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
