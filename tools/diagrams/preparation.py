"""How a face is cut out and a voice becomes a picture: notebooks 01 and 03."""

from __future__ import annotations

import math

import numpy as np
import torch

from cmlib.config import PROFILES
from cmlib.preparation import spectrograms
from cmlib.preparation.cropping import CROP_SIDE_IN_EYE_DISTANCES, EYE_HEIGHT, square_around
from tools.diagrams.drawing import Canvas

PIXELS = PROFILES["quick"].data.image_size
# Eyes, nose, mouth and ears of a tilted head in a frame of 200 by 150 pixels, as in notebook 01.
POINTS = np.array([[70.0, 60], [110, 66], [88, 85], [84, 105], [50, 66], [130, 76]])
FRAME = (200, 150)


def crop() -> Canvas:
    """From the points of a face to a square, and from the square to an upright crop."""
    centre_x, centre_y, side, roll = square_around(POINTS)
    canvas = Canvas(
        "crop",
        420,
        "How a face is cut out",
        f"""On the left a frame with a tilted head. The line between the eyes gives the roll and the
        eye distance; the square is {CROP_SIDE_IN_EYE_DISTANCES} eye distances wide and turned by
        the roll. On the right the crop: the head is upright, and the eyes are level at {
            100 * EYE_HEIGHT:.0f} per cent of the height, always at the same place.""",
    )
    scale, left, top = 1.9, 40.0, 66.0
    canvas.text(left + scale * FRAME[0] / 2, 40, "frame", "name")
    canvas.frame(left, top, scale * FRAME[0], scale * FRAME[1])

    def place(point: np.ndarray) -> tuple[float, float]:
        return left + scale * float(point[0]), top + scale * float(point[1])

    # The head behind the points, and the square
    x, y = place(np.array([centre_x, centre_y]))
    degrees = math.degrees(roll)
    with canvas.turned(degrees, x, y):
        _head(canvas, x, y, scale * side)
        half = scale * side / 2
        canvas.line([(x, y - half), (x, y + half)], "both-line", 1, "4 4")
    eyes = [place(POINTS[0]), place(POINTS[1])]
    canvas.line(eyes, "bad-line", 2.4)
    for point in POINTS[:4]:
        canvas.dot(*place(point), 4.5, "bad-ink")
    canvas.text(left + 372, top + 270, f"roll {degrees:.1f}°", "body", "ink", "end")
    eye_distance = float(np.hypot(*(POINTS[1] - POINTS[0])))
    canvas.caption(
        450,
        384,
        f"eye distance {eye_distance:.1f} pixels, side {side:.1f} pixels:"
        f" {CROP_SIDE_IN_EYE_DISTANCES} eye distances, or more if the head turns away",
    )
    # The crop
    size, right, upper = 284.0, 550.0, 66.0
    canvas.text(right + size / 2, 40, f"crop: {PIXELS} × {PIXELS} pixels", "name")
    _head(canvas, right + size / 2, upper + size / 2, size)
    level = upper + EYE_HEIGHT * size
    canvas.line([(right, level), (right + size, level)], "bad-line", 1.6, "5 4")
    canvas.text(
        right + size + 8, level + 6, f"{100 * EYE_HEIGHT:.0f} %", "body", "bad-ink", "start"
    )
    canvas.arrow((442, 208), (532, 208))
    canvas.lines(487, 176, ("shift, turn", "and scale"), "small", "ink")
    canvas.caption(450, 406, "No stretching and no shearing: these would change the expression.")
    return canvas


def _head(canvas: Canvas, x: float, y: float, side: float) -> None:
    """The square of a crop around (x, y), with a head whose eyes are where the crop puts them."""
    eye = side / CROP_SIDE_IN_EYE_DISTANCES / 2
    # In a face of radius 1 the eyes lie 0.32 from the middle and 0.14 above it.
    radius = eye / 0.32
    canvas.face(x, y + (EYE_HEIGHT - 0.5) * side + 0.14 * radius, radius, "neutral")
    half = side / 2
    corners = [(x - half, y - half), (x + half, y - half), (x + half, y + half)]
    corners += [(x - half, y + half), (x - half, y - half)]
    canvas.line(corners, "both-line", 3)


def spoken() -> np.ndarray:
    """A made-up voice (N,) of three syllables: harmonics of a gliding pitch."""
    rate, count = spectrograms.SAMPLE_RATE, spectrograms.WINDOW_SAMPLES
    time = np.arange(count) / rate
    position = time / time[-1]
    pitch = 300 + 110 * np.sin(2 * np.pi * 0.75 * position)  # hertz
    phase = 2 * np.pi * np.cumsum(pitch) / rate
    sound = sum(np.sin(k * phase) / k for k in range(1, 16))
    syllables = np.sin(2 * np.pi * 2 * (position - 0.125))
    loudness = np.where((position > 0.125) & (position < 0.875), np.abs(syllables) ** 0.7, 0)
    return (0.3 * loudness * sound).astype(np.float32)


def block_means(picture: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """A picture (H, W) as the means of rows x columns blocks; H and W are multiples of these."""
    height, width = picture.shape
    blocks = picture.reshape(rows, height // rows, columns, width // columns)
    return blocks.mean((1, 3))


def mel() -> Canvas:
    """From a waveform to the picture that the voice network sees."""
    sound = spoken()
    n_fft, hop, bands = spectrograms.N_FFT, spectrograms.HOP_LENGTH, spectrograms.N_MELS
    frequencies = n_fft // 2 + 1
    power = (
        torch.stft(
            torch.from_numpy(sound),
            n_fft,
            hop,
            window=torch.hann_window(n_fft),
            pad_mode="constant",
            return_complex=True,
        )
        .abs()
        .square()
        .numpy()
    )  # (656, 128)
    picture = spectrograms.mel_spectrogram(sound)
    windows = picture.shape[1]
    canvas = Canvas(
        "mel",
        350,
        "From a waveform to a mel spectrogram",
        f"""Four steps. A waveform of {spectrograms.WINDOW_SECONDS:.2f} seconds is cut into
        overlapping windows. Their power spectra have {frequencies} frequencies and {windows}
        times, and show hardly anything, because loudness spans many orders of magnitude.
        Triangles gather the frequencies into {bands} mel bands, narrow below and wide above.
        Decibels, scaled to 0 to 1, make a picture of {bands} by {windows} in which the harmonics
        of the voice can be seen.""",
    )
    panel, top = 176, 66
    places = [24 + 222 * i for i in range(4)]
    for left, name in zip(places, ("waveform", "power spectra", "mel bands", "decibels, 0 to 1")):
        canvas.text(left + panel / 2, 44, name, "name")
        canvas.frame(left, top, panel, panel)
    for left, words in zip(places[1:], ("STFT", "× B", "log")):
        canvas.arrow((left - 44, top + panel / 2), (left - 3, top + panel / 2))
        canvas.text(left - 24, top + panel / 2 - 12, words, "small")
    _waveform(canvas, sound, places[0], top)
    spectra = block_means(power[:640][::-1] / power.max(), 64, 64)
    canvas.picture(places[1], top, panel / 64, spectra)
    _triangles(canvas, places[2], top, panel)
    canvas.picture(places[3], top, panel / 64, block_means(picture[::-1], 64, 64))
    milliseconds = [1000 * n / spectrograms.SAMPLE_RATE for n in (n_fft, hop)]
    captions = (
        (
            f"{spectrograms.WINDOW_SAMPLES:,} samples:",
            f"windows of {milliseconds[0]:.0f} ms,",
            f"every {milliseconds[1]:.0f} ms",
        ),
        (f"{frequencies} frequencies", f"× {windows} times,", "nearly all close to 0"),
        (f"{bands} triangles:", "narrow for low tones,", "wide for high ones"),
        (f"{bands} × {windows}:", f"down to {spectrograms.TOP_DB:.0f} dB below", "the loudest"),
    )
    for left, lines in zip(places, captions):
        canvas.lines(left + panel / 2, top + panel + 26, lines)
    return canvas


def _waveform(canvas: Canvas, sound: np.ndarray, left: float, top: float) -> None:
    """A sound (N,) as the ranges of its 88 pieces, with three of its windows."""
    pieces = sound[: len(sound) // 88 * 88].reshape(88, -1)
    for i, (low, high) in enumerate(zip(pieces.min(1).tolist(), pieces.max(1).tolist())):
        x = left + 2 * i + 1
        canvas.line([(x, top + 88 - 70 * high), (x, top + 88 - 70 * low)], "voice-line", 1.2)
    for i in range(3):  # wider here than they are
        x = left + 50 + 14 * i
        canvas.path(
            f"M {x} {top + 168} Q {x + 14} {top + 138} {x + 28} {top + 168}", "both-line", 2
        )


def _triangles(canvas: Canvas, left: float, top: float, panel: float) -> None:
    """Every seventeenth of the mel triangles, each scaled to its own peak."""
    filters = spectrograms.mel_transform().mel_scale.fb.T.numpy()  # (128, 656)
    for band in range(8, len(filters), 17):
        values = filters[band]
        support = np.flatnonzero(values)
        first, last = int(support[0]), int(support[-1])
        peak = int(values.argmax())
        highest = filters.shape[1] + 20  # a margin on the right
        xs = [left + 4 + panel * f / highest for f in (first - 1, peak, last + 1)]
        ys = (top + panel - 20, top + 30, top + panel - 20)
        canvas.line(list(zip(xs, ys)), "voice-line", 2)
    canvas.caption(left + panel / 2, top + panel - 4, "frequency →")


def diagrams() -> list[Canvas]:
    """All diagrams of this module."""
    return [crop(), mel()]
