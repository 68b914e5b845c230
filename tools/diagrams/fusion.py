"""Simpler ways to combine two senses: notebooks 05 and 06."""

from __future__ import annotations

import math

import numpy as np
import torch

from cmlib.config import PROFILES
from cmlib.corpora.names import CLASSES
from cmlib.models import Posterior, product_of_experts
from tools.diagrams.drawing import Canvas

QUICK = PROFILES["quick"]


def product() -> Canvas:
    """Two Gaussian experts in one dimension, and their product with the prior."""
    face, voice = (-0.6, 0.9), (1.6, 0.6)  # mean and spread of either
    experts = [
        Posterior(torch.tensor([[mean]]), torch.tensor([[2 * math.log(spread)]]))
        for mean, spread in (face, voice)
    ]
    joint = product_of_experts(*experts)
    both = (float(joint.mu), math.exp(0.5 * float(joint.logvar)))
    canvas = Canvas(
        "product_of_experts",
        400,
        "A product of experts",
        """Two Gaussians in one latent dimension: what the face says, which is wide, and what the
        voice says, which is narrower. Their product with the prior is narrower than each of them,
        and lies nearer to the expert that is surer. It assumes that the dimension means the same
        to both.""",
    )
    canvas.text(450, 36, "each expert is weighted by how sure it is", "name")
    base, unit = 260.0, 92.0

    def place(z: float, density: float) -> tuple[float, float]:
        return 430 + unit * z, base - 190 * density

    canvas.line([(60, base), (840, base)], "line", 1.4)
    grid = np.linspace(-3.8, 4.2, 161).tolist()
    for (mean, spread), kind, width, dashes in (
        ((0.0, 1.0), "line", 1.8, "5 5"),
        (face, "face-line", 3, ""),
        (voice, "voice-line", 3, ""),
        (both, "both-line", 4, ""),
    ):
        curve = [
            place(z, math.exp(-0.5 * ((z - mean) / spread) ** 2) / spread / math.sqrt(2 * math.pi))
            for z in grid
        ]
        canvas.line(curve, kind, width, dashes)
    for x, y, words, colour in (
        (250, 176, "face", "face-ink"),
        (662, 150, "voice", "voice-ink"),
        (446, 66, "product", "both-ink"),
        (158, 244, "prior", "soft"),
    ):
        canvas.text(x, y, words, "name", colour)
    canvas.caption(840, base + 24, "one latent dimension", "end")
    canvas.text(
        450,
        316,
        f"T = 1 / σ²:   face {1 / face[1] ** 2:.2f},   voice {1 / voice[1] ** 2:.2f},   prior 1",
        "body",
    )
    canvas.text(
        450,
        346,
        "μ = (T_{face} μ_{face} + T_{voice} μ_{voice}) / (1 + T_{face} + T_{voice})"
        f" = {both[0]:.2f},   σ = {both[1]:.2f}".replace("-", "−"),
        "body",
    )
    canvas.caption(450, 380, "It assumes that a dimension means the same to both senses.")
    return canvas


def readers() -> Canvas:
    """The models that notebook 06 compares: what each of them reads."""
    latent = QUICK.face.latent
    canvas = Canvas(
        "readers",
        400,
        "Five ways to read face and voice",
        """Five ways to read an expression from the same two latents. Face only and voice only read
        one latent. Concatenation reads both side by side. The product of experts reads one
        Gaussian made of two. Context attention reads the face's latent after the voice has moved
        it, and is the only one whose latent can be decoded into a picture.""",
    )
    canvas.text(450, 36, f"one linear layer to {len(CLASSES)} classes, on different inputs", "name")
    rows = (
        ("face only", ("face",), f"{latent}", "what the face shows"),
        ("voice only", ("voice",), f"{latent}", "what the voice says"),
        ("concatenation", ("face", "voice"), f"{2 * latent}", "both side by side"),
        ("product of experts", ("both",), f"{latent}", "one Gaussian of two"),
        ("context attention", ("face", "both"), f"{latent}", "the face, moved by the voice"),
    )
    for row, (name, kinds, inputs, words) in enumerate(rows):
        y = 82 + 64 * row
        canvas.text(210, y + 6, name, "name", "ink", "end")
        for column, kind in enumerate(kinds):
            if name == "context attention":
                continue
            canvas.box(280 + 92 * column, y, 84, 34, kind)
            label = {"face": "face", "voice": "voice", "both": "product"}[kind]
            canvas.text(280 + 92 * column, y + 6, label, "small")
        if name == "context attention":
            canvas.box(280, y, 84, 34, "face")
            canvas.text(280, y + 6, "face", "small")
            canvas.arrow((322, y), (392, y), kind="voice-line")
            canvas.box(436, y, 84, 34, "both")
            canvas.text(436, y + 6, "shifted", "small")
            canvas.text(357, y - 8, "voice", "small", "voice-ink")
        canvas.caption(520, y + 6, f"{inputs} numbers", "start")
        canvas.text(640, y + 6, words, "body", "ink", "start")
    return canvas


def diagrams() -> list[Canvas]:
    """All diagrams of this module."""
    return [product(), readers()]
