"""`python -m tools.ship runs/actors-quick`: copy the networks of a finished run to checkpoints/ with their cards, in half
precision and without the discriminators, which serve training only; with the histories of their training."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path

from cmlib import checkpoints

ROOT = Path(__file__).resolve().parents[1]


def ship(run: Path, target: Path) -> list[Path]:
    """Write every network of ``run``/checkpoints to ``target``, and the run's test scores into each card."""
    scores = json.loads((run / "metrics.json").read_text())["models"]
    written = []
    for card_file in sorted((run / "checkpoints").glob("*.json")):
        model, card = checkpoints.load(card_file.with_suffix(""))
        for made_anew in ("architecture", "config", "versions", "written"):
            card.pop(made_anew)
        if tested := scores.get(card["stage"].removeprefix("classifier_")):
            card["test"] = tested if card["stage"] not in ("face", "voice") else card.get("test")
        card["command"] = (
            f"make reproduce PROFILE={card['profile']} FOLD={card['fold']} SEED={card['seed']}"
        )
        card = {k: v for k, v in card.items() if v is not None}
        without = ("discriminator",) if hasattr(model, "discriminator") else ()
        written.append(
            checkpoints.save(target / card_file.stem, model, card, bits=16, without=without)
        )
        if (history := card_file.with_suffix(".history.csv")).exists():
            shutil.copy(history, target)
    return written


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="ship", description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    options = parser.parse_args(arguments)
    for path in ship(options.run, ROOT / "checkpoints" / options.run.resolve().name):
        print(f"{path.relative_to(ROOT)}: {path.stat().st_size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
