"""Every stage runs on a simulated corpus of which it reads a block at a time."""

import pytest

from benchmarks import large_corpus
from cmlib.models import moments


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    """Two corpora of which the second has four times as many frames."""
    folders = {}
    for frames in (9_600, 38_400):
        folders[frames] = tmp_path_factory.mktemp(str(frames))
        large_corpus.write_corpus(folders[frames], frames, 8)
    return folders


@pytest.mark.parametrize("stage", [function.__name__ for function in large_corpus.STAGES])
def test_a_stage_runs_in_blocks(corpora, stage, monkeypatch):
    monkeypatch.setattr(moments, "BLOCK_BYTES", 1 << 18)
    cost = large_corpus.measure_here(stage, corpora[9_600])
    assert cost["seconds"] > 0 and 0 < cost["peak_gb"] < large_corpus.ALLOWED_GB


def test_a_corpus_is_as_large_as_it_says_and_takes_no_room(corpora):
    folder = corpora[38_400]
    run = large_corpus.open_run(folder)
    assert run.face_latents.mu.shape == (2, 38_400, 8) and len(run.faces) == 38_400
    assert len(run.split.train) and len(run.split.val) and len(run.split.test)
    status = (folder / "frames.npy").stat()
    assert status.st_size > 38_400 * 32 * 32 * 3 > 10 * 512 * status.st_blocks
