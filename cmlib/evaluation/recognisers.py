"""Networks that others trained on photographs of people: face-api's expressions and identities.

They are in the npm package @vladmandic/face-api 1.7.15 (MIT). Its networks for expressions and for
identities are computed here with torch from the weights of the package, which are not part of this
repository. ``cm fetch face-api`` downloads them; a folder with the four files of ``FILES`` serves
as well. Neither network shares weights, a teacher or pictures with the networks of this project.

Both expect a face that fills the picture, so they are shown the middle of a crop of ours. How
large a middle was chosen on 50 pairs of CelebA and 62 pictures of performers who train.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from cmlib import files
from cmlib.corpora import cache_root, download
from cmlib.evaluation.judges import PartialJudge, central_square
from cmlib.training.loop import best_device

PACKAGE = download.Archive(
    name="face-api-1.7.15.tgz",
    size=12_677_476,
    md5="863f6a4d32d0a254efccef663cffa5e3",
    url="https://registry.npmjs.org/@vladmandic/face-api/-/face-api-1.7.15.tgz",
)
EXPRESSION, IDENTITY = "face_expression_model", "face_recognition_model"
FILES = {  # of the package's folder model: their SHA-256
    f"{EXPRESSION}.bin": "9a9840f2cf1f4c7eab95f197512569345c00d2426754d4608b92af30e0300f3d",
    f"{EXPRESSION}-weights_manifest.json": (
        "5b349c17c7836da506e03422cd6461c74085d8bb2713ad4114647dc5d28174c8"
    ),
    f"{IDENTITY}.bin": "b413e420d6840b2775fba32008db6f3cddb07d485967fb42cfcf379c16a8c589",
    f"{IDENTITY}-weights_manifest.json": (
        "cbaffa501b0b9275a12b63357a6843e7e30c054e1c9151e1a5f879b26e32986b"
    ),
}
MEAN_COLOUR = torch.tensor([122.782, 117.001, 104.298]).view(1, 3, 1, 1)  # of 0...255
BATCH = 32


class WeightsError(RuntimeError):
    """Weights that are missing or damaged; the message names the file and says what to do."""


# -------------------------------------------------------------------- the weights


def default_folder() -> Path:
    """Where ``fetch`` puts the weights: ``$CM_FACE_API``, or a folder beside prepared corpora."""
    return Path(os.environ.get("CM_FACE_API") or cache_root() / "face-api")


def fetch(folder: Path | None = None, url: str | None = None) -> Path:
    """Download the package and unpack the files of ``FILES`` into ``folder``, which is returned.

    A stopped download resumes, and what is there already is not downloaded again. ``url``: the
    address of the package on another server. FetchError if it cannot be downloaded, and
    ``WeightsError`` if a file in it is not the one that is known.
    """
    folder = folder or default_folder()
    if not _missing(folder):
        return folder
    archive = dataclasses.replace(PACKAGE, url=url or PACKAGE.url)
    path = download.fetch_archive(archive, folder)
    with tarfile.open(path) as package:
        for name, expected in FILES.items():
            member = package.extractfile(f"package/model/{name}")
            content = member.read() if member else b""
            if hashlib.sha256(content).hexdigest() != expected:
                raise WeightsError(f"{path}: its {name} is not that of version 1.7.15; remove it")
            with files.write_atomically(folder / name) as temporary:
                temporary.write_bytes(content)
    path.unlink()
    return folder


def _missing(folder: Path) -> list[str]:
    return [name for name in FILES if not (folder / name).exists()]


def read_weights(name: str, folder: Path | None = None) -> dict[str, Tensor]:
    """The tensors of the network ``name``, ``EXPRESSION`` or ``IDENTITY``, by their names.

    Kernels are turned into torch's order (out, in, height, width). The weights have eight bits, or
    32, as the list beside them says. ``WeightsError`` if a file is missing or has another length.
    """
    folder = folder or default_folder()
    weights, manifest = folder / f"{name}.bin", folder / f"{name}-weights_manifest.json"
    for path in (weights, manifest):
        if not path.exists():
            raise WeightsError(f"{path}: no such file; run `cm fetch face-api`, or set CM_FACE_API")
    content = weights.read_bytes()
    tensors, position = {}, 0
    for entry in json.loads(manifest.read_text())[0]["weights"]:
        packing = entry.get("quantization")
        kind = np.dtype(packing["dtype"] if packing else "float32")
        count = int(np.prod(entry["shape"]))
        if position + count * kind.itemsize > len(content):
            raise WeightsError(f"{weights}: breaks off; remove it and run `cm fetch face-api`")
        values = np.frombuffer(content, kind, count, position).astype(np.float32)
        position += count * kind.itemsize
        if packing:
            values = values * packing["scale"] + packing["min"]
        tensor = torch.from_numpy(values.reshape(entry["shape"]))
        if tensor.dim() == 4:
            # (height, width, in, out), but (height, width, channel, 1) where channels stay apart
            apart = "depthwise" in entry["name"]
            tensor = tensor.permute((2, 3, 0, 1) if apart else (3, 2, 0, 1))
        tensors[entry["name"]] = tensor.contiguous()
    return tensors


def weights_on(device: torch.device, name: str, folder: Path | None) -> dict[str, Tensor]:
    """The tensors of ``read_weights`` on a device, where they stay: nothing else uses them."""
    return {key: tensor.to(device) for key, tensor in read_weights(name, folder).items()}


def _network_input(pictures: Tensor, share: float, down: float, size: int) -> Tensor:
    """The middle of pictures (B, 3, S, S) in 0...1 as both networks expect it, (B, 3, size, size).

    ``share`` and ``down`` are those of ``judges.central_square``.
    """
    middle = central_square(pictures.float().clamp(0, 1), share, down)
    x = F.interpolate(middle, (size, size), mode="bilinear", antialias=True)
    return (255 * x - MEAN_COLOUR.to(x.device)) / 255


# -------------------------------------------------------------------- expressions


class FaceApi(PartialJudge):
    """A judge that others trained on photographs: face-api's network for expressions.

    Four dense blocks of separable convolutions with a sum in place of a concatenation, and one
    linear layer.
    """

    OUTPUTS = ("neutral", "happy", "sad", "angry", "fearful", "disgust", "surprised")
    SIZE = 112
    SHARE = 0.65  # of a crop's side that it is shown

    def __init__(self, classes: Sequence[str], folder: Path | None = None):
        super().__init__(classes)
        self.device = best_device()
        self.weights = weights_on(self.device, EXPRESSION, folder)

    @torch.no_grad()
    def probabilities(self, pictures: Tensor) -> np.ndarray:
        """As ``PartialJudge.probabilities``; pictures of any size."""
        parts = []
        for batch in pictures.split(BATCH):
            x = _network_input(batch.to(self.device), self.SHARE, 0.0, self.SIZE)
            for block in range(4):
                x = self._dense_block(x, block)
            features = F.avg_pool2d(x, 7, 2).flatten(1)  # (B, 256)
            logits = features @ self.weights["fc/weights"] + self.weights["fc/bias"]
            parts.append(logits.softmax(1).cpu())
        return torch.cat(parts).numpy()

    def _dense_block(self, x: Tensor, block: int) -> Tensor:
        """Halve the sides of x, and add to the first convolution three that build on the sum."""
        name = f"dense{block}"
        if block == 0:
            kernel, bias = self.weights[f"{name}/conv0/filters"], self.weights[f"{name}/conv0/bias"]
            total = F.relu(_convolve(x, kernel, 2) + bias.view(1, -1, 1, 1))
        else:
            total = F.relu(self._separable(x, f"{name}/conv0", 2))
        for layer in (1, 2, 3):
            total = total + self._separable(F.relu(total), f"{name}/conv{layer}", 1)
        return F.relu(total)

    def _separable(self, x: Tensor, name: str, stride: int) -> Tensor:
        """Each channel by itself with a kernel of 3 x 3, and then their sums for each pixel."""
        depthwise = self.weights[f"{name}/depthwise_filter"]
        x = _convolve(x, depthwise, stride, groups=len(depthwise))
        return F.conv2d(x, self.weights[f"{name}/pointwise_filter"], self.weights[f"{name}/bias"])


def _convolve(x: Tensor, kernel: Tensor, stride: int, groups: int = 1) -> Tensor:
    """A kernel of 3 x 3 with tensorflow's padding "same" of pictures with even sides."""
    # With a stride of 2, tensorflow pads right and below alone.
    padding = (1, 1, 1, 1) if stride == 1 else (0, 1, 0, 1)
    return F.conv2d(F.pad(x, padding), kernel, stride=stride, groups=groups)


# -------------------------------------------------------------------- identities


class FaceIdentity:
    """face-api's network for identities: its vectors of two pictures of one person are close.

    A residual network of 29 convolutions that learnt to keep pictures of one person within a
    distance of 0.6 (King 2017, dlib).
    """

    BLOCKS = (
        "32_1 32_2 32_3 64_down 64_1 64_2 64_3 128_down 128_1 128_2"
        " 256_down 256_1 256_2 256_down_out"
    ).split()
    SIZE = 150
    SHARE, DOWN = 0.8, 0.06  # of a crop's side that it is shown, and how far below the middle
    SAME_PERSON = 0.6  # distance of two vectors below which they are taken for one person

    def __init__(self, folder: Path | None = None):
        self.device = best_device()
        self.weights = weights_on(self.device, IDENTITY, folder)

    @torch.no_grad()
    def __call__(self, pictures: Tensor) -> Tensor:
        """Pictures (N, 3, S, S) in 0...1 -> vectors (N, 128), to be compared by their distance."""
        parts = []
        for batch in pictures.split(BATCH):
            x = _network_input(batch.to(self.device), self.SHARE, self.DOWN, self.SIZE)
            x = F.max_pool2d(F.relu(self._convolution(x, "conv32_down", 2)), 3, 2)
            for block in self.BLOCKS:
                x = self._residual_block(x, f"conv{block}")
            parts.append((x.mean((2, 3)) @ self.weights["fc"]).cpu())
        return torch.cat(parts)

    def _residual_block(self, x: Tensor, name: str) -> Tensor:
        """Two convolutions beside x; a block whose name has "down" halves the sides."""
        halves = "down" in name
        inner = F.relu(self._convolution(x, f"{name}/conv1", 2 if halves else 1))
        y = self._convolution(inner, f"{name}/conv2", 1)
        if halves:
            x = F.avg_pool2d(x, 2)
            # The shorter of the two is filled up with zeros, in its sides and in its channels.
            missing = x.shape[-1] - y.shape[-1]
            y = F.pad(y, (0, missing, 0, missing))
            x = F.pad(x, (0, 0, 0, 0, 0, y.shape[1] - x.shape[1]))
        return F.relu(x + y)

    def _convolution(self, x: Tensor, name: str, stride: int) -> Tensor:
        """A convolution, and a scale and an offset for each channel."""
        kernel = self.weights[f"{name}/conv/filters"]
        padding = kernel.shape[-1] // 2 if stride == 1 else 0
        x = F.conv2d(x, kernel, self.weights[f"{name}/conv/bias"], stride, padding)
        scale, offset = self.weights[f"{name}/scale/weights"], self.weights[f"{name}/scale/biases"]
        return x * scale.view(1, -1, 1, 1) + offset.view(1, -1, 1, 1)


def nearest_person(vectors: Tensor, known: Tensor) -> np.ndarray:
    """Which of the ``known`` vectors (M, E) is nearest to each of ``vectors`` (N, E): (N,)."""
    return torch.cdist(vectors, known).argmin(1).numpy()
