"""What of a family of cases runs always, and what only where slow tests run."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def some(cases: Iterable[Any], *always: Any, every: int = 1) -> list[Any]:
    """The cases for `pytest.mark.parametrize`, all slow but those named; a tuple is many values.

    Of a large product of cases, one of ``every`` few is kept. ``every`` should have no factor in
    common with the number of values of the last one.
    """
    cases, slow = list(cases), pytest.mark.slow
    assert all(case in cases for case in always), always
    cases = [case for i, case in enumerate(cases) if i % every == 0 or case in always]
    values = [case if isinstance(case, tuple) else (case,) for case in cases]
    marks = [() if case in always else slow for case in cases]
    return [pytest.param(*each, marks=mark) for each, mark in zip(values, marks)]


def few_seeds(few: int, many: int) -> Any:
    """A test of ``seeds``: a few of them, and, where slow tests run, the rest of ``many``."""
    rest = pytest.param(range(few, many), id="rest", marks=pytest.mark.slow)
    return pytest.mark.parametrize("seeds", [pytest.param(range(few), id="few"), rest])
