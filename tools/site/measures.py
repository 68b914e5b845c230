"""Measure how large the built site is, how fast its page answers, and what Lighthouse says of it.

A headless Chromium opens the page and drags its slider.  This needs Chromium and the extra
``browser``.  `Lighthouse <https://developer.chrome.com/docs/lighthouse>`_ is fetched by npx.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from statistics import median

from cmlib import files

from .parity import FLAGS, IS_READY, NAMES, PATIENCE, chromium, served
from .registry import PackageError

LIGHTHOUSE = "lighthouse@12.8.2"
LIGHTHOUSE_SECONDS = 300  # after which it is given up
CATEGORIES = ("accessibility", "best-practices")
JUDGED = ("demo/index.html", "index.html", "notebooks/05_context_attention.html")
DRAGS = 50
ROW_MILLISECONDS = 2000  # in which the row of all voices is drawn

# Change a control as a hand does, and wait until the picture in context is decoded: milliseconds.
CHANGE = """async ({control, event, value}) => {
  const picture = document.getElementById('perceived');
  const drawn = new Promise(resolve =>
    new MutationObserver(resolve).observe(picture, {attributeFilter: ['src']}));
  const start = performance.now();
  const changed = document.getElementById(control);
  changed.value = value;
  changed.dispatchEvent(new Event(event, {bubbles: true}));
  await drawn;
  await picture.decode();
  return performance.now() - start;
}"""

# The moment of the first picture in context, in milliseconds after the page was asked for.
WATCH = """addEventListener('DOMContentLoaded', () => {
  const picture = document.getElementById('perceived');
  window.firstPicture = new Promise(resolve =>
    new MutationObserver(() => picture.decode().then(() => resolve(performance.now())))
      .observe(picture, {attributeFilter: ['src']}));
})"""


def size_of(folder: Path) -> int:
    """Bytes of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def drag(page, count: int = DRAGS) -> list[float]:
    """Milliseconds from each of ``count`` moves of the slider to the picture in context."""
    change = {"control": "strength", "event": "input"}
    return [page.evaluate(CHANGE, {**change, "value": (i % 10) / 10}) for i in range(count)]


def choose(page, person: str) -> float:
    """Milliseconds from the choice of a person in the list to the picture in context."""
    change = {"control": "face-actor", "event": "change", "value": person}
    milliseconds = page.evaluate(CHANGE, change)
    page.wait_for_timeout(ROW_MILLISECONDS)
    return milliseconds


def first_pictures(browser, address: str, people: dict[str, str]) -> dict[str, float]:
    """Seconds to the first picture of each set of networks, with all files in the cache.

    ``people`` has a person of the page's list for each set.  The first set's time begins when the
    page is asked for, the others' when their person is chosen.
    """
    seconds = {}
    context = browser.new_context()  # all its pages share a cache
    for _ in ("to fill the cache", "to measure"):
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.add_init_script(WATCH)
        page.goto(address)
        first, *others = people
        seconds[first] = page.evaluate("() => window.firstPicture") / 1000
        page.wait_for_function(IS_READY)
        page.wait_for_timeout(ROW_MILLISECONDS)
        for name in others:
            seconds[name] = choose(page, people[name]) / 1000
        page.close()
    context.close()
    return seconds


def people_of(manifest: dict) -> dict[str, str]:
    """For each set of networks the first person of the page's list whom it draws."""
    usual = manifest["sets"][0]["name"]
    people: dict[str, str] = {}
    for face in manifest["faces"]:
        people.setdefault(face.get("set", usual), face["actor"])
    return people


def answer_times(folder: Path) -> dict[str, dict[str, float]]:
    """Of each set of networks: seconds to the first picture, milliseconds of a drag.

    ``folder`` holds the page.
    """
    people = people_of(json.loads((folder / "manifest.json").read_text()))
    times: dict[str, dict[str, float]] = {}
    with served(folder) as address, chromium() as browser:
        firsts = first_pictures(browser, address, people)
        page = browser.new_page()
        page.set_default_timeout(PATIENCE)
        page.goto(address)
        page.wait_for_function(IS_READY)
        for name, person in people.items():
            choose(page, person)
            milliseconds = drag(page)
            times[name] = {
                "first_picture_seconds": round(firsts[name], 2),
                "median_drag_milliseconds": round(median(milliseconds), 1),
                "longest_drag_milliseconds": round(max(milliseconds), 1),
            }
    return times


def lighthouse(address: str) -> dict[str, int]:
    """What Lighthouse gives a page in each of ``CATEGORIES``: 0 to 100.

    PackageError where Lighthouse cannot be had.
    """
    npx = shutil.which("npx")
    if npx is None:
        raise PackageError("npx is not there; install Node.js, which brings it (Debian: npm)")
    command = [npx, "--yes", LIGHTHOUSE, address, "--quiet", "--output=json"]
    command += [f"--only-categories={','.join(CATEGORIES)}"]
    command += [f"--chrome-flags={' '.join(('--headless', *FLAGS))}"]
    browser = next(filter(None, map(shutil.which, NAMES)), "")
    done = subprocess.run(
        command,
        env=os.environ | {"CHROME_PATH": browser},
        capture_output=True,
        text=True,
        timeout=LIGHTHOUSE_SECONDS,
    )
    if done.returncode:
        reason = " ".join(done.stderr.split())[-300:]
        raise PackageError(f"{LIGHTHOUSE} did not judge {address}: {reason}")
    categories = json.loads(done.stdout)["categories"]
    return {name: round(100 * categories[name]["score"]) for name in CATEGORIES}


def write_measures(site: Path, out: Path) -> str:
    """Measure a built site and write the numbers to ``out``; the same in words.

    ValueError where the site has not been built.
    """
    for page in JUDGED:
        if not (site / page).exists():
            raise ValueError(f"{site / page}: not there; run python -m tools.site build first")
    measures = {"bytes": size_of(site / "demo"), "networks": answer_times(site / "demo")}
    with served(site) as address:
        measures["lighthouse"] = {page: lighthouse(address + page) for page in JUDGED}
    text = json.dumps(measures, indent=1)
    files.write_text(out, text + "\n")
    return f"{out}:\n{text}"
