"""One clip -> the arrays that are kept of it: face crops, a mel spectrogram, and what they show."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cmlib.corpora import Clip, processed
from cmlib.preparation import media, spectrograms, tracking

FRAMES_TO_SEARCH = 8  # frames of a clip in which the face is searched, when more are kept
MAX_BUFFERED_BYTES = 1 << 28  # of decoded frames that wait until it is known where the face is
BYTES_PER_PIXEL = 1.5  # of a decoded frame, YUV 4:2:0


def prepare_clip(clip: Clip, image_size: int, frames_per_clip: int) -> tuple[dict, dict]:
    """One clip -> its arrays, and its share of the table ``Store.clips``.

    The arrays are ``frames`` (n, S, S, 3) uint8 and ``mel`` (128, 128) float16. MediaError or
    CorpusError where a file cannot be read.
    """
    mel, sound_facts = load_spectrogram(clip)
    frames, picture_facts = load_face_crops(clip, image_size, frames_per_clip)
    return {"frames": frames, "mel": mel}, sound_facts | picture_facts


def load_spectrogram(clip: Clip) -> tuple[np.ndarray, dict]:
    """The mel spectrogram (128, 128) float16; duration, silent and uses_spare_audio.

    The duration is in seconds, 0 where it is unknown.
    """
    processed_by_authors = bool(clip.frames)
    sound_path = clip.audio_path or clip.path
    uses_spare_audio = False
    if processed_by_authors and sound_path.suffix == ".npy":
        mel = processed.read_spectrogram(sound_path)
        seconds = 0.0
        silent = not mel.any()
    else:
        try:
            sound, rate = media.read_audio(sound_path)
        except media.NoSoundTrack:
            if clip.spare_audio_path is None:
                raise
            sound, rate = media.read_audio(clip.spare_audio_path)
            uses_spare_audio = True
        mel = spectrograms.mel_spectrogram(sound, rate, released=processed_by_authors)
        seconds = len(sound) / rate
        silent = not mel.any() if processed_by_authors else spectrograms.is_silent(sound)
    facts = {
        "duration": seconds,
        "silent": bool(silent),
        "uses_spare_audio": uses_spare_audio,
    }
    return mel.astype(np.float16), facts


def load_face_crops(clip: Clip, image_size: int, frames_per_clip: int) -> tuple[np.ndarray, dict]:
    """Face crops (n, S, S, 3) uint8; n_frames, face_rate, and the duration of a video.

    ``face_rate`` is the share of the searched frames that have a face.
    """
    if clip.frames:  # finished crops
        chosen = media.evenly_spaced(frames_per_clip, len(clip.frames))
        crops = np.stack([processed.read_picture(clip.frames[i], image_size) for i in chosen])
        return crops, {"n_frames": len(crops), "face_rate": 1.0}
    if not clip.has_video:
        crops = np.zeros((0, image_size, image_size, 3), np.uint8)
        return crops, {"n_frames": 0, "face_rate": 0.0}
    return _crop_video(clip.path, image_size, frames_per_clip)


def _crop_video(path: Path, image_size: int, frames_per_clip: int) -> tuple[np.ndarray, dict]:
    """See ``load_face_crops``, for a video. Memory stays small however long it is."""
    info = media.video_info(path)
    numbers = media.evenly_spaced(frames_per_clip, info.frames)
    if len(numbers) <= 2 * FRAMES_TO_SEARCH:
        # A few frames: decode them once, and search the face in all of them.
        crops, report = tracking.crop_faces(list(media.iter_frames(path, numbers)), image_size)
    else:
        # Many frames: search the face in some, and let the crop follow it in between.
        searched = media.evenly_spaced(FRAMES_TO_SEARCH, info.frames)
        if BYTES_PER_PIXEL * info.pixels * len(numbers) < MAX_BUFFERED_BYTES:
            # They fit into memory while the face is searched, so that they are decoded only once.
            needed = sorted({*searched, *numbers})
            decoded = dict(zip(needed, media.iter_decoded(path, needed)))
            track, report = tracking.track_face([decoded[n]() for n in searched], searched)
            frames = (decoded.pop(number)() for number in numbers)
        else:
            searched_frames = list(media.iter_frames(path, searched))
            track, report = tracking.track_face(searched_frames, searched)
            frames = media.iter_frames(path, numbers)
        crops = np.stack(
            [track.crop(frame, number, image_size) for number, frame in zip(numbers, frames)]
        )
    facts = {
        "duration": info.seconds,
        "n_frames": len(crops),
        "face_rate": report.found_rate,
    }
    return crops, facts
