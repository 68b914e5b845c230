"""MEAD: ``M003/video/front/angry/level_2/001.mp4``, and its sound apart, ``M003/audio/angry/level_2/001.m4a``.

A take is filmed from seven sides; all share one sound.  A download may be partial: of a video without its sound the
track in it is heard, if there is one; sound without its video is a clip of sound; what an actor lacks is counted.
Wang et al. (2020), MEAD: A Large-scale Audio-visual Dataset for Emotional Talking-face Generation, ECCV.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from cmlib.corpora import ADDITIONS, SOUND_SUFFIXES, VIDEO_SUFFIXES, Clip, Skipped, list_files
from cmlib.corpora.names import MEAD_EMOTIONS, MeadName

VIEWS = ("front", *ADDITIONS["mead"])
CELLS = frozenset(
    (word, level)
    for word in MEAD_EMOTIONS
    for level in (1, 2, 3)
    if word != "neutral" or level == 1
)


def scan(root: Path, added: tuple[str, ...] = ()) -> tuple[list[Clip], list[Skipped]]:
    """See ``cmlib.corpora.scan``.  ``added``: views beside the front; the others are left out in one line each."""
    views = [view for view in VIEWS if view in (VIEWS[0], *added)]
    videos, sounds, others, skipped = {}, {}, Counter(), []
    for path in list_files(root, VIDEO_SUFFIXES + SOUND_SUFFIXES):
        try:
            name = MeadName.parse(path.absolute().as_posix())
        except ValueError as error:
            skipped.append((path, f"name: {error}"))
            continue
        if bool(name.view) != (path.suffix.lower() in VIDEO_SUFFIXES):
            skipped.append(
                (
                    path,
                    f"suffix: {path.suffix} does not belong below {'video' if name.view else 'audio'}",
                )
            )
        elif name.view and name.view not in views:
            others[path.parents[2], name.view] += 1
        else:
            kept = (videos if name.view else sounds).setdefault(
                (name.recording, name.view), (path, name)
            )
            if kept[0] != path:
                skipped.append((path, f"duplicate: the same recording as {kept[0]}"))
    for (at, view), n in others.items():
        where = f"the corpus mead+{view} has them" if view in VIEWS else "MEAD has no such camera"
        skipped.append((at, f"view: {view}, {n} videos left out; {where}"))
    skipped += _missing(videos, sounds, views)
    skipped += [
        (tar, "archive: not unpacked; unpack it in its folder (tar xf)")
        for tar in sorted(root.glob("*/*.tar"))
        if not tar.with_suffix("").is_dir()
    ]
    return [_clip(*take, sounds) for take in _takes(videos, sounds)], skipped


def _takes(videos: dict, sounds: dict) -> list[tuple[Path, MeadName]]:
    """Every video, and every sound that no video has."""
    filmed = {recording for recording, _ in videos}
    return [
        *videos.values(),
        *(take for (recording, _), take in sounds.items() if recording not in filmed),
    ]


def _clip(path: Path, name: MeadName, sounds: dict) -> Clip:
    sound = sounds.get((name.recording, ""), (None,))[0] if name.view else None
    return Clip(
        path,
        sound,
        bool(name.view),
        "mead",
        name.number,
        name.emotion,
        name.level,
        name.take,
        VIEWS.index(name.view) + 1 if name.view else 1,
        name.recording + (f"-{name.view}" if name.view not in ("", VIEWS[0]) else ""),
    )


def _missing(videos: dict, sounds: dict, views: list[str]) -> list[Skipped]:
    """What each actor lacks: views asked for, levels of emotions, the sound of videos, the videos of sounds."""
    lines, taken = [], {}
    for path, name in [*videos.values(), *sounds.values()]:
        home = path.parents[4 if name.view else 3]
        have, takes = taken.setdefault((home, name.actor), ({}, {}))
        have.setdefault(name.view, set()).add((name.word, name.level))
        takes.setdefault(name.view, set()).add(name.recording)
    for (home, _), (have, takes) in taken.items():
        if gone := [view for view in views if view not in have]:
            lines.append((home, f"missing: view {', '.join(gone)}"))
        for view in (v for v in have if v or len(have) == 1):
            if gone := sorted(CELLS - have[view]):
                named = ", ".join(f"{word} level_{level}" for word, level in gone[:4]) + " ..." * (
                    len(gone) > 4
                )
                lines.append(
                    (home, f"missing: {view or 'sound'} of {named} ({len(gone)} of {len(CELLS)})")
                )
        heard = takes.get("", set())
        filmed = set().union(*(takes[view] for view in takes if view))
        if quiet := filmed - heard:
            lines.append(
                (home, f"missing: the sound of {len(quiet)} of {len(filmed)} takes filmed")
            )
        if blind := heard - filmed:
            lines.append(
                (
                    home,
                    f"missing: the video of {len(blind)} of {len(heard)} takes heard: clips of sound only",
                )
            )
    return lines
