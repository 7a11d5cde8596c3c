"""Docstrings as pages have them: what single backticks lead to, and sections of properties."""

from __future__ import annotations

import builtins
from functools import cache
from importlib import import_module
from typing import Any

from docutils import nodes
from sphinx.ext.napoleon import GoogleDocstring
from sphinx.util.nodes import make_refnode

import convsolve
from convsolve import extend

PUBLIC = {name: f"convsolve.{name}" for name in convsolve.__all__}
PUBLIC |= {name: f"convsolve.extend.{name}" for name in extend.__all__}
SHORT = {"np": "numpy"}
# Names in signatures without a page: internal classes, aliases of types, and other libraries'.
INTERNAL = {"Analysis", "Autoregression", "Certificate", "Errors", "Estimate", "FilteredPart"}
WITHOUT_PAGE = frozenset({"Columns", "Drawn", "Figure", "P", "Path", "R", "T"} | INTERNAL)


@cache
def exists(path: str) -> bool:
    """Whether this dotted path is a module, an attribute of one, or a name of Python's own."""
    parts = path.split(".")
    parts[0] = SHORT.get(parts[0], parts[0])
    for end in range(len(parts), 0, -1):
        try:
            found = import_module(".".join(parts[:end]))
        except ImportError:
            continue
        for name in parts[end:]:
            if not hasattr(found, name):
                return False
            found = getattr(found, name)
        return True
    return hasattr(builtins, path)


def meant(target: str, inside: str | None) -> list[str]:
    """Public things that ``target`` may mean, in a docstring of the class ``inside``."""
    parts = target.split(".")
    at = next((i for i, part in enumerate(parts) if part in PUBLIC), None)
    names = [] if at is None else [".".join([PUBLIC[parts[at]], *parts[at + 1 :]])]
    return names if inside is None else [*names, f"{inside}.{target}"]


def resolve(app: Any, env: Any, node: Any, shown: nodes.Node) -> nodes.Node | None:
    """What Sphinx has not found: the home of a public name, the class of a field, or code."""
    if node.get("refdomain") != "py":
        return None
    target, inside = node["reftarget"], node.get("py:class")
    objects = env.domains["py"].objects
    places = [name for name in objects if name.endswith(f".{target.split('.')[-1]}")]
    places = places if len(places) == 1 and "." not in target else []
    for name in meant(target, inside and f"{node.get('py:module', 'convsolve')}.{inside}"):
        home = name if name in objects else name.rpartition(".")[0]
        places += [home] if home in objects and exists(name) else []
    if places:
        home = objects[places[0]]
        here = node["refdoc"], home.docname, home.node_id
        return make_refnode(app.builder, *here, shown, places[0])
    return shown if exists(target) or target in WITHOUT_PAGE else None


def read_property(
    app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]
) -> None:
    """Read the docstring of a property like the docstring of a method.

    Napoleon takes the words before the first colon for a type, and looks for no sections. An empty
    comment in front prevents this.
    """
    if what in ("property", "attribute") and lines:
        read = GoogleDocstring(lines, app.config, app, "method", name, thing, options)
        lines[:] = ["..", "", *read.lines()]


def setup(app: Any) -> dict[str, bool]:
    app.connect("missing-reference", resolve)
    app.connect("autodoc-process-docstring", read_property, priority=400)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
