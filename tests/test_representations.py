"""Witnesses of mental representations, on made-up faces whose truth is known."""

import shutil

import numpy as np
import pandas as pd
import pytest
import torch

from cmlib import experiment, representations
from cmlib.experiment import Run
from cmlib.models import Can
from cmlib.representations import Fisherfaces, Typicality, congruence, kept


@pytest.fixture(scope="module")
def toy_run(tmp_path_factory, good_clip):
    """Run on four actors with two neutral, one happy and one angry clip each; one is tested."""
    home = tmp_path_factory.mktemp("toy")
    for actor in (1, 2, 3, 10):
        for name in ("01-01-01", "01-01-02", "03-01-01", "05-01-01"):
            path = home / "data" / "actors" / f"Actor_{actor:02d}" / f"01-01-{name}-01-{actor:02d}.mp4"
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(good_clip, path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CM_DATA", str(home / "data"))
        patch.setenv("CM_CACHE", str(home / "cache"))
        patch.setattr(experiment, "ROOT", home)
        yield Run("actors", "smoke")


def people(count, shots, seed=0, noise=12):
    """Pictures (count * shots, 32, 32, 3) of coloured blobs: a person's colours stay, a stripe moves as a mood does."""
    rng = np.random.default_rng(seed)
    own = rng.integers(40, 215, (count, 1, 4, 4, 3)).repeat(8, 2).repeat(8, 3)
    pictures = np.tile(own, (1, shots, 1, 1, 1)).astype(float)
    for shot in range(shots):
        pictures[:, shot, 2 * (shot % 12) : 2 * (shot % 12) + 3] += 60
    noisy = pictures + rng.normal(0, noise, pictures.shape)
    return noisy.clip(0, 255).astype(np.uint8).reshape(-1, 32, 32, 3), np.arange(count).repeat(shots)


def as_batch(pictures):
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255


def test_fisherfaces_know_strangers_again_whatever_their_mood():
    who = Fisherfaces(*people(40, 8), components=60, directions=20)
    pictures, names = people(6, 8, seed=1)
    vectors = who(as_batch(pictures))
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-6)
    gallery = np.stack([vectors[names == n][:4].mean(0) for n in range(6)])
    asked = np.tile(np.arange(8) >= 4, 6)
    assert ((vectors @ gallery.T).argmax(1) == names)[asked].mean() > 0.95


def test_typicality_is_a_mahalanobis_distance():
    g = torch.Generator().manual_seed(0)
    mix = torch.randn(5, 5, generator=g)
    train, unseen = (torch.randn(4000, 5, generator=g) @ mix for _ in range(2))
    typical = Typicality(train, unseen)
    far = torch.tensor([[10.0, -3, 2, 0, 1]])
    delta = (far - train.mean(0)).numpy()[0]
    wanted = delta @ np.linalg.inv(np.cov(train.numpy().T)) @ delta
    assert float(typical(far)) == pytest.approx(wanted, rel=0.05)
    assert float((typical(unseen) <= typical.limit).float().mean()) == pytest.approx(0.99, abs=0.002)


def measured():
    rng, rows = np.random.default_rng(0), []
    for t in (0.0, 1.0):
        for actor in range(12):
            for emotion, gain in (("happy", 0.3), ("sad", 0.0)):
                noise = np.random.default_rng(actor).normal(0, 0.02) if t else 0.0
                rows.append({"actor": actor, "emotion": emotion, "strength": t, "judged": 0.2 + t * gain + noise,
                             "named": t == 1 and emotion == "happy", "kept": rng.random() < 0.9, "distance": t * 0.8})  # fmt: skip
    return pd.DataFrame(rows)


def test_congruence_is_the_gain_of_the_judges_probability():
    table = congruence(measured(), 300).set_index(["emotion", "strength"])
    assert table.loc[("happy", 1.0), "value"] == pytest.approx(0.3, abs=0.02)
    assert table.loc[("happy", 1.0), "low"] > 0.25 and table.loc[("sad", 1.0), "low"] < 0
    assert table.loc[("all", 1.0), "named"] == 0.5 and table.loc[("all", 1.0), "before"] == 0
    assert (table.xs(0.0, level="strength").value == 0).all()


def test_shares_that_are_kept():
    table = kept(measured(), 200).set_index(["measure", "strength"]).value
    assert table["typical face", 1.0] == 1 and 0.7 < table["same person", 0.0] <= 1


def test_pairs_share_their_actor(toy_run):
    pairs = representations.neutral_pairs(toy_run)
    table = toy_run.store.clips
    shown = toy_run.frame_clip[pairs.frames]
    assert len(shown) and (table.emotion.iloc[shown] == "neutral").all()
    assert (table.actor.to_numpy()[shown] == table.actor.to_numpy()[pairs.clips]).all()
    assert (toy_run.clip_labels[pairs.clips] >= 0).all()
    both = representations.conflict_pairs(toy_run)
    table_of = lambda rows: table.iloc[rows][["actor", "statement", "repetition"]].to_numpy()  # noqa: E731
    np.testing.assert_array_equal(table_of(toy_run.frame_clip[both.frames]), table_of(both.clips))


def test_measuring_at_strength_zero_is_the_reconstruction(toy_run):
    judge = representations.train_judge(toy_run, epochs=1)
    who = Fisherfaces(*people(12, 6), components=20, directions=8)
    can = Can(toy_run.profile.face.latent, len(toy_run.classes)).eval()
    table = representations.measure(toy_run, can, representations.neutral_pairs(toy_run), judge, who, (0.0, 1.0))
    assert list(table.columns) == ["actor", "emotion", "strength", "judged", "named", "read", "kept", "distance"]
    face = table[table.strength == 0].groupby(["actor", "emotion"]).judged.nunique()
    assert (face <= 2).all() and table.judged.between(0, 1).all()  # two neutral clips: the voice says nothing yet
    assert set(congruence(table, 50).emotion) == {*table.emotion, "all"}
