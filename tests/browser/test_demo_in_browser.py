"""The demo as a person meets it.

Headless Chromium drives notebook 08 in JupyterLab, and the app that `make demo` opens. This needs
Chromium and the extra `browser`. CM_SCREENSHOT=FILE keeps a picture of the app
(docs/figures/demo.png).
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import wavfile
from somebody import Somebody

from cmlib.preparation.media import read_video

ROOT = Path(__file__).resolve().parents[2]
BOOK = ROOT / "notebooks" / "08_generation_demo.ipynb"
DIAGRAMS = ROOT / "docs" / "figures" / "diagrams"
ORIGINAL, RECONSTRUCTION, PERCEIVED, DIFFERENCE = range(4)

# -------------------------------------------------------------------- the two front ends


def serve(command: list[str], port: int, folder: Path, **more: str) -> subprocess.Popen:
    """A server in a process group of its own, once it answers."""
    private = {
        "JUPYTER_CONFIG_DIR": str(folder / "config"),
        "JUPYTERLAB_SETTINGS_DIR": str(folder / "settings"),
    }
    private["CM_CACHE"] = str(folder / "cache")  # as in a fresh clone: nothing is prepared
    with open(folder / "server.log", "w") as log:
        server = subprocess.Popen(
            command,
            cwd=ROOT,
            env=os.environ | private | more,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    for _ in range(1800):
        try:
            socket.create_connection(("localhost", port), 1).close()
            return server
        except OSError:
            assert server.poll() is None, (folder / "server.log").read_text()
            time.sleep(0.1)
    raise AssertionError((folder / "server.log").read_text())


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("localhost", 0))
        return s.getsockname()[1]


class Person(Somebody):
    """Somebody in front of the demo of a kernel, which writes to ``folder``; ``front`` shows it."""

    def __init__(self, page, folder: Path, front: str):
        super().__init__(page)
        self.folder, self.front = folder, front
        page.on("console", self.hear)

    def hear(self, message) -> None:
        """Keep what the console says of an error, with the address that it speaks of."""
        if message.type == "error":
            self.complaints.append(f"{message.text} ({message.location.get('url', '')})")

    def picture(self, which: int) -> np.ndarray:
        """One of the four large pictures as the browser shows it: (64, 64, 3) floats in 0...255."""
        values = self.page.evaluate(
            """async which => {
              const image = document.querySelectorAll('.cm-picture img')[which];
              const canvas = document.createElement('canvas');
              for (let tries = 0; ; tries++)
                try {
                  await image.decode();
                  break;
                } catch (error) {  // the picture was replaced while it was decoded
                  if (tries > 20) throw error;
                  await new Promise(r => setTimeout(r, 50));
                }
              canvas.width = canvas.height = 64;
              const context = canvas.getContext('2d');
              context.drawImage(image, 0, 0, 64, 64);
              return Array.from(context.getImageData(0, 0, 64, 64).data);
            }""",
            which,
        )
        return np.array(values, float).reshape(64, 64, 4)[..., :3]

    def changed(self, which: int, before: np.ndarray, least: float = 1.0) -> np.ndarray:
        """The picture as soon as it differs from ``before`` by ``least`` grey levels on average."""
        for _ in range(100):
            now = self.picture(which)
            if np.abs(now - before).mean() > least:
                return now
            self.page.wait_for_timeout(50)
        raise AssertionError(f"picture {which} has not changed; the demo says: {self.message()}")

    def settled(self) -> None:
        """Wait until nothing on the page has changed for half a second."""
        look = (
            "document.querySelector('.cm-demo').innerHTML.length"
            " + document.querySelector('.cm-row').innerHTML"
        )
        super().settled(look, 500)

    def choose(self, label: str, option: str) -> None:
        self.page.locator(".cm-demo .widget-dropdown", has_text=label).locator(
            "select"
        ).select_option(label=option)

    def drag(self, to: float, steps: int = 40) -> None:
        """Drag the strength from where it is."""
        handle, track = (
            self.page.locator(".cm-demo .noUi-handle"),
            self.page.locator(".cm-demo .noUi-base"),
        )
        handle.scroll_into_view_if_needed()
        at, along = handle.bounding_box(), track.bounding_box()
        y = at["y"] + at["height"] / 2
        self.page.mouse.move(at["x"] + at["width"] / 2, y)
        self.page.mouse.down()
        self.page.mouse.move(along["x"] + to * along["width"], y, steps=steps)
        self.page.mouse.up()

    def upload(self, what: str, path: Path) -> None:
        """Give a file to the button "your own picture" or "your own sound"."""
        self.choose_file(f".cm-demo button[title='your own {what}']", path)


@pytest.fixture(scope="module", params=["app", "lab"])
def person(request, browser, clip, tmp_path_factory):
    folder, port = tmp_path_factory.mktemp(request.param), free_port()
    book = json.loads(BOOK.read_text())
    for cell in book["cells"]:
        if "parameters" in cell["metadata"].get("tags", []):
            cell["source"] = "".join(cell["source"]).replace(
                'out_dir = ""', f"out_dir = {str(folder / 'run')!r}"
            )
        cell.pop("outputs", None) if cell["cell_type"] != "code" else cell.update(outputs=[])
    place = folder / "notebooks" / BOOK.name
    place.parent.mkdir()
    place.write_text(json.dumps(book))
    shutil.copytree(DIAGRAMS, folder / DIAGRAMS.relative_to(ROOT))  # the notebook shows one
    if request.param == "app":
        given = [
            f"PY={sys.executable}",
            "READY=",
            f"DEMO=--no-browser --port={port}",
            f"NOTEBOOK={place}",
        ]
        server, address = serve(["make", "demo", *given], port, folder), ""
    else:
        options = [
            f"--ServerApp.{name}"
            for name in (f"port={port}", f"root_dir={folder}", "allow_root=True")
        ]
        options += ["--IdentityProvider.token=", "--no-browser"]
        extension = folder / "settings" / "@jupyterlab" / "apputils-extension"
        extension.mkdir(parents=True)
        news = extension / "notification.jupyterlab-settings"
        news.write_text('{"fetchNews": "false"}')  # a question about news would lie on top
        server = serve([sys.executable, "-m", "jupyterlab", *options], port, folder)
        address = f"lab/tree/notebooks/{BOOK.name}"
    page = browser.new_page(viewport={"width": 1000, "height": 1200})
    somebody = Person(page, folder, request.param)
    try:
        page.goto(f"http://localhost:{port}/{address}", wait_until="domcontentloaded")
        if request.param == "lab":
            page.locator(".jp-Notebook .jp-CodeCell").first.wait_for()
            page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()
            page.get_by_role("menuitem", name="Run", exact=True).click()
            page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
        page.locator(".cm-row img").first.wait_for(state="attached")
        if request.param == "lab":
            page.get_by_text("written: 08_generation_demo.json").first.wait_for(state="attached")
            page.locator(".cm-demo").first.evaluate("demo => demo.scrollIntoView()")
        yield somebody
    except Exception:
        print((folder / "server.log").read_text()[-3000:])  # shown with the error
        raise
    finally:
        page.close()
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(20)


@pytest.fixture(autouse=True)
def from_the_start(person):
    person.press("reset")
    person.wait_for_message("At strength 0")
    person.settled()


# -------------------------------------------------------------------- what a person does


def test_it_opens_whole(person):
    assert not (person.folder / "cache").exists(), (
        "a person has waited for the corpus to be prepared"
    )
    assert "How do you perceive my face?" in person.page.inner_text(".cm-title")
    assert person.page.locator(".cm-row img").count() == 7
    assert all(person.picture(which).std() > 10 for which in range(4))
    if person.front == "app":
        assert person.page.locator("text=What it teaches").count() == 0, (
            "the app shows the demo alone"
        )


def test_nothing_overflows(person):
    within = """() => {
      const demo = document.querySelector('.cm-demo'), box = demo.getBoundingClientRect();
      const out = [...demo.querySelectorAll('*')].filter(e => {
        const r = e.getBoundingClientRect();
        const cut = getComputedStyle(e).overflowX != 'visible'
          && e.scrollWidth > e.clientWidth + 1 && e.tagName != 'SELECT';
        const outside = r.left < box.left - 1 || r.right > box.right + 1;
        return r.width && (outside || (cut && !e.closest('.noUi-target')));
      });
      return [innerWidth - box.right, ...out.map(e => e.tagName + '.' + e.className)];
    }"""
    room, *outside = person.page.evaluate(within)
    assert room >= 0 and outside == []


def test_a_drag_moves_the_picture_and_nothing_else(person):
    before = [person.picture(which) for which in range(4)]
    person.drag(0)
    after = person.changed(PERCEIVED, before[PERCEIVED])
    person.settled()
    assert person.page.inner_text(".cm-demo .widget-readout") == "0.00"
    assert np.abs(person.picture(PERCEIVED) - before[RECONSTRUCTION]).mean() < 1e-6
    assert np.ptp(person.picture(DIFFERENCE), (0, 1)).max() == 0, "without context nothing differs"
    assert np.abs(after - before[PERCEIVED]).mean() > 1
    for which in (ORIGINAL, RECONSTRUCTION):
        assert np.array_equal(person.picture(which), before[which])


def test_a_wild_drag_is_over_when_the_hand_is(person):
    """Half a second after the last of 300 moves the picture is that of the last one.

    It is not one of an earlier move that waited in a queue.
    """
    person.drag(0)
    person.settled()
    end = person.picture(PERCEIVED)
    person.drag(1)
    person.changed(PERCEIVED, end)
    person.settled()
    for to in (0, 1, 0.5, 1, 0.2, 0):
        person.drag(to, steps=50)
    person.page.wait_for_timeout(500)
    assert person.page.inner_text(".cm-demo .widget-readout") == "0.00"
    assert np.abs(person.picture(PERCEIVED) - end).mean() < 1e-6


def test_picking_a_face_and_a_voice(person):
    before = person.picture(ORIGINAL)
    person.choose("face", "actor 5 (never trained on)")
    person.changed(ORIGINAL, before, 5)
    here, sound = person.picture(PERCEIVED), person.page.get_attribute(".cm-demo audio", "src")
    person.choose("sounds", "surprised")
    person.changed(PERCEIVED, here, 0.2)
    person.settled()
    assert person.page.inner_text(".cm-here b") == "surprised"
    assert person.page.get_attribute(".cm-demo audio", "src") != sound
    seconds = person.page.evaluate("document.querySelector('.cm-demo audio').duration")
    assert 0.5 < seconds < 4


def test_presets_and_reset(person):
    start = person.picture(PERCEIVED)
    person.press("best effect")
    best = float(re.search(r"changes by ([+-]\d+) points", person.wait_for_message("best of "))[1])
    person.press("worst effect")
    worst = float(
        re.search(r"changes by ([+-]\d+) points", person.wait_for_message("worst of "))[1]
    )
    assert best > max(worst, 0)
    person.press("reset")
    person.wait_for_message("At strength 0")
    person.settled()
    assert np.array_equal(person.picture(PERCEIVED), start)


def test_own_picture_and_own_sound(person, clip, tmp_path):
    frames, _ = read_video(clip, 1)
    photo = Image.fromarray(frames[0])
    mine, song = tmp_path / "me & you.jpg", tmp_path / "song.wav"
    photo.resize((photo.width * 3, photo.height * 3)).save(mine)
    before, sound = person.picture(ORIGINAL), person.page.get_attribute(".cm-demo audio", "src")
    person.upload("picture", mine)
    assert person.wait_for_message("face found") == "me & you.jpg: face found and cropped"
    assert (
        person.page.locator(".cm-demo select")
        .first.inner_text()
        .replace("\xa0", " ")
        .startswith("yours: me & you.jpg")
    )
    person.changed(ORIGINAL, before, 5)
    wave = np.sin(2 * np.pi * 200 * np.arange(44_100 * 6) / 44_100)
    wavfile.write(song, 44_100, (np.stack([wave, wave], 1) * 9_000).astype(np.int16))
    person.upload("sound", song)
    assert "song.wav: only the middle 3.8 s are heard" in person.wait_for_message("song.wav")
    assert person.page.get_attribute(".cm-demo audio", "src") != sound
    person.upload("picture", clip)
    assert "a video, its middle frame was taken" in person.wait_for_message("a video")


def test_a_picture_of_the_camera(person):
    before = person.picture(ORIGINAL)
    person.press("use the camera")
    person.page.get_by_role("button", name="take the picture", exact=True).wait_for()
    assert person.page.evaluate("document.querySelector('.cm-preview').videoWidth") > 100
    person.press("take the picture")
    person.wait_for_message("camera.jpeg: ")
    person.changed(ORIGINAL, before, 5)
    assert person.page.locator(".cm-preview").count() == 0
    person.page.get_by_role("button", name="use the camera", exact=True).wait_for()


def test_a_recording_of_the_microphone(person):
    sound = person.page.get_attribute(".cm-demo audio", "src")
    person.press("record a voice")
    person.page.wait_for_function(
        "() => [...document.querySelectorAll('.cm-demo option')]"
        ".some(option => option.textContent.includes('recording.'))"
    )
    person.settled()
    assert person.page.get_attribute(".cm-demo audio", "src") != sound
    seconds = person.page.evaluate("document.querySelector('.cm-demo audio').duration")
    assert 3 < seconds < 4
    assert "recording." in person.message(), "a beep is unlike a voice, or too long"


def test_bad_files_get_one_line_and_the_demo_lives_on(person, bad_files, tmp_path):
    for kind, (what, path, words) in bad_files.items():
        person.upload(what, path)
        line = person.wait_for_message(words)
        assert str(tmp_path) not in line, kind
        naming = sum(path.name in row for row in line.splitlines())
        # Noise is also unlike every face that the networks have learnt from, which they say
        assert naming > 1 if kind == "no face" else naming == 1, kind
        before = person.picture(PERCEIVED)
        person.drag(
            0 if person.page.inner_text(".cm-demo .widget-readout") != "0.00" else 1, steps=5
        )
        if kind != "silence":
            person.changed(PERCEIVED, before, 0.2)
        person.settled()


def test_what_is_saved(person, tmp_path):
    for button, kind in (("save picture", "png"), ("save strip", "png"), ("save GIF", "gif")):
        before = person.page.inner_html(".cm-lines")
        person.press(button)
        person.page.wait_for_function(
            "t => document.querySelector('.cm-lines').innerHTML != t", arg=before
        )
        with person.page.expect_download() as download:
            person.page.click(".cm-lines a[download]")
        download.value.save_as(kept := tmp_path / download.value.suggested_filename)
        assert kept.read_bytes() == (person.folder / "run" / "demo" / kept.name).read_bytes()
        with Image.open(kept) as image:
            assert image.format.lower() == kind and getattr(image, "n_frames", 1) == (
                40 if kind == "gif" else 1
            )


def test_screenshot(person, tmp_path):
    """What a reader of the README sees; pictures are where they should be, and not all the same."""
    if os.environ.get("CM_SCREENSHOT"):  # a real person's face, decoded, for the README
        person.choose("face", "London 066 (a real person, decoded)")
        person.choose("voice", "actor 16 (never trained on)")
        person.choose("sounds", "happy")
        person.settled()
        person.drag(1)
    else:
        person.press("best effect")
        person.wait_for_message("best of ")
    person.settled()
    demo = person.page.locator(".cm-demo")
    demo.screenshot(path=(shot := tmp_path / "demo.png"), animations="disabled")
    with Image.open(shot) as image:
        pixels = np.asarray(image.convert("RGB"), float)
        # JupyterLab has room for two columns, and so the demo is long there
        assert image.width > 500 and 0.25 < image.width / image.height < 1.5
        assert pixels[:60].std() < pixels[len(pixels) // 3 : len(pixels) // 2].std(), (
            "pictures in the middle, a title above"
        )
        if person.front == "app" and (wanted := os.environ.get("CM_SCREENSHOT")):
            coarse = np.minimum(255, (pixels + 4) // 8 * 8)  # half as many bytes
            Image.fromarray(coarse.astype(np.uint8)).save(wanted, optimize=True)


def test_the_browser_had_no_complaint(person):
    """Last: nothing was fetched from elsewhere, no script failed, whatever happened before."""
    harmless = (
        "favicon",
        "failed: blob:",  # a picture that was overtaken
        "/lab/tree/docs/",  # JupyterLab asks for a picture there before it has found its folder
    )
    assert not [c for c in person.complaints if not any(each in c for each in harmless)]
