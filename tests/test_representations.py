"""Witnesses of mental representations, on faces and tables whose truth is known."""

import numpy as np
import pandas as pd
import pytest
import torch

from cmlib import cli
from cmlib.cli.evaluate import percent
from cmlib.evaluation import face_ablations, judges, representations
from cmlib.evaluation.identity import Fisherfaces, Typicality
from cmlib.experiment import run as run_module
from cmlib.experiment.run import Run
from cmlib.models import Can


@pytest.fixture(scope="module")
def run(toy_project):
    """Four actors with two neutral, one happy and one angry clip each; one is tested."""
    return Run("actors", "smoke")


@pytest.fixture
def can(run):
    """An untrained context network."""
    return Can(run.profile.face.latent, len(run.classes)).eval()


# -------------------------------------------------------------------- identity and typicality


def blob_people(count, shots, seed=0, noise=12):
    """Pictures (count * shots, 32, 32, 3) of coloured blobs, and the person in each.

    The colours of a person stay. A stripe moves from shot to shot, as a mood does.
    """
    rng = np.random.default_rng(seed)
    colours = rng.integers(40, 215, (count, 1, 4, 4, 3)).repeat(8, 2).repeat(8, 3)
    pictures = np.tile(colours, (1, shots, 1, 1, 1)).astype(float)
    for shot in range(shots):
        pictures[:, shot, 2 * (shot % 12) : 2 * (shot % 12) + 3] += 60
    noisy = pictures + rng.normal(0, noise, pictures.shape)
    pictures = noisy.clip(0, 255).astype(np.uint8).reshape(-1, 32, 32, 3)
    return pictures, np.arange(count).repeat(shots)


def test_fisherfaces_recognise_unseen_people_in_any_mood():
    fisherfaces = Fisherfaces(*blob_people(40, 8), components=60, directions=20)
    pictures, person = blob_people(6, 8, seed=1)
    vectors = fisherfaces(torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-6)
    first_moods = np.stack([vectors[person == p][:4].mean(0) for p in range(6)])
    other_moods = np.tile(np.arange(8) >= 4, 6)
    nearest = (vectors @ first_moods.T).argmax(1)
    assert (nearest == person)[other_moods].mean() > 0.95


def test_typicality_is_a_mahalanobis_distance_with_the_limit_of_unseen_frames():
    g = torch.Generator().manual_seed(0)
    mix = torch.randn(5, 5, generator=g)
    train, unseen = (torch.randn(4000, 5, generator=g) @ mix for _ in range(2))
    typicality = Typicality(train, unseen)
    far = torch.tensor([[10.0, -3, 2, 0, 1]])
    deviation = (far - train.mean(0)).numpy()[0]
    wanted = deviation @ np.linalg.inv(np.cov(train.numpy().T)) @ deviation
    assert float(typicality(far)) == pytest.approx(wanted, rel=0.05)
    within = (typicality(unseen) <= typicality.limit).float().mean()
    assert float(within) == pytest.approx(0.99, abs=0.002)


# -------------------------------------------------------------------- tables of shares and gains


@pytest.fixture
def measured():
    """A table as of ``measure``, where happy voices raise the probability by 0.3, sad ones not."""
    rng, rows = np.random.default_rng(0), []
    for strength in (0.0, 1.0):
        for actor in range(12):
            for emotion, gain in (("happy", 0.3), ("sad", 0.0)):
                noise = np.random.default_rng(actor).normal(0, 0.02) if strength else 0.0
                rows.append(
                    {
                        "actor": actor,
                        "emotion": emotion,
                        "strength": strength,
                        "probability": 0.2 + strength * gain + noise,
                        "first_choice": strength == 1 and emotion == "happy",
                        "same_person": rng.random() < 0.9,
                        "distance": strength * 0.8,
                    }
                )
    return pd.DataFrame(rows)


def test_congruence_is_the_gain_of_the_judges_probability(measured):
    table = representations.congruence(measured, 300).set_index(["emotion", "strength"])
    assert table.value["happy", 1.0] == pytest.approx(0.3, abs=0.02)
    assert table.low["happy", 1.0] > 0.25 and table.low["sad", 1.0] < 0
    assert table.value["all", 1.0] == pytest.approx(0.15, abs=0.02)
    assert table.first_choice["all", 1.0] == 0.5
    assert table.first_choice_before["all", 1.0] == 0
    assert (table.xs(0.0, level="strength").value == 0).all()


def test_identity_and_typicality_are_shares_of_pictures(measured):
    table = representations.identity_and_typicality(measured, 200)
    shares = table.set_index(["measure", "strength"]).value
    assert shares["typical face", 1.0] == 1
    for strength in (0.0, 1.0):
        rows = measured[measured.strength == strength]
        assert shares["same person", strength] == pytest.approx(rows.same_person.mean())


def test_a_face_beyond_the_limit_is_not_typical(measured):
    measured.loc[measured.strength == 1, "distance"] = [1.01] * 6 + [0.99] * 18
    table = representations.identity_and_typicality(measured, 200)
    assert table.set_index(["measure", "strength"]).value["typical face", 1.0] == 0.75


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
    shares = representations.recognition(table, 200).set_index("pictures")
    assert shares.value.to_dict() == {"real": 0.75, "reconstructed": 0}
    assert shares.low["real"] == 0.5 and shares.high["real"] == 1
    assert shares.emotions.tolist() == [2, 2] and shares.judge.tolist() == ["j", "j"]


# -------------------------------------------------------------------- measuring


def test_a_neutral_face_meets_every_labelled_voice_of_its_actor(run):
    pairs = representations.neutral_pairs(run)
    clips = run.store.clips
    face = clips.iloc[run.frame_clip[pairs.frames]]
    voice = clips.iloc[pairs.clips]
    assert len(pairs.frames) == 4  # two neutral clips, two voices
    assert set(face.emotion) == {"neutral"} and set(voice.emotion) == {"happy", "angry"}
    assert (face.actor.to_numpy() == voice.actor.to_numpy()).all()
    assert set(face.actor) == {2}


def test_at_strength_zero_the_picture_is_the_reconstruction_of_the_face(run, can):
    judge = judges.judge_for_run(run)
    pairs = representations.neutral_pairs(run)
    fisherfaces = Fisherfaces(*blob_people(12, 6), components=20, directions=8)
    table = representations.measure(run, can, pairs, judge, fisherfaces, (0.0, 1.0))
    assert list(table.columns) == [
        "actor", "emotion", "strength", "probability", "first_choice", "network_hit",
        "same_person", "distance",
    ]  # fmt: skip
    mu = run.face_latents.mu[0, pairs.frames]
    with torch.no_grad():
        reconstruction = run.vaegan("face").decoder(mu).clamp(0, 1)
    probabilities = np.exp(judges.predict(judge, reconstruction))
    wanted = probabilities[np.arange(len(mu)), run.clip_labels[pairs.clips]]
    np.testing.assert_allclose(table.probability[table.strength == 0], wanted, rtol=1e-4)
    assert set(representations.congruence(table, 50).emotion) == {"happy", "angry", "all"}


class RedIsHappy(judges.Recogniser):
    """A recogniser of one emotion: a picture is as happy as it is red, or else none of ours."""

    def __init__(self, classes):
        self.classes, self.emotions = classes, ("happy",)

    def __call__(self, pictures):
        p = np.zeros((len(pictures), len(self.classes) + 1))
        p[:, self.classes.index("happy")] = pictures[:, 0].mean((1, 2))
        p[:, -1] = 1 - pictures[:, 0].mean((1, 2))
        return np.log(p.clip(1e-12))


def test_a_judge_is_asked_only_about_emotions_that_it_knows(run, can):
    pairs = representations.neutral_pairs(run)
    judge = RedIsHappy(run.classes)
    table = representations.measure(run, can, pairs, judge, strengths=(0.0, 1.0))
    assert set(table.emotion) == {"happy"} and len(table) == 2 * 2  # two faces, two strengths
    assert "same_person" not in table


def test_frames_are_judged_real_and_reconstructed(run):
    table = representations.judge_frames(run, RedIsHappy(run.classes))
    assert table.pictures.tolist() == ["real", "reconstructed"]
    (clip,) = run.split.test[run.store.clips.emotion.iloc[run.split.test] == "happy"]
    frame = run.store.frames[representations.middle_frames(run)[clip]]
    assert table.probability[0] == pytest.approx(frame[..., 0].mean() / 255, abs=1e-4)
    assert (table.first_choice == (table.probability > 0.5)).all()


def test_congruence_is_printed_as_it_is_measured(run, capsys):
    assert cli.main(["congruence", "--profile", "smoke", "--train"]) == 0
    out = capsys.readouterr().out
    fisherfaces = Fisherfaces.of_crowd(32)
    pairs, judge = representations.neutral_pairs(run), judges.judge_for_run(run)
    table = representations.measure(run, run.can(), pairs, judge, fisherfaces)
    assert f"{len(pairs.frames)} pairs of a neutral face and a voice of 1 test actors" in out

    def printed(start):
        (line,) = (line for line in out.splitlines() if line.startswith(start))
        return line

    gains = representations.congruence(table, run.profile.bootstrap)
    for row in gains[gains.strength == 1].itertuples():
        assert percent(row).strip() in printed(row.emotion)
    shares = representations.identity_and_typicality(table, run.profile.bootstrap)
    for row in shares[shares.strength == 1].itertuples():
        assert percent(row).strip() in printed(row.measure)


# -------------------------------------------------------------------- measures of reconstruction


def test_a_face_variant_differs_in_its_measure_of_reconstruction(run):
    variants = face_ablations.face_variants(run)
    measures = {
        name: (v.profile.face.feature_level, v.profile.face.adversarial_weight > 0)
        for name, v in variants.items()
    }
    assert measures == {
        "as in the profile": (2, False),
        "pixels, no features": (0, False),
        "pixels, no features, adversarial": (0, True),
        "features of level 1": (1, False),
        "features of level 2, adversarial": (2, True),
    }
    assert len({variant.folder for variant in variants.values()}) == 5


def test_face_variants_are_trained_once_and_compared(run, monkeypatch, capsys):
    assert face_ablations.face_ablations(run).empty  # at most the run's own network is there
    assert cli.main(["ablate", "--profile", "smoke"]) == 0
    assert "features of level 2, adversarial" in capsys.readouterr().out
    monkeypatch.setattr(run_module, "train_vaegan", lambda *_, **__: pytest.fail("trained again"))
    table = face_ablations.face_ablations(run, train=True).set_index("change")
    variants = face_ablations.face_variants(run)
    assert list(table.index) == list(variants)

    frames = run.frames_of(run.split.val)
    x = run.faces.batch(frames)
    for name, variant in variants.items():
        with torch.no_grad():
            reconstruction = variant.vaegan("face")(x)[0].clamp(0, 1)
        mse = float((reconstruction - x).square().mean())
        assert table.mse[name] == pytest.approx(mse, rel=1e-4)
    assert table.mse.nunique() == len(variants)
    for reader in ("judge", "probe"):
        assert table[reader].between(0, 1).all()
        assert (table[f"{reader}_low"] <= table[reader]).all()
        assert (table[reader] <= table[f"{reader}_high"]).all()
