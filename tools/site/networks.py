"""Write the networks of a perceiver as ONNX files that a browser can compute.

There are four for each set of networks: ``encode_face``, ``encode_voice``, ``perceive`` and
``decode``.  The face finder is shared by all sets.  Nothing in here assumes a size of pictures or
latents, and face and voice latents may differ in length.

Weights that were shipped in eight bits stay in eight bits, with a scale for each row.  A row's
scale absorbs the batch norm behind it, so the browser computes with the weights that Python uses.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from torch import Tensor, nn

from cmlib.models import Posterior
from cmlib.perceiver import MEL_SHAPE, Perceiver
from cmlib.preparation import detector

FEW = 2048  # arrays with fewer values stay in float32
FLOAT = onnx.TensorProto.FLOAT
LEVELS = 127  # whole numbers of an eight-bit weight: -127...127
EXACT = 1e-4  # of the largest weight: a smaller error is one of rounding, not of packing


class EncodeFace(nn.Module):
    """Pictures (B, 3, S, S) in 0...1 -> mean and log variance (B, D), probabilities (B, K)."""

    def __init__(self, perceiver: Perceiver):
        super().__init__()
        self.encoder = perceiver.face.encoder
        self.classifier = perceiver.classifier

    def forward(self, picture: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        posterior = self.encoder(picture)
        return posterior.mu, posterior.logvar, self.classifier(posterior.mu).softmax(1)


class EncodeVoice(nn.Module):
    """Mel spectrograms (B, 1, 128, 128) in 0...1 -> mean and log variance (B, D')."""

    def __init__(self, perceiver: Perceiver):
        super().__init__()
        self.encoder = perceiver.voice.encoder

    def forward(self, mel: Tensor) -> tuple[Tensor, Tensor]:
        return tuple(self.encoder(mel))


class Perceive(nn.Module):
    """Two Gaussians and strengths (B, 1) -> probabilities (B, K), shifted mean (B, D)."""

    def __init__(self, perceiver: Perceiver):
        super().__init__()
        self.can = perceiver.can

    def forward(
        self,
        face_mu: Tensor,
        face_logvar: Tensor,
        voice_mu: Tensor,
        voice_logvar: Tensor,
        strength: Tensor,
    ) -> tuple[Tensor, Tensor]:
        face, voice = Posterior(face_mu, face_logvar), Posterior(voice_mu, voice_logvar)
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
def write_set(perceiver: Perceiver, folder: Path) -> dict[str, int]:
    """Write the four networks of a perceiver into ``folder``; their sizes in bytes by name."""
    folder.mkdir(parents=True, exist_ok=True)
    batch = 2  # 1 would be taken for a constant
    picture = torch.rand(batch, 3, perceiver.size, perceiver.size)
    face = perceiver.face.encoder(picture)
    voice = perceiver.voice.encoder(torch.rand(batch, 1, *MEL_SHAPE))
    strength = torch.rand(batch, 1)
    plans = {
        "encode_face": (
            EncodeFace(perceiver),
            {"picture": picture},
            ["mu", "logvar", "probabilities"],
        ),
        "encode_voice": (
            EncodeVoice(perceiver),
            {"mel": torch.rand(batch, 1, *MEL_SHAPE)},
            ["mu", "logvar"],
        ),
        "perceive": (
            Perceive(perceiver),
            {
                "face_mu": face.mu,
                "face_logvar": face.logvar,
                "voice_mu": voice.mu,
                "voice_logvar": voice.logvar,
                "strength": strength,
            },
            ["probabilities", "mu"],
        ),
        "decode": (Decode(perceiver), {"mu": face.mu}, ["picture"]),
    }
    return {
        name: write(network, inputs, outputs, folder / f"{name}.onnx")
        for name, (network, inputs, outputs) in plans.items()
    }


@torch.no_grad()
def write_face_finder(path: Path) -> int:
    """Write the face finder to ``path``; its size in bytes."""
    size = detector.DETECTOR_SIZE
    inputs = {"picture": torch.rand(1, 3, size, size)}
    return write(FindFace(), inputs, ["points", "probabilities"], path, any_batch=False)


def write(
    network: nn.Module,
    inputs: dict[str, Tensor],
    outputs: Sequence[str],
    path: Path,
    any_batch: bool = True,
) -> int:
    """Write one network to ``path``, its weights packed; its size in bytes.

    ``inputs`` are examples by name.  With ``any_batch`` their first dimension, that of the batch,
    may later have another length.
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
    data = model.SerializeToString()
    path.write_bytes(data)
    return len(data)


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
