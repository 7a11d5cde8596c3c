"""Fixtures that several test files share."""

from __future__ import annotations

from collections.abc import Iterator

import jax
import pytest

_COMPILED: list[str] = []


def _note(event: str, duration: float, **_: object) -> None:
    if event == "/jax/core/compile/backend_compile_duration":
        _COMPILED.append(event)


jax.monitoring.register_event_duration_secs_listener(_note)


@pytest.fixture
def compiled() -> Iterator[list[str]]:
    """Fills with one entry per compilation by XLA; clear it before what must not compile."""
    _COMPILED.clear()
    yield _COMPILED
    _COMPILED.clear()
