"""Perceive one face in the context of one voice: checkpoints in, labels and pictures out.

Encoding is done once per face and once per voice (``encode_face``, ``encode_voice``). Another
context strength only shifts a latent and decodes it (``perceive``), which is why a slider answers
at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from cmlib import checkpoints, files, strangeness
from cmlib.config import PROFILES
from cmlib.corpora.names import CLASSES
from cmlib.models import Can, Classifier, Posterior, VaeGan
from cmlib.models.vaegan import INFERENCE_BATCH
from cmlib.preparation import spectrograms, tracking
from cmlib.preparation.inputs import (
    InputError,
    check_size,
    open_face_picture,
    open_sound,
    to_upright_rgb,
)

STAGES = {"face": VaeGan, "voice": VaeGan, "classifier_face": Classifier, "can": Can}
MIN_SOUND_SECONDS = 0.3  # shorter sounds are refused
MEL_SHAPE = (128, 128)  # mel bands, frames
CAPTION_COLOR = "#22252B"
PHOTOGRAPHS = "performers+ravdess-photographs"  # the networks that have learnt photographs

FaceInput = str | Path | Image.Image | np.ndarray
VoiceInput = str | Path | np.ndarray


@dataclass(frozen=True)
class EncodedFace:
    """A face and its latent.

    ``picture`` and ``reconstruction`` are (S, S, 3) floats in 0...1, ``posterior`` is (1, D),
    ``probabilities`` (K,) are those of the face classifier, and ``notes`` say what was done to the
    picture. ``strangeness`` is that of ``cmlib.strangeness``, None where the network has no limits.
    If it is above 1, a warning says so.
    """

    picture: np.ndarray
    reconstruction: np.ndarray
    posterior: Posterior
    probabilities: np.ndarray
    notes: tuple[str, ...] = ()
    strangeness: float | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class EncodedVoice:
    """A voice and its latent: mel spectrogram (128, 128) in 0...1, posterior (1, D), remarks.

    ``strangeness`` and ``warnings`` are as in ``EncodedFace``.
    """

    mel: np.ndarray
    posterior: Posterior
    notes: tuple[str, ...] = ()
    strangeness: float | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Perception:
    """What becomes of a face in the context of a voice.

    ``probabilities`` (K,) are those of the context network, ``alone`` (K,) those of the face
    classifier without any voice. Pictures are (S, S, 3) floats in 0...1. ``difference`` (S, S) is
    the mean absolute change of the colour channels from reconstruction to mental representation.
    Latents are posteriors (1, D). ``warnings`` say why the answer should not be trusted, and
    ``strangeness`` is that of the "face" and of the "voice".
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
    warnings: tuple[str, ...] = ()
    strangeness: Mapping[str, float | None] = field(default_factory=dict)

    def merged(self, side: int = 256) -> Image.Image:
        """original | reconstruction | perceived, each ``side`` pixels wide, with captions."""
        label_alone = self.classes[int(self.alone.argmax())]
        pictures = (self.original, self.reconstruction, self.perceived)
        captions = (
            "original",
            f"reconstruction: {label_alone}",
            f"perceived, t = {self.strength:g}: {self.label}",
        )
        return captioned_strip(pictures, captions, side)

    def summary(self) -> dict:
        """Label, strength, remarks, warnings, and probabilities by class, in context and alone.

        Ready for JSON; probabilities and strangeness have four digits.
        """
        return {
            "label": self.label,
            "strength": self.strength,
            "notes": list(self.notes),
            "warnings": list(self.warnings),
            "strangeness": {
                name: None if value is None else round(value, 4)
                for name, value in self.strangeness.items()
            },
            "in_context": self._by_class(self.probabilities),
            "face_alone": self._by_class(self.alone),
        }

    def _by_class(self, probabilities: np.ndarray) -> dict[str, float]:
        return {name: round(float(p), 4) for name, p in zip(self.classes, probabilities)}


@dataclass(frozen=True)
class Perceptions:
    """N faces in the context of M voices at T strengths.

    ``labels`` (N, M, T) are strings, ``probabilities`` are (N, M, T, K), ``alone`` (N, K),
    ``original`` and ``reconstruction`` (N, S, S, 3), ``perceived`` (N, M, T, S, S, 3): floats in
    0...1.
    """

    labels: np.ndarray
    probabilities: np.ndarray
    alone: np.ndarray
    original: np.ndarray
    reconstruction: np.ndarray
    perceived: np.ndarray
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def as_released(card: dict) -> bool:
    """Whether a voice network has learnt the spectrograms of the released code."""
    return "released" in card or str(card.get("corpus", "")).endswith("_released")


def _candidate_folders(where: str | Path) -> Iterator[Path]:
    """Folders that may hold the networks called ``where``: one's own runs before shipped ones."""
    yield Path(where) / "checkpoints"
    yield Path(where)
    for name in (str(where), *(f"{where}-{profile}" for profile in reversed(PROFILES))):
        yield files.runs_root() / name / "checkpoints"
        yield files.ROOT / "checkpoints" / name


def _network_path(folder: Path, stage: str) -> Path:
    """Where a network of a folder of checkpoints lies, without suffix.

    A stage that the folder's profile does not train is the shipped network it would start from.
    """
    if (folder / "can.json").exists():
        card = checkpoints.read_card(folder / "can")
        profile = PROFILES.get(card.get("profile", ""))
        start = profile.fixed_network(stage, card.get("fold", 1)) if profile else ""
        if start:
            return files.ROOT / "checkpoints" / start
    return folder / stage


class Perceiver:
    """The four trained networks of one experiment, ready for single faces and voices on the CPU.

    ``classes`` (K names) are those of the logits. ``released`` says that the voice network wants
    the spectrograms of the released code. ``limits`` are those of ``cmlib.strangeness`` for the
    "face" and for the "voice"; without them nothing is strange. ``name`` is for messages.
    ``people`` are latents of real faces by (person, emotion), which this face network has encoded.
    """

    def __init__(
        self,
        face: VaeGan,
        voice: VaeGan,
        classifier: Classifier,
        can: Can,
        classes: tuple[str, ...] = CLASSES,
        released: bool = False,
        limits: Mapping[str, Mapping[str, float] | None] | None = None,
        name: str = "",
        people: Mapping[tuple[str, str], Posterior] | None = None,
    ):
        self.face = face
        self.voice = voice
        self.classifier = classifier
        self.can = can
        self.size = int(face.config["size"])
        self.classes = classes
        self.released = released
        self.limits = dict(limits or {})
        self.name = name
        self.title = f"the networks {name}" if name else "these networks"
        self.people = dict(people or {})

    @classmethod
    def load(cls, where: str | Path) -> Perceiver:
        """Load the networks of a run or of a folder of checkpoints.

        ``where`` is such a folder, ``"<corpus>-<profile>"``, or ``"<corpus>"`` for its best
        profile. Your own runs come before shipped checkpoints. CheckpointError says what is
        missing.
        """
        for folder in _candidate_folders(where):
            paths = {stage: _network_path(folder, stage) for stage in STAGES}
            if not all(path.with_suffix(".safetensors").exists() for path in paths.values()):
                continue
            cards = {stage: checkpoints.read_card(path) for stage, path in paths.items()}
            if not checkpoints.belong_together(cards):
                continue  # a training was stopped half way
            networks: list[Any] = [
                checkpoints.load(paths[stage], kind)[0] for stage, kind in STAGES.items()
            ]
            return cls(
                *networks,
                classes=tuple(cards["can"].get("classes", CLASSES)),
                released=as_released(cards["voice"]),
                limits={kind: strangeness.limits_of(cards[kind]) for kind in ("face", "voice")},
                name=folder.parent.name if folder.name == "checkpoints" else folder.name,
                people=checkpoints.load_people(paths["face"]),
            )
        names = ", ".join(f"{stage}.safetensors" for stage in STAGES)
        raise checkpoints.CheckpointError(
            f"{where}: found no folder with {names}; "
            "train them with make reproduce, or in notebooks 02 to 05"
        )

    # ---------------------------------------------------------------- one face, one voice

    @torch.inference_mode()
    def encode_face(self, face: FaceInput) -> EncodedFace:
        """Encode a face.

        ``face`` is the path of a picture or of a video (its middle frame counts), a PIL picture, or
        an RGB array (H, W, 3) uint8. An array of exactly the network's size is taken as a finished
        crop, and so is a picture of this size if its face is where it is in a crop; in any other
        the face is found and cropped. InputError or MediaError, one
        line each, where the file or the array cannot be used.
        """
        crop, notes = self._crop_face(face)
        x = torch.from_numpy(crop.copy()).permute(2, 0, 1)[None].float() / 255  # (1, 3, S, S)
        posterior = self.face.encoder(x)
        reconstruction = self.face.decoder(posterior.mu).clamp(0, 1)
        how_strange = self._strangeness("face", x, reconstruction, posterior.mu)
        return EncodedFace(
            picture=x[0].permute(1, 2, 0).contiguous().numpy(),
            reconstruction=reconstruction[0].permute(1, 2, 0).numpy(),
            posterior=posterior,
            probabilities=self.classifier(posterior.mu).softmax(1)[0].numpy(),
            notes=notes,
            strangeness=how_strange,
            warnings=self._warnings("face", _name(face, "the picture"), how_strange),
        )

    @torch.inference_mode()
    def encode_voice(self, voice: VoiceInput, rate: int = spectrograms.SAMPLE_RATE) -> EncodedVoice:
        """Encode a voice.

        ``voice`` is the path of a sound or video file, a waveform (N,) at ``rate`` hertz, or a mel
        spectrogram (128, 128) in 0...1. InputError or MediaError as in ``encode_face``.
        """
        mel, notes = self._mel_spectrogram(voice, rate)
        x = torch.from_numpy(mel)[None, None]  # (1, 1, 128, 128)
        posterior = self.voice.encoder(x)
        how_strange = None
        if mel.any():  # a note has already said that the sound is silent
            reconstruction = self.voice.decoder(posterior.mu)
            how_strange = self._strangeness("voice", x, reconstruction, posterior.mu)
        warnings = self._warnings("voice", _name(voice, "the sound"), how_strange)
        return EncodedVoice(mel, posterior, notes, how_strange, warnings)

    @torch.inference_mode()
    def decode_face(self, posterior: Posterior, notes: tuple[str, ...] = ()) -> EncodedFace:
        """A face of which only the latent (1, D) is there; its picture is the decoded one."""
        picture = self.decode(posterior.mu)[0]
        probabilities = self.classifier(posterior.mu).softmax(1)[0].numpy()
        return EncodedFace(picture, picture, posterior, probabilities, notes)

    def _strangeness(self, kind: str, x: Tensor, drawn: Tensor, mu: Tensor) -> float | None:
        """The strangeness of one input (1, C, S, S); None where the network has no limits."""
        limits = self.limits.get(kind)
        if not limits:
            return None
        values = strangeness.measures(x, drawn, mu)
        return float(strangeness.strangeness(values, limits)[0])

    def _warnings(self, kind: str, name: str, how_strange: float | None) -> tuple[str, ...]:
        if how_strange is None or how_strange <= 1:
            return ()
        return (
            f"{name}: unlike the {kind}s that {self.title} have learnt from "
            f"({how_strange:.1f} times the limit), so the answer may well be wrong",
        )

    @torch.inference_mode()
    def perceive(
        self, face: FaceInput | EncodedFace, voice: VoiceInput | EncodedVoice, strength: float = 1.0
    ) -> Perception:
        """A face in the context of a voice, at a context ``strength`` of 0...1 (more exaggerates).

        Face and voice are encoded, unless they already are. InputError if the strength is negative
        or not a number.
        """
        _check_strengths(strength)
        encoded_face = self._encode_faces([face])[0]
        encoded_voice = self._encode_voices([voice])[0]
        logits, shifted = self.can(encoded_face.posterior, encoded_voice.posterior, float(strength))
        probabilities = logits.softmax(1)[0].numpy()
        # Without context the picture is the reconstruction, to the last digit
        perceived = self.decode(shifted.mu)[0] if strength else encoded_face.reconstruction
        return Perception(
            label=self.classes[int(probabilities.argmax())],
            probabilities=probabilities,
            alone=encoded_face.probabilities,
            original=encoded_face.picture,
            reconstruction=encoded_face.reconstruction,
            perceived=perceived,
            difference=np.abs(perceived - encoded_face.reconstruction).mean(-1),
            strength=float(strength),
            face=encoded_face.posterior,
            voice=encoded_voice.posterior,
            shifted=shifted,
            notes=encoded_face.notes + encoded_voice.notes,
            classes=self.classes,
            warnings=encoded_face.warnings + encoded_voice.warnings,
            strangeness={"face": encoded_face.strangeness, "voice": encoded_voice.strangeness},
        )

    @torch.inference_mode()
    def perceive_all(
        self,
        faces: Iterable[FaceInput | EncodedFace],
        voices: Iterable[VoiceInput | EncodedVoice],
        strengths: float | Sequence[float] | np.ndarray = 1.0,
    ) -> Perceptions:
        """Each of N faces with each of M voices at each of T strengths (a number: T = 1).

        All are shifted in one batch and decoded in several. ``faces`` and ``voices`` hold what
        ``perceive`` takes.
        """
        _check_strengths(strengths)
        encoded_faces = self._encode_faces(faces)
        encoded_voices = self._encode_voices(voices)
        t = torch.as_tensor(strengths, dtype=torch.float32).reshape(-1)

        # Every face, voice and strength together: which of them each perception has, (N M T,)
        shape = len(encoded_faces), len(encoded_voices), len(t)
        which_face, which_voice, which_strength = np.indices(shape).reshape(3, -1)
        all_faces = Posterior.cat([face.posterior for face in encoded_faces])
        all_voices = Posterior.cat([voice.posterior for voice in encoded_voices])
        face = all_faces.map(lambda x: x[which_face])
        voice = all_voices.map(lambda x: x[which_voice])
        logits, shifted = self.can(face, voice, t[which_strength, None])
        probabilities = logits.softmax(1).numpy().reshape(*shape, -1)

        notes, warnings = [], []
        for encoded in (*encoded_faces, *encoded_voices):
            notes += encoded.notes
            warnings += encoded.warnings
        return Perceptions(
            labels=np.array(self.classes)[probabilities.argmax(-1)],
            probabilities=probabilities,
            alone=np.stack([face.probabilities for face in encoded_faces]),
            original=np.stack([face.picture for face in encoded_faces]),
            reconstruction=np.stack([face.reconstruction for face in encoded_faces]),
            perceived=self.decode(shifted.mu).reshape(*shape, self.size, self.size, 3),
            notes=tuple(dict.fromkeys(notes)),
            warnings=tuple(dict.fromkeys(warnings)),
        )

    def _encode_faces(self, faces: Iterable[FaceInput | EncodedFace]) -> list[EncodedFace]:
        return [face if isinstance(face, EncodedFace) else self.encode_face(face) for face in faces]

    def _encode_voices(self, voices: Iterable[VoiceInput | EncodedVoice]) -> list[EncodedVoice]:
        return [
            voice if isinstance(voice, EncodedVoice) else self.encode_voice(voice)
            for voice in voices
        ]

    @torch.inference_mode()
    def classify(self, pictures: np.ndarray) -> np.ndarray:
        """The face classifier's probabilities (B, K) for pictures (B, S, S, 3), floats in 0...1."""
        x = torch.from_numpy(pictures).permute(0, 3, 1, 2).contiguous()  # (B, 3, S, S)
        return self.classifier(self.face.encoder(x).mu).softmax(1).numpy()

    @torch.inference_mode()
    def decode(self, mu: Tensor) -> np.ndarray:
        """Latent means (B, D) -> pictures (B, S, S, 3), floats cut to 0...1."""
        pictures = [self.face.decoder(batch).clamp(0, 1) for batch in mu.split(INFERENCE_BATCH)]
        return torch.cat(pictures).permute(0, 2, 3, 1).numpy()

    # ---------------------------------------------------------------- reading faces and voices

    def _crop_face(self, face: FaceInput) -> tuple[np.ndarray, tuple[str, ...]]:
        """The cropped face (S, S, 3) uint8, and remarks."""
        name, notes, is_array = _name(face, "the picture"), (), isinstance(face, np.ndarray)
        if isinstance(face, (str, Path)):
            path = check_size(face)
            face, remarks = open_face_picture(path)
            notes = tuple(f"{name}: {remark}" for remark in remarks)
        if isinstance(face, Image.Image):
            face = np.asarray(to_upright_rgb(face))
        picture = _checked_rgb(face, name)
        has_crop_size = picture.shape[:2] == (self.size, self.size)
        if has_crop_size and is_array:
            return picture, notes
        crops, report = tracking.crop_faces([picture], self.size)
        remarks = tracking.remarks(picture, bool(report.found_rate))
        if has_crop_size and tracking.is_crop(picture):
            lack = "" if report.found_rate else ", though no face is found in it"
            crops, remarks = [picture], (f"taken as a finished crop, by its size{lack}",)
        return crops[0], (*notes, *(f"{name}: {remark}" for remark in remarks))

    def _mel_spectrogram(self, voice: VoiceInput, rate: int) -> tuple[np.ndarray, tuple[str, ...]]:
        """The mel spectrogram (128, 128) float32, and remarks."""
        name = _name(voice, "the sound")
        if isinstance(voice, (str, Path)):
            sound = open_sound(voice)
            waveform, rate, remarks = sound.waveform, sound.rate, sound.remarks
        else:
            waveform, remarks = np.asarray(voice), ()
        if waveform.shape == MEL_SHAPE:  # a finished spectrogram
            return waveform.astype(np.float32), ()
        if waveform.ndim != 1:
            raise InputError(
                f"{name}: wanted a waveform (N,) or a mel spectrogram (128, 128), "
                f"got {waveform.shape}"
            )
        seconds = len(waveform) / rate
        if len(waveform) < MIN_SOUND_SECONDS * rate:
            raise InputError(
                f"{name}: {seconds:.2f} s of sound is too short; use at least {MIN_SOUND_SECONDS} s"
            )
        mel = spectrograms.mel_spectrogram(waveform, rate, self.released)
        notes = [f"{name}: {remark}" for remark in remarks]
        if len(waveform) > spectrograms.WINDOW_SECONDS * rate + 1:
            window = f"{spectrograms.WINDOW_SECONDS:.1f}"
            notes.append(f"{name}: only the middle {window} s are heard")
        if not mel.any():
            notes.append(f"{name}: silent, so it says nothing")
        return mel, tuple(notes)


# -------------------------------------------------------------------- drawn faces and photographs


def load_photographs() -> Perceiver | None:
    """The networks that have learnt photographs of people; None where they are not shipped."""
    try:
        return Perceiver.load(PHOTOGRAPHS)
    except checkpoints.CheckpointError:
        return None


def choose(
    perceiver: Perceiver,
    face: FaceInput,
    photographs: Callable[[], Perceiver | None] = load_photographs,
) -> tuple[Perceiver, EncodedFace]:
    """The networks that draw a face better, and the face as they encode it.

    They are those of ``perceiver`` unless the face is strange to them and less strange to those of
    ``photographs``, which are loaded only then. A note says so. InputError as in
    ``Perceiver.encode_face``.
    """
    encoded = perceiver.encode_face(face)
    if encoded.strangeness is None or encoded.strangeness <= 1:
        return perceiver, encoded
    other = photographs()
    if other is None:
        return perceiver, encoded
    drawn = other.encode_face(face)
    if drawn.strangeness is None or drawn.strangeness >= encoded.strangeness:
        return perceiver, encoded
    name = _name(face, "the picture")
    note = (
        f"{name}: unlike the faces that {perceiver.title} have learnt from "
        f"({encoded.strangeness:.1f} times the limit), so {other.title} draw it"
    )
    return other, replace(drawn, notes=(*drawn.notes, note))


def _name(source: object, otherwise: str) -> str:
    """The name of a file in messages; ``otherwise`` for what is no file."""
    return Path(source).name if isinstance(source, (str, Path)) else otherwise


def _checked_rgb(face: object, name: str) -> np.ndarray:
    """``face``, which is an array (H, W, 3) of uint8, or InputError."""
    if isinstance(face, np.ndarray) and face.dtype == np.uint8 and face.ndim == 3:
        if face.shape[2] == 3:
            return face
    kind = getattr(face, "dtype", type(face).__name__)
    description = f"{kind} {getattr(face, 'shape', '')}".strip()
    raise InputError(f"{name}: wanted an RGB array (H, W, 3) of uint8, got {description}")


def _check_strengths(strengths: float | Sequence[float] | np.ndarray) -> None:
    """InputError if one of the strengths is negative, infinite or not a number."""
    for strength in np.ravel(strengths):
        if not (np.isfinite(strength) and strength >= 0):
            raise InputError(f"strength {strength:g}: choose a number from 0 to 1")


def captioned_strip(
    pictures: Sequence[np.ndarray], captions: Sequence[str], side: int = 256
) -> Image.Image:
    """Pictures (S, S, 3), floats in 0...1, in a row, ``side`` pixels wide, with captions below."""
    gap, caption_height = side // 32, side // 8
    width, height = len(pictures) * (side + gap) + gap, side + gap + caption_height
    strip = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(strip)
    font = ImageFont.load_default(max(10, side // 16))
    for i, (picture, caption) in enumerate(zip(pictures, captions, strict=True)):
        left = gap + i * (side + gap)
        image = Image.fromarray((255 * picture.clip(0, 1)).round().astype(np.uint8))
        strip.paste(image.resize((side, side), Image.Resampling.BICUBIC), (left, gap))
        centre = (left + side / 2, side + gap + caption_height / 2)
        draw.text(centre, caption, CAPTION_COLOR, font, anchor="mm")
    return strip
