"""The rating study as a protocol: orders, checks, exclusions, export, and how many to ask."""

import json
import re
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from test_rating import items  # noqa: F401  a fixture: 45 items of five actors

from cmlib.apps import rating
from cmlib.apps.rating import RatingError, Study, simulation
from cmlib.apps.rating.items import CHECKS, williams_row
from cmlib.apps.rating.protocol import DICTIONARY
from cmlib.corpora.names import EMOTIONS

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "rating_study.md"


@pytest.mark.parametrize("n", [1, 2, 4, 5, 9])
def test_a_williams_square_balances_places_and_neighbours(n):
    rows = [williams_row(n, row) for row in range(n if n % 2 == 0 else 2 * n)]
    assert all(sorted(row) == list(range(n)) for row in rows)
    places = Counter((place, number) for row in rows for place, number in enumerate(row))
    assert len(set(places.values())) == 1 and len(places) == n * n
    neighbours = Counter(pair for row in rows for pair in pairwise(row))
    assert len(neighbours) == n * (n - 1) and len(set(neighbours.values())) <= 1


def test_all_raters_together_see_every_picture_early_and_late(items):  # noqa: F811
    raters = rating.rows_of_balance(items)
    assert raters == 18
    blocks = Counter()
    for number in range(1, raters + 1):
        order = rating.balanced_order(items, number)
        assert sorted(item.key for item in order) == sorted(item.key for item in items)
        for start in range(0, len(order), 5):
            block = order[start : start + 5]
            assert {item.actor for item in block} == set(range(5))
            blocks.update((start, item.key) for item in block)
    assert set(blocks.values()) == {2}  # 18 raters, nine blocks


def test_an_order_depends_on_number_and_seed_alone(items):  # noqa: F811
    first = rating.balanced_order(items, 1)
    assert first == rating.balanced_order(items, 1)
    assert first != rating.balanced_order(items, 2)
    assert first != rating.balanced_order(items, 1, seed=1)
    with pytest.raises(RatingError, match="counted from 1"):
        rating.balanced_order(items, 0)


@pytest.mark.parametrize("number", range(1, 20))
def test_each_third_has_a_check_and_the_first_picture_is_a_face(items, number):  # noqa: F811
    faces = rating.balanced_order(items, number)
    checks = rating.attention_checks(EMOTIONS)
    order = rating.with_checks(faces, checks, number)
    assert [item for item in order if item.kind != rating.ATTENTION_CHECK] == faces
    places = [place for place, item in enumerate(order) if item.kind == rating.ATTENTION_CHECK]
    assert len(places) == CHECKS == 3 and places[0] > 0
    assert places[0] < 17 <= places[1] <= 32 <= places[2] < 48


def test_a_check_shows_what_it_asks_for():
    checks = rating.attention_checks(EMOTIONS, seed=3)
    assert len({check.asked for check in checks}) == CHECKS
    for check in checks:
        emotion, intensity, realism = check.asked.split()
        assert emotion in EMOTIONS and intensity != realism
        assert check.picture.shape == (320, 320, 3) and check.picture.min() < 0.3


def take_part(folder, items, name, answer=None, stop_after=None):  # noqa: F811
    """Answer as an attentive rater would, or as ``answer`` says of an item."""
    study = Study(items, folder)
    study.begin(name, agrees=True)
    while study.item and (stop_after is None or len(study.answers) < stop_after):
        asked = study.item.asked.split()
        honest = (asked[0], int(asked[1]), int(asked[2])) if asked else None
        varied = ("sad", 1 + len(study.answers) % 7, 3)
        study.answer(*(answer or honest or varied))
    return study


def slowly(folder):
    """Make every answer take four seconds, as it does when a person gives it."""
    for path in folder.glob("*.csv"):
        table = rating.read_ratings_file(path)
        table.assign(seconds=4.0).to_csv(path, index=False)


def test_nobody_is_asked_without_consent(items, tmp_path):  # noqa: F811
    study = Study(items, tmp_path)
    study.name.value = "ann"
    study.start.click()
    assert "tick the box" in study.status.value and study.item is None
    assert not list(tmp_path.rglob("*.csv"))
    assert all(text[:30] in study.introduction.value for text in rating.INSTRUCTIONS)
    study.agreement.value = True
    study.start.click()
    assert study.item is not None and study.welcome.layout.display == "none"


def test_the_order_is_logged_before_the_first_answer(items, tmp_path):  # noqa: F811
    study = Study(items, tmp_path)
    study.begin("ann", agrees=True)
    log = rating.read_orders(tmp_path)
    assert log.item.tolist() == [item.key for item in study.queue] and set(log.number) == {1}
    other = Study(items, tmp_path)
    other.begin("bo", agrees=True)
    assert set(rating.read_orders(tmp_path).groupby("rater").number.first()) == {1, 2}
    again = Study(items, tmp_path)
    again.begin("ann", agrees=True)
    assert [i.key for i in again.queue] == [i.key for i in study.queue]
    assert rating.read_ratings(tmp_path).empty  # logs are not answers


def test_rules_leave_out_whom_they_should(items, tmp_path):  # noqa: F811
    take_part(tmp_path, items, "good")
    take_part(tmp_path, items, "button", answer=("calm", 4, 4))
    take_part(tmp_path, items, "left", stop_after=20)
    slowly(tmp_path)
    take_part(tmp_path, items, "hasty")
    answers = rating.read_ratings(tmp_path)
    table = rating.exclusions(answers, len(items)).set_index("rater")
    assert table.excluded["good"] == ""
    assert table.excluded["button"] == "inattentive, always alike"
    assert table.excluded["left"] == "incomplete"
    assert table.excluded["hasty"] == "too fast"
    assert table.failed_checks.to_dict() == {"good": 0, "button": 3, "left": 0, "hasty": 0}
    kept = rating.to_analyse(answers, len(items))
    assert set(kept.rater) == {"good"} and len(kept) == len(items)
    assert set(rating.RULES) >= {r for text in table.excluded for r in text.split(", ") if r}


def test_the_export_is_complete_and_without_names(items, tmp_path):  # noqa: F811
    for name in ("zoe", "ann"):
        take_part(tmp_path / "ratings", items, name)
    files = rating.export(tmp_path / "ratings", tmp_path / "export", len(items))
    tables = {file.stem: pd.read_csv(file, keep_default_na=False) for file in files}
    assert set(tables) == {"ratings", "orders", "exclusions", "data_dictionary"}
    assert list(tables["ratings"].columns) == tables["data_dictionary"].column.tolist()
    assert len(tables["ratings"]) == len(tables["orders"]) == 2 * 48
    both = tables["ratings"].merge(tables["orders"], on=["rater", "position", "item"])
    assert len(both) == 2 * 48  # what was shown is what was answered
    for file in files:
        assert "zoe" not in file.read_text() and "ann" not in file.read_text()
    first = tables["orders"].query("number == 1")
    assert set(first.rater) == {"P01"}
    with pytest.raises(RatingError, match="no answers"):
        rating.export(tmp_path / "nowhere", tmp_path / "export", 45)


# -------------------------------------------------------------------- how many to ask


def test_without_a_rise_few_studies_show_one():
    rises = rating.simulate_rises(20, 0.0, studies=1000)
    assert rises.shape == (1000, 20, 5)
    assert rises.mean() == pytest.approx(0, abs=0.002)
    assert rating.share_detected(rises) < 0.045  # half of 5 %, and chance


def test_a_rise_is_that_of_the_faces_shown_or_of_all_faces():
    shown = rating.simulate_rises(20, 0.1, studies=300)
    assert shown.mean() == pytest.approx(0.1, abs=0.005)
    others = rating.simulate_rises(20, 0.1, studies=300, other_faces=True)
    assert others.mean((1, 2)).std() > 1.5 * shown.mean((1, 2)).std()
    assert rating.share_detected(others, other_faces=True) < rating.share_detected(others)


def test_the_power_is_that_of_a_t_test():
    """For normal values the exact power is known from the noncentral t distribution."""
    rng = np.random.default_rng(0)
    values = rng.normal(0.5, 1, (20_000, 20, 1))
    limit = stats.t.ppf(0.975, 19)
    exact = stats.nct.sf(limit, 19, 0.5 * np.sqrt(20))
    assert rating.share_detected(values) == pytest.approx(exact, abs=0.01)


def test_a_smaller_rise_needs_more_raters():
    assumed = simulation.Assumptions()
    needed = [rating.raters_needed(rise, studies=200, most=60) for rise in (0.15, 0.05)]
    assert needed[0] < needed[1] <= 60
    rises = rating.simulate_rises(needed[1], 0.05, 200, 0, assumed)
    assert rating.share_detected(rises) >= 0.8
    with pytest.raises(RatingError, match="more than 5 raters"):
        rating.raters_needed(0.01, studies=100, most=5)


# -------------------------------------------------------------------- the page for the committee


def test_the_page_repeats_the_texts_that_raters_see():
    text = " ".join(PAGE.read_text(encoding="utf-8").split())
    for sentence in (*rating.CONSENT, *rating.INSTRUCTIONS, *rating.RULES.values()):
        assert sentence in text


def test_the_page_explains_every_column():
    text = PAGE.read_text(encoding="utf-8")
    for column, (values, meaning) in DICTIONARY.items():
        assert f"| `{column}` | {values} | {meaning} |" in text


def recorded(name: str) -> dict:
    return json.loads((ROOT / "docs" / "metrics" / name).read_text(encoding="utf-8"))


def test_the_assumptions_are_those_that_were_measured():
    text = " ".join(PAGE.read_text(encoding="utf-8").split())
    seen = recorded("five_folds.json")["congruence"]["all"]
    rise = 100 * (seen["named"] - seen["before"])
    assert f"**{rise:.1f} points**: how much more often the judge" in text
    results = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    assert "**4.4 points**" in text and "4.4 (3.2" in " ".join(results.split())
    book = json.loads((ROOT / "notebooks" / "10_rating_analysis.ipynb").read_text())
    assert f'"drawn faces": {rise / 100:.3f}' in "".join(
        line for cell in book["cells"] for line in cell["source"]
    )
    # The interval over 24 actors tells how much they differ: half width = 1.96 sd / sqrt(24).
    spread = (seen["high"] - seen["low"]) / 2 / 1.96 * np.sqrt(24)
    assert rating.Assumptions().actor_variation == pytest.approx(spread / seen["value"], abs=0.05)


def test_the_page_and_notebook_10_ask_for_as_many_raters():
    needed = recorded("fold_1/10_rating_analysis.json")["raters_needed"]
    text = PAGE.read_text(encoding="utf-8")
    rows = {
        "5 points": "worth a sentence",
        "4.4 points": "real portraits, own voices",
        "14.0 points": "drawn faces",
    }
    for label, name in rows.items():
        cells = " | ".join(str(raters) for raters in needed[name].values())
        assert f"| {label} | {cells} |" in text
    power = recorded("fold_1/10_rating_analysis.json")["power_for_other_faces"]
    for raters, column in (("10 raters", 0), ("80 raters", 3)):
        for actors in ("5 actors", "24 actors"):
            cells = re.search(rf"\| {actors} \| (.+) \|", text).group(1).split(" | ")
            assert float(cells[column]) == pytest.approx(power[raters][actors], abs=0.0051)
