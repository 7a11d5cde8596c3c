"""Counting, quoting and wrapping words, for messages and reports."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields, is_dataclass
from itertools import groupby
from typing import Any

WIDTH = 88
# Between a number and its unit, while lines are wrapped.
NO_BREAK = "\u00a0"


def argument(name: str, value: Any) -> str:
    """Return an argument as it is given in Python.

    >>> argument("edges", "zeros")
    "edges='zeros'"
    """
    return f"{name}={value:.3g}" if isinstance(value, float) else f"{name}={value!r}"


def in_bytes(number: float) -> str:
    """Return a number of bytes in a unit that gives few digits.

    >>> in_bytes(800), in_bytes(3 * 2**30)
    ('800 bytes', '3.0 GiB')
    """
    units = ("bytes", "KiB", "MiB", "GiB", "TiB")
    power = min(max(int(math.log2(max(number, 1))) // 10, 0), len(units) - 1)
    return f"{number / 1024**power:.{int(power > 0)}f} {units[power]}"


def as_call(component: Any) -> str:
    """Return a component as the call that makes it, without arguments that are defaults."""
    positional, words = True, []
    for field in fields(component) if is_dataclass(component) else ():
        value = getattr(component, field.name)
        same = value is field.default or (is_plain(value) and value == field.default)
        if not same:
            name = "" if positional and not field.kw_only else f"{field.name}="
            words.append(name + (repr(value) if is_plain(value) else "..."))
        positional = positional and not same
    return f"{type(component).__name__}({', '.join(words)})"


def is_plain(value: Any) -> bool:
    """Return whether a value is a number, a word or nested tuples, whose repr is code."""
    if isinstance(value, tuple):
        return all(map(is_plain, value))
    return value is None or isinstance(value, (bool, int, float, str))


def recorded(component: Any) -> dict[str, Any]:
    """Return the settings of a component in a form that JSON supports."""

    def entry(value: Any) -> Any:
        if hasattr(value, "shape"):
            return f"array of shape {value.shape}"
        return value if is_plain(value) else getattr(value, "__name__", "custom")

    return {name: entry(value) for name, value in vars(component).items()}


def plain(value: Any) -> Any:
    """Convert a value for JSON: arrays become lists, and numbers that are not finite None."""
    if isinstance(value, dict):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(inner) for inner in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value


def shown(value: Any) -> str:
    """Return ``value`` for an error message: its repr if that is short, else its type."""
    text = repr(value)
    return text if len(text) <= 80 and text.isprintable() else f"<{type(value).__name__}>"


def count(n: int, noun: str, plural: str = "") -> str:
    """Return ``n`` and a noun, in the plural unless n is 1."""
    return f"{n} {noun if n == 1 else plural or noun + 's'}"


def ranges(numbers: Sequence[int], form: Callable[[int], str] = str) -> str:
    """Return numbers as ranges, for example ``0–3, 7``, with each number in a ``form``."""
    texts: list[str] = []
    ordered = sorted(numbers)
    for _, run in groupby(enumerate(ordered), key=lambda pair: pair[1] - pair[0]):
        members = [value for _, value in run]
        first, last = members[0], members[-1]
        if len(members) < 3:
            texts += map(form, members)
        else:
            between = "–" if first >= 0 else " to "
            texts.append(form(first) + between + form(last))
    return ", ".join(texts)


def span(values: Iterable[float], form: str = ".3g") -> str:
    """Return the smallest and the largest number but NaN, for example ``0.02 to 0.03``."""
    listed = [value for value in values if not math.isnan(value)]
    low, high = format(min(listed), form), format(max(listed), form)
    return low if low == high else f"{low} to {high}"


def probability(p: float) -> str:
    """Return a probability to two digits. The smallest ones are bounded, as they underflow to 0.

    >>> probability(0.0), probability(0.0312)
    ('< 1e-300', '0.031')
    """
    return "< 1e-300" if p < 1e-300 else f"{p:.2g}"


def some(words: Sequence[str], most: int = 6) -> str:
    """Return the first words with commas between."""
    return ", ".join(words[:most]) + (", …" if len(words) > most else "")


def aligned(rows: Sequence[Sequence[str]], left: int = 0, rule: str = "") -> list[str]:
    """Return the lines of a table, whose first row is the head.

    Args:
        rows: cells, row by row.
        left: number of columns that are aligned to the left; the others are to the right.
        rule: sign of a rule below the head; none by default.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    head, *others = rows
    ruled = [head, [rule * width for width in widths], *others] if rule else rows
    sides = [str.ljust if i < left else str.rjust for i in range(len(widths))]
    return [
        "  ".join(to(cell, w) for to, cell, w in zip(sides, row, widths, strict=True)).rstrip()
        for row in ruled
    ]


def line(label: str, text: str, margin: int = 11) -> str:
    """Return an entry of a report: a label, and text after a margin, wrapped to 88 columns."""
    together = re.sub(r"(?<=\d) (?=(?:m?s|Hz)\b)", NO_BREAK, text)
    return textwrap.fill(
        together, WIDTH, initial_indent=f"{label:<{margin}}", subsequent_indent=" " * margin,
        break_on_hyphens=False,
    ).replace(NO_BREAK, " ")  # fmt: skip
