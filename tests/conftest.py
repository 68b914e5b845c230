"""Tiny real clips, made on the spot: an H.264 video of a moving face with a tone in AAC."""

from __future__ import annotations

import os
import resource
import shutil
from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from pathlib import Path

import av
import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageDraw
from warm_kernels import warm_kernels

import cmlib  # noqa: F401  before a test loads torch, whose threads it tells how to wait
from cmlib import files
from cmlib.corpora import crowd
from tools.notebooks.execute import leave_out_grammar_of_addresses

leave_out_grammar_of_addresses()  # for tests that use papermill or nbformat themselves

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
RATE = 48_000


def pytest_configure(config):
    # xdist would begin with the files that have most tests, and not in the order of LONGEST.
    config.option.loadscopereorder = False
    os.environ.setdefault("CM_QUIET", "1")
    os.environ.pop("CM_FRESH", None)


# -------------------------------------------------------------------- what comes first

# Each takes a quarter of a minute or more. `make test` starts with them, so that no process is
# still at work on one of them when the others have ended.
LONGEST = (
    "test_notebooks",
    "test_benchmarks",
    "test_layouts",
    "test_devices",
    "test_study",
    "test_kills",
    "test_training",
    "test_places",
    "test_real_inputs",
)


def pytest_collection_modifyitems(items):
    if "PYTEST_XDIST_WORKER" in os.environ:
        places = {name: place for place, name in enumerate(LONGEST)}
        items.sort(key=lambda item: places.get(item.path.stem, len(LONGEST)))


# -------------------------------------------------------------------- where processor time goes

# With pytest's option --durations=N, the N files of tests that took most processor time are listed.
# Seconds of wall clock say little, since tests run side by side.

CLOCK = pytest.StashKey[float]()


def processor_seconds() -> float:
    """Of this process and of those children that have ended."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    report = yield
    now = processor_seconds()
    # Set-up, call and teardown of a test have a report each, so nothing is left out between two.
    report.processor_seconds = now - item.config.stash.get(CLOCK, now)
    item.config.stash[CLOCK] = now
    return report


def pytest_terminal_summary(terminalreporter, config):
    count = config.option.durations
    if not count:
        return
    by_file = Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            file = getattr(report, "nodeid", "").partition("::")[0]
            by_file[file] += getattr(report, "processor_seconds", 0.0)
    terminalreporter.section(f"processor time: {by_file.total():.0f} s")
    for file, seconds in by_file.most_common(count):
        terminalreporter.write_line(f"{seconds:7.1f} s  {file}")


@pytest.fixture
def crowd_of(tmp_path, monkeypatch):
    """Makes a crowd of noise: so many people, each with a picture of 32 pixels of every mood."""

    def make(people: int, *moods: str) -> Path:
        rows = [
            {"offset": 0, "bytes": 1, "person": p, "mood": m} for p in range(people) for m in moods
        ]
        (tmp_path / "faces.csv").write_text("moods")
        np.save(
            tmp_path / "faces.npy",
            np.random.default_rng(0).integers(0, 255, (len(rows), 32, 32, 3), np.uint8),
        )
        monkeypatch.setattr(crowd, "folder", lambda: tmp_path)
        monkeypatch.setattr(crowd, "table", lambda root=None, limit=None: pd.DataFrame(rows))
        monkeypatch.setattr(
            crowd,
            "load",
            lambda size, limit=None, root=None: np.load(tmp_path / "faces.npy", mmap_mode="r"),
        )
        return tmp_path

    return make


def face(
    size: int = 160, dx: float = 0.0, dy: float = 0.0, scale: float = 1.0, skin=(224, 172, 140)
) -> np.ndarray:
    """A drawn face (size, size, 3) uint8; eyes at 40 and 60 % of the width, 45 % of the height."""
    big = 4 * size
    image = Image.new("RGB", (big, big), (190, 195, 205))
    draw = ImageDraw.Draw(image)

    def spot(x, y, rx, ry, colour):
        x, y = (0.5 + (x - 0.5) * scale + dx) * big, (0.5 + (y - 0.5) * scale + dy) * big
        rx, ry = rx * scale * big, ry * scale * big
        draw.ellipse([x - rx, y - ry, x + rx, y + ry], fill=colour)

    dark = tuple(int(0.72 * v) for v in skin)
    spot(0.5, 1.05, 0.42, 0.25, (60, 70, 90))  # shoulders
    spot(0.5, 0.75, 0.11, 0.16, dark)  # neck
    spot(0.5, 0.42, 0.25, 0.30, (50, 35, 25))  # hair
    spot(0.5, 0.5, 0.215, 0.29, skin)
    for side in (-1, 1):
        spot(0.5 + side * 0.225, 0.5, 0.025, 0.06, dark)
        spot(0.5 + side * 0.1, 0.45, 0.047, 0.026, dark)
        spot(0.5 + side * 0.1, 0.45, 0.040, 0.020, (245, 245, 245))
        spot(0.5 + side * 0.1, 0.45, 0.019, 0.019, (40, 30, 30))
        spot(0.5 + side * 0.1, 0.395, 0.062, 0.010, (50, 35, 25))
        spot(0.5 + side * 0.025, 0.575, 0.014, 0.010, dark)
    spot(0.5, 0.55, 0.022, 0.05, tuple(int(0.9 * v) for v in skin))
    spot(0.5, 0.665, 0.085, 0.022, (150, 60, 60))
    return np.asarray(image.resize((size, size), Image.Resampling.BOX))


def tone(seconds: float, rate: int = RATE, pitch: float = 180.0) -> np.ndarray:
    """Mono (N,) float32: a few harmonics with an envelope, silent in the first and last tenth."""
    t = np.arange(round(seconds * rate)) / rate
    wave = sum(np.sin(2 * np.pi * pitch * k * t) / k for k in range(1, 9))
    envelope = np.clip(np.minimum(t, seconds - t) / seconds * 10 - 1, 0, 1)
    return (0.2 * wave * envelope).astype(np.float32)


def write_clip(
    path: Path,
    frames: list[np.ndarray] | None = None,
    sound: np.ndarray | None = None,
    fps: int = 25,
    rate: int = RATE,
    pixels: str = "yuv420p",
) -> Path:
    """Write a video file of RGB frames and mono or stereo (2, N) sound; either may be missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(
        str(path), "w", options={"movflags": "faststart"} if path.suffix == ".mp4" else {}
    ) as container:
        if frames is not None:
            video = container.add_stream(
                "libx264", rate=fps, options={"preset": "ultrafast", "crf": "20"}
            )
            video.height, video.width, video.pix_fmt = *frames[0].shape[:2], pixels
            video.thread_count = 1  # for such small pictures, threads cost more than they save
        if sound is not None:
            sound = np.atleast_2d(sound).astype(np.float32)
            audio = container.add_stream(
                "aac", rate=rate, layout="stereo" if len(sound) == 2 else "mono"
            )
        for image in frames or ():
            container.mux(
                video.encode(
                    av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
                )
            )
        if frames is not None:
            container.mux(video.encode())
        if sound is not None:
            frame = av.AudioFrame.from_ndarray(sound, format="fltp", layout=audio.layout.name)
            frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
            fifo = av.AudioFifo()
            fifo.write(frame)
            while part := fifo.read(1024, partial=True):
                container.mux(audio.encode(part))
            container.mux(audio.encode())
    return path


def talking(count: int = 20, size: int = 160, **options) -> list[np.ndarray]:
    """Frames of a face that sways by two per cent of the picture."""
    return [face(size, dx=0.02 * np.sin(i / 4), **options) for i in range(count)]


@pytest.fixture(scope="session")
def good_clip(tmp_path_factory) -> Path:
    """One clip of 0.8 s with face and sound."""
    path = tmp_path_factory.mktemp("clip") / "01-01-03-01-01-01-01.mp4"
    return write_clip(path, talking(), tone(0.8))


def write_toy_corpus(root: Path, clip: Path, names: tuple[str, ...]) -> Path:
    """A RAVDESS tree in which actors 1, 2, 3 and 10 have the same clip under each of these names.

    ``names`` are emotion, intensity and statement, as in "03-01-01".
    """
    for actor in (1, 2, 3, 10):
        folder = root / f"Actor_{actor:02d}"
        folder.mkdir(parents=True)
        for name in names:
            shutil.copy(clip, folder / f"01-01-{name}-01-{actor:02d}.mp4")
    return root


@pytest.fixture
def corpus(tmp_path, good_clip) -> Path:
    """A RAVDESS tree of 8 clips without faults: 4 actors, happy and angry."""
    return write_toy_corpus(tmp_path / "corpus", good_clip, ("03-01-01", "05-01-01"))


@pytest.fixture(scope="session")
def toy_data(tmp_path_factory, good_clip) -> Path:
    """A folder of data for ``toy_project``, whose cache all of them share."""
    home = tmp_path_factory.mktemp("toy")
    names = ("01-01-01", "01-01-02", "03-01-01", "05-01-01")
    write_toy_corpus(home / "data" / "actors", good_clip, names)
    (home / "crowd").mkdir()
    people = pd.read_csv(crowd.SHIPPED / "faces.csv").head(240)
    people.to_csv(home / "crowd" / "faces.csv", index=False)
    with open(crowd.SHIPPED / "faces.bin", "rb") as pictures:
        end = people.offset.iloc[-1] + people.bytes.iloc[-1]
        (home / "crowd" / "faces.bin").write_bytes(pictures.read(end))
    return home


@pytest.fixture(scope="module")
def toy_project(tmp_path_factory, toy_data) -> Iterator[Path]:
    """A project of its own in an empty folder: nothing is shipped or trained there.

    Its corpus ``actors`` has two neutral, one happy and one angry clip each of actors 1, 2, 3 and
    10. Fold 1 tests actor 2, fold 2 actor 3, fold 3 actor 10, fold 5 actor 1, fold 4 nobody. Its
    crowd are the first twenty people of the shipped one.
    """
    home = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CM_DATA", str(toy_data / "data"))
        patch.setenv("CM_CACHE", str(toy_data / "cache"))
        patch.setattr(files, "ROOT", home)
        patch.setattr(crowd, "SHIPPED", toy_data / "crowd")
        yield home


@pytest.fixture(scope="session")
def kernels(tmp_path_factory) -> Iterator[dict[str, str]]:
    """The environment in which notebooks get kernels that have imported torch and others before.

    They compute on one thread and know no window system. papermill writes a notebook when it ends,
    and not before and after each of its cells.
    """
    import papermill  # takes a second, and most files of tests do without

    settings = {"MPLBACKEND": "agg", "OMP_NUM_THREADS": "1"}
    write_once = partial(papermill.execute_notebook, request_save_on_cell_execute=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(papermill, "execute_notebook", write_once)
        with warm_kernels(tmp_path_factory.mktemp("kernels"), settings) as environment:
            yield settings | environment


@pytest.fixture
def large_corpus(corpus) -> Path:
    """The same with four repetitions, 32 clips: work for two processes."""
    for path in list(corpus.rglob("*.mp4")):
        for repetition in range(2, 5):
            shutil.copy(path, path.with_name(f"{path.name[:15]}{repetition:02d}{path.name[17:]}"))
    return corpus


@pytest.fixture
def shared_sample() -> Path:
    """A real sample of RAVDESS beside the repository, for those who have it."""
    sample = SHARED / "ravdess_sample"
    if not sample.is_dir():
        pytest.skip("no real sample of RAVDESS beside the repository")
    return sample
