"""The demo without a front end: its widgets change, answer, and survive."""

import asyncio
import base64
import io
from datetime import datetime
from types import SimpleNamespace

import ipywidgets as widgets
import numpy as np
import pandas as pd
import pytest
import torch
from conftest import face as drawn_face
from PIL import Image
from scipy.io import wavfile
from test_perceiver import LATENT, SIZE, networks

from cmlib import strangeness
from cmlib.apps.demo import Demo
from cmlib.apps.demo.demo import GIF_STEPS, HINT, LARGE_PICTURE
from cmlib.apps.demo.effects import shows_face
from cmlib.apps.demo.html import bars, page_setup
from cmlib.apps.demo.stimuli import REAL_PERSON
from cmlib.apps.encode import png_bytes, wav_bytes
from cmlib.corpora.names import CLASSES
from cmlib.experiment.run import example
from cmlib.models import Can, Classifier, Posterior, VaeGan
from cmlib.perceiver import Perceiver
from cmlib.preparation.store import StoreError

RATE = 22_050


def tone(number: int, seconds: float = 1.0, rate: int = RATE) -> np.ndarray:
    """A sound (N,) of its own for each number."""
    return np.sin(np.arange(round(seconds * rate)) / (9 + number)).astype(np.float32)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """As much of a Run as the demo asks for: two actors, of whom the second is never sad.

    The first is trained on, the second is a test actor.
    """
    folder = tmp_path_factory.mktemp("run")
    rng = np.random.default_rng(0)
    rows = [
        (actor, emotion, intensity)
        for actor in (1, 2)
        for emotion in ("neutral", "happy", "sad")
        for intensity in (1, 2)
        if (actor, emotion) != (2, "sad")
    ]
    clips = pd.DataFrame(rows, columns=["actor", "emotion", "intensity"])
    clips = clips.assign(statement=1, repetition=1, n_frames=2)
    frames = rng.integers(0, 256, (len(rows), SIZE, SIZE, 3), dtype=np.uint8)
    mels = rng.random((len(rows), 128, 128), np.float32)
    for number in range(len(rows)):
        wavfile.write(folder / f"{number}.wav", RATE, tone(number))

    corpus = SimpleNamespace(
        clips=clips,
        frame=frames.__getitem__,
        mel=mels.__getitem__,
        path=lambda clip: folder / f"{clip.name}.wav",
    )
    split = SimpleNamespace(train=np.array([], int), test=np.flatnonzero(clips.actor == 2))
    return SimpleNamespace(
        shown=corpus, store=corpus, split_of=lambda store: split, folder=folder / "actors-smoke"
    )


@pytest.fixture
def demo(run, monkeypatch):
    # Networks that have learnt nothing draw nothing in which a face is found
    monkeypatch.setattr("cmlib.apps.demo.effects.shows_face", lambda picture: True)
    return Demo(run, Perceiver(*networks().values()), photographs=lambda: None, judge=lambda: None)


def pictures(demo) -> list[bytes]:
    return [image.value for image in demo.images]


# -------------------------------------------------------------------- choosing and dragging


def test_it_opens_with_a_test_actor_and_an_answer(demo):
    assert demo.face_chooser.actor.value == 2
    assert "never trained on" in demo.face_chooser.actor.label
    assert demo.voice_chooser.emotion.value == "happy"
    assert demo.perception.strength == 1
    assert HINT in demo.status.value
    sizes = [Image.open(io.BytesIO(picture)).size for picture in pictures(demo)]
    assert sizes == 4 * [(LARGE_PICTURE, LARGE_PICTURE)]
    assert demo.audio.value[:4] == b"RIFF"
    assert all(name in demo.bars.value for name in CLASSES)


def test_a_drag_redraws_only_what_changes(demo):
    before, bars_before = pictures(demo), demo.bars.value
    face, voice = demo.face, demo.voice
    demo.strength.value = 0.4
    after = pictures(demo)
    assert before[:2] == after[:2] and before[2:] != after[2:]
    assert demo.bars.value != bars_before
    assert demo.face is face and demo.voice is voice
    assert demo.perception.strength == 0.4


def test_without_context_the_third_picture_is_the_second(demo):
    demo.strength.value = 0
    assert demo.images[2].value == demo.images[1].value


def test_a_drag_encodes_nothing_and_decodes_one_picture(demo, monkeypatch):
    decoded = count_decoded(demo, monkeypatch)
    for network in (demo.perceiver.face, demo.perceiver.voice):
        monkeypatch.setattr(network.encoder, "forward", None)
    demo.strength.value = 0.5
    demo.redraw()
    assert decoded[-1] == 1 and "cm-error" not in demo.status.value


def count_decoded(demo, monkeypatch) -> list[int]:
    """The numbers of pictures that the network decodes from now on, call by call."""
    counts, decode = [], demo.perceiver.decode

    def counting(mu):
        counts.append(len(mu))
        return decode(mu)

    monkeypatch.setattr(demo.perceiver, "decode", counting)
    return counts


def test_of_the_values_of_a_fast_drag_the_last_is_drawn_and_few_others(demo, monkeypatch):
    monkeypatch.setattr("cmlib.apps.demo.demo.COLLECT_SECONDS", 0)
    monkeypatch.setattr("cmlib.apps.demo.demo.REST_SECONDS", 0)
    drawn, compared, perceive = [], [], demo.perceiver.perceive
    perceive_all = demo.perceiver.perceive_all
    monkeypatch.setattr(
        demo.perceiver,
        "perceive",
        lambda face, voice, strength: drawn.append(strength) or perceive(face, voice, strength),
    )
    monkeypatch.setattr(
        demo.perceiver,
        "perceive_all",
        lambda faces, voices, strength: (
            compared.append(strength) or perceive_all(faces, voices, strength)
        ),
    )

    async def hand():
        for number in range(100):
            demo.strength.value = number / 200
            if number % 25 == 24:  # only now and then does the kernel get a word in
                await asyncio.sleep(0)
        await demo._drawing

    asyncio.run(hand())
    assert drawn[-1] == 99 / 200 == compared[-1]
    assert len(drawn) <= 5 and drawn == sorted(drawn)
    assert len(compared) <= len(drawn), "the row of all voices follows when the hand rests"


def test_without_a_running_kernel_a_drag_is_drawn_at_once(demo):
    demo.strength.value = 0.3
    assert demo.perception.strength == 0.3


def test_redraw_does_not_wait_for_the_kernel(demo):
    async def cell():
        demo.strength.value = 0.6
        before = demo.perception.strength
        demo.redraw()
        return before, demo.perception.strength

    assert asyncio.run(cell()) == (1, 0.6)


def test_choosing_a_face_keeps_the_voice(demo):
    voice = demo.voice
    demo.face_chooser.emotion.value = "happy"
    assert demo.voice is voice


def test_choosing_a_voice_keeps_the_face(demo):
    face, voice, audio = demo.face, demo.voice, demo.audio.value
    demo.voice_chooser.emotion.value = "neutral"
    assert demo.face is face
    assert demo.voice is not voice and demo.audio.value != audio


def test_emotions_are_those_of_the_actor(demo):
    chooser = demo.face_chooser
    assert chooser.emotion.options == ("neutral", "happy")
    chooser.actor.value = 1
    assert chooser.emotion.options == ("neutral", "happy", "sad")
    chooser.emotion.value = "sad"
    chooser.actor.value = 2
    assert chooser.emotion.value == "neutral" and HINT in demo.status.value


def test_a_voice_whose_file_is_gone_is_played_from_its_spectrogram(demo, monkeypatch):
    def path(clip):
        raise StoreError("the files are gone")

    audio = demo.audio.value
    monkeypatch.setattr(demo.stimuli.corpus, "path", path)
    demo.voice_chooser.emotion.value = "neutral"
    assert demo.audio.value != audio and demo.audio.value[:4] == b"RIFF"
    assert HINT in demo.status.value


def test_all_voices_of_the_actor_are_shown_in_one_batch(demo, monkeypatch):
    # happy, and sad of the other actor
    assert demo.all_voices.value.count("<img") == 2
    assert "cm-here" in demo.all_voices.value, "the chosen one is marked"
    decoded = count_decoded(demo, monkeypatch)
    demo._compare()
    assert decoded == [2]


def test_presets_are_measured_on_pictures(demo):
    (effect,) = demo.effects  # of the one test actor: neutral, and happy
    assert effect.face == (2, "neutral") and effect.voice == (2, "happy")
    p = demo.perceiver.perceive(face_of(demo, *effect.face), voice_of(demo, *effect.voice), 1)
    k = CLASSES.index("happy")
    before, after = demo.perceiver.classify(np.stack([p.reconstruction, p.perceived]))[:, k]
    assert effect.gain == pytest.approx(after - before, abs=1e-5)


def face_of(demo, actor, emotion):
    return demo.stimuli.corpus.frame(demo.stimuli.clip(emotion, actor))


def voice_of(demo, actor, emotion):
    return demo.stimuli.corpus.mel(demo.stimuli.clip(emotion, actor))


def test_a_preset_says_what_it_is_and_is_drawn_at_full_strength(demo):
    demo.strength.value = 0.1
    demo.presets[0].click()
    assert "best of 1 pairs" in demo.status.value
    assert demo.strength.value == 1 and demo.perception.strength == 1


def test_reset_brings_back_how_it_opened(demo):
    start = pictures(demo), demo.bars.value, demo.audio.value
    demo.face_chooser.actor.value = 1
    demo.voice_chooser.emotion.value = "neutral"
    demo.strength.value = 0.2
    assert pictures(demo) != start[0]
    demo.presets[-1].click()
    assert (pictures(demo), demo.bars.value, demo.audio.value) == start


# -------------------------------------------------------------------- what people bring


def upload(name: str, content: bytes, size: int | None = None) -> list[dict]:
    """As the upload widget hands over a file."""
    return [
        {
            "name": name,
            "type": "",
            "size": len(content) if size is None else size,
            "content": memoryview(content),
            "last_modified": datetime.now(),
        }
    ]


def red_picture() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (SIZE, SIZE), (200, 10, 10)).save(buffer, "PNG")
    return buffer.getvalue()


def is_red(demo) -> bool:
    return demo.perception.original[0, 0] == pytest.approx([200 / 255, 10 / 255, 10 / 255])


def long_sound() -> bytes:
    """Ten seconds: more than the network hears."""
    buffer = io.BytesIO()
    wavfile.write(buffer, 44_100, tone(0, 10, 44_100))
    return buffer.getvalue()


def test_a_picture_and_a_sound_of_ones_own(demo, tmp_path):
    (tmp_path / "me.png").write_bytes(red_picture())
    wavfile.write(tmp_path / "hi.wav", RATE, tone(0))
    demo.show_face(tmp_path / "me.png")
    audio = demo.audio.value
    demo.play_voice(tmp_path / "hi.wav")
    assert is_red(demo)
    assert demo.audio.value[:4] == b"RIFF" and demo.audio.value != audio


def test_an_uploaded_picture_joins_the_list_and_can_be_chosen_again(demo):
    chooser = demo.face_chooser
    chooser.upload.value = upload("me.png", red_picture())
    assert chooser.actor.label == "yours: me.png" and is_red(demo)
    assert chooser.emotion.disabled
    assert chooser.upload.value == (), "the next file may have the same name"
    chooser.actor.value = 1
    assert not chooser.emotion.disabled and not is_red(demo)
    chooser.actor.value = "yours"
    assert is_red(demo)


def test_an_uploaded_sound_is_played_as_the_network_hears_it(demo):
    chooser = demo.voice_chooser
    chooser.upload.value = upload("hi.wav", long_sound())
    rate, sound = wavfile.read(io.BytesIO(demo.audio.value))
    assert chooser.actor.label == "yours: hi.wav"
    assert len(sound) / rate == pytest.approx(3.77, abs=0.01)
    audio = demo.audio.value
    chooser.actor.value = 1
    assert demo.audio.value != audio
    chooser.actor.value = "yours"
    assert demo.audio.value == audio


def test_reset_leaves_the_uploads(demo):
    demo.face_chooser.upload.value = upload("me.png", red_picture())
    demo.reset()
    assert demo.face_chooser.actor.value == 2 and not is_red(demo)


@pytest.mark.parametrize(
    "name, content, size, words",
    [
        ("words.png", b"words", 5, "words.png: not a readable picture"),
        ("none.png", b"", 0, "none.png: an empty file"),
        ("whale.png", b"", 200_000_000, "whale.png: 200 MB"),
        ("torn.mp4", b"words", 5, "torn.mp4: "),
        ("..", b"words", 5, "directory"),
    ],
)
def test_a_bad_upload_is_one_line_without_our_paths(demo, name, content, size, words):
    before = demo.face
    demo.face_chooser.upload.value = upload(name, content, size)
    assert words in demo.status.value and "cm-error" in demo.status.value
    assert "/tmp" not in demo.status.value
    assert demo.face is before
    demo.strength.value = 0.35
    assert demo.perception.strength == 0.35 and "cm-error" not in demo.status.value


def test_a_file_name_is_no_html(demo):
    demo.face_chooser.upload.value = upload("<me>.png", b"words")
    assert "&lt;me&gt;.png: not a readable picture" in demo.status.value


# -------------------------------------------------------------------- what people take away


@pytest.mark.parametrize(
    "number, kind, image_format, frames",
    [(0, "picture", "PNG", 1), (1, "strip", "PNG", 1), (2, "morph", "GIF", 2 * GIF_STEPS - 2)],
)
def test_what_is_saved_can_be_downloaded(demo, number, kind, image_format, frames):
    demo.savers[number].click()
    name = f"{kind}_actor-2-neutral_actor-2-happy_1.00.{image_format.lower()}"
    path = demo.run.folder / "demo" / name
    link = demo.saved.value.split("base64,")[1].split("'")[0]
    assert base64.b64decode(link) == path.read_bytes()
    with Image.open(path) as image:
        assert image.format == image_format and getattr(image, "n_frames", 1) == frames


# -------------------------------------------------------------------- pieces


def test_example_prefers_the_actor_and_the_strong_clip(run):
    everyone = np.arange(len(run.store.clips))
    clip = run.store.clips.iloc[example(run, everyone, "happy", 2)]
    assert (clip.actor, clip.emotion, clip.intensity) == (2, "happy", 2)
    assert run.store.clips.actor[example(run, everyone, "sad", 2)] == 1
    assert example(run, everyone, "angry") is None


def test_a_picture_keeps_its_values_as_png():
    image = np.full((SIZE, SIZE, 3), 0.5, np.float32)
    assert np.asarray(Image.open(io.BytesIO(png_bytes(image, 50)))).mean() == pytest.approx(
        128, abs=1
    )


def test_a_sound_keeps_its_values_as_wav():
    rate, sound = wavfile.read(io.BytesIO(wav_bytes(np.array([0.0, 0.5, -2.0]), 8000)))
    assert rate == 8000 and sound.tolist() == [0, 16383, -32767]


def test_bars_show_both_numbers_and_stress_the_highest():
    html = bars(np.full(7, 1 / 7), np.eye(7)[2])
    assert html.count("14 → 0 %") == 6 and "14 → 100 %" in html
    assert html.count("700") == 2


def test_the_page_carries_style_and_script_and_the_script_stays_inside_its_attribute():
    setup = page_setup(9_000_000, 4)
    style, _, handler = setup.partition("</style>")
    assert ".cm-demo" in style and "setUpFiles(9000000, 4);" in handler
    assert handler.count('"') == 4  # src and onerror, and no more


# -------------------------------------------------------------------- photographs and real people


WIDE = dict.fromkeys(strangeness.MEASURES, 1e6)  # nothing is strange
NARROW = dict.fromkeys(strangeness.MEASURES, 1e-6)  # everything is
PERSON = "London 002"


def of_photographs() -> Perceiver:
    """Networks of another size, to which nothing is strange, and who know a real person."""
    torch.manual_seed(7)
    models = (VaeGan(3, 64, 12, 0.0625), VaeGan(1, 128, 12, 0.0625), Classifier(12), Can(12))
    latents = {
        (PERSON, emotion): Posterior(torch.randn(1, 12), torch.zeros(1, 12))
        for emotion in ("neutral", "happy")
    }
    networks_of_photographs = [model.eval().requires_grad_(False) for model in models]
    limits = {"face": WIDE, "voice": WIDE}
    return Perceiver(*networks_of_photographs, limits=limits, name="photos", people=latents)


@pytest.fixture
def demo_with_photographs(run, monkeypatch):
    monkeypatch.setattr("cmlib.apps.demo.effects.shows_face", lambda picture: True)
    usual = Perceiver(*networks().values(), limits={"face": NARROW}, name="drawn")
    return Demo(run, usual, photographs=of_photographs, judge=BrightnessJudge)


def test_a_photograph_is_drawn_by_the_networks_of_photographs(demo_with_photographs):
    demo = demo_with_photographs
    assert demo.active is demo.perceiver
    demo.face_chooser.upload.value = upload("me.png", red_picture())
    assert demo.active is demo.photographs and demo.perception.perceived.shape == (64, 64, 3)
    assert "so the networks photos draw it" in demo.status.value
    demo.strength.value = 0.3
    assert demo.perception.perceived.shape == (64, 64, 3)
    demo.voice_chooser.emotion.value = "neutral"
    assert demo.voice.posterior.mu.shape == (1, 12)
    assert demo.all_voices.value.count("<img") == 2
    demo.face_chooser.actor.value = 1
    assert demo.active is demo.perceiver and demo.voice.posterior.mu.shape == (1, LATENT)
    demo.face_chooser.actor.value = "yours"
    assert demo.active is demo.photographs


def test_a_sound_of_ones_own_is_heard_by_both_networks(demo_with_photographs):
    demo = demo_with_photographs
    demo.face_chooser.actor.value = PERSON
    demo.voice_chooser.upload.value = upload("hi.wav", long_sound())
    assert demo.voice.posterior.mu.shape == (1, 12)
    assert "hi.wav: only the middle 3.8 s are heard" in demo.status.value
    demo.face_chooser.actor.value = 1
    assert demo.voice.posterior.mu.shape == (1, LATENT)
    assert "hi.wav: only the middle 3.8 s are heard" in demo.status.value


def test_real_people_come_last_and_are_decoded(demo_with_photographs):
    demo = demo_with_photographs
    assert demo.face_chooser.actor.options[-1] == (f"{PERSON} (a real person, decoded)", PERSON)
    assert PERSON not in [actor for _, actor in demo.voice_chooser.actor.options]
    demo.face_chooser.actor.value = PERSON
    assert demo.face_chooser.emotion.options == ("neutral", "happy")
    expected = demo.photographs.decode(demo.photographs.people[PERSON, "neutral"].mu)[0]
    np.testing.assert_array_equal(demo.face.picture, expected)
    assert REAL_PERSON in demo.status.value.replace("&amp;", "&")
    demo.savers[0].click()
    assert "london-002" in demo.saved.value


def test_what_is_strange_is_warned_about(demo_with_photographs):
    demo = demo_with_photographs
    assert "cm-warning" in demo.status.value and "the networks drawn" in demo.status.value
    demo.face_chooser.actor.value = PERSON
    assert "cm-warning" not in demo.status.value


class BrightnessJudge:
    """Calls a picture the happier, the brighter it is, and everything else angry."""

    OUTPUTS = ("happy", "angry")

    def probabilities(self, pictures):
        happy = pictures.mean((1, 2, 3)).numpy()
        return np.stack([happy, 1 - happy], 1)


def test_the_best_effect_is_that_of_the_judge(demo_with_photographs):
    demo = demo_with_photographs
    assert {effect.face[0] for effect in demo.effects} == {2, PERSON}
    for effect in demo.effects:
        face, networks_of_face = demo.stimuli.face(*effect.face)
        p = networks_of_face.perceive(face, voice_of(demo, *effect.voice), 1)
        gain = p.perceived.mean() - p.reconstruction.mean()
        assert effect.gain == pytest.approx(gain, abs=1e-5)
    demo.presets[0].click()
    assert "the share of people who would call the picture happy" in demo.status.value
    assert demo.face_chooser.actor.value == demo.effects[-1].face[0]


def test_a_face_that_came_apart_is_no_effect(demo_with_photographs, monkeypatch):
    demo = demo_with_photographs
    monkeypatch.setattr(
        "cmlib.apps.demo.effects.shows_face", lambda picture: picture.shape == (SIZE, SIZE, 3)
    )
    assert [effect.face[0] for effect in demo.effects] == [2]
    del demo.effects
    monkeypatch.setattr("cmlib.apps.demo.effects.shows_face", lambda picture: False)
    demo.presets[0].click()
    assert "choose freely" in demo.status.value


def test_a_face_is_found_in_a_picture_of_a_face_and_not_in_noise():
    assert shows_face(drawn_face(64) / 255)
    assert not shows_face(np.random.default_rng(0).random((64, 64, 3)))


def test_the_demo_says_what_it_is_not_and_offers_camera_and_microphone(demo):
    words = "".join(
        child.value for child in all_children(demo.widget) if isinstance(child, widgets.HTML)
    )
    assert "This is not a reader of feelings" in words
    assert "data-kind='picture'" in words and "data-kind='sound'" in words


def all_children(widget):
    for child in getattr(widget, "children", ()):
        yield child
        yield from all_children(child)
