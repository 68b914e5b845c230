"""Contact sheets of the cast, to look at: `python -m tools.corpus.sheets OUT_DIR`."""

import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

from tools.corpus.actor import Actor
from tools.corpus.expressions import face_units
from tools.corpus.render import Scene, render

# typical intensities at the height of a strong performance
TYPICAL = {
    "neutral": {},
    "calm": dict(AU12=0.6, AU06=0.3, AU45=0.4),
    "happy": dict(AU12=3.4, AU06=2.8, AU25=2.0, AU10=1.2, AU14=1.0),
    "sad": dict(AU01=3.2, AU04=1.8, AU15=2.8, AU17=2.4),
    "angry": dict(AU04=3.6, AU07=2.0, AU05=1.0, AU23=2.2, AU09=1.0, AU17=1.0),
    "fearful": dict(AU01=3.2, AU02=2.0, AU04=1.6, AU05=3.4, AU20=2.6, AU25=2.2, AU26=1.0),
    "disgust": dict(AU09=3.4, AU10=3.0, AU04=2.4, AU07=2.0, AU15=1.0, AU17=1.6, AU06=1.4),
    "surprised": dict(AU01=3.6, AU02=3.6, AU05=3.2, AU25=2.4, AU26=2.8),
}


def grid(pictures, columns: int) -> Image.Image:
    """Pictures of one size in rows of `columns`."""
    rows = [np.concatenate(pictures[i : i + columns], 1) for i in range(0, len(pictures), columns)]
    return Image.fromarray(np.concatenate(rows))


def main(out: Path) -> None:
    """Write actors.png (24 neutral faces), emotions.png (actors x emotions, crops) and small.png (64 x 64)."""
    out.mkdir(parents=True, exist_ok=True)
    scene = Scene.draw(np.random.default_rng(0))
    actors = {k: Actor(k) for k in range(1, 25)}
    grid([render(a, {}, scene=scene) for a in actors.values()], 6).save(out / "actors.png")
    start, rows = time.process_time(), []
    for k in actors:
        rows += [
            render(actors[k], face_units(au, actors[k]), scene=scene, size=128, framing="crop")
            for au in TYPICAL.values()
        ]
    print(f"{(time.process_time() - start) / len(rows) * 1000:.1f} ms CPU a 128 x 128 crop")
    grid(rows[:96], 8).save(out / "emotions_1.png")
    grid(rows[96:], 8).save(out / "emotions_2.png")
    grid([np.asarray(Image.fromarray(r).resize((64, 64), Image.BOX)) for r in rows[:96]], 16).save(out / "small.png")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "sheets"))
