"""The demo: pick a face and a voice, drag the context strength, watch the face change.

A drag shifts one latent, decodes one picture and redraws two small images and a few bars; everything else is kept.
The bars are HTML and the pictures small PNGs, because a plot would take longer to draw than the networks to answer.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import ipywidgets as widgets
import matplotlib as mpl
import numpy as np
from PIL import Image
from scipy.io import wavfile

from cmlib import media, voices
from cmlib.emotions import CLASSES, EMOTIONS
from cmlib.experiment import Run
from cmlib.figures import EMOTION_COLORS, INK, QUIET, picture
from cmlib.perceiver import Heard, Perceiver, Perception, Seen, example
from cmlib.store import StoreError

SIDE = 200  # pixels of each picture on the screen
GAIN = 4.0  # the difference map is brightened by this much
PICTURES = ("original", "reconstruction", "mental representation", "difference")


class Demo:
    """The widgets and what they do; ``widget`` is shown, ``perception`` is the latest answer.

    Faces and voices come from the prepared corpus of ``run``; the actors that no network was trained on come first.
    """

    def __init__(self, run: Run, perceiver: Perceiver | None = None):
        self.run, self.perceiver = run, perceiver or Perceiver.of(run)
        self.seen: Seen | None = None
        self.heard: Heard | None = None
        self.perception: Perception | None = None
        self.offering = False
        clips = run.store.clips
        self.everyone = np.arange(len(clips))
        test = sorted(set(clips.actor.iloc[run.split.test]))
        others = sorted(set(clips.actor) - set(test))
        actors = [(f"actor {a} (never trained on)", a) for a in test] + [(f"actor {a}", a) for a in others]
        self.face_actor = widgets.Dropdown(options=actors, description="face")
        self.face_emotion = widgets.Dropdown(options=EMOTIONS, description="shows")
        self.voice_actor = widgets.Dropdown(options=actors, description="voice")
        self.voice_emotion = widgets.Dropdown(options=EMOTIONS, value="happy", description="sounds")
        wide = widgets.Layout(width="360px")
        self.strength = widgets.FloatSlider(1.0, min=0, max=1, step=0.05, description="context", layout=wide)
        self.images = [widgets.Image(format="png", width=SIDE, height=SIDE) for _ in PICTURES]
        self.bars, self.status, self.audio = widgets.HTML(), widgets.HTML(), widgets.Audio(format="wav", autoplay=False)
        self.widget = self._layout()
        for chooser, react in (
            (self.face_actor, self._look), (self.face_emotion, self._look), (self.voice_actor, self._listen),
            (self.voice_emotion, self._listen), (self.strength, self._shift),
        ):  # fmt: skip
            chooser.observe(lambda change, react=react: self._guard(react), "value")
        self._guard(self._look, self._listen)

    # ---------------------------------------------------------------- what happens

    def _guard(self, *steps: Callable[[], None]) -> None:
        """Do the steps; whatever goes wrong becomes one line under the demo, which lives on."""
        if self.offering:
            return
        try:
            self.status.value = ""
            for step in steps:
                step()
        except Exception as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            self.status.value = f"<b style='color:#B11B24'>{_escape(reason)}</b>"

    def _offer(self, actor: widgets.Dropdown, emotion: widgets.Dropdown) -> None:
        """Let the second box offer what the actor of the first one has shown."""
        clips = self.run.store.clips
        there = set(clips.emotion[clips.actor == actor.value])
        wanted, options = emotion.value, [e for e in EMOTIONS if e in there]
        if options != list(emotion.options):
            self.offering = True  # what follows is no choice of the person's
            emotion.options = options
            emotion.value = wanted if wanted in options else options[0]
            self.offering = False

    def _look(self) -> None:
        self._offer(self.face_actor, self.face_emotion)
        clip = example(self.run, self.everyone, self.face_emotion.value, self.face_actor.value)
        row = self.run.store.clips.iloc[clip]
        self.show_face(self.run.store.frames[int(row.first_frame) + int(row.n_frames) // 2])

    def _listen(self) -> None:
        self._offer(self.voice_actor, self.voice_emotion)
        clip = example(self.run, self.everyone, self.voice_emotion.value, self.voice_actor.value)
        self.play_voice(np.asarray(self.run.store.mels[clip], np.float32), *self._sound(clip))

    def _sound(self, clip: int) -> tuple[np.ndarray, int]:
        """Waveform and rate to listen to: of the clip's file, or out of its spectrogram where the file is gone."""
        try:
            return media.read_audio(self.run.store.path(self.run.store.clips.iloc[clip]))
        except (StoreError, media.MediaError):
            return voices.to_sound(self.run.store.mels[clip]), voices.RATE

    def show_face(self, face) -> None:
        """Take another face: anything ``Perceiver.see`` accepts."""
        self.seen = self.perceiver.see(face)
        for image, shown in zip(self.images, (self.seen.picture, self.seen.reconstruction)):
            image.value = png(shown)
        self._shift()

    def play_voice(self, voice, sound: np.ndarray | None = None, rate: int = 22_050) -> None:
        """Take another voice: anything ``Perceiver.hear`` accepts; ``sound`` (N,) at ``rate`` is for the player."""
        self.heard = self.perceiver.hear(voice)
        if sound is None and isinstance(voice, (str, Path)):
            sound, rate = media.read_audio(voice)
        if sound is not None:
            self.audio.value = wav(sound, rate)
        self._shift()

    def _shift(self) -> None:
        """One drag: shift, decode, redraw."""
        if self.seen is None or self.heard is None:
            return
        p = self.perception = self.perceiver.perceive(self.seen, self.heard, self.strength.value)
        self.images[2].value = png(p.perceived)
        self.images[3].value = png(mpl.colormaps["magma"](np.clip(GAIN * p.difference, 0, 1))[..., :3])
        self.bars.value = bars(p.alone, p.probabilities)
        self.status.value = "<br>".join(_escape(note) for note in p.notes)

    # ---------------------------------------------------------------- what it looks like

    def _layout(self) -> widgets.Widget:
        def title(text: str) -> widgets.HTML:
            return widgets.HTML(f"<div style='text-align:center;font-size:13px;color:{INK}'>{text}</div>")

        columns = [widgets.VBox([title(name), image]) for name, image in zip(PICTURES, self.images)]
        choices = widgets.HBox([
            widgets.VBox([self.face_actor, self.face_emotion]), widgets.VBox([self.voice_actor, self.voice_emotion]),
            widgets.VBox([self.strength, self.audio]),
        ])  # fmt: skip
        pictures = widgets.HBox(columns, layout=widgets.Layout(grid_gap="12px", flex_flow="row wrap"))
        return widgets.VBox([choices, pictures, self.bars, self.status], layout=widgets.Layout(grid_gap="10px"))


def png(image: np.ndarray, side: int = SIDE) -> bytes:
    """A picture (S, S, 3), floats in 0...1 or uint8, as a PNG of ``side`` pixels."""
    small = Image.fromarray((255 * picture(image)).round().astype(np.uint8))
    small.resize((side, side), Image.Resampling.BICUBIC).save(buffer := io.BytesIO(), "PNG", compress_level=1)
    return buffer.getvalue()


def wav(sound: np.ndarray, rate: int) -> bytes:
    """A waveform (N,) in -1...1 as the bytes of a 16-bit WAV file."""
    wavfile.write(buffer := io.BytesIO(), int(rate), (np.clip(sound, -1, 1) * 32767).astype(np.int16))
    return buffer.getvalue()


def bars(alone: np.ndarray, context: np.ndarray) -> str:
    """HTML of the class probabilities (K,) of the face alone (hollow) and in context (filled)."""
    legend = "hollow: the face alone&emsp;filled: in the context of the voice"
    rows = [f"<span></span><span style='grid-column:2/4;color:{QUIET}'>{legend}</span>"]
    for name, before, after in zip(CLASSES, alone, context):
        color, strong = EMOTION_COLORS[name], "700" if after == context.max() else "400"
        hollow = f"height:5px;box-sizing:border-box;border:1.5px solid {color};width:{100 * before:.1f}%"
        filled = f"height:9px;margin-top:2px;background:{color};width:{100 * after:.1f}%"
        rows.append(
            f"<span style='text-align:right;font-weight:{strong}'>{name}</span>"
            f"<div><div style='{hollow}'></div><div style='{filled}'></div></div>"
            f"<span style='font-weight:{strong}'>{100 * before:.0f} → {100 * after:.0f} %</span>"
        )
    style = "display:grid;grid-template-columns:80px 420px 90px;gap:4px 10px;align-items:center;font-size:13px"
    return f"<div style='{style};line-height:1.2;color:{INK}'>{''.join(rows)}</div>"


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
