"""Limiting BLAS to one thread where its other threads would slow down concurrent FFTs."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cache, wraps
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from ..interrupts import sigint_handled


class _Sized(Protocol):
    @property
    def _blas_columns(self) -> int: ...


_S = TypeVar("_S", bound=_Sized)
_P = ParamSpec("_P")
_T = TypeVar("_T")

# A Cholesky factorization of more columns than this keeps several threads of BLAS busy, and so do
# solves with it. QR and SVD do not, because all threads wait for each other at every column. With
# 2 000 columns and one thread per core they are 1.6 times as fast on an idle machine, but 4 and
# 25 times as slow on a busy one.
FEW_COLUMNS = 1500

_lock = threading.Lock()
_inside: dict[int, one_blas_thread] = {}  # the outermost block of each thread
_before: list[int] = []  # the number of threads of each BLAS before the first block


@cache
def _blas() -> tuple[Any, ...]:
    # Load SciPy's BLAS first: a library that is not loaded yet cannot be limited.
    import scipy.linalg.blas  # noqa: F401
    from threadpoolctl import ThreadpoolController

    return tuple(ThreadpoolController().select(user_api="blas").lib_controllers)


def _set_threads(library: Any, threads: int) -> None:
    """Set the number of threads of a BLAS from any thread.

    Since threadpoolctl 3.8 the first thread that sets a number silently prevents all others from
    doing so, until this record is cleared.
    """
    clear = getattr(library, "clear_controlling_thread", lambda force: None)
    clear(force=True)
    library.set_num_threads(threads)
    clear(force=True)


def _restore() -> None:
    for library, threads in zip(_blas(), _before, strict=True):
        _set_threads(library, threads)


def _remove(thread: int) -> None:
    """Remove the block of a thread and, if it is the last one, restore BLAS first.

    In this order an interrupted removal can be repeated.
    """
    if _inside.keys() <= {thread}:
        _restore()
    _inside.pop(thread, None)


def _is_limited() -> bool:
    """Return whether this thread is in a block that limits BLAS."""
    block = _inside.get(threading.get_ident())
    return block is not None and not block.abandoned


class one_blas_thread(sigint_handled):
    """Context manager that limits BLAS to one thread in the whole process.

    Use it for work that already runs on all cores, and for factors of few columns. After every
    call the other threads of BLAS wait for the next one by spinning, which takes cores from the
    FFTs: on two cores, fits of hundreds of columns take 2 to 10 times as long.

    The last thread to leave restores the previous numbers of threads. An asynchronous exception at
    any point of the block, or of its entry and exit, restores them too.
    """

    def _enter(self) -> None:
        here = threading.get_ident()
        if _is_limited():
            return
        super()._enter()
        libraries = _blas()
        with _lock:
            for thread in [thread for thread, block in _inside.items() if block.abandoned]:
                _remove(thread)
            if not _inside:
                _before[:] = [library.get_num_threads() for library in libraries]
            _inside[here] = self
            for library in libraries:
                _set_threads(library, 1)

    def _leave(self, error: BaseException | None) -> None:
        here = threading.get_ident()
        if _inside.get(here) is self:
            with _lock:
                _remove(here)
        super()._leave(error)


def _stay_alone() -> None:
    """Keep the calling thread only: no other thread exists in a forked child process."""
    here = threading.get_ident()
    if _inside and here not in _inside:
        _restore()
    for thread in _inside.keys() - {here}:
        del _inside[thread]
    _lock.release()


if hasattr(os, "register_at_fork"):
    # A fork waits until no other thread holds the lock.
    os.register_at_fork(
        before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_stay_alone
    )


def blas_threads(columns: int) -> AbstractContextManager[object]:
    """Return `one_blas_thread` for factors of few columns, and no limit for larger ones."""
    return nullcontext() if columns > FEW_COLUMNS else one_blas_thread()


def on_blas_threads(method: Callable[Concatenate[_S, _P], _T]) -> Callable[Concatenate[_S, _P], _T]:
    """Run a method on `blas_threads` for the ``_blas_columns`` of its object.

    The last digits of a result then do not depend on which caller computes it first.
    """

    @wraps(method)
    def limited(owner: _S, /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        if _is_limited():  # another block would change nothing, and take as long as a small solve
            return method(owner, *args, **kwargs)
        with blas_threads(owner._blas_columns):
            return method(owner, *args, **kwargs)

    return limited
