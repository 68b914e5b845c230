"""All settings that shape a network, as frozen dataclasses, and the profiles that choose them.

A profile is one complete choice of settings:

* ``smoke``: for tests; it takes seconds.
* ``quick``: the main one; it takes minutes on two cores. Its VAE-GANs are the shipped ones of the
  crowd.
* ``laptop``: ``quick``, but the voices are learnt from the corpus alone.
* ``tuned``: ``quick``, but both VAE-GANs are trained further on the corpus. This is for faces and
  voices of another kind than those of the embedded corpus.
* ``gestures``: ``quick``, but the shift is learnt from the corpus alone, with turns of the head.
* ``photographs``: for faces of real people in pictures, beside voices of another corpus. The face
  VAE-GAN is the shipped one of photographs, and the voice VAE-GAN is trained further.
* ``cpu``: larger networks, which take hours on two cores.
* ``paper``: as released, for a GPU.

``quick-8`` and the like have neutral as an eighth class. ``get_profile("quick")`` returns a
profile. ``dataclasses.asdict`` turns its parts into what is stored in the card of a checkpoint.
Networks that only measure, the judge and the critic of expressions, hold their own settings.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field


@dataclass(frozen=True)
class DataConfig:
    """What is taken from a corpus."""

    # Side of the square face crop in pixels, a multiple of 32.
    image_size: int = 128
    # Frames that are kept of each clip, evenly spaced; 0 keeps all.
    frames_per_clip: int = 0
    # At most this many clips, chosen evenly; None takes all.
    clips_limit: int | None = None
    # Pictures of the corpus `crowd` that are added to the training of faces; None adds all.
    crowd_limit: int | None = 0


@dataclass(frozen=True)
class VaeGanConfig:
    """One VAE-GAN (Larsen et al. 2016, arXiv 1512.09300) and its training; defaults as released."""

    # ---- network
    width: float = 1.0  # multiplies the number of channels of every layer
    latent: int = 512  # dimensions
    bounded: bool = False  # a sigmoid at the end of the decoder; as released its output is linear
    # A shipped network, as a path below checkpoints/, whose weights training starts from; "" starts
    # from random weights. In "photographs-128/fold-{fold}/face" the number of the fold is put in.
    start: str = ""

    # ---- training
    epochs: int = 500  # 0 uses the network `start` as it is
    batch: int = 128
    accumulate: int = 1  # batches whose gradients are averaged into one step, to save memory
    optimiser: str = "rmsprop"  # as released, with alpha 0.9; or "adam"
    learning_rate: float = 3e-4
    schedule: str = "milestones"  # as released; or "cosine"
    milestones: tuple[int, ...] = (200, 350)  # epochs after which the rate is divided by ten
    # Training stops after this many epochs without a lower validation error, and the best weights
    # are kept; 0 never stops.
    patience: int = 0
    # Training pictures are moved at random by at most so many (rows, columns).
    translate: tuple[int, int] = (0, 0)

    # ---- losses: a weight of 0 leaves a term out
    kl_weight: float = 0.00033
    # Level of the discriminator whose features measure the reconstruction; 0 takes the pixels.
    feature_level: int = 2
    feature_weight: float = 1.0
    pixel_weight: float = 0.0  # pixel-wise error, beside the learnt metric
    detail_weight: float = 0.0  # error of the gradients of the picture
    # How much more pixels and details count at the brows, eyes and mouth of an aligned face.
    focus: float = 0.0
    # The paper's 1 - lambda; as released lambda is 1, so there is no adversarial term.
    adversarial_weight: float = 0.0
    # Train the discriminator or the decoder only while neither is far ahead of the other.
    equilibrium: bool = False
    # Features of a discriminator that has learnt the labels measure the reconstruction, too.
    expression_weight: float = 0.0
    label_weight: float = 0.0  # cross-entropy of a linear head on the latent mean
    # Whose labels count: "all", or those of the "crowd", so that expressions of training actors are
    # read no more easily than those of strangers.
    labels: str = "all"

    def start_in(self, fold: int) -> str:
        """The path of ``start`` in a fold (1...5), or "" where training starts from nothing."""
        return self.start.replace("{fold}", str(fold))


@dataclass(frozen=True)
class ClassifierConfig:
    """The linear classifier on a latent."""

    epochs: int = 100
    batch: int = 128
    learning_rate: float = 3e-4
    weight_decay: float = 0.1
    sample: bool = True  # train on z ~ N(mu, sigma^2), as released; False trains on the mean


@dataclass(frozen=True)
class CanConfig:
    """The context attention network and its training; the defaults are as released."""

    # ---- network
    attention: str = "softmax"  # or "linear", which an ablation compares
    normalise: bool = False  # read both latents in units of their spread in training
    # The shift keeps to this many directions of expression; 0 leaves it the whole latent.
    directions: int = 0
    # What these directions are: the main differences between the mean faces of the "labels", or
    # the changes within people that the "classifier" follows, along which it can say anything; or
    # "both", so that there are up to twice as many.
    directions_of: str = "labels"
    # How much a change of the picture around the face counts against a direction, beside a change
    # within the face; 0 lets directions change hair and background, too.
    around_weight: float = 0.0

    # The longest shift, where the way from a neutral face to an expression of a training person is
    # 1 on average; 0 sets no limit. Without one, strangers move twice as far as these people.
    longest: float = 0.0

    # ---- training
    epochs: int = 30
    batch: int = 128
    learning_rate: float = 3e-4
    weight_decay: float = 0.0  # of the attention
    classifier_decay: float = 0.1  # of the classifier, as in its own training
    finetune: bool = True  # the classifier goes on learning
    kl_weight: float = 1e-5
    kl_direction: str = "prior_to_shifted"  # KL(N || N'); "shifted_to_prior" is KL(N' || N)
    # Weight of the distance of a shift, where changes within one person have a mean of about 1.
    person_weight: float = 0.0
    # Weight of the KL divergence from what the classifier of concatenation predicts for the same
    # pair, where the face is not neutral.
    distill_weight: float = 0.0

    # ---- what it sees
    sample: bool = True  # z ~ N(mu, sigma^2) in place of the mean
    # The voice beside a face: of its "own" clip, or of any training clip of the same "emotion".
    pairing: str = "own"
    voice_noise: float = 0.0  # noise on the latents of voices, in units of their spread
    # The share of faces that are replaced by neutral ones, which are then read as the voice says.
    # (`Profile.neutral` is something else. Both names are keys of the cards, so they stay.)
    neutral: float = 0.0
    # Faces drawn from the prior that count as neutral faces, so that the context network meets
    # more people than the corpus has.
    imagined: int = 0
    # The share of expressive faces that are the crowd's. If there are any, the neutral faces of
    # the crowd and its directions of expression count, too.
    crowd: float = 0.0


@dataclass(frozen=True)
class Profile:
    """A choice of all settings."""

    name: str
    data: DataConfig = field(default_factory=DataConfig)
    face: VaeGanConfig = field(default_factory=VaeGanConfig)
    voice: VaeGanConfig = field(default_factory=VaeGanConfig)
    classifier: ClassifierConfig = field(default_factory=ClassifierConfig)
    can: CanConfig = field(default_factory=CanConfig)
    bootstrap: int = 2000  # resamples of the actors for a confidence interval
    # Whether neutral clips are an eighth class; `CanConfig.neutral` is a share of faces.
    neutral: bool = False

    def fixed_network(self, stage: str, fold: int = 1) -> str:
        """The shipped network that ``stage`` uses as it is, as a path below ``checkpoints/``.

        "" for a stage that is trained.
        """
        settings = getattr(self, stage, None)
        if isinstance(settings, VaeGanConfig) and settings.epochs == 0:
            return settings.start_in(fold)
        return ""


# `cm pretrain` learns faces of the crowd alone, as the paper learns faces from CelebA first. It
# sees no actor, so its network serves every fold. The moods of the crowd as labels make the latent
# hold the expression, which the reconstruction alone hardly demands. Pixels alone leave mouths
# shut: in the second part a critic that reads moods says how well a reconstruction shows them.
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

# `cm pretrain --voices` does the same for voices: 600 speakers teach more about emotions than the
# 14 of a fold.
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

# There is no discriminator of real and decoded faces: on few people its features cost identity and
# sharpness and gained nothing (docs/experiments.md, 26 to 30).
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
_QUICK_FACE = dataclasses.replace(_TUNED_FACE, epochs=0)
_QUICK_VOICE = dataclasses.replace(_TUNED_VOICE, epochs=0)
# A fold has 784 clips of 14 actors. With less decay, noise and pairing than this, the attention
# learns its training voices by heart (docs/experiments.md).
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

# Few people pose, and a stranger's latent is far from theirs: without imagined faces the network
# hardly moves it (docs/experiments.md, R3). With them it moves strangers too far, and changes their
# hair and background (R19).
_PHOTOGRAPH_CAN = dataclasses.replace(
    _QUICK_CAN,
    epochs=12,
    weight_decay=3e-4,
    kl_weight=1e-5,
    crowd=0.0,
    imagined=1000,
    around_weight=0.05,
    longest=0.9,
)

# Notebook 02 trains these three in minutes, on cartoon faces of 32 x 32 pixels. They differ in what
# says that two faces are alike.
_SMALL_FACE = VaeGanConfig(
    width=0.125,
    latent=6,
    epochs=4,
    batch=32,
    optimiser="adam",
    learning_rate=1e-3,
    schedule="cosine",
    kl_weight=2e-5,
    feature_level=0,
    feature_weight=0.0,
    pixel_weight=1.0,
)
SMALL_FACES = {
    "pixels alone": _SMALL_FACE,
    "VAE-GAN": dataclasses.replace(
        _SMALL_FACE,
        feature_level=2,
        feature_weight=0.3,
        adversarial_weight=0.001,
        equilibrium=True,
    ),
    "critic of moods": dataclasses.replace(_SMALL_FACE, expression_weight=0.02),
}

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
    "photographs": Profile(
        "photographs",
        DataConfig(image_size=128, frames_per_clip=1),
        VaeGanConfig(width=0.25, latent=384, epochs=0, start="photographs-128/fold-{fold}/face"),
        _TUNED_VOICE,
        _QUICK_CLASSIFIER,
        _PHOTOGRAPH_CAN,
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
_WITH_NEUTRAL = {
    f"{name}-8": dataclasses.replace(profile, name=f"{name}-8", neutral=True)
    for name, profile in PROFILES.items()
}
# The best profile comes last: Perceiver.load(corpus) picks the last profile with networks.
PROFILES = _WITH_NEUTRAL | PROFILES


def get_profile(name: str) -> Profile:
    """Return the profile called ``name``, or one with other values of some settings.

    ``quick+can.neutral=0.2+can.crowd=0`` is ``quick`` with two settings changed. Values are written
    as in JSON; a text needs no quotes. KeyError for an unknown profile and ValueError for a setting
    or value that does not exist; both name the choices.
    """
    base, *changes = name.split("+")
    if base not in PROFILES:
        choices = ", ".join(PROFILES)
        raise KeyError(f"unknown profile {base!r}: choose one of {choices}")
    profile = PROFILES[base]
    for change in changes:
        profile = _changed(profile, change)
    # A name for each choice of settings, since folders are called after it.
    return dataclasses.replace(profile, name=name) if changes else profile


def _changed(profile: Profile, change: str) -> Profile:
    """``profile`` with a setting changed as in "can.neutral=0.2"."""
    setting, sign, text = change.partition("=")
    part, _, name = setting.partition(".")
    parts = [field.name for field in dataclasses.fields(Profile) if "Config" in str(field.type)]
    if not sign or part not in parts:
        raise ValueError(
            f"{change!r} changes no setting; write one of {', '.join(parts)}, a point, the name of"
            " a setting and its value, as in can.neutral=0.2"
        )
    settings = getattr(profile, part)
    names = [field.name for field in dataclasses.fields(settings)]
    if name not in names:
        raise ValueError(f"{change!r}: {part} has no setting {name!r}; it has {', '.join(names)}")
    value = _value_like(getattr(settings, name), text, change)
    return dataclasses.replace(profile, **{part: dataclasses.replace(settings, **{name: value})})


def _value_like(present: object, text: str, change: str) -> object:
    """The value that ``text`` stands for, of the same type as the ``present`` one."""
    if isinstance(present, str):
        return text
    try:
        value = json.loads(text)
    except ValueError:
        value = text  # of no type that a setting has, so it is refused below
    if isinstance(present, float) and type(value) is int:
        return float(value)
    if isinstance(present, tuple) and isinstance(value, list):
        return tuple(value)
    # None, which a limit may be, takes a whole number, and a limit takes null.
    types = (int, type(None)) if present is None else (type(present),)
    if isinstance(value, types) and isinstance(value, bool) == isinstance(present, bool):
        return value
    raise ValueError(f"{change!r}: the value should be like {json.dumps(present)}")
