"""Draw the pictures of the pages, by the code that the pages show.

A block that says ``savefig("fit.png")`` on the page ``guides/trf.md`` makes
``pictures/trf_fit.png``. Every build draws the pictures that are missing or
older than their page or the package.

Run: python docs/pictures.py [PAGE.md ...] to draw the pictures of these pages again
"""

import contextlib
import os
import re
import shutil
import sys
import tempfile
import warnings
from pathlib import Path

HERE = Path(__file__).parent
BLOCK = re.compile(r"^```\{testcode\}\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def is_due(page: Path) -> bool:
    """Return whether a page shows a picture that is missing or out of date."""
    sources = [page, *(HERE.parent / "convsolve").rglob("*.py")]
    newest = max(source.stat().st_mtime for source in sources)
    shown = re.findall(r"pictures/(\w+\.png)\)", page.read_text(encoding="utf-8"))
    kept = [HERE / "pictures" / name for name in shown if name.startswith(page.stem)]
    return any(not one.exists() or one.stat().st_mtime < newest for one in kept)


def draw(page: Path) -> None:
    """Execute a page in an empty folder up to its last picture, and keep the pictures it shows."""
    text = page.read_text(encoding="utf-8")
    blocks = BLOCK.findall(text)
    last = max(i for i, block in enumerate(blocks) if "savefig(" in block)
    names: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        for block in blocks[: last + 1]:
            exec(compile(block, str(page), "exec"), names)
        for made in Path().glob("*.png"):
            kept = f"{page.stem}_{made.name}"
            if f"pictures/{kept})" in text:
                shutil.copy(made, HERE / "pictures" / kept)


def main(pages: list[str]) -> None:
    os.environ["MPLBACKEND"] = "agg"
    warnings.simplefilter("ignore")  # the pages describe the warnings
    (HERE / "pictures").mkdir(exist_ok=True)
    written = (page for page in sorted(HERE.rglob("*.md")) if "_build" not in page.parts)
    for page in [Path(page).resolve() for page in pages] or filter(is_due, written):
        draw(page)


if __name__ == "__main__":
    main(sys.argv[1:])
