"""The directive ``registry``: a table of the components of a kind that have a name.

``.. registry:: penalty`` lists name, class, options and summary of every penalty, as they are in
``convsolve.registry``. A criterion has no class and no options. A class without settings is not
public.
"""

from __future__ import annotations

from typing import Any

import convsolve
from convsolve import registry


def cells(entry: registry.Entry) -> list[str]:
    """Return the cells of a row in reStructuredText."""
    name = f"``{entry.name}``"
    summary = entry.summary[:1].upper() + entry.summary[1:]
    options = [*filter(None, [entry.number]), *(option.name for option in entry.options)]
    words = ", ".join(f"``{option}``" for option in options)
    # A criterion has no class, and a class without settings is not public.
    public = entry.class_name in convsolve.__all__
    return [name, f":py:class:`~convsolve.{entry.class_name}`" * public, words, summary]


def table(kind: str) -> list[str]:
    """Return the lines of the table of a kind of component.

    Raises:
        ValueError: If there are no components of this kind.
    """
    rows = [cells(entry) for entry in registry.of_kind(kind)]
    if not rows:
        kinds = ", ".join(registry.WORDS)
        raise ValueError(f"there are no components of the kind {kind!r}; use one of {kinds}")
    heads = ["Name", "Class", "Options", "Meaning"]
    lines = [".. list-table::", "   :header-rows: 1", ""]
    for row in (heads, *rows):
        lines += [f"   * - {row[0]}", *(f"     - {cell}" for cell in row[1:])]
    return lines


def setup(app: Any) -> dict[str, bool]:
    # Imported here, so that a test without Sphinx can read the tables.
    from sphinx.util.docutils import SphinxDirective

    class Registry(SphinxDirective):
        """Insert the table of the kind that the argument names."""

        required_arguments = 1

        def run(self) -> list[Any]:
            self.env.note_dependency(registry.__file__)
            try:
                lines = table(self.arguments[0])
            except ValueError as error:
                raise self.error(str(error)) from error
            return self.parse_text_to_nodes("\n".join(lines))

    app.add_directive("registry", Registry)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
