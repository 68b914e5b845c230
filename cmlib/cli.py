"""The command ``cm``, thin over the library's functions."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from cmlib.config import PROFILES
from cmlib.corpora import CORPORA

FUSED = (
    "classifier_face",
    "classifier_voice",
    "classifier_product_of_experts",
    "classifier_concatenation",
)
STAGES = {
    "face": ("face",),
    "voice": ("voice",),
    "classifier": FUSED,
    "can": ("can_released", "can"),
}


def main(argv: list[str] | None = None) -> int:
    """Run a command; 0 done, 1 failed with one line on stderr, 130 stopped with Ctrl-C."""
    parser = argparse.ArgumentParser(
        prog="cm", description="Facial expressions in the context of a voice."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    p = commands.add_parser(
        "prepare", help="decode a corpus once into face crops and mel spectrograms"
    )
    _corpus(p)
    p.add_argument("--workers", type=int, help="processes (default: one a core)")
    p.add_argument(
        "--sheet",
        metavar="FILE",
        help="also draw a face crop of each actor and emotion into this picture",
    )
    p.set_defaults(run=_prepare)

    p = commands.add_parser(
        "fetch", help="download a published corpus; goes on where it was stopped"
    )
    p.add_argument(
        "corpus", choices=["ravdess"], help="ravdess: 24 archives with about 13 GB, CC BY-NC-SA 4.0"
    )
    p.add_argument("--actors", type=numbers, help="only these, as in 1-4,9 (default: all 24)")
    p.add_argument(
        "--audio-only",
        action="store_true",
        help="only the sound: one archive of all actors, 0.2 GB",
    )
    p.add_argument(
        "--root", help="folder for the archives (default: $CM_DATA/ravdess, or data/ravdess)"
    )
    p.add_argument("--url", help="a mirror of the record in Zenodo's interface")
    p.set_defaults(run=_fetch)

    p = commands.add_parser(
        "verify", help="check a corpus, and what was prepared from it, against checksums"
    )
    _corpus(p)
    p.set_defaults(run=_verify)

    p = commands.add_parser(
        "plan", help="what a profile will cost on this machine: steps, time, memory; trains nothing"
    )
    p.add_argument("profile", nargs="?", default="quick", choices=PROFILES)
    p.add_argument("--corpus", default="actors")
    p.add_argument("--fold", type=int, default=1)
    p.set_defaults(run=_plan)

    p = commands.add_parser(
        "train", help="train a stage, and first what it needs; a killed training goes on"
    )
    p.add_argument("stage", choices=(*STAGES, "all"))
    p.add_argument("--corpus", default="actors")
    p.add_argument("--profile", default="quick", choices=PROFILES)
    p.add_argument("--fold", type=int, default=1)
    p.add_argument("--seed", type=int, default=0)
    p.add_argument(
        "--devices",
        type=int,
        default=1,
        help="that share each batch of face or voice: GPUs, else processes",
    )
    p.add_argument(
        "--nodes",
        type=int,
        default=1,
        help="machines with one file system; start it on each (torchrun, SLURM)",
    )
    p.add_argument("--precision", default="auto", choices=("auto", "32-true", "bf16-mixed"))
    p.add_argument(
        "--log",
        default="csv",
        choices=("csv", "tensorboard"),
        help="of face and voice (default: csv)",
    )
    p.set_defaults(run=_train)

    p = commands.add_parser(
        "perceive", help="one face in the context of one voice: a picture and its numbers"
    )
    p.add_argument(
        "--image",
        required=True,
        metavar="FILE",
        help="a picture with a face, or a video (its middle frame)",
    )
    p.add_argument("--audio", required=True, metavar="FILE", help="a sound or video file")
    p.add_argument(
        "--strength", type=float, default=0.7, help="of the context, 0 to 1 (default: 0.7)"
    )
    p.add_argument(
        "--model",
        default="actors",
        help="a corpus, <corpus>-<profile>, or a folder of checkpoints (default: actors)",
    )
    p.add_argument(
        "-o",
        "--out",
        type=Path,
        default=Path("perceived.png"),
        help="the picture; the JSON lies beside it",
    )
    p.set_defaults(run=_perceive)

    p = commands.add_parser(
        "pretrain",
        help="learn faces or voices from the crowd; what is shipped of it serves most profiles",
    )
    p.add_argument(
        "--voices",
        action="store_true",
        help="learn voices (python -m tools.corpus voices makes them first)",
    )
    p.add_argument(
        "--images",
        metavar="DIR",
        help="learn from these pictures instead: CelebA, RaFD, or any folder",
    )
    p.add_argument(
        "--size", type=int, default=64, help="side of the pictures, a multiple of 32 (default: 64)"
    )
    p.add_argument("--seed", type=int, default=0)
    p.set_defaults(run=_pretrain)

    p = commands.add_parser(
        "import-checkpoint", help="make networks of a checkpoint of the released research code"
    )
    p.add_argument("file", help="a .ckpt of any stage; no code in it is run")
    p.add_argument(
        "--out", metavar="DIR", help="folder for the networks (default: checkpoints/CORPUS-paper)"
    )
    p.add_argument(
        "--corpus",
        default="ravdess_released",
        choices=CORPORA,
        help="what it was trained on: its classes",
    )
    p.set_defaults(run=_import)

    p = commands.add_parser(
        "evaluate", help="accuracy on validation, then on test actors, with intervals"
    )
    _experiment(p, fold="1 to 5, or all: every actor tested once", seeds=True)
    p.add_argument("--train", action="store_true", help="train what is not trained yet")
    p.set_defaults(run=_evaluate)

    p = commands.add_parser(
        "congruence",
        help="do neutral test faces show the emotion of the voice, and stay who they are?",
    )
    _experiment(p, fold="1 to 5, or all", seeds=True)
    p.add_argument("--train", action="store_true", help="train what is not trained yet")
    p.set_defaults(run=_congruence)

    p = commands.add_parser(
        "ablate",
        help="train the face VAE-GAN with other measures of reconstruction, for notebook 11",
    )
    _experiment(p)
    p.set_defaults(run=_ablate)

    p = commands.add_parser(
        "figures", help="draw figures again, without training: SVG, PDF, PNG, CSV"
    )
    p.add_argument(
        "names", nargs="*", metavar="NAME", help="such as 06_test_accuracy (default: every one)"
    )
    _experiment(p)
    p.add_argument(
        "-o",
        "--out",
        metavar="DIR",
        type=Path,
        help="folder for the files (default: figures of the run)",
    )
    p.add_argument(
        "--gallery", metavar="DIR", type=Path, help="also write a page of all figures with previews"
    )
    p.add_argument("--list", action="store_true", help="only print the names, and who draws them")
    p.set_defaults(run=_figures)

    arguments = parser.parse_args(argv)
    try:
        return arguments.run(arguments)
    except KeyboardInterrupt:
        print(
            "\ncm: stopped; what is done is kept, the same command goes on from there",
            file=sys.stderr,
        )
        return 130
    except (ValueError, RuntimeError, OSError) as error:
        print(f"cm: {error}", file=sys.stderr)
        return 1


def _corpus(parser: argparse.ArgumentParser) -> None:
    more = "ravdess+song has sung clips too, mead+left_30+top further cameras"
    parser.add_argument("corpus", help=f"{', '.join(CORPORA)}; {more}")
    parser.add_argument("--root", help="its folder (default: $CM_DATA/CORPUS, or data/CORPUS)")
    parser.add_argument(
        "--profile",
        default="quick",
        choices=PROFILES,
        help="size, number of frames (default: quick)",
    )
    parser.add_argument(
        "--cache", help="where prepared corpora are kept (default: $CM_CACHE, or data/prepared)"
    )


def _experiment(parser: argparse.ArgumentParser, fold: str = "1 to 5", seeds: bool = False) -> None:
    parser.add_argument("--corpus", default="actors")
    parser.add_argument("--profile", default="quick", choices=PROFILES)
    choices = [*"012345", *(["all"] if "all" in fold else [])]
    parser.add_argument(
        "--fold", default="1", choices=choices, metavar="FOLD", help=f"{fold} (default: 1)"
    )
    parser.add_argument(
        "--seed",
        **(
            dict(type=_seeds, default=[0], help="or several, as in 0-2")
            if seeds
            else dict(type=int, default=0)
        ),
    )


def numbers(text: str, least: int = 1, most: int = 24) -> list[int]:
    """ "1-4,9" -> [1, 2, 3, 4, 9], each from ``least`` to ``most``."""
    found = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        found |= set(range(int(first), int(last or first) + 1))
    if not found or min(found) < least or max(found) > most:
        raise argparse.ArgumentTypeError(f"numbers from {least} to {most}, as in 1-4,9")
    return sorted(found)


def _seeds(text: str) -> list[int]:
    return numbers(text, 0, 2**31 - 1)


def _fetch(a: argparse.Namespace) -> int:
    from cmlib import corpora
    from cmlib.corpora import download

    if a.audio_only and a.actors:
        raise ValueError(
            "the sound of all actors is one archive: leave out --actors or --audio-only"
        )
    root = Path(a.root or corpora.default_root(a.corpus))
    archives = download.fetch(
        root, a.actors or download.ACTORS, a.audio_only, a.url or download.RECORD
    )
    print(
        f"{root}: {', '.join(path.name for path in archives)} whole; CC BY-NC-SA 4.0, {download.PAGE}"
    )
    print(
        f"next: cm prepare {a.corpus}"
        + (f" --root {a.root}" if a.root else "")
        + "   (reads them packed)"
    )
    return 0


def _prepare(a: argparse.Namespace) -> int:
    from cmlib.preparation.prepare import prepare  # here, because it loads torch

    started = time.monotonic()
    store = prepare(a.corpus, a.profile, a.root, a.cache, a.workers)
    card = store.card
    print(
        f"{card['corpus']}: {card['clips']} clips of {card['actors']} actors, {card['frames']} frames"
    )
    if store.has_faces:
        rate = store.clips.face_rate[store.clips.n_frames > 0].mean()
        print(
            f"faces: in {100 * rate:.1f} % of the frames looked at; {card['clips_without_face']} clips without one"
        )
        for name in store.clips.name[(store.clips.n_frames > 0) & ~store.clips.face_found]:
            print(f"  no face, the middle of the picture is kept: {name}")
    if card["silent_clips"]:
        print(f"silent: {', '.join(store.clips.name[store.clips.silent])}")
    if card["skipped"]:
        kinds = store.skipped.reason.str.extract(
            r"^(name|song|suffix|duplicate|view|missing|sound|archive): "
        )[0]
        kinds = kinds.fillna("unreadable")
        print("skipped: " + ", ".join(f"{n} {kind}" for kind, n in kinds.value_counts().items()))
        alike = (
            kinds.isin(["song", "duplicate"]) & kinds.duplicated()
        )  # of these the first says it all
        for at, reason in store.skipped[~alike].head(20).itertuples(index=False):
            print(f"  {reason}" if at in reason else f"  {at}: {reason}")
        print(f"  all of them: {store.folder / 'skipped.csv'}")
    if a.sheet:
        _sheet(store, Path(a.sheet))
    print(f"{store.folder} ({time.monotonic() - started:.1f} s now, {card['seconds']} s of work)")
    return 0


def _sheet(store, path: Path) -> None:
    """Draw the middle crop of one clip of each actor and emotion, the strongest; "no face" where none was found."""
    from cmlib.corpora.names import EMOTIONS
    from cmlib.plots.figures import image_grid

    clips = store.clips[store.clips.n_frames > 0].sort_values("intensity", kind="stable")
    if clips.empty:
        raise ValueError(f"{path}: no picture to draw, the corpus is sound only")
    chosen = clips.groupby(["actor", "emotion"]).tail(1).set_index(["actor", "emotion"])
    emotions = [*EMOTIONS, *sorted(set(clips.emotion) - set(EMOTIONS))]
    actors = sorted(set(clips.actor))
    rows = [
        [chosen.loc[(a, e)] if (a, e) in chosen.index else None for e in emotions] for a in actors
    ]
    crops = [
        [None if c is None else store.frames[c.first_frame + c.n_frames // 2] for c in row]
        for row in rows
    ]
    faults = [["" if c is None or c.face_found else "no face" for c in row] for row in rows]
    figure = image_grid(
        crops,
        [str(a) for a in actors],
        emotions,
        faults if any(map(any, faults)) else None,
        size=0.6,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    print(f"contact sheet: {path}")


def _plan(a: argparse.Namespace) -> int:
    import os

    from cmlib.experiment.plan import plan

    os.environ["CM_QUIET"] = "1"
    table = plan(a.corpus, a.profile, a.fold)
    print(
        f"profile {a.profile} on {a.corpus}, fold {a.fold}; measured on a few steps, without preparing and evaluating"
    )
    print(
        f"{'stage':<12}{'pictures':>10}{'epochs':>8}{'steps':>10}{'s a step':>10}{'time':>10}{'memory':>10}"
    )
    for r in table.itertuples():
        memory = "" if r.memory_gb != r.memory_gb else f"{r.memory_gb:.1f} GB"
        print(
            f"{r.stage:<12}{r.pictures:>10,}{r.epochs:>8}{r.steps:>10,}{r.seconds_per_step:>10.3f}{span(r.hours):>10}{memory:>10}"
        )
    print(f"in all about {span(table.hours.sum())}")
    return 0


def span(hours: float) -> str:
    """Hours in words of the right size: "12 s", "5 min", "3.2 h", "17 days"."""
    for size, name in ((24, "days"), (1, "h"), (1 / 60, "min")):
        if hours >= 2 * size:
            return (
                f"{hours / size:.1f} {name}" if hours < 10 * size else f"{hours / size:.0f} {name}"
            )
    return f"{hours * 3600:.0f} s"


def _train(a: argparse.Namespace) -> int:
    from lightning_fabric.utilities.exceptions import MisconfigurationException

    from cmlib import checkpoints
    from cmlib.experiment.run import Run
    from cmlib.training.loop import launch

    try:
        fabric = launch(a.precision, a.devices, a.nodes)
    except (MisconfigurationException, TypeError) as error:  # more of them than there are, or none
        raise ValueError(f"--devices {a.devices}: {str(error).strip()}") from None
    run = Run(a.corpus, a.profile, a.seed, a.fold)
    names = [n for stage, group in STAGES.items() if a.stage in (stage, "all") for n in group]
    names = (
        names if run.store.has_faces else [n for n in names if n in ("voice", "classifier_voice")]
    )
    if not names:
        raise ValueError(f"{a.corpus} has sound only: train voice, classifier or all")
    for kind in ("face", "voice"):
        if kind in names:
            run.vaegan(kind, retrain=True, fabric=fabric, log=a.log)
        elif a.stage in ("classifier", "can") and (kind == "voice" or run.store.has_faces):
            run.vaegan(kind, fabric=fabric, log=a.log)
    for name in (
        names if fabric.is_global_zero else ()
    ):  # on latents, which takes seconds: one device does it
        if name not in ("face", "voice"):
            run.reader(name.removeprefix("classifier_"), retrain=True)
        scores = checkpoints.read_card(run.find(name))["validation"]
        said = [
            f"{k} {v:.5f}" if isinstance(v, float) else f"{k} {v['value']:.3f}"
            for k, v in scores.items()
        ]
        print(f"{name}: validation {', '.join(said)}; {run.find(name)}.safetensors")
    return 0


def _perceive(a: argparse.Namespace) -> int:
    import json

    from cmlib.perceiver import Perceiver

    if a.out.suffix.lower() not in (".png", ".jpg", ".jpeg", ".webp"):
        raise ValueError(f"{a.out}: the picture's name should end in .png, .jpg or .webp")
    p = Perceiver.load(a.model).perceive(a.image, a.audio, a.strength)
    a.out.parent.mkdir(parents=True, exist_ok=True)
    p.merged().save(a.out)
    text = json.dumps(
        {"image": a.image, "audio": a.audio, "model": a.model} | p.summary(), indent=1
    )
    a.out.with_suffix(".json").write_text(text + "\n", encoding="utf-8")
    for note in p.notes:
        print(note)
    print(f"{'':<12}{'face alone':>12}{'in context':>12}")
    for name, before, after in zip(p.classes, p.alone, p.probabilities):
        print(
            f"{name:<12}{100 * before:>10.1f} %{100 * after:>10.1f} %" + "  <" * (name == p.label)
        )
    print(
        f"perceived as {p.label} at strength {p.strength:g}: {a.out}, {a.out.with_suffix('.json').name}"
    )
    return 0


def _trained(a: argparse.Namespace) -> list:
    """The runs that --fold and --seed name; without --train those of them that are trained, with a line about the others."""
    from cmlib.evaluation import scoring
    from cmlib.experiment.run import Run

    folds = range(1, 6) if a.fold == "all" else [int(a.fold)]
    runs = [Run(a.corpus, a.profile, seed, fold) for seed in a.seed for fold in folds]
    lost = [run for run in runs if not a.train and scoring.missing_networks(run)]
    if lost:
        command = f"make reproduce CORPUS={a.corpus} PROFILE={a.profile} SEED={lost[0].seed} FOLD={lost[0].fold}"
        which = "; ".join(
            f"seed {s}, fold {', '.join(str(r.fold) for r in lost if r.seed == s)}"
            for s in dict.fromkeys(r.seed for r in lost)
        )
        said = f"not trained: {which}; train with: {command} (or add --train here)"
        if len(lost) == len(runs):
            raise ValueError(said)
        print(f"cm: {said}", file=sys.stderr)
    runs = [run for run in runs if run not in lost]
    folds, seeds = (
        ", ".join(map(str, dict.fromkeys(getattr(run, what) for run in runs)))
        for what in ("fold", "seed")
    )
    classes = len(runs[0].classes)
    print(
        f"{a.corpus}-{a.profile}, fold {folds}, seed {seeds}: {classes} classes, chance {100 / classes:.1f} %; 95 % intervals over actors"
    )
    return runs


def _evaluate(a: argparse.Namespace) -> int:
    from cmlib.evaluation import scoring

    runs = _trained(a)
    for subset in scoring.SUBSETS:
        scores, predictions = scoring.score_runs(runs, subset, scoring.available_models(runs[0]))
        _scores(subset, scores, predictions, runs)
    return 0


def _scores(subset: str, scores, predictions, runs: list) -> None:
    """Print a table of ``scoring.score_runs``, and what separates the context network from the others."""
    from cmlib.evaluation import scoring
    from cmlib.plots.palette import MODEL_NAMES

    columns = dict(
        clip_accuracy="clip accuracy",
        frame_accuracy="frame accuracy",
        unweighted_average_recall="mean recall",
    )
    seeds, several = len({run.seed for run in runs}), len(runs) > 1
    what = "clips" if seeds == 1 else f"answers of networks of {seeds} seeds about clips"
    clips, actors = len(set(predictions.clips)), len(set(predictions.actors))
    print(f"\n{subset}: {clips} {what} of {actors} actors")
    spread = f"clips, mean ± sd of {'folds' if seeds == 1 else f'{len(runs)} folds and seeds'}"
    wide = 2 + max(len(name) for name in MODEL_NAMES.values())
    print(" " * wide + "".join(f"{c:<24}" for c in columns.values()) + spread * several)
    for name, own in scores.groupby("model", sort=False):
        own = own.set_index("score")
        cells = [f"{percent(own.loc[c])} %" for c in columns]
        clip = 100 * own.loc["clip_accuracy", ["mean", "sd"]]
        folds = f"{clip['mean']:.1f} ± {clip['sd']:.1f} %" if several else ""
        print(f"{MODEL_NAMES[name]:<{wide}}" + "".join(f"{c:<24}" for c in cells) + folds)
    if "can" in predictions.log_probabilities:
        resamples = runs[0].profile.bootstrap
        for _, row in scoring.differences(predictions, resamples=resamples).iterrows():
            print(
                f"context attention minus {MODEL_NAMES[row.other]:<{wide}}{percent(row)} points, p = {row.p:.3g}"
            )


def percent(score) -> str:
    """A row with value, low and high as per cent: "64.6 (58.6 to 72.9)"."""
    return f"{100 * score.value:5.1f} ({100 * score.low:.1f} to {100 * score.high:.1f})"


def _congruence(a: argparse.Namespace) -> int:
    import pandas as pd

    from cmlib.evaluation import identity, judges, representations

    runs = _trained(a)
    if not runs[0].store.has_faces:
        raise ValueError(
            f"{a.corpus} has sound only: there is no face that could show what a voice says"
        )
    who = identity.Fisherfaces.of_crowd(runs[0].profile.data.image_size, 3600)
    table = pd.concat(
        [
            representations.measure(
                r, r.can(), representations.neutral_pairs(r), judges.judge_for_run(r), who
            )
            for r in runs
        ],
        ignore_index=True,
    )
    gains, stays = (
        representations.congruence(table, runs[0].profile.bootstrap),
        representations.identity_and_typicality(table, runs[0].profile.bootstrap),
    )
    print(
        f"\n{len(table) // table.strength.nunique()} pairs of a neutral face and a voice of {table.actor.nunique()} test actors"
    )
    levels = sorted(set(gains.strength) - {0})
    print(
        f"{'points gained, t =':<20}"
        + "".join(f"{t:<24g}" for t in levels)
        + "judge names it: before, at t = 1"
    )
    for emotion, own in gains.groupby("emotion", sort=False):
        own = own.set_index("strength")
        said = f"{100 * own.first_choice_before[1.0]:.1f}, {100 * own.first_choice[1.0]:.1f} %"
        print(f"{emotion:<20}" + "".join(f"{percent(own.loc[t]):<24}" for t in levels) + said)
    for row in stays[stays.strength == 1].itertuples():
        print(f"{row.measure:<20}{percent(row)} %")
    return 0


def _ablate(a: argparse.Namespace) -> int:
    from cmlib.evaluation import face_ablations
    from cmlib.experiment.run import Run

    table = face_ablations.face_ablations(Run(a.corpus, a.profile, a.seed, int(a.fold)), train=True)
    print(table.to_string(index=False, float_format="{:.4f}".format))
    return 0


def _figures(a: argparse.Namespace) -> int:
    from cmlib import redraw
    from cmlib.experiment.run import Run

    if a.list:
        for name, notebook in redraw.catalogue().items():
            print(f"{name:34s}{notebook.stem}")
        return 0
    if a.gallery and a.names:
        raise ValueError("--gallery is a page of every figure: give no NAME with it")
    run, started = Run(a.corpus, a.profile, a.seed, int(a.fold)), time.monotonic()
    out = a.out or run.folder / "figures"
    drawn = redraw.redraw(run, a.names, out)
    print(f"{', '.join(drawn)}\n{out} ({time.monotonic() - started:.0f} s)")
    if a.gallery:
        about = f"Corpus `{a.corpus}`, profile `{a.profile}`, fold {a.fold}, seed {a.seed}."
        print(redraw.gallery(drawn, out, a.gallery, about))
    return 0


def _pretrain(a: argparse.Namespace) -> int:
    from cmlib.experiment.pretrain import pretrain
    from cmlib.preparation.picture_crops import crop_folder

    if a.images and a.voices:
        raise ValueError("--images and --voices: one at a time")
    path = pretrain(a.size, a.seed, a.images, a.voices)
    if a.images:
        found = crop_folder(a.images, a.size)
        kinds = found.skipped.reason.str.split(":").str[0].value_counts()
        print(
            f"{found.kind}: {len(found.table)} faces; left out: {', '.join(f'{n} {k}' for k, n in kinds.items()) or 'none'}"
        )
    print(f"{path}.safetensors")
    return 0


def _import(a: argparse.Namespace) -> int:
    from cmlib import files
    from cmlib.import_released import import_checkpoint

    done = import_checkpoint(
        Path(a.file), Path(a.out or files.ROOT / "checkpoints" / f"{a.corpus}-paper"), a.corpus
    )
    print(f"{a.file}: a released {done.kind}")
    for line in (*(f"{path}" for path in done.written), *done.notes):
        print(f"  {line}")
    return 0


def _verify(a: argparse.Namespace) -> int:
    from cmlib import corpora
    from cmlib.preparation.prepare import prepare

    root = Path(a.root or corpora.default_root(a.corpus))
    faults = corpora.verify(root)
    if not faults:
        store = prepare(a.corpus, a.profile, a.root, a.cache)
        faults = store.verify()
        print(f"{root}, {store.folder}: {'damaged' if faults else 'as they were written'}")
    for fault in faults:
        print(f"cm: {fault}", file=sys.stderr)
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
