from cmlib.experiment import provenance
from cmlib.experiment.provenance import meaning, recipe


def test_recipe_follows_every_ingredient_and_nothing_else():
    first = recipe({"epochs": 3, "widths": (1, 2)}, 0, "store")
    assert first == recipe({"widths": [1, 2], "epochs": 3}, 0, "store") and len(first) == 12
    assert (
        len(
            {
                first,
                recipe({"epochs": 4, "widths": (1, 2)}, 0, "store"),
                recipe({"epochs": 3, "widths": (1, 2)}, 1, "store"),
            }
        )
        == 3
    )


def test_a_recipe_may_be_of_other_code(tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "LIBRARY", tmp_path)
    monkeypatch.setattr(provenance, "_code", provenance._code.__wrapped__)
    (tmp_path / "judge.py").write_text("width = 24")
    first = recipe("judge", code=("judge.py",))
    (tmp_path / "training.py").write_text("rate = 1")
    assert recipe("judge", code=("judge.py",)) == first
    (tmp_path / "judge.py").write_text("width = 48")
    assert recipe("judge", code=("judge.py",)) != first


def test_comments_and_docstrings_do_not_count():
    assert meaning('def f(x):\n    """Say."""\n    return x + 1  # more\n') == meaning(
        "def f(x):\n\n    return (x + 1)\n"
    )
    assert meaning("def f(x): return x + 1") != meaning("def f(x): return x + 2")
