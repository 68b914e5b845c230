import av
import numpy as np
import pytest
import soundfile
from conftest import face, talking, tone, write_clip

from cmlib.preparation import media
from cmlib.preparation.media import (
    MediaError,
    evenly_spaced,
    iter_frames,
    read_audio,
    read_video,
    video_info,
)


def numbered(count, size=64):
    """Frames whose brightness is their number."""
    return [np.full((size, size, 3), 10 + 10 * i, np.uint8) for i in range(count)]


def test_evenly_spaced_numbers_are_the_middles_of_equal_intervals():
    assert evenly_spaced(4, 8) == [1, 3, 5, 7]
    assert evenly_spaced(1, 9) == [4]
    assert evenly_spaced(2, 100) == [25, 75]
    assert evenly_spaced(0, 3) == evenly_spaced(5, 3) == evenly_spaced(3, 3) == [0, 1, 2]


def test_only_the_requested_frames_are_returned(tmp_path):
    path = write_clip(tmp_path / "a.mp4", numbered(20), tone(0.8))
    info = video_info(path)
    assert (info.frames, info.fps) == (20, 25.0) and info.seconds == pytest.approx(0.8)
    frames, _ = read_video(path, 4)
    assert frames.shape == (4, 64, 64, 3) and frames.dtype == np.uint8
    assert np.allclose(frames.mean((1, 2, 3)), [10 + 10 * i for i in evenly_spaced(4, 20)], atol=2)
    assert len(read_video(path)[0]) == 20
    assert [round(f.mean() / 10) for f in iter_frames(path, [0, 19])] == [1, 20]


def test_sound_lasts_as_long_as_the_picture(tmp_path):
    sound = tone(0.8)
    wave, rate = read_audio(write_clip(tmp_path / "a.mp4", numbered(20), sound))
    assert rate == 48_000 and wave.dtype == np.float32 and wave.shape == sound.shape
    lag = np.correlate(wave, sound, "full").argmax() - len(sound) + 1
    assert lag == 0 and np.corrcoef(wave, sound)[0, 1] > 0.99  # AAC's priming is gone
    longer = write_clip(tmp_path / "b.mp4", numbered(10), sound)
    assert len(read_audio(longer)[0]) == 19_200


@pytest.mark.parametrize("rate", [16_000, 22_050, 44_100])
def test_stereo_at_any_rate_is_averaged(tmp_path, rate):
    left = tone(0.8, rate)
    wave, actual_rate = read_audio(
        write_clip(tmp_path / "a.mp4", numbered(20), np.stack([left, 0 * left]), rate=rate)
    )
    assert actual_rate == rate and np.corrcoef(wave, left[: len(wave)])[0, 1] > 0.98
    assert wave.std() == pytest.approx(left.std() / 2, rel=0.1)


@pytest.mark.parametrize(
    "suffix, kind",
    [
        ("wav", "PCM_U8"),
        ("wav", "PCM_16"),
        ("wav", "FLOAT"),
        ("flac", "PCM_24"),
        ("ogg", "VORBIS"),
        ("mp3", "MPEG_LAYER_III"),
    ],
)
def test_sound_files_of_every_kind(tmp_path, suffix, kind):
    sound = tone(0.8, 22_050)
    soundfile.write(tmp_path / f"a.{suffix}", sound, 22_050, kind)
    wave, rate = read_audio(tmp_path / f"a.{suffix}")
    assert rate == 22_050 and np.corrcoef(wave[: len(sound)], sound[: len(wave)])[0, 1] > 0.98


def test_sound_of_m4a_and_of_a_video_without_picture(tmp_path):
    sound = tone(0.8)
    wave, _ = read_audio(write_clip(tmp_path / "a.m4a", None, sound))
    assert np.corrcoef(wave[: len(sound)], sound[: len(wave)])[0, 1] > 0.99
    with pytest.raises(MediaError, match="no picture track"):
        video_info(tmp_path / "a.m4a")


@pytest.mark.parametrize(
    "pixels, suffix", [("gray", ".mkv"), ("yuv444p", ".mp4"), ("yuv420p10le", ".mkv")]
)
def test_grey_and_other_pixels_become_rgb(tmp_path, pixels, suffix):
    frames, _ = read_video(
        write_clip(tmp_path / f"a{suffix}", [face(64)] * 5, tone(0.2), pixels=pixels), 2
    )
    assert frames.shape == (2, 64, 64, 3)
    wanted = face(64).mean(-1, keepdims=True) if pixels == "gray" else face(64)
    assert np.abs(frames[0].astype(float) - wanted).mean() < 12


def test_a_turned_video_is_shown_upright(tmp_path):
    path = write_clip(tmp_path / "a.mp4", [face(96)] * 5, tone(0.2))
    data = path.read_bytes()
    unit, one = (1 << 16).to_bytes(4, "big"), (1 << 30).to_bytes(4, "big")
    zero, minus = bytes(4), (-(1 << 16)).to_bytes(4, "big", signed=True)
    upright = unit + zero * 3 + unit + zero * 3 + one
    track = data.index(b"tkhd")
    at = data.index(
        upright, track
    )  # the matrix of the picture track: to be shown turned by a quarter to the right
    turned = zero + unit + zero + minus + zero * 4 + one
    path.write_bytes(data[:at] + turned + data[at + 36 :])
    shown = read_video(path, 1)[0][0]
    assert np.abs(shown.astype(float) - np.rot90(face(96), -1)).mean() < 4


def test_ten_frames_a_second_and_sound_that_starts_late(tmp_path):
    path = tmp_path / "a.mkv"
    sound = tone(1.0)
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=10)
        video.width = video.height = 64
        audio = container.add_stream("pcm_s16le", rate=48_000, layout="mono")
        for image in numbered(20):
            container.mux(video.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(video.encode())
        frame = av.AudioFrame.from_ndarray(
            (sound * 32767).astype(np.int16)[None], format="s16", layout="mono"
        )
        frame.sample_rate, frame.pts = 48_000, 24_000
        container.mux(audio.encode(frame))
    wave, rate = read_audio(path)
    assert video_info(path).fps == 10
    assert not wave[:24_000].any()
    assert np.corrcoef(wave[24_000 : 24_000 + len(sound)], sound)[0, 1] > 0.99


def test_memory_holds_one_frame_at_a_time(tmp_path):
    frames = iter_frames(write_clip(tmp_path / "a.mp4", talking(10, 64), tone(0.4)))
    assert next(frames).shape == (64, 64, 3)
    frames.close()


def test_messages_name_file_fault_and_remedy(tmp_path):
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.wav").write_text("not sound")
    soundfile.write(
        tmp_path / "nan.wav", np.array([0.1, np.nan] * 100, np.float32), 22_050, "FLOAT"
    )
    soundfile.write(tmp_path / "none.wav", np.zeros(0), 22_050)
    for name, fault in {
        "empty.mp4": "empty file",
        "text.wav": "sound cannot be read",
        "gone.mp4": "no such file",
        "gone.wav": "no such file",
        "nan.wav": "not numbers",
        "none.wav": "no samples",
    }.items():
        with pytest.raises(MediaError, match=fault) as error:
            media.read_audio(tmp_path / name)
        assert name in str(error.value) and ";" in str(error.value) and "\n" not in str(error.value)
