"""What the demo does: faces and voices are chosen, the context is dragged, pictures are saved.

A photograph that the run's networks cannot draw is drawn by those of photographs, where these are
shipped. They hear the same voices through their own voice network.

A drag shifts one latent, decodes one picture and redraws two small images and a few bars.
Everything else is kept, and stale slider values are skipped. The row of all voices follows when the
slider stops.
"""

from __future__ import annotations

import asyncio
import logging
import os
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import ipywidgets as widgets
import matplotlib as mpl
import numpy as np
from PIL import Image

from cmlib import files
from cmlib.apps.demo import html
from cmlib.apps.demo.controls import Actor, Chooser, box, button, strength_slider
from cmlib.apps.demo.effects import Effect, Judge, describe_effect, measure_effects, shipped_judge
from cmlib.apps.demo.stimuli import Stimuli
from cmlib.apps.encode import png_bytes, wav_bytes
from cmlib.experiment.run import Run
from cmlib.perceiver import (
    EncodedFace,
    EncodedVoice,
    FaceInput,
    Perceiver,
    Perception,
    VoiceInput,
    captioned_strip,
    choose,
    load_photographs,
)
from cmlib.preparation import spectrograms
from cmlib.preparation.inputs import InputError, check_size, read_sound

LARGE_PICTURE = 224  # pixels of each of the four pictures
CAPTIONS = ("original", "reconstruction", "mental representation", "difference × 4")
DIFFERENCE_GAIN = 4.0  # the difference map is brightened by this much, as its caption says
STRIP_PICTURE = 192  # pixels of a picture in a saved strip
GIF_STEPS = 21  # pictures of a GIF from strength 0 to 1
GIF_MILLISECONDS = 80  # for which each of them is shown
MAX_UPLOAD_BYTES = 9_000_000  # Jupyter's server hangs up on messages of 10 MiB
COLLECT_SECONDS = 0.01  # for the kernel to take in the values that a drag has sent meanwhile
REST_SECONDS = 0.12  # after this long without a drag, the row of all voices follows
HINT = (
    "At strength 0 the third picture equals the second; "
    "at 1 it is what the network learnt to perceive."
)
RECORDING_SECONDS = 4  # of the microphone; the network hears the middle 3.8 of them
DISCLOSURE = (
    "This is not a reader of feelings. It shows what networks have learnt from posed expressions "
    "and acted voices: of drawn people, and for photographs of CelebA and of performers. What "
    "it writes about a face says nothing about what that person feels, and must not be used to "
    "judge anybody. Pictures and recordings are used for this page only and are kept nowhere, "
    "unless you press a button that saves."
)


# Quiet unless an application sets up logging: then it has the tracebacks of errors in the demo.
logger = logging.getLogger(__name__)
logger.addHandler(logging.NullHandler())


class Demo:
    """The demo: display ``widget``; ``perception`` is the latest answer.

    ``stimuli`` are the faces and voices on offer. ``active`` are the networks that draw the present
    face. The ``judge`` says which effect is the best. What is saved goes to the folder demo of the
    run, and is offered as a download.
    """

    def __init__(
        self,
        run: Run,
        perceiver: Perceiver | None = None,
        photographs: Callable[[], Perceiver | None] = load_photographs,
        judge: Callable[[], Judge | None] = shipped_judge,
    ):
        self.run = run
        self.perceiver = perceiver or run.perceiver()
        self.active = self.perceiver
        self._load_judge = judge
        # The spectrograms of released networks are of another kind, so voices cannot be exchanged.
        self.photographs = None if self.perceiver.released else photographs()
        self.stimuli = Stimuli(run, self.perceiver, self.photographs)
        self.face: EncodedFace | None = None
        self.voice: EncodedVoice | None = None
        self.perception: Perception | None = None
        self._drawing: asyncio.Task | None = None  # follows a drag in a running kernel
        self._is_choosing = False
        self._create_widgets()
        self.widget = self._lay_out()
        self._connect()
        first_actor = self.stimuli.actors[0][1]
        emotions = self.stimuli.emotions_of(None)
        voice_emotion = "happy" if "happy" in emotions else emotions[-1]
        self.opening = (first_actor, emotions[0], first_actor, voice_emotion)
        self._guard(self.reset)

    # ---------------------------------------------------------------- setting up

    def _create_widgets(self) -> None:
        emotions_of = self.stimuli.emotions_of
        self.face_chooser = Chooser(
            "face",
            "shows",
            "your own picture",
            "image/*,video/*",
            self.stimuli.actors + self.stimuli.real_people,
            emotions_of,
        )
        self.voice_chooser = Chooser(
            "voice", "sounds", "your own sound", "audio/*,video/*", self.stimuli.actors, emotions_of
        )
        self.strength = strength_slider()
        self.audio = widgets.Audio(format="wav", autoplay=False, loop=False)
        self._create_buttons()
        self.images = [
            widgets.Image(format="png", width=LARGE_PICTURE, height=LARGE_PICTURE) for _ in CAPTIONS
        ]
        self.headline = widgets.HTML()
        self.bars = widgets.HTML()
        self.all_voices = widgets.HTML()
        self.status = widgets.HTML()
        self.saved = widgets.HTML()

    def _create_buttons(self) -> None:
        self.presets = [
            self._button(
                "best effect",
                "the pair for which the picture changes most into what the voice says",
                lambda: self._choose_preset(-1),
            ),
            self._button(
                "worst effect",
                "the pair for which it changes least, or the wrong way",
                lambda: self._choose_preset(0),
            ),
            self._button("reset", "back to how it opened", self.reset),
        ]
        self.savers = [
            self._button(
                "save picture",
                "original, reconstruction and what is perceived, as PNG",
                self._save_picture,
            ),
            self._button("save strip", "this face with all voices, as PNG", self._save_strip),
            self._button(
                "save GIF", f"{GIF_STEPS} pictures from strength 0 to 1 and back", self._save_gif
            ),
        ]

    def _button(self, text: str, tooltip: str, act: Callable[[], None]) -> widgets.Button:
        return button(text, tooltip, lambda: self._guard(act))

    def _lay_out(self) -> widgets.Widget:
        # demo.js writes into the first line; while there is something in it, the style sheet hides
        # the second
        lines = box("cm-lines", _text("cm-refused", ""), self.status, self.saved)
        pictures = [
            box("cm-picture", image, _text("cm-caption", caption))
            for caption, image in zip(CAPTIONS, self.images)
        ]
        return box(
            "cm-demo",
            widgets.HTML(html.page_setup(MAX_UPLOAD_BYTES, RECORDING_SECONDS)),
            widgets.HTML(html.title()),
            self._lay_out_controls(),
            lines,
            box("cm-pictures", *pictures),
            box(
                "cm-columns",
                _panel("What is read in the face", self.headline, self.bars),
                _panel("This face with every voice of the actor", self.all_voices),
            ),
            widgets.HTML(html.disclosure(DISCLOSURE)),
        )

    def _lay_out_controls(self) -> widgets.Widget:
        camera = html.capture_button(
            "picture", "use the camera", "take a picture with the camera of this computer"
        )
        microphone = html.capture_button(
            "sound", "record a voice", f"record {RECORDING_SECONDS} seconds with the microphone"
        )
        face, voice = self.face_chooser, self.voice_chooser
        return box(
            "cm-columns",
            _panel("Face", face.actor, face.emotion, face.upload, widgets.HTML(camera)),
            _panel(
                "Voice",
                voice.actor,
                voice.emotion,
                voice.upload,
                widgets.HTML(microphone),
                self.audio,
            ),
            _panel(
                "Context",
                self.strength,
                box("cm-buttons", *self.presets),
                box("cm-buttons", *self.savers),
            ),
        )

    def _connect(self) -> None:
        """Say what happens when something is chosen, uploaded or dragged."""
        self.face_chooser.on_choice(lambda: self._guard(self._show_chosen_face, self._compare))
        self.voice_chooser.on_choice(lambda: self._guard(self._play_chosen_voice, self._compare))
        for chooser, use in (
            (self.face_chooser, self._show_uploaded_face),
            (self.voice_chooser, self._play_uploaded_voice),
        ):
            chooser.upload.observe(
                lambda _, chooser=chooser, use=use: self._take_upload(chooser.upload, use), "value"
            )
        self.strength.observe(lambda _: self._on_drag(), "value")

    def _guard(self, *steps: Callable[[], None]) -> None:
        """Do the steps; an error is logged and becomes one line in the demo, which goes on."""
        try:
            for step in steps:
                step()
        except Exception as error:
            logger.exception("a step of the demo failed")
            reason = " ".join(str(error).split()) or type(error).__name__
            self.status.value = html.error(reason)

    # ---------------------------------------------------------------- a drag

    def _on_drag(self) -> None:
        """Draw the newest strength as soon as the kernel is free; without a kernel, at once."""
        if self._is_choosing:
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self._guard(self._shift, self._compare)
            return
        if self._drawing is None or self._drawing.done():
            self._drawing = loop.create_task(self._follow_drag())

    async def _follow_drag(self) -> None:
        """Draw the slider's value until the slider stops.

        Of the values that arrive while one is drawn, only the last is drawn.
        """
        drawn_strength = compared_strength = None
        while compared_strength != self.strength.value:
            is_drawn = drawn_strength == self.strength.value
            await asyncio.sleep(REST_SECONDS if is_drawn else COLLECT_SECONDS)
            if drawn_strength == self.strength.value:
                compared_strength = drawn_strength
                self._guard(self._compare)
            else:
                drawn_strength = self.strength.value
                self._guard(self._shift)

    def redraw(self) -> None:
        """Draw the slider's value now, as a drag does.

        While a notebook cell is running, the drawing that a drag has asked for has to wait.
        """
        self._guard(self._shift)

    def _shift(self) -> None:
        """Shift the face's latent, decode it, and show what changes with the strength."""
        if self.face is None or self.voice is None:
            return
        perception = self.active.perceive(self.face, self.voice, self.strength.value)
        self.perception = perception
        brightened = np.clip(DIFFERENCE_GAIN * perception.difference, 0, 1)
        heat_map = mpl.colormaps["magma"](brightened)[..., :3]
        self.images[2].value = png_bytes(perception.perceived, LARGE_PICTURE)
        self.images[3].value = png_bytes(heat_map, LARGE_PICTURE)
        self.headline.value = html.headline(perception)
        self.bars.value = html.bars(perception.alone, perception.probabilities, perception.classes)
        warnings = "".join(html.warning(warning) for warning in perception.warnings)
        notes = perception.notes or (() if warnings else (HINT,))
        self.status.value = warnings + "".join(html.note(note) for note in notes)

    # ---------------------------------------------------------------- choosing a face and a voice

    def reset(self) -> None:
        """Go back to the choices and the strength that the demo opened with."""
        self.saved.value = ""
        self._choose(*self.opening)

    def _choose(
        self, face_actor: Actor, face_emotion: str, voice_actor: Actor, voice_emotion: str
    ) -> None:
        """Choose face and voice at full strength, and draw them once."""
        self.face_chooser.choose(face_actor, face_emotion)
        self.voice_chooser.choose(voice_actor, voice_emotion)
        self._is_choosing = True
        try:
            self.strength.value = 1.0
        finally:
            self._is_choosing = False
        self.face = None  # so that nothing is drawn before the voice is there, too
        self._show_chosen_face()
        self._play_chosen_voice()
        self._compare()

    def _show_chosen_face(self) -> None:
        chooser = self.face_chooser
        chooser.refresh()
        if chooser.has_upload_chosen:
            chooser.show_upload()
        else:
            self.show_face(*self.stimuli.face(chooser.chosen_actor, chooser.chosen_emotion))

    def _play_chosen_voice(self) -> None:
        chooser = self.voice_chooser
        chooser.refresh()
        if chooser.has_upload_chosen:
            chooser.show_upload()
        else:
            clip = self.stimuli.clip(chooser.chosen_emotion, chooser.chosen_actor)
            self.play_voice(self.stimuli.corpus.mel(clip), *self.stimuli.sound(clip))

    def show_face(self, face: FaceInput | EncodedFace, networks: Perceiver | None = None) -> None:
        """Take another face: anything that ``Perceiver.encode_face`` takes or gives.

        ``networks`` are those that have encoded it; by default those of the run. A face that is
        not encoded yet is drawn by the networks that ``perceiver.choose`` chooses.
        """
        if not isinstance(face, EncodedFace):
            networks, face = choose(self.perceiver, face, lambda: self.photographs)
        self.face = face
        before, self.active = self.active, networks or self.perceiver
        if self.voice is not None and self.active is not before:
            self.voice = self._heard_by_active(self.voice)
        self.images[0].value = png_bytes(self.face.picture, LARGE_PICTURE)
        self.images[1].value = png_bytes(self.face.reconstruction, LARGE_PICTURE)
        self._shift()

    def _heard_by_active(self, voice: EncodedVoice) -> EncodedVoice:
        """The same voice as the networks that draw the face encode it."""
        return replace(self.active.encode_voice(voice.mel), notes=voice.notes)

    def play_voice(
        self,
        voice: VoiceInput | EncodedVoice,
        sound: np.ndarray | None = None,
        rate: int = spectrograms.SAMPLE_RATE,
    ) -> None:
        """Take another voice: anything that ``Perceiver.encode_voice`` takes or gives.

        An encoded voice is one of the run's networks. ``sound`` (N,) at ``rate`` hertz is for the
        player, which gets the middle that the network hears.
        """
        if sound is None and isinstance(voice, (str, Path)):
            sound, rate = read_sound(voice)
        if not isinstance(voice, EncodedVoice):
            self.voice = self.active.encode_voice(voice)
        elif self.active is self.perceiver:
            self.voice = voice
        else:
            self.voice = self._heard_by_active(voice)
        if sound is not None:
            surplus = max(0, len(sound) - round(spectrograms.WINDOW_SECONDS * rate))
            start = surplus // 2
            stop = len(sound) - (surplus - start)
            self.audio.value = wav_bytes(sound[start:stop], rate)
        self._shift()

    # ---------------------------------------------------------------- all voices

    def _voices(self) -> dict[str, EncodedVoice]:
        """A voice of each class, of the actor whose voice is chosen.

        If an uploaded voice is chosen, the voices are those of the first actor.
        """
        chooser = self.voice_chooser
        actor = self.stimuli.actors[0][1] if chooser.has_upload_chosen else chooser.chosen_actor
        return self.stimuli.voices_of(actor, self.active)

    def _compare(self) -> None:
        """Show this face with all voices, computed in one batch."""
        voices = self._voices()
        if self.face is None or not voices:
            return
        pictures, labels = self._perceive_with_all(self.face, voices)
        self.all_voices.value = html.voices_row(
            list(voices), pictures, labels, self.voice_chooser.chosen_emotion
        )

    def _perceive_with_all(
        self, face: EncodedFace, voices: dict[str, EncodedVoice]
    ) -> tuple[np.ndarray, list[str]]:
        """Pictures (n, S, S, 3) of a face with n voices, and what is read in them."""
        perceptions = self.active.perceive_all([face], voices.values(), self.strength.value)
        return perceptions.perceived[0, :, 0], list(perceptions.labels[0, :, 0])

    # ---------------------------------------------------------------- best and worst

    @cached_property
    def judge(self) -> Judge | None:
        """Who says how much of an emotion a picture shows; loaded when it is first needed."""
        return self._load_judge()

    @cached_property
    def effects(self) -> list[Effect]:
        """The effect of each voice on each test actor and real person, least gain first."""
        return measure_effects(self.stimuli, self.judge)

    def _choose_preset(self, rank: int) -> None:
        """Choose the pair at ``rank`` of ``effects``: 0 is the worst, -1 the best."""
        if not self.effects:
            raise InputError("the corpus has no test actor with a face and a voice; choose freely")
        effect = self.effects[rank]
        self._choose(*effect.face, *effect.voice)
        self.status.value = html.note(describe_effect(self.effects, rank, self.judge))

    # ---------------------------------------------------------------- uploads

    def _take_upload(self, upload: widgets.FileUpload, use: Callable[[Path], None]) -> None:
        """Use the file that somebody has just uploaded."""
        if not upload.value:
            return
        file = upload.value[0]
        upload.value = ()  # the next upload may be of the same name
        self._guard(lambda: self._use_file(file, use), self._compare)

    def _use_file(self, file: dict, use: Callable[[Path], None]) -> None:
        """Use the upload from a temporary folder, whose path is left out of messages."""
        name = Path(file["name"]).name or "upload"
        check_size(name, file["size"])
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, name)
            try:
                path.write_bytes(file["content"])
                use(path)
            except Exception as error:
                raise InputError(str(error).replace(folder + os.sep, "")) from error

    def _show_uploaded_face(self, path: Path) -> None:
        networks, face = choose(self.perceiver, path, lambda: self.photographs)
        self.show_face(face, networks)
        self.face_chooser.add_upload(path.name, lambda: self.show_face(face, networks))

    def _play_uploaded_voice(self, path: Path) -> None:
        sound, rate = read_sound(path)
        voice = self.perceiver.encode_voice(path)
        self.play_voice(voice, sound, rate)
        audio = self.audio.value

        def play_again() -> None:
            self.play_voice(voice)
            self.audio.value = audio

        self.voice_chooser.add_upload(path.name, play_again)

    # ---------------------------------------------------------------- saving

    def _save(self, kind: str, image: Image.Image, suffix: str = "png", **options) -> None:
        """Save into the run's folder demo, and show a link to it."""
        choices = f"{self.face_chooser.slug()}_{self.voice_chooser.slug()}"
        folder = self.run.folder / "demo"
        path = folder / f"{kind}_{choices}_{self.strength.value:.2f}.{suffix}"
        files.make_folder(folder)
        image.save(path, optimize=True, **options)
        self.saved.value = html.saved_file(f"{self.run.folder.name}/demo/{path.name}", path)

    def _shown(self) -> tuple[EncodedFace, EncodedVoice, Perception]:
        """The face, the voice and the perception that are shown now."""
        if self.face is None or self.voice is None or self.perception is None:
            raise InputError("nothing is shown that could be saved; choose a face and a voice")
        return self.face, self.voice, self.perception

    def _save_picture(self) -> None:
        _, _, perception = self._shown()
        self._save("picture", perception.merged())

    def _save_strip(self) -> None:
        face, _, _ = self._shown()
        voices = self._voices()
        pictures, labels = self._perceive_with_all(face, voices)
        captions = [f"{voice} voice: {label}" for voice, label in zip(voices, labels)]
        strip = captioned_strip([face.picture, *pictures], ["original", *captions], STRIP_PICTURE)
        self._save("strip", strip)

    def _save_gif(self) -> None:
        """From strength 0 to 1 and back."""
        face, voice, _ = self._shown()
        strengths = np.linspace(0, 1, GIF_STEPS)
        perceptions = self.active.perceive_all([face], [voice], strengths)
        frames = []
        for strength, picture, label in zip(
            strengths, perceptions.perceived[0, 0], perceptions.labels[0, 0]
        ):
            frames.append(captioned_strip([picture], [f"t = {strength:.2f}: {label}"]))
        first, *rest = frames + frames[-2:0:-1]
        self._save(
            "morph",
            first,
            "gif",
            save_all=True,
            append_images=rest,
            duration=GIF_MILLISECONDS,
            loop=0,
        )


def _text(style: str, words: str) -> widgets.HTML:
    return widgets.HTML(html.block(style, words))


def _panel(heading: str, *children: widgets.Widget) -> widgets.Box:
    return box("cm-panel", _text("cm-head", heading), *children)
