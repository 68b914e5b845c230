"""MEAD, whose videos and sounds are separate files.

The sound of ``M003/video/front/angry/level_2/001.mp4`` is ``M003/audio/angry/level_2/001.m4a``. The
published archives (``M003/video.tar``) may stay packed. A
take is filmed from seven sides, which share one sound. A download may be partial. For a video
without its sound file, the sound track of the video is used, if it has one; a sound without its
video becomes a clip of sound only; and what an actor lacks is counted.
Wang et al. (2020), MEAD: A Large-scale Audio-visual Dataset for Emotional Talking-face Generation,
ECCV.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path

from cmlib.corpora import archives
from cmlib.corpora.catalogue import ADDITIONS
from cmlib.corpora.clip import Clip, Skipped
from cmlib.corpora.folders import SOUND_SUFFIXES, VIDEO_SUFFIXES
from cmlib.corpora.names import MEAD_EMOTIONS, MeadName

FRONT = "front"
VIEWS = (FRONT, *ADDITIONS["mead"])
# Emotion and level of every recording that a complete download has of an actor.
ALL_LEVELS = frozenset(
    (word, level)
    for word in MEAD_EMOTIONS
    for level in (1, 2, 3)
    if word != "neutral" or level == 1
)
# Files by recording and view ("" for sound), each with its parsed name.
Takes = dict[tuple[str, str], tuple[Path, MeadName]]


def scan(root: Path, additions: tuple[str, ...] = ()) -> tuple[list[Clip], list[Skipped]]:
    """See ``cmlib.corpora.scan``. ``additions``: views beside the front.

    Each of the other views is reported as left out, in one line.
    """
    views = [view for view in VIEWS if view == FRONT or view in additions]
    videos, sounds, skipped = _find_takes(root, views)
    skipped += _missing(videos, sounds, views)
    filmed = {recording for recording, _ in videos}
    takes = list(videos.values())
    takes += [take for (recording, _), take in sounds.items() if recording not in filmed]
    return [_clip(path, name, sounds) for path, name in takes], skipped


def _find_takes(root: Path, views: list[str]) -> tuple[Takes, Takes, list[Skipped]]:
    """Find videos of these views, sounds, and what is left out."""
    videos: Takes = {}
    sounds: Takes = {}
    other_views = Counter()
    paths, skipped = archives.walk(root, VIDEO_SUFFIXES + SOUND_SUFFIXES)
    for path in paths:
        try:
            name = _parse(path, root)
        except ValueError as error:
            skipped.append((path, f"name: {error}"))
            continue
        if bool(name.view) != (path.suffix.lower() in VIDEO_SUFFIXES):
            folder = "video" if name.view else "audio"
            skipped.append((path, f"suffix: {path.suffix} does not belong below {folder}"))
        elif name.view and name.view not in views:
            other_views[path.parents[2], name.view] += 1
        else:
            takes = videos if name.view else sounds
            first, _ = takes.setdefault((name.recording, name.view), (path, name))
            if first != path:
                skipped.append((path, f"duplicate: the same recording as {first}"))
    for (folder, view), count in other_views.items():
        remedy = f"the corpus mead+{view} has them" if view in VIEWS else "MEAD has no such camera"
        skipped.append((folder, f"view: {view}, {count} videos left out; {remedy}"))
    return videos, sounds, skipped


def _parse(path: Path, root: Path) -> MeadName:
    """The name that the folders of a file give it; ValueError if they do not fit."""
    fault = ValueError()
    for reading in archives.readings(path, root):
        try:
            return MeadName.parse(reading)
        except ValueError as error:
            fault = error
    raise fault


def _clip(path: Path, name: MeadName, sounds: Takes) -> Clip:
    audio_path = None
    if name.view:
        audio_path, _ = sounds.get((name.recording, ""), (None, None))
    is_front = name.view in ("", FRONT)
    return Clip(
        path=path,
        audio_path=audio_path,
        has_video=bool(name.view),
        corpus="mead",
        actor=name.number,
        emotion=name.emotion,
        intensity=name.level,
        statement=name.take,
        repetition=1 if is_front else VIEWS.index(name.view) + 1,
        name=name.recording if is_front else f"{name.recording}-{name.view}",
    )


def _missing(videos: Takes, sounds: Takes, views: list[str]) -> list[Skipped]:
    """What each actor lacks.

    It may lack requested views, levels of emotions, sounds of videos, or videos of sounds.
    """
    # By actor and by view: emotions with their levels, and recordings.
    levels = defaultdict(lambda: defaultdict(set))
    recordings = defaultdict(lambda: defaultdict(set))
    folders: dict[str, Path] = {}
    for path, name in [*videos.values(), *sounds.values()]:
        folders.setdefault(name.actor, _folder_of(name.actor, path))
        levels[name.actor][name.view].add((name.word, name.level))
        recordings[name.actor][name.view].add(name.recording)

    lines = []
    for actor, by_view in levels.items():
        folder = folders[actor]
        missing_views = [view for view in views if view not in by_view]
        if missing_views:
            lines.append((folder, f"missing: view {', '.join(missing_views)}"))
        for view, present in by_view.items():
            if view or len(by_view) == 1:  # levels of sound count only if there is nothing else
                lines += [(folder, line) for line in _missing_levels(view, present)]
        sound_takes = recordings[actor][""]
        video_takes = set().union(*(takes for view, takes in recordings[actor].items() if view))
        silent = len(video_takes - sound_takes)
        unseen = len(sound_takes - video_takes)
        if silent:
            lines.append(
                (folder, f"missing: the sound of {silent} of {len(video_takes)} filmed takes")
            )
        if unseen:
            count = f"{unseen} of {len(sound_takes)} takes with sound: used as clips of sound only"
            lines.append((folder, f"missing: the video of {count}"))
    return lines


def _folder_of(actor: str, path: Path) -> Path:
    """The folder of an actor, or the archive of that name, around one of its files."""
    folders = [folder for folder in path.parents if folder.name.partition(".")[0] == actor]
    return folders[0] if folders else path.parent


def _missing_levels(view: str, present: set[tuple[str, int]]) -> list[str]:
    """A line with the first four emotions and levels that one view of an actor lacks."""
    missing = sorted(ALL_LEVELS - present)
    if not missing:
        return []
    examples = ", ".join(f"{word} level_{level}" for word, level in missing[:4])
    if len(missing) > 4:
        examples += " ..."
    count = f"({len(missing)} of {len(ALL_LEVELS)})"
    return [f"missing: {view or 'sound'} of {examples} {count}"]
