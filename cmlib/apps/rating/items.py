"""What is rated, in which order, and the pictures that check whether a rater is awake."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from cmlib.corpora.names import EMOTIONS
from cmlib.experiment.run import Run, example, neutral_rows
from cmlib.perceiver import Perceiver

ORIGINAL = "original"
RECONSTRUCTION = "reconstruction"
MENTAL_REPRESENTATION = "mental representation"
ATTENTION_CHECK = "attention check"
KINDS = (RECONSTRUCTION, ORIGINAL, MENTAL_REPRESENTATION)  # the first is the baseline of the model
SCALE = tuple(range(1, 8))  # 1 not at all ... 7 very
CHECKS = 3  # attention checks for each rater, one in each third of the pictures


class RatingError(ValueError):
    """A name, an answer or a file that cannot be used; the message says what to do."""


@dataclass(frozen=True)
class Item:
    """One picture (S, S, 3) of floats in 0...1 to be rated.

    ``voice`` is the emotion of the voice that shifted it, "" for none. ``key`` names the item and
    changes with its picture, so that answers about other networks are never taken for these.
    ``asked`` is what an attention check asks for, such as "happy 2 6", and "" for a face.
    """

    kind: str
    actor: int
    voice: str
    picture: np.ndarray = field(repr=False, compare=False)
    key: str = ""
    asked: str = ""


def create_items(run: Run, perceiver: Perceiver, strength: float = 1.0) -> list[Item]:
    """The pictures of the study, for each test actor.

    They are a neutral frame, its reconstruction, and its mental representation in the context of a
    voice of each emotion: the actor's own voice, where there is one. A test actor without a neutral
    clip is left out.
    """
    items = []
    emotions = [emotion for emotion in run.classes if emotion != EMOTIONS[0]]
    for row in neutral_rows(run, run.split.test):
        actor = int(run.store.clips.actor.iloc[run.frame_clip[row]])
        face = perceiver.encode_face(run.store.frames[row])
        items.append(_item(ORIGINAL, actor, "", face.picture))
        items.append(_item(RECONSTRUCTION, actor, "", face.reconstruction))
        for emotion in emotions:
            clip = example(run, run.split.test, emotion, actor)
            if clip is None:
                continue
            mel = np.asarray(run.store.mels[clip], np.float32)
            perception = perceiver.perceive(face, mel, strength)
            items.append(_item(MENTAL_REPRESENTATION, actor, emotion, perception.perceived))
    return items


def _item(kind: str, actor: int, voice: str, picture: np.ndarray) -> Item:
    checksum = zlib.crc32((255 * picture).round().astype(np.uint8).tobytes())
    return Item(kind, actor, voice, picture, f"{actor:02d}-{voice or kind}-{checksum:08x}")


# -------------------------------------------------------------------- attention checks


def attention_checks(emotions: Sequence[str], seed: int = 0) -> list[Item]:
    """Pictures of a sentence that says what to answer, ``CHECKS`` of them.

    A rater who reads the screen answers them rightly, whatever they see in faces.
    """
    rng = np.random.default_rng([seed, len(emotions)])
    order = rng.permutation(list(emotions))
    checks = []
    for number in range(CHECKS):
        emotion = str(order[number % len(order)])
        intensity, realism = (int(mark) for mark in rng.choice(SCALE, 2))
        asked = f"{emotion} {intensity} {realism}"
        picture = _written(f"no face here:\nchoose {emotion}\nthen {intensity}\nthen {realism}")
        checks.append(Item(ATTENTION_CHECK, 0, "", picture, f"check-{number + 1}-{asked}", asked))
    return checks


def _written(text: str) -> np.ndarray:
    """A grey picture (320, 320, 3) in 0...1 with ``text`` in its middle."""
    image = Image.new("RGB", (320, 320), (235, 235, 235))
    font = ImageFont.load_default(320 / 11)
    draw = ImageDraw.Draw(image)
    draw.multiline_text(
        (160, 160), text, (20, 20, 20), font, anchor="mm", align="center", spacing=12
    )
    return np.asarray(image, np.float32) / 255


# -------------------------------------------------------------------- the order of each rater


def williams_row(n: int, row: int) -> list[int]:
    """One row of a Williams square: an order of 0...n-1.

    Over n rows (2 n if n is odd) each number stands in each place equally often, and each number
    follows each other number equally often (Williams 1949, Aust. J. Sci. Res. A 2, 149).
    """
    zigzag = [(place + 1) // 2 if place % 2 else -place // 2 for place in range(n)]
    order = [(number + row) % n for number in zigzag]
    if n % 2 and (row // n) % 2:
        order.reverse()
    return order


def rows_of_balance(items: Sequence[Item]) -> int:
    """After so many raters every picture of an actor has stood in every place equally often."""
    rows = []
    for pictures in Counter(item.actor for item in items).values():
        is_even = pictures % 2 == 0
        rows.append(pictures if is_even else 2 * pictures)  # of the Williams square
    return int(np.lcm.reduce(rows))


def balanced_order(items: Sequence[Item], number: int, seed: int = 0) -> list[Item]:
    """The items in the order of the rater who came as ``number``, counted from 1.

    The items are shown in blocks, and a block has one picture of each actor, in a random order.
    Which picture of an actor stands in which block is a row of a Williams square, whose pictures
    are numbered at random once for the study. So all raters together see every picture early and
    late equally often. The same items, number and seed give the same order.
    """
    if number < 1:
        raise RatingError(f"number {number}: raters are counted from 1")
    of_study = np.random.default_rng(seed)
    sequences = []
    for start, actor in enumerate(sorted({item.actor for item in items})):
        pictures = [item for item in items if item.actor == actor]
        shuffled = [pictures[i] for i in of_study.permutation(len(pictures))]
        row = williams_row(len(pictures), number - 1 + start)
        sequences.append([shuffled[i] for i in row])
    of_rater = np.random.default_rng([seed, number])
    ordered = []
    for block in range(max(map(len, sequences), default=0)):
        shown = [sequence[block] for sequence in sequences if block < len(sequence)]
        ordered += [shown[i] for i in of_rater.permutation(len(shown))]
    return ordered


def with_checks(
    order: Sequence[Item], checks: Sequence[Item], number: int, seed: int = 0
) -> list[Item]:
    """The order with each check at a random place of its own part of it, never at the beginning."""
    rng = np.random.default_rng([seed, number, len(order)])
    shown = list(order)
    edges = np.linspace(0, len(order), len(checks) + 1).astype(int)
    for check, first, last in reversed(list(zip(checks, edges[:-1], edges[1:]))):
        place = int(rng.integers(first + 1, max(last, first + 1) + 1))
        shown.insert(place, check)
    return shown
