"""The demo without a front end: its widgets change, answer, and survive."""

import io
import time
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.io import wavfile
from test_perceiver import SIZE, networks

from cmlib.demo import SIDE, Demo, bars, png, wav
from cmlib.emotions import CLASSES
from cmlib.perceiver import Perceiver, example
from cmlib.store import StoreError


@pytest.fixture(scope="module")
def run():
    """As much of a Run as the demo asks for: two actors, of whom the second has one emotion less, two frames a clip."""
    rng = np.random.default_rng(0)
    rows = [(a, e, i) for a in (1, 2) for e in ("neutral", "happy", "sad") for i in (1, 2) if (a, e) != (2, "sad")]
    clips = pd.DataFrame(rows, columns=["actor", "emotion", "intensity"])
    clips = clips.assign(statement=1, repetition=1, first_frame=np.arange(len(rows)) * 2, n_frames=2)

    def path(clip):
        raise StoreError("the files are gone")

    store = SimpleNamespace(
        clips=clips, frames=rng.integers(0, 256, (2 * len(rows), SIZE, SIZE, 3), dtype=np.uint8),
        mels=rng.random((len(rows), 128, 128)).astype(np.float16), path=path,
    )  # fmt: skip
    return SimpleNamespace(store=store, split=SimpleNamespace(test=np.flatnonzero(clips.actor == 2)))


@pytest.fixture
def demo(run):
    return Demo(run, Perceiver(*networks().values()))


def test_it_opens_with_an_unseen_actor_and_an_answer(demo):
    assert demo.face_actor.value == 2 and "never trained on" in demo.face_actor.label
    assert demo.perception.strength == 1 and demo.status.value == "" and demo.voice_emotion.value == "happy"
    assert all(Image.open(io.BytesIO(image.value)).size == (SIDE, SIDE) for image in demo.images)
    assert demo.audio.value[:4] == b"RIFF" and all(name in demo.bars.value for name in CLASSES)


def test_a_drag_redraws_only_what_changes(demo):
    before = [image.value for image in demo.images]
    seen, heard, text = demo.seen, demo.heard, demo.bars.value
    demo.strength.value = 0.4
    after = [image.value for image in demo.images]
    assert before[:2] == after[:2] and before[2:] != after[2:] and demo.bars.value != text
    assert demo.seen is seen and demo.heard is heard and demo.perception.strength == 0.4
    demo.strength.value = 0
    assert demo.images[2].value == demo.images[1].value


def test_choosing_a_face_keeps_the_voice_and_the_other_way_round(demo):
    heard = demo.heard
    demo.face_emotion.value = "happy"
    assert demo.heard is heard
    seen, sound = demo.seen, demo.audio.value
    demo.voice_emotion.value = "neutral"
    assert demo.seen is seen and demo.heard is not heard and demo.audio.value != sound


def test_emotions_are_those_of_the_actor(demo):
    assert demo.face_emotion.options == ("neutral", "happy")
    demo.face_actor.value = 1
    assert demo.face_emotion.options == ("neutral", "happy", "sad")
    demo.face_emotion.value = "sad"
    demo.face_actor.value = 2
    assert demo.face_emotion.value == "neutral" and demo.status.value == ""


def test_bad_input_is_one_line_and_the_demo_lives_on(demo, tmp_path):
    (path := tmp_path / "<me>.png").write_text("words")
    picture = demo.images[0].value
    demo._guard(lambda: demo.show_face(path))
    assert "not a readable picture" in demo.status.value and "&lt;me&gt;" in demo.status.value
    assert demo.images[0].value == picture
    demo.strength.value = 0.2
    assert demo.status.value == "" and demo.perception.strength == 0.2


def test_own_picture_and_own_voice(demo, tmp_path):
    Image.new("RGB", (SIZE, SIZE), (200, 10, 10)).save(picture := tmp_path / "me.png")
    wavfile.write(sound := tmp_path / "hi.wav", 22_050, np.sin(np.arange(22_050) / 9).astype(np.float32))
    demo.show_face(picture)
    demo.play_voice(sound)
    assert demo.perception.original[0, 0] == pytest.approx([200 / 255, 10 / 255, 10 / 255], abs=1e-6)
    assert demo.audio.value[:4] == b"RIFF"


def test_a_drag_is_fast(demo):
    took = []
    for t in np.linspace(0, 0.95, 50):
        started = time.perf_counter()
        demo.strength.value = float(t)
        took.append(time.perf_counter() - started)
    assert np.median(took) < 0.1


def test_example_prefers_the_actor_and_the_strong_clip(run):
    everyone = np.arange(len(run.store.clips))
    clip = run.store.clips.iloc[example(run, everyone, "happy", 2)]
    assert (clip.actor, clip.emotion, clip.intensity) == (2, "happy", 2)
    assert run.store.clips.actor[example(run, everyone, "sad", 2)] == 1
    assert example(run, everyone, "angry") is None


def test_pictures_sounds_and_bars_keep_their_values():
    image = np.full((SIZE, SIZE, 3), 0.5, np.float32)
    assert np.asarray(Image.open(io.BytesIO(png(image)))).mean() == pytest.approx(128, abs=1)
    rate, sound = wavfile.read(io.BytesIO(wav(np.array([0.0, 0.5, -2.0]), 8000)))
    assert rate == 8000 and sound.tolist() == [0, 16383, -32767]
    html = bars(np.full(7, 1 / 7), np.eye(7)[2])
    assert html.count("14 → 0 %") == 6 and "14 → 100 %" in html and html.count("700") == 2
