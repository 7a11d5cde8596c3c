"""Bars on stderr that show how far long work has come.

They need tqdm: ``pip install 'convsolve[cli]'``.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .progress import listening

# What takes less has no bar.
SHOWN_SECONDS = 0.5
FORMAT = "{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]"


@contextmanager
def bars() -> Iterator[None]:
    """Within, a bar for every part of the work of this thread that takes more than half a second,
    those within it below it; each is gone when its part is done.

    >>> with bars():  # doctest: +SKIP
    ...     table = cs.compare(problem)

    Raises:
        ImportError: tqdm is not installed.
    """
    shown = _Bars()
    try:
        with listening(shown):
            yield
    finally:
        shown.close()


class _Bar:
    """One part of the work: how far it is, and its bar once it has one."""

    def __init__(self, name: str) -> None:
        self._name, self._begun = name, time.monotonic()
        self._bar: Any = None
        self.at: tuple[int, int, str] = (0, 0, "")

    def draw(self, make: Any) -> None:
        """Draw it as far as it is, unless it has only just begun."""
        done, total, note = self.at
        took = time.monotonic() - self._begun
        if self._bar is None and took >= SHOWN_SECONDS:
            self._bar = make(
                desc=self._name, total=total, leave=False, bar_format=FORMAT, dynamic_ncols=True
            )
            if not self._bar.disable:  # by TQDM_DISABLE
                self._bar.start_t -= took
        if self._bar is not None:
            self._bar.set_postfix_str(note, refresh=False)
            self._bar.update(done - self._bar.n)

    def close(self) -> None:
        """Take it off the screen."""
        if self._bar is not None:
            self._bar.close()


class _Bars:
    """A listener that draws; threads that share it have bars of their own."""

    def __init__(self) -> None:
        try:
            from tqdm import tqdm
        except ImportError as error:
            raise ImportError(
                "bars of progress are drawn by tqdm: pip install 'convsolve[cli]'"
            ) from error
        self._make, self._lock = tqdm, threading.RLock()
        self._open: dict[tuple[int, str], _Bar] = {}

    def __call__(self, stage: str, done: int, total: int, note: str) -> None:
        """Draw that so much is done, and whatever else has lasted long enough by now."""
        thread = threading.get_ident()
        with self._lock:
            if done >= total:
                if bar := self._open.pop((thread, stage), None):
                    bar.close()
                return
            self._open.setdefault((thread, stage), _Bar(stage)).at = done, total, note
            for (other, _), bar in self._open.items():
                if other == thread:
                    bar.draw(self._make)

    def close(self) -> None:
        """No bar is left, whatever ended the work."""
        with self._lock:
            for bar in self._open.values():
                bar.close()
            self._open.clear()
