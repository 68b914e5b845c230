"""Who learns, who is asked, and by whom: notebooks 01, 04, 06, 07, 11 and 12."""

from __future__ import annotations

import numpy as np

from cmlib.corpora.pairs import VOICES_PER_PICTURE
from cmlib.corpora.splits import FOLDS
from cmlib.metrics import mean_interval
from tools.diagrams.drawing import Canvas

ACTORS = [actor for fold in FOLDS for actor in fold]
COUNT = len(FOLDS)
# How the subsets are drawn: a colour and a letter, which survives printing in grey.
SUBSETS = {"test": ("both", "T"), "validation": ("voice", "V"), "training": ("plain", "")}


def subset_in(fold: int, of_actor: int) -> str:
    """The subset, in ``fold``, of an actor who is tested in the fold ``of_actor``; from 1 to 5."""
    if of_actor == fold:
        return "test"
    return "validation" if of_actor == fold % COUNT + 1 else "training"


def folds() -> Canvas:
    """Which actors train, validate and test in each of the five folds."""
    canvas = Canvas(
        "folds",
        330,
        f"Five folds by actor: {len(ACTORS)} actors",
        f"""A grid of {COUNT} folds and {len(ACTORS)} actors, who stand in five groups. In each
        fold one group tests, the next one validates, and the other three train. Nobody is in
        two subsets of a fold, and over the five folds everybody tests once.""",
    )
    canvas.text(450, 34, f"{len(ACTORS)} actors in {COUNT} groups; everybody tests once", "name")
    cell, left, top = 28, 118, 78
    x = left
    columns = []
    for number, group in enumerate(FOLDS, 1):
        for actor in group:
            columns.append((x, number, actor))
            x += cell
        x += 14
    for x, _, actor in columns:
        canvas.caption(x + cell / 2 - 1, top - 10, str(actor))
    canvas.caption(left - 16, top - 10, "actor", "end")
    for fold in range(1, COUNT + 1):
        y = top + (cell + 8) * (fold - 1)
        canvas.text(left - 16, y + 20, f"fold {fold}", "body", "ink", "end")
        for x, group, _ in columns:
            kind, letter = SUBSETS[subset_in(fold, group)]
            canvas.box(x + cell / 2 - 1, y + cell / 2, cell - 4, cell - 2, kind)
            if letter:
                canvas.text(x + cell / 2 - 1, y + cell / 2 + 6, letter, "small")
    _legend(canvas, 290)
    return canvas


def _legend(canvas: Canvas, y: float) -> None:
    """What the colours and letters of the subsets mean."""
    words = {
        "test": "asked at the end",
        "validation": "chooses settings",
        "training": "is learnt from",
    }
    for i, (subset, (kind, letter)) in enumerate(SUBSETS.items()):
        x = 110 + 262 * i
        canvas.box(x, y, 26, 26, kind)
        if letter:
            canvas.text(x, y + 6, letter, "small")
        canvas.text(x + 22, y + 6, f"{subset}: {words[subset]}", "small", "ink", "start")


def pairs() -> Canvas:
    """Folds of a corpus whose faces and voices are of different people: both sides are apart."""
    canvas = Canvas(
        "pairs",
        340,
        "Pairs of a picture and a voice: both sides apart",
        f"""Five columns, one for each fold. In each, faces of some people stand above voices of
        other people. A picture is paired with {VOICES_PER_PICTURE} voices of its own column
        and its own emotion, and never with a voice of another column. When the first column
        tests, neither its faces nor its voices have been met in training.""",
    )
    canvas.text(450, 34, "a picture meets voices of its own group only", "name")
    moods = ("happy", "sad", "angry")
    for fold in range(1, COUNT + 1):
        x = 90 + 180 * (fold - 1)
        subset = subset_in(1, fold)
        kind, _ = SUBSETS[subset]
        canvas.box(x, 166, 164, 210, kind)
        for column, mood in enumerate(moods):
            at = x - 50 + 50 * column
            canvas.face(at, 104, 21, mood)
            canvas.line([(at, 130), (at, 154)], "line", 1.6)
            canvas.line([(at, 180), (at, 206)], "line", 1.6)
            canvas.voice(at, 228, 38, 34)
        canvas.text(x, 173, "same emotion", "small", "ink")
        canvas.text(x, 294, f"group {fold}: {subset}", "small")
    canvas.caption(
        450,
        324,
        f"{VOICES_PER_PICTURE} voices for each picture; here fold 1 is tested",
    )
    return canvas


def leakage() -> Canvas:
    """The same clips, divided as if they were cards, and divided by actor."""
    canvas = Canvas(
        "leakage",
        350,
        "Clips mixed, and actors apart",
        """Twice the same twenty-five clips of five actors, named A to E. On the left clips are
        dealt like cards: the marked clips are the test, and every actor is also in training,
        so that a network can pass by knowing the person. On the right all clips of one actor
        are the test, and the network has never met this person.""",
    )
    rng = np.random.default_rng(3)
    people, clips = "ABCDE", 5
    mixed = set()
    for person in range(len(people)):
        mixed.add((person, int(rng.integers(clips))))
    apart = {(4, clip) for clip in range(clips)}
    panels = (
        (225, "clips mixed", mixed, "bad", "is it angry, or is it C again?"),
        (675, "actors apart", apart, "good", "nobody has met E before"),
    )
    for middle, name, tested, kind, question in panels:
        canvas.text(middle, 38, name, "name")
        for row, person in enumerate(people):
            for column in range(clips):
                x, y = middle - 120 + 60 * column, 76 + 42 * row
                is_test = (row, column) in tested
                canvas.box(x, y, 48, 32, kind if is_test else "plain", thick=3 if is_test else 1.2)
                canvas.text(x, y + 6, f"{person}{column + 1}", "small")
        met = len({row for row, _ in tested} - ({4} if tested == apart else set()))
        canvas.text(
            middle,
            298,
            f"test actors met in training: {met} of {max(1, len({r for r, _ in tested}))}",
            "body",
        )
        canvas.caption(middle, 324, question)
    canvas.line([(450, 24), (450, 330)], "rule")
    return canvas


def judges() -> Canvas:
    """Who learns from whom: the networks and the judges of their pictures."""
    test, validation = len(FOLDS[0]), len(FOLDS[1])
    training = len(ACTORS) - test - validation
    columns = (
        ("training\nactors", training),
        ("validation\nactors", validation),
        ("test\nactors", test),
        ("crowd", 0),
        ("photo-\ngraphs", 0),
    )
    rows = (
        ("encoders and decoders", "face", "...L."),
        ("context attention", "face", "L..L."),
        ("judge", "good", "LLA.."),
        ("strict judge", "good", ".LA.."),
        ("recogniser", "good", "..A.L"),
    )
    canvas = Canvas(
        "judges",
        380,
        "Who learns from whom, in fold 1",
        f"""A table for fold 1. Encoders and decoders learn from the crowd, context attention from
        {training} training actors and the crowd. The judge learns from training and
        {validation} validation actors, the strict judge from validation actors alone, and the
        recogniser from photographs of other people. All judges are asked about pictures of the
        {test} test actors, from whom nothing has learnt.""",
    )
    canvas.text(
        450, 34, "no network and no judge has learnt from the people it is asked about", "name"
    )
    for column, (name, count) in enumerate(columns):
        x = 330 + 116 * column
        for line, words in enumerate(name.split("\n")):
            canvas.text(x, 76 + 20 * line, words, "body", "soft")
        if count:
            canvas.caption(x, 116, str(count))
    canvas.box(330 + 116 * 2, 242, 108, 230, "dim")
    for row, (name, kind, marks) in enumerate(rows):
        y = 152 + 45 * row
        canvas.text(250, y + 6, name, "name", "ink", "end")
        for column, mark in enumerate(marks):
            x = 330 + 116 * column
            if mark == "L":
                canvas.box(x, y, 88, 32, kind)
                canvas.text(x, y + 6, "learns", "small")
            elif mark == "A":
                canvas.text(x, y + 6, "is asked", "small", "good-ink")
            else:
                canvas.caption(x, y + 6, "–")
    return canvas


def bootstrap() -> Canvas:
    """An interval over actors: actors are drawn with replacement, again and again."""
    shares = {"A": 0.9, "B": 0.55, "C": 0.8, "D": 0.7, "E": 0.85}  # an example
    values = np.array(list(shares.values()))
    interval = mean_interval(values, np.arange(len(values)))
    rng = np.random.default_rng(1)
    draws = rng.integers(len(values), size=(3, len(values)))
    canvas = Canvas(
        "bootstrap",
        360,
        "An interval over actors",
        f"""Five test actors with the share of their clips that is read correctly. Three rows show
        five actors drawn with replacement, so that some come twice and others not at all, with
        the mean of each draw. The middle 95 per cent of many such means are the interval,
        which is drawn on an axis from {100 * interval["low"]:.0f} to {
            100 * interval["high"]:.0f} per cent.""",
    )
    canvas.text(
        450, 34, "draw as many actors as there are, with all their clips, and score them", "name"
    )
    names = list(shares)
    rows = [(list(range(len(names))), "five test actors")]
    rows += [(list(map(int, draw)), f"draw {i}") for i, draw in enumerate(draws, 1)]
    for row, (who, label) in enumerate(rows):
        y = 76 + 48 * row
        kind = "face" if row == 0 else "plain"
        canvas.text(210, y + 6, label, "body", "ink", "end")
        for column, actor in enumerate(who):
            x = 280 + 92 * column
            canvas.box(x, y, 80, 36, kind)
            canvas.text(x, y + 6, f"{names[actor]}  {100 * values[actor]:.0f} %", "small")
        canvas.text(790, y + 6, f"mean {100 * values[who].mean():.0f} %", "body")

    # The axis
    def place(share: float) -> float:
        return 120 + 660 * (share - 0.5) / 0.5

    y = 292
    canvas.line([(120, y), (780, y)], "line", 1.4)
    for share in (0.5, 0.6, 0.7, 0.8, 0.9, 1.0):
        canvas.line([(place(share), y - 4), (place(share), y + 4)], "line", 1.4)
        canvas.caption(place(share), y + 24, f"{100 * share:.0f} %")
    canvas.line([(place(interval["low"]), y), (place(interval["high"]), y)], "both-line", 7)
    canvas.dot(place(interval["value"]), y, 8, "both-ink")
    canvas.text(
        place(interval["value"]), y - 18, "the middle 95 % of 2,000 means", "small", "both-ink"
    )
    canvas.caption(
        450,
        346,
        "Numbers of an example. Clips of one actor are not drawn apart: they belong together.",
    )
    return canvas


def diagrams() -> list[Canvas]:
    """All diagrams of this module."""
    return [folds(), pairs(), leakage(), judges(), bootstrap()]
