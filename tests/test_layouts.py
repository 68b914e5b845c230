"""RAVDESS and MEAD as their publishers lay them out, made of embedded clips.

They go through `cm prepare` and then through notebooks 01 to 07.
"""

import contextlib
import io
import json
import shutil
import zipfile
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
from cmlib.experiment.run import Run
from cmlib.preparation import media
from cmlib.preparation.prepare import prepare_clip
from tools.notebooks import execute

NOTEBOOKS = sorted((ROOT / "notebooks").glob("0[1-7]_*.ipynb"))
# Actors of RAVDESS, and of MEAD with the embedded actors that play them: two train, two validate,
# and two are tested.
RAVDESS = (1, 10, 3, 6, 2, 5)
MEAD = {"M003": 1, "W009": 4, "M007": 3, "W037": 6, "M011": 5, "W016": 2}
LACKING = {
    "surprised": ("M003",),
    "sad": ("M007",),
    "happy": ("M011",),
}  # a partial download; each part knows all
BLIND = ("M011",)  # whose contempt has no video


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
    heard, rate = media.read_audio(source)
    heard = np.interp(
        np.arange(round(len(heard) * 48_000 / rate)) * rate / 48_000, np.arange(len(heard)), heard
    )
    write_clip(target, wide, heard if sound else None, fps=30, rate=48_000)


def make_ravdess(root: Path) -> None:
    """RAVDESS in many forms.

    Actor 1 is packed, and actor 10 has picture and sound apart. One film is there twice. There are
    a song and two clips of the published size.
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
            elif actor == 2 and emotion in ("neutral", "happy"):
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
            if actor in LACKING.get(emotion, ()):
                continue
            source = embedded(number, "calm" if emotion == "contempt" else emotion)
            name = MeadName(actor, emotion, 1 if emotion == "neutral" else 3, 1, "front")
            if actor == "W016" and emotion == "angry":
                transcoded(source, root / f"{name.path}.mp4", 1920, 1080, sound=False)
                shutil.copytree(
                    (cameras := root / actor / "video") / "front" / "angry",
                    cameras / "left_30" / "angry",
                )
            elif actor not in BLIND or emotion != "contempt":
                track(source, root / f"{name.path}.mp4", "video")
            track(source, root / f"{MeadName(actor, emotion, name.level, 1).path}.m4a", "audio")


@pytest.fixture(scope="module", params=["ravdess", "mead"])
def prepared(request, tmp_path_factory):
    """A corpus in its layout, prepared by the command.

    (its name, what the command printed, a folder for the notebooks' run)
    """
    corpus, home = request.param, tmp_path_factory.mktemp(request.param)
    cache = (
        tmp_path_factory.getbasetemp() / "prepared"
    )  # also of the crowd's pictures, which both runs look at
    {"ravdess": make_ravdess, "mead": make_mead}[corpus](home / "data" / corpus)
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as said:
        places = {"CM_DATA": home / "data", "CM_CACHE": cache}
        for name, value in {"MPLBACKEND": "agg", "OMP_NUM_THREADS": 1, **places}.items():
            patch.setenv(name, str(value))
        assert main(["prepare", corpus, "--profile", "smoke", "--workers", "1"]) == 0
        yield corpus, said.getvalue(), home / "run"


def test_prepare_reads_the_layout_and_large_clips_like_small_ones(prepared):
    corpus, said, _ = prepared
    store = Run(corpus, "smoke").store
    clips = store.clips.set_index("name")
    if corpus == "ravdess":
        assert (
            "ravdess: 48 clips of 6 actors, 96 frames" in said
            and "skipped: 1 duplicate, 1 song" in said
        )
        assert "the corpus ravdess+song has it" in said and len(scan("ravdess+song")[0]) == 49
        assert clips.file["01-01-03-02-01-01-01"].startswith("Video_Speech_Actor_01.zip!/Actor_01/")
        apart = clips.loc["02-01-03-02-01-01-10"]
        assert apart.file.startswith("Actor_10/") and apart.sound.startswith(
            "Audio_Speech_Actors_01-24/Actor_10/03-"
        )
        name, source = "01-01-03-02-01-01-02", embedded(2, "happy")
    else:
        assert (
            "mead: 45 clips of 6 actors, 88 frames" in said
            and "missing: the video of 1 of 7 takes heard" in said
        )
        assert "view: left_30, 1 videos left out; the corpus mead+left_30 has them" in said
        assert len(scan("mead+left_30")[0]) == 46
        assert clips.sound["M003-fear-3-001"] == "M003/audio/fear/level_3/001.m4a"
        assert clips.n_frames["M011-contempt-3-001"] == 0
        name, source = "W016-angry-3-001", embedded(2, "angry")
    assert clips.face_found[clips.n_frames > 0].all() and not clips.silent.any()
    small, row = prepare_clip(Clip(source, None, True, corpus, 2, "", 1, 1, 1, ""), 32, 2)
    first, place = clips.first_frame[name], clips.index.get_loc(name)
    assert abs(clips.duration[name] - row["duration"]) < 0.05
    assert (
        np.abs(store.frames[first : first + 2].astype(float) - small["frames"]).mean() < 6
    )  # grey levels of 255
    assert np.abs(store.mels[place].astype(float) - small["mel"]).mean() < 0.03


def one_after_the_other(parameters: dict) -> nbformat.NotebookNode:
    """The code of all notebooks, each with these parameters, in one, so that one kernel serves all.

    Figures are made, but not drawn, which takes most of the time and does not depend on the corpus.
    """
    cells = [nbformat.v4.new_code_cell("", metadata={"tags": ["parameters"]})]
    cells[0].source = "\n".join(f"{name} = None" for name in parameters)
    undrawn = "style.save = lambda *a, **k: None\nstyle.Plot._repr_png_ = lambda figure: None"
    cells.append(nbformat.v4.new_code_cell(f"from cmlib.plots import style\n\n{undrawn}"))
    for book in (nbformat.read(path, 4) for path in NOTEBOOKS):
        for cell in book.cells:
            if "parameters" in cell.metadata.get("tags", []):
                cell.source += "".join(
                    f"\n{name} = {value!r}" for name, value in parameters.items()
                )
            cells += [cell] if cell.cell_type == "code" else []
    return nbformat.v4.new_notebook(cells=cells, metadata=book.metadata)


def test_notebooks_run_on_it(prepared):
    corpus, _, run = prepared
    parameters = {"corpus": corpus, "profile": "smoke", "out_dir": str(run)}
    run.mkdir()
    nbformat.write(one_after_the_other(parameters), source := run / "source.ipynb")
    execute.execute(source, run / "executed.ipynb", parameters)
    numbers = {
        path.stem[:2]: json.loads((run / "metrics" / f"{path.stem}.json").read_text())
        for path in NOTEBOOKS
    }
    assert not [name for name, found in numbers.items() if isinstance(found.get("skipped"), str)]
    classes = set(MEAD_CLASSES if corpus == "mead" else CLASSES)
    assert (
        numbers["01"]["actors"] == 6
        and sum(numbers["01"]["clips_per_part"].values()) == numbers["01"]["clips"]
    )
    assert set(numbers["04"]["recall_validation"]["face"]) == classes
    assert set(numbers["06"]["recall"]["can"]) == set(numbers["07"]["face"]["read"]) == classes
    for scores in (*numbers["06"]["models"].values(), *numbers["03"]["test"].values()):
        assert all(
            0 <= score["low"] <= score["value"] <= score["high"] <= 1 for score in scores.values()
        )
