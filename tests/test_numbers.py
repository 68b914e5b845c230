"""Numbers in the README and in docs are those of the files that they come from.

``docs/metrics/fold_1`` holds what the published notebooks recorded, and ``five_folds.json`` beside
it what five trained folds gave.
"""

import csv
import json
import math
import re
from functools import cache
from pathlib import Path

import pytest
from scipy.stats import binomtest

from cmlib.config import PROFILES
from cmlib.figures import notebook_00
from cmlib.metrics import RANDOM_FLIPS

ROOT = Path(__file__).parents[1]
METRICS = ROOT / "docs" / "metrics"
MODELS = {
    "face only": "face",
    "voice only": "voice",
    "product of experts": "product_of_experts",
    "concatenation": "concatenation",
    "context attention, settings as released": "can_released",
    "**context attention**": "can",
}
RIVALS = {
    "the face alone": "face",
    "the voice alone": "voice",
    "the product of experts": "product_of_experts",
    "a linear classifier on both latents side by side (concatenation)": "concatenation",
    "context attention with the settings as released": "can_released",
}


@cache
def numbers(name: str) -> dict:
    return json.loads((METRICS / name).read_text(encoding="utf-8"))


@cache
def page(name: str) -> str:
    """The text of a page on one line, with plain minus signs."""
    text = (ROOT / name).read_text(encoding="utf-8")
    return " ".join(text.replace("−", "-").split())


def interval(scores: dict, factor: float = 100, dash: str = "–") -> str:
    """Such as "56.4 % (47.5 – 65.4)"."""
    value, low, high = (f"{factor * scores[key]:.1f}" for key in ("value", "low", "high"))
    return f"{value} % ({low} {dash} {high})"


def points(gain: dict, factor: float = 100) -> str:
    """Such as "16.2 (11.8 to 20.6)"."""
    value, low, high = (f"{factor * gain[key]:.1f}" for key in ("value", "low", "high"))
    return f"{value} ({low} to {high})"


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def row(text: str, name: str) -> list[str]:
    """The cells of the row of a table that begins with ``name``."""
    match = re.search(rf"\| {re.escape(name)} \| ([^|]+)\|(?: ([^|]+)\|)?(?: ([^|]+)\|)?", text)
    assert match, f"no row {name!r}"
    return [cell.strip() for cell in match.groups() if cell is not None]


@pytest.mark.parametrize("name", ["README.md", "docs/results.md"])
@pytest.mark.parametrize("label", MODELS)
def test_table_of_models(name, label):
    model = MODELS[label]
    fold_1 = numbers("fold_1/06_evaluation.json")["models"][model]["clip_accuracy"]
    five = numbers("five_folds.json")["models"][model]
    cells = row(page(name), label)
    assert cells[:2] == [interval(fold_1), interval(five)]
    if name == "docs/results.md":
        assert cells[2] == f"{100 * five['mean']:.1f} ± {100 * five['sd']:.1f} %"


@pytest.mark.parametrize("label", RIVALS)
def test_gains_over_other_readers(label):
    gain = numbers("five_folds.json")["gain_of_can"][RIVALS[label]]
    cells = row(page("docs/results.md"), label)
    assert cells[0] == points(gain)
    smallest = round(1 / (RANDOM_FLIPS + 1), 6)  # that so many random flips of signs can give
    assert cells[1] == ("≤ 5e-05" if gain["p"] <= smallest else f"{gain['p']:.2g}")


def test_gains_of_the_judges():
    judges = numbers("five_folds.json")["congruence_in_points"]
    text = page("docs/results.md")
    for emotion, gain in judges["judge"].items():
        assert points(gain, 1) in text, emotion
    for judge in judges.values():
        assert points(judge["all"], 1) in text
    for emotion in ("happy", "surprised", "fearful", "sad"):
        assert points(judges["recogniser"][emotion], 1) in text, emotion


def test_the_study_of_three_seeds():
    study = numbers("five_folds_three_seeds.json")
    text = page("docs/results.md")
    accuracy, minus = study["clip_accuracy"], study["context_attention_minus"]
    shown = [percent(accuracy[model]["value"]) for model in list(MODELS.values())[:-1]]
    context = {key: f"{100 * value:.1f}" for key, value in accuracy["can"].items()}
    assert f"| {' | '.join(shown)} | {context['value']} % ({context['low']} to" in text
    assert f"{context['high']}); {context['mean']} ± {context['sd']} % over 15 folds" in text
    face, other = minus["face"], minus["concatenation"]
    assert f"is {points(face).replace(' (', ' points (')} above the face" in text
    below = f"{-100 * other['value']:.1f} ({-100 * other['high']:.1f} to {-100 * other['low']:.1f}"
    assert f"and {below}, p = {other['p']:.2g}) below concatenation" in text
    assert study["cells"] == 15 and "15 cells on the shipped" in text
    assert f"{study['processor_hours']:.1f} hours of processor time" in text


def test_real_voices():
    measured = numbers("real_voices.json")
    profiles, minus = measured["profiles"], measured["minus laptop"]
    results, corpora = page("docs/results.md"), page("docs/corpora.md")
    for profile, label in {
        "laptop": "a voice VAE-GAN that learnt from the training actors, with its linear"
        " classifier",
        "quick": "the network of `quick`, which has heard only synthetic speakers, with a"
        " classifier on real voices",
        "tuned": "the same network, trained further on the training actors (`tuned`)",
    }.items():
        scores = profiles[profile]
        of_folds = f"{100 * scores['mean']:.1f} ± {100 * scores['sd']:.1f} %"
        assert row(results, label) == [of_folds, interval(scores, dash="to")]
    for profile, sense in (("quick", -1), ("tuned", 1)):
        low, high = sorted(sense * 100 * minus[profile][end] for end in ("low", "high"))
        value = f"{sense * 100 * minus[profile]['value']:.1f} points"
        assert f"{value} ({low:.1f} to {high:.1f}, p = {minus[profile]['p']:.2f})" in results
    laptop = profiles["laptop"]
    cells = " | ".join(f"{100 * share:.1f}" for share in laptop["folds"])
    assert f"| voice VAE-GAN and linear classifier | {cells} |" in corpora
    assert f"the first row is {interval(laptop, dash='to')}" in corpora


def test_sentences_about_five_folds():
    five = numbers("five_folds.json")
    read = five["recognised"]["recogniser"]
    all_emotions = five["congruence"]["all"]
    gain = five["gain_of_can"]["face"]
    value, low, high = (f"{100 * gain[key]:.1f}" for key in ("value", "low", "high"))
    readme, results = page("README.md"), page("docs/results.md")
    assert f"Context attention is {value} points ({low} to {high}) above the face alone" in readme
    seen = f"{points(all_emotions)} more".replace(" (", " points (")
    assert seen in readme
    named, before = percent(all_emotions["named"]), percent(all_emotions["before"])
    assert f"names this emotion in {named} of the pictures instead of {before}" in readme
    real, painted = percent(read["real"]["value"]), percent(read["reconstructed"]["value"])
    assert f"it reads {real} of real frames and {painted} of their reconstructions" in results


def test_sentences_about_fold_1():
    three = numbers("fold_1/02_face_vae.json")["three_numbers"]
    real, painted = three["judge_on_real_crops"], three["judge_on_reconstructions"]
    clips = [percent(s["clip_accuracy"]["value"]) for s in (real, painted)]
    frames = [f"{100 * s['frame_accuracy']['value']:.1f}" for s in (real, painted)]
    text = page("docs/results.md")
    expected = f"reads {clips[0]} of real clips and {clips[1]} of their reconstructions"
    assert f"{expected} (frames: {frames[0]} and {frames[1]} %)" in text
    probe = three["linear_probe_on_the_latent"]["clip_accuracy"]
    assert f"A linear probe reads {percent(probe['value'])} of latents" in text
    assert interval(probe) in text
    readers = numbers("fold_1/04_expression_classifier.json")
    for group in ("validation", "test"):
        assert interval(readers[group]["face"]["clip_accuracy"]) in text


def test_the_paper_beside_this_repository():
    text = page("docs/paper_and_here.md")
    five = numbers("five_folds.json")["models"]
    assert interval(five["can"]) in text and interval(five["can_released"]) in text
    for name in ("README.md", "docs/results.md", "docs/paper_and_here.md"):
        assert "81.01 %" in page(name) and "79.34 %" in page(name)


def test_every_number_of_the_paper_and_of_its_counterpart_comes_from_its_file():
    """The page holds what notebook 00 prints from files, and more from the same files."""
    text = page("docs/paper_and_here.md")
    table = notebook_00.paper_and_here()
    assert {"81.01 %", "79.34 %"} <= set(table.paper)
    for result in table[table.file != ""].itertuples():
        assert result.here in text, result.result
    five = numbers("five_folds.json")
    for model in ("face", "voice", "product_of_experts", "concatenation"):
        assert interval(five["models"][model]) in text, model
    judge = five["congruence_in_points"]["judge"]["all"]
    assert interval(judge, 1).replace("%", "points") in text


def test_settings_beside_the_released_ones_are_those_of_the_profiles():
    text, quick, paper = page("docs/paper_and_here.md"), PROFILES["quick"], PROFILES["paper"]
    face, small = paper.face, quick.data.image_size
    size = paper.data.image_size
    assert f"{size} × {size} pixels, {face.latent} dimensions" in text
    assert f"{small} × {small} pixels, {quick.face.latent} dimensions" in text
    rate = f"{face.learning_rate:.0e}".replace("e-0", "e-")
    first, second = face.milestones
    training = f"{face.batch}, {face.epochs}, {rate} (RMSprop), lowered after {first} and {second}"
    assert training in text and f"| {face.kl_weight:.5f} |" in text
    assert f"{paper.classifier.epochs} epochs" in text and f"{paper.can.epochs} epochs" in text
    assert f"{quick.can.neutral:.0%}".replace("%", " %") + " of all faces" in text
    assert (paper.can.kl_weight, quick.can.kl_weight) == (1e-5, 1e-4) and "1e-5 | 1e-4" in text
    assert quick.can.directions == 6 and quick.can.crowd == 0.5


def test_the_sizes_of_the_released_networks():
    counts = dict.fromkeys(("encoder", "decoder", "discriminator"), 0)
    keys = (ROOT / "tests" / "data" / "released_checkpoint_keys.csv").read_text().splitlines()
    for key, shape, *_ in csv.reader(keys[1:]):
        if "running" not in key and shape != "scalar":
            counts[key.split(".")[0]] += math.prod(int(number) for number in shape.split("x"))
    millions = [f"{count / 1e6:.1f}" for count in counts.values()]
    assert "{}, {} and {} million".format(*millions) in page("docs/paper_and_here.md")


def test_what_the_paper_would_cost_on_ravdess():
    text = page("docs/paper_and_here.md")
    frames = round(3.67 * 30)
    pictures, epochs = 14 * 60 * frames, PROFILES["paper"].face.epochs
    assert f"{frames} frames each: about {pictures // 1000},000 pictures" in text
    assert f"{epochs} epochs, so {pictures * epochs / 1e6:.0f} million pictures" in text
    hours = pictures * epochs * 0.64 / 3600
    assert f"{round(hours, -2):,.0f} hours" in text


def test_raters_that_are_models_are_called_models():
    """Only people rate; a vision-language model that names emotions is called a model."""
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        assert "blind raters" not in path.read_text(encoding="utf-8"), path.name


def test_what_the_models_named_and_its_interval_over_pictures():
    """The interval is Wilson's (1927) of a share of pictures."""

    def over_pictures(share: float, pictures: int) -> str:
        named = binomtest(round(share * pictures), pictures)
        limits = named.proportion_ci(method="wilson")
        return f"{100 * limits.low:.0f} to {100 * limits.high:.0f} %"

    blind = numbers("blind_models.json")
    drawn, results = blind["drawn"], page("docs/results.md")
    shares = {model["named"] for model in drawn["models"]}
    assert len(shares) == 1
    share, pictures = shares.pop(), drawn["mental_representations"]
    named = f"each named {100 * share:.0f} % ({over_pictures(share, pictures)}"
    for name in ("README.md", "docs/results.md"):
        assert f"blind about {pictures} of these pictures, {named}" in page(name)
    of_kind = {k: [f"{100 * m[k]:.0f}" for m in drawn["models"]] for k in ("real", "reconstructed")}
    assert f"They named {' and '.join(of_kind['real'])} % of real frames" in results
    assert f"and {' and '.join(of_kind['reconstructed'])} % of their reconstructions" in results
    portraits = [over_pictures(m["named"], blind["pictures"]) for m in blind["models"]]
    assert f"({' and '.join(portraits)}, drawn over pictures" in results


def test_concatenation_over_three_seeds_is_that_of_the_study_in_the_readme():
    other = numbers("five_folds_three_seeds.json")["context_attention_minus"]["concatenation"]
    value, high, low = (f"{-100 * other[key]:.1f}" for key in ("value", "high", "low"))
    assert f"by {value} points ({high} to {low}) over three seeds" in page("README.md")
