"""Write the statistics of real acted speech and faces to statistics.json.

`python -m tools.corpus.calibrate SAMPLE` reads `audio/Actor_*/03-01-*.flac` (RAVDESS, 22,050 Hz
mono) and `action_units.csv` (OpenFace intensities averaged over each clip) in SAMPLE. It writes
means, standard deviations and correlations over hundreds of clips, and never a value of one clip or
one actor.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path

import numpy as np
import soundfile
from tqdm import tqdm

from .population import CELLS, EMOTIONS, STATISTICS, fit
from .prosody import FEATURES, SR, measure, speech_range

SOURCE = (
    "Livingstone SR, Russo FA (2018) The Ryerson Audio-Visual Database of Emotional Speech and "
    "Song (RAVDESS). "
    "PLoS ONE 13(5): e0196391, Zenodo record 1188976, CC BY-NC-SA 4.0. "
    "Speech clips of 18 actors; action units by OpenFace 2 (clip means)."
)
UNITS = [
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
    "AU25",
    "AU26",
    "AU45",
]


def codes(stem: str) -> list[int]:
    """The seven numbers of a RAVDESS name."""
    return [int(part) for part in stem.split("-")]


def columns(names: list[list[int]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(cell, actor, statement) of parsed names."""
    cell = np.array([CELLS.index((EMOTIONS[n[2] - 1], n[3])) for n in names])
    return cell, np.array([n[6] for n in names]), np.array([n[4] for n in names])


def voices(sample: Path) -> dict:
    """Statistics of `measure` over the sound files, and of the silence around the speech in s."""
    rows, names, silence = [], [], []
    for path in tqdm(sorted(sample.glob("audio/Actor_*/03-01-*.flac")), desc="voices"):
        audio, rate = soundfile.read(path)
        if rate != SR or audio.ndim != 1:
            raise ValueError(f"{path}: expected {SR} Hz mono")
        first, last, _ = speech_range(audio)
        try:
            rows.append(measure(audio))
        except ValueError:  # a whispered clip
            continue
        names.append(codes(path.stem))
        silence.append((first / SR, (len(audio) - last) / SR))
    if not rows:
        raise FileNotFoundError(
            f"{sample}: no audio/Actor_*/03-01-*.flac; give the folder of the sample"
        )
    out = fit(np.array(rows), *columns(names), FEATURES)
    before, after = np.array(silence).T
    return out | {
        "silence": {
            k: [round(float(v.mean()), 3), round(float(v.std()), 3)]
            for k, v in (("before", before), ("after", after))
        }
    }


def faces(sample: Path) -> dict:
    """Statistics of the square roots of the 17 action unit intensities.

    Roots are used because the intensities pile up near 0.
    """
    with open(sample / "action_units.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    x = np.array([[float(r[f"{u}_r"]) for u in UNITS] for r in rows])
    names = [codes(r["clip"]) for r in rows]
    out = fit(np.sqrt(x), *columns(names), UNITS)
    cell = columns(names)[0]
    means = {
        e: {
            str(i): np.round(x[cell == CELLS.index((e, i))].mean(0), 3).tolist()
            for i in (1, 2)
            if (e, i) in CELLS
        }
        for e in EMOTIONS
    }
    return {"scale": "square root of the OpenFace intensity (0..5)", "mean_intensity": means} | out


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sample", type=Path)
    sample = parser.parse_args().sample
    result = {
        "source": SOURCE,
        "model": "tools/corpus/population.py",
        "face": faces(sample),
        "voice": voices(sample),
    }
    lines = [f'"{k}": {json.dumps(v)}' for k, v in result.items() if not isinstance(v, dict)]
    for part in ("face", "voice"):
        lines.append(
            f'"{part}": {{\n'
            + ",\n".join(f'  "{k}": {json.dumps(v)}' for k, v in result[part].items())
            + "\n}"
        )
    STATISTICS.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
