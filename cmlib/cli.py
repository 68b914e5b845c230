"""The command ``cm``, thin over the library's functions."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from cmlib.profiles import PROFILES


def main(argv: list[str] | None = None) -> int:
    """Run a command; 0 done, 1 failed with one line on stderr, 130 stopped with Ctrl-C."""
    parser = argparse.ArgumentParser(prog="cm", description="Facial expressions in the context of a voice.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    p = commands.add_parser("prepare", help="decode a corpus once into face crops and mel spectrograms")
    _corpus(p)
    p.add_argument("--workers", type=int, help="processes (default: one a core)")
    p.set_defaults(run=_prepare)

    p = commands.add_parser("verify", help="check a corpus, and what was prepared from it, against checksums")
    _corpus(p)
    p.set_defaults(run=_verify)

    p = commands.add_parser("plan", help="what a profile will cost on this machine: steps, time, memory; trains nothing")
    p.add_argument("profile", nargs="?", default="quick", choices=PROFILES)
    p.add_argument("--corpus", default="actors")
    p.add_argument("--fold", type=int, default=1)
    p.set_defaults(run=_plan)

    p = commands.add_parser("pretrain", help="learn faces from the crowd; the profile quick starts from what is shipped of it")
    p.add_argument("--size", type=int, default=64, help="side of the pictures, a multiple of 32 (default: 64)")
    p.add_argument("--seed", type=int, default=0)
    p.set_defaults(run=_pretrain)

    arguments = parser.parse_args(argv)
    try:
        return arguments.run(arguments)
    except KeyboardInterrupt:
        print("\ncm: stopped; what is done is kept, the same command goes on from there", file=sys.stderr)
        return 130
    except (ValueError, RuntimeError, OSError) as error:
        print(f"cm: {error}", file=sys.stderr)
        return 1


def _corpus(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("corpus", help="actors, ravdess")
    parser.add_argument("--root", help="its folder (default: $CM_DATA/CORPUS, or data/CORPUS)")
    parser.add_argument("--profile", default="quick", choices=PROFILES, help="size, number of frames (default: quick)")
    parser.add_argument("--cache", help="where prepared corpora are kept (default: $CM_CACHE, or data/prepared)")
    parser.add_argument("--song", action="store_true", help="sung clips too")


def _prepare(a: argparse.Namespace) -> int:
    from cmlib.store import prepare  # here, because it loads torch

    started = time.monotonic()
    store = prepare(a.corpus, a.profile, a.root, a.cache, a.workers, song=a.song)
    card = store.card
    print(f"{card['corpus']}: {card['clips']} clips of {card['actors']} actors, {card['frames']} frames")
    if store.has_faces:
        rate = store.clips.face_rate[store.clips.n_frames > 0].mean()
        print(f"faces: in {100 * rate:.1f} % of the frames looked at; {card['clips_without_face']} clips without one")
        for name in store.clips.name[(store.clips.n_frames > 0) & ~store.clips.face_found]:
            print(f"  no face, the middle of the picture is kept: {name}")
    if card["silent_clips"]:
        print(f"silent: {', '.join(store.clips.name[store.clips.silent])}")
    if card["skipped"]:
        kinds = store.skipped.reason.str.extract(r"^(name|song|suffix|duplicate): ")[0].fillna("unreadable")
        print("skipped: " + ", ".join(f"{n} {kind}" for kind, n in kinds.value_counts().items()))
        for reason in store.skipped.reason[kinds.isin(["name", "suffix", "unreadable"])].head(20):
            print(f"  {reason}")
        print(f"  all of them: {store.folder / 'skipped.csv'}")
    print(f"{store.folder} ({time.monotonic() - started:.1f} s now, {card['seconds']} s of work)")
    return 0


def _plan(a: argparse.Namespace) -> int:
    import os

    from cmlib.plan import plan

    os.environ["CM_QUIET"] = "1"
    table = plan(a.corpus, a.profile, a.fold)
    print(f"profile {a.profile} on {a.corpus}, fold {a.fold}; measured on a few steps, without preparing and evaluating")
    print(f"{'stage':<12}{'pictures':>10}{'epochs':>8}{'steps':>10}{'s a step':>10}{'time':>10}{'memory':>10}")
    for r in table.itertuples():
        memory = "" if r.memory_gb != r.memory_gb else f"{r.memory_gb:.1f} GB"
        print(f"{r.stage:<12}{r.pictures:>10,}{r.epochs:>8}{r.steps:>10,}{r.seconds_per_step:>10.3f}{span(r.hours):>10}{memory:>10}")
    print(f"in all about {span(table.hours.sum())}")
    return 0


def span(hours: float) -> str:
    """Hours in words of the right size: "12 s", "5 min", "3.2 h", "17 days"."""
    for size, name in ((24, "days"), (1, "h"), (1 / 60, "min")):
        if hours >= 2 * size:
            return f"{hours / size:.1f} {name}" if hours < 10 * size else f"{hours / size:.0f} {name}"
    return f"{hours * 3600:.0f} s"


def _pretrain(a: argparse.Namespace) -> int:
    from cmlib.experiment import pretrain

    path = pretrain(a.size, a.seed)
    print(f"{path}.safetensors")
    return 0


def _verify(a: argparse.Namespace) -> int:
    from cmlib import corpora
    from cmlib.store import prepare

    root = Path(a.root or corpora.default_root(a.corpus))
    faults = corpora.verify(root)
    if not faults:
        store = prepare(a.corpus, a.profile, a.root, a.cache, song=a.song)
        faults = store.verify()
        print(f"{root}, {store.folder}: {'damaged' if faults else 'as they were written'}")
    for fault in faults:
        print(f"cm: {fault}", file=sys.stderr)
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
