"""Faces and voices that a network has not learnt anything like are noticed, and said."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from test_perceiver import SIZE, networks

from cmlib import checkpoints, files, strangeness
from cmlib.cli import main
from cmlib.corpora import crowd
from cmlib.models import VaeGan
from cmlib.perceiver import PHOTOGRAPHS, Perceiver, choose

WIDE = dict.fromkeys(strangeness.MEASURES, 1e6)  # nothing is strange
NARROW = dict.fromkeys(strangeness.MEASURES, 1e-6)  # everything is


def perceiver(face: dict | None = None, voice: dict | None = None, name: str = "") -> Perceiver:
    return Perceiver(*networks().values(), limits={"face": face, "voice": voice}, name=name)


@pytest.fixture
def face():
    return np.random.default_rng(1).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)


@pytest.fixture
def sound():
    return np.random.default_rng(2).standard_normal(30_000).astype(np.float32)


# -------------------------------------------------------------------- the measures


def test_measures_are_what_their_names_say():
    rng = np.random.default_rng(0)
    x, drawn = rng.random((2, 3, 64, 64)), rng.random((2, 3, 64, 64))
    mu = rng.standard_normal((2, 5))
    values = strangeness.measures(*(torch.from_numpy(a) for a in (x, drawn, mu)))
    for i in range(2):
        difference = x[i] - drawn[i]

        def energy(a):
            return np.mean(np.diff(a, axis=1) ** 2) + np.mean(np.diff(a, axis=2) ** 2)

        expected = [
            np.mean(difference**2),
            energy(difference) / energy(x[i]),
            np.sqrt(np.mean(mu[i] ** 2)),
        ]
        np.testing.assert_allclose(values[i], expected, rtol=1e-6)


def test_large_pictures_are_compared_at_64_pixels():
    small = torch.rand(1, 3, 64, 64)
    large = small.repeat_interleave(2, 2).repeat_interleave(2, 3)
    drawn, mu = torch.rand(1, 3, 64, 64), torch.ones(1, 4)
    large_drawn = drawn.repeat_interleave(2, 2).repeat_interleave(2, 3)
    np.testing.assert_allclose(
        strangeness.measures(large, large_drawn, mu),
        strangeness.measures(small, drawn, mu),
        rtol=1e-5,
    )


def test_a_picture_of_one_colour_has_numbers():
    x = torch.full((1, 3, 64, 64), 0.5)
    assert np.isfinite(strangeness.measures(x, x, torch.zeros(1, 4))).all()


def test_a_hundredth_of_the_held_out_people_is_beyond_the_limits():
    values = np.random.default_rng(0).gamma(4.0, size=(5000, 3))
    limits = strangeness.limits(values)
    share = np.mean(strangeness.strangeness(values, limits) > 1)
    assert share == pytest.approx(strangeness.SHARE_ABOVE, abs=0.002)


def test_strangeness_is_the_largest_measure_in_units_of_its_limit():
    limits = {"error": 0.1, "detail": 0.5, "distance": 2.0}
    values = np.array([[0.05, 0.1, 1.0], [0.05, 0.1, 5.0]])
    np.testing.assert_allclose(strangeness.strangeness(values, limits), [0.5, 2.5])


def shipped_networks_with_limits() -> list[str]:
    names = []
    for card_file in sorted((files.ROOT / "checkpoints").rglob("*.json")):
        card = json.loads(card_file.read_text())
        # The small ones of notebook 02 know cartoons alone, and nobody is perceived with them.
        if card.get("architecture") == "VaeGan" and card_file.parent.name != "cartoons":
            names.append(str(card_file.relative_to(files.ROOT / "checkpoints").with_suffix("")))
    return names


@pytest.mark.parametrize("name", shipped_networks_with_limits())
def test_noise_is_strange_to_every_shipped_network(name):
    model, card = checkpoints.load(files.ROOT / "checkpoints" / name, VaeGan)
    limits = strangeness.limits_of(card)
    assert limits, "run python -m tools.strangeness limits"
    config = model.config
    noise = torch.rand(8, config["channels"], config["size"], config["size"])
    values = strangeness.measure_all(model, [noise])
    assert (strangeness.strangeness(values, limits) > 1).all()


def test_drawn_faces_are_not_strange_to_the_network_of_drawn_faces():
    model, card = checkpoints.load(files.ROOT / "checkpoints" / "crowd-64" / "face", VaeGan)
    pictures = crowd.load(64, 60, crowd.SHIPPED)
    x = torch.from_numpy(np.array(pictures)).permute(0, 3, 1, 2).float() / 255
    values = strangeness.measure_all(model, x.split(20))
    assert np.mean(strangeness.strangeness(values, strangeness.limits_of(card)) > 1) < 0.2


def test_the_documentation_has_the_measured_rates():
    root = Path(__file__).parents[1]
    rates = json.loads((root / "docs" / "strangeness.json").read_text())
    page = (root / "docs" / "results.md").read_text(encoding="utf-8")
    for network, kinds in rates.items():
        for kind, rate in kinds.items():
            numbers = f"{rate['inputs']} | {100 * rate['strange']:.0f} % | {rate['median']:.2f}"
            assert f"| `{network}` | {kind} | {numbers} |" in page


# -------------------------------------------------------------------- what the perceiver says


def test_without_limits_nothing_is_said(face, sound):
    p = perceiver().perceive(face, sound)
    assert p.warnings == () and p.strangeness == {"face": None, "voice": None}


def test_within_the_limits_nothing_is_said(face, sound):
    p = perceiver(WIDE, WIDE).perceive(face, sound)
    assert p.warnings == ()
    assert 0 < p.strangeness["face"] < 1 and 0 < p.strangeness["voice"] < 1


def test_beyond_the_limits_face_and_voice_are_warned_about(face, sound):
    p = perceiver(NARROW, NARROW, "crew").perceive(face, sound)
    assert "the picture: unlike the faces that the networks crew" in p.warnings[0]
    assert "the sound: unlike the voices" in p.warnings[1]
    assert p.summary()["warnings"] == list(p.warnings)
    assert p.summary()["strangeness"]["face"] > 1


def test_many_at_once_carry_each_warning_once(face, sound):
    many = perceiver(NARROW).perceive_all([face, face], [sound])
    assert len(many.warnings) == 1


def test_silence_is_not_strange(face):
    p = perceiver(NARROW, NARROW).perceive(face, np.zeros(30_000, np.float32))
    assert p.strangeness["voice"] is None and len(p.warnings) == 1


# -------------------------------------------------------------------- which networks draw a face


def test_a_face_that_is_not_strange_loads_nothing_else(face):
    usual = perceiver(WIDE)
    chosen, encoded = choose(usual, face, photographs=None)
    assert chosen is usual and encoded.notes == ()


def test_a_strange_face_goes_to_the_networks_that_know_it(face):
    usual, other = perceiver(NARROW, name="drawn"), perceiver(WIDE, name="photographs")
    chosen, encoded = choose(usual, face, lambda: other)
    assert chosen is other and encoded.warnings == ()
    assert "unlike the faces that the networks drawn" in encoded.notes[-1]
    assert "so the networks photographs draw it" in encoded.notes[-1]


def test_a_face_that_is_strange_to_all_carries_a_warning(face):
    narrower = {name: limit / 2 for name, limit in NARROW.items()}
    usual, other = perceiver(NARROW, name="drawn"), perceiver(narrower, name="photographs")
    for photographs in (lambda: None, lambda: other):
        chosen, encoded = choose(usual, face, photographs)
        assert chosen is usual and "the networks drawn" in encoded.warnings[0]


def save_networks(folder, limits: dict) -> None:
    for name, model in networks().items():
        card = {strangeness.KEY: {"limits": limits}} if name in ("face", "voice") else {}
        checkpoints.save(folder / name, model, card)


@pytest.fixture
def command(face, sound, tmp_path, monkeypatch) -> list[str]:
    """``cm perceive`` of a strange picture, which the networks of photographs know."""
    from scipy.io import wavfile

    monkeypatch.setattr(files, "ROOT", tmp_path)
    save_networks(tmp_path / "checkpoints" / "actors-quick", NARROW)
    save_networks(tmp_path / "checkpoints" / PHOTOGRAPHS, WIDE)
    Image.fromarray(face).save(tmp_path / "me.png")
    wavfile.write(tmp_path / "hello.wav", 22_050, sound)
    files_given = [str(tmp_path / "me.png"), str(tmp_path / "hello.wav")]
    return ["perceive", *files_given, "-o", str(tmp_path / "out.png")]


def test_the_command_hands_a_photograph_to_the_networks_of_photographs(command, tmp_path, capsys):
    assert main(command) == 0
    text = capsys.readouterr().out
    assert f"so the networks {PHOTOGRAPHS} draw it" in text and "warning" not in text
    numbers = json.loads((tmp_path / "out.json").read_text())
    assert numbers["model"] == PHOTOGRAPHS and numbers["warnings"] == []
    assert numbers["strangeness"]["face"] < 1


def test_the_command_respects_the_networks_that_were_asked_for(command, capsys):
    assert main([*command, "--model", "actors"]) == 0
    text = capsys.readouterr().out
    assert "warning: me.png: unlike the faces that the networks actors-quick" in text
    assert "warning: hello.wav: unlike the voices" in text


def test_the_command_prints_json(command, tmp_path, capsys):
    assert main([*command, "--model", "actors", "--json"]) == 0
    numbers = json.loads(capsys.readouterr().out)
    assert numbers == json.loads((tmp_path / "out.json").read_text())
    assert numbers["model"] == "actors-quick" and len(numbers["warnings"]) == 2
