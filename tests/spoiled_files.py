"""Files that are spoiled or odd: what is wrong with them, and what writes them."""

import io
import re
import struct
import zipfile
from fractions import Fraction
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import numpy as np
import soundfile
from conftest import face, talking, tone, write_clip
from PIL import Image

FRAMES = talking(20, 96)


@cache
def good() -> bytes:
    """A clip without faults."""
    with TemporaryDirectory() as folder:
        return write_clip(Path(folder, "good.mp4"), FRAMES, tone(0.8)).read_bytes()


def good_sound() -> bytes:
    """A sound file without faults."""
    buffer = io.BytesIO()
    soundfile.write(buffer, tone(0.8), 48_000, format="WAV")
    return buffer.getvalue()


def changed_bytes(change):
    """A writer of changed bytes of the good clip."""
    return lambda path: path.write_bytes(change(good()))


def written_clip(frames=FRAMES, sound=None, **options):
    """A writer of a clip with these frames and this sound (default: one that lasts as long)."""
    if sound is None:
        sound = tone(len(frames) / options.get("fps", 25), options.get("rate", 48_000))
    return lambda path: write_clip(path, frames, sound, **options)


def written_sound(samples, rate=22_050, kind="PCM_16", form="WAV"):
    """A writer of a sound file."""
    return lambda path: soundfile.write(path, samples, rate, kind, format=form)


def variable_frame_rate(path):
    """Frames that last 20 to 120 milliseconds."""
    times = np.cumsum([0, *np.random.default_rng(0).integers(20, 121, len(FRAMES) - 1)])
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        video.width = video.height = 96
        video.codec_context.time_base = Fraction(1, 1000)
        audio = container.add_stream("pcm_s16le", rate=48_000, layout="mono")
        for image, at in zip(FRAMES, times):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = int(at), Fraction(1, 1000)
            container.mux(video.encode(frame))
        container.mux(video.encode())
        samples = (tone(times[-1] / 1000 + 0.1) * 32767).astype(np.int16)[None]
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        frame.sample_rate, frame.pts = 48_000, 0
        container.mux(audio.encode(frame))


def rotated(path):
    """Filmed with the camera on its side: the header says that a quarter turn brings it upright."""
    write_clip(path, [np.rot90(f) for f in FRAMES], tone(0.8))
    plain = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    turned = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)
    written = path.read_bytes()
    at = written.index(plain, written.index(b"tkhd"))  # the matrix of the track, not of the film
    path.write_bytes(written[:at] + turned + written[at + 36 :])


def six_channels(path):
    """Sound comes out of the loudspeaker in the middle only."""
    frames = np.zeros((6, 38_400), np.float32)
    frames[2] = tone(0.8)
    soundfile.write(path, frames.T, 48_000, "PCM_16")


def noisy_end(path):
    """The good clip, and bytes that mean nothing behind it."""
    path.write_bytes(good() + np.random.default_rng(0).bytes(5000))


def write_picture(path):
    """A picture with the name of a video."""
    Image.fromarray(face(64)).save(path, "PNG")


def packed(*members, spoil=lambda raw: raw):
    """A writer of an archive with members (name, function that gives its bytes).

    ``{0}`` in a name becomes the number that is the name of the archive.
    """

    def write(path):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for name, content in members:
                archive.writestr(name.format(path.stem), content())
        path.write_bytes(spoil(buffer.getvalue()))

    return write


def flip(raw: bytes) -> bytes:
    """Another byte in the middle of the first member: the check sum no longer fits."""
    return raw[:9000] + bytes([raw[9000] ^ 255]) + raw[9001:]


def encrypted(raw: bytes) -> bytes:
    """Says of its members that they have a password."""
    header = rb"(PK\x03\x04..|PK\x01\x02....)\x00"
    return re.sub(header, lambda match: match[1] + b"\1", raw, flags=re.DOTALL)


SOUND = "03-01-05-02-01-01-{0}.wav"  # the actor has the number of the case
CLIP = "01-01-05-02-01-01-{0}.mp4"
OUTCOMES = USED, FACELESS, SILENT = "used", "used, no face", "used, silent"
# What it is: its name, what writes it, and its outcome: how it is used, or words of the reason.
CASES = {
    "cut short": (CLIP, changed_bytes(lambda b: b[: len(b) // 2]), "cut short"),
    "a little short": (CLIP, changed_bytes(lambda b: b[: len(b) * 9 // 10]), "cut short"),
    "without its table of contents": (CLIP, changed_bytes(lambda b: b[:200]), "not a video"),
    "zero bytes": (CLIP, changed_bytes(lambda b: b""), "empty file"),
    "zero bytes of sound": (SOUND, changed_bytes(lambda b: b""), "empty file"),
    "text": (CLIP, lambda p: p.write_text("not a video\n" * 200), "not a video"),
    "an error page": (SOUND, lambda p: p.write_text("<html>404</html>"), "sound cannot be read"),
    "a picture": (CLIP, write_picture, "no sound track"),
    "sound with the suffix of a video": (
        CLIP,
        written_sound(tone(0.8), 48_000),
        "no picture track",
    ),
    "a video with another suffix": (CLIP.replace("mp4", "avi"), changed_bytes(lambda b: b), USED),
    "a video with the suffix of sound": (SOUND, changed_bytes(lambda b: b), USED),
    "no sound track": (CLIP, lambda p: write_clip(p, FRAMES, None), "no sound track"),
    "no picture track": (CLIP, lambda p: write_clip(p, None, tone(0.8)), "no picture track"),
    "noise behind the end": (CLIP, noisy_end, USED),
    "variable frame rate": (CLIP.replace("mp4", "mkv"), variable_frame_rate, USED),
    "rotated": (CLIP, rotated, USED),
    "grey": (CLIP.replace("mp4", "mkv"), written_clip(pixels="gray"), USED),
    "ten bits": (CLIP.replace("mp4", "mkv"), written_clip(pixels="yuv420p10le"), USED),
    "10 fps": (CLIP, written_clip(fps=10), USED),
    "odd dimensions": (
        CLIP,
        written_clip(
            [np.pad(f, ((0, 1), (0, 25), (0, 0)), "edge") for f in FRAMES], pixels="yuv444p"
        ),
        USED,
    ),
    "huge": (
        CLIP,
        written_clip([np.pad(face(1080), ((0, 0), (1380, 1380), (0, 0)), "edge")] * 3),
        USED,
    ),
    "tiny": (CLIP, written_clip([f[:16, :16] for f in FRAMES]), FACELESS),
    "black": (CLIP, written_clip([np.zeros_like(f) for f in FRAMES]), FACELESS),
    "one frame": (CLIP, written_clip(FRAMES[:1]), USED),
    "0.05 s": (CLIP, written_clip(FRAMES[:2], fps=40), USED),
    "silent": (CLIP, written_clip(sound=np.zeros(38_400)), SILENT),
    "clipping": (CLIP, written_clip(sound=np.clip(40 * tone(0.8), -1, 1)), USED),
    "8 bits": (SOUND, written_sound(tone(0.8), kind="PCM_U8"), USED),
    "six channels": (SOUND, six_channels, USED),
    "8 kHz": (SOUND, written_sound(tone(0.8, 8000), 8000), USED),
    "96 kHz": (SOUND, written_sound(tone(0.8, 96_000), 96_000), USED),
    "no samples": (SOUND, written_sound(np.zeros(0)), "no samples"),
    "values that are not numbers": (
        SOUND,
        written_sound(np.full(9000, np.nan), kind="FLOAT"),
        "not numbers",
    ),
    "a folder": (CLIP, lambda p: p.mkdir(), "a folder with the name of a file"),
    "a link to itself": (
        CLIP,
        lambda p: p.symlink_to(p),
        "not a file, or a link that leads nowhere",
    ),
    "spaces and other letters": (
        "Schauspielerin Nº {0} ü 演员/" + CLIP,
        changed_bytes(lambda b: b),
        USED,
    ),
    "another name": ("holiday {0}.mp4", changed_bytes(lambda b: b), "is not a RAVDESS name"),
    "an archive": ("{0}.zip", packed(("Actor_x/" + CLIP, good)), USED),
    "an archive that is none": (
        "{0}.zip",
        lambda p: p.write_text("<html>404</html>"),
        "not a zip archive, or cut",
    ),
    "a cut archive": (
        "{0}.zip",
        packed((CLIP, good), spoil=lambda raw: raw[:-500]),
        "not a zip archive",
    ),
    "names that climb": (
        "{0}.zip",
        packed(("../" + CLIP, good)),
        "a name that leads out of the archive",
    ),
    "names from the root": (
        "{0}.zip",
        packed(("/tmp/" + CLIP, good)),
        "a name that leads out of the archive",
    ),
    "names of another system": ("{0}.zip", packed(("..\\" + CLIP, good)), "a name that leads out"),
    "a damaged member": ("{0}.zip", packed((CLIP, good), spoil=flip), "damaged in the archive"),
    "a member with a password": (
        "{0}.zip",
        packed((CLIP, good), spoil=encrypted),
        "damaged .*encrypted",
    ),
    "an empty member": ("{0}.zip", packed((SOUND, bytes)), "empty file"),
    "sound in an archive": ("{0}.zip", packed((SOUND, good_sound)), USED),
}
