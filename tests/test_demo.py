"""The demo without a front end: its widgets change, answer, and survive."""

import asyncio
import base64
import io
import time
from datetime import datetime
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.io import wavfile
from test_perceiver import SIZE, networks

from cmlib.apps.demo import HINT, SIDE, STEPS, Demo, bars, png, wav
from cmlib.corpora.names import CLASSES
from cmlib.experiment.run import example
from cmlib.perceiver import Perceiver
from cmlib.preparation.store import StoreError


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """As much of a Run as the demo asks for: two actors, of whom the second has one emotion less."""
    rng = np.random.default_rng(0)
    rows = [
        (a, e, i)
        for a in (1, 2)
        for e in ("neutral", "happy", "sad")
        for i in (1, 2)
        if (a, e) != (2, "sad")
    ]
    clips = pd.DataFrame(rows, columns=["actor", "emotion", "intensity"])
    clips = clips.assign(statement=1, repetition=1, n_frames=2)

    def path(clip):
        raise StoreError("the files are gone")

    frames, mels = (
        rng.integers(0, 256, (len(rows), SIZE, SIZE, 3), dtype=np.uint8),
        rng.random((len(rows), 128, 128), np.float32),
    )
    shown = SimpleNamespace(clips=clips, frame=frames.__getitem__, mel=mels.__getitem__, path=path)
    split = SimpleNamespace(train=np.array([], int), test=np.flatnonzero(clips.actor == 2))
    return SimpleNamespace(
        shown=shown,
        store=shown,
        split_of=lambda store: split,
        folder=tmp_path_factory.mktemp("run"),
    )


@pytest.fixture
def demo(run):
    return Demo(run, Perceiver(*networks().values()))


def test_it_opens_with_an_unseen_actor_and_an_answer(demo):
    assert demo.face_actor.value == 2 and "never trained on" in demo.face_actor.label
    assert (
        demo.perception.strength == 1
        and HINT in demo.status.value
        and demo.voice_emotion.value == "happy"
    )
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
    assert demo.face_emotion.value == "neutral" and HINT in demo.status.value


def test_bad_input_is_one_line_and_the_demo_lives_on(demo, tmp_path):
    (path := tmp_path / "<me>.png").write_text("words")
    picture = demo.images[0].value
    demo._guard(lambda: demo.show_face(path))
    assert "not a readable picture" in demo.status.value and "&lt;me&gt;" in demo.status.value
    assert demo.images[0].value == picture
    demo.strength.value = 0.2
    assert HINT in demo.status.value and demo.perception.strength == 0.2


def test_own_picture_and_own_voice(demo, tmp_path):
    Image.new("RGB", (SIZE, SIZE), (200, 10, 10)).save(picture := tmp_path / "me.png")
    wavfile.write(
        sound := tmp_path / "hi.wav", 22_050, np.sin(np.arange(22_050) / 9).astype(np.float32)
    )
    demo.show_face(picture)
    demo.play_voice(sound)
    assert demo.perception.original[0, 0] == pytest.approx(
        [200 / 255, 10 / 255, 10 / 255], abs=1e-6
    )
    assert demo.audio.value[:4] == b"RIFF"


def test_a_drag_is_fast(demo):
    took = []
    for t in np.linspace(0, 0.95, 50):
        started = time.perf_counter()
        demo.strength.value = float(t)
        took.append(time.perf_counter() - started)
    assert np.median(took) < 0.1


def test_a_hand_that_is_faster_than_the_kernel_leaves_no_queue(demo, monkeypatch):
    drawn, real = [], demo.perceiver.perceive

    def slow(seen, heard, strength):
        drawn.append(strength)
        time.sleep(0.05)
        return real(seen, heard, strength)

    async def hand():
        for t in range(100):  # 100 values in 0.4 s, of which 20 a second can be drawn
            demo.strength.value = t / 200
            await asyncio.sleep(0.004)
        moved = time.perf_counter()
        while demo.perception.strength != 99 / 200 and time.perf_counter() < moved + 5:
            await asyncio.sleep(0.001)
        late = time.perf_counter() - moved
        await asyncio.wait_for(demo.task, 5)
        return late

    monkeypatch.setattr(demo.perceiver, "perceive", slow)
    others = demo.others.value
    assert asyncio.run(hand()) < 0.2
    assert len(drawn) < 20 and drawn == sorted(drawn) and demo.others.value != others


def test_without_a_running_kernel_a_drag_is_drawn_at_once_and_redraw_does_not_wait(demo):
    demo.strength.value = 0.3
    assert demo.perception.strength == 0.3

    async def cell():
        demo.strength.value = 0.6
        before = demo.perception.strength
        demo.redraw()
        return before, demo.perception.strength

    assert asyncio.run(cell()) == (0.3, 0.6)


def test_all_voices_of_the_actor_are_shown_and_the_chosen_one_is_marked(demo, monkeypatch):
    assert (
        demo.others.value.count("<img") == 2 and "cm-here" in demo.others.value
    )  # happy, and the other actor's sad
    calls = []
    monkeypatch.setattr(
        demo.perceiver,
        "decode",
        lambda mu, real=demo.perceiver.decode: calls.append(len(mu)) or real(mu),
    )
    demo._compare()
    assert calls == [2], "one batch"


def test_presets_are_measured_on_pictures(demo):
    assert len(demo.effects) == 1 and demo.effects == sorted(
        demo.effects
    )  # the one test actor, neutral, and happy
    gain, face, voice = demo.effects[-1]
    p = demo.perceiver.perceive(demo.run.shown.frame(face), demo.run.shown.mel(voice), 1)
    k = CLASSES.index("happy")
    before, after = (demo.perceiver.classify(x[None])[0, k] for x in (p.reconstruction, p.perceived))
    assert gain == pytest.approx(after - before, abs=1e-5)
    demo.strength.value = 0.1
    demo.presets[0].click()
    assert (
        "best of 1 pairs" in demo.status.value
        and demo.strength.value == 1
        and demo.perception.strength == 1
    )


def test_reset_brings_back_how_it_opened(demo):
    start = [image.value for image in demo.images], demo.bars.value, demo.audio.value
    demo.face_actor.value, demo.voice_emotion.value, demo.strength.value = 1, "neutral", 0.2
    assert [image.value for image in demo.images] != start[0]
    demo.presets[-1].click()
    assert ([image.value for image in demo.images], demo.bars.value, demo.audio.value) == start


def given(name, content):
    return [
        {
            "name": name,
            "type": "",
            "size": len(content),
            "content": memoryview(content),
            "last_modified": datetime.now(),
        }
    ]


def in_memory(save, *arguments):
    save(buffer := io.BytesIO(), *arguments)
    return buffer.getvalue()


def test_an_upload_joins_the_list_and_can_be_chosen_again(demo):
    demo.face_upload.value = given(
        "me.png", in_memory(Image.new("RGB", (SIZE, SIZE), (200, 10, 10)).save, "PNG")
    )
    assert (
        demo.face_actor.label == "yours: me.png"
        and demo.face_emotion.disabled
        and demo.face_upload.value == ()
    )
    assert demo.perception.original[0, 0, 0] == pytest.approx(200 / 255, abs=1e-6)
    demo.face_actor.value = 1
    assert not demo.face_emotion.disabled and demo.perception.original[0, 0, 0] != pytest.approx(
        200 / 255, abs=1e-6
    )
    demo.face_actor.value = "yours"
    assert demo.perception.original[0, 0, 0] == pytest.approx(200 / 255, abs=1e-6)
    sound = in_memory(
        lambda b: wavfile.write(b, 44_100, np.sin(np.arange(441_000) / 9).astype(np.float32))
    )
    demo.voice_upload.value = given("hi.wav", sound)
    rate, heard = wavfile.read(io.BytesIO(demo.audio.value))
    assert demo.voice_actor.label == "yours: hi.wav" and len(heard) / rate == pytest.approx(
        3.77, abs=0.01
    ), "what the network hears"
    played = demo.audio.value
    demo.voice_actor.value = 1
    demo.voice_actor.value = "yours"
    assert demo.audio.value == played
    demo.reset()
    assert demo.face_actor.value == demo.voice_actor.value == 2


@pytest.mark.parametrize(
    "name, size, words",
    [
        ("words.png", None, "words.png: not a readable picture"),
        ("none.png", 0, "none.png: an empty file"),
        ("whale.png", 200_000_000, "whale.png: 200 MB"),
        ("torn.mp4", None, "torn.mp4: "),
        ("..", None, "directory"),
    ],
)
def test_a_bad_upload_is_one_line_without_our_paths(demo, name, size, words):
    file = given(name, b"words" if size is None else b"")
    file[0]["size"] = 5 if size is None else size
    before = demo.seen
    demo.face_upload.value = file
    assert words in demo.status.value and "cm-error" in demo.status.value and demo.seen is before
    demo.strength.value = 0.35
    assert demo.perception.strength == 0.35 and "cm-error" not in demo.status.value


def test_what_is_saved_can_be_downloaded(demo):
    for button, kind, frames in zip(demo.savers, ("PNG", "PNG", "GIF"), (1, 1, 2 * STEPS - 2)):
        button.click()
        (path,) = demo.run.folder.glob(
            f"demo/{button.description.split()[1].lower().replace('gif', 'morph')}_*"
        )
        assert path.name.split("_", 1)[1] == f"actor-2-neutral_actor-2-happy_1.00.{kind.lower()}"
        assert (
            base64.b64decode(demo.saved.value.split("base64,")[1].split("'")[0])
            == path.read_bytes()
        )
        with Image.open(path) as image:
            assert image.format == kind and getattr(image, "n_frames", 1) == frames


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
