"""``cm evaluate``, ``cm congruence`` and ``cm ablate``: how good the networks are."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from cmlib import files
from cmlib.cli.options import Corpus, Fold, FoldOrAll, Fresh, Profile, Seed, Seeds, TrainMissing
from cmlib.locks import locked

if TYPE_CHECKING:
    import pandas as pd

    from cmlib.evaluation.scoring import Predictions
    from cmlib.experiment.run import Run

SCORES = {  # column of the table of scores: what is printed above it
    "clip_accuracy": "clip accuracy",
    "frame_accuracy": "frame accuracy",
    "unweighted_average_recall": "mean recall",
}
FOLDS = range(1, 6)


def evaluate(
    *,
    corpus: Corpus = "actors",
    profile: Profile = "quick",
    fold: FoldOrAll = 1,
    seed: Seeds = (0,),
    train_missing: TrainMissing = False,
    fresh: Fresh = False,
    out: Annotated[
        Path | None,
        Parameter(help="Also write tables, predictions and a JSON file into this folder."),
    ] = None,
) -> None:
    """Print the accuracy on validation actors, then on test actors, with intervals."""
    from cmlib import provenance

    if fresh:
        provenance.ignore_shipped()
    if out is None:
        _evaluate(corpus, profile, fold, seed, train_missing, None)
        return
    # A process that outlived the study that started it may still be at work here.
    with locked(out / ".lock", f"evaluating into {out}"):
        _evaluate(corpus, profile, fold, seed, train_missing, out)


def _evaluate(
    corpus: str,
    profile: str,
    fold: int | str,
    seeds: Sequence[int],
    train_missing: bool,
    out: Path | None,
) -> None:
    from cmlib.evaluation import scoring

    runs = _trained_runs(corpus, profile, fold, seeds, train_missing)
    evaluations = {}
    for subset in scoring.SCORED_SUBSETS:
        scores, predictions = scoring.score_runs(runs, subset, scoring.available_models(runs[0]))
        _print_scores(subset, scores, predictions, runs)
        evaluations[subset] = (scores, predictions)
    if out:
        write_evaluation(out, runs, evaluations)


def write_evaluation(
    folder: Path, runs: list[Run], evaluations: dict[str, tuple[pd.DataFrame, Predictions]]
) -> None:
    """Write what ``cm evaluate`` prints, and what a study puts together, into ``folder``.

    ``scores.csv`` and ``differences.csv`` have a column subset; ``predictions-SUBSET.npz`` hold the
    log probabilities of each frame. ``evaluation.json`` has all but these. It is written last, so
    that it is the sign that the folder is complete.
    """
    import pandas as pd

    from cmlib.evaluation import scoring

    score_tables, difference_tables = [], []
    for subset, (scores, predictions) in evaluations.items():
        scoring.save_predictions(folder / f"predictions-{subset}.npz", predictions)
        score_tables.append(scores.assign(subset=subset))
        if "can" in predictions.log_probabilities:
            table = scoring.differences(predictions, resamples=runs[0].profile.bootstrap)
            difference_tables.append(table.assign(subset=subset))
    tables = {"scores": pd.concat(score_tables)}
    if difference_tables:
        tables["differences"] = pd.concat(difference_tables)
    for name, table in tables.items():
        files.write_text(folder / f"{name}.csv", table.to_csv(index=False))
    first = runs[0]
    record = {
        "corpus": first.corpus,
        "profile": first.profile_name,
        "folds": sorted({run.fold for run in runs}),
        "seeds": sorted({run.seed for run in runs}),
        "classes": first.classes,
        "processor_seconds": _processor_seconds(),
        **{name: table.to_dict("records") for name, table in tables.items()},
    }
    text = json.dumps(files.plain(record), indent=1, allow_nan=False)
    files.write_text(folder / "evaluation.json", text + "\n")


def _processor_seconds() -> float:
    """Processor time of this process and of those that it has started and that have ended."""
    times = os.times()
    return round(times.user + times.system + times.children_user + times.children_system, 1)


def _trained_runs(
    corpus: str, profile: str, fold: int | str, seeds: Sequence[int], train_missing: bool
) -> list[Run]:
    """The runs of all folds and seeds; without ``train_missing``, only those that are trained.

    A line on stderr names the others. ValueError if none is trained.
    """
    from cmlib.evaluation import scoring
    from cmlib.experiment.run import Run

    folds = FOLDS if fold == "all" else [int(fold)]
    runs = [Run(corpus, profile, seed, each) for seed in seeds for each in folds]
    if not train_missing:
        incomplete = [run for run in runs if scoring.missing_networks(run)]
        runs = [run for run in runs if run not in incomplete]
        if not runs:
            raise ValueError(_how_to_train(incomplete))
        if incomplete:
            print(f"cm: {_how_to_train(incomplete)}", file=sys.stderr)
    _print_heading(runs)
    return runs


def _print_heading(runs: list[Run]) -> None:
    """Print what is evaluated: corpus and profile, folds, seeds and classes."""
    fold_names = ", ".join(dict.fromkeys(str(run.fold) for run in runs))
    seed_names = ", ".join(dict.fromkeys(str(run.seed) for run in runs))
    classes = len(runs[0].classes)
    print(
        f"{runs[0].corpus}-{runs[0].profile_name}, fold {fold_names}, seed {seed_names}: "
        f"{classes} classes, chance {100 / classes:.1f} %; 95 % intervals over actors"
    )


def _how_to_train(incomplete: list[Run]) -> str:
    """Which folds of which seeds are not trained, and the command that trains the first of them."""
    first = incomplete[0]
    command = (
        f"make reproduce CORPUS={first.corpus} PROFILE={first.profile_name} "
        f"SEED={first.seed} FOLD={first.fold}"
    )
    groups = []
    for seed in dict.fromkeys(run.seed for run in incomplete):
        folds = ", ".join(str(run.fold) for run in incomplete if run.seed == seed)
        groups.append(f"seed {seed}, fold {folds}")
    return f"not trained: {'; '.join(groups)}; train with: {command} (or add --train here)"


def _print_scores(
    subset: str, scores: pd.DataFrame, predictions: Predictions, runs: list[Run]
) -> None:
    """Print a table of ``scoring.score_runs``, and how the context network differs from others."""
    from cmlib.evaluation import scoring
    from cmlib.plots.palette import MODEL_NAMES

    n_seeds = len({run.seed for run in runs})
    several_runs = len(runs) > 1
    counted = "clips" if n_seeds == 1 else f"answers of networks of {n_seeds} seeds about clips"
    n_clips, n_actors = len(set(predictions.clips)), len(set(predictions.actors))
    print(f"\n{subset}: {n_clips} {counted} of {n_actors} actors")

    width = 2 + max(len(name) for name in MODEL_NAMES.values())
    heading = " " * width + "".join(f"{name:<24}" for name in SCORES.values())
    if several_runs:
        repeats = "folds" if n_seeds == 1 else f"{len(runs)} folds and seeds"
        heading += f"clips, mean ± sd of {repeats}"
    print(heading)
    for model in scores.model.unique():
        by_score = scores[scores.model == model].set_index("score")
        cells = [f"{percent(by_score.loc[score])} %" for score in SCORES]
        line = f"{MODEL_NAMES[model]:<{width}}" + "".join(f"{cell:<24}" for cell in cells)
        if several_runs:
            mean, sd = 100 * by_score.loc["clip_accuracy", ["mean", "sd"]]
            line += f"{mean:.1f} ± {sd:.1f} %"
        print(line)
    if "can" in predictions.log_probabilities:
        differences = scoring.differences(predictions, resamples=runs[0].profile.bootstrap)
        for _, row in differences.iterrows():
            other = f"{MODEL_NAMES[row.other]:<{width}}"
            print(f"context attention minus {other}{percent(row)} points, p = {row.p:.3g}")


def percent(score) -> str:
    """A row with value, low and high as per cent: "64.6 (58.6 to 72.9)"."""
    return f"{100 * score.value:5.1f} ({100 * score.low:.1f} to {100 * score.high:.1f})"


def congruence(
    *,
    corpus: Corpus = "actors",
    profile: Profile = "quick",
    fold: FoldOrAll = 1,
    seed: Seeds = (0,),
    train_missing: TrainMissing = False,
    fresh: Fresh = False,
) -> None:
    """Measure whether faces take on the voice's emotion, and stay who they are.

    A judge looks at neutral faces of test actors in the context of voices of the same actors.
    """
    import pandas as pd

    from cmlib import provenance
    from cmlib.evaluation import representations

    if fresh:
        provenance.ignore_shipped()
    runs = _trained_runs(corpus, profile, fold, seed, train_missing)
    settings = runs[0].profile
    if not runs[0].store.has_faces:
        raise ValueError(
            f"{corpus} has sound only: there is no face that could show what a voice says"
        )
    tables = [representations.measured(run) for run in runs]
    table = pd.concat(tables, ignore_index=True)
    n_pairs = len(table) // table.strength.nunique()
    n_actors = table.actor.nunique()
    print(f"\n{n_pairs} pairs of a neutral face and a voice of {n_actors} test actors")
    _print_gains(representations.congruence(table, settings.bootstrap))
    other_measures = representations.identity_and_typicality(table, settings.bootstrap)
    for _, row in other_measures[other_measures.strength == 1].iterrows():
        print(f"{row.measure:<20}{percent(row)} %")


def _print_gains(gains: pd.DataFrame) -> None:
    """Print what the voice's emotion gains at each strength, and how often the judge names it."""
    strengths = sorted(set(gains.strength) - {0})
    columns = "".join(f"{strength:<24g}" for strength in strengths)
    print(f"{'points gained, t =':<20}{columns}judge names it: before, at t = 1")
    for emotion, rows in gains.groupby("emotion", sort=False):
        by_strength = rows.set_index("strength")
        cells = "".join(f"{percent(by_strength.loc[strength]):<24}" for strength in strengths)
        before, after = by_strength.first_choice_before[1.0], by_strength.first_choice[1.0]
        print(f"{emotion:<20}{cells}{100 * before:.1f}, {100 * after:.1f} %")


def ablate(
    *, corpus: Corpus = "actors", profile: Profile = "quick", fold: Fold = 1, seed: Seed = 0
) -> None:
    """Compare ways to measure how well faces are reconstructed (notebook 11)."""
    from cmlib.evaluation import face_ablations
    from cmlib.experiment.run import Run

    table = face_ablations.face_ablations(Run(corpus, profile, seed, fold), train=True)
    print(table.to_string(index=False, float_format="{:.4f}".format))
