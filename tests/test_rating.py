"""The rating study without a front end, and its analysis on raters whose answers are known."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from test_perceiver import SIZE, networks

from cmlib.apps import rating
from cmlib.apps.rating import Item, RatingError, Study
from cmlib.corpora.names import CLASSES, EMOTIONS
from cmlib.perceiver import Perceiver


@pytest.fixture(scope="module")
def run():
    """As much of a Run as the study asks for: two test actors with three emotions, and a third."""
    rng = np.random.default_rng(0)
    rows = [(a, e, i) for a in (1, 2, 3) for e in ("neutral", "happy", "sad") for i in (1, 2)]
    clips = pd.DataFrame(rows, columns=["actor", "emotion", "intensity"])
    clips = clips.assign(
        statement=1, repetition=1, first_frame=np.arange(len(rows)) * 2, n_frames=2
    )
    store = SimpleNamespace(
        clips=clips,
        frames=rng.integers(0, 256, (2 * len(rows), SIZE, SIZE, 3), dtype=np.uint8),
        mels=rng.random((len(rows), 128, 128)).astype(np.float16),
    )
    split = SimpleNamespace(test=np.flatnonzero(clips.actor < 3))
    return SimpleNamespace(
        store=store, split=split, classes=CLASSES, frame_clip=np.repeat(np.arange(len(rows)), 2)
    )


@pytest.fixture(scope="module")
def items():
    """Items of five actors without a network behind them."""
    shown = [
        ("original", ""),
        ("reconstruction", ""),
        *(("mental representation", e) for e in CLASSES),
    ]
    return [
        Item(k, a, v, np.full((8, 8, 3), 0.5), f"{a}-{v or k}") for a in range(5) for k, v in shown
    ]


def test_items_are_test_actors_in_three_kinds(run):
    perceiver = Perceiver(*networks().values())
    items = rating.create_items(run, perceiver)
    assert [(i.actor, i.kind, i.voice) for i in items[:4]] == [
        (1, "original", ""),
        (1, "reconstruction", ""),
        (1, "mental representation", "happy"),
        (1, "mental representation", "sad"),
    ]
    assert (
        len(items) == 8 and {i.actor for i in items} == {1, 2} and len({i.key for i in items}) == 8
    )
    frame = run.store.frames[1]  # the middle one of actor 1's first neutral clip
    np.testing.assert_allclose(items[0].picture, frame / 255, atol=1e-6)
    np.testing.assert_array_equal(items[1].picture, perceiver.encode_face(frame).reconstruction)
    voice = run.store.mels[3].astype(np.float32)  # the strong happy clip of actor 1
    np.testing.assert_array_equal(items[2].picture, perceiver.perceive(frame, voice).perceived)


def test_the_key_of_an_item_changes_with_its_picture_and_only_with_it(run):
    perceiver = Perceiver(*networks().values())
    items = rating.create_items(run, perceiver)
    weaker = rating.create_items(run, perceiver, strength=0.5)
    assert [a.key == b.key for a, b in zip(items, weaker)] == 2 * [True, True, False, False]


def test_every_answer_is_on_the_disk_at_once(items, tmp_path):
    study = Study(items, tmp_path)
    study.begin("ann", agrees=True)
    for number in range(1, 4):
        study.answer("sad", number, 8 - number)
        table = pd.read_csv(tmp_path / "ann.csv")
        assert table.intensity.tolist() == list(range(1, number + 1))
        assert study.progress.value == number


def test_a_rater_who_comes_back_goes_on_where_they_stopped(items, tmp_path):
    study = Study(items, tmp_path)
    study.begin("ann", agrees=True)
    order = [item.key for item in study.queue]
    for _ in range(3):
        study.answer("sad", 1, 1)
    back = Study(items, tmp_path)
    back.begin("ann", agrees=True)
    assert back.item == study.item
    assert back.progress.description == f"3 of {len(items) + 3}"
    while back.item:
        back.answer("happy", 1, 1)
    assert "thank you" in back.status.value
    table = rating.read_ratings(tmp_path)
    assert table.item.tolist() == order
    assert table.position.tolist() == list(range(1, 49))
    assert not table.simulated.any() and list(table.columns) == rating.COLUMNS


def test_a_picture_that_has_changed_is_asked_again(items, tmp_path):
    study = Study(items, tmp_path)
    study.begin("bo", agrees=True)
    study.answer("sad", 1, 1)
    changed = [Item(i.kind, i.actor, i.voice, i.picture, i.key + "x") for i in items]
    study = Study(changed, tmp_path)
    study.begin("bo", agrees=True)
    assert len(study.queue) == len(items) + 3  # with the attention checks


def test_buttons_do_the_same_and_wait_for_all_three_answers(items, tmp_path):
    study = Study(items, tmp_path)
    assert study.questions.layout.display == "none"
    study.name.value = " eve "
    study.agreement.value = True
    study.start.click()
    assert study.rater == "eve" and study.questions.layout.display == "flex" and study.next.disabled
    assert study.image.value[:4] == b"\x89PNG" and study.image.value
    study.emotion.value, study.intensity.value = "calm", 2
    assert study.next.disabled
    study.realism.value = 7
    assert not study.next.disabled
    shown = study.item
    study.next.click()
    assert study.next.disabled and study.emotion.value is None and study.item != shown
    assert pd.read_csv(tmp_path / "eve.csv")[
        ["emotion", "intensity", "realism"]
    ].to_numpy().tolist() == [["calm", 2, 7]]


def test_nothing_on_the_screen_gives_the_kind_away(items, tmp_path):
    study = Study(items, tmp_path)
    study.begin("kim", agrees=True)
    texts = [
        w.value if hasattr(w, "value") else ""
        for w in (*study.questions.children, study.progress, study.status)
    ]
    words = " ".join(str(t) for t in [*texts, study.progress.description]).lower()
    assert not any(
        word in words for word in ("original", "reconstruction", "mental", "voice", "actor")
    )


@pytest.mark.parametrize("name", ["", "../up", "a b", "x" * 33, "Zoë"])
def test_a_name_that_is_no_file_name_is_one_line(items, tmp_path, name):
    study = Study(items, tmp_path)
    study.name.value = name
    study.agreement.value = True
    study.start.click()
    assert (
        "1 to 32 letters" in study.status.value
        and study.item is None
        and not list(tmp_path.iterdir())
    )


@pytest.mark.parametrize(
    "answer", [("furious", 1, 1), ("sad", 0, 1), ("sad", 1, 8), ("sad", None, 3), (None, 1, 1)]
)
def test_an_answer_off_the_scale_is_not_kept(items, tmp_path, answer):
    study = Study(items, tmp_path)
    with pytest.raises(RatingError, match="begin first"):
        study.answer("sad", 1, 1)
    study.begin("joe", agrees=True)
    with pytest.raises(RatingError, match="answer all three"):
        study.answer(*answer)
    assert not study.file.exists()


def test_a_spoiled_file_is_named_and_left_alone(items, tmp_path):
    (file := tmp_path / "ann.csv").write_text("rater,item\nann,1\n")
    study = Study(items, tmp_path)
    study.name.value = "ann"
    study.agreement.value = True
    study.start.click()
    assert "ann.csv: no column" in study.status.value and file.read_text() == "rater,item\nann,1\n"
    table = rating.simulate_ratings(items, 1).assign(intensity=9)
    table.to_csv(file, index=False)
    with pytest.raises(RatingError, match="intensity outside 1 to 7"):
        rating.read_ratings(tmp_path)


def test_no_ratings_are_an_empty_table(tmp_path):
    assert rating.read_ratings(tmp_path / "nowhere").empty


def test_naming_is_compared_with_the_reconstruction_of_the_same_face(items):
    answers = rating.simulate_ratings(items, 2)
    named = rating.score_naming(answers)
    assert len(named) == 2 * 5 * 7 * 2 and named.groupby("kind", observed=True).size().tolist() == [
        70,
        70,
    ]
    emotions = answers.set_index(["rater", "actor", "kind", "voice"]).emotion
    for row in named.sample(40, random_state=0).itertuples():
        voice = row.voice if row.kind == "mental representation" else ""
        assert row.named == (emotions[row.rater, row.actor, row.kind, voice] == row.voice)
    assert list(named.voice.cat.categories) == list(EMOTIONS[1:])


def test_the_model_finds_what_was_put_in(items):
    answers = rating.simulate_ratings(items, 60, seed=3, effect=0.2, intensity=0.6, realism=-0.4)
    assert (
        answers.simulated.all() and answers[["intensity", "realism"]].isin(rating.SCALE).all().all()
    )
    rise = rating.fixed_effects(rating.fit_mixed_model(rating.score_naming(answers), "named")).iloc[
        1
    ]
    expected = 0.2 * (1 - 0.4 / 7)  # who would have named it anyway rises no further
    assert (
        rise.effect == "mental representation against it"
        and rise.low < expected < rise.high
        and rise.p < 1e-6
    )
    for outcome, put_in in (("intensity", 0.6), ("realism", -0.4)):
        row = (
            rating.fixed_effects(rating.fit_mixed_model(answers, outcome))
            .set_index("effect")
            .loc["mental representation against it"]
        )
        assert row.value == pytest.approx(put_in, abs=0.12) and row.high - row.low < 0.4


def test_the_model_is_least_squares_within_raters_where_all_see_all(items):
    """Balanced data: the fixed effects of the mixed model are plain differences of means."""
    answers = rating.simulate_ratings(items, 8)
    table = rating.fixed_effects(rating.fit_mixed_model(answers, "realism"))
    means = answers.groupby("kind").realism.mean()
    level = means["reconstruction"]
    expected = [level, means["original"] - level, means["mental representation"] - level]
    np.testing.assert_allclose(table.value, expected, atol=1e-4)


def test_the_rise_over_raters_is_a_paired_t_test(items):
    named = rating.score_naming(rating.simulate_ratings(items, 12, seed=1))
    rise = rating.rise_over_raters(named)
    shares = named.groupby(["kind", "rater"], observed=True).named.mean()
    with_voice, without = shares["mental representation"], shares["reconstruction"]
    assert rise["value"] == pytest.approx((with_voice - without).mean())
    assert rise["p"] == pytest.approx(stats.ttest_rel(with_voice, without).pvalue)
    assert rise["low"] < rise["value"] < rise["high"]
    # All raters see all pictures, so the mixed model finds the same difference of means.
    effects = rating.fixed_effects(rating.fit_mixed_model(named, "named"))
    assert effects.value.iloc[1] == pytest.approx(rise["value"], abs=1e-4)


def test_two_raters_are_too_few(items):
    answers = rating.simulate_ratings(items, 2)
    with pytest.raises(RatingError, match="at least three"):
        rating.fit_mixed_model(answers, "realism")
    with pytest.raises(RatingError, match="at least three"):
        rating.rise_over_raters(rating.score_naming(answers))


def test_means_are_over_raters(items):
    answers = rating.simulate_ratings(items, 6)
    table = rating.mean_ratings(answers, "realism", ("kind",), 200).set_index("kind")
    assert table.value["original"] == pytest.approx(
        answers[answers.kind == "original"].realism.mean()
    )
    assert (table.low < table.value).all() and (table.value < table.high).all()
