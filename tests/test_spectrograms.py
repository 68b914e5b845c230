import librosa
import numpy as np
import pytest
from conftest import tone

from cmlib.preparation import spectrograms


def oracle(waveform):
    """The same spectrogram by librosa."""
    power = librosa.feature.melspectrogram(
        y=spectrograms.pad_or_crop(waveform),
        sr=22_050,
        n_fft=1310,
        hop_length=655,
        n_mels=128,
        pad_mode="constant",
        power=2.0,
    )
    decibels = librosa.power_to_db(power, ref=1.0, amin=1e-10, top_db=100.0)
    return (decibels - decibels.min()) / (decibels.max() - decibels.min())


@pytest.mark.parametrize("seconds", [0.5, 3.3, 83_200 / 22_050, 5.0])
def test_mel_agrees_with_librosa(seconds):
    noise = np.random.default_rng(0).normal(0, 0.01, round(seconds * 22_050)).astype(np.float32)
    wave = tone(seconds, 22_050)[: len(noise)] + noise[: len(tone(seconds, 22_050))]
    mel = spectrograms.mel_spectrogram(wave, 22_050)
    assert mel.shape == (128, 128) and mel.dtype == np.float32 and mel.min() == 0 and mel.max() == 1
    assert np.abs(mel - oracle(wave)).max() < 2e-5


def test_low_bands_come_first():
    t = np.arange(83_200) / 22_050
    low, high = (
        spectrograms.mel_spectrogram(np.sin(2 * np.pi * f * t).astype(np.float32)).mean(1).argmax()
        for f in (200, 8000)
    )
    assert low < 20 and high > 100


@pytest.mark.parametrize("wave", [np.zeros(50_000), np.full(50_000, 5e-5), np.zeros(0)])
def test_silence_gives_zeros(wave):
    assert spectrograms.is_silent(wave.astype(np.float32))
    assert np.array_equal(
        spectrograms.mel_spectrogram(wave.astype(np.float32)), np.zeros((128, 128))
    )


def test_a_click_or_a_constant_gives_numbers():
    click = np.zeros(40_000, np.float32)
    click[20_000] = 1
    for wave in (click, np.full(83_200, 0.5, np.float32), np.ones(1, np.float32)):
        mel = spectrograms.mel_spectrogram(wave)
        assert np.isfinite(mel).all() and mel.min() >= 0 and mel.max() <= 1


def test_a_clip_sits_in_the_middle_of_its_window():
    assert np.array_equal(
        spectrograms.pad_or_crop(np.ones(3, np.float32)).nonzero()[0], [41_598, 41_599, 41_600]
    )
    long = np.arange(83_204, dtype=np.float32)
    assert np.array_equal(spectrograms.pad_or_crop(long), long[2:-2])
    assert all(
        len(spectrograms.pad_or_crop(np.ones(n, np.float32))) == 83_200
        for n in (1, 83_199, 83_200, 83_201, 200_001)
    )


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 48_000, 96_000])
def test_resampling_keeps_a_tone(rate):
    t, out = np.arange(rate) / rate, np.arange(22_050) / 22_050
    resampled = spectrograms.resample(np.sin(2 * np.pi * 440 * t).astype(np.float32), rate)
    assert abs(len(resampled) - 22_050) <= 1
    inner = slice(500, 21_500)
    assert np.abs(resampled[inner] - np.sin(2 * np.pi * 440 * out)[inner]).max() < 2e-3


def test_an_odd_rate_costs_no_memory(monkeypatch):
    ratios, functional = [], spectrograms.torchaudio.functional
    real = functional.resample
    monkeypatch.setattr(
        functional, "resample", lambda wave, *ratio: ratios.append(ratio) or real(wave, *ratio)
    )
    assert abs(len(spectrograms.resample(np.ones(44_101, np.float32), 44_101)) - 22_050) <= 1
    spectrograms.resample(np.ones(48_000, np.float32), 48_000)
    assert ratios[0][0] * ratios[0][1] < 1e6  # the filter bank has that many numbers, times a few
    assert ratios[1] == (320, 147)  # the usual rates are exact


def test_to_sound_can_be_heard_as_what_it_was():
    mel = spectrograms.mel_spectrogram(tone(3.3, 22_050))
    sound = spectrograms.to_sound(mel)
    assert sound.shape == (83_200,) and np.abs(sound).max() == pytest.approx(0.9, abs=1e-4)
    again = spectrograms.mel_spectrogram(sound)
    assert np.corrcoef(mel.ravel(), again.ravel())[0, 1] > 0.9
    assert np.array_equal(sound, spectrograms.to_sound(mel))  # the same every time
    assert np.isfinite(spectrograms.to_sound(np.zeros((128, 128)))).all()
