"""The demo: pick a face and a voice, drag the context strength, watch the face change.

A drag shifts one latent, decodes one picture and redraws two small images and a few bars; everything else is kept, and
values that the hand has already left are never drawn.  The row of all voices follows when the hand rests.  Bars are HTML
and pictures small PNGs, because a plot would take longer to draw than the networks to answer.  Colours other than the
emotions' are those of JupyterLab's theme, so it looks right in a light and in a dark one; nothing is loaded from the web.
"""

from __future__ import annotations

import asyncio
import base64
import io
import os
import re
import tempfile
from collections.abc import Callable
from functools import cached_property
from html import escape
from pathlib import Path

import ipywidgets as widgets
import matplotlib as mpl
import numpy as np
import soundfile
from PIL import Image

from cmlib.corpora.names import CLASSES, EMOTIONS, MEAD_CLASSES
from cmlib.experiment.run import Run, example
from cmlib.perceiver import (
    EncodedFace,
    EncodedVoice,
    Perceiver,
    Perception,
    captioned_strip,
)
from cmlib.plots.palette import ACCENT, EMOTION_COLORS
from cmlib.preparation import media, spectrograms
from cmlib.preparation.inputs import InputError, check_size, read_sound
from cmlib.preparation.store import StoreError

SIDE, SMALL = 224, 104  # pixels of a large and of a small picture on the screen
GAIN = 4.0  # the difference map is brightened by this much
PICTURES = ("original", "reconstruction", "mental representation", "difference × 4")
BREATH = 0.01  # seconds in which the kernel takes in what a drag has sent meanwhile
REST = 0.12  # seconds without a drag after which the row of all voices follows
STEPS = 21  # pictures of a GIF, from strength 0 to 1
UPLOAD = 9_000_000  # bytes of a file that a browser may send: Jupyter's server hangs up on messages of 10 MiB
HINT = "At strength 0 the third picture equals the second; at 1 it is what the network learnt to perceive."
YOURS = "yours"  # the choice of a list that stands for an uploaded file


class Demo:
    """The widgets and what they do; ``widget`` is shown, ``perception`` is the latest answer.

    Faces and voices come from the corpus of ``run``, which need not be prepared; the actors that no network was trained on come first.
    What is saved goes to ``run.folder``/demo, and is offered as a download.
    """

    def __init__(self, run: Run, perceiver: Perceiver | None = None):
        self.run, self.perceiver = run, perceiver or run.perceiver()
        self.seen: EncodedFace | None = None
        self.heard: EncodedVoice | None = None
        self.perception: Perception | None = None
        self.own: dict[
            widgets.Dropdown, Callable[[], None]
        ] = {}  # how to show again what was uploaded
        self.quiet = False  # changes are no choice of the person's
        self.task: asyncio.Task | None = None
        clips, split = run.shown.clips, run.split_of(run.shown)
        self.everyone = np.arange(len(clips))
        self.unseen = sorted(set(clips.actor.iloc[split.test]) - set(clips.actor.iloc[split.train]))
        others = sorted(set(clips.actor) - set(self.unseen))
        self.actors = [(f"actor {a} (never trained on)", a) for a in self.unseen] + [
            (f"actor {a}", a) for a in others
        ]
        emotions = self._emotions(None)
        fill = widgets.Layout(width="auto")

        def dropdown(options: list, label: str) -> widgets.Dropdown:
            return widgets.Dropdown(
                options=options, description=label, layout=fill, style={"description_width": "58px"}
            )

        def button(text: str, hint: str, act: Callable[[], None]) -> widgets.Button:
            made = widgets.Button(
                description=text, tooltip=hint, layout=widgets.Layout(flex="1 1 auto", width="auto")
            )
            made.on_click(lambda _: self._guard(act))
            return made

        def upload(text: str, kinds: str) -> widgets.FileUpload:
            return widgets.FileUpload(
                tooltip=text, accept=kinds, icon="", layout=fill
            )  # its style shows the tooltip

        self.face_actor, self.voice_actor = (
            dropdown(self.actors, "face"),
            dropdown(self.actors, "voice"),
        )
        self.face_emotion, self.voice_emotion = (
            dropdown(emotions, "shows"),
            dropdown(emotions, "sounds"),
        )
        self.face_upload, self.voice_upload = (
            upload("your own picture", "image/*,video/*"),
            upload("your own sound", "audio/*,video/*"),
        )
        self.strength = widgets.FloatSlider(
            1.0,
            min=0,
            max=1,
            step=0.05,
            description="strength",
            layout=fill,
            style={"description_width": "58px"},
        )
        self.audio = widgets.Audio(format="wav", autoplay=False, loop=False)
        self.presets = [
            button(
                "best effect",
                "the pair for which the picture changes most into what the voice says",
                lambda: self._preset(-1),
            ),
            button(
                "worst effect",
                "the pair for which it changes least, or the wrong way",
                lambda: self._preset(0),
            ),
            button("reset", "back to how it opened", self.reset),
        ]
        self.savers = [
            button(
                "save picture",
                "original, reconstruction and what is perceived, as PNG",
                self._save_picture,
            ),
            button("save strip", "this face with all voices, as PNG", self._save_strip),
            button("save GIF", f"{STEPS} pictures from strength 0 to 1 and back", self._save_gif),
        ]
        self.images = [widgets.Image(format="png", width=SIDE, height=SIDE) for _ in PICTURES]
        self.headline, self.bars, self.others = widgets.HTML(), widgets.HTML(), widgets.HTML()
        self.status, self.saved = widgets.HTML(), widgets.HTML()
        self.widget = self._layout()
        for chooser, react in (
            (self.face_actor, self._look),
            (self.face_emotion, self._look),
            (self.voice_actor, self._listen),
            (self.voice_emotion, self._listen),
        ):
            chooser.observe(
                lambda change, react=react: self.quiet or self._guard(react, self._compare), "value"
            )
        self.face_upload.observe(lambda _: self._take(self.face_upload, self._own_face), "value")
        self.voice_upload.observe(lambda _: self._take(self.voice_upload, self._own_voice), "value")
        self.strength.observe(lambda _: self.quiet or self._dragged(), "value")
        self.opening = (
            self.actors[0][1],
            emotions[0],
            self.actors[0][1],
            "happy" if "happy" in emotions else emotions[-1],
        )
        self._guard(self.reset)

    # ---------------------------------------------------------------- what happens

    def _guard(self, *steps: Callable[[], None]) -> None:
        """Do the steps; whatever goes wrong becomes one line in the demo, which lives on."""
        try:
            for step in steps:
                step()
        except Exception as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            self.status.value = f"<div class='cm-error' role='alert'>{escape(reason)}</div>"

    def _dragged(self) -> None:
        """Draw the newest strength as soon as the kernel is free; without a running kernel, at once."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return self._guard(self._shift, self._compare)
        if self.task is None or self.task.done():
            self.task = loop.create_task(self._follow())

    async def _follow(self) -> None:
        """Draw the slider's value until it rests; values that come while one is drawn are passed over but for the last."""
        drawn = rested = None
        while rested != self.strength.value:
            await asyncio.sleep(BREATH if drawn != self.strength.value else REST)
            if drawn == self.strength.value:
                rested = drawn
                self._guard(self._compare)
            else:
                drawn = self.strength.value
                self._guard(self._shift)

    def redraw(self) -> None:
        """Draw the slider's value now, as a drag does (a running notebook cell comes before what is still to be drawn)."""
        self._guard(self._shift)

    def reset(self) -> None:
        """Back to how it opened."""
        self.saved.value = ""
        self._pick(*self.opening)

    def _pick(
        self, face_actor, face_emotion: str, voice_actor, voice_emotion: str, strength: float = 1.0
    ) -> None:
        """Choose face, voice and strength at once, and draw."""
        self.quiet = True
        try:
            for actor, emotion, who, what in (
                (self.face_actor, self.face_emotion, face_actor, face_emotion),
                (self.voice_actor, self.voice_emotion, voice_actor, voice_emotion),
            ):
                actor.value = who
                emotion.options = self._emotions(who)
                emotion.value = what if what in emotion.options else emotion.options[0]
            self.strength.value = strength
        finally:
            self.quiet = False
        self.seen = None  # so that it is drawn once, with the voice
        self._look()
        self._listen()
        self._compare()

    def _emotions(self, actor) -> list[str]:
        """What an actor has shown (None: anybody), in the usual order."""
        clips = self.run.shown.clips
        there = set(clips.emotion if actor is None else clips.emotion[clips.actor == actor])
        return [e for e in EMOTIONS + MEAD_CLASSES[:1] if e in there]

    def _offer(self, actor: widgets.Dropdown, emotion: widgets.Dropdown) -> bool:
        """Let the second list offer what the actor of the first has shown; False where that is an uploaded file."""
        emotion.disabled = actor.value == YOURS
        if not emotion.disabled and list(emotion.options) != (
            options := self._emotions(actor.value)
        ):
            self.quiet, wanted = True, emotion.value
            emotion.options = options
            emotion.value = wanted if wanted in options else options[0]
            self.quiet = False
        return not emotion.disabled

    def _look(self) -> None:
        if not self._offer(self.face_actor, self.face_emotion):
            return self.own[self.face_actor]()
        self.show_face(
            self.run.shown.frame(self._clip(self.face_emotion.value, self.face_actor.value))
        )

    def _listen(self) -> None:
        if not self._offer(self.voice_actor, self.voice_emotion):
            return self.own[self.voice_actor]()
        clip = self._clip(self.voice_emotion.value, self.voice_actor.value)
        self.play_voice(self.run.shown.mel(clip), *self._sound(clip))

    def _clip(self, emotion: str, actor) -> int | None:
        return example(self.run, self.everyone, emotion, actor, self.run.shown.clips)

    def _sound(self, clip: int) -> tuple[np.ndarray, int]:
        """Waveform and rate to listen to: of the clip's file, or out of its spectrogram where the file is gone."""
        try:
            return media.read_audio(self.run.shown.path(self.run.shown.clips.iloc[clip]))
        except (StoreError, media.MediaError):
            return spectrograms.to_sound(self.run.shown.mel(clip)), spectrograms.SAMPLE_RATE

    def show_face(self, face) -> None:
        """Take another face: anything ``Perceiver.encode_face`` accepts, or what it gave."""
        self.seen = face if isinstance(face, EncodedFace) else self.perceiver.encode_face(face)
        for image, shown in zip(self.images, (self.seen.picture, self.seen.reconstruction)):
            image.value = png(shown)
        self._shift()

    def play_voice(
        self, voice, sound: np.ndarray | None = None, rate: int = spectrograms.SAMPLE_RATE
    ) -> None:
        """Take another voice: anything ``Perceiver.encode_voice`` accepts, or what it gave; ``sound`` (N,) at ``rate`` hertz is
        for the player, which gets the part that the network hears."""
        if sound is None and isinstance(voice, (str, Path)):
            sound, rate = read_sound(voice)
        self.heard = (
            voice if isinstance(voice, EncodedVoice) else self.perceiver.encode_voice(voice)
        )
        if sound is not None:
            spare = max(0, len(sound) - round(spectrograms.WINDOW_SECONDS * rate))
            self.audio.value = wav(sound[spare // 2 : len(sound) - (spare - spare // 2)], rate)
        self._shift()

    def _shift(self) -> None:
        """One drag: shift, decode, redraw."""
        if self.seen is None or self.heard is None:
            return
        p = self.perception = self.perceiver.perceive(self.seen, self.heard, self.strength.value)
        self.images[2].value = png(p.perceived)
        self.images[3].value = png(
            mpl.colormaps["magma"](np.clip(GAIN * p.difference, 0, 1))[..., :3]
        )
        self.headline.value = headline(p)
        self.bars.value = bars(p.alone, p.probabilities, p.classes)
        self.status.value = "".join(
            f"<div class='cm-note'>{escape(note)}</div>" for note in p.notes or (HINT,)
        )

    # ---------------------------------------------------------------- all voices

    @cached_property
    def _choirs(self) -> dict:
        return {}

    def _choir(self) -> dict[str, EncodedVoice]:
        """A voice of each class, of the actor in the list (of the first actor, where the voice is the person's own)."""
        actor = self.actors[0][1] if self.voice_actor.value == YOURS else self.voice_actor.value
        if actor not in self._choirs:
            clips = {e: self._clip(e, actor) for e in self.perceiver.classes}
            self._choirs[actor] = {
                e: self.perceiver.encode_voice(self.run.shown.mel(c))
                for e, c in clips.items()
                if c is not None
            }
        return self._choirs[actor]

    def _compare(self) -> None:
        """The row of all voices for this face, in one batch."""
        if self.seen is not None and (choir := self._choir()):
            many = self.perceiver.perceive_all([self.seen], choir.values(), self.strength.value)
            self.others.value = row(
                list(choir),
                many.perceived[0, :, 0],
                list(many.labels[0, :, 0]),
                self.voice_emotion.value,
            )

    # ---------------------------------------------------------------- best and worst

    @cached_property
    def effects(self) -> list[tuple[float, int, int]]:
        """(gain, face clip, voice clip) of the first clip, neutral if there is one, of each test actor with each of that
        actor's voices, least gain first.

        Gain: by how much the probability of the voice's emotion rises from the reconstruction to the mental
        representation at full strength, when the face classifier reads both *pictures*.
        """
        found = []
        for actor in self.unseen:
            face = self._clip(self._emotions(actor)[0], actor)
            clips = {
                e: self._clip(e, actor)
                for e in self._emotions(actor)
                if e in self.perceiver.classes
            }
            many = self.perceiver.perceive_all(
                [self.run.shown.frame(face)], [self.run.shown.mel(c) for c in clips.values()]
            )
            before, after = (
                self.perceiver.classify(many.reconstruction)[0],
                self.perceiver.classify(many.perceived[0, :, 0]),
            )
            which = [self.perceiver.classes.index(e) for e in clips]
            found += zip(
                after[np.arange(len(which)), which] - before[which],
                [face] * len(which),
                clips.values(),
            )
        return sorted((float(gain), face, voice) for gain, face, voice in found)

    def _preset(self, rank: int) -> None:
        """Choose the pair at ``rank`` of ``effects``."""
        if not self.effects:
            raise InputError("the corpus has no test actor with a face and a voice; choose freely")
        gain, face, voice = self.effects[rank]
        clips = self.run.shown.clips
        face, voice = clips.iloc[face], clips.iloc[voice]
        self._pick(face.actor, face.emotion, voice.actor, voice.emotion)
        pairs = f"{'best' if rank else 'worst'} of {len(self.effects)} pairs of a face and a voice of the same test actor"
        line = f"{pairs}: the share of {voice.emotion} that is read in the picture changes by {100 * gain:+.0f} points"
        self.status.value = f"<div class='cm-note'>{escape(line)}</div>"

    # ---------------------------------------------------------------- what people bring

    def _take(self, upload: widgets.FileUpload, use: Callable[[Path], None]) -> None:
        """Use the file that somebody has just uploaded."""
        if upload.value:
            file, upload.value = upload.value[0], ()  # the next upload may be of the same name
            self._guard(lambda: self._from_disk(file, use), self._compare)

    def _from_disk(self, file: dict, use: Callable[[Path], None]) -> None:
        name = Path(file["name"]).name or "upload"
        check_size(name, file["size"])
        with tempfile.TemporaryDirectory() as folder:
            (path := Path(folder, name)).write_bytes(file["content"])
            try:
                use(path)
            except Exception as error:
                raise InputError(str(error).replace(folder + os.sep, "")) from None

    def _own_face(self, path: Path) -> None:
        self.show_face(path)
        seen = self.seen
        self._list(self.face_actor, self.face_emotion, path.name, lambda: self.show_face(seen))

    def _own_voice(self, path: Path) -> None:
        self.play_voice(path)
        heard, sound = self.heard, self.audio.value

        def again() -> None:
            self.play_voice(heard)
            self.audio.value = sound

        self._list(self.voice_actor, self.voice_emotion, path.name, again)

    def _list(
        self,
        actor: widgets.Dropdown,
        emotion: widgets.Dropdown,
        name: str,
        again: Callable[[], None],
    ) -> None:
        """Put an uploaded file on top of a list of actors, chosen; ``again`` shows it when it is chosen later."""
        self.own[actor], self.quiet = again, True
        actor.options = [(f"yours: {name}", YOURS), *self.actors]
        actor.value, emotion.disabled = YOURS, True
        self.quiet = False

    # ---------------------------------------------------------------- what people take away

    def _save(self, kind: str, image: Image.Image, **options) -> None:
        names = [
            f"{a.label} {'' if a.value == YOURS else e.value}"
            for a, e in (
                (self.face_actor, self.face_emotion),
                (self.voice_actor, self.voice_emotion),
            )
        ]
        names = [
            re.sub(r"\W+", "-", name.replace("(never trained on)", "").lower()).strip("-")[:40]
            for name in names
        ]
        suffix = "gif" if options else "png"
        path = (
            self.run.folder
            / "demo"
            / f"{kind}_{'_'.join(names)}_{self.strength.value:.2f}.{suffix}"
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path, optimize=True, **options)
        where = f"{path.parent.parent.name}/demo/{path.name}"
        self.saved.value = (
            f"<div class='cm-note'>saved: {escape(where)} · <a class='cm-link' download='{path.name}' "
            f"href='{address(path.read_bytes(), suffix)}'>download</a></div>"
        )

    def _save_picture(self) -> None:
        self._save("picture", self.perception.merged())

    def _save_strip(self) -> None:
        choir = self._choir()
        many = self.perceiver.perceive_all([self.seen], choir.values(), self.strength.value)
        lines = [
            "original",
            *(f"{voice} voice: {read}" for voice, read in zip(choir, many.labels[0, :, 0])),
        ]
        self._save(
            "strip", captioned_strip([self.seen.picture, *many.perceived[0, :, 0]], lines, 192)
        )

    def _save_gif(self) -> None:
        t = np.linspace(0, 1, STEPS)
        many = self.perceiver.perceive_all([self.seen], [self.heard], t)
        shown = [
            captioned_strip([p], [f"t = {s:.2f}: {c}"])
            for p, s, c in zip(many.perceived[0, 0], t, many.labels[0, 0])
        ]
        first, *rest = shown + shown[-2:0:-1]
        self._save("morph", first, save_all=True, append_images=rest, duration=80, loop=0)

    # ---------------------------------------------------------------- what it looks like

    def _layout(self) -> widgets.Widget:
        def box(style: str, *children: widgets.Widget) -> widgets.Box:
            made = widgets.Box(children)
            made.add_class(style)
            return made

        def text(style: str, words: str) -> widgets.HTML:
            return widgets.HTML(f"<div class='{style}'>{words}</div>")

        title = text(
            "cm-title",
            "How do you perceive my face?<span>It depends on what you hear. Pick a face and a voice, then drag the context.</span>",
        )
        controls = box(
            "cm-columns",
            box(
                "cm-panel",
                text("cm-head", "Face"),
                self.face_actor,
                self.face_emotion,
                self.face_upload,
            ),
            box(
                "cm-panel",
                text("cm-head", "Voice"),
                self.voice_actor,
                self.voice_emotion,
                self.voice_upload,
                self.audio,
            ),
            box(
                "cm-panel",
                text("cm-head", "Context"),
                self.strength,
                box("cm-buttons", *self.presets),
                box("cm-buttons", *self.savers),
            ),
        )
        lines = box("cm-lines", text("cm-refused", ""), self.status, self.saved)
        pictures = box(
            "cm-pictures",
            *(
                box("cm-picture", image, text("cm-caption", n))
                for n, image in zip(PICTURES, self.images)
            ),
        )
        below = box(
            "cm-columns",
            box("cm-panel", text("cm-head", "What is read in the face"), self.headline, self.bars),
            box(
                "cm-panel", text("cm-head", "This face with every voice of the actor"), self.others
            ),
        )
        return box(
            "cm-demo",
            widgets.HTML(f"<style>{STYLE}</style>{GUARD}"),
            title,
            controls,
            lines,
            pictures,
            below,
        )


STYLE = f"""
.cm-demo {{ --line: var(--jp-border-color2, #dcdfe3); --soft: var(--jp-ui-font-color2, #5f6670); --ink: var(--jp-ui-font-color1, #22252b);
  display: flex; flex-direction: column; gap: 14px; width: 100%; max-width: 984px; margin: 0 auto; padding: 20px; box-sizing: border-box;
  overflow: hidden; border: 1px solid var(--line); border-radius: 12px; background: var(--jp-layout-color1, #fff); color: var(--ink);
  container-type: inline-size; font: 13px/1.4 var(--jp-ui-font-family, system-ui, sans-serif) }}
.cm-demo, .cm-demo .widget-box, .cm-demo .widget-html, .cm-demo .widget-html-content {{ min-width: 0 }}
.cm-demo .widget-box, .cm-demo .widget-html-content {{ overflow: visible }}
.cm-demo .widget-html, .cm-demo .widget-inline-hbox {{ margin: 0; height: auto; max-width: 100% }}
.cm-demo .widget-html-content {{ width: 100%; line-height: 1.4; font-size: 13px; color: var(--ink) }}
.cm-demo > .widget-html:first-child {{ display: none }}
.cm-lines {{ display: flex; flex-direction: column; gap: 2px; min-height: 20px }}
.cm-demo .widget-dropdown {{ height: auto }}
.cm-demo select {{ height: 28px; padding: 0 6px; border-radius: 6px; border-color: var(--line); appearance: auto; background: var(--jp-layout-color1, #fff); color: var(--ink) }}
.cm-demo .widget-upload {{ font-size: 0 }}
.cm-demo .widget-upload::after {{ content: attr(title); font-size: 13px }}
.cm-title {{ font-size: 22px; font-weight: 600; letter-spacing: -.01em }}
.cm-title span {{ display: block; margin-top: 2px; font-size: 14px; font-weight: 400; letter-spacing: 0; color: var(--soft) }}
.cm-columns {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(236px, 1fr)); gap: 14px }}
.cm-panel {{ display: flex; flex-direction: column; gap: 8px; padding: 12px 14px; border: 1px solid var(--line); border-radius: 8px }}
.cm-panel > * {{ margin: 0 !important; max-width: 100% }}
.cm-panel audio {{ width: 100%; height: 34px }}
.cm-head {{ font-size: 11px; font-weight: 600; letter-spacing: .06em; text-transform: uppercase; color: var(--soft) }}
.cm-demo .widget-label {{ color: var(--ink) }}
.cm-demo button {{ margin: 0; border-radius: 6px }}
.cm-buttons {{ display: flex; flex-flow: row wrap; gap: 6px }}
.cm-pictures {{ display: grid; grid-template-columns: repeat(4, minmax(0, 1fr)); gap: 14px }}
.cm-picture {{ display: flex; flex-direction: column; gap: 6px }}
.cm-picture img {{ width: 100%; max-width: 100%; height: auto; aspect-ratio: 1; margin: 0; border-radius: 8px; border: 1px solid var(--line); box-sizing: border-box }}
.cm-caption {{ text-align: center; font-size: 13px }}
@container (max-width: 560px) {{ .cm-pictures {{ grid-template-columns: repeat(2, minmax(0, 1fr)) }} }}
.cm-bars {{ display: grid; grid-template-columns: max-content minmax(60px, 1fr) max-content; gap: 8px 10px; align-items: center; line-height: 1.2 }}
.cm-bars > :nth-child(3n + 1) {{ text-align: right }}
.cm-bars > :nth-child(3n) {{ text-align: right; font-variant-numeric: tabular-nums }}
.cm-track {{ border-radius: 3px; background: rgba(128, 134, 144, .2); overflow: hidden; padding: 3px 2px }}
.cm-track i {{ display: block; box-sizing: border-box; height: 6px; border-radius: 1px; box-shadow: 0 0 0 1px rgba(255, 255, 255, .4) }}
.cm-track i + i {{ height: 9px; margin-top: 2px }}
.cm-key {{ margin-top: 8px; font-size: 12px; color: var(--soft) }}
.cm-row {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(88px, 1fr)); gap: 10px }}
.cm-row figure {{ margin: 0; text-align: center; font-size: 12px; line-height: 1.3 }}
.cm-row img {{ display: block; width: 100%; aspect-ratio: 1; border-radius: 6px; outline: 1px solid var(--line) }}
.cm-row .cm-here img {{ outline: 3px solid var(--jp-brand-color1, {ACCENT}) }}
.cm-row b {{ display: block; margin: 4px auto 0; width: max-content; border-bottom: 3px solid; box-shadow: 0 1px 0 rgba(255, 255, 255, .4); font-weight: 600 }}
.cm-row span, .cm-note {{ color: var(--soft) }}
.cm-error, .cm-refused:not(:empty) {{ padding: 8px 12px; border-left: 4px solid #B11B24; border-radius: 4px; background: rgba(200, 30, 40, .14); overflow-wrap: anywhere }}
.cm-demo .widget-html:has(.cm-refused:not(:empty)) + .widget-html {{ display: none }}
.cm-note {{ overflow-wrap: anywhere }}
.cm-demo .cm-link {{ color: var(--jp-content-link-color, {ACCENT}); text-decoration: underline }}
"""


# Looks at a file that is chosen in the demo before the widget reads it: one that the server would not take is refused here.
GUARD = """<img hidden src="data:," onerror="if (!window.cmGuard) {
  window.cmGuard = HTMLInputElement.prototype.click;
  HTMLInputElement.prototype.click = function () {
    const demo = this.type == 'file' && window.event?.target?.closest?.('.cm-demo'), line = demo && demo.querySelector('.cm-refused');
    if (line) {
      this.addEventListener('change', event => {
        const file = this.files[0];
        if (file?.size > LIMIT) {
          event.stopImmediatePropagation();
          demo.addEventListener('pointerdown', () => line.textContent = '', {once: true});
          line.textContent = file.name + ': ' + Math.round(file.size / 1e6) + ' MB, more than MOST; use a smaller file';
        }
      }, {capture: true, once: true});
    }
    return window.cmGuard.call(this);
  };
}">""".replace("LIMIT", str(UPLOAD)).replace("MOST", str(UPLOAD // 1_000_000))


def png(image: np.ndarray, side: int = SIDE) -> bytes:
    """A picture (S, S, 3), floats in 0...1, as a PNG of ``side`` pixels."""
    small = Image.fromarray((255 * np.clip(image, 0, 1)).round().astype(np.uint8))
    small.resize((side, side), Image.Resampling.BICUBIC).save(
        buffer := io.BytesIO(), "PNG", compress_level=1
    )
    return buffer.getvalue()


def wav(sound: np.ndarray, rate: int) -> bytes:
    """A waveform (N,) in -1...1 as the bytes of a 16-bit WAV file."""
    soundfile.write(
        buffer := io.BytesIO(),
        (np.clip(sound, -1, 1) * 32767).astype(np.int16),
        int(rate),
        format="WAV",
    )
    return buffer.getvalue()


def address(data: bytes, kind: str) -> str:
    """A picture of ``kind`` png or gif as a data address."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def headline(p: Perception) -> str:
    """HTML of the class before and after, in words."""
    before = p.classes[int(p.alone.argmax())]
    return f"alone <b>{before}</b> ({100 * p.alone.max():.0f} %), with this voice <b>{p.label}</b> ({100 * p.probabilities.max():.0f} %)"


def bars(alone: np.ndarray, context: np.ndarray, classes: tuple[str, ...] = CLASSES) -> str:
    """HTML of the class probabilities (K,) of the face alone (hollow) and in context (filled)."""
    cells = []
    for name, before, after in zip(classes, alone, context):
        color, strong = EMOTION_COLORS[name], "700" if after == context.max() else "400"
        hollow = f"border:1.5px solid {color};width:{100 * before:.1f}%"
        filled = f"background:{color};width:{100 * after:.1f}%"
        cells.append(
            f"<span style='font-weight:{strong}'>{name}</span>"
            f"<div class='cm-track'><i style='{hollow}'></i><i style='{filled}'></i></div>"
            f"<span style='font-weight:{strong}'>{100 * before:.0f} → {100 * after:.0f} %</span>"
        )
    return f"<div class='cm-bars'>{''.join(cells)}</div><div class='cm-key'>hollow: the face alone · filled: with this voice</div>"


def row(names: list[str], pictures: np.ndarray, read: list[str], here: str) -> str:
    """HTML of pictures (n, S, S, 3) of one face with the voices ``names``, what is read in each, the chosen one marked."""
    cells = [
        f"<figure{' class=cm-here' * (name == here)}><img alt='{name} voice' src='{address(png(image, SMALL), 'png')}'>"
        f"<b style='border-color:{EMOTION_COLORS[name]}'>{name}</b><span>reads {said}</span></figure>"
        for name, image, said in zip(names, pictures, read)
    ]
    return f"<div class='cm-row'>{''.join(cells)}</div>"
