"""Scores, robustness, leakage and ablations: predictions by hand, networks of a toy corpus."""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import accuracy_score

from cmlib import cli, metrics
from cmlib.evaluation import ablations, leakage, robustness, scoring
from cmlib.evaluation.scoring import Predictions
from cmlib.experiment.run import MODELS, Run
from cmlib.models import Posterior


@pytest.fixture(scope="module")
def runs(toy_project):
    """Run by fold, on four actors with one happy and one angry clip each; 1 and 2 are trained."""
    runs = {fold: Run("actors", "smoke", fold=fold) for fold in (1, 2)}
    for run in runs.values():
        for model in MODELS:
            run.classifying_network(model)
    return runs


@pytest.fixture
def predictions():
    """Predictions of two models for 240 frames of 60 clips of 6 actors."""
    rng = np.random.default_rng(0)
    clips, labels = np.repeat(np.arange(60), 4), np.repeat(rng.integers(7, size=60), 4)

    def log_probabilities(strength):
        logits = rng.normal(size=(240, 7)) + strength * np.eye(7)[labels]
        return logits - np.logaddexp.reduce(logits, 1, keepdims=True)

    by_model = {"face": log_probabilities(0.5), "can": log_probabilities(1.5)}
    return Predictions(by_model, labels, clips, clips // 10)


# -------------------------------------------------------------------- predictions and scores


def test_predictions_are_about_labelled_frames_of_the_subset(runs):
    for subset, actor in {"validation": 3, "test": 2}.items():
        predictions = scoring.predict(runs[1], subset)
        assert set(predictions.actors) == {actor}
        assert set(predictions.log_probabilities) == set(MODELS)
        emotions = runs[1].store.clips.emotion.to_numpy()[predictions.clips]
        assert set(emotions) == {"happy", "angry"}
        assert [runs[1].classes[k] for k in predictions.labels] == emotions.tolist()
    with pytest.raises(ValueError, match="subset 'training': choose validation or test"):
        scoring.predict(runs[1], "training")


def test_every_model_gets_every_score(predictions):
    table = scoring.score(predictions, 100)
    assert (
        len(table) == 6 and (table.low <= table.value).all() and (table.value <= table.high).all()
    )
    values = table.set_index(["model", "score"]).value
    hits = predictions.by_clip().hits()
    for model, log_p in predictions.log_probabilities.items():
        frame_accuracy = accuracy_score(predictions.labels, log_p.argmax(1))
        assert values[model, "frame_accuracy"] == frame_accuracy
        assert values[model, "clip_accuracy"] == hits[model].mean()


def test_folds_are_pooled_over_all_actors(runs):
    table, predictions = scoring.score_runs([runs[1], runs[2]])
    assert set(predictions.actors) == {2, 3} and len(set(predictions.clips)) == 4
    row = table.set_index(["model", "score"]).loc[("can", "clip_accuracy")]
    accuracy_of_fold = [
        scoring.predict(runs[fold]).by_clip().hits()["can"].mean() for fold in (1, 2)
    ]
    assert row["mean"] == row.value == np.mean(accuracy_of_fold)
    assert row["sd"] == np.std(accuracy_of_fold, ddof=1) and row["count"] == 2


def test_clips_of_two_seeds_stay_apart_but_their_actors_do_not(predictions):
    both = scoring.concatenate([predictions, predictions])
    assert len(set(both.clips)) == 120 and len(set(both.actors)) == 6
    np.testing.assert_array_equal(both.by_clip().labels, np.tile(predictions.by_clip().labels, 2))


def test_differences_are_those_of_the_clips(predictions):
    table = scoring.differences(predictions, "can", 200).set_index("other")
    assert table.index.tolist() == ["face"]
    clips = predictions.by_clip()
    can, face = clips.hits()["can"], clips.hits()["face"]
    assert table.value["face"] == pytest.approx(can.mean() - face.mean())
    assert table.value["face"] > 0.1
    assert table.p["face"] == metrics.paired_difference(can, face, clips.actors, 10)["p"]
    assert table.p["face"] >= 2 / 2**6


def test_calibration_is_measured_on_clips(predictions):
    table, bins = scoring.calibration(predictions)
    table = table.set_index("model")
    assert table.accuracy["can"] == predictions.by_clip().hits()["can"].mean()
    assert bins.groupby("model")["count"].sum().tolist() == [60, 60]
    can = bins[bins.model == "can"]
    gap = (can["count"] * (can.accuracy - can.confidence).abs()).sum() / 60
    assert table.calibration_error["can"] == pytest.approx(gap)
    assert table.confidence["can"] == pytest.approx((can["count"] * can.confidence).sum() / 60)


# -------------------------------------------------------------------- robustness


@pytest.mark.parametrize("snr", [20, 0, -5])
def test_noise_has_the_ratio_it_is_asked_for(snr):
    wave = np.sin(np.arange(40_000) / 7).astype(np.float32)
    noise = robustness.add_noise(wave, snr, np.random.default_rng(0)) - wave
    assert 10 * np.log10(np.mean(wave**2) / np.mean(noise**2)) == pytest.approx(snr, abs=0.01)


def test_blur_takes_contrast_and_leaves_the_mean():
    pictures = np.random.default_rng(0).integers(0, 256, (3, 20, 20, 3), np.uint8)
    blurred = robustness.blur(pictures, 2)
    assert blurred.std() < 0.3 * pictures.std() and abs(blurred.mean() - pictures.mean()) < 3
    np.testing.assert_array_equal(robustness.blur(np.full_like(pictures, 90), 2), 90)


def test_a_bar_covers_its_rows_and_no_others():
    pictures = np.random.default_rng(0).integers(0, 256, (3, 20, 20, 3), np.uint8)
    covered = robustness.cover(pictures, (0.25, 0.5))
    assert (covered[:, 5:10] == 128).all()
    np.testing.assert_array_equal(covered[:, :5], pictures[:, :5])
    np.testing.assert_array_equal(covered[:, 10:], pictures[:, 10:])


def test_robustness_disturbs_one_sense_at_a_time(runs):
    table = robustness.robustness(runs[1])
    conditions = 1 + len(robustness.SNRS) + len(robustness.BLURS) + len(robustness.BARS) + 3
    assert len(table) == len(MODELS) * conditions
    value = table.pivot_table(index=["disturbance", "level"], columns="model", values="value")
    undisturbed = scoring.predict(runs[1]).by_clip().hits()
    for name in MODELS:
        assert value.loc[("nothing", ""), name] == undisturbed[name].mean()
    assert (value.loc["noise in the voice", "face"] == value.loc[("nothing", ""), "face"]).all()
    assert (value.loc["blurred face", "voice"] == value.loc[("nothing", ""), "voice"]).all()


def test_without_its_sense_a_model_gives_one_answer_to_every_clip(runs):
    """So it is right about at most one of a happy and an angry clip."""
    table = robustness.robustness(runs[1], models=("face", "voice"))
    value = table.set_index(["level", "model"]).value
    for level, model in (("mean face", "face"), ("mean voice", "voice"), ("silence", "voice")):
        assert value[level, model] in (0, 0.5)


def test_a_sample_of_clips_has_every_emotion():
    emotions = ["z"] * 100 + ["a"] * 20 + ["b"] * 10 + ["c"] * 6
    run = SimpleNamespace(store=SimpleNamespace(clips=pd.DataFrame({"emotion": emotions})))
    clips = np.arange(100, 136)
    sample = robustness.sample_clips(run, clips, 12)
    assert (np.diff(sample) > 0).all()
    assert pd.Series(emotions)[sample].value_counts().to_dict() == {"a": 4, "b": 4, "c": 4}
    np.testing.assert_array_equal(robustness.sample_clips(run, clips, 140), clips)


# -------------------------------------------------------------------- leakage and ablations


@pytest.fixture
def strangers():
    """A run whose 24 actors each have a code of emotions of their own; actors take turns."""
    rng = np.random.default_rng(0)
    actors, labels = np.tile(np.arange(1, 25), 28), np.repeat(np.arange(28) % 7, 24)
    code = rng.normal(size=(25, 7, 300))
    run = Run("actors", "smoke")
    latents = torch.from_numpy(code[actors, labels] + 0.3 * rng.normal(size=(672, 300)))[None]
    run.__dict__.update(
        store=SimpleNamespace(clips=pd.DataFrame({"actor": actors, "n_frames": 1}), has_faces=True),
        clip_labels=labels,
        frame_clip=np.arange(672),
        face_latents=Posterior(latents, latents),
    )
    return run


def test_leakage_helps_even_where_actors_have_nothing_in_common(strangers):
    """A code of emotions helps with more clips of the same actor, and not with strangers."""
    table = leakage.leakage(strangers).set_index("split").value
    assert table["actors apart"] < 0.3 < 0.8 < table["random split"]
    assert table["strangers, actors apart"] < 0.3 < 0.8 < table["strangers, clips mixed"]


def test_mixed_clips_are_not_folds_of_actors_although_actors_take_turns(strangers):
    actors = strangers.store.clips.actor.to_numpy()[strangers.frames_of(strangers.split.val)]
    for together, shared in (("actor", 0), ("clip", 5)):
        for train, test in leakage.strangers_folds(strangers, together):
            assert len(set(actors[train]) & set(actors[test])) == shared
    assert leakage.tested_together(strangers, "actor") != leakage.tested_together(strangers, "clip")


ONE_CHANGE = {"KL weight 1": {"kl_weight": 1.0}, "nothing": {}}


def test_an_ablation_measures_what_a_change_does(runs):
    run = runs[1]
    table = ablations.ablations(run, ONE_CHANGE, strengths=(0.0,)).set_index("change")
    assert list(table.index) == ["as in the profile", "strength 0", "KL weight 1"]
    frames = run.frames_of(run.split.val)
    scores = run.scores(run.log_probabilities("can", frames), frames)
    assert table.value["as in the profile"] == scores["clip_accuracy"]["value"]
    assert abs(table.kl["strength 0"]) < 1e-3
    assert table.kl["strength 0"] < table.kl["KL weight 1"] < table.kl["as in the profile"]
    assert table["shift"]["strength 0"] == 0 < table["shift"]["as in the profile"]


def test_an_ablation_is_trained_once(runs, monkeypatch):
    first = ablations.ablations(runs[1], ONE_CHANGE, strengths=())
    for card_file in (runs[1].folder / "ablations").glob("can-*.json"):
        card = json.loads(card_file.read_text())
        del card["provenance"]["settings"]["can"]["imagined"]  # as if it were newer
        card_file.write_text(json.dumps(card))
    monkeypatch.setattr(Run, "train_can", lambda *_: pytest.fail("trained again"))
    again = ablations.ablations(runs[1], ONE_CHANGE, strengths=())
    columns = first.columns.drop("seconds")
    pd.testing.assert_frame_equal(again[columns], first[columns])


# -------------------------------------------------------------------- cm evaluate


def evaluate(*arguments):
    return cli.main(["evaluate", "--profile", "smoke", *arguments])


def test_evaluate_prints_the_folds_that_are_trained_and_names_the_others(runs, capsys):
    assert evaluate("--fold", "all") == 0
    out, err = capsys.readouterr()
    validation = out.index("validation: 4 clips of 2 actors")
    assert validation < out.index("test: 4 clips of 2 actors")
    for text in ("chance 14.3 %", "context attention minus face only", "±"):
        assert text in out
    assert "fold 3, 4, 5" in err and "FOLD=3" in err


def test_evaluate_without_any_trained_network_says_how_to_train_them(runs, capsys):
    assert evaluate("--fold", "3") == 1
    assert "make reproduce CORPUS=actors PROFILE=smoke SEED=0 FOLD=3" in capsys.readouterr().err


def test_evaluate_pools_seeds_and_trains_those_that_are_missing(runs, capsys):
    assert evaluate("--fold", "1", "--seed", "0-1") == 0
    out, err = capsys.readouterr()
    assert "seed 1, fold 1; train with" in err and "SEED=1 FOLD=1" in err and "±" not in out

    assert evaluate("--fold", "1", "--seed", "0-1", "--train") == 0
    out = capsys.readouterr().out
    assert not scoring.missing_networks(Run("actors", "smoke", seed=1))
    assert "seed 0, 1: 7 classes" in out and "± sd of 2 folds and seeds" in out
    assert "4 answers of networks of 2 seeds about clips of 1 actors" in out


@pytest.mark.parametrize("wrong", [["--fold", "6"], ["--seed", "x"]])
def test_evaluate_refuses_folds_and_seeds_that_do_not_exist(wrong):
    with pytest.raises(SystemExit):
        evaluate(*wrong)
