"""Find broken links in a built site, and whatever a page would fetch from another server."""

from __future__ import annotations

import posixpath
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

FETCHED = {"img", "script", "link", "audio", "video", "source", "iframe"}  # when a page is opened


class Page(HTMLParser):
    """The anchors of a page, where its links lead, and what it fetches."""

    def __init__(self, text: str):
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect the anchors of a tag, and what it links to or loads."""
        for name, value in attrs:
            if name in ("id", "name") and value:
                self.anchors.add(value)
            if name in ("href", "src") and value:
                (self.fetched if tag in FETCHED else self.links).append(value)


def faults(site: Path) -> list[str]:
    """A line for each link of a page that leads nowhere, and each file fetched from elsewhere."""
    pages = {
        path.relative_to(site).as_posix(): Page(path.read_text(encoding="utf-8"))
        for path in sorted(site.rglob("*.html"))
    }
    lines = []
    for name, page in pages.items():
        for target in dict.fromkeys([*page.links, *page.fetched]):
            parts = urlsplit(target)
            if parts.scheme or parts.netloc:
                is_elsewhere = parts.scheme not in ("data", "mailto", "javascript")
                if target in page.fetched and is_elsewhere:
                    lines.append(f"{name}: would fetch {target}")
                continue
            reached = name
            if parts.path:
                reached = posixpath.normpath(
                    posixpath.join(posixpath.dirname(name), unquote(parts.path))
                )
            if not (site / reached).exists():
                lines.append(f"{name}: no {target}")
            elif parts.fragment and reached in pages:
                if unquote(parts.fragment) not in pages[reached].anchors:
                    lines.append(f"{name}: no anchor {target}")
    return lines
