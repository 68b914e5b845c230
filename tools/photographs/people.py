"""Store the latents of a few real faces beside a face network, for the demo and the notebooks.

`python -m tools.photographs.people photographs-128/fold-1/face FOLDER` encodes people of the Face
Research Lab London Set (DeBruine & Jones 2017, CC BY 4.0), whose pictures lie in the folders
``neutral`` and ``smiling``. Only latents are kept: what is shown of them is decoded. They have to
be made again when the face network is trained again; until then they count as not there.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch

from cmlib import checkpoints, files
from cmlib.corpora import CorpusError
from cmlib.models import Posterior, VaeGan
from cmlib.preparation import picture_crops

EMOTIONS = {"neutral": "neutral", "smiling": "happy"}  # by the folder of a picture
CARD = {
    "what": "latents of faces as this face network encodes them; the photographs are not shipped",
    "source": "Face Research Lab London Set (DeBruine & Jones 2017)",
    "licence": "CC BY 4.0",
}


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.photographs.people",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("network", help="below checkpoints/, such as photographs-128/fold-1/face")
    parser.add_argument("pictures", type=Path, help="folder with neutral/ and smiling/")
    parser.add_argument("--count", type=int, default=8, help="people, evenly chosen")
    parser.add_argument("--cache", type=Path, help="folder for the crops")
    options = parser.parse_args(arguments)
    face = files.ROOT / "checkpoints" / options.network
    try:
        people = encode(face, options.pictures, options.count, options.cache)
        for path in checkpoints.save_people(face, people, CARD):
            print(f"{path}: {path.stat().st_size / 1e3:.0f} kB")
    except (CorpusError, checkpoints.CheckpointError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


@torch.inference_mode()
def encode(
    face: Path, pictures: Path, count: int, cache: Path | None
) -> dict[tuple[str, str], Posterior]:
    """Posteriors (1, D) of ``count`` people, evenly chosen, by (person, emotion)."""
    model, _ = checkpoints.load(face, VaeGan)
    crops = picture_crops.crop_folder(pictures, model.config["size"], cache)
    rows = {}
    for row, file in enumerate(crops.table.file):
        folder = Path(file).parent.name
        if folder in EMOTIONS:
            rows[Path(file).stem, EMOTIONS[folder]] = row
    numbers = sorted({number for number, _ in rows})
    if not numbers:
        raise CorpusError(f"{pictures}: needs pictures in folders named {', '.join(EMOTIONS)}")
    chosen = np.linspace(0, len(numbers) - 1, min(count, len(numbers))).round().astype(int)
    people = {}
    for number in (numbers[i] for i in chosen):
        for emotion in EMOTIONS.values():
            if (number, emotion) in rows:
                crop = np.array(crops.pictures[rows[number, emotion]])
                x = torch.from_numpy(crop).permute(2, 0, 1)[None].float() / 255
                people[f"London {number}", emotion] = model.encoder(x)
    return people


if __name__ == "__main__":
    sys.exit(main())
