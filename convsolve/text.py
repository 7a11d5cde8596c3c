"""Counting, quoting and listing, for messages and results."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import fields, is_dataclass
from itertools import groupby
from typing import Any

# More words or numbers are not listed one by one.
MANY = 6


def argument(name: str, value: Any) -> str:
    """Return an argument as it is given in Python.

    >>> argument("edges", "zeros")
    "edges='zeros'"
    """
    return f"{name}={value:.3g}" if isinstance(value, float) else f"{name}={value!r}"


def in_bytes(number: float) -> str:
    """Return a number of bytes in GiB.

    >>> in_bytes(3 * 2**30)
    '3 GiB'
    """
    return f"{number / 2**30:.3g} GiB"


def as_call(component: Any) -> str:
    """Return a component as the call that makes it, without arguments that are defaults."""
    positional, words = True, []
    given = fields(component) if is_dataclass(component) else ()
    for field in (field for field in given if field.init):
        value = getattr(component, field.name)
        same = value is field.default or (is_plain(value) and value == field.default)
        if not same:
            name = "" if positional and not field.kw_only else f"{field.name}="
            words.append(name + (repr(value) if is_plain(value) else "..."))
        positional = positional and not same
    return f"{type(component).__name__}({', '.join(words)})"


def is_plain(value: Any) -> bool:
    """Return whether a value is a number, a word or nested tuples, whose repr is code."""
    several = isinstance(value, tuple) and all(map(is_plain, value))
    return several or value is None or isinstance(value, (bool, int, float, str))


def recorded(component: Any) -> dict[str, Any]:
    """Return the settings of a component in a form that JSON supports."""
    return {
        name: value if is_plain(value) else getattr(value, "__name__", "custom")
        for name, value in vars(component).items()
    }


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
    for _, run in groupby(enumerate(sorted(numbers)), key=lambda pair: pair[1] - pair[0]):
        members = [value for _, value in run]
        ends = ("–" if members[0] >= 0 else " to ").join(map(form, (members[0], members[-1])))
        texts += [ends] if len(members) > 2 else map(form, members)
    return ", ".join(texts)


def span(values: Collection[float], form: str = ".3g") -> str:
    """Return the smallest and the largest finite number, for example ``0.02 to 0.03``."""
    known = [float(value) for value in values if math.isfinite(value)]
    ends = [format(end(known), form) for end in (min, max) if known]
    return " to ".join(dict.fromkeys(ends)) or "?"


def either(texts: Collection[str]) -> str:
    """Return distinct texts joined by "or", or one text with ranges if only numbers differ.

    >>> either(["DC, decay 0.97", "DC, decay 1e-05"]), either(["ridge", "lasso"])
    ('DC, decay 1e-05 to 0.97', 'ridge or lasso')
    """
    distinct = [*dict.fromkeys(texts)]
    pieces = [re.split(r"(-?\d+(?:\.\d+)?(?:e[-+]\d+)?)", text) for text in distinct]
    if len({tuple(words[::2]) for words in pieces}) > 1:
        return " or ".join(distinct)
    numbers = zip(*(words[1::2] for words in pieces), strict=True)
    ends = ((min(several, key=float), max(several, key=float)) for several in numbers)
    ranges = [" to ".join(dict.fromkeys(pair)) for pair in ends]
    return "".join(a + b for a, b in zip(pieces[0][::2], [*ranges, ""], strict=True))


def pm(value: float, error: float, form: str = ".3f") -> str:
    """Return a number, and its standard error unless it is not finite or rounds to zero.

    >>> pm(0.6207, 0.0502), pm(0.6207, 1e-9)
    ('0.621 ± 0.050', '0.621')
    """
    words = format(value, form) if abs(value) < 1e3 else f"{value:.3g}"
    spread = format(error, form)
    return f"{words} ± {spread}" if math.isfinite(error) and float(spread) else words


def some(words: Sequence[str], most: int = MANY) -> str:
    """Return the first words with commas between."""
    return ", ".join(words[:most]) + ", …" * (len(words) > most)


def aligned(rows: Sequence[Sequence[str]], left: int = 0) -> list[str]:
    """Return the lines of a table.

    Args:
        rows: cells, row by row.
        left: number of columns that are aligned to the left; the others are to the right.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    forms = [f"{'<' if i < left else '>'}{width}" for i, width in enumerate(widths)]
    return ["  ".join(map(format, row, forms)).rstrip() for row in rows]
