"""Outputs in the committed notebooks belong to the code beside them, and hold nothing of the
machine they ran on.
"""

import base64
import io
from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbformat import v4
from PIL import Image

from tools.notebooks import publish

NOTEBOOKS = sorted((publish.ROOT / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_outputs_belong_to_the_code(path):
    book = nbformat.read(path, as_version=4)
    outputs = [o for cell in book.cells if cell.cell_type == "code" for o in cell.outputs]
    assert outputs, "not published yet: python -m tools.notebooks.publish runs/actors-quick"
    assert book.metadata["outputs_of"] == publish.fingerprint(book), (
        "python -m tools.notebooks.publish runs/actors-quick"
    )
    assert "widgets" not in book.metadata and outputs == publish.clean(outputs)
    assert path.stat().st_size <= publish.LARGEST


@pytest.fixture
def pair(tmp_path):
    """A notebook and its execution, which printed, drew a bar and complained."""
    cell = v4.new_code_cell("print(1)", id="a")
    source = v4.new_notebook(cells=[v4.new_markdown_cell("# x", id="t"), cell])
    nbformat.write(source, tmp_path / "source.ipynb")
    outputs = [
        v4.new_output("stream", name="stdout", text="1\n"),
        v4.new_output("stream", name="stderr", text="warning"),
        v4.new_output("display_data", {publish.WIDGET: {}, "text/plain": "bar"}),
    ]
    injected = v4.new_code_cell("seed = 0", id="p")
    done = v4.new_notebook(
        cells=[injected, v4.new_code_cell("print(1)", id="a", outputs=outputs, execution_count=2)],
        metadata={"papermill": {}, "widgets": {}},
    )
    nbformat.write(done, tmp_path / "done.ipynb")
    return tmp_path / "source.ipynb", tmp_path / "done.ipynb", done


def test_only_what_a_reader_needs_is_published(pair):
    source, done, _ = pair
    publish.publish(source, done)
    book = nbformat.read(source, as_version=4)
    assert [c.id for c in book.cells] == ["t", "a"] and set(book.metadata) == {"outputs_of"}
    assert [o.get("text") for o in book.cells[1].outputs] == ["1\n"] and book.cells[
        1
    ].execution_count == 2


@pytest.mark.parametrize(
    "spoil, message",
    [
        (lambda cell: cell.update(source="print(2)"), "has changed"),
        (
            lambda cell: cell.outputs.append(
                v4.new_output("error", ename="E", evalue="", traceback=[])
            ),
            "failed",
        ),
        (lambda cell: cell.outputs[0].update(text=f"{Path.home()}/secret"), "holds the path"),
        (lambda cell: cell.outputs[0].update(text="x" * publish.LARGEST), "more than"),
    ],
)
def test_what_must_not_be_published_is_refused(pair, spoil, message):
    source, path, done = pair
    before = source.read_bytes()
    spoil(done.cells[1])
    nbformat.write(done, path)
    with pytest.raises(publish.PublishError, match=message):
        publish.publish(source, path)
    assert source.read_bytes() == before


def png(pixels: np.ndarray) -> str:
    """Pixels (H, W, 3) of uint8 as a base64 PNG."""
    packed = io.BytesIO()
    Image.fromarray(pixels).save(packed, "PNG")
    return base64.b64encode(packed.getvalue()).decode() + "\n"


def decoded(text: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text))).convert("RGB"), np.int16)


def test_a_plot_of_few_colours_stays_a_png_to_the_last_pixel():
    pixels = np.full((200, 300, 3), 255, np.uint8)
    pixels[50:60] = (31, 93, 138)
    kind, text = publish.smaller_picture(png(pixels))
    assert kind == "image/png" and len(text) < len(png(pixels))
    assert np.array_equal(decoded(text), pixels)


def test_a_rare_colour_among_many_faces_is_kept():
    """A palette gives a small bar of purple a grey; so such a picture becomes a JPEG."""
    rows, columns = np.mgrid[:240, :240]
    skin = np.stack([rows // 2 + 120, columns // 2 + 90, (rows + columns) // 4 + 60], 2)
    noise = np.random.default_rng(0).integers(-12, 13, skin.shape)
    pixels = (skin + noise).clip(0, 255).astype(np.uint8)
    pixels[100:104, 30:90] = (91, 42, 140)
    kind, text = publish.smaller_picture(png(pixels))
    assert kind == "image/jpeg" and len(text) < 0.67 * len(png(pixels))
    bar = decoded(text)[101:103, 34:86].mean((0, 1))
    assert np.abs(bar - (91, 42, 140)).max() < 12


def test_a_picture_gets_the_title_of_its_figure_as_alternative_text():
    pictures = [v4.new_output("display_data", {"image/png": "x"}) for _ in range(2)]
    code = 'for name in modalities:\n    style.save(fig, f"04_confusion_{name}", run.folder)'
    publish.describe(code, pictures)
    assert [output.metadata["image/png"]["alt"] for output in pictures] == [
        "who is mistaken for whom, by the face",
        "who is mistaken for whom, by the voice",
    ]
