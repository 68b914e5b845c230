"""``cm fetch``, ``cm prepare`` and ``cm verify``: from a published corpus to arrays."""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from cmlib.cli.errors import printable
from cmlib.cli.options import Actors, Cache, CorpusToRead, Labels, Profile, Root

if TYPE_CHECKING:
    from cmlib.preparation.store import Store

SHEET_SUFFIXES = (".png", ".jpg", ".pdf", ".svg")
LINES_SHOWN = 20  # skipped clips that are printed; the file skipped.csv lists them all
COUNTED_KINDS = ["song", "duplicate"]  # reasons for which one line is enough


def fetch(
    name: Annotated[
        Literal["ravdess", "face-api"],
        Parameter(
            help="ravdess: 24 archives, about 13 GB in all, CC BY-NC-SA 4.0. "
            "face-api: two networks for photographs that others trained, 13 MB, MIT."
        ),
    ],
    /,
    *,
    actors: Actors = None,
    audio_only: Annotated[
        bool, Parameter(help="Fetch only the sound: one archive of all actors, 0.2 GB.")
    ] = False,
    root: Annotated[
        Path | None,
        Parameter(
            help="Folder for what is fetched; default: $CM_DATA/ravdess, or data/ravdess; "
            "of face-api $CM_FACE_API, or face-api beside the prepared corpora."
        ),
    ] = None,
    url: Annotated[
        str | None,
        Parameter(
            help="Address of a mirror with the same interface as Zenodo, or of face-api's package."
        ),
    ] = None,
) -> None:
    """Download a published corpus, or networks of others; a stopped download resumes."""
    from cmlib import corpora
    from cmlib.corpora import download

    if name == "face-api":
        from cmlib.evaluation import recognisers

        if audio_only or actors:
            raise ValueError("face-api has no actors: leave out --actors and --audio-only")
        print(f"{recognisers.fetch(root, url)}: the networks of face-api are complete; MIT")
        return
    if audio_only and actors:
        raise ValueError(
            "the sound of all actors is one archive: leave out --actors or --audio-only"
        )
    folder = root or corpora.default_root(name)
    archives = download.fetch(folder, actors or download.ACTORS, audio_only, url or download.RECORD)
    complete = ", ".join(path.name for path in archives)
    print(f"{folder}: {complete} complete; CC BY-NC-SA 4.0, {download.PAGE}")
    where = f" --root {root}" if root else ""
    print(f"next: cm prepare {name}{where}   (there is no need to unpack them)")


def prepare(
    corpus: CorpusToRead,
    /,
    *,
    root: Root = None,
    faces: Annotated[
        Path | None,
        Parameter(help="Of a pair such as performers+ravdess: the folder of the pictures."),
    ] = None,
    voices: Annotated[
        Path | None,
        Parameter(help="Of a pair: the folder of the voices; default: as for --root."),
    ] = None,
    labels: Labels = None,
    profile: Profile = "quick",
    cache: Cache = None,
    workers: Annotated[
        int | None, Parameter(help="Number of processes; default: one per core.")
    ] = None,
    sheet: Annotated[
        Path | None,
        Parameter(help="Also write a picture with a face of each actor and emotion."),
    ] = None,
    shard: Annotated[
        str | None,
        Parameter(
            help="Of a large corpus only a part, as in 1/8: several jobs prepare a part each; then "
            "the command without --shard joins them."
        ),
    ] = None,
) -> None:
    """Decode a corpus once into face crops and mel spectrograms."""
    from cmlib.preparation import prepare as preparation

    if faces and root:
        raise ValueError("--root and --faces name the same folder: choose one")
    if sheet and sheet.suffix.lower() not in SHEET_SUFFIXES:
        raise ValueError(f"{sheet}: the sheet's name should end in {', '.join(SHEET_SUFFIXES)}")
    if shard:
        number, count = _read_shard(shard)
        places = faces or root, cache, workers, voices, labels
        clips, of_all = preparation.prepare_shard(corpus, number, count, profile, *places)
        next_step = "when all shards are done, the same command without --shard joins them"
        print(f"{corpus}: shard {shard}, {clips} of {of_all} clips; {next_step}")
        return
    started = time.monotonic()
    store = preparation.prepare(
        corpus, profile, faces or root, cache, workers, voices=voices, labels=labels
    )
    _print_summary(store)
    if sheet:
        if sheet.exists() and sheet.resolve().is_relative_to(store.root):
            raise ValueError(f"{sheet}: belongs to the corpus; name another file with --sheet")
        _draw_contact_sheet(store, sheet)
    # The card's seconds leave out what was done before a preparation was stopped and resumed.
    print(
        f"{store.folder} ({time.monotonic() - started:.1f} s now; "
        f"preparing took {store.card['seconds']} s, counted from its last start)"
    )
    if root or faces or cache:
        _print_where_others_look(store, corpus)


def _print_summary(store: Store) -> None:
    """Print how many clips there are, and what is wrong with pictures and sounds."""
    card = store.card
    print(
        f"{card['corpus']}: {card['clips']} clips of {card['actors']} actors, "
        f"{card['frames']} frames"
    )
    if "voice_actor" in store.clips:
        _print_pairs(store)
    elif store.has_faces:
        _print_faces(store)
    _print_sounds(store)
    if card["skipped"]:
        _print_skipped(store)


def _read_shard(text: str) -> tuple[int, int]:
    """The numbers in "1/8"; ValueError if it is something else."""
    match = re.fullmatch(r"([1-9]\d*)/([1-9]\d*)", text)
    if not match:
        raise ValueError(f"--shard {text}: two numbers are needed, as in 1/8")
    return int(match[1]), int(match[2])


def _print_where_others_look(store: Store, corpus: str) -> None:
    """Print a line if a command without --root or --cache would read something else."""
    from cmlib import corpora

    if store.folder.parent.resolve() != corpora.cache_root().resolve():
        print(f"for other commands to find it: CM_CACHE={store.folder.parent}")
    other = corpora.current_root(corpus, store.folder.parent)
    if other.resolve() != store.root:
        remedy = "move that away, or set CM_DATA"
        print(f"without --root, other commands read {other}; to change this, {remedy}")


def _print_sounds(store: Store) -> None:
    """Print which clips are silent, and how the sound of others had to be mended."""
    if store.card["silent_clips"]:
        print(f"silent: {', '.join(store.clips.name[store.clips.silent])}")
    if "sound_remark" in store.clips:
        for sound, remark in zip(store.clips["sound"], store.clips["sound_remark"], strict=True):
            if remark:
                print(f"{sound}: {remark}")


def _print_faces(store: Store) -> None:
    """Print in how many frames a face was found, and the clips in which there was none."""
    with_frames = store.clips.loc[store.clips.n_frames > 0]
    print(
        f"faces: in {100 * with_frames.face_rate.mean():.1f} % of the frames looked at; "
        f"{store.card['clips_without_face']} clips without one"
    )
    for name in with_frames.loc[~with_frames.face_found, "name"]:
        print(f"  no face, the middle of the picture is kept: {name}")


def _print_pairs(store: Store) -> None:
    """Print what a corpus of pairs consists of, and which pictures may not fit."""
    from cmlib.corpora.names import classes_of

    clips = store.clips
    print(
        f"pairs: {clips.file.nunique()} pictures of {clips.actor.nunique()} people with "
        f"{clips.sound.nunique()} voices of {clips.voice_actor.nunique()} actors"
    )
    absent = [name for name in classes_of(store.card["corpus"]) if name not in set(clips.emotion)]
    if absent:
        print(f"  nobody is {', '.join(absent)}, so this cannot be learnt")
    pictures = clips.drop_duplicates("file")
    if "remark" not in pictures:  # prepared by an earlier version
        return
    for remark, those in pictures[pictures.remark != ""].groupby("remark"):
        print(f"  {remark}, used all the same: {len(those)} pictures: {', '.join(those.file)}")


def _print_skipped(store: Store) -> None:
    """Print how many clips were left out for which reason, and the first of them."""
    pattern = (
        r"^(name|song|suffix|duplicate|view|missing|sound|archive|row|pair|face|small"
        r"|unreadable|download): "
    )
    kinds = store.skipped.reason.str.extract(pattern, expand=False).fillna("unreadable")
    print("skipped: " + ", ".join(f"{n} {kind}" for kind, n in kinds.value_counts().items()))
    repeated = kinds.isin(COUNTED_KINDS) & kinds.duplicated()
    for _, (path, reason) in store.skipped[~repeated].head(LINES_SHOWN).iterrows():
        line = reason if path in reason else f"{path}: {reason}"
        print(f"  {printable(line)}")
    print(f"  all of them: {store.folder / 'skipped.csv'}")


def _draw_contact_sheet(store: Store, path: Path) -> None:
    """Draw the middle crop of the most intense clip of each actor and emotion.

    A label says where no face was found.
    """
    from cmlib import files
    from cmlib.corpora.names import EMOTIONS
    from cmlib.plots.kinds import image_grid

    clips = store.clips.loc[store.clips.n_frames > 0].sort_values("intensity", kind="stable")
    if clips.empty:
        raise ValueError(f"{path}: there is no picture to draw, since the corpus has sound only")
    strongest = clips.groupby(["actor", "emotion"]).tail(1).set_index(["actor", "emotion"])
    emotions = [*EMOTIONS, *sorted(set(clips.emotion) - set(EMOTIONS))]
    actors = sorted(set(clips.actor))

    crops, faults = [], []
    for actor in actors:
        crop_row, fault_row = [], []
        for emotion in emotions:
            crop, fault = None, ""
            if (actor, emotion) in strongest.index:
                clip = strongest.loc[(actor, emotion)]
                crop = store.frames[clip.first_frame + clip.n_frames // 2]
                fault = clip.get("remark", "") if clip.face_found else "no face"
            crop_row.append(crop)
            fault_row.append(fault)
        crops.append(crop_row)
        faults.append(fault_row)

    any_fault = any(fault for row in faults for fault in row)
    row_names = [str(actor) for actor in actors]
    figure = image_grid(crops, row_names, emotions, faults if any_fault else None, size=0.6)
    files.make_folder(path.parent)
    figure.savefig(path)
    print(f"contact sheet: {path}")


def verify(
    corpus: CorpusToRead, /, *, root: Root = None, profile: Profile = "quick", cache: Cache = None
) -> int:
    """Check a corpus, and what was prepared from it, against checksums.

    What is damaged is made again by ``cm prepare``. A corpus that is not prepared yet is prepared
    first, which may take a while.
    """
    from cmlib import corpora
    from cmlib.config import get_profile
    from cmlib.preparation import prepare as preparation
    from cmlib.preparation.store import Store
    from cmlib.preparation.unprepared import UnpreparedCorpus

    folder = root or corpora.current_root(corpus, cache)
    faults = corpora.verify(folder)
    if not faults:
        # An existing folder is opened as it is: ``prepare`` would mend what is to be reported.
        where = Path(cache or corpora.cache_root())
        scanned = UnpreparedCorpus.scan(corpus, get_profile(profile), root, where)
        prepared = scanned.folder_in(where)
        if prepared.exists():
            store = Store.open(prepared)
        else:
            store = preparation.prepare(corpus, profile, root, cache)
        faults = store.verify()
        print(f"{folder}, {store.folder}: {'damaged' if faults else 'as they were written'}")
    for fault in faults:
        print(f"cm: {fault}", file=sys.stderr)
    return 1 if faults else 0
