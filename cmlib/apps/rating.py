"""A rating study: people judge faces and do not know which are mental representations.

It follows the human study of Blume et al. (2024, arXiv 2409.02566): originals, reconstructions and
mental representations are shown one at a time in random order, and a rater says which emotion each
face shows, how intense it is, and how real the picture looks. Each rater has one CSV of answers,
written after each answer. The analysis asks whether the voice that shifted a face makes people name
its emotion more often.
"""

from __future__ import annotations

import re
import time
import warnings
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html import escape
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

ORIGINAL = "original"
RECONSTRUCTION = "reconstruction"
MENTAL_REPRESENTATION = "mental representation"
KINDS = (RECONSTRUCTION, ORIGINAL, MENTAL_REPRESENTATION)  # the first is the baseline of the model
SCALE = tuple(range(1, 8))  # 1 not at all ... 7 very
COLUMNS = [
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
]
NAME_PATTERN = r"[A-Za-z0-9_-]{1,32}"  # of a rater: it names a file
PICTURE_SIDE = 320  # pixels on the screen
MIN_RATERS = 3  # fewer cannot show how much raters differ
ERROR_COLOR = "#B11B24"


class RatingError(ValueError):
    """A name, an answer or a file that cannot be used; the message says what to do."""


# -------------------------------------------------------------------- what is rated


@dataclass(frozen=True)
class Item:
    """One picture (S, S, 3) of floats in 0...1 to be rated.

    ``voice`` is the emotion of the voice that shifted it, "" for none. ``key`` names the item and
    changes with its picture, so that answers about other networks are never taken for these.
    """

    kind: str
    actor: int
    voice: str
    picture: np.ndarray = field(repr=False, compare=False)
    key: str = ""


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


def random_order(items: Sequence[Item], rater: str, seed: int = 0) -> list[Item]:
    """The items in this rater's own random order, the same each time."""
    rng = np.random.default_rng([seed, zlib.crc32(rater.encode())])
    return [items[i] for i in rng.permutation(len(items))]


# -------------------------------------------------------------------- what raters see and do


class Study:
    """The study as widgets; display ``widget``.

    ``begin`` and ``answer`` do what the buttons do. A rater who comes back under the same name
    continues with the first item that is not answered. RatingError where a name or an answer cannot
    be used; in the widget it becomes one line.
    """

    def __init__(
        self,
        items: Sequence[Item],
        folder: Path,
        emotions: Sequence[str] = EMOTIONS,
        seed: int = 0,
    ):
        self.items = list(items)
        self.folder = Path(folder)
        self.emotions = tuple(emotions)
        self.seed = seed
        self.rater = ""
        self.queue: list[Item] = []  # what is not answered yet
        self.answers = _empty_table()
        self._shown_since = 0.0  # on the monotonic clock
        self._create_widgets()
        self.widget = self._lay_out()
        self._connect()

    def _create_widgets(self) -> None:
        placeholder = "a short name that is not yours"
        self.name = widgets.Text(description="name", placeholder=placeholder)
        self.start = widgets.Button(description="begin, or go on", button_style="primary")
        self.image = widgets.Image(format="png", width=PICTURE_SIDE, height=PICTURE_SIDE)
        self.emotion = widgets.ToggleButtons(options=self.emotions, value=None)
        self.intensity = widgets.ToggleButtons(options=SCALE, value=None)
        self.realism = widgets.ToggleButtons(options=SCALE, value=None)
        for scale in (self.intensity, self.realism):
            scale.style.button_width = "44px"
        self.next = widgets.Button(description="next", button_style="primary", disabled=True)
        self.progress = widgets.IntProgress(max=len(self.items))
        self.status = widgets.HTML()

    def _lay_out(self) -> widgets.Widget:
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
        who = widgets.HBox([self.name, self.start])
        return widgets.VBox([who, self.progress, self.questions, self.status])

    def _connect(self) -> None:
        def begin() -> None:
            self.begin(self.name.value)

        def answer() -> None:
            self.answer(self.emotion.value, self.intensity.value, self.realism.value)

        self.start.on_click(lambda _: self._guard(begin))
        self.next.on_click(lambda _: self._guard(answer))
        for choice in self._choices:
            choice.observe(self._enable_next, "value")

    @property
    def _choices(self) -> tuple[widgets.ToggleButtons, ...]:
        return (self.emotion, self.intensity, self.realism)

    @property
    def item(self) -> Item | None:
        """What is shown now; None before the beginning and after the end."""
        return self.queue[0] if self.queue else None

    @property
    def file(self) -> Path:
        """Where this rater's answers are."""
        return self.folder / f"{self.rater}.csv"

    def begin(self, rater: str) -> None:
        """Start, or continue, as ``rater``."""
        rater = rater.strip()
        if not re.fullmatch(NAME_PATTERN, rater):
            raise RatingError(
                "the name needs 1 to 32 letters, digits, - or _, since it names a file"
            )
        self.rater = rater
        self.answers = read_ratings_file(self.file) if self.file.exists() else _empty_table()
        answered = set(self.answers.item)
        order = random_order(self.items, rater, self.seed)
        self.queue = [item for item in order if item.key not in answered]
        self._show()

    def answer(
        self,
        emotion: str | None,
        intensity: int | None,
        realism: int | None,
        simulated: bool = False,
    ) -> None:
        """Keep the answer about the present item on the disk, and show the next."""
        if self.item is None:
            raise RatingError("there is nothing to answer: begin first, or all is answered")
        if emotion not in self.emotions or intensity not in SCALE or realism not in SCALE:
            raise RatingError(
                f"answer all three: an emotion, and twice a number from {SCALE[0]} to {SCALE[-1]}"
            )
        answer = {
            "rater": self.rater,
            "position": len(self.answers) + 1,
            "item": self.item.key,
            "kind": self.item.kind,
            "actor": self.item.actor,
            "voice": self.item.voice,
            "emotion": emotion,
            "intensity": intensity,
            "realism": realism,
            "seconds": round(time.monotonic() - self._shown_since, 2),
            "simulated": simulated,
        }
        rows = [*self.answers.to_dict("records"), answer]
        self.answers = pd.DataFrame(rows, columns=COLUMNS)
        write_text(self.file, self.answers.to_csv(index=False))
        self.queue.pop(0)
        self._show()

    def _show(self) -> None:
        """Show the next item, or that there is none."""
        for choice in self._choices:
            choice.value = None
        n_done = len(self.items) - len(self.queue)
        self.progress.value = n_done
        self.progress.description = f"{n_done} of {len(self.items)}"
        if self.item is None:
            self.questions.layout.display = "none"
            self.status.value = (
                f"All {n_done} pictures are rated, thank you. Your answers: {self.file.name}"
            )
        else:
            self.questions.layout.display = "flex"
            self.status.value = ""
            self.image.value = png_bytes(self.item.picture, PICTURE_SIDE)
            self._shown_since = time.monotonic()

    def _enable_next(self, _change=None) -> None:
        """The button waits for all three answers."""
        self.next.disabled = any(choice.value is None for choice in self._choices)

    def _guard(self, step: Callable[[], None]) -> None:
        """Do the step; an error becomes one line, and the study goes on."""
        try:
            step()
        except (RatingError, OSError) as error:
            self.status.value = f"<b style='color:{ERROR_COLOR}'>{escape(str(error))}</b>"


# -------------------------------------------------------------------- reading answers


def _empty_table() -> pd.DataFrame:
    return pd.DataFrame(columns=pd.Index(COLUMNS))


def read_ratings_file(path: Path) -> pd.DataFrame:
    """The answers of one CSV; RatingError if it is not one of this study."""
    try:
        table = pd.read_csv(path, keep_default_na=False, dtype={"rater": str, "voice": str})
    except (ValueError, OSError) as error:
        raise RatingError(
            f"{path}: not a readable table ({error}); restore it or move it away"
        ) from None
    missing = [column for column in COLUMNS if column not in table]
    if missing:
        raise RatingError(
            f"{path}: no column {', '.join(missing)}; restore the file or move it away"
        )
    off_scale = [name for name in ("intensity", "realism") if not set(table[name]) <= set(SCALE)]
    if off_scale:
        raise RatingError(
            f"{path}: {', '.join(off_scale)} outside {SCALE[0]} to {SCALE[-1]}; "
            "correct the file or move it away"
        )
    return table


def read_ratings(folder: Path) -> pd.DataFrame:
    """The answers of all raters in a folder; an empty table where there is none."""
    tables = [read_ratings_file(path) for path in sorted(Path(folder).glob("*.csv"))]
    return pd.concat(tables, ignore_index=True) if tables else _empty_table()


def simulate_ratings(
    items: Sequence[Item],
    raters: int = 24,
    seed: int = 0,
    effect: float = 0.25,
    intensity: float = 0.8,
    realism: float = -0.5,
) -> pd.DataFrame:
    """Answers of raters who do not exist, for trying the analysis only.

    The column ``simulated`` marks them. A mental representation is named after its voice with
    probability ``effect``. Otherwise, and for all other pictures, a rater says neutral in about six
    of ten cases (raters differ: beta(6, 4)) and any other emotion in the rest. A mental
    representation is more intense by ``intensity`` and more real by ``realism`` than a
    reconstruction, and an original is more real by 1.5. Raters differ by 0.8 points (sd), answers
    by 1, and are cut to the scale.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(1, raters + 1):
        rater = f"simulated-{number:02d}"
        rater_offsets = rng.normal(0, 0.8, 2)  # of intensity, realism
        neutral_rate = rng.beta(6, 4)
        for position, item in enumerate(random_order(items, rater, seed), 1):
            is_shifted = item.kind == MENTAL_REPRESENTATION
            emotion = EMOTIONS[0]
            if rng.random() > neutral_rate:
                emotion = str(rng.choice(EMOTIONS[1:]))
            if is_shifted and rng.random() < effect:
                emotion = item.voice
            means = rater_offsets + [
                3 + intensity * is_shifted,
                3.5 + realism * is_shifted + 1.5 * (item.kind == ORIGINAL),
            ]
            marks = np.clip(np.round(means + rng.normal(0, 1, 2)), SCALE[0], SCALE[-1])
            what = [item.key, item.kind, item.actor, item.voice]
            rows.append([rater, position, *what, emotion, *marks.astype(int).tolist(), 0.0, True])
    return pd.DataFrame(rows, columns=pd.Index(COLUMNS))


# -------------------------------------------------------------------- analysis


def score_naming(ratings: pd.DataFrame) -> pd.DataFrame:
    """Whether a picture is named after an emotion, for each rater, actor and emotion.

    There is a row for the reconstruction and one for the mental representation. Columns: rater,
    actor, voice (the emotion), kind (of ``KINDS``) and ``named`` (0 or 1). The one answer about a
    reconstruction is compared with each emotion in turn; that is what chance and taste alone give.
    """
    shifted = ratings[ratings.kind == MENTAL_REPRESENTATION]
    reconstructions = ratings[ratings.kind == RECONSTRUCTION].drop(columns="voice")
    voices = shifted.loc[:, ["rater", "actor", "voice"]]
    plain = voices.merge(reconstructions, on=["rater", "actor"])
    both = pd.concat([plain, shifted])
    order = [*EMOTIONS, *sorted(set(both.voice) - set(EMOTIONS))]
    emotions = [emotion for emotion in order if emotion in set(both.voice)]
    both = both.assign(
        named=(both.emotion == both.voice).astype(int),
        voice=pd.Categorical(both.voice, emotions),
        kind=pd.Categorical(both.kind, [RECONSTRUCTION, MENTAL_REPRESENTATION]),
    )
    columns = ["rater", "actor", "voice", "kind", "named"]
    return both.loc[:, columns].reset_index(drop=True)


def mean_ratings(
    table: pd.DataFrame, outcome: str, by: Sequence[str], resamples: int = 2000
) -> pd.DataFrame:
    """Mean of ``outcome`` for each group of the columns ``by``, with 95 % intervals.

    Columns: those of ``by``, value, low, high; intervals are bootstrap intervals over raters.
    """
    rows = []
    for key, group in table.groupby(list(by), observed=True):
        values, raters = group[outcome].to_numpy(float), group.rater.to_numpy()
        names = key if isinstance(key, tuple) else (key,)
        rows.append(dict(zip(by, names)) | metrics.mean_interval(values, raters, resamples))
    return pd.DataFrame(rows)


def fit_mixed_model(table: pd.DataFrame, outcome: str):
    """Linear mixed model ``outcome ~ kind`` with a random intercept for each rater (REML).

    outcome_ij = b_0 + b_kind + r_i + e_ij,  r_i ~ N(0, s_r^2): raters differ in level, a kind moves
    all alike (Laird & Ware 1982). Returns the result of statsmodels. RatingError with fewer than
    three raters.
    """
    import statsmodels.formula.api as smf  # here: it takes a second

    n_raters = table.rater.nunique()
    if n_raters < MIN_RATERS:
        raise RatingError(f"{n_raters} raters: a mixed model needs at least three")
    kinds = [kind for kind in KINDS if kind in set(table.kind)]
    # statsmodels 0.15 truncates internally if the outcome is an integer, hence floats
    table = table.assign(
        kind=pd.Categorical(table.kind, kinds), outcome=table[outcome].astype(float)
    )
    with warnings.catch_warnings():
        # raters who do not differ give a variance of zero, which is not a fault
        warnings.simplefilter("ignore")
        result = smf.mixedlm("outcome ~ kind", table, groups=table.rater).fit(method=["powell"])
    if not np.isfinite([*result.fe_params, *result.bse_fe]).all():
        raise RatingError(
            f"{outcome}: the model cannot be fitted to {len(table)} answers; "
            "collect more, of each kind of picture"
        )
    return result


def fixed_effects(result) -> pd.DataFrame:
    """The fixed effects of ``fit_mixed_model``: columns effect, value, low, high (95 %), p.

    The first is the level of the reconstruction, the others are differences from it.
    """
    effects = result.fe_params.index
    intervals = result.conf_int().loc[effects].to_numpy()  # (effects, 2)
    kinds = [name.removeprefix("kind[T.").removesuffix("]") for name in effects[1:]]
    names = ["level of the reconstruction", *(f"{kind} against it" for kind in kinds)]
    return pd.DataFrame(
        {
            "effect": names,
            "value": result.fe_params.to_numpy(),
            "low": intervals[:, 0],
            "high": intervals[:, 1],
            "p": result.pvalues[effects].to_numpy(),
        }
    )
