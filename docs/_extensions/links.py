"""Check that links of the built pages have a target, and that no page loads files from the network.

Looked at in the HTML, after every build: what raw HTML and the theme write, Sphinx does not check.
"""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """The anchors of a page, its links and the files that it loads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: set[str] = set()
        self.loads: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value for name, value in attrs if value}
        self.anchors |= {found[name] for name in ("id", "name") if name in found}
        place = self.links if tag == "a" else self.loads
        place |= {found[name] for name in ("href", "src") if name in found}


def faults(folder: Path) -> list[str]:
    """Return the faults of the pages of a folder, as sentences."""
    # Some files in _static, which belongs to the theme, are templates.
    paths = [path for path in folder.rglob("*.html") if path.parent != folder / "_static"]
    pages = {path: Page(path.read_text(encoding="utf-8")) for path in paths}
    found = []
    for path, page in pages.items():
        for address in sorted(page.links | page.loads):
            parts = urlsplit(address)
            if parts.scheme or parts.netloc:
                if address in page.loads and parts.scheme != "data":
                    found.append(f"{path.relative_to(folder)} loads {address}")
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            anchors = pages[target].anchors if target in pages else None
            here = parts.fragment in ("", "top") or anchors is None or parts.fragment in anchors
            if not (target.exists() and here):
                found.append(f"{path.relative_to(folder)} links to {address}, which is not there")
    return found


def check(app: Any, error: Exception | None) -> None:
    from sphinx.util.logging import getLogger

    if error is None and app.builder.name == "html":
        for fault in faults(Path(app.outdir).resolve()):
            getLogger(__name__).warning("%s", fault)


def setup(app: Any) -> dict[str, bool]:
    app.connect("build-finished", check)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
