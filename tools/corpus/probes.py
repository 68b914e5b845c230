"""How hard the corpus is, beside real acted speech.

`python -m tools.corpus.probes data/actors [--real SAMPLE]`: support vector machines read seven
emotions (no neutral) from simple features of actors whom they never saw (the five folds of
`cmlib.corpora.splits`) and, for the leakage lesson, from a random split. With `--real` the probes
of voices and action units also run on a folder laid out as `calibrate` expects it, and their
figures are kept in `reference.json`. Without `--real` the figures kept there are printed for
comparison.
"""

from __future__ import annotations

import argparse
import csv
import json
import multiprocessing
from pathlib import Path

import librosa
import numpy as np
from PIL import Image
from scipy.stats import spearmanr
from sklearn.calibration import CalibratedClassifierCV
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from tqdm import tqdm

from cmlib.corpora.splits import FOLDS
from cmlib.preparation.media import read_audio, read_video
from cmlib.preparation.tracking import crop_faces

from .calibrate import codes
from .performance import perform
from .population import CELLS, EMOTIONS, statistics
from .prosody import BANDS, FEATURES, SR, measure
from .units import UNITS

REAL = Path(__file__).with_name(
    "reference.json"
)  # what the probes read on RAVDESS: summary figures only
# The figures that the corpus had to meet: others measured them on RAVDESS with similar probes.
REFERENCE = (
    "46.2 ± 4.7; random 67.9",
    "61.7 ± 1.7; random 77.6",
    "61.7 ± 1.7; random 77.6",
    "71.3 ± 3.9",
    "",
)
MEL = librosa.filters.mel(sr=SR, n_fft=1310, n_mels=128)


def voice(audio: np.ndarray) -> np.ndarray:
    """(256,) mean and standard deviation over speech frames of the log-mel spectrogram in dB."""
    power = (
        np.abs(
            librosa.stft(audio.astype(np.float32), n_fft=1310, hop_length=655, pad_mode="constant")
        )
        ** 2
    )
    mel = 10 * np.log10(np.maximum(MEL @ power, 1e-10))
    loud = mel.mean(0)
    mel = mel[:, loud > np.percentile(loud, 95) - 30]
    return np.r_[mel.mean(1), mel.std(1)]


def face(path: Path, frames: int = 4) -> np.ndarray:
    """(frames, 2304) grey 48 x 48 face crops from the speaking middle of a clip."""
    pictures = read_video(path)[0]
    picked = pictures[(np.linspace(0.3, 0.75, frames) * len(pictures)).astype(int)]
    crops = crop_faces(picked)[0]
    return np.stack(
        [
            np.asarray(Image.fromarray(c).convert("L").resize((48, 48)), np.float32).ravel()
            for c in crops
        ]
    )


class Probe:
    """Support vector machine over x (clips, d) or (clips, frames, d) and the clips' name codes.

    Neutral clips are left out. `held_out`, `random`: accuracy in each of the five actor-disjoint
    folds, and in the five parts of a random split. `vote` and `log` (n, 7): scores and calibrated
    log probabilities of the clips, from the machine that did not see their actors.
    """

    def __init__(self, x: np.ndarray, names: np.ndarray, pca: bool = False):
        keep = names[:, 2] > 1
        x, names = x[keep], names[keep]
        self.x = x if x.ndim == 3 else x[:, None]
        self.label, actor = names[:, 2], names[:, 6]
        self.steps = [PCA(100, random_state=0), SVC(C=5)] if pca else [StandardScaler(), SVC(C=3)]
        self.folds = [np.isin(actor, fold) for fold in FOLDS if np.isin(actor, fold).any()]
        part = np.random.default_rng(0).permutation(len(x)) % 5
        self.vote, self.log, shuffled = (
            np.zeros((len(x), 7)),
            np.zeros((len(x), 7)),
            np.zeros((len(x), 7)),
        )
        for test in self.folds:
            self.vote[test] = self._ask(test, "decision_function", *self.steps)
            if not pca:
                steps = [self.steps[0], CalibratedClassifierCV(self.steps[1], ensemble=False)]
                self.log[test] = np.log(self._ask(test, "predict_proba", *steps) + 1e-9)
        for test in (part == k for k in range(5)):
            shuffled[test] = self._ask(test, "decision_function", *self.steps)
        self.held_out = self.accuracies(self.vote)
        self.random = [
            float((shuffled[part == k].argmax(1) + 2 == self.label[part == k]).mean())
            for k in range(5)
        ]

    def _ask(self, test: np.ndarray, what: str, *steps) -> np.ndarray:
        """(clips of test, 7) answers of a machine fitted to the other clips.

        An answer is the mean over a clip's frames.
        """
        x, frames = self.x, self.x.shape[1]
        model = make_pipeline(*steps).fit(
            x[~test].reshape(-1, x.shape[2]), np.repeat(self.label[~test], frames)
        )
        return (
            getattr(model, what)(x[test].reshape(-1, x.shape[2]))
            .reshape(test.sum(), frames, -1)
            .mean(1)
        )

    def accuracies(self, score: np.ndarray) -> list[float]:
        """Of scores (n, 7), fold by fold."""
        return [float((score[t].argmax(1) + 2 == self.label[t]).mean()) for t in self.folds]

    def confusion(self) -> np.ndarray:
        """(7, 7) confusions: rows are the true emotions, columns the machine's answers.

        Each row holds shares of the clips of its emotion.
        """
        guess = self.vote.argmax(1) + 2
        return np.array(
            [[(guess[self.label == i] == j).mean() for j in range(2, 9)] for i in range(2, 9)]
        )


def percent(values: list[float]) -> str:
    """Mean ± standard deviation in %."""
    return f"{100 * np.mean(values):.1f} ± {100 * np.std(values):.1f}"


def figures(probe: Probe) -> tuple[str, str]:
    """Held-out and random-split accuracy in %."""
    return percent(probe.held_out), percent(probe.random)


def fused(one: Probe, other: Probe) -> list[float]:
    """Accuracies of the sum of two probes' log probabilities of the same clips."""
    return one.accuracies(one.log + other.log)


def alike(here: Probe, there: np.ndarray) -> float:
    """Spearman's rank correlation of the 42 confusion rates with those of a (7, 7) matrix."""
    off = ~np.eye(7, dtype=bool)
    return float(spearmanr(here.confusion()[off], there[off])[0])


def prosody_table(rows: np.ndarray, names: np.ndarray) -> list[str]:
    """One row per cell: F0, log F0 range, log duration and level, minus those of neutral clips.

    Each entry reads "measured on the clips / in the real sample".
    """
    bands = slice(FEATURES.index(BANDS[0]), FEATURES.index(BANDS[0]) + len(BANDS))
    pick = [FEATURES.index(f) for f in ("f0", "range", "duration")]
    cell = np.array([CELLS.index((EMOTIONS[n[2] - 1], n[3])) for n in names])
    lines = [
        "| emotion | F0, semitones | F0 range, log | duration, log | level, dB |",
        "|---|---|---|---|---|",
    ]
    real = statistics("voice")["less_neutral"]["mean"]
    near = 0
    for c in range(1, len(CELLS)):
        here, there = (
            rows[cell == c].mean(0) - rows[cell == 0].mean(0),
            np.array(real[CELLS[c][0]][str(CELLS[c][1])]),
        )
        both = [(here[k], there[k]) for k in pick] + [(here[bands].mean(), there[bands].mean())]
        near += sum(abs(h - t) <= abs(t) / 3 for h, t in both)
        pairs = [f"{h:.2f} / {t:.2f}" for h, t in both[:3]]
        pairs.append("{:.1f} / {:.1f}".format(*both[3]))
        lines.append(f"| {CELLS[c][0]} {CELLS[c][1]} | " + " | ".join(pairs) + " |")
    return [*lines, f"within a third of the real difference: {near} of {4 * (len(CELLS) - 1)}"]


def acted(names: tuple) -> tuple[np.ndarray, np.ndarray]:
    """(17,) action units of a clip as drawn and as displayed, as clip means."""
    _, _, e, i, s, r, a = names
    show = perform(a, EMOTIONS[e - 1], i, s, r)
    return show.intensities, show.au.mean(0)


def real(root: Path) -> dict[str, Probe]:
    """Probes "voice" and "units" of the clips of a folder as for `calibrate` that have both."""
    with open(root / "action_units.csv", newline="") as file:
        units = {r["clip"]: [float(r[f"{u}_r"]) for u in UNITS] for r in csv.DictReader(file)}
    code = {tuple(codes(clip)[2:]): clip for clip in units}
    clips = [
        p
        for p in sorted(root.glob("audio/Actor_*/03-01-*.flac"))
        if tuple(codes(p.stem)[2:]) in code
    ]
    names = np.array([codes(p.stem) for p in clips])
    x = np.array([units[code[tuple(n[2:])]] for n in names.tolist()])
    return {
        "voice": Probe(np.array([voice(read_audio(p)[0]) for p in clips]), names),
        "units": Probe(np.sqrt(x), names),
    }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument(
        "--real", type=Path, help="a folder as for tools.corpus.calibrate: measured, and kept"
    )
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    if options.real:
        there = real(options.real)
        kept = {
            k: {"held_out": percent(p.held_out), "random": percent(p.random)}
            for k, p in there.items()
        }
        kept["fused"] = {"held_out": percent(fused(there["voice"], there["units"]))}
        for k, p in there.items():
            kept[k]["confusion"] = np.round(p.confusion(), 3).tolist()
        REAL.write_text(json.dumps(kept, indent=1) + "\n")
    kept = json.loads(REAL.read_text())
    clips = sorted(options.corpus.glob("Actor_*/*.mp4"))
    names = np.array([codes(p.stem) for p in clips])
    sound = [read_audio(p)[0] for p in tqdm(clips, desc="sound")]
    with multiprocessing.get_context("spawn").Pool(options.workers) as pool:
        turn = pool.imap(acted, [tuple(n) for n in names.tolist()], chunksize=8)
        pairs = np.array(list(tqdm(turn, total=len(names), desc="action units")))
    drawn, shown = np.sqrt(pairs[:, 0]), np.sqrt(pairs[:, 1])
    here = {
        "voice": Probe(np.array([voice(a) for a in sound]), names),
        "units": Probe(shown, names),
    }
    plain = Probe(drawn, names)
    crops = Probe(np.array([face(p) for p in tqdm(clips, desc="faces")]), names, pca=True)
    both = percent(fused(here["voice"], here["units"]))
    rows = [
        ("voice: mean and deviation of log-mel", *figures(here["voice"]), kept["voice"]),
        ("action units as displayed", *figures(here["units"]), kept["units"]),
        ("action units as drawn", *figures(plain), kept["units"]),
        ("voice + displayed action units", both, "", kept["fused"]),
        ("face crops: PCA", *figures(crops), {}),
    ]
    print(
        "| probe, % | here | random split | RAVDESS, same probe | random split "
        "| RAVDESS, reference |"
    )
    print("|---|---|---|---|---|---|")
    for row, reference in zip(rows, REFERENCE, strict=True):
        print(
            f"| {' | '.join(row[:3])} | {row[3].get('held_out', '')} | {row[3].get('random', '')} "
            f"| {reference} |"
        )
    for k in ("voice", "units"):
        correlation = alike(here[k], np.array(kept[k]["confusion"]))
        print(f"rank correlation of the confusions, {k}: {correlation:.2f}")
    print("\n".join(prosody_table(np.array([measure(a) for a in sound]), names)))


if __name__ == "__main__":
    main()
