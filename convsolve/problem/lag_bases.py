"""Bases on the lags: functions of the lag whose weighted sums are the kernels of a channel."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from typing import Any

import numpy as np

from ..facts import plain
from ..text import as_call, count, shown
from .checks import choice, integer, number
from .records import numeric

SPACINGS = ("log", "even")
# Seconds that the responses of `HRF` last.
HRF_SECONDS = 20.0
# The differences of delay, in seconds, and of dispersion whose quotients are the derivatives.
DELAY, DISPERSION = 0.1, 0.01


class LagBasis(ABC):
    """Functions of the lag, whose weighted sums are the kernels of a channel: the base class.

    Give a basis to `Problem` as ``basis=``. The unknowns are then the coefficients of the
    functions. A class of your own defines `functions`.

    Examples:
        >>> import convsolve as cs
        >>> cs.Tents((0, 2, 4)).functions(range(5))[:, 1]
        array([0. , 0.5, 1. , 0.5, 0. ])

    See Also:
        `RaisedCosines`, `BSplines`, `Tents`, `HRF`, `Fourier` and `Basis`.
    """

    def __post_init__(self) -> None:
        for f in fields(self):  # type: ignore[arg-type]
            check, *rules = f.metadata.get("check", (lambda value, name: value,))
            object.__setattr__(self, f.name, check(getattr(self, f.name), f.name, *rules))

    def __repr__(self) -> str:
        return as_call(self)

    @abstractmethod
    def functions(self, lags: Sequence[int] | np.ndarray, fs: float | None = None) -> np.ndarray:
        """Return the functions (lags, n) at ascending lags in samples.

        Args:
            lags: consecutive lags in samples, ascending.
            fs: sampling rate in Hz. None, the default, if there is none.
        """

    def to_dict(self) -> dict[str, Any]:
        """Return the name and the settings as JSON supports them; nothing without a name."""
        name = next((name for name, cls in BASES.items() if cls is type(self)), None)
        settings = fields(self) if name else ()  # type: ignore[arg-type]
        return {"name": name} | {f.name: plain(getattr(self, f.name)) for f in settings}


def by(check: Callable[..., Any], *rules: Any) -> dict[str, Any]:
    """Return metadata of a field that a function of value, name and rules checks and converts."""
    return {"check": (check, *rules)}


def _knots(value: Any, name: str) -> Any:
    """Return ascending lags as numbers, or the number of lags."""
    if np.ndim(value) == 0:
        return integer(value, name, 2)
    found = tuple(number(knot, name, -math.inf) for knot in value)
    if any(np.diff(found) <= 0) or len(found) < 2:
        raise ValueError(f"{name} must be ascending lags, got {shown(value)}")
    return found


def _derivatives(value: Any, name: str) -> tuple[str, ...]:
    several = value if isinstance(value, (list, tuple)) else [value] if value else ()
    return tuple(choice(one, name, ("time", "dispersion")) for one in several)


def _matrix(value: Any, name: str) -> np.ndarray:
    found = np.array(numeric(value, name), float)
    if found.ndim != 2 or not found.size:
        raise ValueError(f"{name} must be (lags, n), got shape {found.shape}")
    found.setflags(write=False)
    return found


def _places(lags: Any, owner: LagBasis) -> tuple[np.ndarray, np.ndarray]:
    """Return lags, and their places from 0 to 1; an error for a single lag."""
    given = np.asarray(lags, float)
    if len(given) < 2:
        raise ValueError(f"{owner!r} needs two lags or more, got {count(len(given), 'lag')}")
    return given, (given - given[0]) / (given[-1] - given[0])


@dataclass(frozen=True, repr=False)
class RaisedCosines(LagBasis):
    """Raised cosines, narrow at the first lags and wide at the last.

    With the lags scaled to u between 0 and 1, and v = log(stretch·u + 1)/log(stretch + 1), function
    i is ½(1 + cos(π(v − pᵢ)/(width·Δ))) around its peak pᵢ, and zero where the argument leaves
    [−π, π]. The peaks pᵢ are Δ apart, from 0 to 1 − width/(n + width − 1). With spacing "even",
    v = u and the peaks reach 1.

    Args:
        n: number of functions, at least 2.
        spacing: "log" (the default) or "even".
        stretch: the larger, the more functions are at the first lags, by default 50.
        width: half of the width of a function in distances of peaks, by default 2.

    The functions are those of NeMoS (``RaisedCosineLogConv`` and ``RaisedCosineLinearConv``). NeMoS
    uses strictly past samples, so its lags start at 1. A logarithmic basis becomes dependent if n
    is large: with 40 lags from about 9 functions, with 100 from about 17.

    Source: J. W. Pillow et al., Nature 454 (2008) 995.

    Examples:
        >>> import convsolve as cs
        >>> cs.RaisedCosines(5).functions(range(40)).shape
        (40, 5)

    See Also:
        `BSplines`, `Tents` and `Problem`.
    """

    n: int = field(metadata=by(integer, 2))
    spacing: str = field(metadata=by(choice, SPACINGS), default="log", kw_only=True)
    stretch: float = field(metadata=by(number), default=50.0, kw_only=True)
    width: float = field(metadata=by(number), default=2.0, kw_only=True)

    def functions(self, lags: Sequence[int] | np.ndarray, fs: float | None = None) -> np.ndarray:
        """Return the functions (lags, n) at ascending lags in samples."""
        (_, places), last = _places(lags, self), 1.0
        if self.spacing == "log":
            places = np.log1p(self.stretch * places) / math.log1p(self.stretch)
            last -= self.width / (self.n + self.width - 1)
        peaks = np.linspace(0, last, self.n)
        phase = math.pi * (places[:, None] - peaks) / (self.width * (peaks[1] - peaks[0]))
        return np.where(np.abs(phase) < math.pi, (1 + np.cos(phase)) / 2, 0.0)


@dataclass(frozen=True, repr=False)
class BSplines(LagBasis):
    """Clamped B-splines, whose sum is one at every lag.

    Args:
        n: number of functions, more than ``degree``.
        degree: degree of the polynomials, by default 3.

    The polynomials meet at evenly spaced lags. For other lags use `Basis` and
    `scipy.interpolate.BSpline`.

    They equal patsy's ``bs(lags, df=n, include_intercept=True)`` and the B-splines of NeMoS. A
    basis without the first and the last function would force the kernel to zero at the ends.

    Source: C. de Boor, A Practical Guide to Splines, Springer 1978.

    Examples:
        >>> import convsolve as cs
        >>> cs.BSplines(6).functions(range(40)).sum(1).round(12).max()
        np.float64(1.0)

    See Also:
        `RaisedCosines`, `Tents` and `Smooth`, a penalty.
    """

    n: int = field(metadata=by(integer))
    degree: int = field(metadata=by(integer, 0), default=3, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.n <= self.degree:
            raise ValueError(f"{self!r} needs more than degree={self.degree} functions")

    def functions(self, lags: Sequence[int] | np.ndarray, fs: float | None = None) -> np.ndarray:
        """Return the functions (lags, n) at ascending lags in samples."""
        from scipy.interpolate import BSpline

        given, _ = _places(lags, self)
        knots = np.linspace(given[0], given[-1], self.n - self.degree + 1)
        clamped = np.pad(knots, self.degree, mode="edge")
        return np.asarray(BSpline.design_matrix(given, clamped, self.degree).toarray())


@dataclass(frozen=True, repr=False)
class Tents(LagBasis):
    """Tents: kernels that are linear between some lags.

    Args:
        knots: the lags in samples at which the tents have their peaks, or the number of tents.
        spacing: "log" (the default) or "even", for a number of tents, which then reach from the
            first to the last lag.

    Kernels are zero before the first and after the last of these lags. They are AFNI's TENT
    functions.

    Examples:
        >>> import convsolve as cs
        >>> cs.Tents((0, 1, 2, 4)).functions(range(5))[3]
        array([0. , 0. , 0.5, 0.5])

    See Also:
        `BSplines` and `RaisedCosines`.
    """

    knots: Any = field(metadata=by(_knots))
    spacing: str = field(metadata=by(choice, SPACINGS), default="log", kw_only=True)

    def functions(self, lags: Sequence[int] | np.ndarray, fs: float | None = None) -> np.ndarray:
        """Return the functions (lags, n) at ascending lags in samples."""
        given, knots = np.asarray(lags, float), self.knots
        if isinstance(knots, int):
            given, _ = _places(lags, self)
            share = np.linspace(0, 1, knots)
            share = share if self.spacing == "even" else np.expm1(share * math.log1p(50)) / 50
            knots = given[0] + (given[-1] - given[0]) * share
        unit = np.eye(len(knots))
        return np.stack([np.interp(given, knots, one, 0.0, 0.0) for one in unit], axis=1)


@dataclass(frozen=True, repr=False)
class HRF(LagBasis):
    """The canonical haemodynamic response of fMRI, a difference of two gamma densities.

    Args:
        kind: "spm" (the default) or "glover", or a name of nilearn with derivatives: "spm +
            derivative", "glover + derivative", or "spm + derivative + dispersion".
        derivatives: further functions: "time", the difference quotient for a delay of 0.1 s, and
            "dispersion", the difference quotient for a dispersion of 0.01. By default none, or
            what the name states.

    The problem needs ``fs``, and lags from 0 or before to 20 s or more. Give events at a higher
    rate than the scans, with ``Problem(fs_y=)``. nilearn evaluates the functions at
    slightly different times: for its numbers use ``Basis(matrix)``. It also orthogonalizes the
    derivatives, which changes the coefficient of the canonical function but not the kernel.

    Source: K. J. Friston et al., NeuroImage 7 (1998) 30; G. H. Glover, NeuroImage 9 (1999) 416.

    Examples:
        >>> import convsolve as cs
        >>> response = cs.HRF("spm + derivative").functions(range(17), fs=0.5)
        >>> response.shape, int(response[:, 0].argmax())  # in samples of 2 s
        ((17, 2), 3)

    See Also:
        `Tents` and `interop.events`.
    """

    kind: str = field(metadata=by(choice, ("spm", "glover")), default="spm")
    derivatives: Any = field(metadata=by(_derivatives), default=(), kw_only=True)

    def __post_init__(self) -> None:
        if isinstance(self.kind, str):
            kind, *words = self.kind.lower().replace("+", " ").split() or [""]
            named = ["time" if word == "derivative" else word for word in words]
            object.__setattr__(self, "kind", kind)
            more = _derivatives(self.derivatives, "derivatives")
            object.__setattr__(self, "derivatives", (*named, *more))
        super().__post_init__()

    def functions(self, lags: Sequence[int] | np.ndarray, fs: float | None = None) -> np.ndarray:
        """Return the functions (lags, n) at ascending lags in samples, for a rate ``fs`` in Hz."""
        if fs is None:
            raise ValueError("HRF needs a sampling rate: give fs=, which is 1 / tr")
        seconds = np.asarray(lags, float) / fs
        if seconds[0] > 0 or seconds[-1] < HRF_SECONDS:
            got = f"{seconds[0]:g} to {seconds[-1]:g} s"
            raise ValueError(f"HRF needs lags from 0 to {HRF_SECONDS:g} s or more, got {got}")
        own = self._response(seconds)
        steps = {"time": (DELAY, 0.0), "dispersion": (0.0, DISPERSION)}
        moved = [steps[name] for name in self.derivatives]
        found = [(own - self._response(seconds, *step)) / max(step) for step in moved]
        return np.stack([own, *found], axis=1)

    def _response(self, seconds: np.ndarray, delay: float = 0.0, wider: float = 0.0) -> np.ndarray:
        """Return the response, whose sum is one, after a delay or with a wider peak."""
        from scipy.stats import gamma

        spm, glover = (6.0, 16.0, 1.0, 0.167), (6.0, 12.0, 0.9, 0.48)
        peak, undershoot, width, ratio = spm if self.kind == "spm" else glover
        own, t = width + wider, seconds - delay
        found = gamma.pdf(t, peak / own, scale=own)
        found = found - ratio * gamma.pdf(t, undershoot / width, scale=width)
        return np.asarray(found / found.sum())


@dataclass(frozen=True, repr=False)
class Fourier(LagBasis):
    """A constant, and the cosines and sines of the first n harmonics of the window.

    The functions are 1, cos(2πjk/K) and sin(2πjk/K) for j up to n, at lag k of K.

    Args:
        n: number of harmonics, at most half of the lags.

    Examples:
        >>> import convsolve as cs
        >>> cs.Fourier(2).functions(range(8)).shape
        (8, 5)

    See Also:
        `BSplines`, which are local.
    """

    n: int = field(metadata=by(integer))

    def functions(self, lags: Sequence[int] | np.ndarray, fs: float | None = None) -> np.ndarray:
        """Return the functions (lags, 2n + 1) at ascending lags in samples."""
        size = len(np.asarray(lags))
        phase = 2 * math.pi * np.outer(np.arange(size), np.arange(1, self.n + 1)) / size
        pairs = np.stack([np.cos(phase), np.sin(phase)], axis=2).reshape(size, -1)
        return np.hstack([np.ones((size, 1)), pairs])


@dataclass(frozen=True, eq=False, repr=False)
class Basis(LagBasis):
    """Functions of the lag that are given as a matrix.

    Args:
        matrix: (lags, n), a row for every lag of the channel in ascending order.

    Examples:
        >>> import numpy as np
        >>> import convsolve as cs
        >>> two = cs.Basis(np.vander(np.linspace(0, 1, 5), 2))  # kernels that are linear
        >>> two.functions(range(5)).shape
        (5, 2)

    See Also:
        `RaisedCosines`, `BSplines`, `Tents`, `HRF` and `Fourier`.
    """

    matrix: Any = field(metadata=by(_matrix))

    def __repr__(self) -> str:
        return "Basis(matrix of {} × {})".format(*self.matrix.shape)

    def functions(self, lags: Sequence[int] | np.ndarray, fs: float | None = None) -> np.ndarray:
        """Return the matrix, which needs a row for every lag."""
        return np.asarray(self.matrix)


# Bases by name.
BASES: dict[str, Callable[..., LagBasis]] = {
    "raised_cosines": RaisedCosines,
    "bsplines": BSplines,
    "tents": Tents,
    "hrf": HRF,
    "glover": partial(HRF, "glover"),
    "fourier": Fourier,
    "basis": Basis,
}
