"""jax, imported no sooner than something needs it.

Least squares on NumPy arrays needs none of it. What such code asks of its arrays is answered by
`sys.modules`: no array of jax, and no tracer, exists before jax has been imported.
"""

from __future__ import annotations

import itertools
import sys
import threading
from collections.abc import Callable
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import numpy as np

from .interrupts import sigint_handled, uninterrupted

# How long to wait for the other processes of jax.distributed.
PEER_SECONDS = 300
_meetings = itertools.count()


def is_jax_array(value: Any) -> bool:
    """Whether ``value`` is an array of jax; tracers are such."""
    return isinstance(value, getattr(sys.modules.get("jax"), "Array", ()))


def is_tracer(value: Any) -> bool:
    """Whether ``value`` is known only inside jit, vmap or grad."""
    return isinstance(value, getattr(sys.modules.get("jax.core"), "Tracer", ()))


def default_float() -> np.dtype[Any]:
    """Return the type that Python's floats have in jax."""
    import jax.numpy as jnp

    return np.dtype(jnp.result_type(float))


def as_jax(arrays: Any) -> Any:
    """NumPy arrays, one or a list of them, as arrays of jax in their own precision."""
    import jax

    with jax.enable_x64(True):
        return jax.tree.map(jax.numpy.asarray, arrays)


def meet(purpose: str, seconds: float = PEER_SECONDS) -> None:
    """Wait until all processes of jax.distributed have called this for one ``purpose``.

    Call it before a joint computation, in which a process would wait without limit for a process
    that has ended.

    Raises:
        TimeoutError: one has not come within so many ``seconds``.
        JaxRuntimeError: The processes cannot be joined for another reason, which jax describes.
    """
    from jax._src.distributed import global_state  # jax names no barrier that gives up

    if global_state.client is None:
        return
    try:
        global_state.client.wait_at_barrier(
            f"convsolve {next(_meetings)} {purpose}", int(1000 * seconds)
        )
    except RuntimeError as error:
        if "DEADLINE_EXCEEDED" not in str(error):
            raise
        raise TimeoutError(
            f"not all of the {global_state.num_processes} processes of jax.distributed came within "
            f"{seconds:g} s to what they compute together ({purpose}): one has stopped, hangs, or "
            "was not asked to solve the same problem"
        ) from error


@uninterrupted
def import_whole(name: str) -> None:
    """Import jax, or a package that imports jax.

    Ctrl-C is delayed until the end, because an interrupted import of jax may make every later one
    fail in the same process.
    """
    with sigint_handled():
        import_module(name)


def when_imported(action: Callable[[], None]) -> None:
    """Run ``action`` once jax has been imported, by whomever: now, or at the end of that import."""
    _watch.actions.append(action)
    if _watch not in sys.meta_path:
        sys.meta_path.insert(0, _watch)
    if "jax" in sys.modules:
        import_module("jax")  # which waits where another thread is at it
        _watch.act()


class _Watch(MetaPathFinder):
    """Leaves it to the other finders to find jax, and acts once it has been imported."""

    def __init__(self) -> None:
        self.actions: list[Callable[[], None]] = []
        self._lock = threading.RLock()

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """Return the spec of the other finders, with a loader that acts afterwards."""
        if name != "jax":
            return None
        others = (f.find_spec(name, path, target) for f in sys.meta_path if f is not self)
        spec = next((found for found in others if found is not None), None)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def then_act(module: ModuleType) -> None:
                execute(module)
                self.act()

            # An attribute of this loader, which Python makes for one import.
            spec.loader.exec_module = then_act  # type: ignore[method-assign]
        return spec

    def act(self) -> None:
        """Run and forget what waits for jax, and watch no longer."""
        with self._lock:
            while self.actions:
                self.actions.pop(0)()
            if self in sys.meta_path:
                sys.meta_path.remove(self)


_watch = _Watch()
