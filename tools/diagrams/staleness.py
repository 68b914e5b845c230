"""What a network was made from, and what makes it stale: docs/architecture.md and notebook 02."""

from __future__ import annotations

from cmlib.config import PROFILES, Profile
from cmlib.provenance import networks_below
from tools.diagrams.drawing import Canvas

# A profile that trains everything, so that every network has a record of its own.
PROFILE = PROFILES["cpu"]
PLACES = {
    "face": (380, 130),
    "voice": (380, 262),
    "classifier_face": (562, 130),
    "can": (764, 196),
}
NAMES = {
    "face": "face VAE-GAN",
    "voice": "voice VAE-GAN",
    "classifier_face": "classifier",
    "can": "context attention",
}
KINDS = {"face": "face", "voice": "voice", "classifier_face": "face", "can": "both"}
# A change, and the stage that it belongs to.
CHANGES = (
    ("a setting of the context network", "can"),
    ("a setting of the voice VAE-GAN", "voice"),
    ("a setting of the face VAE-GAN", "face"),
)


def built_on(stage: str, profile: Profile) -> set[str]:
    """The stages of ``PLACES`` that are stale if ``stage`` has changed: itself, and those above."""
    stale = {stage}
    for name in PLACES:
        if stale & set(networks_below(name, profile)):
            stale.add(name)
    return stale


def provenance() -> Canvas:
    """Networks with what they were made from, and how far a change reaches."""
    canvas = Canvas(
        "provenance",
        478,
        "What makes a network stale",
        """Every network keeps a record of what it was made from: its stage and the version of its
        code, its settings, the key of its data, seed and fold, and the records of the networks
        below it. Files are prepared, two VAE-GANs are trained on them, a classifier on the
        face's, and context attention on all of them. A table shows how far a change reaches: a
        setting of context attention makes only context attention stale, a setting of the face
        VAE-GAN also the classifier above it, and a new crop everything. Comments, prose and the
        demo make nothing stale.""",
    )
    canvas.text(
        450, 36, "a record says what something was made from; a change spreads upwards", "name"
    )
    files = canvas.box(72, 196, 112, 84, "plain", "corpus", ("files,", "by their key"))
    prepared = canvas.box(212, 196, 120, 84, "plain", "prepared", ("crops and", "spectrograms"))
    canvas.arrow(files.right, prepared.left)
    boxes = {}
    for stage, (x, y) in PLACES.items():
        width = 182 if stage == "can" else 152
        boxes[stage] = canvas.box(x, y, width, 56, KINDS[stage], NAMES[stage])
    for stage in ("face", "voice"):
        canvas.arrow(prepared.right, boxes[stage].left)
    for stage in PLACES:
        for below in networks_below(stage, PROFILE):
            canvas.arrow(boxes[below].right, boxes[stage].left)
    canvas.lines(
        764,
        76,
        ("record: version, settings,", "data, seed, fold, classes,", "records of those below"),
    )
    canvas.arrow((764, 124), (764, 166), dashes="4 4")
    # How far a change reaches
    canvas.line([(30, 312), (870, 312)], "rule")
    canvas.caption(30, 338, "what has changed", "start")
    columns = {"face": 420, "voice": 552, "classifier_face": 672, "can": 800}
    heads = {"face": "face", "voice": "voice", "classifier_face": "classifier", "can": "context"}
    for stage, x in columns.items():
        canvas.caption(x, 338, heads[stage])
    rows = [(words, built_on(stage, PROFILE)) for words, stage in CHANGES]
    rows.append(("where faces are cropped (version)", {"face", "classifier_face", "can", "voice"}))
    rows.append(("comments, prose, the demo", set()))
    for row, (words, stale) in enumerate(rows):
        y = 364 + 24 * row
        canvas.text(30, y, words, "small", "ink", "start")
        for stage, x in columns.items():
            is_stale = stage in stale
            canvas.text(
                x, y, "stale" if is_stale else "–", "small", "bad-ink" if is_stale else "soft"
            )
    return canvas


def diagrams() -> list[Canvas]:
    """All diagrams of this module."""
    return [provenance()]
