"""Copy the networks of a finished run to checkpoints/.

The command is ``python -m tools.ship runs/actors-quick``. Each network is written in half
precision, with its card and the history of its training, and without its discriminator, which only
training needs.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path

from cmlib import checkpoints, files


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
        card["command"] = (
            f"make reproduce PROFILE={card['profile']} FOLD={card['fold']} SEED={card['seed']}"
        )
        without = ("discriminator",) if hasattr(model, "discriminator") else ()
        path = target / card_file.stem
        shipped.append(checkpoints.save(path, model, card, bits=16, without=without))
        history = card_file.with_suffix(".history.csv")
        if history.exists():
            shutil.copy(history, target)
    return shipped


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="ship", description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    options = parser.parse_args(arguments)
    for path in ship(options.run, files.ROOT / "checkpoints" / options.run.resolve().name):
        print(f"{path.relative_to(files.ROOT)}: {path.stat().st_size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
