"""Voices of the crowd are rebuilt bit by bit, and are spectrograms as the library makes them."""

import numpy as np
import pandas as pd
import pytest

for module in ("pyworld", "espeakng_loader", "numba"):
    pytest.importorskip(module, reason=f"{module} is not installed: pip install -e .[corpus]")
crowd_voices = pytest.importorskip("tools.corpus.crowd_voices")
population = pytest.importorskip("tools.corpus.population")


def test_a_person_says_every_emotion_and_the_same_again(tmp_path):
    crowd_voices.build(tmp_path / "one", 1, workers=1)
    crowd_voices.build(tmp_path / "two", 1, workers=1)
    pictures, table = (
        np.load(tmp_path / "one" / "voices.npy"),
        pd.read_csv(tmp_path / "one" / "voices.csv"),
    )
    assert (tmp_path / "one" / "voices.npy").read_bytes() == (
        tmp_path / "two" / "voices.npy"
    ).read_bytes()
    assert pictures.shape == (15, 128, 128, 1) and set(pictures.reshape(15, -1).max(1)) == {255}
    assert list(zip(table.mood, table.intensity)) == list(population.CELLS)
    assert set(table.statement) == {1, 2}
    assert set(table.person) == {crowd_voices.FIRST} and set(table.sex) == {"female"}
    loud = pictures.astype(float).mean((1, 2, 3))
    assert loud[1:].std() > 1  # emotions do not all sound alike
