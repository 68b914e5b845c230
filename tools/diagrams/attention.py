"""How the context attention network moves a face: notebooks 05, 06 and 07."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from cmlib.config import PROFILES
from cmlib.corpora.names import CLASSES
from cmlib.training.losses import kl_between
from tools.diagrams.drawing import MOODS, Canvas

QUICK = PROFILES["quick"]
FACE, VOICE = QUICK.face.latent, QUICK.voice.latent
DIRECTIONS, LABELS = QUICK.can.directions, len(CLASSES)
# The example with a pencil in notebook 05: the keys (in units of ln 2) and the values of a face
# with four dimensions, and the queries of a voice.
KEYS, VALUES, QUERIES = (0, 1, 1, 2), (0, 3, 6, 9), (0, 1, -1, 2)


# Long: a list of boxes and arrows, with nothing to decide.
def can_step() -> Canvas:
    """One pass through the network, with the shape of everything that goes through it."""
    canvas = Canvas(
        "can_step",
        530,
        "One step of the context attention network",
        f"""One step of the context attention network, with shapes. The voice's mean of {VOICE}
        numbers gives {FACE} queries. The face's mean of {FACE} numbers gives {FACE} keys and
        {FACE} values. The softmax of query times key makes a map of {FACE} by {FACE} weights,
        whose rows average the values. In profile quick the result is projected on {DIRECTIONS}
        directions of expression. It is multiplied by the strength t and added to the face's mean.
        From the shifted mean a linear layer reads {LABELS} classes, and the decoder paints the
        mental representation.""",
    )
    canvas.voice(60, 110, 80, 60)
    voice = canvas.box(180, 110, 110, 58, "voice", "voice", (f"μ: {VOICE}",))
    canvas.face(60, 266, 36, "neutral")
    face = canvas.box(180, 266, 110, 58, "face", "face", (f"μ: {FACE}",))
    canvas.arrow((104, 110), voice.left)
    canvas.arrow((92, 266), face.left)
    query = canvas.box(336, 110, 128, 58, "voice", "queries q", (f"W_q: {FACE} × {VOICE}",))
    key = canvas.box(336, 220, 128, 58, "face", "keys k", (f"W_k: {FACE} × {FACE}",))
    value = canvas.box(336, 312, 128, 58, "face", "values u", (f"W_u: {FACE} × {FACE}",))
    canvas.arrow(voice.right, query.left)
    canvas.arrow(face.right, key.left)
    canvas.arrow(face.right, value.left)
    weights = canvas.box(
        530,
        150,
        168,
        84,
        "both",
        "softmax(q_i k_j)",
        ("over j, for each i", f"{FACE} × {FACE} weights"),
    )
    canvas.arrow(query.right, (weights.left[0], 136))
    canvas.arrow(key.right, (weights.left[0], 166))
    mean = canvas.box(530, 270, 168, 58, "both", "Σ_j A_{ij} u_j", (f"{FACE} numbers",))
    canvas.arrow(weights.bottom, mean.top)
    canvas.arrow(value.right, (mean.left[0], 282))
    shift = canvas.box(
        750, 270, 190, 62, "both", "shift, times t", (f"quick: {DIRECTIONS} directions",)
    )
    canvas.arrow(mean.right, shift.left)
    # The sum and what follows from it
    canvas.text(750, 366, "+", "title")
    canvas.arrow(shift.bottom, (750, 348))
    canvas.path("M 180 295 L 180 360 L 738 360", "face-line", 1.8, "6 4")
    canvas.caption(470, 354, "the face's own mean")
    shifted = canvas.box(750, 434, 190, 58, "face", "shifted mean μ′", (f"{FACE} numbers",))
    canvas.arrow((750, 374), shifted.top)
    decoder = canvas.box(500, 402, 168, 46, "face", "decoder")
    label = canvas.box(500, 464, 168, 46, "good", "classifier")
    for box in (decoder, label):
        canvas.arrow(shifted.left, box.right)
    canvas.arrow(decoder.left, (318, 402))
    canvas.face(286, 406, 34, "happy", "both")
    canvas.caption(240, 404, "mental representation", "end")
    canvas.arrow(label.left, (392, 464))
    canvas.caption(384, 470, f"{LABELS} classes: happy", "end")
    canvas.text(450, 38, "Each of the dimensions is a token, and a token is one number.", "name")
    canvas.caption(
        450, 514, "log σ² is shifted in the same way, by an attention with weights of its own."
    )
    return canvas


def attended(queries: np.ndarray) -> np.ndarray:
    """The function f_v of the example at ``queries`` (Q,), as in notebook 05: (Q,)."""
    weights = 2.0 ** (queries[:, None] * np.array(KEYS))  # e^(q k) where k is a multiple of ln 2
    return weights @ np.array(VALUES) / weights.sum(1)


def attention_function() -> Canvas:
    """The one function through which a voice can act on a face."""
    canvas = Canvas(
        "attention_function",
        390,
        "A face is one function of the query",
        """The output of attention as a function of the query, for the face with four dimensions of
        the example with a pencil. At a query of zero it is the mean of the four values, 4.5. For
        large queries it approaches the value whose key is largest, 9, and for very negative ones
        the value whose key is smallest, 0. It never leaves this range. Four dots are the four
        queries of the example's voice.""",
    )
    left, right, top, bottom = 80.0, 560.0, 70.0, 320.0
    highest = 5.0  # of the queries that are shown
    low, high = min(VALUES), max(VALUES)

    def place(query: float, output: float) -> tuple[float, float]:
        across = (query + highest) / (2 * highest)
        up = (output - low + 0.8) / (high - low + 1.6)
        return left + across * (right - left), bottom - up * (bottom - top)

    for bound, words in ((high, "largest value: 9"), (low, "smallest value: 0")):
        _, y = place(0, bound)
        canvas.line([(left, y), (right, y)], "line", 1.2, "5 5")
        is_high = bound == high
        x, anchor = (left + 6, "start") if is_high else (right - 6, "end")
        canvas.caption(x, y + 22 if is_high else y - 8, words, anchor)
    canvas.line([(left, top), (left, bottom), (right, bottom)], "line", 1.4)
    queries = np.linspace(-highest, highest, 81)
    curve = [place(q, f) for q, f in zip(queries.tolist(), attended(queries).tolist())]
    canvas.line(curve, "face-line", 3)
    outputs = attended(np.array(QUERIES, float)).tolist()
    for query, output in zip(QUERIES, outputs):
        x, y = place(query, output)
        canvas.dot(x, y, 6, "voice-ink")
        words = f"q = {query}: {output:g}".replace("-", "−")
        canvas.text(x + 14, y + 16, words, "small", "ink", "start")
    canvas.text((left + right) / 2, bottom + 28, "query q_i, from the voice", "body")
    canvas.text(left, top - 16, "output f_v(q_i)", "body", "ink", "start")
    canvas.text(450, 34, "the voice chooses where this function of the face is read", "name")
    # The keys and values behind it
    canvas.caption(730, 106, "the face of the example")
    for column, heading in enumerate(("j", "key k_j / ln 2", "value u_j")):
        canvas.text((630, 718, 826)[column], 140, heading, "body", "soft")
    for row, (key, value) in enumerate(zip(KEYS, VALUES)):
        for column, number in enumerate((row + 1, key, value)):
            canvas.text((630, 718, 826)[column], 172 + 30 * row, str(number), "body")
    canvas.lines(
        730, 306, ("f_v(q) = Σ_j softmax_j(q k_j) u_j", "one function for all i"), "small", "ink"
    )
    return canvas


def strength() -> Canvas:
    """The way of a face through the latent space while the strength of the context grows."""
    canvas = Canvas(
        "context_strength",
        420,
        "From a face to its mental representation",
        """A plane map of the latent space with two regions, in which faces are read as sad and as
        happy. A straight path leads from the face at strength zero to its mental representation
        at strength one. The drawn faces along the path change little by little, while the label
        changes at one point, where the path crosses the border between two regions.""",
    )
    canvas.frame(40, 60, 820, 290)
    canvas.line([(430, 60), (350, 350)], "line", 1.4, "6 5")
    canvas.caption(60, 86, "read as sad", "start")
    canvas.caption(840, 332, "read as happy", "end")
    canvas.text(
        450, 36, "μ′(t) = μ + t · shift: a straight path, and a label that flips once", "name"
    )
    start, end = (130, 280), (770, 150)
    steps = ((0.0, "sad"), (0.25, "neutral"), (0.5, "neutral"), (0.75, "happy"), (1.0, "happy"))
    canvas.line([start, end], "both-line", 3)
    moods = _between("sad", "happy", [t for t, _ in steps])
    for (t, _), mood in zip(steps, moods):
        x = start[0] + t * (end[0] - start[0])
        y = start[1] + t * (end[1] - start[1])
        canvas.dot(x, y, 6, "both-ink")
        canvas.expression(x, y - 52, 32, mood, "face" if t < 1 else "both")
        canvas.text(x, y + 26, f"t = {t:g}", "small")
    canvas.caption(130, 332, "the face alone")
    canvas.caption(770, 202, "mental representation")
    canvas.caption(
        450, 384, "The voice sets the direction and the length of the shift, and you set t."
    )
    canvas.caption(412, 340, "border of the classifier", "start")
    return canvas


def _between(first: str, last: str, shares: Sequence[float]) -> list[tuple[float, ...]]:
    """Expressions on the way from one mood to another."""
    ends = list(zip(MOODS[first], MOODS[last]))
    return [tuple(a + share * (b - a) for a, b in ends) for share in shares]


def directions() -> Canvas:
    """What is left of a shift that may only follow directions of expression."""
    canvas = Canvas(
        "directions",
        360,
        "A shift along directions of expression",
        f"""A shift in the latent space as an arrow. Its part within a plane of {DIRECTIONS}
        directions of expression is kept. Its part at right angles to the plane, which would
        change hair, light or person, is dropped. The directions are the main differences between
        the mean faces of the emotions, taken within each person.""",
    )
    canvas.text(450, 36, f"the shift keeps to {DIRECTIONS} of {FACE} dimensions", "name")
    # The plane, as seen from the side
    corners = [(80, 280), (380, 300), (520, 200), (230, 184), (80, 280)]
    canvas.path("M 80 280 L 380 300 L 520 200 L 230 184 Z", "good", 1.5)
    canvas.line(corners, "good-line", 1.5)
    foot, tip = (220, 256), (380, 100)
    inside = (380, 222)
    canvas.arrow(foot, (tip[0] - 2, tip[1] + 4), kind="pen", is_straight=True)
    canvas.line([tip, inside], "bad-line", 2.2, "6 4")
    canvas.path(f"M {foot[0]} {foot[1]} L {inside[0]} {inside[1]}", "both-line", 4)
    canvas.dot(*foot, 6, "face-ink")
    canvas.dot(*inside, 6, "both-ink")
    canvas.text(204, 262, "μ", "body", "ink", "end")
    canvas.text(280, 130, "the attention's output", "small", "ink", "end")
    canvas.text(394, 156, "dropped: hair, light, person", "small", "bad-ink", "start")
    canvas.text(300, 276, "kept: B Bᵀ att", "small", "both-ink")
    canvas.caption(250, 328, f"directions of expression: B is {FACE} × {DIRECTIONS}")
    # Where they come from
    canvas.caption(730, 92, "mean of an emotion")
    canvas.caption(730, 112, "minus mean of all, per person")
    for row, mood in enumerate(("happy", "sad", "angry")):
        y = 150 + 62 * row
        canvas.face(664, y, 26, mood)
        canvas.text(702, y + 6, "−", "title")
        canvas.face(740, y, 26, "neutral", "plain")
        canvas.arrow((772, y), (826, y), kind="good-line")
    canvas.lines(730, 322, ("their first singular vectors",))
    return canvas


def divergence() -> Canvas:
    """Two directions of one divergence, in one dimension."""
    canvas = Canvas(
        "divergence",
        330,
        "The divergence from the face to the shifted face, and back",
        """A unit Gaussian beside one that is half as wide, and beside one that is twice as wide,
        with the Kullback-Leibler divergence in both directions. The released direction, from the
        original to the shifted Gaussian, is expensive where the shifted one is narrower. The
        opposite direction is expensive where it is wider.""",
    )
    for x, ratio, name in ((240, 0.5, "narrower"), (660, 2.0, "wider")):
        canvas.text(x, 38, f"the shifted Gaussian is {name}", "name")
        base = 210
        canvas.line([(x - 170, base), (x + 170, base)], "line", 1.2)
        for spread, kind in ((1.0, "face-line"), (ratio, "both-line")):
            grid = np.linspace(-3.4, 3.4, 69).tolist()
            canvas.line(
                [
                    (x + 50 * g, base - 72 * math.exp(-0.5 * (g / spread) ** 2) / spread)
                    for g in grid
                ],
                kind,
                3,
            )
        forward, backward = gaussian_divergence(1.0, ratio), gaussian_divergence(ratio, 1.0)
        canvas.text(x, 250, f"KL(N ‖ N′) = {forward:.2f}", "body")
        canvas.text(x, 276, f"KL(N′ ‖ N) = {backward:.2f}", "body")
    canvas.caption(
        450,
        312,
        "blue: the face N(0, 1)   ·   violet: shifted, with σ′ of 0.5 and of 2   ·   in nats",
    )
    return canvas


def gaussian_divergence(spread: float, other: float) -> float:
    """KL(N(0, spread^2) || N(0, other^2)) in nats."""
    mean = torch.zeros(1, 1)
    logvar, other_logvar = (torch.full((1, 1), 2 * math.log(s)) for s in (spread, other))
    return float(kl_between(mean, logvar, mean, other_logvar))


def diagrams() -> list[Canvas]:
    """All diagrams of this module."""
    return [can_step(), attention_function(), strength(), directions(), divergence()]
