"""What people see in a face: notebooks 09, 10 and 12."""

from __future__ import annotations

from cmlib.corpora.names import CLASSES
from cmlib.evaluation.observers import RATERS
from cmlib.models.observers import OBSERVED_EMOTIONS
from tools.diagrams.drawing import Canvas

# The shares of an example: what observers say about a face, what the judge predicts, and what it
# predicts for the same face in the context of a surprised voice.
OBSERVED = (0.05, 0.08, 0.04, 0.06, 0.25, 0.52)
BEFORE = (0.07, 0.12, 0.10, 0.09, 0.22, 0.40)
AFTER = (0.06, 0.04, 0.05, 0.04, 0.21, 0.60)


def shares() -> Canvas:
    """A judge that predicts how many of a hundred people would say what."""
    canvas = Canvas(
        "observer_shares",
        410,
        "A judge that predicts what observers say",
        f"""A picture of a face is shown to {RATERS} observers. The shares of their answers among
        {len(OBSERVED_EMOTIONS)} emotions are a row of bars, and a network learns to predict
        these shares, not one label. Asked about a face before and after it was perceived in
        the context of a voice, it says how many more people would name the voice's emotion:
        the gain.""",
    )
    canvas.text(230, 36, "how it learns", "name")
    canvas.text(675, 36, "what it is asked", "name")
    canvas.line([(450, 24), (450, 378)], "rule")
    canvas.face(60, 130, 36, "surprised")
    canvas.arrow((94, 112), (150, 100))
    canvas.box(206, 96, 108, 52, "plain", str(RATERS), ("observers",))
    canvas.arrow((262, 96), (292, 96))
    _bars(canvas, 306, 60, OBSERVED, "plain")
    canvas.arrow((60, 172), (60, 276))
    canvas.box(60, 304, 92, 52, "good", "judge")
    canvas.arrow((108, 304), (292, 304))
    _bars(canvas, 306, 268, BEFORE, "good")
    canvas.path("M 366 172 L 366 258", "line", 1.8, "5 4")
    canvas.caption(352, 222, "cross-entropy", "end")
    # What it is asked
    canvas.face(520, 120, 36, "fearful")
    canvas.caption(520, 184, "face alone")
    canvas.face(520, 286, 36, "surprised", "both")
    canvas.lines(520, 346, ("in the context", "of a voice"))
    for y, values, kind in ((120, BEFORE, "good"), (286, AFTER, "both")):
        canvas.arrow((556, y), (618, y))
        canvas.box(660, y, 82, 44, "good", "judge")
        canvas.arrow((702, y), (736, y))
        _bars(canvas, 750, y - 36, values, kind)
    before, after = BEFORE[-1], AFTER[-1]
    canvas.text(
        706,
        220,
        f"gain: {100 * after:.0f} − {100 * before:.0f} = {100 * (after - before):.0f} points",
        "body",
        "both-ink",
    )
    canvas.caption(450, 404, f"Bars of an example: {', '.join(OBSERVED_EMOTIONS)}.")
    return canvas


def _bars(canvas: Canvas, left: float, top: float, values: tuple[float, ...], kind: str) -> None:
    """Shares as bars in a field of 120 by 72."""
    for i, share in enumerate(values):
        height = 110 * share
        canvas.box(left + 10 + 20 * i, top + 72 - height / 2, 16, height, kind)
    canvas.line([(left, top + 72), (left + 122, top + 72)], "line", 1.4)
    canvas.caption(left + 122, top + 90, OBSERVED_EMOTIONS[-1], "end")


def rating_study() -> Canvas:
    """What a rater is shown, in which order, and what is asked."""
    kinds = len(CLASSES)
    canvas = Canvas(
        "rating_study",
        370,
        "A blind rating study",
        f"""Of each test actor there are one original, one reconstruction, and a mental
        representation for each of {kinds} voices. All pictures are shuffled, in another order
        for every rater, and shown without names. Each is asked three questions: which emotion,
        how intense, how real. The comparison of mental representations with reconstructions is
        the result.""",
    )
    canvas.text(160, 36, "of each test actor", "name")
    canvas.text(480, 36, "shuffled, without names", "name")
    canvas.text(760, 36, "three questions", "name")
    for y, name, mood, kind in (
        (88, "original", "neutral", "plain"),
        (162, "reconstruction", "neutral", "face"),
    ):
        canvas.face(60, y, 28, mood, kind)
        canvas.text(100, y + 6, f"1 {name}", "body", "ink", "start")
    for i, mood in enumerate(("happy", "sad", "surprised")):
        canvas.face(60 + 16 * i, 244 + 12 * i, 28, mood, "both")
    canvas.text(132, 252, f"{kinds} mental", "body", "ink", "start")
    canvas.text(132, 274, "representations", "body", "ink", "start")
    canvas.arrow((290, 170), (352, 170))
    order = ("sad", "neutral", "surprised", "happy", "neutral", "angry", "sad", "fearful", "happy")
    for i, mood in enumerate(order):
        x, y = 408 + 70 * (i % 3), 100 + 76 * (i // 3)
        canvas.face(x, y, 27, mood, "plain")
    canvas.caption(480, 316, "another order for every rater")
    canvas.arrow((604, 170), (652, 170))
    for y, name, details in (
        (92, "which emotion?", (f"{kinds} and neutral",)),
        (172, "how intense?", ()),
        (252, "how real?", ()),
    ):
        canvas.box(764, y, 200, 58, "good", name, details)
    canvas.caption(
        450,
        350,
        "Result: how much oftener is the voice's emotion named than in the reconstruction?",
    )
    return canvas


def mixed_model() -> Canvas:
    """A linear mixed model: raters differ in their level, and share the rise."""
    canvas = Canvas(
        "mixed_model",
        340,
        "A linear mixed model of raters",
        """Four raters answer about reconstructions and about mental representations. Each rater
        has a level of their own, a random intercept, so their lines lie at different heights.
        The rise from the one kind to the other is shared, and is the number that the study is
        about.""",
    )
    canvas.text(450, 34, "everybody has a level of their own, and the rise is shared", "name")
    left, right, base = 170, 500, 280
    for x, words in ((left, "reconstruction"), (right, "mental representation")):
        canvas.line([(x, 60), (x, base)], "rule")
        canvas.text(x, base + 26, words, "body")
    for level, name, wobble in ((60, "a", 8), (105, "b", -6), (150, "c", 7), (190, "d", -9)):
        canvas.line([(left, base - level + 30), (right, base - level - 20)], "line", 1.4, "5 4")
        canvas.dot(left, base - level + 30 + wobble, 5, "face-ink")
        canvas.dot(right, base - level - 20 - wobble, 5, "both-ink")
        canvas.caption(left - 20, base - level + 36, f"rater {name}", "end")
    canvas.line([(left, base - 97), (right, base - 147)], "both-line", 4)
    canvas.line([(right + 18, base - 97), (right + 18, base - 147)], "both-line", 3)
    canvas.text(right + 30, base - 116, "rise β", "body", "both-ink", "start")
    canvas.lines(
        640,
        92,
        (
            "y_{ij} = β_0 + β_{kind} + r_i + ε_{ij}",
            "",
            "r_i: level of rater i",
            "ε_{ij}: what is left",
        ),
        "body",
        "ink",
        "start",
    )
    return canvas


def diagrams() -> list[Canvas]:
    """All diagrams of this module."""
    return [shares(), rating_study(), mixed_model()]
