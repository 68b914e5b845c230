"""A rating study: people judge faces one at a time, and do not know which of them are mental representations.

In the spirit of the human study of Blume et al. (2024, arXiv 2409.02566): original, reconstruction and mental
representation in random order; what emotion, how intense, how real.  Answers are one CSV a rater, written after each of
them.  The analysis asks whether the voice that shifted a face makes people name its emotion more often.
"""

from __future__ import annotations

import re
import time
import warnings
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import ipywidgets as widgets
import numpy as np
import pandas as pd

from cmlib import metrics
from cmlib.apps.encode import png_bytes
from cmlib.corpora.names import EMOTIONS
from cmlib.experiment.run import Run, example, neutral_rows
from cmlib.files import write_text
from cmlib.perceiver import Perceiver

KINDS = (
    "reconstruction",
    "original",
    "mental representation",
)  # the first is what the others are compared with
SCALE = tuple(range(1, 8))  # 1 not at all ... 7 very
COLUMNS = (
    "rater",
    "position",
    "item",
    "kind",
    "actor",
    "voice",
    "emotion",
    "intensity",
    "realism",
    "seconds",
    "simulated",
)


class RatingError(ValueError):
    """A name, an answer or a file that cannot be used; the message says what is wrong and what to do."""


@dataclass(frozen=True)
class Item:
    """One picture (S, S, 3) of floats in 0...1 to be rated; ``voice`` is the emotion that was heard, "" for none.

    ``key`` names the item and changes with its picture, so that answers about other networks are never taken for these.
    """

    kind: str
    actor: int
    voice: str
    picture: np.ndarray = field(repr=False, compare=False)
    key: str = ""


def items(run: Run, perceiver: Perceiver, strength: float = 1.0) -> list[Item]:
    """A neutral frame of each test actor, its reconstruction, and it in the context of a voice of each emotion.

    Voices are the actor's own, where there is one.  A test actor without a neutral clip is left out.
    """
    found = []
    for row in neutral_rows(run, run.split.test):
        actor, seen = (
            int(run.store.clips.actor.iloc[run.frame_clip[row]]),
            perceiver.encode_face(run.store.frames[row]),
        )
        shown = [("original", "", seen.picture), ("reconstruction", "", seen.reconstruction)]
        for emotion in run.classes:
            if (
                emotion != EMOTIONS[0]
                and (clip := example(run, run.split.test, emotion, actor)) is not None
            ):
                perception = perceiver.perceive(
                    seen, np.asarray(run.store.mels[clip], np.float32), strength
                )
                shown.append((KINDS[2], emotion, perception.perceived))
        for kind, voice, picture in shown:
            check = zlib.crc32((255 * picture).round().astype(np.uint8).tobytes())
            found.append(
                Item(kind, actor, voice, picture, f"{actor:02d}-{voice or kind}-{check:08x}")
            )
    return found


def order(things: Sequence[Item], rater: str, seed: int = 0) -> list[Item]:
    """The items in this rater's own random order, the same each time."""
    shuffled = np.random.default_rng([seed, zlib.crc32(rater.encode())]).permutation(len(things))
    return [things[i] for i in shuffled]


class Study:
    """The widgets and what they do; ``widget`` is shown.  ``begin`` and ``answer`` do what the buttons do.

    A rater who comes back under the same name goes on with the first item that is not answered.  RatingError where a
    name or an answer cannot be used; in the widget it becomes one line.
    """

    def __init__(
        self,
        things: Sequence[Item],
        folder: Path,
        emotions: Sequence[str] = EMOTIONS,
        seed: int = 0,
    ):
        self.things, self.folder, self.emotions, self.seed = (
            list(things),
            Path(folder),
            tuple(emotions),
            seed,
        )
        self.rater, self.queue, self.given = "", [], pd.DataFrame(columns=list(COLUMNS))
        self.shown_at = 0.0
        self.name = widgets.Text(description="name", placeholder="a short name that is not yours")
        self.start = widgets.Button(description="begin, or go on", button_style="primary")
        self.image = widgets.Image(format="png", width=320, height=320)
        self.emotion = widgets.ToggleButtons(options=self.emotions, value=None)
        self.intensity, self.realism = (
            widgets.ToggleButtons(options=SCALE, value=None) for _ in range(2)
        )
        for scale in (self.intensity, self.realism):
            scale.style.button_width = "44px"
        self.next = widgets.Button(description="next", button_style="primary", disabled=True)
        self.progress, self.status = widgets.IntProgress(max=len(self.things)), widgets.HTML()
        self.questions = widgets.VBox(
            [
                self.image,
                widgets.Label("What does this face express?"),
                self.emotion,
                widgets.Label("How intense is it? 1 not at all, 7 very"),
                self.intensity,
                widgets.Label("How real does the picture look? 1 not at all, 7 like a photograph"),
                self.realism,
                self.next,
            ],
            layout=widgets.Layout(display="none"),
        )
        self.widget = widgets.VBox(
            [widgets.HBox([self.name, self.start]), self.progress, self.questions, self.status]
        )
        self.start.on_click(lambda _: self._guard(lambda: self.begin(self.name.value)))
        self.next.on_click(
            lambda _: self._guard(
                lambda: self.answer(self.emotion.value, self.intensity.value, self.realism.value)
            )
        )
        for choice in (self.emotion, self.intensity, self.realism):
            choice.observe(self._chosen, "value")

    @property
    def item(self) -> Item | None:
        """What is shown now; None before the beginning and after the end."""
        return self.queue[0] if self.queue else None

    @property
    def file(self) -> Path:
        """Where this rater's answers are."""
        return self.folder / f"{self.rater}.csv"

    def begin(self, rater: str) -> None:
        """Start, or go on, as ``rater``."""
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,32}", rater := rater.strip()):
            raise RatingError(
                "the name needs 1 to 32 letters, digits, - or _, since it names a file"
            )
        self.rater = rater
        self.given = (
            read_file(self.file) if self.file.exists() else pd.DataFrame(columns=list(COLUMNS))
        )
        self.queue = [
            item
            for item in order(self.things, rater, self.seed)
            if item.key not in set(self.given.item)
        ]
        self._show()

    def answer(self, emotion: str, intensity: int, realism: int, simulated: bool = False) -> None:
        """Keep the answer about the present item on the disk, and show the next."""
        if self.item is None:
            raise RatingError("there is nothing to answer: begin first, or all is answered")
        if emotion not in self.emotions or intensity not in SCALE or realism not in SCALE:
            raise RatingError(
                f"answer all three: an emotion, and twice a number from {SCALE[0]} to {SCALE[-1]}"
            )
        item, seconds = self.item, round(time.monotonic() - self.shown_at, 2)
        row = [
            self.rater,
            len(self.given) + 1,
            item.key,
            item.kind,
            item.actor,
            item.voice,
            emotion,
            intensity,
            realism,
            seconds,
            simulated,
        ]
        self.given = pd.DataFrame([*self.given.itertuples(index=False), row], columns=list(COLUMNS))
        write_text(self.file, self.given.to_csv(index=False))
        self.queue.pop(0)
        self._show()

    def _show(self) -> None:
        for choice in (self.emotion, self.intensity, self.realism):
            choice.value = None
        self.progress.value = done = len(self.things) - len(self.queue)
        self.progress.description = f"{done} of {len(self.things)}"
        self.questions.layout.display = "flex" if self.queue else "none"
        self.status.value = (
            ""
            if self.queue
            else f"All {done} pictures are rated, thank you. Your answers: {self.file.name}"
        )
        if self.queue:
            self.image.value, self.shown_at = png_bytes(self.item.picture, 320), time.monotonic()

    def _chosen(self, _=None) -> None:
        self.next.disabled = any(
            c.value is None for c in (self.emotion, self.intensity, self.realism)
        )

    def _guard(self, step: Callable[[], None]) -> None:
        """Do the step; what goes wrong becomes one line, and the study lives on."""
        try:
            step()
        except (RatingError, OSError) as error:
            self.status.value = f"<b style='color:#B11B24'>{error}</b>"


# -------------------------------------------------------------------- what came of it


def read_file(path: Path) -> pd.DataFrame:
    """The answers of one CSV; RatingError where it is none of this study's."""
    try:
        table = pd.read_csv(path, keep_default_na=False, dtype={"rater": str, "voice": str})
    except (ValueError, OSError) as error:
        raise RatingError(
            f"{path}: not a readable table ({error}); restore it or move it away"
        ) from None
    if lost := [c for c in COLUMNS if c not in table]:
        raise RatingError(f"{path}: no column {', '.join(lost)}; restore the file or move it away")
    if bad := [c for c in ("intensity", "realism") if not set(table[c]) <= set(SCALE)]:
        raise RatingError(
            f"{path}: {', '.join(bad)} outside {SCALE[0]} to {SCALE[-1]}; correct the file or move it away"
        )
    return table


def read(folder: Path) -> pd.DataFrame:
    """The answers of all raters in a folder; an empty table where there is none."""
    tables = [read_file(path) for path in sorted(Path(folder).glob("*.csv"))]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=list(COLUMNS))


def simulate(
    things: Sequence[Item],
    raters: int = 24,
    seed: int = 0,
    effect: float = 0.25,
    intensity: float = 0.8,
    realism: float = -0.5,
) -> pd.DataFrame:
    """Answers of raters who do not exist, marked in the column ``simulated``; for trying the analysis only.

    A mental representation is named after its voice with probability ``effect``; else, and for all other pictures, a
    rater says neutral in about six of ten cases (raters differ: beta(6, 4)) and otherwise any emotion.  A mental
    representation is more intense by ``intensity`` and more real by ``realism`` than a reconstruction, an original more
    real by 1.5; raters differ by 0.8 points (sd), answers by 1, and are cut to the scale.
    """
    rng, rows, others = np.random.default_rng(seed), [], EMOTIONS[1:]
    for number in range(1, raters + 1):
        rater, own, calm = f"simulated-{number:02d}", rng.normal(0, 0.8, 2), rng.beta(6, 4)
        for position, item in enumerate(order(things, rater, seed), 1):
            shifted = item.kind == KINDS[2]
            said = str(rng.choice(others)) if rng.random() > calm else EMOTIONS[0]
            said = item.voice if shifted and rng.random() < effect else said
            level = [
                3 + own[0] + intensity * shifted,
                3.5 + own[1] + realism * shifted + 1.5 * (item.kind == "original"),
            ]
            marks = np.clip(np.round(level + rng.normal(0, 1, 2)), SCALE[0], SCALE[-1]).astype(int)
            rows.append(
                [
                    rater,
                    position,
                    item.key,
                    item.kind,
                    item.actor,
                    item.voice,
                    said,
                    *marks.tolist(),
                    0.0,
                    True,
                ]
            )
    return pd.DataFrame(rows, columns=list(COLUMNS))


def named(ratings: pd.DataFrame) -> pd.DataFrame:
    """For each rater, actor and emotion: is the reconstruction, and the mental representation, called by it?

    Columns rater, actor, voice (the emotion), kind (``KINDS``) and ``named`` (0 or 1).  The one answer about a
    reconstruction is asked once for each emotion; that is what chance and taste alone give.
    """
    shifted = ratings[ratings.kind == KINDS[2]]
    plain = shifted[["rater", "actor", "voice"]].merge(
        ratings[ratings.kind == KINDS[0]].drop(columns="voice"), on=["rater", "actor"]
    )
    both = pd.concat([plain, shifted])
    voices = sorted(set(both.voice), key=lambda e: (*EMOTIONS, e).index(e))
    both = both.assign(
        named=(both.emotion == both.voice).astype(int),
        voice=pd.Categorical(both.voice, voices),
        kind=pd.Categorical(both.kind, KINDS[::2]),
    )
    return both[["rater", "actor", "voice", "kind", "named"]].reset_index(drop=True)


def means(
    table: pd.DataFrame, outcome: str, by: Sequence[str], resamples: int = 2000
) -> pd.DataFrame:
    """Mean of ``outcome`` by the columns ``by``, with 95 % bootstrap intervals over raters: by, value, low, high."""
    rows = []
    for key, own in table.groupby(list(by), observed=True):
        given, raters = own[outcome].to_numpy(float), own.rater.to_numpy()
        rows.append({**dict(zip(by, key)), **metrics.mean_interval(given, raters, resamples)})
    return pd.DataFrame(rows)


def fit(table: pd.DataFrame, outcome: str):
    """Linear mixed model ``outcome ~ kind`` with a random intercept for each rater (REML): statsmodels' result.

    outcome_ij = b_0 + b_kind + r_i + e_ij,  r_i ~ N(0, s_r^2): raters differ in level, a kind moves all alike (Laird &
    Ware 1982).  RatingError with less than three raters, from whom no spread can be learnt.
    """
    import statsmodels.formula.api as smf  # here: it takes a second

    if (count := table.rater.nunique()) < 3:
        raise RatingError(f"{count} raters: a mixed model needs at least three")
    kinds = [k for k in KINDS if k in set(table.kind)]
    # whole numbers as outcome would be cut inside statsmodels 0.15, hence floats
    table = table.assign(
        kind=pd.Categorical(table.kind, kinds), outcome=table[outcome].astype(float)
    )
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # raters who do not differ give a variance of zero, which is no fault
        result = smf.mixedlm("outcome ~ kind", table, groups=table.rater).fit(method=["powell"])
    if not np.isfinite([*result.fe_params, *result.bse_fe]).all():
        raise RatingError(
            f"{outcome}: the model cannot be fitted to {len(table)} answers; collect more, of each kind of picture"
        )
    return result


def effects(result) -> pd.DataFrame:
    """The fixed effects of ``fit``: columns effect, value, low, high (95 %), p; first the reconstruction's level."""
    low, high = result.conf_int().loc[result.fe_params.index].T.to_numpy()
    names = [n.removeprefix("kind[T.").removesuffix("]") for n in result.fe_params.index]
    names = ["level of the reconstruction", *(f"{n} against it" for n in names[1:])]
    p = result.pvalues[result.fe_params.index].to_numpy()
    return pd.DataFrame(
        {"effect": names, "value": result.fe_params.to_numpy(), "low": low, "high": high, "p": p}
    )
