"""What the browser tests share: one headless Chromium, a clip, and bad files."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import wavfile

from tools.site import parity

ROOT = Path(__file__).resolve().parents[2]
# A camera that shows a moving test picture and a microphone that beeps, and no question
FAKE_DEVICES = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")


@pytest.fixture(scope="session")
def browser():
    """A headless Chromium; tests that need it are skipped where it is not there."""
    reason = parity.lacking()
    if reason:
        pytest.skip(reason)
    with parity.chromium(*FAKE_DEVICES) as chromium:
        yield chromium


@pytest.fixture(scope="session")
def clip() -> Path:
    """A clip of an actor of the test set."""
    path = ROOT / "data" / "actors" / "Actor_05" / "01-01-03-02-01-01-05.mp4"
    if not path.exists():
        pytest.skip("the corpus actors is not there")
    return path


@pytest.fixture
def bad_files(tmp_path: Path, clip: Path) -> dict[str, tuple[str, Path, str]]:
    """What they are -> (button, file, words of the line that they deserve)."""
    folder = tmp_path
    noise, rng = folder / "noise.png", np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (300, 300, 3), dtype=np.uint8)).save(noise)
    words, nothing, wide = (folder / f"{name}.png" for name in ("words", "nothing", "wide"))
    words.write_text("this is no picture\n" * 20)
    nothing.write_bytes(b"")
    Image.new("L", (8000, 5000)).save(wide, compress_level=1)  # 40 megapixels, a small file
    blip, silence, mute = (folder / f"{name}.wav" for name in ("blip", "silence", "mute"))
    wavfile.write(blip, 22_050, np.ones(1_102, np.int16))
    wavfile.write(silence, 22_050, np.zeros(44_100, np.int16))
    mute.write_text("no sound at all")
    torn, whale = folder / "torn.mp4", folder / "whale.jpg"
    torn.write_bytes(clip.read_bytes()[:3_000])
    with open(whale, "wb") as file:
        file.truncate(200_000_000)
    return {
        "no face": ("picture", noise, "noise.png: no face found, so the middle of it was taken"),
        "text": (
            "picture",
            words,
            "words.png: not a readable picture (no picture inside); use a PNG or JPEG file",
        ),
        "zero bytes": ("picture", nothing, "nothing.png: an empty file; copy or download it again"),
        "40 megapixels": (
            "picture",
            wide,
            "wide.png: 40 megapixels, more than 25; make it smaller, or save it as a JPEG",
        ),
        "a torn video": ("picture", torn, "torn.mp4: "),
        "200 MB": ("picture", whale, "whale.jpg: 200 MB, more than 9; use a smaller file"),
        "0.05 s": ("sound", blip, "blip.wav: 0.05 s of sound is too short; use at least 0.3 s"),
        "silence": ("sound", silence, "silence.wav: silent, so it says nothing"),
        "text as sound": ("sound", mute, "mute.wav: "),
    }
