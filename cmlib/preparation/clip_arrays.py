"""Turn one clip into what is kept of it: face crops, a mel spectrogram, and facts about both."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np

from cmlib.corpora import Clip, CorpusError, processed
from cmlib.preparation import media, picture_crops, spectrograms, tracking

FRAMES_TO_SEARCH = 8  # frames in which a face is searched for, if a clip keeps many
MAX_BUFFERED_BYTES = 1 << 28  # of decoded frames kept in memory until the face is located
BYTES_PER_PIXEL = 1.5  # of a decoded frame, YUV 4:2:0
# Of pairs across corpora, the last spectrograms and crops are kept for the next clips.
SHARED_SOUNDS, SHARED_PICTURES = 2000, 16


def prepare_clip(clip: Clip, image_size: int, frames_per_clip: int) -> tuple[dict, dict]:
    """The arrays of one clip, and its facts for the table ``Store.clips``.

    The arrays are ``frames`` (n, S, S, 3) uint8 and ``mel`` (128, 128) float16. Raises MediaError
    or CorpusError if a file cannot be read.
    """
    mel, sound_facts = load_spectrogram(clip)
    frames, picture_facts = load_face_crops(clip, image_size, frames_per_clip)
    return {"frames": frames, "mel": mel}, sound_facts | picture_facts


def load_spectrogram(clip: Clip) -> tuple[np.ndarray, dict]:
    """The mel spectrogram (128, 128) float16 of a clip, and facts about its sound.

    The facts are ``duration`` (seconds, 0 if unknown), ``silent`` and ``uses_spare_audio``, and
    ``sound_remark`` if there is anything to be said about how it was read.
    """
    sound = clip.audio_path or clip.path
    if clip.is_pair:  # several pictures share a voice
        return _shared_spectrogram(sound, clip.spare_audio_path)
    return _spectrogram_of(sound, clip.spare_audio_path, processed_by_authors=bool(clip.frames))


def _spectrogram_of(
    sound_path: Path, spare_audio_path: Path | None, processed_by_authors: bool = False
) -> tuple[np.ndarray, dict]:
    uses_spare_audio = False
    remarks: tuple[str, ...] = ()
    if processed_by_authors and sound_path.suffix == ".npy":
        mel = processed.read_spectrogram(sound_path)
        seconds = 0.0
        silent = not mel.any()
    else:
        try:
            recording = media.read_sound(sound_path)
        except media.NoSoundTrack:
            if spare_audio_path is None:
                raise
            recording = media.read_sound(spare_audio_path)
            uses_spare_audio = True
        sound, rate, remarks = recording.waveform, recording.rate, recording.remarks
        mel = spectrograms.mel_spectrogram(sound, rate, released=processed_by_authors)
        seconds = len(sound) / rate
        silent = not mel.any() if processed_by_authors else spectrograms.is_silent(sound)
    facts = {
        "duration": seconds,
        "silent": bool(silent),
        "uses_spare_audio": uses_spare_audio,
    }
    if remarks:
        facts["sound_remark"] = "; ".join(remarks)
    return mel.astype(np.float16), facts


_shared_spectrogram = lru_cache(SHARED_SOUNDS)(_spectrogram_of)


def load_face_crops(clip: Clip, image_size: int, frames_per_clip: int) -> tuple[np.ndarray, dict]:
    """Face crops (n, S, S, 3) uint8 of a clip, and facts about its pictures.

    The facts are ``n_frames``, ``face_rate`` (the share of the examined frames that show a face),
    for a video ``duration`` (seconds), and for a picture beside a voice of another corpus
    ``remark`` (``picture_crops.FaceCrop``).
    """
    if clip.frames:  # finished crops
        chosen = media.evenly_spaced(frames_per_clip, len(clip.frames))
        crops = np.stack([processed.read_picture(clip.frames[i], image_size) for i in chosen])
        return crops, {"n_frames": len(crops), "face_rate": 1.0}
    if clip.is_pair:
        crop = _shared_crop(clip.path, image_size)
        return crop.pixels[None], {"n_frames": 1, "face_rate": 1.0, "remark": crop.remark}
    if not clip.has_video:
        crops = np.zeros((0, image_size, image_size, 3), np.uint8)
        return crops, {"n_frames": 0, "face_rate": 0.0}
    return _crop_video(clip.path, image_size, frames_per_clip)


@lru_cache(SHARED_PICTURES)
def _shared_crop(path: Path, image_size: int) -> picture_crops.FaceCrop:
    """The face of a picture that several voices share; CorpusError if there is none."""
    (crop,) = picture_crops.crop_pictures([path], image_size)
    if isinstance(crop, str):
        raise CorpusError(crop)
    return crop


def _crop_video(path: Path, image_size: int, frames_per_clip: int) -> tuple[np.ndarray, dict]:
    """``load_face_crops`` for a video. However long it is, it takes little memory."""

    def crop(info: media.VideoInfo) -> tuple[np.ndarray, dict]:
        return _crop_frames(path, info, image_size, frames_per_clip)

    return media.for_decodable_frames(path, crop)


def _crop_frames(
    path: Path, info: media.VideoInfo, image_size: int, frames_per_clip: int
) -> tuple[np.ndarray, dict]:
    """``_crop_video``, once the number of frames is known."""
    numbers = media.evenly_spaced(frames_per_clip, info.frames)
    if len(numbers) <= 2 * FRAMES_TO_SEARCH:
        # A few frames: decode them once, and search for the face in all of them.
        crops, report = tracking.crop_faces(list(media.iter_frames(path, numbers)), image_size)
    else:
        # Many frames: search for the face in some of them, and interpolate the crop in between.
        searched = media.evenly_spaced(FRAMES_TO_SEARCH, info.frames)
        if BYTES_PER_PIXEL * info.pixels * len(numbers) < MAX_BUFFERED_BYTES:
            # They fit into memory during the search, so each is decoded only once.
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
