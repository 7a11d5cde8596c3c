"""Properties that are computed when they are first requested."""

import functools
from contextlib import nullcontext
from typing import Any, TypeVar

_T = TypeVar("_T")


class cached_property(functools.cached_property[_T]):
    """As in `functools`, but without the lock of all instances that it has up to Python 3.11."""

    lock: Any = property(lambda self: nullcontext(), lambda self, lock: None)
