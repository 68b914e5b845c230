"""Make the book: pages are laid out, and Sphinx turns them into HTML."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from cmlib import files

from .pages import write_pages
from .registry import write_maths

SETTINGS = Path(__file__).parent / "book"
PAGES = files.ROOT / "build" / "book"  # what Sphinx reads
# Signs in docstrings that look like markup and are none; the messages they refer to are not shown.
PROBLEMATIC = re.compile(r'<a href="#id\d+"><span class="problematic" id="id\d+">(.*?)</span></a>')


def write_book(folder: Path, repository: str = "") -> None:
    """Write the book to ``folder``, beside the demo that may be there already.

    ``repository`` is the project's address on GitHub; without it, pages have no links to programs
    and to services that run notebooks.  ValueError where Sphinx reports an error.
    """
    from sphinx.cmd.build import build_main

    write_pages(PAGES, repository)
    for name in ("conf.py", "icon.svg"):
        shutil.copy(SETTINGS / name, PAGES)
    write_maths(PAGES / "_static" / "mathjax")
    shutil.copy(SETTINGS / "book.css", PAGES / "_static")
    os.environ["CM_REPOSITORY"] = repository  # conf.py reads it
    # The parsed pages are kept in the build folder, so that a second build reads only what changed.
    cache = PAGES.with_name("book-cache")
    written = PAGES.with_name("book-html")  # beside which Sphinx leaves other things
    shutil.rmtree(written, ignore_errors=True)
    arguments = ["-b", "html", "-q", "-d", str(cache), str(PAGES), str(written)]
    if build_main(arguments):
        raise ValueError(f"{PAGES}: Sphinx could not make the book; its messages say why")
    for page in written.rglob("*.html"):
        files.write_text(page, accessible(page.read_text(encoding="utf-8")))
    shutil.copytree(written, folder, dirs_exist_ok=True)


def accessible(page: str) -> str:
    """A page of Sphinx with what it leaves out for readers without a mouse or without sight.

    What scrolls sideways can be reached with the keyboard, and captions say which heading they are.
    """
    for without, with_it in (
        ("<pre>", '<pre tabindex="0">'),
        ('<div class="table-wrapper', '<div tabindex="0" class="table-wrapper'),
        ('<table border="1" class="dataframe">', '<table tabindex="0" class="dataframe">'),
        ('<p class="caption" role="heading">', '<p class="caption" role="heading" aria-level="2">'),
    ):
        page = page.replace(without, with_it)
    return PROBLEMATIC.sub(r"\1", page)
