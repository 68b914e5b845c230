"""The demo's lists and buttons."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import ipywidgets as widgets

UPLOADED = "yours"  # the value in a list of actors that stands for an uploaded file
LABEL_STYLE = {"description_width": "58px"}
Actor = int | str  # the number of an actor of the corpus, or the name of a person
MAX_SLUG_LENGTH = 40  # characters of an actor and an emotion in the name of a saved picture


def full_width() -> widgets.Layout:
    """A layout as wide as what is around it."""
    return widgets.Layout(width="auto")


def box(style: str, *children: widgets.Widget) -> widgets.Box:
    """Widgets in a box of the class ``style`` of demo.css."""
    result = widgets.Box(children)
    result.add_class(style)
    return result


def button(text: str, tooltip: str, on_click: Callable[[], None]) -> widgets.Button:
    """A button that calls ``on_click`` without arguments."""
    layout = widgets.Layout(flex="1 1 auto", width="auto")
    result = widgets.Button(description=text, tooltip=tooltip, layout=layout)
    result.on_click(lambda _: on_click())
    return result


def strength_slider() -> widgets.FloatSlider:
    """The slider of the context strength, 0...1 in steps of 0.05."""
    return widgets.FloatSlider(
        1.0,
        min=0,
        max=1,
        step=0.05,
        description="strength",
        layout=full_width(),
        style=LABEL_STYLE,
    )


class Chooser:
    """A list of actors, a list of the emotions of the chosen one, and a button to upload a file.

    There is one for the face and one for the voice. ``actors`` are (label, actor) pairs, where an
    actor is a number, or the name of a person. ``emotions_of`` gives the emotions that an actor has
    shown (None: anybody).
    """

    def __init__(
        self,
        actor_label: str,
        emotion_label: str,
        upload_tooltip: str,
        file_types: str,
        actors: Sequence[tuple[str, Actor]],
        emotions_of: Callable[[Actor | None], list[str]],
    ):
        self.actors = list(actors)
        self.emotions_of = emotions_of
        self.actor = self._dropdown(self.actors, actor_label)
        self.emotion = self._dropdown(emotions_of(None), emotion_label)
        # The style sheet shows the tooltip in place of the button's own words
        self.upload = widgets.FileUpload(
            tooltip=upload_tooltip, accept=file_types, icon="", layout=full_width()
        )
        self.show_upload: Callable[[], None] = lambda: None  # shows what was uploaded last
        self._is_updating = False

    @staticmethod
    def _dropdown(options: Sequence, label: str) -> widgets.Dropdown:
        return widgets.Dropdown(
            options=options, description=label, layout=full_width(), style=LABEL_STYLE
        )

    def on_choice(self, react: Callable[[], None]) -> None:
        """Call ``react`` when the person, not the program, chooses an actor or an emotion."""

        def react_to_person(_change) -> None:
            if not self._is_updating:
                react()

        self.actor.observe(react_to_person, "value")
        self.emotion.observe(react_to_person, "value")

    @contextmanager
    def _updating(self) -> Iterator[None]:
        """A choice that is made in this block does not count as the person's."""
        self._is_updating = True
        try:
            yield
        finally:
            self._is_updating = False

    @property
    def has_upload_chosen(self) -> bool:
        """Whether an uploaded file is chosen, not an actor."""
        return self.actor.value == UPLOADED

    @property
    def chosen_actor(self) -> Any:
        """Number of the actor, name of the person, or ``UPLOADED``."""
        return self.actor.value

    @property
    def chosen_emotion(self) -> str:
        """The emotion that is chosen; "" for an uploaded file."""
        return str(self.emotion.value)

    def choose(self, actor: Actor, emotion: str) -> None:
        """Choose an actor and an emotion; the first emotion, where the actor lacks this one."""
        with self._updating():
            self.actor.value = actor
            self._set_emotions(emotion)

    def refresh(self) -> None:
        """Offer the emotions of the chosen actor; an uploaded file has none."""
        self.emotion.disabled = self.has_upload_chosen
        if self.has_upload_chosen:
            return
        if list(self.emotion.options) != self.emotions_of(self.chosen_actor):
            with self._updating():
                self._set_emotions(self.chosen_emotion)

    def _set_emotions(self, preferred: str) -> None:
        emotions = self.emotions_of(self.chosen_actor)
        self.emotion.options = emotions
        self.emotion.value = preferred if preferred in emotions else emotions[0]

    def add_upload(self, file_name: str, show_again: Callable[[], None]) -> None:
        """Put an uploaded file on top of the list of actors, and choose it.

        ``show_again`` is called when it is chosen again later.
        """
        self.show_upload = show_again
        with self._updating():
            self.actor.options = [(f"yours: {file_name}", UPLOADED), *self.actors]
            self.actor.value = UPLOADED
            self.emotion.disabled = True

    def slug(self) -> str:
        """The choice in a form that suits a file name: "actor-5-neutral"."""
        emotion = "" if self.has_upload_chosen else self.chosen_emotion
        words = f"{self.actor.label} {emotion}".replace("(never trained on)", "").lower()
        return re.sub(r"\W+", "-", words).strip("-")[:MAX_SLUG_LENGTH]
