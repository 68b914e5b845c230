"""What raters see and do: the study as widgets."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path

import ipywidgets as widgets
import pandas as pd

from cmlib.apps.encode import png_bytes
from cmlib.apps.rating.answers import (
    empty_table,
    log_order,
    number_of,
    read_orders,
    read_ratings_file,
)
from cmlib.apps.rating.items import (
    SCALE,
    Item,
    RatingError,
    attention_checks,
    balanced_order,
    with_checks,
)
from cmlib.apps.rating.protocol import AGREEMENT, COLUMNS, CONSENT, CONSENT_VERSION, INSTRUCTIONS
from cmlib.corpora.names import EMOTIONS
from cmlib.files import write_text

NAME_PATTERN = r"[A-Za-z0-9_-]{1,32}"  # of a rater: it names a file
PICTURE_SIDE = 320  # pixels on the screen
ERROR_COLOR = "#B11B24"


class Study:
    """The study as widgets; display ``widget``.

    A rater reads the consent text and the instructions, agrees, and then judges one picture after
    the other, with attention checks in between. ``begin`` and ``answer`` do what the buttons do. A
    rater who comes back under the same name continues with the first item that is not answered.
    RatingError where a name or an answer cannot be used; in the widget it becomes one line.
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
        self.checks = attention_checks(self.emotions, seed)
        self.rater = ""
        self.queue: list[Item] = []  # what is not answered yet
        self.answers = empty_table()
        self._shown_since = 0.0  # on the monotonic clock
        self._create_widgets()
        self.widget = self._lay_out()
        self._connect()

    def _create_widgets(self) -> None:
        placeholder = "a short name that is not yours"
        self.introduction = widgets.HTML(_introduction())
        self.agreement = widgets.Checkbox(description=AGREEMENT, indent=False)
        self.agreement.layout.width = "auto"
        self.name = widgets.Text(description="name", placeholder=placeholder)
        self.start = widgets.Button(description="begin, or go on", button_style="primary")
        self.image = widgets.Image(format="png", width=PICTURE_SIDE, height=PICTURE_SIDE)
        self.emotion = widgets.ToggleButtons(options=self.emotions, value=None)
        self.intensity = widgets.ToggleButtons(options=SCALE, value=None)
        self.realism = widgets.ToggleButtons(options=SCALE, value=None)
        for scale in (self.intensity, self.realism):
            scale.style.button_width = "44px"
        self.next = widgets.Button(description="next", button_style="primary", disabled=True)
        self.progress = widgets.IntProgress(max=len(self.items) + len(self.checks))
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
        self.welcome = widgets.VBox([self.introduction, self.agreement, who])
        return widgets.VBox([self.welcome, self.progress, self.questions, self.status])

    def _connect(self) -> None:
        def begin() -> None:
            self.begin(self.name.value, self.agreement.value)

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

    def begin(self, rater: str, agrees: bool) -> None:
        """Start, or continue, as ``rater``, who ``agrees`` to the consent text."""
        if not agrees:
            raise RatingError("please read the text, and tick the box if you want to take part")
        rater = rater.strip()
        if not re.fullmatch(NAME_PATTERN, rater):
            raise RatingError(
                "the name needs 1 to 32 letters, digits, - or _, since it names a file"
            )
        self.rater = rater
        self.answers = read_ratings_file(self.file) if self.file.exists() else empty_table()
        answered = set(self.answers.item)
        order = self._order()
        self.queue = [item for item in order if item.key not in answered]
        self.welcome.layout.display = "none"
        self._show()

    def _order(self) -> list[Item]:
        """The order of this rater, logged before anything is shown."""
        number = number_of(self.folder, self.rater)
        faces = balanced_order(self.items, number, self.seed)
        order = with_checks(faces, self.checks, number, self.seed)
        logged = read_orders(self.folder).query("rater == @self.rater").item.tolist()
        if logged != [item.key for item in order]:  # a new rater, or other pictures than before
            log_order(self.folder, self.rater, number, self.seed, order)
        return order

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
            "asked": self.item.asked,
            "consent": CONSENT_VERSION,
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
        n_done = self.progress.max - len(self.queue)
        self.progress.value = n_done
        self.progress.description = f"{n_done} of {self.progress.max}"
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


def _introduction() -> str:
    """The consent text and the instructions as HTML."""
    paragraphs = "".join(f"<p>{escape(text)}</p>" for text in CONSENT)
    steps = "".join(f"<li>{escape(text)}</li>" for text in INSTRUCTIONS)
    return (
        "<div style='max-width:640px;line-height:1.45'>"
        f"<b>Before you take part</b>{paragraphs}<b>What to do</b><ul>{steps}</ul></div>"
    )
