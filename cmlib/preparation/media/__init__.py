"""Read frames and sound: videos and their sound with PyAV, sound files with soundfile.

What a file holds decides how it is read, not its suffix. Files in zip archives are read as well,
without unpacking (see ``cmlib.corpora.archives``). Whatever is wrong with a file is raised as a
``MediaError`` that names the file, the fault and the remedy.
"""

from cmlib.preparation.media.containers import (
    LFS_POINTER,
    MediaError,
    NotMedia,
    first_bytes,
    is_lfs_pointer,
    quiet_terminal,
)
from cmlib.preparation.media.sound import NoSoundTrack, Sound, TooLong, read_audio, read_sound
from cmlib.preparation.media.video import (
    VideoInfo,
    evenly_spaced,
    for_decodable_frames,
    iter_decoded,
    iter_frames,
    read_video,
    square_pixels,
    video_info,
)

__all__ = [
    "LFS_POINTER",
    "MediaError",
    "NoSoundTrack",
    "NotMedia",
    "Sound",
    "TooLong",
    "VideoInfo",
    "evenly_spaced",
    "first_bytes",
    "for_decodable_frames",
    "is_lfs_pointer",
    "iter_decoded",
    "iter_frames",
    "quiet_terminal",
    "read_audio",
    "read_sound",
    "read_video",
    "square_pixels",
    "video_info",
]
