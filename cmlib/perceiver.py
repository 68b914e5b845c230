"""Perceive one face in the context of one voice: checkpoints in, labels and pictures out.

Encoding is done once per face and once per voice (``see``, ``hear``); changing the context strength only shifts a
latent and decodes it (``perceive``), which is what makes a slider answer at once.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont, ImageOps, UnidentifiedImageError
from torch import Tensor

from cmlib import checkpoints, corpora, files
from cmlib.config import PROFILES
from cmlib.corpora.names import CLASSES
from cmlib.models import Can, Classifier, Posterior, VaeGan
from cmlib.models.vaegan import INFERENCE_BATCH
from cmlib.preparation import media, spectrograms, tracking

STAGES = {"face": VaeGan, "voice": VaeGan, "classifier_face": Classifier, "can": Can}
SHORTEST = 0.3  # seconds of sound that still say something
LONGEST = 600  # seconds of sound: more would fill the memory
LARGEST = 100_000_000  # bytes of a file
PIXELS = 25_000_000  # of a picture that has to be decoded whole
LOOK = 1600  # pixels: larger pictures are made this small before the face is looked for


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
    classes: tuple[str, ...] = CLASSES

    def merged(self, side: int = 256) -> Image.Image:
        """original | reconstruction | perceived, each ``side`` pixels wide, with a line below each."""
        before, after = (
            self.classes[int(self.alone.argmax())],
            f"t = {self.strength:g}: {self.label}",
        )
        pictures = {
            "original": self.original,
            f"reconstruction: {before}": self.reconstruction,
            f"perceived, {after}": self.perceived,
        }
        return labelled(list(pictures.values()), list(pictures), side)

    def summary(self) -> dict:
        """Label, strength, probabilities by class name with and without context, remarks: ready for JSON."""
        names = dict(label=self.label, strength=self.strength, notes=list(self.notes))
        both = {"in_context": self.probabilities, "face_alone": self.alone}
        return names | {
            k: {c: round(float(p), 4) for c, p in zip(self.classes, v)} for k, v in both.items()
        }


@dataclass(frozen=True)
class Perceptions:
    """N faces in the context of M voices at T strengths: ``labels`` (N, M, T) strings, ``probabilities`` (N, M, T, K),
    ``alone`` (N, K), ``original`` and ``reconstruction`` (N, S, S, 3), ``perceived`` (N, M, T, S, S, 3), floats in 0...1."""

    labels: np.ndarray
    probabilities: np.ndarray
    alone: np.ndarray
    original: np.ndarray
    reconstruction: np.ndarray
    perceived: np.ndarray
    notes: tuple[str, ...] = ()


def _file(folder: Path, stage: str) -> Path:
    """Where the network of a folder of checkpoints lies (without suffix): a stage without epochs is the shipped one it starts from."""
    if (folder / "can.json").exists():
        profile = PROFILES.get(checkpoints.read_card(folder / "can").get("profile"))
        if profile and (start := profile.untrained(stage)):
            return files.ROOT / "checkpoints" / start
    return folder / stage


def as_released(card: dict) -> bool:
    """Whether a voice network has learnt the spectrograms of the released code."""
    return "released" in card or str(card.get("corpus", "")).endswith("_released")


class Perceiver:
    """The four trained networks of one experiment, ready for single faces and voices on the CPU.

    ``classes`` (K names) are those of the logits; ``released``: the voice network wants the released code's spectrograms.
    """

    def __init__(
        self,
        face: VaeGan,
        voice: VaeGan,
        classifier: Classifier,
        can: Can,
        classes: tuple[str, ...] = CLASSES,
        released: bool = False,
    ):
        self.face, self.voice, self.classifier, self.can = face, voice, classifier, can
        self.size, self.classes, self.released = face.config["size"], classes, released

    @classmethod
    def load(cls, where: str | Path) -> Perceiver:
        """From a run folder, a folder of checkpoints, ``"<corpus>-<profile>"``, or ``"<corpus>"`` (its best profile).

        Own runs come before shipped checkpoints.  CheckpointError says what is missing.
        """
        names = [str(where)] + [f"{where}-{profile}" for profile in reversed(PROFILES)]
        tried = [Path(where) / "checkpoints", Path(where)]
        for name in names:
            tried += [files.ROOT / "runs" / name / "checkpoints", files.ROOT / "checkpoints" / name]
        for folder in tried:
            paths = {stage: _file(folder, stage) for stage in STAGES}
            if all(path.with_suffix(".safetensors").exists() for path in paths.values()):
                cards = {stage: checkpoints.read_card(path) for stage, path in paths.items()}
                if not checkpoints.belong_together(cards):
                    continue  # a training that was stopped half way: its networks do not belong together
                networks, cards = zip(
                    *(checkpoints.load(paths[stage], kind) for stage, kind in STAGES.items())
                )
                return cls(
                    *networks, tuple(cards[-1].get("classes", CLASSES)), as_released(cards[1])
                )
        wanted = ", ".join(f"{stage}.safetensors" for stage in STAGES)
        raise checkpoints.CheckpointError(
            f"{where}: found no folder with {wanted}; train them with make reproduce, or in notebooks 02 to 05"
        )

    # ---------------------------------------------------------------- one face, one voice

    @torch.inference_mode()
    def see(self, face) -> Seen:
        """Encode a face: the path of a picture or a video (its middle frame), a PIL picture, or an RGB array (H, W, 3) uint8.

        A picture of exactly the network's size is taken as a finished crop; in any other the face is found and cropped.
        PerceptionError or MediaError, one line each, where the file or the array cannot be used.
        """
        crop, notes = self._crop(face)
        x = torch.from_numpy(crop.copy()).permute(2, 0, 1)[None].float() / 255
        posterior = self.face.encoder(x)
        own = self.classifier(posterior.mu).softmax(1)[0].numpy()
        return Seen(_image(x), self.decode(posterior.mu)[0], posterior, own, notes)

    @torch.inference_mode()
    def hear(self, voice, rate: int = spectrograms.SAMPLE_RATE) -> Heard:
        """Encode a voice: the path of a sound or video file, a waveform (N,) at ``rate`` hertz, or a mel (128, 128)."""
        mel, notes = self._mel(voice, rate)
        return Heard(mel, self.voice.encoder(torch.from_numpy(mel)[None, None]), notes)

    @torch.inference_mode()
    def perceive(self, face, voice, strength: float = 1.0) -> Perception:
        """A face (or ``Seen``) in the context of a voice (or ``Heard``) at ``strength`` 0...1 (more exaggerates)."""
        (seen,), (heard,) = self._encoded([face], [voice])
        logits, shifted = self.can(seen.posterior, heard.posterior, float(strength))
        probabilities = logits.softmax(1)[0].numpy()
        perceived = self.decode(shifted.mu)[0] if strength else seen.reconstruction
        return Perception(
            label=self.classes[int(probabilities.argmax())],
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
            classes=self.classes,
        )

    @torch.inference_mode()
    def perceive_all(
        self, faces: Iterable, voices: Iterable, strengths: float | Sequence[float] = 1.0
    ) -> Perceptions:
        """Every face of N with every voice of M at every strength of T (a number: T = 1), shifted and decoded in batches.

        Faces and voices are what ``see`` and ``hear`` take, or what they gave.
        """
        seen, heard = self._encoded(faces, voices)
        t = torch.as_tensor(strengths, dtype=torch.float32).reshape(-1)
        shape = len(seen), len(heard), len(t)
        i, j, k = torch.cartesian_prod(*map(torch.arange, shape)).reshape(-1, 3).T  # each (N M T,)
        face = Posterior.cat([s.posterior for s in seen]).map(lambda x: x[i])
        voice = Posterior.cat([h.posterior for h in heard]).map(lambda x: x[j])
        logits, shifted = self.can(face, voice, t[k, None])
        probabilities = logits.softmax(1).numpy().reshape(*shape, -1)
        return Perceptions(
            labels=np.array(self.classes)[probabilities.argmax(-1)],
            probabilities=probabilities,
            alone=np.stack([s.probabilities for s in seen]),
            original=np.stack([s.picture for s in seen]),
            reconstruction=np.stack([s.reconstruction for s in seen]),
            perceived=self.decode(shifted.mu).reshape(*shape, self.size, self.size, 3),
            notes=tuple(dict.fromkeys(note for x in (*seen, *heard) for note in x.notes)),
        )

    def _encoded(self, faces: Iterable, voices: Iterable) -> tuple[list[Seen], list[Heard]]:
        seen = [face if isinstance(face, Seen) else self.see(face) for face in faces]
        return seen, [voice if isinstance(voice, Heard) else self.hear(voice) for voice in voices]

    @torch.inference_mode()
    def read(self, pictures: np.ndarray) -> np.ndarray:
        """What the face classifier reads in pictures (B, S, S, 3), floats in 0...1: probabilities (B, K)."""
        x = torch.from_numpy(pictures).permute(0, 3, 1, 2).contiguous()
        return self.classifier(self.face.encoder(x).mu).softmax(1).numpy()

    @torch.inference_mode()
    def decode(self, mu: Tensor) -> np.ndarray:
        """Latent means (B, D) -> pictures (B, S, S, 3), floats cut to 0...1."""
        return (
            torch.cat([self.face.decoder(part).clamp(0, 1) for part in mu.split(INFERENCE_BATCH)])
            .permute(0, 2, 3, 1)
            .numpy()
        )

    # ---------------------------------------------------------------- what people bring

    def _crop(self, face) -> tuple[np.ndarray, tuple[str, ...]]:
        """(crop (S, S, 3) uint8, remarks)."""
        name, notes = "the picture", ()
        if isinstance(face, (str, Path)):
            path, name = check_size(face), Path(face).name
            if path.suffix.lower() in corpora.VIDEO_SUFFIXES:
                face, notes = (
                    media.read_video(path, 1)[0][0],
                    (f"{name}: a video, its middle frame was taken",),
                )
            else:
                face = open_picture(path)
        if isinstance(face, Image.Image):
            face = np.asarray(upright(face))
        if not (
            isinstance(face, np.ndarray)
            and face.dtype == np.uint8
            and face.ndim == 3
            and face.shape[2] == 3
        ):
            described = f"{getattr(face, 'dtype', type(face).__name__)} {getattr(face, 'shape', '')}".strip()
            raise PerceptionError(
                f"{name}: wanted an RGB array (H, W, 3) of uint8, got {described}"
            )
        if face.shape[:2] == (self.size, self.size):
            return face, notes
        crops, report = tracking.crop_faces(face[None], self.size)
        found = (
            "face found and cropped"
            if report.found_rate
            else "no face found, so the middle of it was taken"
        )
        return crops[0], (*notes, f"{name}: {found}")

    def _mel(self, voice, rate: int) -> tuple[np.ndarray, tuple[str, ...]]:
        """(mel spectrogram (128, 128) float32, remarks)."""
        name = "the sound"
        if isinstance(voice, (str, Path)):
            name, (voice, rate) = Path(voice).name, read_sound(voice)
        voice = np.asarray(voice)
        if voice.shape == (128, 128):
            return voice.astype(np.float32), ()
        if voice.ndim != 1:
            raise PerceptionError(
                f"{name}: wanted a waveform (N,) or a mel spectrogram (128, 128), got {voice.shape}"
            )
        if len(voice) < SHORTEST * rate:
            raise PerceptionError(
                f"{name}: {len(voice) / rate:.2f} s of sound is too short; use at least {SHORTEST} s"
            )
        mel = spectrograms.mel_spectrogram(voice, rate, self.released)
        notes = [f"{name}: only the middle {spectrograms.WINDOW_SECONDS:.1f} s are heard"] * (
            len(voice) > spectrograms.WINDOW_SECONDS * rate + 1
        )
        notes += [f"{name}: silent, so it says nothing"] * (not mel.any())
        return mel, tuple(notes)


def check_size(path: str | Path, size: int | None = None) -> Path:
    """The path, unless its file (of ``size`` bytes, where that is known) is missing, empty or too large: PerceptionError."""
    path = Path(path)
    try:
        size = path.stat().st_size if size is None else size
    except OSError as error:
        raise PerceptionError(f"{path}: {error.strerror or error}; check the path") from None
    if not size:
        raise PerceptionError(f"{path}: an empty file; copy or download it again")
    if size > LARGEST:
        raise PerceptionError(
            f"{path}: {size / 1e6:.0f} MB, more than {LARGEST / 1e6:.0f}; use a smaller file"
        )
    return path


def open_picture(path: Path) -> Image.Image:
    """A picture file, decoded no larger than needed; PerceptionError where that cannot be or would take too much memory."""
    try:
        with Image.open(path) as picture:
            picture.draft("RGB", (LOOK, LOOK))  # a large JPEG is decoded small
            if (pixels := picture.width * picture.height) > PIXELS:
                most = f"{pixels / 1e6:.0f} megapixels, more than {PIXELS / 1e6:.0f}"
                raise PerceptionError(f"{path}: {most}; make it smaller, or save it as a JPEG")
            picture.load()
            return upright(picture)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        if isinstance(error, PerceptionError):
            raise
        why = (
            "no picture inside"
            if isinstance(error, UnidentifiedImageError)
            else " ".join(str(error).split())
        )
        raise PerceptionError(
            f"{path}: not a readable picture ({why}); use a PNG or JPEG file"
        ) from None


def upright(picture: Image.Image) -> Image.Image:
    """Any PIL picture as RGB, turned as its EXIF says, at most ``LOOK`` pixels wide and high; what is transparent is white."""
    picture = ImageOps.exif_transpose(picture)
    if picture.mode.startswith(("I", "F")):  # 16 bits, or floats: brought to 0...255
        values = np.asarray(picture, np.float32)
        top = (
            65_535
            if picture.mode.startswith("I;16")
            else next((t for t in (1, 255) if values.max() <= t), 65_535)
        )
        picture = Image.fromarray((values.clip(0, top) * (255 / top)).round().astype(np.uint8))
    elif picture.mode != "RGB":
        picture = picture.convert("RGBA" if picture.has_transparency_data else "RGB")
    if max(picture.size) > LOOK:
        picture = ImageOps.contain(picture, (LOOK, LOOK))
    if picture.mode == "RGBA":
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return picture.convert("RGB")


def read_sound(path: str | Path) -> tuple[np.ndarray, int]:
    """``media.read_audio`` of a file that is not too large and not too long: PerceptionError."""
    path, seconds = check_size(path), 0.0
    with (
        contextlib.suppress(av.error.FFmpegError, OSError, ValueError),
        av.open(str(path)) as container,
    ):
        seconds = (container.duration or 0) / av.time_base
    if seconds > LONGEST:
        raise PerceptionError(
            f"{path}: {seconds / 60:.0f} minutes of sound, more than {LONGEST // 60}; cut it"
        )
    return media.read_audio(path)


def labelled(pictures: Sequence[np.ndarray], lines: Sequence[str], side: int = 256) -> Image.Image:
    """Pictures (S, S, 3), floats in 0...1, beside each other, each ``side`` pixels wide, with a line below each."""
    gap, below = side // 32, side // 8
    sheet = Image.new("RGB", (len(pictures) * (side + gap) + gap, side + gap + below), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(max(10, side // 16))
    for i, (shown, line) in enumerate(zip(pictures, lines, strict=True)):
        left = gap + i * (side + gap)
        small = Image.fromarray((255 * shown.clip(0, 1)).round().astype(np.uint8))
        sheet.paste(small.resize((side, side), Image.Resampling.BICUBIC), (left, gap))
        draw.text((left + side / 2, side + gap + below / 2), line, "#22252B", font, anchor="mm")
    return sheet


def _image(x: Tensor) -> np.ndarray:
    """(1, 3, S, S) -> (S, S, 3) array."""
    return x[0].permute(1, 2, 0).contiguous().numpy()
