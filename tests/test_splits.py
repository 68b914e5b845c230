import numpy as np
import pandas as pd
import pytest

from cmlib.corpora.splits import (
    FOLDS,
    SUBSETS,
    Split,
    fold_of,
    random_split,
    split,
    split_from_yaml,
)


def table(actors=range(1, 25), clips=3):
    return pd.DataFrame({"actor": np.repeat(list(actors), clips)})


def test_folds_hold_every_actor_once():
    assert sorted(a for fold in FOLDS for a in fold) == list(range(1, 25))
    assert FOLDS[0] == (2, 5, 14, 15, 16) and FOLDS[4] == (1, 4, 9, 22)
    assert {fold_of(a) for a in range(25, 61)} == {1, 2, 3, 4, 5}  # MEAD's 60 actors are dealt out


@pytest.mark.parametrize("fold", range(1, 6))
def test_subsets_share_no_actor_and_validation_is_the_next_fold(fold):
    clips = table()
    parts = split(clips, fold)
    actors = [set(clips.actor.iloc[rows]) for rows in (parts.train, parts.val, parts.test)]
    assert actors[2] == set(FOLDS[fold - 1]) and actors[1] == set(FOLDS[fold % 5])
    assert sorted(a for part in actors for a in part) == list(range(1, 25))
    assert len(parts.train) + len(parts.val) + len(parts.test) == len(clips)


def test_every_clip_is_tested_once_over_the_folds():
    tested = np.concatenate([split(table(), fold).test for fold in range(1, 6)])
    assert sorted(tested) == list(range(72))


def test_eighteen_actors_have_the_same_folds():
    for fold in range(1, 6):
        clips = table(range(1, 19))
        assert set(clips.actor.iloc[split(clips, fold).test]) == set(FOLDS[fold - 1]) & set(
            range(1, 19)
        )


def test_what_cannot_be_split_is_refused():
    with pytest.raises(ValueError, match="fold 6: choose 1 to 5"):
        split(table(), 6)
    with pytest.raises(ValueError, match="no clip in train; the corpus has too few actors"):
        split(table([2, 3]), 1)


def test_a_row_in_two_subsets_is_refused():
    with pytest.raises(ValueError, match="a row is in two subsets"):
        Split(train=np.array([0, 1]), val=np.array([1, 2]), test=np.array([3]))


def test_the_random_split_leaks_on_purpose():
    clips = table(clips=10)
    parts = random_split(len(clips), seed=1)
    assert sorted(np.concatenate([parts.train, parts.val, parts.test])) == list(range(240))
    assert len(parts.test) == len(parts.val) == 48
    assert set(clips.actor.iloc[parts.train]) & set(clips.actor.iloc[parts.test])
    assert np.array_equal(parts.test, random_split(240, seed=1).test)
    assert not np.array_equal(parts.test, random_split(240, seed=2).test)


@pytest.mark.parametrize(
    "content",
    [b"\x80", b"@", b"\0", b"train: 2026-99-99", b"[" * 100_000, b"- " * 100_000, b"train: &a [*a"],
    ids=["bytes", "a sign", "zero", "no date", "brackets", "dashes", "a cut one"],
)
def test_a_list_that_is_no_yaml_is_one_line(content, tmp_path):
    file = tmp_path / "split.yaml"
    file.write_bytes(content)
    with pytest.raises(ValueError, match="copy it again") as stopped:
        split_from_yaml([file], pd.DataFrame({"name": ["01-01-03-01-01-01-01"]}))
    assert str(stopped.value).startswith(f"{file}: not a YAML file")
    assert "\n" not in str(stopped.value)
    names = [f"01-01-03-01-01-01-{actor:02d}" for actor in (1, 2, 3)]
    lines = [f"{part}: [03/{part}/{name}/1.jpg]" for part, name in zip(SUBSETS, names)]
    file.write_text("\n".join(lines))
    rows = split_from_yaml([file], pd.DataFrame({"name": names}))
    assert [list(part) for part in (rows.train, rows.val, rows.test)] == [[0], [1], [2]]


@pytest.mark.parametrize("content", ["", "5", "train: []", "train: [1]\nval: []\ntest: []"])
def test_a_yaml_file_that_is_no_split_is_one_line(content, tmp_path):
    file = tmp_path / "split.yaml"
    file.write_text(content)
    with pytest.raises(ValueError, match="expected three lists of paths"):
        split_from_yaml([file], pd.DataFrame({"name": ["x"]}))


def test_a_yaml_file_that_repeats_itself_endlessly_is_refused(tmp_path):
    """Each list holds the one before it ten times."""
    lines = ["a0: &a0 [x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    (tmp_path / "split.yaml").write_text("\n".join([*lines, "train: *a11", "val: []", "test: []"]))
    with pytest.raises(ValueError, match="expected three lists of paths"):
        split_from_yaml([tmp_path / "split.yaml"], pd.DataFrame({"name": ["x"]}))
