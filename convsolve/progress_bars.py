"""Progress bars on stderr, and the argument ``progress=`` of functions that can take long.

Bars need tqdm: ``pip install 'convsolve[cli]'``.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np

from .progress import Listener, estimated, listening
from .text import shown

# What takes less has no bar.
SHOWN_SECONDS = 0.5
FORMAT = "{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]"


def following(progress: bool | Listener, task: str) -> AbstractContextManager[object]:
    """Return a block that reports the progress of a task as an argument ``progress`` requests.

    Args:
        progress: True for bars, a callable ``(stage, done, total, note)``, or False. False keeps a
            listener of the caller.
        task: name of the function, for the log.

    Raises:
        TypeError: If ``progress`` is of another kind.
        ImportError: If bars are requested and tqdm is not installed.
    """
    check_progress(progress)
    if callable(progress):
        return listening(progress)
    return bars() if progress else estimated(task)


def check_progress(progress: Any) -> None:
    """Raise a TypeError unless an argument ``progress`` is a bool or a suitable callable."""
    if not (isinstance(progress, (bool, np.bool_)) or callable(progress)):
        raise TypeError(
            "progress must be True, False or a callable(stage, done, total, note), got "
            f"{shown(progress)}"
        )


@contextmanager
def bars() -> Iterator[None]:
    """Show a bar for every stage of more than half a second in the work of this thread.

    Stages within a stage have bars below it. A bar is removed when its stage is done.

    Raises:
        ImportError: If tqdm is not installed.

    Examples:
        >>> import convsolve as cs
        >>> from convsolve.progress_bars import bars
        >>> fit = cs.solve(cs.Problem([0, 3, 4, 5], [6, 11, 14], kernel_size=2))
        >>> with bars():
        ...     prediction = fit.predict()
    """
    drawn = _Bars()
    try:
        with listening(drawn):
            yield
    finally:
        drawn.close()


class _Bars:
    """A listener that draws; threads that share it have bars of their own."""

    def __init__(self) -> None:
        try:
            from tqdm import tqdm
        except ImportError as error:
            raise ImportError(
                "progress bars are drawn by tqdm: pip install 'convsolve[cli]'"
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
