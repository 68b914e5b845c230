"""An expression reader that is not the model: a small convolutional network trained directly on pictures.

It answers two questions about a face VAE-GAN: how much expression do the pictures hold, and how much of it is left in
their reconstructions?  Its architecture shares nothing with the VAE-GAN.  A second judge, where it is installed, was
trained by others, on photographs of people.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm.auto import tqdm

from cmlib.corpora import cache_root
from cmlib.experiment.provenance import recipe
from cmlib.training.batches import Pictures, batches
from cmlib.training.loop import launch, quiet


class Judge(nn.Module):
    """Face crop (B, 3, S, S) in 0...1 -> logits (B, classes): four 3x3 convolutions, global pooling, one linear layer."""

    def __init__(self, classes: int = 7, width: int = 24):
        super().__init__()
        widths = [3, width, 2 * width, 4 * width, 4 * width]
        self.layers = nn.Sequential()
        for i, (a, b) in enumerate(zip(widths, widths[1:])):
            stage = [
                nn.Conv2d(a, b, 3, padding=1, bias=False),
                nn.BatchNorm2d(b),
                nn.ReLU(),
                nn.MaxPool2d(2),
            ]
            self.layers.add_module(f"stage_{i}", nn.Sequential(*stage))
        self.head = nn.Linear(4 * width * 4, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = (x - x.mean((2, 3), keepdim=True)) / (
            x.std((2, 3), keepdim=True) + 1e-3
        )  # light and skin tone do not matter
        return self.head(
            F.dropout(F.adaptive_avg_pool2d(self.layers(x), 2).flatten(1), 0.3, self.training)
        )


def train_judge(
    pictures: Pictures, rows: np.ndarray, labels: np.ndarray, *, epochs: int = 12, seed: int = 0
) -> Judge:
    """Train on the pictures ``rows`` with their ``labels`` (one per picture of ``pictures``), flipped and shifted a little.

    The same pictures, labels and settings make the same judge, so it is trained once and kept beside the prepared
    corpora, for every notebook that asks for it.  ``epochs`` 0, as of faces that are not trained, stands for 12.
    """
    epochs = epochs or 12
    seen, classes = hashlib.sha256(labels[rows].astype(np.int64).tobytes()), int(labels.max()) + 1
    for part in batches(rows, 512):
        seen.update(pictures.batch(part).contiguous().numpy())
    used = [inspect.getsource(x) for x in (batches, Pictures)]
    key = recipe(
        "judge", used, seen.hexdigest(), classes, epochs, seed, code=("evaluation/judges.py",)
    )
    file = cache_root() / "judges" / f"{key}.safetensors"
    file.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(file.with_suffix(".lock")):  # who needs it meanwhile, waits
        if not file.exists():
            tensors = _train(pictures, rows, labels, epochs, seed).state_dict()
            save_file(
                {k: v.cpu().contiguous() for k, v in tensors.items()},
                part := file.with_suffix(".part"),
            )
            part.replace(file)
    model = Judge(classes).to(memory_format=torch.channels_last)
    model.load_state_dict(load_file(file))
    return model.eval().requires_grad_(False)


@torch.enable_grad()  # also when asked for from within no_grad
def _train(
    pictures: Pictures, rows: np.ndarray, labels: np.ndarray, epochs: int, seed: int
) -> Judge:
    torch.manual_seed(seed)
    fabric, rng = launch(), np.random.default_rng(seed)
    model = Judge(int(labels.max()) + 1).to(fabric.device).to(memory_format=torch.channels_last)
    steps = epochs * -(-len(rows) // 64)
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=steps + 1)
    for _ in tqdm(range(epochs), disable=quiet(), desc="judge", unit="epoch"):
        for part in batches(rows, 64, rng):
            x = pictures.batch(part, rng.random(len(part)) < 0.5)
            margin = max(1, x.shape[-1] // 20)
            dx, dy = rng.integers(2 * margin + 1, size=2)
            x = F.pad(x, [margin] * 4, mode="replicate")[
                ..., dy : dy + x.shape[-2], dx : dx + x.shape[-1]
            ]
            y = torch.from_numpy(labels[part]).long().to(fabric.device)
            with fabric.autocast():
                loss = F.cross_entropy(
                    model(x.to(fabric.device, memory_format=torch.channels_last)).float(),
                    y,
                    label_smoothing=0.1,
                )
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return model


class Recogniser:
    """A judge that others trained on photographs: the network in the package facex 1.1.0 (MIT), read without importing it.

    It knows no calm and no contempt, so it can be asked about ``asked`` only; its *neutral* is an answer of its own
    where ``classes`` has none.  Of ``data/actors`` at 64 pixels it reads a third, joy nearly always, anger never.
    ModuleNotFoundError, which says how to install it, where package or runtime are missing.
    """

    OUTPUTS = ("angry", "disgust", "fearful", "happy", "neutral", "sad", "surprised")
    INSTALL = "pip install -e '.[recogniser]' && pip install --no-deps facex==1.1.0"

    def __init__(self, classes: Sequence[str]):
        self.classes, self.asked = tuple(classes), tuple(c for c in classes if c in self.OUTPUTS)
        package = find_spec("facex")
        if package is None or find_spec("ai_edge_litert") is None:
            raise ModuleNotFoundError(
                f"no recogniser; in the folder of the repository: {self.INSTALL}"
            )
        weights = Path(package.submodule_search_locations[0]) / "assets" / "model_optimized.tflite"
        runtime = importlib.import_module("ai_edge_litert.interpreter")
        self.network = runtime.Interpreter(str(weights), num_threads=1)
        self.network.allocate_tensors()

    def __call__(self, images: Tensor) -> np.ndarray:
        """Pictures (N, 3, S, S) in 0...1 -> log probabilities (N, classes + 1), the last of what is no class."""
        (given,), (answer,) = self.network.get_input_details(), self.network.get_output_details()
        said = np.empty((len(images), len(self.OUTPUTS)), np.float32)
        for i, image in enumerate(images):
            x = F.interpolate(
                image[None].float(), tuple(given["shape"][1:3]), mode="bilinear"
            )  # 200 x 200
            self.network.set_tensor(given["index"], x.permute(0, 2, 3, 1).contiguous().numpy())
            self.network.invoke()
            said[i] = self.network.get_tensor(answer["index"])[0]
        none = np.zeros(len(said), np.float32)
        known = [said[:, self.OUTPUTS.index(c)] if c in self.asked else none for c in self.classes]
        other = [said[:, k] for k, c in enumerate(self.OUTPUTS) if c not in self.asked]
        return np.log(np.stack([*known, sum(other, none)], 1).clip(1e-12))


@torch.no_grad()
def read(judge: Judge | Recogniser, images: Tensor, batch: int = 256) -> np.ndarray:
    """Log probabilities (N, classes) of pictures (N, 3, S, S) in 0...1; of a recogniser (N, classes + 1)."""
    if isinstance(judge, Recogniser):
        return judge(images.cpu())
    device = next(judge.parameters()).device
    return torch.cat(
        [judge(part.to(device).float()).log_softmax(1).cpu() for part in images.split(batch)]
    ).numpy()
