"""Train a face VAE-GAN of photographs that you bring, and measure it.

`python -m tools.photographs components --celeba FOLDER --performers FOLDER --labels TABLE --out
FOLDER` finds the faces and their principal components. `... train` with the same options trains the
network, and goes on where it was stopped. `... evaluate` measures it, also on sets of strangers:
`--strangers london=FOLDER`. `... observers` trains the judges that predict what observers name, and
needs no pictures but those of the performers. See `tools/photographs/__init__.py` for the pictures
and their terms.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path

from cmlib import checkpoints, files
from cmlib.corpora import CorpusError
from cmlib.evaluation.observers import ObserverConfig
from cmlib.models import VaeGan
from cmlib.training.loop import TrainingError

from . import data, observers
from .components import Principal, of_training_pictures
from .evaluate import evaluate
from .kept import find_witnesses
from .represent import represent
from .train import Recipe, train


def make_parser() -> argparse.ArgumentParser:
    """The commands of this program and their options."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.photographs",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    components = commands.add_parser("components", help="principal components of the crops")
    training = commands.add_parser("train", help="train the network, or go on with it")
    evaluation = commands.add_parser("evaluate", help="measure the network on strangers")
    judging = commands.add_parser("observers", help="train judges of what observers name")
    perceiving = commands.add_parser("represent", help="measure mental representations")
    perceiving.add_argument("--corpus", default="performers+ravdess")
    perceiving.add_argument("--profile", default="photographs")
    perceiving.add_argument("--folds", type=int, nargs="+", default=list(observers.ALL_FOLDS))
    perceiving.add_argument("--out", type=Path, required=True, help="folder for the results")
    perceiving.add_argument("--portraits", type=Path, help="neutral pictures of the speakers")
    perceiving.add_argument("--london", type=Path, help="neutral pictures of strangers")
    for command in (components, training, evaluation, judging):
        command.add_argument("--performers", type=Path, required=True, help="posed expressions")
        command.add_argument("--labels", type=Path, required=True, help="file, person, emotion")
        command.add_argument("--out", type=Path, required=True, help="folder for the results")
        command.add_argument("--cache", type=Path, help="folder for the crops")
        command.add_argument("--size", type=int, default=128, help="pixels of a side")
    for command in (components, training, evaluation):
        command.add_argument("--celeba", type=Path, required=True, help="pictures and lists")
        command.add_argument("--fold", type=int, default=1, help="performers for test, 1 to 5")
    components.add_argument("--count", type=int, default=384)
    components.add_argument("--sets", nargs="+", default=["celeba", "performers"])
    for command in (training, judging):
        command.add_argument("--seed", type=int, default=0)
    judging.add_argument("--folds", type=int, nargs="+", default=observers.ALL_FOLDS)
    for field in dataclasses.fields(ObserverConfig):
        if isinstance(field.default, (int, float)):
            option = f"--{field.name.replace('_', '-')}"
            judging.add_argument(option, type=type(field.default), default=field.default)
    training.add_argument("--begin", type=Path, help="folder of a training to begin from")
    training.add_argument("--compiled", action="store_true", help="compile the losses")
    for field in dataclasses.fields(Recipe):
        if field.name != "size":
            option = f"--{field.name.replace('_', '-')}"
            training.add_argument(option, type=type(field.default), default=field.default)
    evaluation.add_argument("--strangers", nargs="*", default=[], metavar="NAME=FOLDER")
    for command in (evaluation, judging, perceiving):
        command.add_argument("--face-api", type=Path, help="weights of the recogniser face-api")
    evaluation.add_argument("--observers", type=Path, help="judges that predict observers")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    options = make_parser().parse_args(arguments)
    try:
        run(options, sys.argv[1:] if arguments is None else arguments)
    except (CorpusError, TrainingError, checkpoints.CheckpointError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def run(options: argparse.Namespace, arguments: list[str]) -> None:
    """Carry out one command."""
    text = " ".join(["python -m tools.photographs", *without_paths(arguments)])
    if options.command == "observers":
        train_observers(options, text)
        return
    if options.command == "represent":
        report = represent(
            options.corpus,
            options.profile,
            options.folds,
            options.out,
            options.portraits,
            options.london,
            options.face_api,
        )
        print(report)
        return
    photographs = data.load(
        options.celeba,
        options.performers,
        options.labels,
        options.size,
        options.cache,
        options.fold,
    )
    path = options.out / "components.safetensors"
    if options.command == "components":
        print(of_training_pictures(photographs, options.count, options.sets).save(path))
        return
    if not path.exists():
        raise CorpusError(f"{path}: no components yet; run the command `components` first")
    base = Principal.load(path)
    if options.command == "train":
        names = [field.name for field in dataclasses.fields(Recipe)]
        recipe = Recipe(**{name: getattr(options, name) for name in names})
        train(
            photographs,
            base,
            recipe,
            options.out,
            options.seed,
            text,
            options.begin,
            compiled=options.compiled,
        )
        print(options.out / "face.safetensors")
        return
    model, _ = checkpoints.load(options.out / "face", VaeGan)
    folders = dict(text.split("=", 1) for text in options.strangers)
    strangers = {
        name: data.strangers(Path(folder), options.size, options.cache)
        for name, folder in folders.items()
    }
    witnesses = find_witnesses(options.fold, options.face_api, options.observers)
    for line in witnesses.missing:
        print(f"left out: {line}", file=sys.stderr)
    report = evaluate(model, base, photographs, strangers, witnesses)
    text = json.dumps(files.plain(report), indent=1) + "\n"
    print(files.write_text(options.out / "metrics.json", text))


def train_observers(options: argparse.Namespace, command: str) -> None:
    """The command ``observers``; ``command`` is its line for the cards."""
    names = [field.name for field in dataclasses.fields(ObserverConfig)]
    chosen = {name: getattr(options, name) for name in names if hasattr(options, name)}
    observers.train(
        observers.load(options.performers, options.labels, options.size, options.cache),
        ObserverConfig(**chosen),
        options.out,
        command,
        options.seed,
        options.folds,
        find_witnesses(1, options.face_api).recognisers,
    )
    print(options.out)


def without_paths(arguments: list[str]) -> list[str]:
    """The arguments for a card: somebody's folders are named by their last part."""
    return [Path(argument).name if "/" in argument else argument for argument in arguments]


if __name__ == "__main__":
    sys.exit(main())
