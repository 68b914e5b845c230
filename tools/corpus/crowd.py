"""The crowd: still faces of synthetic people who are not in the cast, to learn faces from.

`python -m tools.corpus crowd --people 600 --out data/crowd` writes two files: `faces.bin` (WebP
pictures one after another, 128 x 128 tight crops) and `faces.csv` (one row per picture: where its
bytes are, who, what). The same arguments and library versions give the same bytes.
"""

import argparse
import csv
import hashlib
import io
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from tools.corpus.actor import Actor
from tools.corpus.expressions import face_units
from tools.corpus.render import Scene, render

FIRST = 1000  # number of the first person; the cast is 1..24
SIZE = 128
COLUMNS = ("offset", "bytes", "person", "sex", "age", "mood", "mouth", "yaw", "pitch", "roll")
# mood -> action units and the middle of their intensities; drawn from 0.15 to 1.0 times as strong
MOODS = {
    "neutral": {},
    "calm": dict(AU12=0.8, AU06=0.4, AU45=0.5),
    "happy": dict(AU12=2.8, AU06=2.2, AU25=1.5, AU10=1.0, AU14=1.0),
    "sad": dict(AU01=2.6, AU04=1.6, AU15=2.4, AU17=2.0),
    "angry": dict(AU04=3.0, AU07=1.8, AU05=0.8, AU23=1.8, AU09=0.8, AU17=0.8),
    "fearful": dict(AU01=2.8, AU02=1.8, AU04=1.4, AU05=2.8, AU20=2.2, AU25=1.8, AU26=0.8),
    "disgust": dict(AU09=2.8, AU10=2.4, AU04=1.8, AU07=1.6, AU15=0.8, AU17=1.4),
    "surprised": dict(AU01=3.0, AU02=3.0, AU05=2.6, AU25=1.8, AU26=2.2),
}
# shapes of the speaking mouth, as face units at full strength
MOUTHS = {
    "rest": {},
    "closed": dict(mouthPress=0.35, mouthRollLower=0.25, mouthRollUpper=0.2),
    "open": dict(jawOpen=0.60, mouthLowerDown=0.30, mouthUpperUp=0.20),
    "wide": dict(mouthStretch=0.45, mouthLowerDown=0.45, mouthUpperUp=0.30, jawOpen=0.15),
    "round": dict(mouthFunnel=0.65, mouthPucker=0.35, jawOpen=0.20),
    "pucker": dict(mouthPucker=0.75, jawOpen=0.05),
    "teeth": dict(mouthUpperUp=0.40, mouthRollLower=0.45, jawOpen=0.06),
    "part": dict(jawOpen=0.22, mouthLowerDown=0.15),
}
UNITS = (
    "AU01",
    "AU02",
    "AU04",
    "AU05",
    "AU06",
    "AU07",
    "AU09",
    "AU10",
    "AU12",
    "AU14",
    "AU15",
    "AU17",
    "AU20",
    "AU23",
)


def picture(actor: Actor, index: int, rng: np.random.Generator) -> tuple[np.ndarray, dict]:
    """One picture (128,128,3) uint8 of a person and its row of the table.

    Moods and mouth shapes take turns, and the rest is drawn at random.
    """
    mood, mouth = list(MOODS)[index % len(MOODS)], list(MOUTHS)[int(rng.integers(len(MOUTHS)))]
    if rng.random() < 0.35:
        mouth = "rest"
    strength = rng.uniform(0.15, 1.0)
    au = {k: v * strength * np.exp(rng.normal(0, 0.25)) for k, v in MOODS[mood].items()}
    for k in rng.choice(
        UNITS, 2, replace=False
    ):  # a trace of something else: real faces are never pure
        au[k] = au.get(k, 0.0) + rng.uniform(0, 0.8)
    if rng.random() < 0.08:
        au["AU45"] = rng.uniform(2, 5)
    units = face_units({k: min(v, 5.0) for k, v in au.items()}, actor)
    speak = rng.uniform(0.4, 1.2)
    for k, w in MOUTHS[mouth].items():
        for full in (
            (k,)
            if k.startswith(("jaw", "mouthF", "mouthPu", "mouthRoll"))
            else (k + "Left", k + "Right")
        ):
            units[full] = min(units.get(full, 0.0) + w * speak, 1.2)
    pose = rng.normal(0, (0.16, 0.08, 0.05))
    gaze = rng.normal(0, (0.10, 0.05))
    image = render(
        actor,
        units,
        tuple(pose),
        tuple(rng.normal(0, 0.012, 2)),
        tuple(gaze),
        Scene.draw(rng, stable=rng.random() < 0.35),
        SIZE,
        "crop",
    )
    row = dict(
        person=actor.number,
        sex="female" if actor.female else "male",
        age=f"{actor.age:.2f}",
        mood=mood,
        mouth=mouth,
        yaw=f"{pose[0]:.3f}",
        pitch=f"{pose[1]:.3f}",
        roll=f"{pose[2]:.3f}",
    )
    return image, row


def person(job: tuple[int, int, int, int]) -> list[tuple[bytes, dict]]:
    """All pictures of one person, WebP-coded: job = (number, pictures, seed, quality)."""
    number, pictures, seed, quality = job
    actor, rng, out = Actor(number, seed), np.random.default_rng([seed, number, 12]), []
    for i in range(pictures):
        image, row = picture(actor, i, rng)
        file = io.BytesIO()
        Image.fromarray(image).save(file, "WEBP", quality=quality, method=6)
        out.append((file.getvalue(), row))
    return out


def build(
    out: Path, people: int, pictures: int = 12, seed: int = 0, quality: int = 60, workers: int = 2
) -> dict:
    """Write faces.bin and faces.csv into `out`; returns counts, bytes and SHA-256 of both."""
    out.mkdir(parents=True, exist_ok=True)
    jobs = [(FIRST + k, pictures, seed, quality) for k in range(people)]
    offset, rows, parts = 0, [], []
    with ProcessPoolExecutor(workers) as pool:
        for result in tqdm(
            pool.map(person, jobs, chunksize=4), total=people, unit="person", desc="crowd"
        ):
            for data, row in result:
                rows.append(dict(row, offset=offset, bytes=len(data)))
                parts.append(data)
                offset += len(data)
    (out / "faces.bin").write_bytes(b"".join(parts))
    with (out / "faces.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
    sums = {
        name: hashlib.sha256((out / name).read_bytes()).hexdigest()
        for name in ("faces.bin", "faces.csv")
    }
    return dict(people=people, pictures=len(rows), bytes=offset, sha256=sums)


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    p = argparse.ArgumentParser(
        prog="python -m tools.corpus crowd", description=__doc__.splitlines()[0]
    )
    p.add_argument("--out", type=Path, default=Path("data/crowd"))
    p.add_argument("--people", type=int, default=600)
    p.add_argument("--pictures", type=int, default=12)
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--quality", type=int, default=60)
    p.add_argument("--workers", type=int, default=2)
    print(build(**vars(p.parse_args(arguments))))


if __name__ == "__main__":
    main()
