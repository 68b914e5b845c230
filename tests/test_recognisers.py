"""face-api's networks in torch: their weights are fetched, read, and lead to known answers."""

import functools
import hashlib
import http.server
import io
import json
import tarfile
import threading

import numpy as np
import pytest
import torch
from conftest import face
from torch.nn import functional as F

from cmlib.cli import main
from cmlib.corpora.download import FetchError
from cmlib.evaluation import judges, recognisers
from cmlib.evaluation.recognisers import EXPRESSION, IDENTITY, FaceApi, FaceIdentity, WeightsError

CLASSES = ("calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")


# -------------------------------------------------------------------- weights on disk


def write_weights(folder, name, tensors, packed=()):
    """Write tensors (in the order of tensorflow) as the package has them; ``packed``: 8 bits."""
    content, manifest = b"", []
    for key, values in tensors.items():
        entry = {"name": key, "shape": list(values.shape), "dtype": "float32"}
        if key in packed:
            low, scale = float(values.min()), float(np.ptp(values)) / 255
            entry["quantization"] = {"dtype": "uint8", "scale": scale, "min": low}
            content += np.round((values - low) / scale).astype(np.uint8).tobytes()
        else:
            content += values.astype(np.float32).tobytes()
        manifest.append(entry)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.bin").write_bytes(content)
    path = folder / f"{name}-weights_manifest.json"
    path.write_text(json.dumps([{"weights": manifest, "paths": [f"{name}.bin"]}]))


def test_weights_are_read_in_the_order_of_torch_and_unpacked(tmp_path):
    rng = np.random.default_rng(0)
    tensors = {
        "a/filters": rng.normal(size=(3, 3, 2, 5)),
        "a/depthwise_filter": rng.normal(size=(3, 3, 4, 1)),
        "a/bias": rng.normal(size=5),
    }
    write_weights(tmp_path, "network", tensors, packed=("a/filters",))
    read = recognisers.read_weights("network", tmp_path)
    assert read["a/filters"].shape == (5, 2, 3, 3)
    step = np.ptp(tensors["a/filters"]) / 255
    expected = tensors["a/filters"].transpose(3, 2, 0, 1)
    assert np.abs(read["a/filters"].numpy() - expected).max() <= step / 2 + 1e-6
    expected = tensors["a/depthwise_filter"].transpose(2, 3, 0, 1)
    np.testing.assert_allclose(read["a/depthwise_filter"], expected, rtol=1e-6)
    np.testing.assert_allclose(read["a/bias"], tensors["a/bias"], rtol=1e-6)


def test_missing_and_broken_weights_say_what_to_do(tmp_path):
    with pytest.raises(
        WeightsError, match=f"{EXPRESSION}.bin: no such file; run `cm fetch face-api"
    ):
        FaceApi(CLASSES, tmp_path)
    write_weights(tmp_path, IDENTITY, {"fc": np.ones((4, 4))})
    path = tmp_path / f"{IDENTITY}.bin"
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(WeightsError, match="breaks off; remove it"):
        FaceIdentity(tmp_path)


def test_the_folder_can_be_named(tmp_path, monkeypatch):
    monkeypatch.setenv("CM_FACE_API", str(tmp_path / "mine"))
    assert recognisers.default_folder() == tmp_path / "mine"


# -------------------------------------------------------------------- fetching


@pytest.fixture
def registry(tmp_path, monkeypatch):
    """(address of a package on a local server, the contents of its four files)."""
    contents = {name: name.encode() * 50 for name in recognisers.FILES}
    package = io.BytesIO()
    with tarfile.open(fileobj=package, mode="w:gz") as archive:
        for name, content in {**contents, "README.md": b"more"}.items():
            entry = tarfile.TarInfo(f"package/model/{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    data = package.getvalue()
    (tmp_path / "server").mkdir()
    (tmp_path / "server" / "face-api.tgz").write_bytes(data)

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    handler = functools.partial(Handler, directory=str(tmp_path / "server"))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/face-api.tgz"
    archive = recognisers.download.Archive(
        "face-api.tgz", len(data), hashlib.md5(data).hexdigest(), url
    )
    monkeypatch.setattr(recognisers, "PACKAGE", archive)
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    monkeypatch.setattr(recognisers, "FILES", sums)
    yield url, contents
    server.shutdown()
    server.server_close()


def test_the_package_is_fetched_and_unpacked_once(registry, tmp_path, capsys):
    url, contents = registry
    folder = tmp_path / "weights"
    assert main(["fetch", "face-api", "--root", str(folder)]) == 0
    assert "complete; MIT" in capsys.readouterr().out
    for name, content in contents.items():
        assert (folder / name).read_bytes() == content
    assert not list(folder.glob("*.tgz*"))
    (tmp_path / "server" / "face-api.tgz").unlink()
    assert recognisers.fetch(folder) == folder  # without the server


def test_a_package_with_other_contents_is_refused(registry, tmp_path, monkeypatch):
    name = f"{EXPRESSION}.bin"
    monkeypatch.setattr(recognisers, "FILES", {**recognisers.FILES, name: "0" * 64})
    with pytest.raises(WeightsError, match=f"its {name} is not that of version 1.7.15"):
        recognisers.fetch(tmp_path / "weights")
    assert not (tmp_path / "weights" / name).exists()


def test_a_package_of_another_length_is_refused(registry, tmp_path, monkeypatch):
    archive = recognisers.PACKAGE
    monkeypatch.setattr(recognisers, "PACKAGE", type(archive)(
        archive.name, archive.size, "0" * 32, archive.url
    ))  # fmt: skip
    with pytest.raises(FetchError, match="by hand: download"):
        recognisers.fetch(tmp_path / "weights")


def test_options_of_a_corpus_do_not_fit(capsys):
    assert main(["fetch", "face-api", "--audio-only"]) == 1
    assert "no actors" in capsys.readouterr().err


# -------------------------------------------------------------------- the networks


@pytest.mark.parametrize("stride, side", [(1, 8), (2, 8)])
def test_padding_is_that_of_tensorflow(stride, side):
    """The definition of padding "same", with a loop over the pixels of the result."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, 2, side, side, generator=generator)
    kernel = torch.randn(3, 2, 3, 3, generator=generator)
    result = recognisers._convolve(x, kernel, stride)
    outputs = -(-side // stride)
    total = max((outputs - 1) * stride + 3 - side, 0)
    before = total // 2
    padded = F.pad(x, (before, total - before, before, total - before))
    for row in range(outputs):
        for column in range(outputs):
            top, left = row * stride, column * stride
            window = padded[0, :, top : top + 3, left : left + 3]
            expected = (kernel * window).sum((1, 2, 3))
            torch.testing.assert_close(result[0, :, row, column], expected)


def test_a_recogniser_is_shown_the_middle_of_the_crop():
    x = torch.zeros(1, 3, 100, 100)
    x[..., 20:80, 20:80] = 1
    assert judges.central_square(x, 0.6).eq(1).all()
    assert judges.central_square(x, 0.6, down=0.1).shape == (1, 3, 60, 60)
    torch.testing.assert_close(judges.central_square(x, 1.0), x)


@pytest.fixture(scope="module")
def weights():
    """The folder of the real weights, where somebody has fetched them."""
    folder = recognisers.default_folder()
    missing = [name for name in recognisers.FILES if not (folder / name).exists()]
    if missing:
        pytest.skip(f"{folder}: no weights of face-api; cm fetch face-api")
    return folder


@pytest.fixture(scope="module")
def drawn():
    """Two drawn faces, (2, 3, S, S)."""
    pictures = np.stack([face(), face(skin=(120, 90, 70))])
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255


def test_the_expressions_of_a_drawn_face_are_known(weights, drawn):
    judge = FaceApi(CLASSES, weights)
    p = judge.probabilities(drawn)
    np.testing.assert_allclose(p.sum(1), 1, rtol=1e-5)
    np.testing.assert_allclose(p[0], [0.0006, 0, 0, 0, 0.9710, 0, 0.0284], atol=1e-3)
    log_p = judges.predict(judge, drawn)
    assert log_p.shape == (2, 8)  # neutral counts as none of the classes
    np.testing.assert_allclose(np.exp(log_p)[:, -1], p[:, 0], rtol=1e-4)


def test_the_identity_of_a_drawn_face_is_known(weights, drawn):
    identity = FaceIdentity(weights)
    vectors = identity(drawn)
    assert vectors.shape == (2, 128)
    np.testing.assert_allclose(vectors[0, :4], [-0.0377, 0.1120, -0.0205, -0.0828], atol=1e-3)
    again = identity(drawn.flip(0))
    assert list(recognisers.nearest_person(again, vectors)) == [1, 0]
