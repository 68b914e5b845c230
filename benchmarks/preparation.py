"""Preparing clips in the format in which RAVDESS is published.

The format is 1280 x 720 at 30 frames a second, about 10 Mbit/s, with sound at 48 kHz.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import librosa
import numpy as np
import torch
from PIL import Image

from benchmarks.measure import Row, Sizes, faster, in_child, interleaved, within
from cmlib import corpora
from cmlib.config import get_profile
from cmlib.corpora import Clip
from cmlib.preparation import cropping, detector, media, spectrograms
from cmlib.preparation.prepare import prepare_clip

FPS, RATE, HEIGHT, WIDTH = 30, 48_000, 720, 1280
KEPT = {"quick": "8 frames a clip kept", "paper": "every frame kept"}  # by the profile of that name
# Standard deviation, in grey levels, of noise like a camera's. It gives the bit rate of RAVDESS.
GRAIN = 2.5


def film(clip: Clip, path: Path, seconds: float) -> Clip:
    """The beginning of an embedded clip as a video in RAVDESS's format.

    The picture is as high as the frame, its edges are extended to both sides, and grain is added.
    """
    info, (sound, rate) = media.video_info(clip.path), media.read_audio(clip.path)
    count, rng = round(min(seconds, info.seconds) * FPS), np.random.default_rng(0)
    grain = rng.normal(scale=GRAIN, size=(HEIGHT + 64, WIDTH + 64, 1)).astype(np.float32)
    pictures = list(media.iter_frames(clip.path))
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        video = container.add_stream(
            "libx264", rate=FPS, options={"preset": "veryfast", "crf": "18"}
        )
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        audio = container.add_stream("aac", rate=RATE, layout="mono")
        for number in range(count):
            picture = Image.fromarray(
                pictures[min(int(number / FPS * info.fps), len(pictures) - 1)]
            )
            square = np.asarray(picture.resize((HEIGHT, HEIGHT), Image.Resampling.BICUBIC))
            beside = (WIDTH - HEIGHT) // 2
            frame = np.pad(square, ((0, 0), (beside, beside), (0, 0)), "edge").astype(np.float32)
            y, x = rng.integers(0, 64, 2)
            frame += grain[y : y + HEIGHT, x : x + WIDTH]
            encoded = av.VideoFrame.from_ndarray(
                frame.clip(0, 255).astype(np.uint8), format="rgb24"
            )
            container.mux(video.encode(encoded))
        container.mux(video.encode())
        sound = librosa.resample(sound, orig_sr=rate, target_sr=RATE)[
            None, : round(count / FPS * RATE)
        ]
        block = av.AudioFrame.from_ndarray(sound.astype(np.float32), format="fltp", layout="mono")
        block.sample_rate, block.pts, block.time_base = RATE, 0, Fraction(1, RATE)
        fifo = av.AudioFifo()
        fifo.write(block)
        while part := fifo.read(1024, partial=True):
            container.mux(audio.encode(part))
        container.mux(audio.encode())
    return Clip(
        path,
        None,
        True,
        "ravdess",
        clip.actor,
        clip.emotion,
        clip.intensity,
        clip.statement,
        1,
        clip.name,
    )


def every_frame(clip: Clip, size: int, count: int) -> np.ndarray:
    """``count`` crops (n, size, size, 3) of a clip (0: every frame), and the sound's mel.

    The same detector searches for the face in each frame independently.
    """
    spectrograms.mel_spectrogram(*media.read_audio(clip.path))
    wanted, crops = set(media.evenly_spaced(count, media.video_info(clip.path).frames)), []
    for number, frame in enumerate(media.iter_frames(clip.path)):
        (points,) = detector.find_faces([frame])
        if number in wanted:
            middle = (WIDTH / 2, HEIGHT / 2, HEIGHT, 0.0)
            crops.append(
                cropping.cut_square(
                    frame, *(middle if points is None else cropping.square_around(points)), size
                )
            )
    return np.stack(crops)


def processor(work: Callable[[], object]) -> Callable[[], float]:
    """Seconds that the processor spends on ``work``: other work on the machine hardly counts."""

    def measured() -> float:
        started = time.process_time()
        work()
        return time.process_time() - started

    return measured


def rows(sizes: Sizes) -> list[Row]:
    """Seconds of one core for some clips, and memory.

    The seconds are compared with the clips' length, and with a detection in every frame.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with TemporaryDirectory() as folder:
            available = corpora.scan("actors")[0]
            chosen = available[:: max(1, len(available) // sizes.filmed)][: sizes.filmed]
            clips = [film(c, Path(folder, f"{c.name}.mp4"), sizes.seconds) for c in chosen]
            length = sum(media.video_info(c.path).seconds for c in clips)
            megabits = sum(c.path.stat().st_size for c in clips) * 8e-6 / length
            settings = {name: get_profile(name).data for name in KEPT}
            sides = {
                (way, name): processor(
                    lambda w=way, d=d: [w(c, d.image_size, d.frames_per_clip) for c in clips]
                )
                for name, d in settings.items()
                for way in (prepare_clip, every_frame)
            }
            seconds = interleaved(sides, sizes.repetitions)
            memory = in_child("prepare", folder=folder, times=sizes.times)
    finally:
        torch.set_num_threads(threads)
    what, result = (
        f"preparing {length:.1f} s of 1280 x 720 at {megabits:.0f} Mbit/s on one core, ",
        [],
    )
    for name, kept in KEPT.items():
        ours, other = seconds[prepare_clip, name], seconds[every_frame, name]
        result.append(
            faster(f"prepare_{name}", f"{what}{kept} / its length", ours, [length] * len(ours), 4.0)
        )
        result.append(
            faster(
                f"every_{name}", f"{what}{kept} / with a detection in every frame", ours, other, 2.0
            )
        )
    many, few = sizes.times * len(clips), 2 * len(clips)
    rest = (
        f"peak memory of a process that prepares {many} clips / while it prepares the first {few}"
    )
    return [*result, within("prepare_memory", rest, "MB", memory["peak"], memory["early"], 1.1)]
