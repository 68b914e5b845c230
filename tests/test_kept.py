"""Tables that take long are measured once, and only from what they would be measured from today."""

import shutil

import numpy as np
import pandas as pd
import pytest
import torch

from cmlib import provenance
from cmlib.experiment.kept import kept_table, shipped_tables
from cmlib.experiment.run import Run
from cmlib.models import VaeGan

TABLE = pd.DataFrame(
    {
        "emotion": ["happy", "sad, or calm", ""],
        "actor": [1, 2, 3],
        "hit": [True, False, True],
        "value": [1 / 3, np.nan, 1e-300],
        "probability": np.array([1 / 3, 0.1, 1e-30], np.float32),
    }
)


@pytest.fixture
def run(toy_project, tmp_path):
    return Run("actors", "smoke", out_dir=str(tmp_path))


@pytest.fixture
def measurements():
    """The tables that ``table_of`` has measured."""
    return []


@pytest.fixture
def table_of(measurements):
    """Keeps a table of a run, and notes each time that it is measured."""

    def keep(run: Run, **options) -> pd.DataFrame:
        def measure() -> pd.DataFrame:
            measurements.append(options)
            return TABLE

        return kept_table(run, "shares", measure, **({"networks": ()} | options))

    return keep


def test_a_kept_table_is_the_measured_one_to_the_last_digit(run, table_of, measurements):
    first, again = table_of(run), table_of(run)
    pd.testing.assert_frame_equal(first, TABLE, check_exact=True)
    pd.testing.assert_frame_equal(again, TABLE, check_exact=True)
    assert len(measurements) == 1


def test_other_settings_data_or_seed_are_measured_again(run, table_of, measurements):
    table_of(run, settings={"strengths": (0, 1)})
    table_of(run, settings={"strengths": (0, 0.5, 1)})
    table_of(run, settings={"strengths": (0, 0.5, 1)}, data={"crowd": "1a2b"})
    other = Run("actors", "smoke", 1, 1, run.out_dir)
    table_of(other, settings={"strengths": (0, 0.5, 1)}, data={"crowd": "1a2b"})
    assert len(measurements) == 4


def test_other_weights_of_a_network_are_measured_again(run, table_of, measurements):
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        network = VaeGan(channels=1, size=32, latent=4, width=0.0625)
        run.save("voice", network, pd.DataFrame(), {})
        table_of(run, networks=("voice",))
    assert len(measurements) == 2


def test_a_shipped_table_counts_unless_everything_is_to_be_fresh(
    run, table_of, measurements, monkeypatch
):
    table_of(run)
    shipped = shipped_tables(run)
    shipped.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(run.folder / "tables", shipped)
    pd.testing.assert_frame_equal(table_of(run), TABLE, check_exact=True)
    assert len(measurements) == 1 and not (run.folder / "tables").exists()
    monkeypatch.setenv("CM_FRESH", "1")
    table_of(run)
    assert len(measurements) == 2
    shutil.rmtree(shipped)


@pytest.mark.parametrize("damage", ["no card", "half a card", "no table"])
def test_a_damaged_table_is_measured_again(run, table_of, measurements, damage):
    table_of(run)
    table, card = (run.folder / "tables" / f"shares.{suffix}" for suffix in ("csv", "json"))
    if damage == "half a card":
        card.write_text(card.read_text()[:40])
    else:
        (card if damage == "no card" else table).unlink()
    pd.testing.assert_frame_equal(table_of(run), TABLE, check_exact=True)
    assert len(measurements) == 2


@pytest.mark.parametrize("text, fresh", [("", False), ("0", False), ("1", True)])
def test_the_variable_says_whether_everything_is_to_be_fresh(text, fresh, monkeypatch):
    monkeypatch.setenv("CM_FRESH", text)
    assert provenance.fresh() == fresh
