"""One voice per actor: espeak-ng says the sentence, WORLD says it again as drawn by `prosody`.

espeak-ng (library and data) comes from the PyPI wheel `espeakng-loader`. `pyworld` splits its
speech into F0, spectral envelope and aperiodicity. A target of 23 numbers (`prosody.FEATURES`) sets
F0 level, range, contour and jitter, tempo and a pause directly. The energies of 12 bands are
reached by a filter that is adjusted in a short closed loop. Breath is added after the filter, so
that a soft, dark voice keeps it.
"""

from __future__ import annotations

import ctypes
import io
import subprocess
import sys
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import espeakng_loader
import numpy as np
import pyworld

from .prosody import BANDS, EDGES, FEATURES, FRAME, SR, band_levels, log_range, melody, speech_range

TEXT = {1: "Kids are talking by the door.", 2: "Dogs are sitting by the door."}
MALE = (
    "en-US",
    "en-US+m1",
    "en-US+m2",
    "en-US+m3",
    "en-US+m4",
    "en-US+m7",
    "en+m1",
    "en-GB-x-rp+m3",
)
# espeak-ng's f2, f3, f5 are left out: they sound a little different in every process
FEMALE = (
    "en-US+f1",
    "en-US+f4",
    "en-US+linda",
    "en-US+Andrea",
    "en-US+belinda",
    "en-US+steph",
    "en-GB-x-rp+f1",
)
NOISE = 10 ** (-82 / 20)  # of the room, re full scale


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("uid", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", ctypes.c_char * 8),
    ]


@lru_cache(maxsize=1)
def _library() -> ctypes.CDLL:
    lib = ctypes.CDLL(espeakng_loader.get_library_path())
    rate = lib.espeak_Initialize(
        2, 0, espeakng_loader.get_data_path().encode(), 1
    )  # 2: synchronous, 1: phoneme events
    if rate != SR:
        raise RuntimeError(
            f"espeak-ng speaks at {rate} Hz instead of {SR}: reinstall espeakng-loader==0.2.4"
        )
    return lib


def say(text: str, voice: str) -> tuple[np.ndarray, list[tuple[float, str]]]:
    """(samples in -1..1, [(start in s, phoneme)]) of a text in one of espeak-ng's voices.

    In a process of its own: espeak-ng's sound depends on what it said before. Raises ValueError for
    an unknown voice.
    """
    command = [sys.executable, "-W", "ignore", "-m", "tools.corpus.voice", text, voice]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, check=False)
    if done.returncode:
        raise ValueError(done.stderr.decode(errors="replace").strip().splitlines()[-1])
    with np.load(io.BytesIO(done.stdout)) as file:
        return file["sound"], list(
            zip(file["start"].tolist(), file["phoneme"].tolist(), strict=True)
        )


def _say(text: str, voice: str) -> tuple[np.ndarray, list[tuple[float, str]]]:
    lib, sound, phonemes = _library(), [], []
    callback_type = ctypes.CFUNCTYPE(
        ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
    )

    def callback(samples, count, events):
        if samples and count > 0:
            sound.append(np.ctypeslib.as_array(samples, (count,)).copy())
        k = 0
        while events[k].type != 0:
            if events[k].type == 7:
                phonemes.append(
                    (events[k].audio_position / 1000, events[k].id.decode("utf8", "replace"))
                )
            k += 1
        return 0

    keep = callback_type(callback)
    lib.espeak_SetSynthCallback(keep)
    if lib.espeak_SetVoiceByName(voice.encode()) != 0:
        raise ValueError(f"espeak-ng has no voice {voice!r}")
    for parameter, value in ((1, 150), (2, 100), (3, 50), (4, 55)):  # rate, volume, pitch, range
        lib.espeak_SetParameter(parameter, value, 0)
    data = text.encode()
    lib.espeak_Synth(data, len(data) + 1, 0, 0, 0, 1, None, None)
    lib.espeak_Synchronize()
    return np.concatenate(sound).astype(np.float64) / 32768, phonemes


@dataclass(frozen=True)
class Speech:
    """`audio` (n,) float32 at 22,050 Hz and `phonemes` [(start, end, name)] in s of it."""

    audio: np.ndarray
    phonemes: list[tuple[float, float, str]]


def _at(target: np.ndarray, name: str) -> float:
    return float(target[FEATURES.index(name)])


def _warp_frequency(envelope: np.ndarray, factor: float) -> np.ndarray:
    """Move the formants by a factor.

    The (T, K) power envelope is read at k / factor and interpolated in the logarithm.
    """
    k = envelope.shape[1]
    position = np.clip(np.arange(k) / factor, 0, k - 1)
    low = np.floor(position).astype(int)
    high, part = np.minimum(low + 1, k - 1), position - low
    log = np.log(envelope + 1e-16)
    return np.exp(log[:, low] * (1 - part) + log[:, high] * part)


def _filter(audio: np.ndarray, gain: np.ndarray) -> np.ndarray:
    """Zero-phase filter with `gain` (12,) dB at the centres of the bands."""
    size = 1 << (len(audio) + 2048).bit_length()
    frequency = np.fft.rfftfreq(size, 1 / SR)
    centre = np.sqrt(EDGES[1:] * EDGES[:-1])
    decibel = np.interp(np.log(frequency + 1), np.log(centre + 1), gain)
    return np.fft.irfft(np.fft.rfft(audio, size) * 10 ** (decibel / 20), size)[: len(audio)]


class Voice:
    """The voice of actor 1..24 (even = female): an espeak-ng variant and a vocal tract length."""

    def __init__(self, number: int, seed: int = 0):
        rng = np.random.default_rng([seed, 77, number])
        pool = FEMALE if number % 2 == 0 else MALE
        self.name = pool[(number - 1) // 2 % len(pool)]
        self.tract = float(np.clip(rng.normal(1.0, 0.035), 0.93, 1.07))

    @lru_cache(maxsize=2)  # noqa: B019 - two statements
    def base(self, statement: int) -> dict:
        """WORLD's analysis of the plain sentence.

        f0, envelope and aperiodicity in frames of 5 ms; phonemes; the silence inside in s.
        """
        x, phonemes = say(TEXT[statement], self.name)
        first, last, on = speech_range(x)
        first = max(0, first - SR // 100)
        x = np.ascontiguousarray(x[first : last + SR // 50])
        f0, t = pyworld.dio(x, SR, f0_floor=60, f0_ceil=500, frame_period=1000 * FRAME)
        f0 = pyworld.stonemask(x, f0, t, SR)
        starts = [max(0.0, a - first / SR) for a, _ in phonemes]
        spans = [
            (a, b, p)
            for a, b, (_, p) in zip(starts, [*starts[1:], len(x) / SR], phonemes, strict=True)
            if not p.startswith("_")
        ]
        envelope = _warp_frequency(pyworld.cheaptrick(x, f0, t, SR), self.tract)
        return {
            "f0": f0,
            "envelope": envelope,
            "noise": pyworld.d4c(x, f0, t, SR),
            "phonemes": spans,
            "pause": 0.01 * float((~on).sum()),
        }

    def speak(
        self,
        target: np.ndarray,
        statement: int,
        breath: float,
        tremor: float,
        rng: np.random.Generator,
    ) -> Speech:
        """The sentence with the 23 numbers of `target`.

        breath: 0..0.5 (amplitude re the voice); tremor: semitones at 5-6 Hz.
        """
        base = self.base(statement)
        source, phonemes, gap = self._tempo(base, target, rng)
        index = np.clip(source.round().astype(int), 0, len(base["f0"]) - 1)
        f0 = self._melody(base["f0"][index], target, tremor, rng)
        envelope, noise = (
            np.ascontiguousarray(base["envelope"][index]),
            np.ascontiguousarray(base["noise"][index]),
        )
        f0[gap] = 0
        envelope[gap] *= 1e-6
        voice = pyworld.synthesize(f0, envelope, noise, SR, 1000 * FRAME)
        _, _, tone, keep = melody(
            voice
        )  # jitter, smoothing and slips change the range: mended once
        stretch = np.exp(np.clip(_at(target, "range") - log_range(tone[keep]), -0.35, 0.35))
        middle = np.log(f0[f0 > 0]).mean()
        f0[f0 > 0] = np.clip(np.exp(middle + stretch * (np.log(f0[f0 > 0]) - middle)), 65, 560)
        voice = pyworld.synthesize(f0, envelope, noise, SR, 1000 * FRAME)
        whisper = pyworld.synthesize(
            np.zeros_like(f0), envelope, np.ones_like(noise), SR, 1000 * FRAME
        )
        voice, whisper = (
            self._room(x, rng) for x in (voice / voice.std(), whisper / whisper.std())
        )
        return Speech(self._balance(voice, whisper, breath, target, rng), phonemes)

    def _tempo(self, base: dict, target: np.ndarray, rng: np.random.Generator):
        """Warp the time: total length, local tempo, and a pause before "by".

        Returns the source frame of each frame, the warped phonemes, and a mask of the pause.
        """
        n = len(base["f0"])
        length = np.exp(_at(target, "duration"))
        pause = np.clip(_at(target, "pause") - base["pause"], 0, 0.3)
        pause = pause if pause > 0.05 else 0.0
        length = np.clip(length - pause, 0.65 * n * FRAME, 2.1 * n * FRAME)
        pace = np.exp(np.interp(np.arange(n), np.linspace(0, n, 7), rng.normal(0, 0.08, 7)))
        end = np.cumsum(pace) / pace.sum() * length  # s at which each source frame is over
        by = next((k for k, (_, _, p) in enumerate(base["phonemes"]) if p == "b"), 0)
        cut = base["phonemes"][by][0]

        def when(t: float, after: bool) -> float:
            return float(np.interp(t, np.arange(1, n + 1) * FRAME, end)) + (pause if after else 0.0)

        phonemes = [
            (when(a, k >= by), when(b, k >= by), p) for k, (a, b, p) in enumerate(base["phonemes"])
        ]
        time = np.arange(int((length + pause) / FRAME)) * FRAME
        gap = (time >= when(cut, False)) & (time < when(cut, False) + pause)
        time = np.where(time < when(cut, False), time, np.maximum(time - pause, when(cut, False)))
        return np.interp(time, end, np.arange(n)), phonemes, gap

    def _melody(
        self, f0: np.ndarray, target: np.ndarray, tremor: float, rng: np.random.Generator
    ) -> np.ndarray:
        """F0 in Hz (0 = unvoiced).

        The drawn five-point contour plus espeak's accents, stretched to the drawn range.
        """
        voiced = f0 > 0
        n = len(f0)
        tone = np.interp(np.arange(n), np.nonzero(voiced)[0], 12 * np.log2(f0[voiced]))
        centres = (np.arange(5) + 0.5) / 5 * n
        slow = np.interp(np.arange(n), centres, [part.mean() for part in np.array_split(tone, 5)])
        drawn = target[FEATURES.index("contour0") : FEATURES.index("contour0") + 5]
        shape = np.interp(np.arange(n), centres, np.clip(drawn, -7, 7)) + (tone - slow)
        spread = np.subtract(*np.percentile(shape[voiced], (95, 5)))
        stretch = np.clip(
            np.exp(np.clip(_at(target, "range"), np.log(1.5), np.log(20))) / max(spread, 0.5),
            0.4,
            3,
        )
        shape = (shape - shape[voiced].mean()) * stretch
        wish = np.exp(_at(target, "jitter")) - 0.01
        have = np.abs(np.diff(shape)).mean()
        jitter = min(0.3, np.sqrt(max(0.0, wish**2 - have**2)) / 0.9)
        shake = tremor * np.sin(2 * np.pi * (5.5 * np.arange(n) * FRAME + rng.random()))
        tone = _at(target, "f0") + shape + jitter * rng.normal(size=n) + shake
        return np.where(voiced, np.clip(100 * 2 ** (tone / 12), 65, 560), 0.0)

    @staticmethod
    def _room(audio: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """A dry studio: 0.12 s of faint decaying echo; the tail lies in 0.15 s of added silence."""
        tail = (
            rng.normal(size=int(0.15 * SR))
            * np.exp(-np.arange(int(0.15 * SR)) / (0.03 * SR))
            * 0.012
        )
        tail[: int(0.004 * SR)] = 0
        tail[0] = 1
        size = 1 << (len(audio) + len(tail)).bit_length()
        return np.fft.irfft(np.fft.rfft(audio, size) * np.fft.rfft(tail, size), size)[
            : len(audio) + len(tail)
        ]

    @staticmethod
    def _balance(
        voice: np.ndarray,
        whisper: np.ndarray,
        breath: float,
        target: np.ndarray,
        rng: np.random.Generator,
    ) -> np.ndarray:
        """Filter the voice until its 12 band levels are the drawn ones.

        Breath (mostly 2-6 kHz) and room noise are added on top.
        """
        want = target[-len(BANDS) :]
        room = NOISE * rng.normal(size=len(voice))
        speech = slice(0, len(voice) - int(0.15 * SR))
        airy = np.array([-24.0, -20, -16, -12, -8, -4, -2, 0, 0, -2, -4, -8])
        gain = want - band_levels(voice[speech])
        for _ in range(3):
            loud = _filter(voice, np.clip(gain, np.median(gain) - 28, np.median(gain) + 28))
            hiss = _filter(whisper, airy + 0.5 * (gain - gain.max()))
            hiss *= breath * loud.std() / hiss.std()
            audio = loud + hiss + room
            gain = gain + 0.8 * (want - band_levels(audio[speech]))
        peak = 0.5
        over = np.abs(audio) > peak
        audio[over] = np.sign(audio[over]) * (
            peak + 0.3 * np.tanh((np.abs(audio[over]) - peak) / 0.3)
        )
        return audio.astype(np.float32)


def main() -> None:
    """`python -m tools.corpus.voice TEXT VOICE` writes what `say` returns to stdout, as npz."""
    sound, phonemes = _say(*sys.argv[1:3])
    data = io.BytesIO()
    np.savez(data, sound=sound, start=[t for t, _ in phonemes], phoneme=[p for _, p in phonemes])
    sys.stdout.buffer.write(data.getvalue())


if __name__ == "__main__":
    main()
