"""Evaluation on a toy corpus and on made-up answers: against scikit-learn, and what a disturbance must not touch."""

import shutil
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import accuracy_score, balanced_accuracy_score

from cmlib import cli, files, metrics
from cmlib.evaluation import ablations, leakage, robustness, scoring
from cmlib.evaluation.scoring import Predictions
from cmlib.experiment.run import MODELS, Run
from cmlib.models import Posterior
from cmlib.plots import figures


@pytest.fixture(scope="module")
def toy(tmp_path_factory, good_clip):
    """Run(fold) on 8 clips of 4 actors, one of them in each of four folds; networks of fold 1 and 2 are trained."""
    home = tmp_path_factory.mktemp("toy")
    for actor in (1, 2, 3, 10):
        for emotion in (3, 5):
            path = (
                home
                / "data"
                / "actors"
                / f"Actor_{actor:02d}"
                / f"01-01-{emotion:02d}-01-01-01-{actor:02d}.mp4"
            )
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(good_clip, path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CM_DATA", str(home / "data"))
        patch.setenv("CM_CACHE", str(home / "cache"))
        patch.setattr(files, "ROOT", home)
        runs = {fold: Run("actors", "smoke", fold=fold) for fold in range(1, 6)}
        for fold in (1, 2):
            for model in MODELS:
                runs[fold].reader(model)
        yield runs


@pytest.fixture
def made_up():
    """Answers of two models about 240 frames of 60 clips of 6 actors."""
    rng = np.random.default_rng(0)
    clips, labels = np.repeat(np.arange(60), 4), np.repeat(rng.integers(7, size=60), 4)

    def say(strength):
        logits = rng.normal(size=(240, 7)) + strength * np.eye(7)[labels]
        return logits - np.logaddexp.reduce(logits, 1, keepdims=True)

    return Predictions({"face": say(0.5), "can": say(1.5)}, labels, clips, clips // 10)


def test_scores_are_scikit_learns(toy):
    answers = scoring.predict(toy[1])
    assert set(answers.actors) == {2} and set(answers.log_probabilities) == set(MODELS)
    found = scoring.score(answers, 100).set_index(["model", "score"]).value
    for name, p in answers.log_probabilities.items():
        assert found[name, "frame_accuracy"] == accuracy_score(answers.labels, p.argmax(1))
        clips = pd.DataFrame(p).groupby(answers.clips).mean().to_numpy().argmax(1)
        truth = pd.Series(answers.labels).groupby(answers.clips).first()
        assert found[name, "clip_accuracy"] == accuracy_score(truth, clips)
        assert found[name, "unweighted_average_recall"] == balanced_accuracy_score(truth, clips)


def test_folds_are_pooled_over_all_actors(toy):
    table, answers = scoring.score_runs([toy[1], toy[2]])
    assert set(answers.actors) == {2, 3} and len(set(answers.clips)) == 4
    own = table.set_index(["model", "score"]).loc[("can", "clip_accuracy")]
    each = [
        scoring.score(scoring.predict(toy[f]), 1)
        .set_index(["model", "score"])
        .value["can", "clip_accuracy"]
        for f in (1, 2)
    ]
    assert (
        own["mean"] == own.value == np.mean(each)
        and own["sd"] == np.std(each, ddof=1)
        and own["count"] == 2
    )


def test_seeds_of_one_fold_stay_apart_but_their_actors_do_not(made_up):
    both = scoring.concatenate([made_up, made_up])
    assert len(set(both.clips)) == 120 and len(set(both.actors)) == 6
    np.testing.assert_array_equal(both.by_clip().labels, np.tile(made_up.by_clip().labels, 2))


def test_differences_are_those_of_the_clips(made_up):
    table = scoring.differences(made_up, "can", 200).set_index("other")
    clips = made_up.by_clip()
    hits = clips.hits()
    assert (
        table.value["face"] == pytest.approx(hits["can"].mean() - hits["face"].mean())
        and table.value["face"] > 0.1
    )
    assert (
        table.p["face"]
        == metrics.paired_difference(hits["can"], hits["face"], clips.actors, 10)["p"]
        >= 2 / 2**6
    )


def test_calibration(made_up):
    table, bars = scoring.calibration(made_up)
    clips = made_up.by_clip()
    assert table.set_index("model").accuracy["can"] == clips.hits()["can"].mean()
    assert (
        bars.groupby("model")["count"].sum().tolist() == [60, 60]
        and (table.confidence > 1 / 7).all()
    )


@pytest.mark.parametrize("snr", [20, 0, -5])
def test_noise_has_the_ratio_it_is_asked_for(snr):
    wave = np.sin(np.arange(40_000) / 7).astype(np.float32)
    noise = robustness.add_noise(wave, snr, np.random.default_rng(0)) - wave
    assert 10 * np.log10(np.mean(wave**2) / np.mean(noise**2)) == pytest.approx(snr, abs=0.01)


def test_blur_and_bars_touch_what_they_should():
    frames = np.random.default_rng(0).integers(0, 256, (3, 20, 20, 3), np.uint8)
    soft = robustness.blur(frames, 2)
    assert soft.std() < 0.3 * frames.std() and abs(soft.mean() - frames.mean()) < 3
    np.testing.assert_array_equal(robustness.blur(np.full_like(frames, 90), 2), 90)
    bar = robustness.cover(frames, (0.25, 0.5))
    assert (
        (bar[:, 5:10] == 128).all()
        and (bar[:, :5] == frames[:, :5]).all()
        and (bar[:, 10:] == frames[:, 10:]).all()
    )


def test_robustness_disturbs_one_sense_at_a_time(toy):
    table = robustness.robustness(toy[1])
    assert len(table) == len(MODELS) * (
        1 + len(robustness.SNRS) + len(robustness.BLURS) + len(robustness.BARS) + 3
    )
    value = table.pivot_table(index=["disturbance", "level"], columns="model", values="value")
    undisturbed = scoring.predict(toy[1]).by_clip().hits()
    for name in MODELS:
        assert value.loc[("nothing", ""), name] == undisturbed[name].mean()
    assert (value.loc["noise in the voice", "face"] == value.loc[("nothing", ""), "face"]).all()
    assert (value.loc["blurred face", "voice"] == value.loc[("nothing", ""), "voice"]).all()
    assert (
        value.loc[("missing sense", "silence"), "voice"] == 0.5
    )  # one answer for both of two emotions, or neither
    assert value.loc[("missing sense", "mean face"), "face"] in (0, 0.5)


def test_a_choice_of_clips_has_every_emotion(toy):
    clips = pd.DataFrame({"emotion": np.repeat(list("abc"), [20, 10, 6])}, index=range(100, 136))
    run = SimpleNamespace(
        store=SimpleNamespace(clips=pd.concat([pd.DataFrame({"emotion": ["z"] * 100}), clips]))
    )
    chosen = robustness.sample_clips(run, np.arange(100, 136), 12)
    assert (np.diff(chosen) > 0).all() and clips.emotion[chosen].value_counts().tolist() == [
        4,
        4,
        4,
    ]
    np.testing.assert_array_equal(
        robustness.sample_clips(run, np.arange(100, 136), None), np.arange(100, 136)
    )


def test_leakage_helps_where_every_actor_speaks_a_language_of_their_own():
    """Latents that say the emotion in a code of each actor's: nothing carries over to strangers, all to other clips."""
    rng = np.random.default_rng(0)
    actors, labels = np.repeat(np.arange(1, 25), 28), np.tile(np.arange(7), 96)
    code = rng.normal(size=(25, 7, 300))
    run = Run("actors", "smoke")
    latents = torch.from_numpy(code[actors, labels] + 0.3 * rng.normal(size=(672, 300)))[None]
    run.__dict__.update(
        store=SimpleNamespace(clips=pd.DataFrame({"actor": actors, "n_frames": 1}), has_faces=True),
        clip_labels=labels,
        frame_clip=np.arange(672),
        face_latents=Posterior(latents, latents),
        voice_latents=Posterior(latents[0], latents[0]),
    )
    table = leakage.leakage(run).set_index(["sense", "split"]).value
    assert table["face", "actors apart"] < 0.3 < 0.8 < table["face", "clips mixed"]
    assert ("voice", "frames mixed") not in table.index and ("face", "frames mixed") in table.index


def test_ablations_train_what_differs_and_only_once(toy, monkeypatch):
    settings = {"KL weight 1": {"kl_weight": 1.0}, "nothing": {}}
    table = (
        ablations.ablations(toy[1], settings, strengths=(0.0,))
        .set_index("change")
        .drop(columns="seconds")
    )
    monkeypatch.setattr(Run, "train_can", lambda *a: pytest.fail("trained again"))
    again = ablations.ablations(toy[1], settings, strengths=(0.0,)).set_index("change")
    pd.testing.assert_frame_equal(again.drop(columns="seconds"), table)
    assert list(table.index) == ["as in the profile", "strength 0", "KL weight 1"]
    rows = toy[1].frames_of(toy[1].split.val)
    assert (
        table.value["as in the profile"]
        == toy[1].scores(toy[1].log_probabilities("can", rows), rows)["clip_accuracy"]["value"]
    )
    assert (
        abs(table.kl["strength 0"]) < 1e-3 < table.kl["KL weight 1"] < table.kl["as in the profile"]
    )
    assert table["shift"]["strength 0"] == 0 < table["shift"]["as in the profile"]


def test_evaluate_prints_validation_then_test_and_names_what_is_not_trained(toy, capsys):
    assert cli.main(["evaluate", "--profile", "smoke", "--fold", "all"]) == 0
    out, err = capsys.readouterr()
    assert (
        out.index("validation: 4 clips of 2 actors") < out.index("test: 4 clips of 2 actors")
        and "chance 14.3 %" in out
    )
    assert (
        "context attention minus face only" in out
        and "±" in out
        and "FOLD=3" in err
        and "fold 3, 4, 5" in err
    )
    assert cli.main(["evaluate", "--profile", "smoke", "--fold", "3"]) == 1
    assert "make reproduce CORPUS=actors PROFILE=smoke SEED=0 FOLD=3" in capsys.readouterr().err
    assert cli.main(["evaluate", "--profile", "smoke", "--fold", "5", "--train"]) == 0
    assert "fold 5, seed 0" in capsys.readouterr().out and not scoring.missing_networks(
        Run("actors", "smoke", fold=5)
    )
    assert cli.main(["evaluate", "--profile", "smoke", "--fold", "5", "--seed", "0-1"]) == 0
    out, err = capsys.readouterr()
    assert "seed 1, fold 5; train with" in err and "SEED=1 FOLD=5" in err and "±" not in out
    assert (
        cli.main(["evaluate", "--profile", "smoke", "--fold", "5", "--seed", "0-1", "--train"]) == 0
    )
    out = capsys.readouterr().out
    assert (
        "seed 0, 1: 7 classes" in out
        and "4 answers of networks of 2 seeds about clips of 1 actors" in out
    )
    assert "± sd of 2 folds and seeds" in out
    for wrong in (["--fold", "6"], ["--seed", "x"]):
        with pytest.raises(SystemExit):
            cli.main(["evaluate", *wrong])


def test_tables_are_drawn_as_they_are(made_up):
    table, bars = scoring.calibration(made_up)
    fig = figures.reliability(bars)
    assert [ax.get_title(loc="left") for ax in fig.axes] == ["face only", "context attention"]
    for ax, (_, own) in zip(fig.axes, bars.groupby("model", sort=False)):
        np.testing.assert_array_equal(ax.lines[1].get_xydata(), own[["confidence", "accuracy"]])
    rows = [
        ("a", x, g, 0.1 * i, 0, 1)
        for i, (x, g) in enumerate([("one", "face"), ("one", "can"), ("two", "can")])
    ]
    names = ["panel", "x", "group", "value", "low", "high"]
    points = pd.DataFrame([*rows, ("b", "one", "can", 0.9, 0.8, 1)], columns=names)
    left, right = figures.point_panels(points, "score", 1 / 7, (0, 1)).axes
    assert [t.get_text() for t in left.get_xticklabels()] == ["one", "two"] and left.get_ylim() == (
        0,
        1,
    )
    assert left.lines[1].get_ydata().tolist() == [0.1, 0.2] and right.lines[
        1
    ].get_ydata().tolist() == [0.9]
