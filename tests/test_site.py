"""The page's JavaScript against Python, on the same files, and what the page promises.

The networks of the page are compared in tests/browser, where there is a browser to run them.
"""

import copy
import json
import re
import shutil
import subprocess
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import torchaudio
import yaml
from PIL import Image

from cmlib import strangeness
from cmlib.preparation import cropping, spectrograms
from tools.site import pages
from tools.site.links import faults

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "tools" / "site" / "page"
NODE = shutil.which("node")
needs_node = pytest.mark.skipif(NODE is None, reason="no node (Debian: apt-get install nodejs)")

# Centre x, y, side in pixels, roll and size: small and large, upright and turned, beyond the edges.
SQUARES = (
    (250, 180, 300, 0.1, 64),
    (250, 180, 500, 0, 128),
    (20, 30, 150, -0.4, 64),
    (250.3, 188.2, 603.2, 0, 128),
    (100.7, 90.2, 70.5, 0.03, 64),
    (250, 180, 900, 0.2, 64),
)
RATES = (22_050, 44_100, 48_000, 16_000, 44_056)
SCRIPT = """
import fs from 'node:fs';
import {cutSquare} from './page/crop.js';
import {melSpectrogram} from './page/spectrogram.js';
import {strangenessOf} from './page/strangeness.js';
const {squares, sounds, faces, width, height} = JSON.parse(fs.readFileSync('plan.json'));
const picture = {width, height, pixels: new Uint8Array(fs.readFileSync('picture.bin'))};
squares.forEach(([x, y, side, roll, size], i) =>
  fs.writeFileSync(`crop${i}.bin`, cutSquare(picture, {x, y, side, roll}, size).pixels));
sounds.forEach((rate, i) => {
  const {buffer} = new Uint8Array(fs.readFileSync(`sound${i}.bin`));
  const mel = melSpectrogram(new Float32Array(buffer), rate);
  fs.writeFileSync(`mel${i}.bin`, Buffer.from(mel.buffer));
});
const numbers = name => new Float32Array(new Uint8Array(fs.readFileSync(name)).buffer);
const found = faces.map(({size, limits}, i) => {
  const [picture, drawn, mu] = ['face', 'drawn', 'mu'].map(name => numbers(`${name}${i}.bin`));
  return strangenessOf(picture, drawn, mu, size, limits);
});
fs.writeFileSync('strangeness.json', JSON.stringify(found));
"""


def made_up_picture() -> np.ndarray:
    """A picture (377, 501, 3) uint8 with smooth colours, sharp edges and noise."""
    y, x = np.mgrid[0:377, 0:501]
    noise = np.random.default_rng(0).integers(0, 80, x.shape)
    colours = np.stack([x / 2 + 30 * np.sin(y / 7), 0.6 * y, noise], -1) % 256
    return colours.astype(np.uint8)


def made_up_sound(rate: int, seconds: float) -> np.ndarray:
    """A tone that rises, with some noise."""
    t = np.arange(round(seconds * rate)) / rate
    noise = np.random.default_rng(rate).normal(0, 0.01, len(t))
    return (0.3 * np.sin(2 * np.pi * (200 * t + 300 * t * t)) + noise).astype(np.float32)


# Of pictures with 64 and 128 pixels; in each case another measure is the largest.
FACES = (
    {"size": 64, "limits": {"error": 1e-4, "detail": 9.0, "distance": 9.0}},
    {"size": 128, "limits": {"error": 9.0, "detail": 1e-3, "distance": 9.0}},
    {"size": 128, "limits": {"error": 9.0, "detail": 9.0, "distance": 0.5}},
    {"size": 64, "limits": None},
)


def made_up_face(which: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A picture (3, S, S) in 0...1, another that a network may have drawn, and a latent mean."""
    rng, size = np.random.default_rng(which), FACES[which]["size"]
    picture = rng.uniform(0, 1, (3, size, size))
    drawn = np.clip(picture + rng.normal(0, 0.1, picture.shape), 0, 1)
    return tuple(x.astype(np.float32) for x in (picture, drawn, rng.normal(0, 1, 40)))


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """A folder with what the page's modules made of the made-up picture and sounds."""
    folder = tmp_path_factory.mktemp("node")
    shutil.copytree(PAGE, folder / "page")
    (folder / "package.json").write_text('{"type": "module"}')
    (folder / "script.js").write_text(SCRIPT)
    picture = made_up_picture()
    (folder / "picture.bin").write_bytes(picture.tobytes())
    for i, rate in enumerate(RATES):
        (folder / f"sound{i}.bin").write_bytes(made_up_sound(rate, 1.5 + i).tobytes())
    for i in range(len(FACES)):
        for name, values in zip(("face", "drawn", "mu"), made_up_face(i)):
            (folder / f"{name}{i}.bin").write_bytes(values.tobytes())
    height, width, _ = picture.shape
    plan = {"squares": SQUARES, "sounds": RATES, "faces": FACES, "width": width, "height": height}
    (folder / "plan.json").write_text(json.dumps(plan))
    subprocess.run([str(NODE), "script.js"], cwd=folder, check=True)
    return folder


@needs_node
@pytest.mark.parametrize("which", range(len(SQUARES)))
def test_the_page_cuts_the_same_pixels(answers, which):
    wanted = cropping.cut_square(made_up_picture(), *SQUARES[which])
    got = np.fromfile(answers / f"crop{which}.bin", np.uint8).reshape(wanted.shape)
    assert wanted.std() > 5
    np.testing.assert_array_equal(got, wanted)


def exact_spectrogram(waveform: np.ndarray, rate: int) -> np.ndarray:
    """As ``spectrograms.mel_spectrogram``, in twice the precision."""
    ratio = Fraction(spectrograms.SAMPLE_RATE, rate).limit_denominator(640)
    sound = torch.from_numpy(waveform).double()
    if rate != spectrograms.SAMPLE_RATE:
        sound = torchaudio.functional.resample(sound, ratio.denominator, ratio.numerator)
    sound = torch.from_numpy(spectrograms.pad_or_crop(sound.numpy()))
    power = copy.deepcopy(spectrograms.mel_transform()).double()(sound)
    decibels = 10 * power.clamp(min=1e-10).log10()
    decibels = decibels.clamp(min=decibels.max() - spectrograms.TOP_DB)
    low, high = decibels.min(), decibels.max()
    return ((decibels - low) / (high - low)).numpy()


@needs_node
@pytest.mark.parametrize("which", range(len(RATES)), ids=map(str, RATES))
def test_the_page_hears_the_same_spectrogram(answers, which):
    """To 1e-3, and where Python rounds by more at the floor of 100 decibels, to what is exact."""
    rate = RATES[which]
    sound = made_up_sound(rate, 1.5 + which)
    wanted, exact = spectrograms.mel_spectrogram(sound, rate), exact_spectrogram(sound, rate)
    got = np.fromfile(answers / f"mel{which}.bin", np.float32).reshape(wanted.shape)
    assert wanted.std() > 0.05
    np.testing.assert_allclose(got, exact, atol=1e-4)
    is_precise = np.abs(wanted - exact) < 5e-4
    assert is_precise.mean() > 0.99
    np.testing.assert_allclose(got[is_precise], wanted[is_precise], atol=1e-3)


@needs_node
def test_the_page_finds_the_same_faces_strange(answers):
    got = json.loads((answers / "strangeness.json").read_text())
    assert got.pop() is None, "a network without limits"
    for which, value in enumerate(got):
        picture, drawn, mu = (torch.from_numpy(x)[None] for x in made_up_face(which))
        measures = strangeness.measures(picture, drawn, mu)
        (wanted,) = strangeness.strangeness(measures, FACES[which]["limits"])
        assert value > 1 and value == pytest.approx(wanted, rel=1e-4)


def test_components_are_kept_as_a_picture_without_loss(tmp_path):
    networks = pytest.importorskip("tools.site.networks", reason="pip install -e '.[site]'")
    components = np.random.default_rng(0).integers(-127, 128, (48, 3, 8, 8)).astype(np.int8)
    plan = networks.write_components(components, tmp_path / "components.webp")
    assert plan == {"columns": 24, "count": 48, "side": 8}
    with Image.open(tmp_path / "components.webp") as picture:
        pixels = np.asarray(picture).astype(int) - 128
    for i in (0, 23, 24, 47):
        row, column = 8 * (i // 24), 8 * (i % 24)
        square = pixels[row : row + 8, column : column + 8]
        np.testing.assert_array_equal(square.transpose(2, 0, 1), components[i])


def test_encoder_and_decoder_ask_for_the_same_components():
    networks = pytest.importorskip("tools.site.networks", reason="pip install -e '.[site]'")
    onnx = pytest.importorskip("onnx")
    components = np.random.default_rng(0).integers(-127, 128, (6, 30)).astype(np.int8)
    rounded_differently = components.copy()
    rounded_differently[2, 3] -= 1 if components[2, 3] > 0 else -1
    for kept, is_asked in (
        (components, True),
        (rounded_differently.T, True),
        (components + (components < 100), False),
        (components[:5], False),
    ):
        array = onnx.numpy_helper.from_array(np.ascontiguousarray(kept.astype(np.int8)), "weight")
        graph = onnx.helper.make_graph([], "graph", [], [], [array])
        networks.share_components(graph, components)
        (initializer,) = graph.initializer
        assert (initializer.data_location == onnx.TensorProto.EXTERNAL) == is_asked
        assert len(graph.node) == (is_asked and kept.shape == (30, 6)), "a transposition"


def test_the_workflow_builds_what_it_publishes():
    """It runs the command of the README, and hands over the folder that this command writes."""
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "site.yml").read_text())
    (job,) = workflow["jobs"].values()
    assert workflow["permissions"] == {"contents": "read", "pages": "write", "id-token": "write"}
    assert workflow[True] == {"push": {"branches": ["main"]}, "workflow_dispatch": None}  # "on"
    steps = {step.get("uses", step.get("run")).split("@")[0]: step for step in job["steps"]}
    (command,) = (name for name in steps if name.startswith("make "))
    assert command.startswith("make site REPOSITORY=")
    assert steps["actions/upload-pages-artifact"]["with"]["path"] == "site"
    assert job["environment"]["name"] == "github-pages"
    for step in job["steps"]:
        assert "run" in step or re.fullmatch(r"actions/[a-z-]+@v\d+", step["uses"])


def test_the_page_and_the_demo_have_the_same_controls_in_the_same_order():
    """But for the GIF, which the page does not make."""
    page = (PAGE / "index.html").read_text(encoding="utf-8")
    buttons = re.findall(r"<button [^>]*>([^<]+)<", page)
    demo = (ROOT / "cmlib" / "apps" / "demo" / "demo.py").read_text(encoding="utf-8")
    places = [demo.index(f'"{button}"') for button in buttons if "your own" not in button]
    named = [button for button in buttons if "your own" not in button]
    in_context = places[named.index("best effect") :]
    assert in_context == sorted(in_context) and len(in_context) == 5
    assert {"use the camera", "record a voice"} <= set(named)


def test_eight_bits_lose_nothing_or_are_refused():
    networks = pytest.importorskip("tools.site.networks", reason="pip install -e '.[site]'")
    rng = np.random.default_rng(0)
    numbers = rng.integers(-127, 128, (16, 3, 5, 5))
    numbers[:, 0, 0, 0] = 127
    weights = (numbers * rng.uniform(0.001, 0.1, (16, 1, 1, 1))).astype(np.float32)
    packed, scales = networks.eight_bits(weights)
    assert packed.dtype == np.int8 and packed.shape == weights.shape
    np.testing.assert_allclose(packed * scales, weights, rtol=1e-5)
    turned, scales = networks.eight_bits(weights.reshape(16, -1).T)
    np.testing.assert_allclose(turned * scales, weights.reshape(16, -1).T, rtol=1e-5)
    assert networks.eight_bits(rng.normal(size=(16, 40)).astype(np.float32)) is None


def test_the_page_names_no_other_host_but_in_links():
    for path in PAGE.iterdir():
        text = path.read_text(encoding="utf-8")
        addresses = re.findall(r".{8}https?://[^\s\"'<]+", text)
        others = [each for each in addresses if "localhost" not in each]
        assert all(each.startswith("<a href=") or ' href="' in each for each in others), path.name


def test_the_page_is_no_reader_of_feelings():
    """What the page is not, and who made what, is on it in words."""
    text = " ".join((PAGE / "index.html").read_text(encoding="utf-8").split())
    for words in ("not a reader of feelings", "sends them nowhere", "Blume et al.", "BlazeFace"):
        assert words in text, words


def test_the_page_about_the_site_has_the_numbers_of_the_table():
    table = pd.read_csv(ROOT / "docs" / "site_parity.csv")
    text = (ROOT / "docs" / "site.md").read_text(encoding="utf-8")
    assert (table.page_reads == table.python_reads).all()
    assert f"All {len(table)} pairs" in text
    assert set(table.groupby("networks").face.nunique()) == {20}
    rows = dict(re.findall(r"^\| ([a-z ]+) \| ([\d.e-]+) \|$", text, flags=re.M))
    columns = {
        "mel spectrogram": "mel_error",
        "reconstruction": "reconstruction_error",
        "mental representation": "picture_error",
        "class probability": "probability_error",
    }
    assert rows == {name: f"{table[column].max():.1e}" for name, column in columns.items()}
    assert table[list(columns.values())].max().max() < 1e-3


def test_the_page_about_the_site_has_the_measured_numbers():
    measured = json.loads((ROOT / "docs" / "site_measures.json").read_text(encoding="utf-8"))
    text = (ROOT / "docs" / "site.md").read_text(encoding="utf-8")
    assert f"weighs {measured['bytes'] / 1e6:.2f} MB" in text and measured["bytes"] < 15_000_000
    networks = [measured["networks"][name] for name in ("drawn", "photographs")]
    rows = {
        "first picture, all files in the cache": ("first_picture_seconds", ".1f", "s"),
        "from a move of the slider to the picture, median of 50": (
            "median_drag_milliseconds",
            ".0f",
            "ms",
        ),
        "the longest of 50": ("longest_drag_milliseconds", ".0f", "ms"),
    }
    for name, (key, digits, unit) in rows.items():
        cells = " | ".join(f"{each[key]:{digits}} {unit}" for each in networks)
        assert f"| {name} | {cells} |" in text, name
    pages_judged = ("the demo", "the first page of the book", "notebook 05")
    for name, scores in zip(pages_judged, measured["lighthouse"].values(), strict=True):
        assert f"| {name} | {scores['accessibility']} | {scores['best-practices']} |" in text, name
        assert min(scores.values()) >= 90


def test_broken_links_are_found(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "index.html").write_text(
        '<h1 id="top">x</h1><a href="folder/page.html#part">a</a><a href="#top">b</a>'
        '<a href="https://example.org">c</a><img src="data:,"><a href="gone.html">d</a>'
    )
    (tmp_path / "folder" / "page.html").write_text(
        '<p id="part"><a href="../index.html#nowhere">e</a>'
        '<script src="https://cdn.example.org/x.js"></script>'
    )
    assert faults(tmp_path) == [
        "folder/page.html: no anchor ../index.html#nowhere",
        "folder/page.html: would fetch https://cdn.example.org/x.js",
        "index.html: no gone.html",
    ]


def test_links_of_the_book_stay_in_it_or_lead_into_the_repository():
    documents = pages.page_paths()
    text = (
        "[a](docs/results.md#faces) [b](LICENSE) [c](https://example.org)"
        " [d](docs/corpus/index.html) ![e](docs/figures/demo.png)\n```sh\n[f](LICENSE)\n```\n"
    )
    repository = "https://github.com/OWNER/NAME"
    assert pages.with_links(text, "README.md", documents, repository) == (
        "[a](docs/results.md#faces) [b](https://github.com/OWNER/NAME/blob/main/LICENSE)"
        ' [c](https://example.org) <a href="docs/corpus/index.html">d</a>'
        " ![e](docs/figures/demo.png)\n```sh\n[f](LICENSE)\n```\n"
    )
    assert "b [c]" in pages.with_links(text, "README.md", documents, "")


def test_every_figure_of_the_book_has_a_text_of_its_own():
    documents, seen = pages.page_paths(), 0
    for path in documents:
        if path.suffix != ".ipynb":
            continue
        name = path.relative_to(ROOT).as_posix()
        book = json.loads(pages.notebook_page(path, name, documents, ""))
        texts = [
            cell["metadata"]["mystnb"]["image"]["alt"]
            for cell in book["cells"]
            if any("image/png" in output.get("data", {}) for output in cell.get("outputs", ()))
        ]
        assert len(set(texts)) == len(texts), name
        assert all(10 < len(text) < 220 for text in texts), name
        seen += len(texts)
    assert seen > 20


def test_a_notebook_with_parts_has_one_title_in_the_contents():
    """Sphinx lists each heading of the first level in the contents of the book."""
    path = ROOT / "notebooks" / "05_context_attention.ipynb"
    name = path.relative_to(ROOT).as_posix()
    book = json.loads(pages.notebook_page(path, name, pages.page_paths(), ""))
    prose = ["".join(c["source"]) for c in book["cells"] if c["cell_type"] == "markdown"]
    headings = re.findall(r"^#+ .*", "\n".join(prose), flags=re.M)
    assert sum(heading.startswith("# ") for heading in headings) == 1
    assert sum(heading.startswith("## Part") for heading in headings) == 3
    code = "# a\n```python\n# a comment\n```\n## b"
    assert pages.below_title(code) == "## a\n```python\n# a comment\n```\n### b"


def test_a_number_and_its_per_cent_sign_stay_together():
    text = pages.with_links("95 % of it\n```\n5 % 2\n```\n", "README.md", (), "")
    assert text == "95\N{NO-BREAK SPACE}% of it\n```\n5 % 2\n```\n"


def test_a_notebook_of_the_book_says_where_else_it_runs():
    path = ROOT / "notebooks" / "05_context_attention.ipynb"
    name, repository = "notebooks/05_context_attention.ipynb", "https://github.com/OWNER/NAME"
    book = json.loads(pages.notebook_page(path, name, pages.page_paths(), repository))
    first = "".join(book["cells"][0]["source"])
    assert "labpath=notebooks/05_context_attention.ipynb" in first
    assert "colab.research.google.com/github/OWNER/NAME/blob/main/notebooks/05" in first
