"""Records of provenance: their fingerprints, how they are compared, and what they make stale."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
from fingerprints import GOLDEN, fingerprints, records

from cmlib import config, provenance
from cmlib.checkpoints import is_current, read_card
from cmlib.config import CanConfig, ClassifierConfig, VaeGanConfig
from cmlib.evaluation import ablations
from cmlib.evaluation.judges import TEACHERS, judge_name, judge_record
from cmlib.experiment.run import FUSIONS, Run
from cmlib.figures import notebook_06
from cmlib.provenance import Provenance
from tools.notebooks import staleness

ROOT = Path(__file__).parents[1]
STAGES = ("face", "voice", *(f"classifier_{fusion}" for fusion in FUSIONS), "can_released", "can")
NOTEBOOKS = tuple(staleness.NOTEBOOKS)
ON_SHIPPED_FILES = tuple(staleness.ON_SHIPPED_FILES)

# ------------------------------------------------------------------------------- fingerprints


def test_fingerprints_are_the_same_everywhere():
    assert fingerprints() == GOLDEN


@pytest.mark.parametrize("name", GOLDEN)
def test_a_record_survives_its_card(name):
    record = records()[name]
    back = Provenance.from_json(json.loads(json.dumps(record.to_json())))
    assert back.fingerprint() == record.fingerprint()
    assert record.differences(back) == back.differences(record) == []


def test_a_fingerprint_follows_every_field_and_nothing_else():
    record = Provenance("face", 1, {"face": {"epochs": 3, "rate": 1.0}}, {"corpus": "a"}, 0, 1)
    reordered = dataclasses.replace(record, settings={"face": {"rate": 1, "epochs": 3}})
    assert reordered.fingerprint() == record.fingerprint()
    changes = {
        "stage": "voice",
        "version": 2,
        "settings": {"face": {"epochs": 4, "rate": 1.0}},
        "data": {"corpus": "b"},
        "seed": 1,
        "fold": 2,
        "classes": ("happy",),
        "below": {"start": record},
    }
    # The device on which a network was computed is told, but does not count.
    compared = {field.name for field in dataclasses.fields(Provenance) if field.compare}
    assert set(changes) == compared
    others = {dataclasses.replace(record, **{k: v}).fingerprint() for k, v in changes.items()}
    assert len(others | {record.fingerprint()}) == 1 + len(changes)


# ------------------------------------------------------------------------------- differences


def test_differences_are_told_in_words():
    face = Provenance("face", 1, {"face": VaeGanConfig(epochs=8)}, {"corpus": "actors-12"}, 0, 1)
    old = Provenance("can", 1, {"can": CanConfig()}, face.data, 0, 1, ("calm",), {"face": face})
    new = dataclasses.replace(
        old,
        version=2,
        settings={"can": CanConfig(voice_noise=1.0, pairing="emotion")},
        data={"corpus": "actors-56"},
        classes=("calm", "neutral"),
        below={
            "face": dataclasses.replace(
                face,
                settings={"face": VaeGanConfig(epochs=20, milestones=(5,))},
                below={"start": face},
            ),
            "voice": face,
        },
    )
    assert new.differences(old) == [
        "version of can 1 → 2",
        "settings.can.pairing own → emotion",
        "settings.can.voice_noise 0.0 → 1.0",
        "data.corpus actors-12 → actors-56",
        "classes (calm) → (calm, neutral)",
        "below.face: settings.face.epochs 8 → 20",
        "below.face: settings.face.milestones (200, 350) → (5)",
        "below.face.start: was not used",
        "below.voice: was not used",
    ]
    assert "below.voice: no longer used" in old.differences(new)


def test_a_setting_that_is_new_counts_with_its_default():
    settings = dataclasses.asdict(ClassifierConfig())
    del settings["sample"]
    old = Provenance("classifier_face", 1, {"classifier": settings})
    usual, other = (
        Provenance("classifier_face", 1, {"classifier": ClassifierConfig(sample=sample)})
        for sample in (True, False)
    )
    assert usual.differences(old) == []
    assert other.differences(old) == ["settings.classifier.sample True → False"]


def test_what_others_do_not_tell_is_not_compared():
    mine = records()["can_released"]
    theirs = dataclasses.replace(mine, version=None, data=None, below=None)
    assert mine.differences(theirs) == []
    other = dataclasses.replace(mine, settings={"can": CanConfig(epochs=1)}).differences(theirs)
    assert other == ["settings.can.epochs 30 → 1"]


@pytest.mark.parametrize("card", [{}, {"provenance": None}, {"provenance": {"stage": "can"}}])
def test_a_card_without_a_readable_record_tells_nothing(card):
    assert provenance.of_card(card) is None


# ------------------------------------------------------------------------------- shipped networks


def test_every_shipped_network_is_used_by_its_profile():
    run = Run("actors", "quick")
    shipped = {file.stem for file in (ROOT / "checkpoints" / "actors-quick").glob("*.json")}
    names = {judge_name(learns_from) for learns_from in TEACHERS}
    assert shipped == ({*STAGES} | names) - {"face", "voice"}
    for learns_from in TEACHERS:
        assert is_current(run.shipped(judge_name(learns_from)), judge_record(run, learns_from))
    for name in STAGES:
        path = run.fixed_network(name) or ROOT / "checkpoints" / "actors-quick" / name
        stored = provenance.of_card(read_card(path))
        assert run.provenance(name).differences(stored) == [], name
    quick = staleness.of_notebook(ROOT / "notebooks/06_evaluation.ipynb", "actors", "quick", 1, 0)
    assert quick.below["can"].below["voice"] == provenance.of_card(
        read_card(ROOT / "checkpoints" / "crowd" / "voice")
    )


@dataclass(frozen=True)
class LaterConfig(CanConfig):
    """The settings of a later version, which has one more."""

    later: float = 0.0


@pytest.mark.parametrize(
    "change, measured",
    [
        ({}, 0),
        ({"KL weight 0": {"kl_weight": 0.0, "later": 0.5}}, 1),
        ({"another change": {"epochs": 7}}, 1),
        ({"as released, once more": dataclasses.asdict(LaterConfig())}, 1),
    ],
    ids=["a new setting", "its value is changed", "a new ablation", "a new ablation of defaults"],
)
def test_shipped_ablations_are_current_until_a_value_changes(
    change, measured, tmp_path, monkeypatch
):
    measurements = []

    def measure(run):
        measurements.append(run)
        return pd.DataFrame({"change": list(ablations.variants(run.profile.can))})

    profile = config.PROFILES["quick"]
    settings = LaterConfig(**dataclasses.asdict(profile.can))
    monkeypatch.setitem(config.PROFILES, "quick", dataclasses.replace(profile, can=settings))
    run = Run("actors", "quick", out_dir=str(tmp_path))
    as_released = {"all as released": dataclasses.asdict(LaterConfig())}
    for name, changed in (as_released | change).items():
        monkeypatch.setitem(ablations.ABLATIONS, name, changed)
    monkeypatch.setattr(ablations, "ablations", measure)
    assert "as in the profile" in set(notebook_06.ablations(run)["table"].change)
    assert len(measurements) == measured


@pytest.mark.parametrize(
    "profile, fixed",
    [("quick", {"face", "voice"}), ("laptop", {"face"}), ("gestures", {"face", "voice"})]
    + [(name, set()) for name in ("smoke", "tuned", "cpu", "paper")],
)
def test_other_profiles_take_the_vaegans_of_the_crowd_only(profile, fixed):
    run = Run("actors", profile, out_dir="nowhere")
    assert {name for name in ("face", "voice") if run.find(name)} == fixed
    assert (run.find("can") is not None) == (profile == "quick")
    assert Run("actors", profile, seed=1, out_dir="nowhere").find("can") is None


# ------------------------------------------------------------------------------- what is stale


def other(value):
    """Another value of the same kind as a setting's."""
    if value is None:
        return 1
    if isinstance(value, bool):
        return not value
    if isinstance(value, str):
        return value + "x"
    if isinstance(value, tuple):
        return tuple(number + 1 for number in value)
    return value + 1


def stage_records(profile):
    data = {"corpus": str(profile.data)}
    return {
        stage: provenance.of_stage(stage, profile, lambda _: data, 0, 1, ("calm", "happy"))
        for stage in STAGES
    }


def notebook_records(profile_name):
    return {
        name: staleness.of_notebook(
            ROOT / "notebooks" / f"{name}.ipynb", "actors", profile_name, 1, 0
        )
        for name in NOTEBOOKS
    }


ON_FACE = set(STAGES) - {"voice", "classifier_voice"}
ON_VOICE = set(STAGES) - {"face", "classifier_face"}
STALE = {  # the settings that are changed: stages and numbers of notebooks that are then stale
    "data": (set(STAGES), range(1, 12)),
    "face": (ON_FACE, (2, *range(4, 12))),
    "voice": (ON_VOICE, range(3, 12)),
    "classifier": (set(STAGES) - {"face", "voice"}, range(3, 12)),
    "can": ({"can"}, range(5, 12)),
}
SETTINGS = [
    (part, field.name)
    for part in STALE
    for field in dataclasses.fields(type(getattr(config.PROFILES["tuned"], part)))
]


@pytest.mark.parametrize("part, name", SETTINGS)
def test_a_setting_makes_stale_what_depends_on_it(part, name, monkeypatch):
    before = config.PROFILES["tuned"]
    settings = getattr(before, part)
    value = other(getattr(settings, name))
    after = dataclasses.replace(before, **{part: dataclasses.replace(settings, **{name: value})})
    stages, notebooks = stage_records(before), notebook_records("tuned")
    monkeypatch.setitem(config.PROFILES, "tuned", after)

    differences = {
        stage: record.differences(stages[stage]) for stage, record in stage_records(after).items()
    }
    told = {
        int(notebook[:2]): record.differences(notebooks[notebook])
        for notebook, record in notebook_records("tuned").items()
    }
    expected_stages, expected_notebooks = STALE[part]
    assert {stage for stage, lines in differences.items() if lines} == expected_stages
    if (part, name) == ("data", "crowd_limit"):
        expected_notebooks = STALE["face"][1]
    assert {number for number, lines in told.items() if lines} == set(expected_notebooks)
    reasons = [f"settings.{part}.{name} ", "start"]
    if name == "distill_weight":  # it adds a network to what the context network builds on
        reasons.append("classifier_concatenation")
    for line in (line for lines in told.values() for line in lines):
        assert any(reason in line for reason in reasons), line


def test_a_number_of_resamples_makes_only_what_is_counted_stale(monkeypatch):
    before = notebook_records("tuned")
    stages = stage_records(config.PROFILES["tuned"])
    after = dataclasses.replace(config.PROFILES["tuned"], bootstrap=10)
    monkeypatch.setitem(config.PROFILES, "tuned", after)
    assert stage_records(after) == stages
    stale = {n[:2] for n, r in notebook_records("tuned").items() if r.differences(before[n])}
    assert stale == {"02", "03", "04", "05", "06", "07", "10", "11"}


def test_a_notebook_of_shipped_files_is_stale_with_their_cards(tmp_path, monkeypatch):
    source = ROOT / "notebooks" / "12_real_faces.ipynb"
    records = [staleness.of_notebook(source, "actors", p, 1, 0) for p in ("quick", "smoke")]
    assert records[0] == records[1]  # whatever the run is made from
    for folder in staleness.ON_SHIPPED_FILES[source.stem]:
        shutil.copytree(ROOT / folder, tmp_path / folder)
    monkeypatch.setattr(staleness, "ROOT", tmp_path)
    assert staleness.of_notebook(source, "actors", "quick", 1, 0) == records[0]
    card = tmp_path / "checkpoints" / "photographs-128" / "fold-1" / "face.json"
    card.write_text(card.read_text().replace("2026", "2027"))
    changed = staleness.of_notebook(source, "actors", "quick", 1, 0).differences(records[0])
    assert len(changed) == 1 and "photographs-128/fold-1" in changed[0]


@pytest.mark.parametrize("stage", provenance.VERSIONS)
def test_a_version_makes_stale_what_is_built_on_it(stage, monkeypatch):
    before = notebook_records("tuned")
    monkeypatch.setitem(provenance.VERSIONS, stage, provenance.VERSIONS[stage] + 1)
    first = {
        "cropping": 1,
        "preparation": 1,
        "evaluation": 1,
        "encoding": 2,
        "judge": 2,
        "face": 2,
        "small_vaegan": 2,
        "voice": 3,
        "classifier": 3,
        "can": 5,
    }[stage]
    stale = {int(n[:2]) for n, r in notebook_records("tuned").items() if r.differences(before[n])}
    last = 2 if stage == "small_vaegan" else 11
    assert stale == set(range(first, last + 1)) - ({3} if stage == "face" else set())


def test_prose_makes_no_notebook_stale(tmp_path):
    source = ROOT / "notebooks" / "05_context_attention.ipynb"
    book = json.loads(source.read_text())
    changed = tmp_path / source.name
    prose = next(cell for cell in book["cells"] if cell["cell_type"] == "markdown")
    prose["source"] = ["Other words."]
    changed.write_text(json.dumps(book))
    assert staleness.code_of(changed) == staleness.code_of(source)
    code = next(cell for cell in book["cells"] if cell["cell_type"] == "code")
    code["source"] = ["other = code"]
    changed.write_text(json.dumps(book))
    assert staleness.code_of(changed) != staleness.code_of(source)


# ------------------------------------------------------------------------------- the graph

PRETEND = """

def execute(source, target, parameters, progress):
    from cmlib.files import record, write_text

    write_text(target, "{}")
    record(target.parents[1], source.stem, {})
    return 0.0


if __name__ == "__main__":
    sys.exit(main())
"""


@pytest.fixture
def copy(tmp_path):
    """A copy of the project whose notebooks only write an empty file of numbers."""
    for name in ("cmlib", "tools", "notebooks"):
        ignored = shutil.ignore_patterns("__pycache__", "corpus", "*.png")
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignored)
    for name in ("data", "checkpoints"):
        (tmp_path / name).symlink_to(ROOT / name)
    shutil.copy(ROOT / "Snakefile", tmp_path)
    executor = tmp_path / "tools" / "notebooks" / "execute.py"
    text, main, _ = executor.read_text().rpartition('if __name__ == "__main__":')
    assert main, "the executor has no main program any more"
    executor.write_text(text + PRETEND)
    return tmp_path


def reproduce(folder):
    """Run the graph of the notebooks as make does; what each one that is executed says first."""
    names = (*NOTEBOOKS, *ON_SHIPPED_FILES)
    targets = [f"runs/actors-smoke/metrics/{name}.json" for name in names]
    command = [sys.executable, "-m", "snakemake", *targets, "--cores", "1", "--nolock"]
    triggers = ["--rerun-triggers", "mtime", "params", "input", "--config", "profile=smoke"]
    done = subprocess.run(
        command + triggers,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line.split(maxsplit=2) for line in done.stdout.splitlines()]
    return {line[1]: line[2] for line in lines if len(line) == 3 and line[2].startswith("started")}


def test_a_comment_makes_nothing_stale_and_a_setting_what_depends_on_it(copy):
    assert reproduce(copy) == dict.fromkeys((*NOTEBOOKS, *ON_SHIPPED_FILES), "started")
    for module in (copy / "cmlib").rglob("*.py"):
        module.write_text(module.read_text() + "\n# A comment that was not there before.\n")
    assert reproduce(copy) == {}
    settings = copy / "cmlib" / "config.py"
    text = settings.read_text()
    assert "CanConfig(epochs=2)" in text
    settings.write_text(text.replace("CanConfig(epochs=2)", "CanConfig(epochs=2, voice_noise=0.5)"))
    reason = "started again: below.can: settings.can.voice_noise 0.0 → 0.5"
    assert reproduce(copy) == dict.fromkeys(NOTEBOOKS[4:], reason)


def test_the_device_is_told_and_never_compared():
    here = provenance.of_code("judge", {"epochs": 3})
    told = {"device": "cuda", "devices": 2, "precision": "bf16-mixed"}
    there = dataclasses.replace(here, computed=told)
    assert there.to_json()["computed"] == told and "computed" not in here.to_json()
    assert Provenance.from_json(there.to_json()) == there and there.computed == told
    assert here.fingerprint() == there.fingerprint() and here == there
    assert here.differences(there) == there.differences(here) == []
