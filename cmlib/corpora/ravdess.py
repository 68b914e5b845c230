"""RAVDESS, or any tree of files with its names: folders ``Actor_NN`` anywhere below the root, video, sound or both,
and the published archives as they are, without unpacking them (``cmlib.archives``).

Of one recording the audio-visual file (01) is taken; else the video-only file (02) with the sound of the audio-only
file (03); else the audio-only file.  So no sound is ever counted twice.
Livingstone & Russo (2018), PLoS ONE 13(5): e0196391; Zenodo record 1188976.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from cmlib.corpora import SOUND_SUFFIXES, VIDEO_SUFFIXES, Clip, Skipped, archives
from cmlib.corpora.names import MODALITIES, ClipName

AV, VIDEO_ONLY, AUDIO_ONLY = MODALITIES


def scan(
    root: Path, added: tuple[str, ...] = (), corpus: str = "ravdess"
) -> tuple[list[Clip], list[Skipped]]:
    """See ``cmlib.corpora.scan``.  ``added``: "song", or nothing."""
    recordings = defaultdict(lambda: defaultdict(list))
    found, skipped = archives.walk(root, VIDEO_SUFFIXES + SOUND_SUFFIXES)
    for path in found:
        try:
            name = ClipName.parse(path.stem)
        except ValueError as error:
            skipped.append((path, f"name: {error}"))
            continue
        is_video = path.suffix.lower() in VIDEO_SUFFIXES
        if name.channel == "song" and "song" not in added:
            skipped.append((path, f"song: left out; the corpus {corpus}+song has it"))
        elif is_video == (name.modality == AUDIO_ONLY):
            skipped.append(
                (
                    path,
                    f"suffix: {path.suffix} does not fit the modality {name.modality} of the name",
                )
            )
        else:
            recordings[name.recording][name.modality].append((path, name))
    clips = []
    for kinds in recordings.values():
        video = kinds[AV] or kinds[VIDEO_ONLY]
        sound = kinds[AUDIO_ONLY] if not kinds[AV] else []
        (path, name), *_ = video or sound
        audio = sound[0][0] if video and sound else None
        clips.append(
            Clip(
                path,
                audio,
                bool(video),
                corpus,
                name.actor,
                name.emotion,
                name.intensity,
                name.statement,
                name.repetition,
                name.stem,
            )
        )
        others = {p for kind in kinds.values() for p, _ in kind} - {path, audio}
        skipped += [(p, f"duplicate: the same recording as {path.name}") for p in others]
    return clips, skipped
