"""The pictures of an example: every matplotlib figure that a cell makes, with pyplot or without."""

from __future__ import annotations

from typing import Any
from weakref import WeakSet

from matplotlib.figure import Figure
from sphinx_gallery.scrapers import figure_rst

SAVED: WeakSet[Figure] = WeakSet()


def scraper(block: Any, block_vars: dict[str, Any], gallery_conf: dict[str, Any]) -> str:
    """Save the figures that have got a name, or are the last expression, since the cell before."""
    made = dict.fromkeys(v for v in block_vars["example_globals"].values() if type(v) is Figure)
    pictures = []
    for figure in made:
        if figure not in SAVED:
            SAVED.add(figure)
            pictures.append(rst(figure, next(block_vars["image_path_iterator"]), gallery_conf))
    return "\n".join(pictures)


def rst(figure: Figure, path: str, gallery_conf: dict[str, Any]) -> str:
    figure.savefig(path, dpi=144, bbox_inches="tight", pad_inches=0.15)
    titles = [figure.get_suptitle(), *(axes.get_title() for axes in figure.axes)]
    said = "; ".join(title for title in titles if title)
    return figure_rst([path], gallery_conf["src_dir"], said)
