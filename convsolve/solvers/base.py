"""What every solver is: the contract, what it hands back, and the check of a ridge."""

from __future__ import annotations

import math
import signal
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar

import jax
import numpy as np

from ..certificate import Certificate
from ..prepared import Prepared
from ..problem import Problem
from ..spec import ConvSpec

Progress = Callable[[int, int, float], None]


@dataclass(frozen=True)
class Trace:
    """The course of an iteration: loss at ``steps``, and the kernel at some of them.

    ``losses`` is (n,) at ``steps`` (n,); ``kernels`` maps a step to the kernel there. Its text has
    one
    line per kernel kept: step, kernel, loss.
    """

    steps: np.ndarray
    losses: np.ndarray
    kernels: dict[int, np.ndarray]

    def __repr__(self) -> str:
        losses = dict(zip(self.steps.tolist(), self.losses.tolist(), strict=True))
        return "\n".join(
            f"{step:4d} {np.array2string(np.squeeze(kernel))}   loss {losses[step]:.8g}"
            for step, kernel in self.kernels.items()
        )


@dataclass(frozen=True)
class Raw:
    """What a solver hands to the door: plain numbers, in the user's units.

    ``status`` None leaves the word to the certificate; ``kernel`` is ``(*K, Cin/groups, Cout)``.
    """

    kernel: np.ndarray
    bias: np.ndarray
    status: str | None = None
    stats: dict[str, Any] = field(default_factory=dict)
    trace: Trace | None = None
    certificate: Certificate | None = None


class Solver(ABC):
    """The contract of a solver: ``supports``, ``run`` and, where it can, ``traced``.

    Solvers are frozen dataclasses and pytrees, so that a ridge can be traced and two runs of one
    solver compile once. They never pack, warn or print: the doors do.
    """

    #: What the answer is where many fit equally well.
    answer: ClassVar[str] = "the answer of minimum norm"
    ridge: Any = 0.0

    @property
    def name(self) -> str:
        """The solver and its settings, as a table shows it."""
        return type(self).__name__

    @property
    def least_squares(self) -> bool:
        """Whether the answer minimises squares, so that it can be certified as such."""
        return True

    def supports(self, problem: Problem) -> str | None:
        """None, or why this solver cannot solve ``problem``."""
        return None

    @abstractmethod
    def run(self, prepared: Prepared, progress: Progress | None = None) -> Raw:
        """Solve on the host; may call jitted kernels and may escalate."""

    def traced(self, x: Any, y: Any, spec: ConvSpec, bias: bool) -> tuple[Any, Any]:
        """Kernel and bias from x (N, *W, Cin) and y (N, *T, Cout), under jit."""
        raise TypeError(f"{self.name} runs on the host only; inside jit use NormalEquations")


def plain(value: Any) -> bool:
    """Whether ``value`` is a number of the host, not a tracer or a placeholder of a pytree."""
    return isinstance(value, (bool, int, float, np.generic))


def judge_ridge(ridge: Any) -> Any:
    """A plain ridge as a float, judged; anything traced as it is."""
    if isinstance(ridge, (bool, np.bool_, str)):
        raise TypeError(f"ridge must be a number, got {ridge!r}")
    if not plain(ridge):
        return ridge
    if not (math.isfinite(ridge) and ridge >= 0):
        raise ValueError(f"ridge must be finite and not negative, got {ridge!r}")
    return float(ridge)


def host_ridge(solver: Solver) -> float:
    """The ridge of a solver as the float that host code needs."""
    if isinstance(solver.ridge, jax.core.Tracer):
        raise TypeError("a traced ridge belongs in fit_kernel, not in solve")
    if np.ndim(solver.ridge) or not (plain(solver.ridge) or hasattr(solver.ridge, "dtype")):
        raise TypeError(f"ridge must be a number, got {solver.ridge!r}")
    return float(judge_ridge(float(solver.ridge)))


@contextmanager
def interruptible() -> Iterator[list[bool]]:
    """The first Ctrl-C sets the flag, a second one raises; other handlers are left alone."""
    flag = [False]
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield flag
        return

    def note(number: int, frame: Any) -> None:
        if flag[0]:
            raise KeyboardInterrupt
        flag[0] = True

    signal.signal(signal.SIGINT, note)
    try:
        yield flag
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
