"""Witnesses of mental representations, on made-up faces whose truth is known."""

import shutil
import sys
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
import torch

from cmlib import cli, files
from cmlib.cli.evaluate import percent
from cmlib.evaluation import face_ablations, judges, representations
from cmlib.evaluation.identity import Fisherfaces, Typicality
from cmlib.evaluation.judges import Recogniser
from cmlib.evaluation.representations import congruence, identity_and_typicality
from cmlib.experiment import run
from cmlib.experiment.run import Run
from cmlib.models import Can


@pytest.fixture(scope="module")
def toy_run(tmp_path_factory, good_clip):
    """Run on four actors with two neutral, one happy and one angry clip each; one is tested."""
    home = tmp_path_factory.mktemp("toy")
    for actor in (1, 2, 3, 10):
        for name in ("01-01-01", "01-01-02", "03-01-01", "05-01-01"):
            path = (
                home / "data" / "actors" / f"Actor_{actor:02d}" / f"01-01-{name}-01-{actor:02d}.mp4"
            )
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(good_clip, path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CM_DATA", str(home / "data"))
        patch.setenv("CM_CACHE", str(home / "cache"))
        patch.setattr(files, "ROOT", home)
        yield Run("actors", "smoke")


def people(count, shots, seed=0, noise=12):
    """Pictures (count * shots, 32, 32, 3) of coloured blobs: a person's colours stay, a stripe moves as a mood does."""
    rng = np.random.default_rng(seed)
    own = rng.integers(40, 215, (count, 1, 4, 4, 3)).repeat(8, 2).repeat(8, 3)
    pictures = np.tile(own, (1, shots, 1, 1, 1)).astype(float)
    for shot in range(shots):
        pictures[:, shot, 2 * (shot % 12) : 2 * (shot % 12) + 3] += 60
    noisy = pictures + rng.normal(0, noise, pictures.shape)
    return noisy.clip(0, 255).astype(np.uint8).reshape(-1, 32, 32, 3), np.arange(count).repeat(
        shots
    )


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
    assert float((typical(unseen) <= typical.limit).float().mean()) == pytest.approx(
        0.99, abs=0.002
    )


def measured():
    rng, rows = np.random.default_rng(0), []
    for t in (0.0, 1.0):
        for actor in range(12):
            for emotion, gain in (("happy", 0.3), ("sad", 0.0)):
                noise = np.random.default_rng(actor).normal(0, 0.02) if t else 0.0
                rows.append(
                    {
                        "actor": actor,
                        "emotion": emotion,
                        "strength": t,
                        "probability": 0.2 + t * gain + noise,
                        "first_choice": t == 1 and emotion == "happy",
                        "same_person": rng.random() < 0.9,
                        "distance": t * 0.8,
                    }
                )
    return pd.DataFrame(rows)


def test_congruence_is_the_gain_of_the_judges_probability():
    table = congruence(measured(), 300).set_index(["emotion", "strength"])
    assert table.loc[("happy", 1.0), "value"] == pytest.approx(0.3, abs=0.02)
    assert table.loc[("happy", 1.0), "low"] > 0.25 and table.loc[("sad", 1.0), "low"] < 0
    assert (
        table.loc[("all", 1.0), "first_choice"] == 0.5
        and table.loc[("all", 1.0), "first_choice_before"] == 0
    )
    assert (table.xs(0.0, level="strength").value == 0).all()


def test_shares_that_are_kept():
    table = identity_and_typicality(measured(), 200).set_index(["measure", "strength"]).value
    assert table["typical face", 1.0] == 1 and 0.7 < table["same person", 0.0] <= 1


def test_pairs_share_their_actor(toy_run):
    pairs = representations.neutral_pairs(toy_run)
    table = toy_run.store.clips
    shown = toy_run.frame_clip[pairs.frames]
    assert len(shown) and (table.emotion.iloc[shown] == "neutral").all()
    assert (table.actor.to_numpy()[shown] == table.actor.to_numpy()[pairs.clips]).all()
    assert (toy_run.clip_labels[pairs.clips] >= 0).all()


@pytest.mark.parametrize(
    "teachers, parts",
    [("others", ("train", "val")), ("validation", ("val",)), ("training", ("train",))],
)
def test_a_judge_learns_from_whom_it_should_and_only_once(toy_run, monkeypatch, teachers, parts):
    met, train = [], judges._train
    monkeypatch.setattr(
        judges, "_train", lambda faces, rows, *a: met.append(rows) or train(faces, rows, *a)
    )
    first, second = (judges.judge_for_run(toy_run, teachers, epochs=1) for _ in range(2))
    actors = toy_run.store.clips.actor.to_numpy()
    wanted = {a for part in parts for a in actors[getattr(toy_run.split, part)]}
    assert len(met) == 1 and set(actors[toy_run.frame_clip[met[0]]]) == wanted
    x = toy_run.faces.batch(np.arange(4))
    np.testing.assert_array_equal(judges.predict(first, x), judges.predict(second, x))


CLASSES = ("calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")


@pytest.fixture
def network(tmp_path, monkeypatch):
    """A package facex and a runtime: its network says "happy" as far as the picture is red, else "neutral"."""
    (tmp_path / "facex" / "assets").mkdir(parents=True)
    (tmp_path / "facex" / "__init__.py").write_text("raise ImportError('tensorflow')")
    (tmp_path / "facex" / "assets" / "model_optimized.tflite").write_bytes(b"weights")
    (tmp_path / "ai_edge_litert").mkdir()
    (tmp_path / "ai_edge_litert" / "__init__.py").write_text("")

    class Interpreter:
        def __init__(self, file, num_threads):
            assert open(file, "rb").read() == b"weights"

        def allocate_tensors(self):
            self.seen = []

        def get_input_details(self):
            return [{"index": 0, "shape": np.array([1, 8, 8, 3])}]

        def get_output_details(self):
            return [{"index": 1}]

        def set_tensor(self, index, x):
            assert x.shape == (1, 8, 8, 3) and x.dtype == np.float32
            self.seen.append(x[0])

        def invoke(self):
            pass

        def get_tensor(self, index):
            red = self.seen[-1][..., 0].mean()
            return np.array([[0, 0, 0, red, 1 - red, 0, 0]], np.float32)

    monkeypatch.syspath_prepend(tmp_path)
    runtime = ModuleType("ai_edge_litert.interpreter")
    runtime.Interpreter = Interpreter
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", runtime)


def test_a_recogniser_is_asked_in_our_classes(network):
    recogniser = Recogniser(CLASSES)
    assert recogniser.emotions == CLASSES[1:]
    x = torch.zeros(2, 3, 40, 40)
    x[0, 0] = 0.8
    p = np.exp(judges.predict(recogniser, x))
    assert p.shape == (2, 8)
    np.testing.assert_allclose(
        p, [[0, 0.8, 0, 0, 0, 0, 0, 0.2], [0, 0, 0, 0, 0, 0, 0, 1]], atol=1e-6
    )
    assert (recogniser.network.seen[0][..., 1:] == 0).all()
    p = np.exp(
        Recogniser(("neutral", "contempt", *CLASSES[1:]))(x)
    )  # as in MEAD with neutral as a class
    np.testing.assert_allclose(p[0], [0.2, 0, 0.8, 0, 0, 0, 0, 0, 0], atol=1e-6)


def test_a_recogniser_that_is_not_installed_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(judges, "find_spec", lambda name: None)
    with pytest.raises(
        ModuleNotFoundError,
        match="pip install -e '.\\[recogniser\\]' && pip install --no-deps facex==1.1.0",
    ):
        Recogniser(CLASSES)


def test_the_recogniser_that_is_installed_reads_a_face():
    try:
        recogniser = Recogniser(CLASSES)
    except ModuleNotFoundError as error:
        pytest.skip(str(error))
    p = np.exp(recogniser(torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))))
    np.testing.assert_allclose(p.sum(1), 1, atol=1e-3)
    assert (p[:, 0] < 1e-9).all() and len(np.unique(p[:, 1:], axis=0)) == 3


def test_a_judge_is_asked_only_what_it_knows(toy_run, network):
    recogniser, can = (
        Recogniser(toy_run.classes),
        Can(toy_run.profile.face.latent, len(toy_run.classes)).eval(),
    )
    recogniser.emotions = ("happy",)
    pairs = representations.neutral_pairs(toy_run)
    table = representations.measure(toy_run, can, pairs, recogniser, strengths=(0.0, 1.0))
    assert (
        set(table.emotion) == {"happy"}
        and len(table) == len(pairs.clips)
        and "same_person" not in table
    )
    seen = representations.judge_frames(toy_run, recogniser)
    assert set(seen.emotion) == {"happy"} and list(dict.fromkeys(seen.pictures)) == [
        "real",
        "reconstructed",
    ]
    frames = toy_run.store.frames[
        representations.middle_frames(toy_run)[toy_run.store.clips.emotion == "happy"]
    ]
    red = [f[..., 0].mean() / 255 for f in frames]
    assert min(red) - 0.05 < seen.probability[seen.pictures == "real"].iloc[0] < max(red) + 0.05
    assert (seen.first_choice == (seen.probability > 0.5)).all()


def test_recognition_is_a_share_of_first_choices():
    table = pd.DataFrame(
        {
            "judge": "j",
            "pictures": ["real"] * 4 + ["reconstructed"] * 4,
            "actor": [1, 1, 2, 2] * 2,
            "emotion": ["happy", "sad"] * 4,
            "first_choice": [True, True, True, False] + [False] * 4,
        }
    )
    found = representations.recognition(table, 200).set_index("pictures")
    assert (
        found.value.tolist() == [0.75, 0] and found.low["real"] == 0.5 and found.high["real"] == 1
    )
    assert found.emotions.tolist() == [2, 2]


def test_face_variants_are_trained_once_and_compared(toy_run, monkeypatch, capsys):
    assert face_ablations.face_ablations(toy_run).empty  # at most the run's own network is there
    assert cli.main(["ablate", "--profile", "smoke"]) == 0
    assert "features of level 2, adversarial" in capsys.readouterr().out
    monkeypatch.setattr(run, "train_vaegan", lambda *a, **k: pytest.fail("trained again"))
    table = face_ablations.face_ablations(toy_run, train=True).set_index("change")
    variants = face_ablations.face_variants(toy_run)
    assert list(table.index) == list(variants) and len(variants) == 5
    level = {
        name: (v.profile.face.feature_level, v.profile.face.adversarial_weight > 0)
        for name, v in variants.items()
    }
    assert level == {
        "as in the profile": (2, False),
        "pixels, no features": (0, False),
        "pixels, no features, adversarial": (0, True),
        "features of level 1": (1, False),
        "features of level 2, adversarial": (2, True),
    }
    asked = toy_run.frames_of(toy_run.split.val)
    x = toy_run.faces.batch(asked)
    for name, variant in variants.items():
        drawn = variant.vaegan("face")(x)[0].clamp(0, 1)
        assert table.mse[name] == pytest.approx(float((drawn - x).square().mean()), rel=1e-4)
    assert table.mse.nunique() == 5 and table[["judge", "probe"]].apply(
        lambda c: c.between(0, 1)
    ).all(axis=None)


def test_measuring_at_strength_zero_is_the_reconstruction(toy_run):
    judge = judges.judge_for_run(toy_run, epochs=1)
    who = Fisherfaces(*people(12, 6), components=20, directions=8)
    can = Can(toy_run.profile.face.latent, len(toy_run.classes)).eval()
    table = representations.measure(
        toy_run, can, representations.neutral_pairs(toy_run), judge, who, (0.0, 1.0)
    )
    assert list(table.columns) == [
        "actor",
        "emotion",
        "strength",
        "probability",
        "first_choice",
        "network_hit",
        "same_person",
        "distance",
    ]
    face = table[table.strength == 0].groupby(["actor", "emotion"]).probability.nunique()
    assert (face <= 2).all() and table.probability.between(
        0, 1
    ).all()  # two neutral clips: the voice says nothing yet
    assert set(congruence(table, 50).emotion) == {*table.emotion, "all"}


def test_congruence_is_printed_as_it_is_measured(toy_run, capsys):
    assert cli.main(["congruence", "--profile", "smoke", "--train"]) == 0
    out = capsys.readouterr().out
    who = Fisherfaces.of_crowd(32)
    pairs, judged = representations.neutral_pairs(toy_run), judges.judge_for_run(toy_run)
    table = representations.measure(toy_run, toy_run.can(), pairs, judged, who)
    gains = congruence(table, toy_run.profile.bootstrap)
    assert f"{len(pairs.frames)} pairs of a neutral face and a voice of 1 test actors" in out
    for row in gains[gains.strength == 1].itertuples():
        (line,) = (line for line in out.splitlines() if line.startswith(row.emotion))
        assert percent(row).strip() in line
    assert "same person" in out and "typical face" in out
