"""Write the networks of a perceiver as ONNX files that a browser can compute.

There are four for each set of networks: ``encode_face``, ``encode_voice``, ``perceive`` and
``decode``.  The face finder is shared by all sets.  Nothing in here assumes a size of pictures or
latents, and face and voice latents may differ in length.  A latent is its mean: what the page shows
does not depend on the variances.

Weights that were shipped in eight bits stay in eight bits, with a scale for each row.  A row's
scale absorbs the batch norm behind it, so the browser computes with the weights that Python uses.
The principal components of a face network are the same in its encoder and its decoder, but for
their scales.  They are kept once, as a picture, because neighbouring pixels of a component are
alike and a lossless picture format makes use of that.  All networks are zipped.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from torch import Tensor, nn

from cmlib.models import Posterior
from cmlib.perceiver import MEL_SHAPE, Perceiver
from cmlib.preparation import detector

FEW = 2048  # arrays with fewer values stay in float32
FLOAT = TensorProto.FLOAT
LEVELS = 127  # whole numbers of an eight-bit weight: -127...127
EXACT = 1e-4  # of the largest weight: a smaller error is one of rounding, not of packing
COMPONENTS = "components"  # the name by which networks ask for the principal components
COLUMNS = 24  # components beside each other in their picture
MAX_TIES = 10  # weights that two networks may have rounded differently, by one level


class EncodeFace(nn.Module):
    """Pictures (B, 3, S, S) in 0...1 -> latent means (B, D), probabilities (B, K)."""

    def __init__(self, perceiver: Perceiver):
        super().__init__()
        self.encoder = perceiver.face.encoder
        self.classifier = perceiver.classifier

    def forward(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        mu = self.encoder(picture).mu
        return mu, self.classifier(mu).softmax(1)


class EncodeVoice(nn.Module):
    """Mel spectrograms (B, 1, 128, 128) in 0...1 -> latent means (B, D')."""

    def __init__(self, perceiver: Perceiver):
        super().__init__()
        self.encoder = perceiver.voice.encoder

    def forward(self, mel: Tensor) -> Tensor:
        return self.encoder(mel).mu


class Perceive(nn.Module):
    """Means of face and voice, strengths (B, 1) -> probabilities (B, K), shifted means (B, D)."""

    def __init__(self, perceiver: Perceiver):
        super().__init__()
        self.can = perceiver.can

    def forward(self, face_mu: Tensor, voice_mu: Tensor, strength: Tensor) -> tuple[Tensor, Tensor]:
        # Neither the class nor the shifted mean depends on the variances.
        face = Posterior(face_mu, torch.zeros_like(face_mu))
        voice = Posterior(voice_mu, torch.zeros_like(voice_mu))
        logits, shifted = self.can(face, voice, strength)
        return logits.softmax(1), shifted.mu


class Decode(nn.Module):
    """Latent means (B, D) -> pictures (B, 3, S, S), cut to 0...1."""

    def __init__(self, perceiver: Perceiver):
        super().__init__()
        self.decoder = perceiver.face.decoder

    def forward(self, mu: Tensor) -> Tensor:
        return self.decoder(mu).clamp(0, 1)


class FindFace(nn.Module):
    """A picture (1, 3, 128, 128) in -1...1 -> points (1, 896, 8, 2), probabilities (1, 896)."""

    def __init__(self):
        super().__init__()
        self.detector = detector.load_detector()

    def forward(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        points, logits = self.detector(picture)
        return points, logits.clamp(-50, 50).sigmoid()


@torch.no_grad()
def write_set(perceiver: Perceiver, folder: Path) -> dict[str, str]:
    """Write the four networks of a perceiver into ``folder``; their file names by network."""
    folder.mkdir(parents=True, exist_ok=True)
    batch = 2  # 1 would be taken for a constant
    picture = torch.rand(batch, 3, perceiver.size, perceiver.size)
    mel = torch.rand(batch, 1, *MEL_SHAPE)
    face_mu = perceiver.face.encoder(picture).mu
    voice_mu = perceiver.voice.encoder(mel).mu
    strength = torch.rand(batch, 1)
    components = components_of(perceiver)
    plans = {
        "encode_face": (EncodeFace(perceiver), {"picture": picture}, ["mu", "probabilities"]),
        "encode_voice": (EncodeVoice(perceiver), {"mel": mel}, ["mu"]),
        "perceive": (
            Perceive(perceiver),
            {"face_mu": face_mu, "voice_mu": voice_mu, "strength": strength},
            ["probabilities", "mu"],
        ),
        "decode": (Decode(perceiver), {"mu": face_mu}, ["picture"]),
    }
    written = {}
    for name, (network, inputs, outputs) in plans.items():
        written[name] = f"{name}.onnx.gz"
        write(network, inputs, outputs, folder / written[name], components=components)
    return written


def components_of(perceiver: Perceiver) -> np.ndarray | None:
    """The principal components of a face network in eight bits, (D, C, P, P); None without them.

    ValueError if they were not shipped in eight bits.
    """
    linear = perceiver.face.decoder.linear
    if linear is None:
        return None
    packed = eight_bits(linear.weight.numpy())
    if packed is None:
        raise ValueError("the principal components of the face network are not of eight bits")
    return packed[0].reshape(-1, *linear.shape)


def write_components(components: np.ndarray, path: Path) -> dict:
    """Write principal components (D, C, P, P) int8 as a picture; what the page has to know of it.

    Each component is a square of the picture, and each of its C = 3 channels is a colour.
    """
    count, channels, side, _ = components.shape
    squares = (components.astype(np.int16) + LEVELS + 1).astype(np.uint8)
    grid = squares.reshape(-1, COLUMNS, channels, side, side)  # ValueError if they do not fill it
    rows = grid.transpose(0, 3, 1, 4, 2).reshape(-1, COLUMNS * side, channels)
    Image.fromarray(rows).save(path, lossless=True, quality=100, method=6)
    return {"columns": COLUMNS, "count": count, "side": side}


@torch.no_grad()
def write_face_finder(path: Path) -> None:
    """Write the face finder to ``path``."""
    size = detector.DETECTOR_SIZE
    inputs = {"picture": torch.rand(1, 3, size, size)}
    write(FindFace(), inputs, ["points", "probabilities"], path, any_batch=False)


def write(
    network: nn.Module,
    inputs: dict[str, Tensor],
    outputs: Sequence[str],
    path: Path,
    any_batch: bool = True,
    components: np.ndarray | None = None,
) -> None:
    """Write one network to ``path``, zipped, its weights packed.

    ``inputs`` are examples by name.  With ``any_batch`` their first dimension, that of the batch,
    may later have another length.  ``components`` are those of ``components_of``; where the network
    has them, it asks for them when it is loaded.
    """
    batch = torch.export.Dim("batch")
    dynamic = tuple({0: batch} for _ in inputs) if any_batch else None
    # The exporter tells on standard output and in warnings what it does, and nothing of it is ours.
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            network.eval(),
            tuple(inputs.values()),
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_shapes=dynamic,
            dynamo=True,
        )
    model = program.model_proto
    pack_weights(model.graph)
    del model.metadata_props[:]
    for node in model.graph.node:
        del node.metadata_props[:]  # where each node stood in the source
        node.doc_string = ""
    del model.graph.value_info[:]
    onnx.checker.check_model(model)
    if components is not None:
        share_components(model.graph, components.reshape(len(components), -1))
    path.write_bytes(gzip.compress(model.SerializeToString(), 9, mtime=0))


def share_components(graph: onnx.GraphProto, components: np.ndarray) -> None:
    """Let a network ask for its principal components (D, N) int8 instead of holding them.

    Encoder and decoder were rounded separately, so that a few weights may differ by one level.
    """
    for i, array in enumerate(graph.initializer):
        if array.data_type != TensorProto.INT8:
            continue
        numbers = numpy_helper.to_array(array)
        is_turned = numbers.shape == components.shape[::-1]
        if is_turned:
            numbers = numbers.T
        if numbers.shape != components.shape or (numbers != components).sum() > MAX_TIES:
            continue
        name = f"{array.name}.turned" if is_turned else array.name
        asked = TensorProto(
            name=name,
            data_type=TensorProto.INT8,
            dims=components.shape,
            data_location=TensorProto.EXTERNAL,
        )
        for key, value in (("location", COMPONENTS), ("length", str(components.size))):
            asked.external_data.add(key=key, value=value)
        if is_turned:
            graph.node.insert(0, helper.make_node("Transpose", [name], [array.name], perm=[1, 0]))
        del graph.initializer[i]
        graph.initializer.insert(i, asked)
        return


def pack_weights(graph: onnx.GraphProto) -> None:
    """Replace large float32 arrays by arrays of eight or sixteen bits where nothing is lost.

    The graph then begins with the nodes that unpack them.
    """
    kept, unpacking = [], []
    for array in graph.initializer:
        values = numpy_helper.to_array(array)
        if values.dtype != np.float32 or values.size < FEW:
            kept.append(array)
            continue
        small, whole = f"{array.name}.packed", f"{array.name}.numbers"
        half, eight = values.astype(np.float16), eight_bits(values)
        if eight is not None:
            numbers, scales = eight
            kept.append(numpy_helper.from_array(numbers, small))
            kept.append(numpy_helper.from_array(scales, f"{array.name}.scales"))
            unpacking.append(helper.make_node("Cast", [small], [whole], to=FLOAT))
            unpacking.append(helper.make_node("Mul", [whole, f"{array.name}.scales"], [array.name]))
        elif (half == values).all():
            kept.append(numpy_helper.from_array(half, small))
            unpacking.append(helper.make_node("Cast", [small], [array.name], to=FLOAT))
        else:
            kept.append(array)
    nodes = [*unpacking, *graph.node]
    del graph.initializer[:], graph.node[:]
    graph.initializer.extend(kept)
    graph.node.extend(nodes)


def eight_bits(values: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Weights as int8 and a scale for each row, or for each column; None where this loses anything.

    A row is what has one index in the first dimension, a column in the last (a matrix may have been
    turned by the exporter).  The scales have as many dimensions as the weights.
    """
    for axis in (0, values.ndim - 1):
        others = tuple(i for i in range(values.ndim) if i != axis)
        scales = np.abs(values).max(others, keepdims=True).clip(1e-12) / LEVELS
        numbers = np.round(values / scales)
        if np.abs(numbers * scales - values).max() <= EXACT * np.abs(values).max():
            return numbers.astype(np.int8), scales.astype(np.float32)
    return None
