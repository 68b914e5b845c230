"""Perceive one face in the context of one voice: checkpoints in, labels and pictures out.

Encoding is done once per face and once per voice (``see``, ``hear``); changing the context strength only shifts a
latent and decodes it (``perceive``), which is what makes a slider answer at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from cmlib import checkpoints, faces, media, voices
from cmlib.emotions import CLASSES
from cmlib.experiment import ROOT, Run
from cmlib.models import Can, Classifier, Posterior, VaeGan
from cmlib.profiles import PROFILES

STAGES = {"face": VaeGan, "voice": VaeGan, "classifier_face": Classifier, "can": Can}
SHORTEST = 0.3  # seconds of sound that still say something


class PerceptionError(ValueError):
    """A picture or a sound that cannot be used; the message names it, the fault and the remedy."""


@dataclass(frozen=True)
class Seen:
    """A face through the encoder: crop and reconstruction (S, S, 3) floats in 0...1, posterior (1, D), the face's own
    class probabilities (K,), and what was done to the picture in words."""

    picture: np.ndarray
    reconstruction: np.ndarray
    posterior: Posterior
    probabilities: np.ndarray
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Heard:
    """A voice through the encoder: mel spectrogram (128, 128) in 0...1, posterior (1, D), remarks in words."""

    mel: np.ndarray
    posterior: Posterior
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Perception:
    """What becomes of a face in the context of a voice.

    ``probabilities`` (K,) are those of the context network, ``alone`` (K,) those of the face classifier without any
    voice; pictures are (S, S, 3) floats in 0...1; ``difference`` (S, S) is the mean absolute change of the colour
    channels from reconstruction to mental representation; latents are posteriors (1, D).
    """

    label: str
    probabilities: np.ndarray
    alone: np.ndarray
    original: np.ndarray
    reconstruction: np.ndarray
    perceived: np.ndarray
    difference: np.ndarray
    strength: float
    face: Posterior = field(repr=False)
    voice: Posterior = field(repr=False)
    shifted: Posterior = field(repr=False)
    notes: tuple[str, ...] = ()

    def merged(self, gain: float = 4.0) -> np.ndarray:
        """original | reconstruction | mental representation | difference times ``gain``: (S, 4 S, 3) uint8."""
        change = np.repeat(self.difference[..., None] * gain, 3, -1)
        row = np.concatenate([self.original, self.reconstruction, self.perceived, change], 1)
        return (255 * row.clip(0, 1)).round().astype(np.uint8)

    def summary(self) -> dict:
        """Label, strength, probabilities by class name with and without context, remarks: ready for JSON."""
        names = dict(label=self.label, strength=self.strength, notes=list(self.notes))
        both = {"in_context": self.probabilities, "face_alone": self.alone}
        return names | {k: {c: round(float(p), 4) for c, p in zip(CLASSES, v)} for k, v in both.items()}


class Perceiver:
    """The four trained networks of one experiment, ready for single faces and voices on the CPU."""

    def __init__(self, face: VaeGan, voice: VaeGan, classifier: Classifier, can: Can):
        self.face, self.voice, self.classifier, self.can = face, voice, classifier, can
        self.size = face.config["size"]

    @classmethod
    def load(cls, where: str | Path) -> Perceiver:
        """From a run folder, a folder of checkpoints, ``"<corpus>-<profile>"``, or ``"<corpus>"`` (its best profile).

        Own runs come before shipped checkpoints.  CheckpointError says what is missing.
        """
        names = [str(where)] + [f"{where}-{profile}" for profile in reversed(PROFILES)]
        tried = [Path(where) / "checkpoints", Path(where)]
        for name in names:
            tried += [ROOT / "runs" / name / "checkpoints", ROOT / "checkpoints" / name]
        for folder in tried:
            if all((folder / f"{stage}.safetensors").exists() for stage in STAGES):
                return cls(*(checkpoints.load(folder / stage, kind)[0] for stage, kind in STAGES.items()))
        wanted = ", ".join(f"{stage}.safetensors" for stage in STAGES)
        raise checkpoints.CheckpointError(
            f"{where}: found no folder with {wanted}; train them with make reproduce, or in notebooks 02 to 05"
        )

    @classmethod
    def of(cls, run: Run) -> Perceiver:
        """From an experiment, whose missing stages are trained."""
        return cls(run.vaegan("face"), run.vaegan("voice"), run.classifier("face"), run.can())

    # ---------------------------------------------------------------- one face, one voice

    @torch.inference_mode()
    def see(self, face) -> Seen:
        """Encode a face: a path, a PIL picture, or an RGB array (H, W, 3) uint8.

        A picture of exactly the network's size is taken as a finished crop; in any other the face is found and cropped.
        """
        crop, notes = self._crop(face)
        x = torch.from_numpy(crop.copy()).permute(2, 0, 1)[None].float() / 255
        posterior = self.face.encoder(x)
        own = self.classifier(posterior.mu).softmax(1)[0].numpy()
        return Seen(_image(x), self.decode(posterior.mu)[0], posterior, own, notes)

    @torch.inference_mode()
    def hear(self, voice, rate: int = voices.RATE) -> Heard:
        """Encode a voice: the path of a sound or video file, a waveform (N,) at ``rate`` hertz, or a mel (128, 128)."""
        mel, notes = self._mel(voice, rate)
        return Heard(mel, self.voice.encoder(torch.from_numpy(mel)[None, None]), notes)

    @torch.inference_mode()
    def perceive(self, face, voice, strength: float = 1.0) -> Perception:
        """A face (or ``Seen``) in the context of a voice (or ``Heard``) at ``strength`` 0...1 (more exaggerates)."""
        seen = face if isinstance(face, Seen) else self.see(face)
        heard = voice if isinstance(voice, Heard) else self.hear(voice)
        logits, shifted = self.can(seen.posterior, heard.posterior, float(strength))
        probabilities = logits.softmax(1)[0].numpy()
        perceived = self.decode(shifted.mu)[0] if strength else seen.reconstruction
        return Perception(
            label=CLASSES[int(probabilities.argmax())],
            probabilities=probabilities,
            alone=seen.probabilities,
            original=seen.picture,
            reconstruction=seen.reconstruction,
            perceived=perceived,
            difference=np.abs(perceived - seen.reconstruction).mean(-1),
            strength=float(strength),
            face=seen.posterior,
            voice=heard.posterior,
            shifted=shifted,
            notes=seen.notes + heard.notes,
        )

    @torch.inference_mode()
    def decode(self, mu: Tensor) -> np.ndarray:
        """Latent means (B, D) -> pictures (B, S, S, 3), floats cut to 0...1."""
        return self.face.decoder(mu).clamp(0, 1).permute(0, 2, 3, 1).numpy()

    # ---------------------------------------------------------------- what people bring

    def _crop(self, face) -> tuple[np.ndarray, tuple[str, ...]]:
        """(crop (S, S, 3) uint8, remarks)."""
        name = "the picture"
        if isinstance(face, (str, Path)):
            name = str(face)
            try:
                with Image.open(face) as opened:
                    opened.draft("RGB", (1600, 1600))  # a large JPEG is decoded small
                    face = ImageOps.exif_transpose(opened).convert("RGB")
            except (OSError, ValueError, Image.DecompressionBombError) as error:
                raise PerceptionError(f"{name}: not a readable picture ({error}); use a PNG or JPEG file") from None
        if isinstance(face, Image.Image):
            face = face.convert("RGB")
            if face.size != (self.size, self.size):
                face.thumbnail((1600, 1600))
            face = np.asarray(face)
        if not (isinstance(face, np.ndarray) and face.dtype == np.uint8 and face.ndim == 3 and face.shape[2] == 3):
            described = f"{getattr(face, 'dtype', type(face).__name__)} {getattr(face, 'shape', '')}".strip()
            raise PerceptionError(f"{name}: wanted an RGB array (H, W, 3) of uint8, got {described}")
        if face.shape[:2] == (self.size, self.size):
            return face, ()
        crops, report = faces.crop_faces(face[None], self.size)
        found = "face found and cropped" if report.found_rate else "no face found, so the middle of it was taken"
        return crops[0], (f"{name}: {found}",)

    def _mel(self, voice, rate: int) -> tuple[np.ndarray, tuple[str, ...]]:
        """(mel spectrogram (128, 128) float32, remarks)."""
        name = "the sound"
        if isinstance(voice, (str, Path)):
            name, (voice, rate) = str(voice), media.read_audio(voice)
        voice = np.asarray(voice)
        if voice.shape == (128, 128):
            return voice.astype(np.float32), ()
        if voice.ndim != 1:
            raise PerceptionError(f"{name}: wanted a waveform (N,) or a mel spectrogram (128, 128), got {voice.shape}")
        if len(voice) < SHORTEST * rate:
            raise PerceptionError(f"{name}: {len(voice) / rate:.2f} s of sound is too short; use at least {SHORTEST} s")
        mel = voices.mel(voice, rate)
        notes = [f"{name}: only the middle {voices.SECONDS:.1f} s are heard"] * (len(voice) > voices.SECONDS * rate + 1)
        notes += [f"{name}: silent, so it says nothing"] * (not mel.any())
        return mel, tuple(notes)


def _image(x: Tensor) -> np.ndarray:
    """(1, 3, S, S) -> (S, S, 3) array."""
    return x[0].permute(1, 2, 0).contiguous().numpy()


def example(run: Run, clips: np.ndarray, emotion: str, actor: int | None = None) -> int | None:
    """The strongest first clip of an emotion among the rows ``clips`` of the store; None if there is none.

    Clips of ``actor`` are preferred where there are any.
    """
    table = run.store.clips.iloc[clips].assign(row=clips)
    table = table[table.emotion == emotion].assign(other=lambda t: t.actor != actor, weak=lambda t: -t.intensity)
    order = table.sort_values(["other", "weak", "actor", "statement", "repetition"]).row
    return int(order.iloc[0]) if len(order) else None
