"""Store the typical voice of each emotion beside a voice network, for notebook 12.

`python -m tools.photographs.typical_voices performers+ravdess photographs` takes the networks of
fold 1. Recordings of real voices must not be shipped, and neither must anything that is made from
one of them. A mean over the latents of many recordings tells about none of them.
"""

from __future__ import annotations

import argparse
import sys

import numpy as np

from cmlib import checkpoints, files
from cmlib.corpora import CorpusError
from cmlib.experiment.run import Run
from cmlib.models import Posterior

WHO = "typical"  # stands for the person
CARD = {
    "what": "mean latents of many training voices, one for each emotion; no recording is shipped",
    "source": "RAVDESS (Livingstone & Russo 2018)",
}


def typical_voices(run: Run) -> dict[tuple[str, str], Posterior]:
    """The mean posterior (1, E) of the training voices of each class, by (WHO, emotion)."""
    clips = run.distinct(run.labelled(run.split.train), "voice")
    labels = run.clip_labels[clips]
    voices = {}
    for label, emotion in enumerate(run.classes):
        rows = clips[labels == label]
        mean = run.voice_latents.map(lambda x, rows=rows: x[rows].mean(0, keepdim=True))
        voices[WHO, emotion] = mean
    print(f"{len(clips)} voices, at least {np.bincount(labels).min()} of each emotion")
    return voices


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.photographs.typical_voices",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("corpus", help="such as performers+ravdess")
    parser.add_argument("profile", help="such as photographs")
    options = parser.parse_args(arguments)
    try:
        voices = typical_voices(Run(options.corpus, options.profile))
        folder = files.ROOT / "checkpoints" / f"{options.corpus}-{options.profile}"
        for path in checkpoints.save_people(folder / "voice", voices, CARD):
            print(f"{path}: {path.stat().st_size / 1e3:.0f} kB")
    except (CorpusError, checkpoints.CheckpointError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
