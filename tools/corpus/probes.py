"""`python -m tools.corpus.probes data/actors [--real SAMPLE]`: how hard the corpus is, beside real acted speech.

Support vector machines read seven emotions (no neutral) from simple features of actors they never saw (the five folds
of `cmlib.splits`) and, for the leakage lesson, from a random split. With `--real` the voice and action unit probes also
run on a folder laid out as `calibrate` wants it, with both repetitions and with the first one only (as shipped).
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import librosa
import numpy as np
from PIL import Image
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from tqdm import tqdm

from cmlib.faces import crop_faces
from cmlib.media import read_audio, read_video
from cmlib.splits import FOLDS

from .calibrate import codes
from .performance import perform
from .population import CELLS, EMOTIONS, statistics
from .prosody import BANDS, FEATURES, SR, measure
from .units import UNITS

MEL = librosa.filters.mel(sr=SR, n_fft=1310, n_mels=128)


def voice(audio: np.ndarray) -> np.ndarray:
    """(256,) mean and standard deviation over the speech frames of the log-mel spectrogram in dB."""
    power = np.abs(librosa.stft(audio.astype(np.float32), n_fft=1310, hop_length=655, pad_mode="constant")) ** 2
    mel = 10 * np.log10(np.maximum(MEL @ power, 1e-10))
    loud = mel.mean(0)
    mel = mel[:, loud > np.percentile(loud, 95) - 30]
    return np.r_[mel.mean(1), mel.std(1)]


def face(path: Path, frames: int = 4) -> np.ndarray:
    """(frames, 2304) grey 48 x 48 face crops from the speaking middle of a clip."""
    pictures = read_video(path)[0]
    picked = pictures[(np.linspace(0.3, 0.75, frames) * len(pictures)).astype(int)]
    crops = crop_faces(picked)[0]
    return np.stack([np.asarray(Image.fromarray(c).convert("L").resize((48, 48)), np.float32).ravel() for c in crops])


def score(x: np.ndarray, names: np.ndarray, pca: bool = False) -> str:
    """Clip accuracy for x (clips, d) or (clips, frames, d): mean ± sd over the actors' folds | random split."""
    keep = names[:, 2] > 1
    x, label, actor = x[keep], names[keep, 2], names[keep, 6]
    x = x if x.ndim == 3 else x[:, None]

    def accuracy(test):
        steps = [StandardScaler(), PCA(100, random_state=0), SVC(C=5)] if pca else [StandardScaler(), SVC(C=3)]
        model = make_pipeline(*steps).fit(x[~test].reshape(-1, x.shape[2]), np.repeat(label[~test], x.shape[1]))
        vote = model.decision_function(x[test].reshape(-1, x.shape[2])).reshape(test.sum(), x.shape[1], -1).mean(1)
        return (model.classes_[vote.argmax(1)] == label[test]).mean()

    folds = [accuracy(np.isin(actor, fold)) for fold in FOLDS if np.isin(actor, fold).any()]
    part = np.random.default_rng(0).permutation(len(label)) % 5
    leaky = [accuracy(part == k) for k in range(5)]
    return f"{np.mean(folds):.3f} ± {np.std(folds):.3f} | {np.mean(leaky):.3f}"


def prosody_table(rows: np.ndarray, names: np.ndarray) -> list[str]:
    """Per cell: F0, log F0 range, log duration and level less neutral, measured on the clips / in the real sample."""
    bands = slice(FEATURES.index(BANDS[0]), FEATURES.index(BANDS[0]) + len(BANDS))
    pick = [FEATURES.index(f) for f in ("f0", "range", "duration")]
    cell = np.array([CELLS.index((EMOTIONS[n[2] - 1], n[3])) for n in names])
    lines = ["| emotion | F0, semitones | F0 range, log | duration, log | level, dB |", "|---|---|---|---|---|"]
    real = statistics("voice")["less_neutral"]["mean"]
    for c in range(1, len(CELLS)):
        here, there = rows[cell == c].mean(0) - rows[cell == 0].mean(0), np.array(real[CELLS[c][0]][str(CELLS[c][1])])
        pairs = [f"{here[k]:.2f} / {there[k]:.2f}" for k in pick]
        pairs.append(f"{here[bands].mean():.1f} / {there[bands].mean():.1f}")
        lines.append(f"| {CELLS[c][0]} {CELLS[c][1]} | " + " | ".join(pairs) + " |")
    return lines


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--real", type=Path, help="a folder as for tools.corpus.calibrate")
    options = parser.parse_args()
    clips = sorted(options.corpus.glob("Actor_*/*.mp4"))
    names = np.array([codes(p.stem) for p in clips])
    sound = [read_audio(p)[0] for p in tqdm(clips, desc="sound")]
    print("voice                    ", score(np.array([voice(a) for a in sound]), names))
    shows = [perform(a, EMOTIONS[e - 1], i, s, r) for _, _, e, i, s, r, a in tqdm(names.tolist(), desc="action units")]
    drawn, shown = [p.intensities for p in shows], [p.au.mean(0) for p in shows]
    print("action units as drawn    ", score(np.array(drawn), names))
    print("action units as displayed", score(np.array(shown), names))
    print("face crops, PCA          ", score(np.array([face(p) for p in tqdm(clips, desc="faces")]), names, pca=True))
    if options.real:
        clips = sorted(options.real.glob("audio/Actor_*/03-01-*.flac"))
        x, real = np.array([voice(read_audio(p)[0]) for p in clips]), np.array([codes(p.stem) for p in clips])
        first = real[:, 5] == 1
        print("real voice               ", score(x, real), "| first repetition:", score(x[first], real[first]))
        with open(options.real / "action_units.csv", newline="") as file:
            table = list(csv.DictReader(file))
        x, real = (
            np.array([[float(r[f"{u}_r"]) for u in UNITS] for r in table]),
            np.array([codes(r["clip"]) for r in table]),
        )
        first = real[:, 5] == 1
        print("real action units        ", score(x, real), "| first repetition:", score(x[first], real[first]))
    print("\n".join(prosody_table(np.array([measure(a) for a in sound]), names)))


if __name__ == "__main__":
    main()
