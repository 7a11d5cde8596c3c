"""What of a family of cases runs always, and what only where slow tests run."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def some(cases: Iterable[Any], *always: Any) -> list[Any]:
    """The cases for `pytest.mark.parametrize`, all slow but those named."""
    cases, slow = list(cases), pytest.mark.slow
    assert all(case in cases for case in always), always
    return [case if case in always else pytest.param(case, marks=slow) for case in cases]


def few_seeds(few: int, many: int) -> Any:
    """A test of ``seeds``: a few of them, and, where slow tests run, the rest of ``many``."""
    rest = pytest.param(range(few, many), id="rest", marks=pytest.mark.slow)
    return pytest.mark.parametrize("seeds", [pytest.param(range(few), id="few"), rest])
