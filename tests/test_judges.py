"""Judges of expressions: the one that learns from the corpus, and the one that others trained."""

import sys
from types import ModuleType

import numpy as np
import pytest
import torch

from cmlib import checkpoints
from cmlib.evaluation import judges
from cmlib.evaluation.judges import Recogniser
from cmlib.experiment.run import Run
from cmlib.models import CnnJudge
from cmlib.training.batches import Pictures

CLASSES = ("calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")


@pytest.fixture
def run(toy_project):
    return Run("actors", "smoke")


@pytest.fixture
def stripes(tmp_path, monkeypatch):
    """(Noisy pictures of 32 pixels with a horizontal or vertical stripe, which it is (200,))."""
    monkeypatch.setenv("CM_CACHE", str(tmp_path))
    rng = np.random.default_rng(0)
    pictures = rng.integers(60, 120, (200, 32, 32, 3), np.uint8)
    stands = rng.integers(2, size=200)
    for picture, standing in zip(pictures, stands):
        start = rng.integers(6, 22)
        band = picture[:, start : start + 4] if standing else picture[start : start + 4]
        band += 80
    return Pictures(pictures), stands


# -------------------------------------------------------------------- the judge of the corpus


def test_a_judge_reads_pictures_that_it_did_not_learn_from(stripes):
    pictures, stands = stripes
    judge = judges.train_judge(pictures, np.arange(150), stands, epochs=6)
    log_p = judges.predict(judge, pictures.batch(np.arange(150, 200)))
    assert log_p.shape == (50, 2)
    np.testing.assert_allclose(np.exp(log_p).sum(1), 1, rtol=1e-5)
    assert (log_p.argmax(1) == stands[150:]).mean() > 0.9


def test_a_judge_is_trained_once_for_the_same_pictures_labels_and_settings(stripes, monkeypatch):
    pictures, stands = stripes
    rows = np.arange(64)
    first = judges.train_judge(pictures, rows, stands, epochs=1)
    other_labels = judges.train_judge(pictures, rows, 1 - stands, epochs=1)
    other_seed = judges.train_judge(pictures, rows, stands, epochs=1, seed=1)
    monkeypatch.setattr(torch.optim, "AdamW", lambda *_, **__: pytest.fail("trained again"))
    again = judges.train_judge(pictures, rows, stands, epochs=1)
    x = pictures.batch(np.arange(8))
    np.testing.assert_array_equal(judges.predict(again, x), judges.predict(first, x))
    for other in (other_labels, other_seed):
        assert not np.allclose(judges.predict(other, x), judges.predict(first, x))


def test_a_judge_of_a_run_is_trained_once_and_may_be_shipped(run, monkeypatch, tmp_path):
    monkeypatch.setenv("CM_CACHE", str(tmp_path))
    run.store  # noqa: B018  prepare the corpus, which is a training of nothing
    first = judges.judge_for_run(run)
    monkeypatch.setattr(judges, "_train", lambda *_: pytest.fail("trained again"))
    x = run.faces.batch(np.arange(4))
    again = judges.judge_for_run(Run("actors", "smoke", seed=1))
    np.testing.assert_array_equal(judges.predict(again, x), judges.predict(first, x))
    with pytest.raises(pytest.fail.Exception, match="trained again"):
        judges.judge_for_run(run, "validation")

    # Shipped, it counts until everything is to be fresh.
    checkpoints.save(run.shipped("judge_others"), first, judges.judge_card(run, "others"))
    judges.kept_judge(run, "others").with_suffix(".json").unlink()
    np.testing.assert_array_equal(
        judges.predict(judges.judge_for_run(run), x), judges.predict(first, x)
    )
    monkeypatch.setenv("CM_FRESH", "1")
    with pytest.raises(pytest.fail.Exception, match="trained again"):
        judges.judge_for_run(run)


def test_a_judge_ignores_lighting_and_skin_tone():
    judge = CnnJudge().eval()
    x = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    tinted = 0.1 + x * torch.tensor([0.9, 0.5, 0.7]).view(3, 1, 1)
    assert torch.allclose(judge(tinted), judge(x), atol=0.02)
    assert not torch.allclose(judge(x.flip(2)), judge(x), atol=0.02)


@pytest.mark.parametrize(
    "learns_from, subsets",
    [("others", ("train", "val")), ("validation", ("val",)), ("training", ("train",))],
)
def test_a_judge_of_a_run_learns_from_the_actors_that_it_should(run, learns_from, subsets):
    learnt = judges.frames_to_learn_from(run, learns_from)
    actors = run.store.clips.actor.to_numpy()
    teachers = {actor for subset in subsets for actor in actors[getattr(run.split, subset)]}
    assert set(actors[run.frame_clip[learnt]]) == teachers
    assert not teachers & set(actors[run.split.test])


# -------------------------------------------------------------------- the judge that others trained


@pytest.fixture
def facex(tmp_path, monkeypatch):
    """A package facex whose network calls a picture as happy as it is red, and otherwise neutral.

    Importing it fails, as without tensorflow.
    """
    (tmp_path / "facex" / "assets").mkdir(parents=True)
    (tmp_path / "facex" / "__init__.py").write_text("raise ImportError('tensorflow')")
    (tmp_path / "facex" / "assets" / "model_optimized.tflite").write_bytes(b"weights")
    (tmp_path / "ai_edge_litert").mkdir()
    (tmp_path / "ai_edge_litert" / "__init__.py").write_text("")

    class Interpreter:
        def __init__(self, file, num_threads):
            with open(file, "rb") as weights:
                assert weights.read() == b"weights"

        def allocate_tensors(self):
            self.inputs = []

        def get_input_details(self):
            return [{"index": 0, "shape": np.array([1, 8, 8, 3])}]

        def get_output_details(self):
            return [{"index": 1}]

        def set_tensor(self, index, x):
            assert x.shape == (1, 8, 8, 3) and x.dtype == np.float32
            self.inputs.append(x[0])

        def invoke(self):
            pass

        def get_tensor(self, index):
            red = self.inputs[-1][..., 0].mean()
            return np.array([[0, 0, 0, red, 1 - red, 0, 0]], np.float32)

    monkeypatch.syspath_prepend(tmp_path)
    runtime = ModuleType("ai_edge_litert.interpreter")
    runtime.Interpreter = Interpreter
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", runtime)


def reddish():
    """Two black pictures, the first of them with 0.8 of red: (2, 3, 40, 40)."""
    x = torch.zeros(2, 3, 40, 40)
    x[0, 0] = 0.8
    return x


def test_a_recogniser_answers_in_our_classes_and_neutral_is_none_of_them(facex):
    recogniser = Recogniser(CLASSES)
    assert recogniser.emotions == CLASSES[1:]  # it knows no calm
    p = np.exp(judges.predict(recogniser, reddish()))
    expected = [[0, 0.8, 0, 0, 0, 0, 0, 0.2], [0, 0, 0, 0, 0, 0, 0, 1]]
    np.testing.assert_allclose(p, expected, atol=1e-6)


def test_a_recogniser_is_shown_the_channels_in_their_order(facex):
    recogniser = Recogniser(CLASSES)
    recogniser(reddish())
    shown = recogniser.network.inputs[0]
    assert (shown[..., 0] == np.float32(0.8)).all() and (shown[..., 1:] == 0).all()


def test_a_recogniser_names_neutral_where_that_is_a_class(facex):
    p = np.exp(Recogniser(("neutral", "contempt", *CLASSES[1:]))(reddish()))
    np.testing.assert_allclose(p[0], [0.2, 0, 0.8, 0, 0, 0, 0, 0, 0], atol=1e-6)


def test_a_recogniser_that_is_not_installed_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(judges, "find_spec", lambda name: None)
    command = "pip install -e '.\\[recogniser\\]' && pip install --no-deps facex==1.1.0"
    with pytest.raises(ModuleNotFoundError, match=command):
        Recogniser(CLASSES)


def test_the_recogniser_that_is_installed_reads_a_face():
    try:
        recogniser = Recogniser(CLASSES)
    except ModuleNotFoundError as error:
        pytest.skip(str(error))
    p = np.exp(recogniser(torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))))
    np.testing.assert_allclose(p.sum(1), 1, atol=1e-3)
    assert (p[:, 0] < 1e-9).all() and len(np.unique(p[:, 1:], axis=0)) == 3
