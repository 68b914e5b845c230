"""RAVDESS, or any folder of files with its names; its published archives may stay packed.

Folders ``Actor_NN`` may lie anywhere below the root, with video, sound or both. Of each recording
the audio-visual file (01) is used; else the video-only file (02) with the sound of the audio-only
file (03); else the audio-only file. So no sound is counted twice. If an audio-visual file turns out
to have no sound track, the audio-only file provides its sound too.
Livingstone & Russo (2018), PLoS ONE 13(5): e0196391; Zenodo record 1188976.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from cmlib.corpora import archives
from cmlib.corpora.clip import Clip, Skipped
from cmlib.corpora.folders import SOUND_SUFFIXES, VIDEO_SUFFIXES
from cmlib.corpora.names import MODALITIES, ClipName

AUDIO_VISUAL, VIDEO_ONLY, AUDIO_ONLY = MODALITIES
Files = dict[str, list[tuple[Path, ClipName]]]  # of one recording, by modality


def scan(
    root: Path, additions: tuple[str, ...] = (), corpus: str = "ravdess"
) -> tuple[list[Clip], list[Skipped]]:
    """See ``cmlib.corpora.scan``. ``additions``: "song", or nothing."""
    recordings: dict[tuple, Files] = defaultdict(lambda: defaultdict(list))
    paths, skipped = archives.walk(root, VIDEO_SUFFIXES + SOUND_SUFFIXES)
    for path in paths:
        try:
            name = ClipName.parse(path.stem)
        except ValueError as error:
            skipped.append((path, f"name: {error}"))
            continue
        is_video = path.suffix.lower() in VIDEO_SUFFIXES
        if name.channel == "song" and "song" not in additions:
            skipped.append((path, f"song: left out; the corpus {corpus}+song has it"))
        elif is_video == (name.modality == AUDIO_ONLY):
            fault = f"{path.suffix} does not fit the modality {name.modality} of the name"
            skipped.append((path, f"suffix: {fault}"))
        else:
            recordings[name.recording][name.modality].append((path, name))

    clips = []
    for files in recordings.values():
        clip = _clip(files, corpus)
        clips.append(clip)
        for path, _ in sum(files.values(), []):
            if path not in (clip.path, clip.audio_path):
                skipped.append((path, f"duplicate: the same recording as {clip.path.name}"))
    return clips, skipped


def _clip(files: Files, corpus: str) -> Clip:
    """The clip of one recording, from the best of its files."""
    videos = files[AUDIO_VISUAL] or files[VIDEO_ONLY]
    sounds = files[AUDIO_ONLY]
    path, name = (videos or sounds)[0]
    separate_sound = sounds[0][0] if videos and sounds else None
    # According to its name; whether it is true shows only when the file is opened.
    has_own_sound = bool(files[AUDIO_VISUAL])
    return Clip(
        path=path,
        audio_path=None if has_own_sound else separate_sound,
        spare_audio_path=separate_sound if has_own_sound else None,
        has_video=bool(videos),
        corpus=corpus,
        actor=name.actor,
        emotion=name.emotion,
        intensity=name.intensity,
        statement=name.statement,
        repetition=name.repetition,
        name=name.stem,
    )
