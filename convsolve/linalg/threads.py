"""BLAS on one thread, where several would stand in the way of the FFTs beside them."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cache, wraps
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from ..interrupts import heard, uninterrupted


class _Sized(Protocol):
    @property
    def blas_columns(self) -> int: ...


_S = TypeVar("_S", bound=_Sized)
_P = ParamSpec("_P")
_T = TypeVar("_T")

# A Cholesky of more columns than this, and solves with it, keep several threads of BLAS busy. A QR
# and an SVD do not: with a thread for each core, at 2 000 columns, they are 1.6 times as fast on a
# quiet machine, and beside other work 4 and 25 times as slow, since all wait for each other at
# every column.
FEW_COLUMNS = 1500

_lock = threading.Lock()
_inside: list[int] = []  # the thread of each who is within
_before: list[int] = []  # how many threads each BLAS had when the first of them came


@cache
def _blas() -> tuple[Any, ...]:
    # Loaded first: what is not there yet cannot be told to use one thread.
    import scipy.linalg.blas  # noqa: F401
    from threadpoolctl import ThreadpoolController

    return tuple(ThreadpoolController().select(user_api="blas").lib_controllers)


def _set_threads(library: Any, threads: int) -> None:
    """From threadpoolctl 3.8 on whoever sets a number first keeps others from it, without a word,
    until that is cleared.
    """
    clear = getattr(library, "clear_controlling_thread", lambda force: None)
    clear(force=True)
    library.set_num_threads(threads)
    clear(force=True)


def _limit() -> None:
    _before[:] = [library.get_num_threads() for library in _blas()]
    for library in _blas():
        _set_threads(library, 1)


def _restore() -> None:
    for library, threads in zip(_blas(), _before, strict=True):
        _set_threads(library, threads)


class one_blas_thread:
    """Within it BLAS uses one thread, in the whole process; afterwards as many as before.

    For work that runs on all cores already, and for factors of few columns. After every call the
    other threads of BLAS wait for the next one by spinning, which takes their cores from FFTs:
    measured on two cores, fits of hundreds of columns take 2 to 10 times as long.
    """

    def __init__(self) -> None:
        self._ctrl_c = heard()

    @uninterrupted
    def __enter__(self) -> None:
        self._nested = threading.get_ident() in _inside
        if self._nested:
            return
        self._ctrl_c.__enter__()
        with _lock:
            if not _inside:
                _limit()
            _inside.append(threading.get_ident())

    @uninterrupted
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._nested:
            return
        with _lock:
            # Who leaves last restores, whoever came first.
            _inside.remove(threading.get_ident())
            if not _inside:
                _restore()
        self._ctrl_c.__exit__(kind, error, trace)


def _stay_alone() -> None:
    """In a forked child only the thread that forked goes on; the others cannot leave the block."""
    here = threading.get_ident()
    if _inside and here not in _inside:
        _restore()
    _inside[:] = [thread for thread in _inside if thread == here]
    _lock.release()


if hasattr(os, "register_at_fork"):
    # Nobody forks while another thread holds the lock.
    os.register_at_fork(
        before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_stay_alone
    )


def blas_threads(columns: int) -> AbstractContextManager[None]:
    """`one_blas_thread` for factors of few columns, as many as BLAS likes for larger ones."""
    return nullcontext() if columns > FEW_COLUMNS else one_blas_thread()


def on_blas_threads(method: Callable[Concatenate[_S, _P], _T]) -> Callable[Concatenate[_S, _P], _T]:
    """Run a method on `blas_threads` for the ``blas_columns`` of its object.

    Who asks first, from within a solve or from without, must not show in the last digits.
    """

    @wraps(method)
    def limited(owner: _S, /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        with blas_threads(owner.blas_columns):
            return method(owner, *args, **kwargs)

    return limited
