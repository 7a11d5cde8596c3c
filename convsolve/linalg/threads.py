"""Limiting BLAS to one thread where its other threads would slow down concurrent FFTs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import cache, partial, wraps
from typing import Any, TypeVar

_F = TypeVar("_F", bound=Callable[..., Any])

# A Cholesky factorization of more columns than this keeps several threads of BLAS busy, and so do
# solves with it. QR and SVD do not, because all threads wait for each other at every column. With
# 2 000 columns and one thread per core they are 1.6 times as fast on an idle machine, but 4 and
# 25 times as slow on a busy one.
FEW_COLUMNS = 1500

_lock = threading.Lock()
_inside = 0  # number of blocks that have been entered and not left
_before: list[int] = []  # number of threads of each BLAS before the first block


@cache
def _blas() -> tuple[Any, ...]:
    # Load SciPy's BLAS first: a library that is not loaded yet cannot be limited.
    import scipy.linalg.blas  # noqa: F401
    from threadpoolctl import ThreadpoolController

    return tuple(ThreadpoolController().select(user_api="blas").lib_controllers)


def _set_threads(numbers: Sequence[int]) -> None:
    """Set the number of threads of each BLAS from any thread.

    Since threadpoolctl 3.8 the first thread that sets a number silently prevents all others from
    doing so, until this record is cleared.
    """
    for library, number in zip(_blas(), numbers, strict=True):
        clear = getattr(library, "clear_controlling_thread", lambda force: None)
        clear(force=True)
        library.set_num_threads(number)
        clear(force=True)


class blas_threads:
    """Limit BLAS to one thread in the whole process, unless there are many columns.

    After every call the other threads of BLAS wait for the next one by spinning, which takes cores
    from the FFTs: on two cores, fits of hundreds of columns take 2 to 10 times as long.

    The last thread to leave restores the previous numbers of threads.
    """

    def __init__(self, columns: int) -> None:
        self._limits = columns <= FEW_COLUMNS

    def __enter__(self) -> None:
        self._count(1)

    def __exit__(self, *_: object) -> None:
        self._count(-1)

    def _count(self, more: int) -> None:
        """Add to the number of blocks, of which the first sets and the last restores threads."""
        global _inside
        if not self._limits:
            return
        with _lock:
            if more > 0 and not _inside:
                _before[:] = [library.get_num_threads() for library in _blas()]
                _set_threads([1] * len(_before))
            _inside += more
            if not _inside:
                _set_threads(_before)


# For work that already runs on all cores.
one_blas_thread = partial(blas_threads, 0)


def on_blas_threads(method: _F) -> _F:
    """Run a method on `blas_threads` for the ``_blas_columns`` of its object.

    The last digits of a result then do not depend on which caller computes it first.
    """

    @wraps(method)
    def limited(owner: Any, *args: Any, **kwargs: Any) -> Any:
        with blas_threads(owner._blas_columns):
            return method(owner, *args, **kwargs)

    return limited  # type: ignore[return-value]
