"""Outputs in the committed notebooks belong to the code beside them, and hold nothing of the
machine they ran on.
"""

from pathlib import Path

import nbformat
import pytest
from nbformat import v4

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
