"""BLAS on one thread, where several would stand in the way of the FFTs beside them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache, wraps
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar


class _Sized(Protocol):
    @property
    def blas_columns(self) -> int: ...


_S = TypeVar("_S", bound=_Sized)
_P = ParamSpec("_P")
_T = TypeVar("_T")

# More columns than this keep several threads of BLAS busy.
FEW_COLUMNS = 1500

_lock = threading.Lock()
_inside: list[Any] = []  # who is within, and the first of them, who knows what was before


@cache
def _blas() -> Any:
    # Loaded first: what is not there yet cannot be told to use one thread.
    import scipy.linalg.blas  # noqa: F401
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas")


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Within it BLAS uses one thread, in the whole process; afterwards as many as before.

    For work that runs on all cores already, and for factors of few columns. After every call the
    other threads of BLAS wait for the next one by spinning, which takes their cores from FFTs:
    measured on two cores, fits of hundreds of columns take 2 to 10 times as long.
    """
    with _lock:
        limiter = None if _inside else _blas().limit(limits=1)
        _inside.append(limiter)
    try:
        yield
    finally:
        with _lock:
            # Who leaves last restores, whoever came first.
            first = _inside[0]
            _inside.pop()
            if not _inside:
                first.restore_original_limits()


def blas_threads(columns: int) -> AbstractContextManager[None]:
    """`one_blas_thread` for factors of few columns, as many as BLAS likes for larger ones."""
    return one_blas_thread() if columns <= FEW_COLUMNS else nullcontext()


def on_blas_threads(method: Callable[Concatenate[_S, _P], _T]) -> Callable[Concatenate[_S, _P], _T]:
    """Run a method on `blas_threads` for the ``blas_columns`` of its object.

    Who asks first, from within a solve or from without, must not show in the last digits.
    """

    @wraps(method)
    def limited(owner: _S, /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        with blas_threads(owner.blas_columns):
            return method(owner, *args, **kwargs)

    return limited
