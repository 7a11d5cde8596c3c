"""Facts of results, and the one place that renders them: text, notebooks, dict and JSON."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from html import escape
from statistics import fmean
from types import MappingProxyType
from typing import Any, NamedTuple

from .text import MANY, aligned, count

# Width of a text and of its labels, and the cell of a table that has nothing to show.
WIDTH, MARGIN, NONE = 88, 12, "–"
# Where a fact is shown: everywhere; not in print; in `to_dict` only.
PRINT, PAGE, DATA = "print", "page", "data"
# Largest number of outputs of a table.
MOST = 40
# Between a number and its unit, while lines are wrapped.
NO_BREAK = "\u00a0"


class Table(NamedTuple):
    """Cells below a head. Columns whose cells are all `NONE` are not rendered."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    left: int = 1
    note: str = ""

    def lines(self) -> list[tuple[str, ...]]:
        """Return the head and the rows, without columns that have nothing to show."""
        columns = zip(self.head, *self.rows, strict=True)
        return [*zip(*(c for c in columns if {*c[1:]} - {NONE}), strict=True)]


class Fact(NamedTuple):
    """One statement about a result.

    Attributes:
        key: entry of `to_dict`; empty for none.
        label: word before the text.
        text: a sentence, several, or a table. An empty text is not rendered.
        value: what `to_dict` has under ``key``; by default the text.
        shown: PRINT for all renderings, PAGE for all but print, DATA for `to_dict` only.
    """

    key: str
    label: str = ""
    text: str | Sequence[str] | Table = ""
    value: Any = ...
    shown: str = PRINT


class Reported:
    """Renders the facts of a result, which a subclass defines."""

    def facts(self, full: bool = True) -> Iterable[Fact]:
        """Return all facts, or those that need no computation."""
        raise NotImplementedError

    def __str__(self) -> str:
        return in_lines(fact for fact in self.facts() if fact.shown == PRINT)

    def __repr__(self) -> str:
        """Return a short description; nothing is computed."""
        known = [
            count(len(fact.text.rows), "row")
            if isinstance(fact.text, Table)
            else "; ".join(sentences(fact.text))
            for fact in self.facts(full=False)
            if fact.text and fact.shown == PRINT
        ]
        return f"<{type(self).__name__} {'; '.join(known[:2])}>"

    def _repr_html_(self) -> str:
        """Return the facts that need no computation, for a notebook."""
        return in_html(self.facts(full=False))

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers, strings and lists, ready for JSON; None for values not finite."""
        return {
            fact.key: plain(fact.text if fact.value is ... else fact.value)
            for fact in self.facts()
            if fact.key
        }


def in_lines(facts: Iterable[Fact]) -> str:
    """Return facts as lines of at most `WIDTH` letters: labels, and texts after a margin."""
    lines: list[str] = []
    for fact in facts:
        if isinstance(fact.text, Table):
            lines += [*[fact.label] * bool(fact.label), *aligned(fact.text.lines(), fact.text.left)]
            lines += wrapped("", fact.text.note, 0)
        else:
            for i, words in enumerate(sentences(fact.text)):
                lines += wrapped("" if i else fact.label, words, MARGIN if fact.label else 0)
    return "\n".join(lines)


def in_html(facts: Iterable[Fact]) -> str:
    """Return facts as a table of labels and texts, and each table below its label."""
    parts = []
    for fact in facts:
        if isinstance(fact.text, Table):
            head, *rows = fact.text.lines()
            cells = _row("th", *head) + "".join(_row("td", *row) for row in rows)
            caption = f"<caption>{escape(fact.label)}</caption>" * bool(fact.label)
            parts.append(f'<div class="numbers"><table>{caption}{cells}</table></div>')
            parts += [f"<p>{escape(fact.text.note)}</p>"] * bool(fact.text.note)
        elif words := "<br>".join(map(escape, sentences(fact.text))):
            row = f"<tr><th>{escape(fact.label)}</th><td>{words}</td></tr>"
            parts.append(f'<table class="facts">{row}</table>' if fact.label else f"<p>{words}</p>")
    return "".join(parts).replace('</table><table class="facts">', "")


def _row(tag: str, *cells: str) -> str:
    return f"<tr>{''.join(f'<{tag}>{escape(cell)}</{tag}>' for cell in cells)}</tr>"


def by_output(
    names: Iterable[Any],
    columns: Mapping[str, Sequence[str]],
    means: Mapping[str, Any] = MappingProxyType({}),
    note: str = "",
    most: int = MOST,
) -> Table:
    """Return a table with a row for every output, and a first row of means if there are many.

    Args:
        names: names or numbers of the outputs.
        columns: a cell for every output, by head.
        means: the numbers whose means are shown, by head.
        note: a sentence below the table.
        most: rows of a table of many outputs.
    """
    rows = [*zip(map(str, names), *columns.values(), strict=True)]
    if len(rows) <= MANY:
        return Table(["output", *columns], rows, 1, note)
    more = f"and {len(rows) - most} more outputs in to_dict()" * (len(rows) > most)
    known = {head: [v for v in values if math.isfinite(v)] for head, values in means.items()}
    found = [f"{fmean(known[h]):.3f}" if known.get(h) else NONE for h in columns]
    mean = [(f"mean of {len(rows)}", *found)] * bool(means)
    return Table(["output", *columns], mean + rows[:most], 1, "; ".join(sentences([more, note])))


def of_fields(result: Any, **instead: Any) -> list[Fact]:
    """Return the fields of a result for `to_dict`, with other values of some, or more."""
    return in_data({field.name: getattr(result, field.name) for field in fields(result)} | instead)


def in_data(values: Mapping[str, Any]) -> list[Fact]:
    """Return facts that only `to_dict` has."""
    return [Fact(key, value=value, shown=DATA) for key, value in values.items()]


def sentences(words: str | Sequence[str]) -> list[str]:
    """Return the sentences that are not empty."""
    return [*filter(None, [words] if isinstance(words, str) else words)]


def wrapped(label: str, words: str, margin: int = MARGIN) -> list[str]:
    """Return the lines of a label and a text, in which numbers stay with their units."""
    together = re.sub(r"(?<=\d) (?=(?:m?s|Hz|±)\b)|(?<=±) | (?=±)", NO_BREAK, words)
    lines = textwrap.wrap(
        together,
        WIDTH,
        break_on_hyphens=False,
        break_long_words=False,
        initial_indent=f"{label:<{margin}}",
        subsequent_indent=" " * margin,
    )
    return [line.replace(NO_BREAK, " ") for line in lines if words]


def plain(value: Any) -> Any:
    """Return a value for JSON: lists for arrays, and None for numbers that are not finite."""
    if isinstance(value, Reported):
        return value.to_dict()
    if hasattr(value, "_asdict"):
        return plain(value._asdict())
    if isinstance(value, dict):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(inner) for inner in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, complex):
        return [value.real, value.imag]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def shortened(name: str, most: int = 16) -> str:
    """Return the beginning and the end of a name of more letters than ``most``."""
    return name if len(name) <= most else f"{name[: most // 2]}…{name[1 - most // 2 :]}"
