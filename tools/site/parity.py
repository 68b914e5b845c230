"""Compare what the page computes with what Python computes, on the same files.

A headless Chromium opens the page, reads each face and each voice as the page does, and returns the
pictures as numbers.  This needs Chromium and the extra ``browser``.

The networks of drawn people see the faces of the page's list.  Those of photographs see faces of
real people that they have decoded themselves, and some half-way between two of them.
"""

from __future__ import annotations

import base64
import functools
import http.server
import importlib.util
import io
import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image

from cmlib import files
from cmlib.apps.encode import data_url
from cmlib.perceiver import EncodedVoice, Perceiver

from .examples import SETS

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PATIENCE = 300_000  # milliseconds; on a busy machine the page needs a while
IS_READY = "!document.getElementById('demo').hasAttribute('aria-busy')"

# What the page's own modules make of a face and of the voices of an actor.
ANSWER = """async ({set, face, voices}) => {
  const {Networks} = await import('./networks.js');
  const {readPicture, readSound} = await import('./inputs.js');
  const {channelsFirst} = await import('./crop.js');
  window.parityNetworks ??= await Networks.load(set);
  window.parityVoices ??= new Map();
  const file = async address => new File([await (await fetch(address)).blob()], address);
  const packed = values => {  // float32 as text, which travels faster than numbers
    const bytes = new Uint8Array(Float32Array.from(values).buffer);
    return btoa(Array.from(bytes, byte => String.fromCharCode(byte)).join(''));
  };

  const {picture} = await readPicture(await file(face));
  const encoded = await parityNetworks.encodeFace(channelsFirst(picture, value => value / 255));
  const answers = [];
  for (const voice of voices) {
    if (!parityVoices.has(voice)) {
      const {mel} = await readSound(await file(voice));
      parityVoices.set(voice, {mel, latent: await parityNetworks.encodeVoice(mel)});
    }
    const {mel, latent: sound} = parityVoices.get(voice);
    const {probabilities, picture} = await parityNetworks.perceive(encoded, sound, 1);
    answers.push({
      mel: packed(mel), probabilities: packed(probabilities), picture: packed(picture),
    });
  }
  return {reconstruction: packed(encoded.reconstruction), answers};
}"""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a folder on this machine; the address of its page."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = functools.partial(Handler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/"
        finally:
            server.shutdown()


def lacking() -> str:
    """What a headless Chromium needs and is not there, with the remedy; empty if all is there."""
    if not any(map(shutil.which, NAMES)):
        return "no Chromium here (Debian: apt-get install chromium)"
    if importlib.util.find_spec("playwright") is None:
        return "no playwright here: pip install -e '.[browser]'"
    return ""


@contextmanager
def chromium(*flags: str):
    """A headless Chromium; RuntimeError where it, or playwright, is not there."""
    if lacking():
        raise RuntimeError(lacking())
    from playwright.sync_api import sync_playwright

    path = next(filter(None, map(shutil.which, NAMES)))
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=path, args=[*FLAGS, *flags])
        try:
            yield browser
        finally:
            browser.close()


def write_parity(demo: Path, out: Path, faces: int) -> str:
    """Write the table of ``faces`` faces with the voices of their actors; a line that sums it up.

    ValueError where the page has not been built.
    """
    if not (demo / "manifest.json").exists():
        raise ValueError(f"{demo}: no page here; run python -m tools.site demo first")
    manifest = json.loads((demo / "manifest.json").read_text())
    with served(demo) as address, chromium() as browser:
        page = browser.new_page()
        page.set_default_timeout(PATIENCE)
        page.goto(address)
        page.wait_for_function(IS_READY)
        tables = []
        for entry in manifest["sets"]:
            page.evaluate("() => { delete window.parityNetworks; delete window.parityVoices; }")
            tables.append(compare(page, demo, manifest, entry, faces))
    table = pd.concat(tables)
    with files.write_atomically(out) as temporary:
        table.to_csv(temporary, index=False, float_format="%.2e", lineterminator="\n")
    worst = table[["mel_error", "reconstruction_error", "picture_error", "probability_error"]].max()
    agreed = (table.page_reads == table.python_reads).mean()
    lines = "".join(f"\n  largest {name}: {value:.1e}" for name, value in worst.items())
    return f"{out}: {len(table)} pairs, {100 * agreed:.1f} % read alike{lines}"


def compare(page, demo: Path, manifest: dict, entry: dict, count: int) -> pd.DataFrame:
    """One set: a row for each pair of a face and one of the voices of an actor.

    Errors are the largest absolute differences, of values in 0...1.  ``page`` is playwright's,
    opened at the page that ``demo`` holds; ``entry`` is the set's entry in its ``manifest``.
    """
    where = next(networks.where for networks in SETS if networks.name == entry["name"])
    perceiver = Perceiver.load(where)
    voices: dict[str, EncodedVoice] = {}
    rows = []
    for face, actor, crop in faces_of(perceiver, demo, manifest, count):
        names = [voice["file"] for voice in manifest["voices"] if voice["actor"] == actor]
        address = data_url(png_of(crop), "png")
        answer = page.evaluate(ANSWER, {"set": entry, "face": address, "voices": names})
        encoded = perceiver.encode_face(crop)
        reconstruction_error = largest(as_picture(answer["reconstruction"]), encoded.reconstruction)
        for name, got in zip(names, answer["answers"]):
            if name not in voices:
                voices[name] = perceiver.encode_voice(demo / name)
            wanted = perceiver.perceive(encoded, voices[name])
            probabilities = unpacked(got["probabilities"])
            rows.append(
                {
                    "networks": entry["name"],
                    "face": face,
                    "voice": Path(name).stem,
                    "python_reads": wanted.label,
                    "page_reads": entry["classes"][int(probabilities.argmax())],
                    "mel_error": largest(unpacked(got["mel"]).reshape(128, 128), voices[name].mel),
                    "reconstruction_error": reconstruction_error,
                    "picture_error": largest(as_picture(got["picture"]), wanted.perceived),
                    "probability_error": largest(probabilities, wanted.probabilities),
                }
            )
    return pd.DataFrame(rows)


def faces_of(
    perceiver: Perceiver, demo: Path, manifest: dict, count: int
) -> list[tuple[str, str, np.ndarray]]:
    """``count`` faces that a perceiver knows: name, actor whose voices are heard, crop uint8."""
    if not perceiver.people:
        drawn = [face for face in manifest["faces"] if "latent" not in face]
        return [
            (Path(face["file"]).stem, face["actor"], np.asarray(Image.open(demo / face["file"])))
            for face in spread(drawn, count)
        ]
    latents = [posterior.mu for posterior in perceiver.people.values()]
    names = [" ".join(key) for key in perceiver.people]
    for i in range(count - len(latents)):  # of two neighbours in the list
        latents.append((latents[i] + latents[i + 1]) / 2)
        names.append(f"{names[i]} and {names[i + 1]}")
    actor = manifest["voices"][0]["actor"]
    pictures = (255 * perceiver.decode(torch.cat(latents))).round().astype(np.uint8)
    return spread([(name, actor, picture) for name, picture in zip(names, pictures)], count)


def png_of(picture: np.ndarray) -> bytes:
    """A picture (S, S, 3) uint8 as a PNG file."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return file.getvalue()


def spread(items: list, count: int) -> list:
    """``count`` items, evenly spaced over the list."""
    count = min(count, len(items))
    return [items[i * len(items) // count] for i in range(count)]


def unpacked(text: str) -> np.ndarray:
    """The float32 numbers (N,) of a base64 text."""
    return np.frombuffer(base64.b64decode(text), np.float32)


def as_picture(text: str) -> np.ndarray:
    """Packed numbers in the order colour, row, column -> (S, S, 3)."""
    values = unpacked(text)
    side = round((len(values) / 3) ** 0.5)
    return np.reshape(values, (3, side, side)).transpose(1, 2, 0)


def largest(first: np.ndarray, second: np.ndarray) -> float:
    """The largest absolute difference of two arrays."""
    return float(np.abs(first - second).max())
