"""The experiment on the reader of notebook 00: its trials, its answers, and what it shows."""

import base64
import itertools
import re

import pandas as pd
import pytest

from cmlib.apps import listening
from cmlib.apps.listening import CHOICES, AnswerError, Session
from cmlib.figures import notebook_00
from cmlib.preparation import media


@pytest.fixture(scope="module")
def trials():
    return listening.create_trials(seed=0)


def test_every_face_and_voice_is_judged_alone_and_in_all_pairs_of_its_actor(trials):
    conditions = [trial.condition for trial in trials]
    assert conditions[:8] == ["voice alone"] * 4 + ["face alone"] * 4
    counts = {name: conditions.count(name) for name in listening.CONDITIONS}
    assert counts["congruent"] == counts["incongruent"] == 4 and counts["neutral face"] == 2
    for trial in trials:
        if trial.face and trial.voice:
            assert trial.face.actor == trial.voice.actor
    others = listening.create_trials(seed=1)
    assert others != trials and set(others) == set(trials)


def test_a_trial_shows_its_clip_and_does_not_tell(trials):
    pair = next(trial for trial in trials if trial.condition == "incongruent")
    html = listening.card(pair, 7)
    assert "<img" in html and "<audio controls" in html
    assert not any(emotion in re.sub(r'base64,[^"]*', "", html) for emotion in CHOICES)


def test_the_sound_is_that_of_the_clip(tmp_path):
    voice = listening.VOICES[0]
    address = re.search(r'base64,([^"]+)', listening.player(voice)).group(1)
    file = tmp_path / "voice.m4a"
    file.write_bytes(base64.b64decode(address))
    sound, rate = media.read_audio(file)
    original, original_rate = media.read_audio(voice.path)
    assert rate == original_rate
    assert abs(len(sound) - len(original)) <= 2048  # two blocks of AAC, which pad a file
    assert file.stat().st_size < 20_000


def test_answers_are_counted_by_condition(trials):
    session = Session(trials)
    assert listening.sentence(listening.outcomes(trials, session.answers)).startswith(
        "There are no"
    )
    for trial in trials:  # somebody who only listens, and guesses where there is no voice
        session.answer(trial.voice.emotion if trial.voice else "happy")
    table = listening.outcomes(trials, session.answers)
    counts = listening.summary(table)
    assert counts.loc["incongruent"].tolist() == [4, 0, 4]
    assert counts.loc["face alone"].tolist() == [4, 1, 0]
    assert counts.loc["neutral face"].tolist() == [2, 0, 2]
    text = listening.sentence(table)
    assert "you followed the face in 0 and the voice in 4 of 4" in text
    assert "With the angry voice, you called the neutral face angry." in text
    assert session.question.layout.display == "none"  # nothing is left to ask


def test_answers_on_paper_are_checked(trials):
    session = Session(trials)
    session.note({18: "sad"})
    assert session.answers[-1] == "sad"
    with pytest.raises(AnswerError, match="trial 1, 'bored': answer happy, sad"):
        session.note({1: "bored"})
    with pytest.raises(AnswerError, match="there are trials 1 to 18"):
        session.note({19: "sad"})


@pytest.mark.parametrize("sense", ["voice", "face"])
def test_the_influence_is_that_of_the_sense_that_decides(sense, monkeypatch):
    """Answers that follow one sense alone: its influence is 1, and that of the other 0."""
    rows = []
    for actor, step, heard in itertools.product((1, 2), notebook_00.STEPS, notebook_00.ENDS):
        by_voice = float(heard == notebook_00.ENDS[1])
        rows.append((actor, heard, step, by_voice if sense == "voice" else step))
    table = pd.DataFrame(rows, columns=["actor", "voice", "step", "value"])
    monkeypatch.setattr(notebook_00, "forced_choices", lambda run: table)
    measured = notebook_00.influence(None)
    assert measured.pop(sense)["value"] == pytest.approx(1)
    (other,) = measured.values()
    assert other["value"] == pytest.approx(0)
