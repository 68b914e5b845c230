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
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Protocol

import ipywidgets as widgets
import matplotlib as mpl
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from cmlib import files
from cmlib.apps.demo import html
from cmlib.apps.demo.controls import Actor, Chooser, box, button, strength_slider
from cmlib.apps.encode import png_bytes, wav_bytes
from cmlib.checkpoints import CheckpointError
from cmlib.corpora.names import EMOTIONS, MEAD_CLASSES
from cmlib.evaluation.observers import Observers
from cmlib.experiment.run import Run, example
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
from cmlib.preparation import detector, media, spectrograms
from cmlib.preparation.inputs import InputError, check_size, read_sound
from cmlib.preparation.store import StoreError

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
REAL_PERSON = (
    "a real person, whom the network has never seen in training, decoded from a stored latent "
    "(Face Research Lab London Set, CC BY 4.0); the photograph is not shipped"
)


# Quiet unless an application sets up logging: then it has the tracebacks of errors in the demo.
logger = logging.getLogger(__name__)
logger.addHandler(logging.NullHandler())


@dataclass(frozen=True)
class Effect:
    """How much the picture of a face changes towards what a voice says.

    ``gain`` is the rise in the share of the voice's emotion, from the reconstruction to the mental
    representation at full strength. ``face`` and ``voice`` are an actor and an emotion each.
    """

    gain: float
    face: tuple[Actor, str]
    voice: tuple[Actor, str]


class Judge(Protocol):
    """Predicts which emotion people would name in a picture, as ``evaluation.observers`` does."""

    @property
    def OUTPUTS(self) -> tuple[str, ...]:
        """The emotions that it knows."""
        ...

    def probabilities(self, pictures: Tensor) -> np.ndarray:
        """Pictures (N, 3, S, S) in 0...1 -> shares of people (N, outputs)."""
        ...


def shipped_judge() -> Judge | None:
    """The judge that has learnt what observers answer; None where its networks are not there."""
    try:
        return Observers.shipped()
    except CheckpointError:
        return None


def shows_face(picture: np.ndarray) -> bool:
    """Whether a face is found in a decoded picture (S, S, 3), floats in 0...1."""
    (points,) = detector.find_faces([(255 * picture).round().astype(np.uint8)])
    return points is not None


class Demo:
    """The demo: display ``widget``; ``perception`` is the latest answer.

    Faces and voices come from the corpus of ``run``, which need not be prepared. Actors that no
    network was trained on come first, and real people, of whom the networks of ``photographs``
    store latents, come last. ``active`` are the networks that draw the present face. The ``judge``
    says which effect is the best. What is saved goes to the folder demo of the run, and is offered
    as a download.
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
        self.people = self.photographs.people if self.photographs else {}
        self.corpus = run.shown
        self.face: EncodedFace | None = None
        self.voice: EncodedVoice | None = None
        self.perception: Perception | None = None
        # Encoded when first needed, by the name of the networks and by the actor
        self._encoded_voices: dict[tuple[str, Actor], dict[str, EncodedVoice]] = {}
        self._drawing: asyncio.Task | None = None  # follows a drag in a running kernel
        self._is_choosing = False
        self._list_actors()
        self._create_widgets()
        self.widget = self._lay_out()
        self._connect()
        first_actor = self.actors[0][1]
        emotions = self._emotions_of(None)
        voice_emotion = "happy" if "happy" in emotions else emotions[-1]
        self.opening = (first_actor, emotions[0], first_actor, voice_emotion)
        self._guard(self.reset)

    # ---------------------------------------------------------------- setting up

    def _list_actors(self) -> None:
        """Labels and numbers of all actors; those of the test set first."""
        clips, split = self.corpus.clips, self.run.split_of(self.corpus)
        trained_on = set(clips.actor.iloc[split.train])
        self.unseen_actors = sorted(set(clips.actor.iloc[split.test]) - trained_on)
        other_actors = sorted(set(clips.actor) - set(self.unseen_actors))
        self.actors = [(f"actor {a} (never trained on)", a) for a in self.unseen_actors]
        self.actors += [(f"actor {a}", a) for a in other_actors]
        names = dict.fromkeys(name for name, _ in self.people)
        self.real_people = [(f"{name} (a real person, decoded)", name) for name in names]

    def _create_widgets(self) -> None:
        emotions_of = self._emotions_of
        self.face_chooser = Chooser(
            "face",
            "shows",
            "your own picture",
            "image/*,video/*",
            self.actors + self.real_people,
            emotions_of,
        )
        self.voice_chooser = Chooser(
            "voice", "sounds", "your own sound", "audio/*,video/*", self.actors, emotions_of
        )
        self.strength = strength_slider()
        self.audio = widgets.Audio(format="wav", autoplay=False, loop=False)
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
        self.images = [
            widgets.Image(format="png", width=LARGE_PICTURE, height=LARGE_PICTURE) for _ in CAPTIONS
        ]
        self.headline = widgets.HTML()
        self.bars = widgets.HTML()
        self.all_voices = widgets.HTML()
        self.status = widgets.HTML()
        self.saved = widgets.HTML()

    def _button(self, text: str, tooltip: str, act: Callable[[], None]) -> widgets.Button:
        return button(text, tooltip, lambda: self._guard(act))

    def _lay_out(self) -> widgets.Widget:
        def text(style: str, words: str) -> widgets.HTML:
            return widgets.HTML(html.block(style, words))

        def panel(heading: str, *children: widgets.Widget) -> widgets.Box:
            return box("cm-panel", text("cm-head", heading), *children)

        face, voice = self.face_chooser, self.voice_chooser
        camera = html.capture_button(
            "picture", "use the camera", "take a picture with the camera of this computer"
        )
        microphone = html.capture_button(
            "sound", "record a voice", f"record {RECORDING_SECONDS} seconds with the microphone"
        )
        controls = box(
            "cm-columns",
            panel("Face", face.actor, face.emotion, face.upload, widgets.HTML(camera)),
            panel(
                "Voice",
                voice.actor,
                voice.emotion,
                voice.upload,
                widgets.HTML(microphone),
                self.audio,
            ),
            panel(
                "Context",
                self.strength,
                box("cm-buttons", *self.presets),
                box("cm-buttons", *self.savers),
            ),
        )
        # demo.js writes into the first line; while there is something in it, the style sheet hides
        # the second
        lines = box("cm-lines", text("cm-refused", ""), self.status, self.saved)
        pictures = box(
            "cm-pictures",
            *(
                box("cm-picture", image, text("cm-caption", caption))
                for caption, image in zip(CAPTIONS, self.images)
            ),
        )
        answers = box(
            "cm-columns",
            panel("What is read in the face", self.headline, self.bars),
            panel("This face with every voice of the actor", self.all_voices),
        )
        setup = widgets.HTML(html.page_setup(MAX_UPLOAD_BYTES, RECORDING_SECONDS))
        title, disclosure = widgets.HTML(html.title()), widgets.HTML(html.disclosure(DISCLOSURE))
        return box("cm-demo", setup, title, controls, lines, pictures, answers, disclosure)

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
        drawn = compared = None
        while compared != self.strength.value:
            is_drawn = drawn == self.strength.value
            await asyncio.sleep(REST_SECONDS if is_drawn else COLLECT_SECONDS)
            if drawn == self.strength.value:
                compared = drawn
                self._guard(self._compare)
            else:
                drawn = self.strength.value
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
            self.show_face(*self._listed_face(chooser.chosen_actor, chooser.chosen_emotion))

    def _listed_face(self, actor: Actor, emotion: str) -> tuple[EncodedFace, Perceiver]:
        """A face of the list, and the networks that draw it."""
        latent = self.people.get((str(actor), emotion))
        if latent is None:
            clip = self._clip(emotion, actor)
            return self.perceiver.encode_face(self.corpus.frame(clip)), self.perceiver
        assert self.photographs is not None  # the people are theirs
        return self.photographs.decode_face(latent, (REAL_PERSON,)), self.photographs

    def _play_chosen_voice(self) -> None:
        chooser = self.voice_chooser
        chooser.refresh()
        if chooser.has_upload_chosen:
            chooser.show_upload()
        else:
            clip = self._clip(chooser.chosen_emotion, chooser.chosen_actor)
            self.play_voice(self.corpus.mel(clip), *self._sound(clip))

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

    def _emotions_of(self, actor: Actor | None) -> list[str]:
        """The emotions that an actor has shown (None: anybody), in the usual order."""
        if isinstance(actor, str):
            return [emotion for name, emotion in self.people if name == actor]
        clips = self.corpus.clips
        shown = set(clips.emotion if actor is None else clips.emotion[clips.actor == actor])
        return [emotion for emotion in EMOTIONS + MEAD_CLASSES[:1] if emotion in shown]

    def _find_clip(self, emotion: str, actor: Actor) -> int | None:
        """The best clip of an emotion: of this actor, or else of another; None if there is none."""
        everyone = np.arange(len(self.corpus.clips))
        return example(self.run, everyone, emotion, int(actor), self.corpus.clips)

    def _clip(self, emotion: str, actor: Actor) -> int:
        clip = self._find_clip(emotion, actor)
        assert clip is not None, "the lists offer only what the corpus has"
        return clip

    def _sound(self, clip: int) -> tuple[np.ndarray, int]:
        """Waveform (N,) and rate of a clip; made from its spectrogram if its file is gone."""
        try:
            return media.read_audio(self.corpus.path(self.corpus.clips.iloc[clip]))
        except (StoreError, media.MediaError):
            return spectrograms.to_sound(self.corpus.mel(clip)), spectrograms.SAMPLE_RATE

    # ---------------------------------------------------------------- all voices

    def _voices(self) -> dict[str, EncodedVoice]:
        """A voice of each class, of the actor whose voice is chosen.

        If an uploaded voice is chosen, the voices are those of the first actor.
        """
        chooser = self.voice_chooser
        actor = self.actors[0][1] if chooser.has_upload_chosen else chooser.chosen_actor
        return self._voices_of(actor, self.active)

    def _voices_of(self, actor: Actor, networks: Perceiver) -> dict[str, EncodedVoice]:
        """A voice of each class, of one actor, as these networks encode it."""
        key = networks.name, actor
        if key not in self._encoded_voices:
            voices = {}
            for emotion in networks.classes:
                clip = self._find_clip(emotion, actor)
                if clip is not None:
                    voices[emotion] = networks.encode_voice(self.corpus.mel(clip))
            self._encoded_voices[key] = voices
        return self._encoded_voices[key]

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
        """The effect of each voice on each test actor and real person, least gain first.

        The face is the first of the person, a neutral one if there is one. The voice is the
        actor's own; for a real person it is that of the first test actor. Left out are emotions
        that the judge does not know, and pictures that came apart: the detector finds no face in
        them.
        """
        effects = []
        for actor in [*self.unseen_actors, *(name for _, name in self.real_people)]:
            voice_actor = self.actors[0][1] if isinstance(actor, str) else actor
            face = actor, self._emotions_of(actor)[0]
            encoded, networks = self._listed_face(*face)
            known, read = self._reader(networks)
            voices = {
                emotion: voice
                for emotion, voice in self._voices_of(voice_actor, networks).items()
                if emotion in known and emotion in self._emotions_of(voice_actor)
            }
            if not voices:
                continue
            perceptions = networks.perceive_all([encoded], voices.values())
            perceived = perceptions.perceived[0, :, 0]  # (voices, S, S, 3)
            before, after = read(perceptions.reconstruction)[0], read(perceived)
            for i, emotion in enumerate(voices):
                if shows_face(perceived[i]):
                    k = known.index(emotion)
                    gain = float(after[i, k] - before[k])
                    effects.append(Effect(gain, face, (voice_actor, emotion)))
        return sorted(effects, key=lambda effect: effect.gain)

    def _reader(
        self, networks: Perceiver
    ) -> tuple[Sequence[str], Callable[[np.ndarray], np.ndarray]]:
        """Who says how much of an emotion pictures show: the emotions, and the function.

        The function takes pictures (N, S, S, 3) and returns shares (N, emotions). It is the judge;
        without one it is the face classifier of the networks that have drawn them.
        """
        judge = self.judge
        if judge is None:
            return networks.classes, networks.classify

        def read(pictures: np.ndarray) -> np.ndarray:
            return judge.probabilities(torch.from_numpy(pictures).permute(0, 3, 1, 2))

        return judge.OUTPUTS, read

    def _choose_preset(self, rank: int) -> None:
        """Choose the pair at ``rank`` of ``effects``: 0 is the worst, -1 the best."""
        if not self.effects:
            raise InputError("the corpus has no test actor with a face and a voice; choose freely")
        effect = self.effects[rank]
        self._choose(*effect.face, *effect.voice)
        self.status.value = html.note(self.effect_remark(rank))

    def effect_remark(self, rank: int) -> str:
        """What is said of the pair at ``rank`` of ``effects``."""
        effect = self.effects[rank]
        quality, emotion = "best" if rank else "worst", effect.voice[1]
        if self.judge is None:
            share = f"the share of {emotion} that the face classifier reads in the picture"
        else:
            share = f"the share of people who would call the picture {emotion}, as predicted,"
        return (
            f"{quality} of {len(self.effects)} pairs of a face and a voice: "
            f"{share} changes by {100 * effect.gain:+.0f} points"
        )

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
