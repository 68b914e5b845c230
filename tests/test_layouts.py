"""RAVDESS and MEAD as their publishers lay them out, made of embedded clips.

They go through `cm prepare` and then through the notebooks.
"""

import contextlib
import io
import json
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path

import av
import nbformat
import numpy as np
import pytest
import soundfile
from conftest import ROOT, write_clip
from PIL import Image

from cmlib.cli import main
from cmlib.corpora import Clip, scan
from cmlib.corpora.names import CLASSES, EMOTIONS, MEAD_CLASSES, ClipName, MeadName
from cmlib.preparation import media
from cmlib.preparation.clip_arrays import prepare_clip
from cmlib.preparation.prepare import prepare
from cmlib.preparation.store import Store
from tools.notebooks import execute

NOTEBOOKS = sorted((ROOT / "notebooks").glob("0[1-7]_*.ipynb"))
# Actors of RAVDESS, and of MEAD with the embedded actors that play them: two train, two validate,
# and two are tested.
RAVDESS = (1, 10, 3, 6, 2, 5)
MEAD = {"M003": 1, "W009": 4, "M007": 3, "W037": 6, "M011": 5, "W016": 2}
# A partial download, in which training, validation and test still know every emotion.
MISSING_EMOTIONS = {"surprised": ("M003",), "sad": ("M007",), "happy": ("M011",)}
WITHOUT_VIDEO_OF_CONTEMPT = ("M011",)


def embedded(actor: int, emotion: str) -> Path:
    name = ClipName(actor, "speech", emotion, 1 if emotion == "neutral" else 2, 1, 1)
    return ROOT / "data" / "actors" / f"Actor_{actor:02d}" / f"{name.stem}.mp4"


def track(source: Path, target: Path, kind: str) -> None:
    """One track of a video as a file of its own, "video" or "audio", its packets as they are."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(source)) as whole, av.open(str(target), "w") as part:
        stream = getattr(whole.streams, kind)[0]
        copy = part.add_stream_from_template(stream)
        for packet in whole.demux(stream):
            if packet.dts is not None:
                packet.stream = copy
                part.mux(packet)


def transcoded(source: Path, target: Path, width: int, height: int, sound: bool) -> None:
    """The clip as a camera of this size films it at 30 frames a second.

    It has sound of 48 kHz, or none.
    """
    frames, info = media.read_video(source)
    wide = []
    for i in range(round(30 * info.seconds)):
        canvas = Image.new("RGB", (width, height), (70, 90, 80))
        side = 5 * height // 6
        picture = Image.fromarray(frames[min(int(i / 30 * info.fps), len(frames) - 1)])
        canvas.paste(picture.resize((side, side)), ((width - side) // 2, height - side))
        wide.append(np.asarray(canvas))
    samples = None
    if sound:
        original, rate = media.read_audio(source)
        times = np.arange(round(len(original) * 48_000 / rate)) * rate / 48_000
        samples = np.interp(times, np.arange(len(original)), original)
    write_clip(target, wide, samples, fps=30, rate=48_000)


def make_ravdess(root: Path) -> None:
    """RAVDESS in many forms.

    Actor 1 is packed, and actor 10 has picture and sound apart. One film is there twice. There are
    a song and a clip of the published size.
    """
    for actor in RAVDESS:
        for emotion in EMOTIONS:
            source = embedded(actor, emotion)
            target = root / f"Actor_{actor:02d}" / source.name
            if actor == 10:
                track(source, target.with_stem(f"02{source.stem[2:]}"), "video")
                sound = (
                    root
                    / "Audio_Speech_Actors_01-24"
                    / target.parent.name
                    / f"03{source.stem[2:]}.wav"
                )
                sound.parent.mkdir(parents=True, exist_ok=True)
                soundfile.write(sound, *media.read_audio(source))
            elif actor == 2 and emotion == "happy":
                transcoded(source, target, 1280, 720, sound=True)
            else:
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(source, target)
    happy = embedded(3, "happy")
    track(happy, root / "Actor_03" / f"02{happy.name[2:]}", "video")
    (root / "Video_Song_Actor_03" / "Actor_03").mkdir(parents=True)
    shutil.copy(happy, root / "Video_Song_Actor_03" / "Actor_03" / f"01-02{happy.name[5:]}")
    with zipfile.ZipFile(root / "Video_Speech_Actor_01.zip", "w") as archive:
        for path in sorted((root / "Actor_01").iterdir()):
            archive.write(path, f"Actor_01/{path.name}")
    shutil.rmtree(root / "Actor_01")


def make_mead(root: Path) -> None:
    """MEAD in many forms.

    Video is without sound, and sound lies apart. There are a second view and a clip as large as
    published. Some of the corpus is missing.
    """
    for actor, number in MEAD.items():
        for emotion in (*MEAD_CLASSES, "neutral"):
            if actor in MISSING_EMOTIONS.get(emotion, ()):
                continue
            source = embedded(number, "calm" if emotion == "contempt" else emotion)
            name = MeadName(actor, emotion, 1 if emotion == "neutral" else 3, 1, "front")
            if actor == "W016" and emotion == "angry":
                transcoded(source, root / f"{name.path}.mp4", 1920, 1080, sound=False)
                shutil.copytree(
                    (cameras := root / actor / "video") / "front" / "angry",
                    cameras / "left_30" / "angry",
                )
            elif actor not in WITHOUT_VIDEO_OF_CONTEMPT or emotion != "contempt":
                track(source, root / f"{name.path}.mp4", "video")
            track(source, root / f"{MeadName(actor, emotion, name.level, 1).path}.m4a", "audio")


@dataclass
class Prepared:
    """A corpus that ``cm prepare`` has read."""

    corpus: str
    output: str  # of the command
    large: tuple[str, Path]  # a clip of published size, and the embedded clip in it
    run: Path  # a folder for the notebooks

    @property
    def store(self) -> Store:
        return prepare(self.corpus, "smoke")


CORPORA = {
    "ravdess": (make_ravdess, ("01-01-03-02-01-01-02", embedded(2, "happy"))),
    "mead": (make_mead, ("W016-angry-3-001", embedded(2, "angry"))),
}


@pytest.fixture(scope="module")
def prepared(request, tmp_path_factory, kernels):
    """The corpus with the name in ``request.param``, in its layout, prepared by the command."""
    corpus = request.param
    make, large = CORPORA[corpus]
    home = tmp_path_factory.mktemp(corpus)
    make(home / "data" / corpus)
    settings = kernels | {
        "CM_DATA": str(home / "data"),
        # Both corpora share the decoded pictures of the crowd.
        "CM_CACHE": str(tmp_path_factory.getbasetemp() / "prepared"),
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, value)
        with contextlib.redirect_stdout(io.StringIO()) as output:
            assert main(["prepare", corpus, "--profile", "smoke", "--workers", "1"]) == 0
        yield Prepared(corpus, output.getvalue(), large, home / "run")


def of(*names: str):
    """Runs a test with these corpora; the tests of one stand together, so each is made once."""
    return pytest.mark.parametrize("prepared", names, indirect=True, scope="module")


@of("ravdess")
def test_ravdess_is_read_as_it_is_published(prepared):
    clips = prepared.store.clips.set_index("name")
    assert "ravdess: 48 clips of 6 actors, 96 frames" in prepared.output
    assert "skipped: 1 duplicate, 1 song" in prepared.output
    assert "the corpus ravdess+song has it" in prepared.output
    assert len(scan("ravdess+song")[0]) == 49
    packed = clips.file["01-01-03-02-01-01-01"]
    assert packed.startswith("Video_Speech_Actor_01.zip!/Actor_01/")
    apart = clips.loc["02-01-03-02-01-01-10"]
    assert apart.file.startswith("Actor_10/")
    assert apart.sound.startswith("Audio_Speech_Actors_01-24/Actor_10/03-")


@of("mead")
def test_mead_is_read_as_it_is_published(prepared):
    clips = prepared.store.clips.set_index("name")
    assert "mead: 45 clips of 6 actors, 88 frames" in prepared.output
    assert "missing: the video of 1 of 7 takes with sound" in prepared.output
    assert "view: left_30, 1 videos left out; the corpus mead+left_30 has them" in prepared.output
    assert len(scan("mead+left_30")[0]) == 46
    assert clips.sound["M003-fear-3-001"] == "M003/audio/fear/level_3/001.m4a"
    assert clips.n_frames["M011-contempt-3-001"] == 0


@of("ravdess", "mead")
def test_every_face_is_found_and_every_voice_heard(prepared):
    clips = prepared.store.clips
    assert clips.face_found[clips.n_frames > 0].all() and not clips.silent.any()


@of("ravdess", "mead")
def test_clips_of_published_size_are_read_like_small_ones(prepared):
    store, (name, source) = prepared.store, prepared.large
    clips = store.clips.set_index("name")
    small, facts = prepare_clip(Clip(source, None, True, "actors", 2, "", 1, 1, 1, ""), 32, 2)
    first, row = clips.first_frame[name], clips.index.get_loc(name)
    assert abs(clips.duration[name] - facts["duration"]) < 0.05
    frames = store.frames[first : first + 2].astype(float)
    assert np.abs(frames - small["frames"]).mean() < 6  # grey levels of 255
    assert np.abs(store.mels[row].astype(float) - small["mel"]).mean() < 0.03


def one_after_the_other(notebooks: list[Path], parameters: dict) -> nbformat.NotebookNode:
    """The code of these notebooks, each with these parameters, in one, so that one kernel serves.

    Figures are made, but not drawn, which takes most of the time and does not depend on the corpus.
    """
    header = nbformat.v4.new_code_cell("", metadata={"tags": ["parameters"]})
    header.source = "\n".join(f"{name} = None" for name in parameters)
    undrawn = nbformat.v4.new_code_cell(
        "from cmlib.plots import style\n\n"
        "style.save = lambda *a, **k: None\n"
        "style.Plot._repr_png_ = lambda figure: None"
    )
    cells = [header, undrawn]
    for path in notebooks:
        notebook = nbformat.read(path, 4)
        for cell in notebook.cells:
            if "parameters" in cell.metadata.get("tags", []):
                cell.source += "".join(f"\n{name} = {x!r}" for name, x in parameters.items())
            if cell.cell_type == "code":
                cells.append(cell)
    return nbformat.v4.new_notebook(cells=cells, metadata=notebook.metadata)


def execute_notebooks(prepared: Prepared, notebooks: list[Path]) -> dict[str, dict]:
    """Execute these notebooks on the corpus; the numbers that each records, by its own number."""
    run = prepared.run
    parameters = {"corpus": prepared.corpus, "profile": "smoke", "out_dir": str(run)}
    run.mkdir()
    nbformat.write(one_after_the_other(notebooks, parameters), run / "source.ipynb")
    execute.execute(run / "source.ipynb", run / "executed.ipynb", parameters)
    numbers = {}
    for path in notebooks:
        numbers[path.stem[:2]] = json.loads((run / "metrics" / f"{path.stem}.json").read_text())
    assert not [name for name, one in numbers.items() if isinstance(one.get("skipped"), str)]
    assert numbers["01"]["actors"] == 6
    assert sum(numbers["01"]["clips_per_part"].values()) == numbers["01"]["clips"]
    return numbers


def is_a_share_within_its_interval(score: dict) -> bool:
    return 0 <= score["low"] <= score["value"] <= score["high"] <= 1


@of("ravdess")
def test_notebooks_that_open_files_run_on_ravdess(prepared):
    """Its prepared arrays are like those of the embedded corpus, on which all notebooks run.

    Notebook 01 opens clips, 06 their sound; it trains the networks of the others on the way.
    """
    numbers = execute_notebooks(prepared, [NOTEBOOKS[0], NOTEBOOKS[5]])
    assert set(numbers["06"]["recall"]["can"]) == set(CLASSES)
    for scores in numbers["06"]["models"].values():
        assert all(is_a_share_within_its_interval(score) for score in scores.values())


@of("mead")
def test_all_notebooks_run_on_mead_with_its_own_classes(prepared):
    numbers = execute_notebooks(prepared, NOTEBOOKS)
    classes = set(MEAD_CLASSES)
    assert set(numbers["04"]["recall_validation"]["face"]) == classes
    assert set(numbers["06"]["recall"]["can"]) == set(numbers["07"]["face"]["read"]) == classes
    for scores in (*numbers["06"]["models"].values(), *numbers["03"]["test"].values()):
        assert all(is_a_share_within_its_interval(score) for score in scores.values())
