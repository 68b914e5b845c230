"""Copy the networks, judges and measured tables of a finished run to checkpoints/.

The command is ``python -m tools.ship runs/actors-quick``. Each network is written with its card and
the history of its training. A VAE-GAN is large, so it is written in half precision and without its
discriminator, which only training needs. All others keep their precision: whoever uses them gets
the numbers of the run to the last digit.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path

from cmlib import checkpoints, files
from cmlib.evaluation import judges
from cmlib.experiment import kept, small_vaegans
from cmlib.experiment.run import Run
from cmlib.figures import notebook_02
from cmlib.models import VaeGan


def ship(run: Path, target: Path) -> list[Path]:
    """Write every network of ``run``/checkpoints to ``target``; return the files of weights.

    The cards of the networks that read expressions also receive the test scores of the run.
    """
    scores = json.loads((run / "metrics.json").read_text())["models"]
    shipped = []
    for card_file in sorted((run / "checkpoints").glob("*.json")):
        model, card = checkpoints.load(card_file.with_suffix(""))
        card = {key: value for key, value in card.items() if key not in checkpoints.WRITTEN_BY_SAVE}
        tested = scores.get(card["stage"].removeprefix("classifier_"))
        if tested and card["stage"] not in ("face", "voice"):
            card["test"] = tested
        card["command"] = command_of(card)
        is_vaegan = isinstance(model, VaeGan)
        without = ("discriminator",) if is_vaegan else ()
        path = target / card_file.stem
        bits = 16 if is_vaegan else 32
        shipped.append(checkpoints.save(path, model, card, bits=bits, without=without))
        history = card_file.with_suffix(".history.csv")
        if history.exists():
            shutil.copy(history, target)
    return shipped


def ship_judges(run: Run, target: Path) -> list[Path]:
    """Write the judges of a run that are trained to ``target``; return the files of weights."""
    shipped = []
    for learns_from in judges.TEACHERS:
        path = judges.kept_judge(run, learns_from)
        if checkpoints.is_complete(path):
            judge, _ = checkpoints.load(path)
            card = judges.judge_card(run, learns_from)
            card["command"] = command_of(card)
            shipped.append(checkpoints.save(target / card["stage"], judge, card))
    return shipped


def ship_small_vaegans(run: Run) -> list[Path]:
    """Copy the small VAE-GANs of notebook 02 that this run has trained; return the weights."""
    shipped = []
    data = notebook_02.small_corpus(run).data
    for name, settings in notebook_02.small_settings(run).items():
        kept = small_vaegans.kept_path(small_vaegans.record_of(data, settings, run.seed))
        if checkpoints.is_complete(kept):
            target = files.make_folder(small_vaegans.shipped_folder())
            for file in kept.parent.glob(f"{kept.name}.*"):
                ending = file.name.removeprefix(kept.name)
                if ending != ".lock":
                    shutil.copy(file, target / f"{small_vaegans.file_name(name)}{ending}")
            shipped.append(target / f"{small_vaegans.file_name(name)}.safetensors")
    return shipped


def ship_tables(run: Path, target: Path) -> list[Path]:
    """Copy the tables that a run has measured, in place of those shipped before."""
    tables = target / kept.FOLDER
    shutil.rmtree(tables, ignore_errors=True)
    shipped = []
    for card in sorted((run / kept.FOLDER).glob("*.json")):
        tables.mkdir(parents=True, exist_ok=True)
        shutil.copy(card, tables)
        shipped.append(Path(shutil.copy(card.with_suffix(".csv"), tables)))
    return shipped


def command_of(card: dict) -> str:
    """The command that makes the network of a card again."""
    return (
        f"make reproduce FRESH=1 PROFILE={card['profile']} FOLD={card['fold']} SEED={card['seed']}"
    )


def run_of(folder: Path) -> Run:
    """The run whose results lie in ``folder``, from what its evaluation has recorded."""
    numbers = json.loads((folder / "metrics.json").read_text())
    return Run(numbers["corpus"], numbers["profile"], numbers["seed"], numbers["fold"], str(folder))


def note_checksums(folder: Path) -> list[Path]:
    """Add the checksum of the weights to every card below ``folder`` that lacks it; return these.

    Cards of earlier versions have none. The weights and all other entries stay as they are.
    """
    changed = []
    for weights in sorted(folder.rglob("*.safetensors")):
        card_file = weights.with_suffix(".json")
        text = card_file.read_text()
        card = json.loads(text)
        if "sha256" not in card:
            end = text[len(text.rstrip()) :]
            card["sha256"] = files.checksum(weights)
            changed.append(files.write_text(card_file, json.dumps(card, indent=1) + end))
    return changed


def main(arguments: list[str] | None = None) -> int:
    """Ship a run, or add checksums to cards; return the exit status."""
    parser = argparse.ArgumentParser(prog="ship", description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, nargs="?")
    parser.add_argument(
        "--checksums", action="store_true", help="only add checksums to cards that lack them"
    )
    options = parser.parse_args(arguments)
    if options.checksums:
        for path in note_checksums(files.ROOT / "checkpoints"):
            print(path.relative_to(files.ROOT))
        return 0
    if options.run is None:
        parser.error("name the folder of a run, such as runs/actors-quick")
    target = files.ROOT / "checkpoints" / options.run.resolve().name
    shipped = ship(options.run, target)
    shipped += ship_judges(run_of(options.run), target)
    shipped += ship_small_vaegans(run_of(options.run))
    shipped += ship_tables(options.run, target)
    for path in shipped:
        print(f"{path.relative_to(files.ROOT)}: {path.stat().st_size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
