"""What the results of each notebook are made from, and so which notebooks have to run again.

A notebook's record holds its code cells (its prose does not count), the settings that it reads, the
files of its corpus, and the records of the networks and other stages that it uses. Snakemake
compares the fingerprint; the executed notebook keeps the record beside it, so that a later
execution can say what has changed.
"""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path

from cmlib import provenance
from cmlib.config import get_profile
from cmlib.corpora import archives, current_root, split_pair
from cmlib.corpora.names import classes_of
from cmlib.files import ROOT
from cmlib.provenance import Provenance

CLASSIFIERS = tuple(
    f"classifier_{fusion}" for fusion in ("face", "voice", "product_of_experts", "concatenation")
)
MODELS = (*CLASSIFIERS, "can_released", "can")
CODE = ("encoding", "judge", "evaluation")
USED_BY_EVALUATION = (MODELS, CODE, ("bootstrap",))

# What each notebook uses: networks by stage, other stages whose code it runs, and the settings of
# the profile that it reads itself, besides those that its networks were trained with.
NOTEBOOKS = {
    "01_data_preparation": ((), ("evaluation",), ()),
    "02_face_vae": (("face",), (*CODE, "small_vaegan"), ("face", "bootstrap")),
    "03_voice_vae": (("voice", "classifier_voice"), CODE, ("voice", "bootstrap")),
    "04_expression_classifier": (CLASSIFIERS, CODE, ("bootstrap",)),
    "05_context_attention": (MODELS, CODE, ("bootstrap",)),
    "06_evaluation": (MODELS, CODE, ("bootstrap",)),
    "07_mental_representations": (MODELS, CODE, ("bootstrap",)),
    "08_generation_demo": (("can",), CODE, ()),
    "09_rating_study": (("can",), CODE, ()),
    "10_rating_analysis": (("can",), CODE, ("bootstrap",)),
    "11_more_witnesses": (MODELS, CODE, ("face", "bootstrap")),
}

# Notebooks that use no data and no network of a run, but shipped files alone.
ON_SHIPPED_FILES = {
    "00_why_context": (
        "checkpoints/actors-quick",
        "checkpoints/crowd-64",
        "checkpoints/crowd",
        "checkpoints/performers+ravdess-photographs",
        "docs/metrics",
    ),
    "12_real_faces": (
        "checkpoints/photographs-128/fold-1",
        "checkpoints/performers+ravdess-photographs",
        "checkpoints/observers",
    ),
}


def of_notebook(source: Path, corpus: str, profile_name: str, fold: int, seed: int) -> Provenance:
    """The record of the notebook ``source`` as it would be executed today."""
    cells = {"notebook": source.stem, "code cells": code_of(source)}
    if source.stem in ON_SHIPPED_FILES:
        cells |= {folder: cards_of(folder) for folder in ON_SHIPPED_FILES[source.stem]}
        return Provenance(source.stem, 1, {}, cells, seed, fold)
    uses = NOTEBOOKS.get(source.stem, USED_BY_EVALUATION)
    return _of_run(source.stem, uses, cells, corpus, profile_name, fold, seed)


def of_evaluation(corpus: str, profile_name: str, fold: int, seed: int) -> Provenance:
    """The record of ``cm evaluate`` on one run as it would be evaluated today."""
    return _of_run("evaluate", USED_BY_EVALUATION, {}, corpus, profile_name, fold, seed)


def _of_run(
    name: str,
    uses: tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]],
    cells: dict[str, str],
    corpus: str,
    profile_name: str,
    fold: int,
    seed: int,
) -> Provenance:
    """The record of what ``uses`` names: networks, other stages, and settings of the profile."""
    profile = get_profile(profile_name)
    classes = classes_of(corpus, profile.neutral)
    networks, code, names = uses
    corpus_files = {"corpus": listing(corpus)}

    def data(stage: str) -> dict[str, str]:
        if provenance.uses_crowd(stage, profile):
            return corpus_files | {"crowd": listing("crowd")}
        return corpus_files

    below = {
        stage: provenance.of_stage(stage, profile, data, seed, fold, classes) for stage in networks
    }
    below |= {stage: provenance.of_code(stage) for stage in code}
    below["preparation"] = provenance.of_preparation(
        {"clips_limit": profile.data.clips_limit, **_prepared(profile)}, corpus_files
    )
    settings = {name: getattr(profile, name) for name in names}
    return Provenance(name, 1, settings, cells, seed, fold, classes, below)


def _prepared(profile) -> dict[str, int]:
    names = ("image_size", "frames_per_clip")
    return {name: getattr(profile.data, name) for name in names}


def cards_of(folder: str) -> str:
    """12 hexadecimal digits of the cards and numbers in a folder of the repository."""
    paths = sorted((ROOT / folder).glob("*.json"))
    texts = {path.name: path.read_text(encoding="utf-8") for path in paths}
    return hashlib.sha256(json.dumps(texts).encode()).hexdigest()[:12]


def code_of(source: Path) -> str:
    """12 hexadecimal digits of the code cells of a notebook."""
    cells = json.loads(source.read_text(encoding="utf-8"))["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    return hashlib.sha256(json.dumps(code).encode()).hexdigest()[:12]


@cache
def listing(corpus: str) -> str:
    """12 hexadecimal digits of the names and sizes of a corpus' files, except Markdown."""
    pair = split_pair(corpus)
    if pair:  # pictures with their table, and voices of another corpus
        pictures, voices = (current_root(name) for name in pair)
        table = pictures.with_name(f"{pictures.name}.csv")
        sizes = [*_sizes(pictures), *_sizes(voices)]
        if table.exists():
            sizes.append((table.name, table.stat().st_size))
    else:
        root = current_root(corpus)
        if corpus == "crowd" and not root.is_dir():
            root = ROOT / "data" / "crowd"  # the one that is shipped
        sizes = _sizes(root)
    return hashlib.sha256(json.dumps(sizes).encode()).hexdigest()[:12]


def _sizes(root: Path) -> list[tuple[str, int]]:
    """The name and size of every file below a folder, or of the archive that takes its place."""
    archive, _ = archives.split(root / "x")
    if not root.is_dir() and archive.is_file():
        return [(archive.name, archive.stat().st_size)]
    sizes = [
        (path.relative_to(root).as_posix(), path.stat().st_size)
        for path in archives.files_below(root)
        if path.is_file() and path.suffix != ".md"
    ]
    return sorted(sizes)


def record_beside(executed: Path) -> Path:
    """Where the record of an executed notebook is kept."""
    return executed.with_suffix(".provenance.json")


def changes(executed: Path, record: Provenance) -> list[str]:
    """How ``record`` differs from that of the last execution.

    [] if they are the same, or if there was none.
    """
    try:
        stored = Provenance.from_json(json.loads(record_beside(executed).read_text()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []
    return record.differences(stored)
