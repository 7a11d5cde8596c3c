"""Bars on stderr that show how far long work has come.

They need tqdm: ``pip install 'convsolve[cli]'``.
"""

from __future__ import annotations

import threading
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
        self._open: dict[tuple[int, str], Any] = {}

    def __call__(self, stage: str, done: int, total: int, note: str) -> None:
        """Draw that so much is done, and whatever else has lasted long enough by now."""
        key = threading.get_ident(), stage
        with self._lock:
            if done >= total:
                if key in self._open:
                    self._open.pop(key).close()
                return
            if key not in self._open:
                self._open[key] = self._make(
                    desc=stage, total=total, delay=SHOWN_SECONDS, leave=False, bar_format=FORMAT,
                    dynamic_ncols=True,
                )  # fmt: skip
            self._open[key].set_postfix_str(note, refresh=False)
            self._open[key].update(done - self._open[key].n)
            for (thread, _), bar in self._open.items():
                if thread == key[0]:
                    bar.update(0)

    def close(self) -> None:
        """No bar is left, whatever ended the work."""
        with self._lock:
            for bar in self._open.values():
                bar.close()
            self._open.clear()
