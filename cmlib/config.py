"""All hyper-parameters, as frozen dataclasses: no other tunable number shapes a network of the project (those
that only measure, the judge and the critic of expressions, hold their own).

Seven profiles: ``smoke`` (tests: seconds), ``laptop`` (``quick`` with voices learnt from the corpus alone), ``tuned`` (``quick``
with both VAE-GANs trained further on the corpus: for faces and voices that are not of the embedded kind), ``quick`` (the main
job, minutes on two cores: the VAE-GANs are those of the crowd), ``gestures`` (``quick`` whose shift learns from the corpus
alone: turns of the head count), ``cpu`` (hours), ``paper`` (as released: a GPU); ``quick-8`` ... have neutral as eighth class.
``get_profile("quick")`` returns one; ``dataclasses.asdict`` turns it into what is stored in every checkpoint's card.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field


@dataclass(frozen=True)
class DataConfig:
    image_size: int = 128  # side of the square face crop, pixels; a multiple of 32
    frames_per_clip: int = 0  # frames kept per clip, evenly spaced; 0 = every frame
    clips_limit: int | None = None  # at most this many clips (a spread-out choice); None = all
    crowd_limit: int | None = (
        0  # pictures of the image-only corpus `crowd` added to face training; None = all
    )


@dataclass(frozen=True)
class VaeGanConfig:
    """One VAE-GAN and its training.  Released values are the defaults (Larsen et al. 2016, arXiv 1512.09300)."""

    width: float = 1.0  # scales every channel count
    latent: int = 512
    epochs: int = 500  # 0: the network `start` as it is
    batch: int = 128
    learning_rate: float = 3e-4
    optimiser: str = "rmsprop"  # rmsprop (alpha 0.9) as released, or adam
    milestones: tuple[int, ...] = (200, 350)  # epochs at which the learning rate is divided by ten
    schedule: str = "milestones"  # milestones as released, or cosine
    kl_weight: float = 0.00033
    feature_level: int = (
        2  # discriminator level whose features measure the reconstruction; 0 = pixels
    )
    feature_weight: float = 1.0
    pixel_weight: float = 0.0  # adds a pixel-wise error to the learned metric; released: none
    detail_weight: float = 0.0  # adds the error of image gradients; released: none
    focus: float = 0.0  # how much more pixels and details count at brows, eyes and mouth of an aligned face; released: none
    adversarial_weight: float = 0.0  # released: 1 - lambda with lambda = 1, so exactly 0
    expression_weight: float = 0.0  # features of a discriminator that has learnt the labels measure the reconstruction, too; released: none
    label_weight: float = 0.0  # cross-entropy of a linear head on the latent mean; released: none
    labels: str = "all"  # whose labels: "all", or "crowd", so that training actors are read no more easily than strangers
    translate: tuple[int, int] = (
        0,
        0,
    )  # training pictures moved by at most so many (rows, columns); released: not
    equilibrium: bool = False  # gate discriminator and decoder when their losses leave 0.68 +- 0.35
    start: str = ""  # shipped network (a path below checkpoints/) whose weights training starts from; "" = random weights
    bounded: bool = False  # sigmoid on the decoder's output; released: linear
    accumulate: int = (
        1  # batches whose gradients are averaged into one step: a larger batch than memory holds
    )
    patience: int = 0  # epochs without a lower validation error after which training stops, with the best weights; 0 = never
    compile: bool = (
        False  # torch.compile: minutes at the start, pays on a GPU; the numbers agree to rounding
    )


@dataclass(frozen=True)
class ClassifierConfig:
    """The linear classifier on a latent."""

    epochs: int = 100
    batch: int = 128
    learning_rate: float = 3e-4
    weight_decay: float = 0.1
    sample: bool = True  # train on z ~ N(mu, sigma^2), as released; False: on the mean


@dataclass(frozen=True)
class CanConfig:
    """The context attention network and the fine-tuning of its classifier."""

    epochs: int = 30
    batch: int = 128
    learning_rate: float = 3e-4
    weight_decay: float = 0.0  # of the attention
    classifier_decay: float = 0.1  # of the classifier, as in its own training
    kl_weight: float = 1e-5
    kl_direction: str = (
        "prior_to_shifted"  # KL(N || N') as released, or "shifted_to_prior", KL(N' || N)
    )
    finetune: bool = True  # the classifier goes on learning
    sample: bool = True
    normalise: bool = False  # read both latents in units of their training spread; released: raw
    attention: str = "softmax"  # as released; "linear" is an ablation
    directions: int = (
        0  # the shift keeps to this many directions of expression; released: 0, the whole latent
    )
    neutral: float = (
        0.0  # share of faces replaced by neutral ones, to be read as the voice says; released: none
    )
    crowd: float = 0.0  # share of expressive faces that are the crowd's; if any, its neutral ones and its directions count, too; released: none
    pairing: str = "own"  # the voice beside a face: of its own clip, or "emotion": of any training clip of that emotion
    voice_noise: float = (
        0.0  # noise on the voice latent while training, in units of its spread; released: none
    )


@dataclass(frozen=True)
class Profile:
    name: str
    data: DataConfig = field(default_factory=DataConfig)
    face: VaeGanConfig = field(default_factory=VaeGanConfig)
    voice: VaeGanConfig = field(default_factory=VaeGanConfig)
    classifier: ClassifierConfig = field(default_factory=ClassifierConfig)
    can: CanConfig = field(default_factory=CanConfig)
    bootstrap: int = 2000  # resamples of the actors for a confidence interval
    neutral: bool = False  # neutral clips are an eighth class; released: no

    def untrained(self, stage: str) -> str:
        """The path below ``checkpoints/`` of the shipped network that ``stage``, "face" or "voice", is as it is; "" if the stage is trained."""
        settings = getattr(self, stage, None)
        return settings.start if isinstance(settings, VaeGanConfig) and not settings.epochs else ""


# `cm pretrain`: faces of the crowd alone, as the paper learns faces from CelebA first; no actor is seen, so it serves every fold.
# The moods of the crowd as labels make the latent hold the expression, which the reconstruction alone hardly asks for.  Pixels
# alone leave mouths shut: in the second part a critic that reads moods says how well a reconstruction shows them.
_CROWD = VaeGanConfig(
    width=0.25,
    latent=128,
    epochs=80,
    batch=32,
    learning_rate=2e-3,
    optimiser="adam",
    schedule="cosine",
    kl_weight=1e-6,
    feature_level=0,
    detail_weight=0.5,
    label_weight=0.02,
)
CROWD = (
    _CROWD,
    dataclasses.replace(_CROWD, epochs=40, learning_rate=1e-3, focus=8.0, expression_weight=0.3),
)

# `cm pretrain --voices`: the same for voices; 600 speakers tell more about emotions than the 14 of a fold
CROWD_VOICE = VaeGanConfig(
    width=0.125,
    latent=128,
    epochs=10,
    batch=32,
    learning_rate=1e-3,
    optimiser="adam",
    schedule="cosine",
    kl_weight=1e-6,
    feature_level=0,
    feature_weight=0.0,
    pixel_weight=1.0,
    label_weight=0.1,
    translate=(3, 12),
)

# No discriminator of real and decoded: on few people its features cost identity and sharpness and bought nothing (docs/experiments.md, 26 to 30)
_TUNED_FACE = VaeGanConfig(
    width=0.25,
    latent=128,
    epochs=8,
    batch=32,
    learning_rate=1e-3,
    optimiser="adam",
    schedule="cosine",
    kl_weight=1e-6,
    feature_level=0,
    feature_weight=0.0,
    pixel_weight=1.0,
    detail_weight=0.5,
    focus=8.0,
    label_weight=0.02,
    labels="crowd",
    start="crowd-64/face",
)
_OWN_VOICE = dataclasses.replace(CROWD_VOICE, epochs=20)
_TUNED_VOICE = dataclasses.replace(CROWD_VOICE, epochs=8, learning_rate=5e-4, start="crowd/voice")
_QUICK_FACE, _QUICK_VOICE = (
    dataclasses.replace(tuned, epochs=0) for tuned in (_TUNED_FACE, _TUNED_VOICE)
)
# 784 clips of 14 actors: without these the attention learns its training voices by heart (docs/experiments.md)
_QUICK_CLASSIFIER = ClassifierConfig(weight_decay=0.5)
_QUICK_CAN = CanConfig(
    weight_decay=3e-3,
    kl_weight=1e-4,
    pairing="emotion",
    voice_noise=0.5,
    finetune=False,
    normalise=True,
    directions=6,
    neutral=0.4,
    crowd=0.5,
)

PROFILES = {
    "smoke": Profile(
        "smoke",
        DataConfig(image_size=32, frames_per_clip=2, clips_limit=96, crowd_limit=64),
        dataclasses.replace(
            _TUNED_FACE,
            width=0.0625,
            latent=16,
            epochs=1,
            start="",
            feature_level=2,
            feature_weight=0.05,
        ),
        dataclasses.replace(
            _OWN_VOICE, width=0.0625, latent=16, epochs=1, feature_level=2, feature_weight=1.0
        ),
        ClassifierConfig(epochs=3),
        CanConfig(epochs=2),
        bootstrap=100,
    ),
    "laptop": Profile(
        "laptop",
        DataConfig(image_size=64, frames_per_clip=8),
        _QUICK_FACE,
        _OWN_VOICE,
        _QUICK_CLASSIFIER,
        _QUICK_CAN,
    ),
    "tuned": Profile(
        "tuned",
        DataConfig(image_size=64, frames_per_clip=8, crowd_limit=None),
        _TUNED_FACE,
        _TUNED_VOICE,
        _QUICK_CLASSIFIER,
        _QUICK_CAN,
    ),
    "quick": Profile(
        "quick",
        DataConfig(image_size=64, frames_per_clip=8),
        _QUICK_FACE,
        _QUICK_VOICE,
        _QUICK_CLASSIFIER,
        _QUICK_CAN,
    ),
    "gestures": Profile(
        "gestures",
        DataConfig(image_size=64, frames_per_clip=8),
        _QUICK_FACE,
        _QUICK_VOICE,
        _QUICK_CLASSIFIER,
        dataclasses.replace(_QUICK_CAN, directions=7, neutral=0.2, crowd=0.0),
    ),
    "cpu": Profile(
        "cpu",
        DataConfig(image_size=64, frames_per_clip=24, crowd_limit=None),
        dataclasses.replace(_TUNED_FACE, width=0.5, latent=256, epochs=100, start=""),
        dataclasses.replace(_OWN_VOICE, width=0.25, latent=256, epochs=100),
        _QUICK_CLASSIFIER,
        _QUICK_CAN,
    ),
    "paper": Profile("paper"),
}
EIGHT = {f"{n}-8": dataclasses.replace(p, name=f"{n}-8", neutral=True) for n, p in PROFILES.items()}
PROFILES = EIGHT | PROFILES


def get_profile(name: str) -> Profile:
    """Return the profile called ``name``; KeyError names the choices."""
    try:
        return PROFILES[name]
    except KeyError:
        raise KeyError(f"unknown profile {name!r}: choose one of {', '.join(PROFILES)}") from None
