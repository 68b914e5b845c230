"""The training of the face network of photographs, on a few dozen drawn faces."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import ROOT, face
from PIL import Image

from cmlib import checkpoints, provenance
from cmlib.corpora import CorpusError
from cmlib.corpora.names import CLASSES
from cmlib.evaluation.judges import PartialJudge
from cmlib.models import ObserverNetwork, VaeGan
from cmlib.models.observers import OBSERVED_EMOTIONS
from cmlib.training.loop import launch
from tools.photographs import data, kept
from tools.photographs.__main__ import main
from tools.photographs.components import of_training_pictures
from tools.photographs.losses import (
    added_detail,
    detail_strength,
    detail_strength_error,
    edge_strength_error,
)
from tools.photographs.observers import COLUMNS
from tools.photographs.represent import MODELS, summarise
from tools.photographs.train import PhotographTraining, Recipe, directions

SMALL = (
    "--latent 8 --width 0.0625 --steps 4 --round-steps 2 --celeba-batch 6 --performers-batch 4"
    " --moved-batch 3 --space-to-depth 2 --strength-weight 1 --pair-batch 3 --pair-weight 1"
).split()


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Twelve people as CelebA has them, five performers of seven emotions, and two strangers."""
    home = tmp_path_factory.mktemp("photographs")
    rng = np.random.default_rng(0)

    def save(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        skin = tuple(int(value) for value in rng.integers((170, 120, 90), (240, 190, 160)))
        Image.fromarray(face(skin=skin)).save(path)

    for number in range(1, 25):
        save(home / "celeba" / f"{number:06d}.png")
    lists = {
        "list_eval_partition": lambda n: int(n > 16),
        "identity_CelebA": lambda n: (n + 1) // 2,
    }
    for name, value in lists.items():
        lines = [f"{n:06d}.png {value(n)}" for n in range(1, 25)]
        (home / "celeba" / f"{name}.txt").write_text("\n".join(lines) + "\n")
    rows = []
    for person in (2, 7, 8, 9, 10):
        for emotion in CLASSES:
            file = f"performers/{person}_{emotion}.png"
            save(home / file)
            rated = dict(zip(COLUMNS, rng.multinomial(100, np.full(6, 1 / 6)) / 100))
            rows.append({"file": file, "person": person, "emotion": emotion, **rated})
    pd.DataFrame(rows).to_csv(home / "performers.csv", index=False)
    for person in (1, 2):
        for mood in ("neutral", "smiling"):
            save(home / "strangers" / mood / f"{person:03d}.png")
    return home


def run(folders, command, out, *options):
    common = f"--celeba {folders}/celeba --performers {folders}/performers --size 64"
    common += f" --labels {folders}/performers.csv --cache {folders}/cache --out {out}"
    return main([command, *common.split(), *options])


@pytest.fixture(scope="module")
def trained(folders):
    """A folder with components, a network and its metrics."""
    out = folders / "run"
    assert run(folders, "components", out, "--count", "8") == 0
    assert run(folders, "train", out, *SMALL) == 0
    assert run(folders, "evaluate", out, "--strangers", f"drawn={folders}/strangers") == 0
    return out


def test_people_are_in_one_part_only(folders):
    photographs = data.load(
        folders / "celeba",
        folders / "performers",
        folders / "performers.csv",
        64,
        folders / "cache",
    )
    table = photographs.table
    assert len(photographs.pictures) == len(table) == 24 + 35
    assert table.groupby(["set", "person"]).part.nunique().max() == 1
    assert table[table.set == "celeba"].person.nunique() == 12
    for part, person in (("val", "7"), ("test", "2")):
        held_out = table[(table.set == "performers") & (table.part == part)]
        assert set(held_out.person) == {person}  # of the second and of the first fold
        assert sorted(held_out.label) == list(range(7))


def test_a_picture_without_a_label_is_named(folders, tmp_path):
    labels = pd.read_csv(folders / "performers.csv").iloc[1:]
    labels.to_csv(tmp_path / "labels.csv", index=False)
    with pytest.raises(CorpusError, match="1 pictures, the first 2_calm.png"):
        data.load(
            folders / "celeba", folders / "performers", tmp_path / "labels.csv", 64,
            folders / "cache",
        )  # fmt: skip


def test_a_trained_network_has_a_card(trained):
    model, card = checkpoints.load(trained / "face", VaeGan)
    assert model.config["components"] and model.config["space_to_depth"] == 2
    assert card["terms"] == "research and teaching, non-commercial"
    assert card["people"] == {
        "celeba training": 8,
        "celeba validation": 4,
        "performers training": 3,
        "performers validation": 1,
    }
    assert 0 < card["validation"]["reconstruction_mse"] < 0.1
    record = provenance.of_card(card)
    assert record is not None and record.settings["photographs"]["steps"] == 4
    assert set(record.data) == {"celeba", "performers"}
    assert "/" not in card["command"]
    assert len(pd.read_csv(trained / "face.history.csv")) == 2


def test_measures_have_intervals_and_components_beside_them(trained):
    metrics = json.loads((trained / "metrics.json").read_text())
    assert set(metrics["reconstruction"]) == {"celeba", "performers", "performers_test", "drawn"}
    drawn = metrics["reconstruction"]["drawn"]
    assert (drawn["pictures"], drawn["people"]) == (4, 2)
    assert drawn["mse"]["low"] <= drawn["mse"]["value"] <= drawn["mse"]["high"]
    ratio = drawn["mse"]["value"] / drawn["components_mse"]["value"]
    assert drawn["mse_over_components"]["value"] == pytest.approx(ratio, rel=1e-4)
    assert 0 <= metrics["probe"]["latents"]["value"] <= 1


OBSERVERS = "--epochs 1 --copies 1 --width 2 --members 1 --batch 8".split()


@pytest.fixture(scope="module")
def observers(folders):
    """A folder with five judges and their scores."""
    out = folders / "observers"
    common = f"--performers {folders}/performers --labels {folders}/performers.csv --size 64"
    common += f" --cache {folders}/cache --out {out}"
    assert main(["observers", *common.split(), *OBSERVERS]) == 0
    return out


def test_judges_of_observers_have_never_seen_the_people_of_their_fold(observers):
    for fold in range(1, 6):
        network, card = checkpoints.load(observers / f"fold-{fold}", ObserverNetwork)
        assert network.config["width"] == 2
        assert card["terms"] == "research and teaching, non-commercial"
        assert sum(card["people"].values()) == 5 and sum(card["pictures"].values()) == 35
        assert "/" not in card["command"]
    assert card["people"] == {"training": 3, "validation": 1, "test": 1}


def test_scores_of_judges_are_of_people_for_test(observers):
    metrics = json.loads((observers / "metrics.json").read_text())
    assert (metrics["pictures"], metrics["people"]) == (35, 5)
    for name in ("cross_entropy", "constant", "scatter", "second_group", "most_named"):
        assert metrics[name]["low"] <= metrics[name]["value"] <= metrics[name]["high"]
    # Answers at random are best predicted by their mean.
    assert metrics["scatter"]["value"] < metrics["constant"]["value"]
    assert set(metrics["named_as_meant"]) == set(CLASSES[1:])


def test_a_judge_that_is_there_is_not_trained_again(folders, observers, monkeypatch):
    before = (observers / "metrics.json").read_text()
    monkeypatch.setattr(torch.optim, "AdamW", lambda *_, **__: pytest.fail("trained again"))
    common = f"--performers {folders}/performers --labels {folders}/performers.csv --size 64"
    common += f" --cache {folders}/cache --out {observers}"
    assert main(["observers", *common.split(), *OBSERVERS]) == 0
    assert (observers / "metrics.json").read_text() == before


def test_a_table_without_answers_is_refused(folders, tmp_path, capsys):
    table = pd.read_csv(folders / "performers.csv").drop(columns="rated_sad")
    table.to_csv(tmp_path / "labels.csv", index=False)
    common = f"--performers {folders}/performers --labels {tmp_path}/labels.csv --size 64"
    common += f" --cache {folders}/cache --out {tmp_path}"
    assert main(["observers", *common.split()]) == 1
    assert "labels.csv: lacks the columns rated_sad" in capsys.readouterr().err


def test_what_reconstructions_keep_is_measured_by_the_judges_that_are_there(
    folders, trained, observers
):
    metrics = json.loads((trained / "metrics.json").read_text())
    named = {line.split(":")[0] for line in metrics["missing"]}
    assert set(metrics["expression"]) | named >= {"facex", "face_api", "observers"}
    witnesses = kept.find_witnesses(1, folders / "nowhere", observers)
    assert witnesses.observers and not witnesses.identity
    x = torch.rand(6, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    emotions = np.array([*CLASSES[1:]])
    report = kept.share_kept(witnesses.observers, x, x, emotions, np.arange(6))
    assert report["kept"] == {"value": 1, "low": 1, "high": 1}
    assert set(report["emotions"]) == set(emotions)


def test_accuracy_kept_counts_first_choices_and_calm_is_neutral():
    class Reddish(PartialJudge):
        OUTPUTS = ("neutral", "happy")

        def probabilities(self, pictures):
            red = pictures[:, 0].mean((1, 2)).numpy()
            return np.stack([1 - red, red], 1)

    red, black = torch.zeros(4, 3, 8, 8), torch.zeros(4, 3, 8, 8)
    red[:2, 0] = 1
    emotions, people = np.array(["happy", "happy", "calm", "sad"]), np.array([1, 2, 1, 2])
    report = kept.accuracy_kept(Reddish(kept.NEUTRAL_CLASSES), red, black, emotions, people)
    assert (report["real"]["value"], report["drawn"]["value"]) == (0.75, 0.25)
    assert report["kept"]["value"] == pytest.approx(1 / 3)
    assert report["emotions"]["happy"]["kept"]["value"] == 0
    assert report["emotions"]["calm"]["kept"]["value"] == 1
    assert report["emotions"]["sad"]["kept"] is None  # there was nothing to keep


def test_the_right_person_is_the_nearest_one():
    def identity(pictures):
        return pictures.flatten(1)

    people = np.array(["1", "2", "3"] * 2)
    first = torch.eye(3).view(3, 1, 1, 3).expand(-1, 3, -1, -1)
    real = torch.cat([first, first + 0.1])
    drawn = real.clone()
    drawn[0] = real[1]  # the first person is drawn as the second
    report = kept.right_person(identity, real, drawn, people)
    assert report["people"] == 3
    assert report["among_originals"]["value"] == pytest.approx(2 / 3)
    assert report["among_other_pictures"]["value"] == pytest.approx(2 / 3)
    assert report["original_among_other_pictures"]["value"] == 1
    once = kept.right_person(identity, real[:3], drawn[:3], people[:3])
    assert "among_other_pictures" not in once


def test_a_stopped_training_goes_on_as_if_it_had_not_been_stopped(folders, trained, monkeypatch):
    out = folders / "stopped"
    out.mkdir()
    (out / "components.safetensors").write_bytes((trained / "components.safetensors").read_bytes())
    whole_round = PhotographTraining.train_round

    def stop_in_the_second(self, number):
        if number == 1:
            raise OSError("the power is gone")
        return whole_round(self, number)

    with monkeypatch.context() as patch:
        patch.setattr(PhotographTraining, "train_round", stop_in_the_second)
        assert run(folders, "train", out, *SMALL) == 1
    assert not (out / "face.safetensors").exists()
    assert run(folders, "train", out, *SMALL) == 0
    resumed, undisturbed = (
        checkpoints.load(folder / "face")[0].state_dict() for folder in (out, trained)
    )
    for name, tensor in undisturbed.items():
        if not name.startswith("discriminator"):
            torch.testing.assert_close(resumed[name], tensor, rtol=0, atol=0)


def test_a_training_begins_with_the_weights_of_another(folders, trained):
    out = folders / "second"
    out.mkdir()
    (out / "components.safetensors").write_bytes((trained / "components.safetensors").read_bytes())
    rate = "--learning-rate 0 --moved-weight 0 --pair-weight 0 --performers-batch 0".split()
    rate += ["--begin", str(trained)]
    assert run(folders, "train", out, *SMALL, *rate) == 0
    first, second = (checkpoints.load(folder / "face")[0] for folder in (trained, out))
    for name, parameter in first.encoder.named_parameters():
        assert torch.equal(parameter, second.encoder.get_parameter(name)), name


def test_strength_of_details_is_blind_to_place_but_not_to_direction():
    upright = torch.zeros(1, 3, 32, 32)
    upright[..., 1::4] = 1  # stripes of one pixel
    shifted, lying = upright.roll(2, -1), upright.transpose(-1, -2).contiguous()
    assert detail_strength_error(upright, shifted) < 1e-6
    assert detail_strength_error(upright, lying) > 0.05
    assert edge_strength_error(upright, shifted) < 0.05 < edge_strength_error(upright, upright / 2)
    across, down, _ = detail_strength(upright)[0].mean((0, 2, 3))
    assert across > 0.4 and down < 0.01


def test_detail_that_an_emotion_adds_is_free_up_to_a_quarter():
    drawn = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert added_detail(1.2 * drawn, drawn) < 1e-4
    assert added_detail(2 * drawn, drawn) > 0.01


def test_pairs_are_a_calm_and_an_emotional_picture_of_one_performer(folders):
    sources = [folders / name for name in ("celeba", "performers", "performers.csv")]
    photographs = data.load(*sources, 64, folders / "cache")
    table = photographs.table
    rows = np.flatnonzero((table.set == "performers") & (table.part == "train"))
    pictures = {
        photographs.pictures.batch(np.array([row]), np.array([mirrored])).numpy().tobytes(): row
        for row in rows
        for mirrored in (False, True)
    }
    recipe = Recipe(latent=8, width=0.0625, celeba_batch=6, performers_batch=4, pair_batch=5)
    base = of_training_pictures(photographs, 8, ["celeba"])
    training = PhotographTraining(photographs, base, recipe, 0, launch())
    pairs, emotions = training.draw_pairs(np.random.default_rng(0))
    assert pairs.shape == (2, 5, 3, 64, 64)
    for calm, emotional, emotion in zip(*pairs, emotions, strict=True):
        before, after = (
            table.iloc[pictures[x[None].contiguous().numpy().tobytes()]] for x in (calm, emotional)
        )
        assert before.person == after.person
        assert before.emotion == "calm" and after.emotion == CLASSES[emotion] != "calm"


def test_directions_leave_the_person_out():
    g = torch.Generator().manual_seed(0)
    people, labels = np.repeat(np.arange(5), 7), np.tile(np.arange(7), 5)
    emotions, identities = torch.randn(7, 4, generator=g), torch.randn(5, 4, generator=g)
    found = directions(identities[people] + emotions[labels], labels, people)
    torch.testing.assert_close(found, emotions - emotions[:1])
    some = labels != 3  # sad is missing
    assert (directions(identities[people][some], labels[some], people[some])[3] == 0).all()


def section_of_results(title):
    page = (ROOT / "docs" / "results.md").read_text(encoding="utf-8").replace("−", "-")
    section = page.partition(f"## {title}\n")[2].partition("\n## ")[0]
    assert section, title
    return section


def test_the_shipped_network_has_the_scores_of_the_page_of_results():
    folder = ROOT / "checkpoints" / "photographs-128" / "fold-1"
    metrics = json.loads((folder / "metrics.json").read_text())
    model, card = checkpoints.load(folder / "face", VaeGan)
    assert model.config["size"] == 128 and provenance.of_card(card) is not None
    validation = metrics["reconstruction"]["celeba"]["mse"]["value"]
    assert card["validation"]["celeba_mse"] == pytest.approx(validation, rel=0.01)
    section = section_of_results("Real faces")
    for name, scores in metrics["reconstruction"].items():
        cells = [
            name,
            str(scores["pictures"]),
            "{value:.5f} ({low:.5f} to {high:.5f})".format(**scores["mse"]),
            f"{scores['components_mse']['value']:.5f}",
            interval_in_percent(scores["gradients_kept"]),
            f"{percent(scores['components_gradients_kept']['value'])} %",
        ]
        assert f"| {' | '.join(cells)} |" in section
    expression = metrics["expression"]
    kept = [expression[name]["kept"] for name in ("facex", "face_api", "observers")]
    persons = [metrics["identity"]["london"][f"among_{n}"] for n in ("other_pictures", "originals")]
    for score in (*kept, *persons, *metrics["probe"].values()):
        assert interval_in_percent(score) in section


SETS = ("performers", "portraits", "london")


def test_the_shipped_representations_have_the_scores_of_the_page_of_results():
    folder = ROOT / "checkpoints" / "performers+ravdess-photographs"
    report = json.loads((folder / "representations.json").read_text())
    section = section_of_results("Real faces")
    for name in MODELS:
        assert f"| {interval_in_percent(report['recognition']['accuracy'][name])} |" in section
    recognition = report["recognition"]
    counts = f"{recognition['performers']} performers and {recognition['speakers']} speakers"
    assert f"{recognition['pairs']:,} pairs" in section and counts in section
    gains = (recognition["gain_over_better_sense"], recognition["over_concatenation"])
    for words, gain in zip(("above the better single sense", "from concatenation"), gains):
        value, low, high = (percent(gain[key]) for key in ("value", "low", "high"))
        assert f"{value} ({low} to {high}) points {words}" in section
    sets = [report["representations"][name]["1"] for name in SETS]
    assert (
        "{} performers with {} speakers".format(sets[0]["people"], sets[0]["speakers"]) in section
    )
    assert f"{sets[1]['people']} portraits" in section
    assert f"{sets[2]['people']} people of London with {sets[2]['speakers']} speakers" in section
    for judge, title in (("face_api", "face-api"), ("facex", "facex")):
        rows = [measured[judge]["all"] for measured in sets]
        cells = [
            f"{percent(r['value'])} ({percent(r['low'])} to {percent(r['high'])})" for r in rows
        ]
        assert f"| {title}, all | {' | '.join(cells)} |" in section
    for emotion in (*OBSERVED_EMOTIONS, "all"):
        cells = []
        for measured in sets:
            row = measured["observers"][emotion]
            shares = f"{percent(row['before'])} → {percent(row['after'])}"
            gain = f"{percent(row['value'])} ({percent(row['low'])} to {percent(row['high'])})"
            cells.append(f"{shares}: {gain}")
        assert f"| {emotion} | {' | '.join(cells)} |" in section
    same = [interval_in_percent(measured["same_person"]) for measured in sets]
    assert f"| same person | {' | '.join(same)} |" in section
    for strength in ("0.5", "0"):
        measured = [report["representations"][n][strength]["same_person"] for n in SETS]
        cells = " | ".join(interval_in_percent(score) for score in measured)
        assert f"| same person, t = {strength} | {cells} |" in section
    blind = json.loads((ROOT / "docs" / "metrics" / "blind_models.json").read_text())
    assert " and ".join(percent(model["named"]) for model in blind["models"]) + " %" in section
    apart = " and ".join(str(model["come_apart"]) for model in blind["models"])
    assert f"{apart} of {blind['pictures']}" in section


def test_gains_are_those_of_the_judge_from_no_context_to_full_context():
    people = np.repeat([1, 2, 3], 6)
    emotions = list(OBSERVED_EMOTIONS) * 3
    tables = []
    for strength, share in ((0.0, 0.1), (0.5, 0.2), (1.0, 0.4)):
        table = pd.DataFrame({"person": people, "emotion": emotions, "strength": strength})
        table["speaker"] = 7 + np.arange(18) % 2
        for name in OBSERVED_EMOTIONS:
            is_asked = np.array([emotion == name for emotion in emotions])
            table[f"observers:{name}"] = np.where(is_asked, share, (1 - share) / 5)
        table["observers"] = share
        table["same_person"] = strength < 1
        table["face_found"] = True
        tables.append(table)
    report = summarise(pd.concat(tables, ignore_index=True), own_voices=False, resamples=50)
    assert report["1"]["observers"]["all"]["value"] == pytest.approx(0.3)
    assert report["0.5"]["observers"]["sad"]["value"] == pytest.approx(0.1)
    assert report["1"]["same_person"]["value"] == 0 and report["0"]["same_person"]["value"] == 1
    assert report["1"]["people"] == 3 and report["1"]["speakers"] == 2


def percent(share: float) -> str:
    return f"{100 * share:.1f}"


def test_the_shipped_judges_have_the_scores_of_the_page_of_results():
    folder = ROOT / "checkpoints" / "observers"
    metrics = json.loads((folder / "metrics.json").read_text())
    page = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    section = page.partition("## What people would say\n")[2].partition("\n## ")[0]
    for name in ("constant", "cross_entropy", "second_group", "scatter"):
        assert "| {value:.3f} ({low:.3f} to {high:.3f}) |".format(**metrics[name]) in section
    for name in ("explained", "most_named", "most_named_constant", "reaction_to_blur"):
        assert interval_in_percent(metrics[name]) in section
    for emotion, shares in metrics["named_as_meant"].items():
        cells = [interval_in_percent(shares[name]) for name in ("observed", "predicted")]
        assert f"| {emotion} | {' | '.join(cells)} |" in section
    both = [metrics["recognisers"][name] for name in ("facex", "face_api")]
    for emotion in ("all", *CLASSES):
        cells = [interval_in_percent(accuracies[emotion]) for accuracies in both]
        assert f"| {emotion} | {' | '.join(cells)} |" in section


def test_the_shipped_judges_divide_the_people_and_are_small():
    folder = ROOT / "checkpoints" / "observers"
    cards = [checkpoints.load(folder / f"fold-{fold}", ObserverNetwork)[1] for fold in range(1, 6)]
    assert sum(card["people"]["test"] for card in cards) == 29
    assert sum(card["pictures"]["test"] for card in cards) == 1223
    assert {card["terms"] for card in cards} == {"research and teaching, non-commercial"}
    assert sum(file.stat().st_size for file in folder.iterdir()) < 2_000_000


def interval_in_percent(score):
    return f"{percent(score['value'])} % ({percent(score['low'])} to {percent(score['high'])})"
