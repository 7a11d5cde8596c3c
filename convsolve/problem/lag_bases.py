"""Bases on the lags: functions of the lag whose weighted sums are the kernels of a channel."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, fields
from typing import Any, ClassVar

import numpy as np

from ..text import as_call, count, plain, shown
from .checks import choice, integer, number

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

    name: ClassVar[str] = ""

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
        """Return the name and the settings as JSON supports them."""
        settings = {f.name: plain(getattr(self, f.name)) for f in fields(self)}  # type: ignore[arg-type]
        return {"name": self.name, **settings}


def _lags(knots: Any) -> tuple[float, ...]:
    """Return lags as numbers, whole ones as integers."""
    several = knots if np.ndim(knots) else (knots,)
    found = (number(knot, "knots", -math.inf) for knot in several)
    return tuple(int(knot) if knot.is_integer() else knot for knot in found)


def _ends(lags: Any, owner: LagBasis) -> tuple[np.ndarray, np.ndarray]:
    """Return lags, and their places from 0 to 1; an error for a single lag."""
    given = np.asarray(lags, float)
    if len(given) < 2:
        raise ValueError(f"{owner!r} needs two lags or more, got {count(len(given), 'lag')}")
    return given, (given - given[0]) / (given[-1] - given[0])


def _warped(places: np.ndarray, spacing: str, stretch: float) -> np.ndarray:
    """Return places from 0 to 1 on a logarithmic scale, or unchanged."""
    return places if spacing == "even" else np.log1p(stretch * places) / math.log1p(stretch)


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

    name = "raised_cosines"

    n: int
    _: KW_ONLY
    spacing: str = "log"
    stretch: float = 50.0
    width: float = 2.0

    def __post_init__(self) -> None:
        integer(self.n, "n", 2)
        choice(self.spacing, "spacing", SPACINGS)
        number(self.stretch, "stretch")
        number(self.width, "width")

    def functions(self, lags: Sequence[int] | np.ndarray, fs: float | None = None) -> np.ndarray:
        """Return the functions (lags, n) at ascending lags in samples."""
        _, places = _ends(lags, self)
        last = 1.0 if self.spacing == "even" else 1 - self.width / (self.n + self.width - 1)
        peaks = np.linspace(0, last, self.n)
        off = _warped(places, self.spacing, self.stretch)[:, None] - peaks
        phase = np.clip(math.pi * off / (self.width * (peaks[1] - peaks[0])), -math.pi, math.pi)
        found = (1 + np.cos(phase)) / 2
        return np.asarray(np.where(np.abs(phase) == math.pi, 0.0, found))


@dataclass(frozen=True, repr=False)
class BSplines(LagBasis):
    """Clamped B-splines, whose sum is one at every lag.

    Args:
        n: number of functions, more than ``degree``.
        degree: degree of the polynomials, by default 3.
        knots: lags in samples between the ends at which polynomials meet, n − degree − 1 of them.
            None, the default, spaces them evenly.

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

    name = "bsplines"

    n: int
    _: KW_ONLY
    degree: int = 3
    knots: Any = None

    def __post_init__(self) -> None:
        integer(self.degree, "degree", 0)
        if integer(self.n, "n") <= self.degree:
            raise ValueError(
                f"BSplines of degree {self.degree} need at least {self.degree + 1} functions, got "
                f"n={self.n}"
            )
        if self.knots is None:
            return
        knots = _lags(self.knots)
        if len(knots) != self.n - self.degree - 1 or any(np.diff(knots) < 0):
            raise ValueError(
                f"knots must be {self.n - self.degree - 1} ascending lags for n={self.n} and "
                f"degree={self.degree}, got {shown(self.knots)}"
            )
        object.__setattr__(self, "knots", knots)

    def functions(self, lags: Sequence[int] | np.ndarray, fs: float | None = None) -> np.ndarray:
        """Return the functions (lags, n) at ascending lags in samples."""
        from scipy.interpolate import BSpline

        given, _ = _ends(lags, self)
        ends = given[[0, -1]]
        knots = np.linspace(ends[0], ends[1], self.n - self.degree + 1)
        if self.knots is not None:
            inner = np.array(self.knots, float)
            if inner.size and not (ends[0] < inner[0] and inner[-1] < ends[1]):
                raise ValueError(f"knots must lie between the lags {ends[0]:g} and {ends[1]:g}")
            knots = np.concatenate([ends[:1], inner, ends[1:]])
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

    name = "tents"

    knots: Any
    _: KW_ONLY
    spacing: str = "log"

    def __post_init__(self) -> None:
        choice(self.spacing, "spacing", SPACINGS)
        if np.ndim(self.knots) == 0:
            integer(self.knots, "knots", 2)
            return
        knots = _lags(self.knots)
        if len(knots) < 2 or any(np.diff(knots) <= 0):
            raise ValueError(f"knots must be two ascending lags or more, got {shown(self.knots)}")
        object.__setattr__(self, "knots", knots)

    def functions(self, lags: Sequence[int] | np.ndarray, fs: float | None = None) -> np.ndarray:
        """Return the functions (lags, n) at ascending lags in samples."""
        given = np.asarray(lags, float)
        knots = self.knots
        if not isinstance(knots, tuple):
            given, _ = _ends(lags, self)
            share = np.linspace(0, 1, int(knots))
            share = share if self.spacing == "even" else np.expm1(share * math.log1p(50)) / 50
            knots = given[0] + (given[-1] - given[0]) * share
        unit = np.eye(len(knots))
        each = [np.interp(given, knots, one, left=0.0, right=0.0) for one in unit]
        return np.stack(each, axis=1)


@dataclass(frozen=True, repr=False)
class HRF(LagBasis):
    """The canonical haemodynamic response of fMRI, a difference of two gamma densities.

    Args:
        kind: "spm" (the default) or "glover".
        derivatives: further functions: "time", the difference quotient for a delay of 0.1 s, and
            "dispersion", the difference quotient for a dispersion of 0.01. By default none.

    The problem needs ``fs``, and lags from 0 or before to 20 s or more. With events at a high rate
    and ``kernel_size``, the stride is nilearn's oversampling. nilearn evaluates the functions at
    slightly different times: for its numbers use ``Basis(matrix)``. It also orthogonalizes the
    derivatives, which changes the coefficient of the canonical function but not the kernel.

    Source: K. J. Friston et al., NeuroImage 7 (1998) 30; G. H. Glover, NeuroImage 9 (1999) 416.

    Examples:
        >>> import convsolve as cs
        >>> response = cs.HRF("spm", derivatives=("time",)).functions(range(17), fs=0.5)
        >>> response.shape, int(response[:, 0].argmax())  # in samples of 2 s
        ((17, 2), 3)

    See Also:
        `Tents` and `interop.events`.
    """

    name = "hrf"

    kind: str = "spm"
    _: KW_ONLY
    derivatives: Any = ()

    def __post_init__(self) -> None:
        choice(self.kind, "kind", ("spm", "glover"))
        given = () if self.derivatives is None else self.derivatives
        given = (given,) if isinstance(given, str) else given
        if not isinstance(given, (tuple, list)):
            raise TypeError(
                f'derivatives must be "time", "dispersion", or a tuple of both, got {shown(given)}'
            )
        given = tuple(given)
        for one in given:
            choice(one, "derivatives", ("time", "dispersion"))
        object.__setattr__(self, "derivatives", given)

    def functions(self, lags: Sequence[int] | np.ndarray, fs: float | None = None) -> np.ndarray:
        """Return the functions (lags, n) at ascending lags in samples, for a rate ``fs`` in Hz."""
        if fs is None:
            raise ValueError("HRF needs a sampling rate: give fs=, which is 1 / tr")
        seconds = np.asarray(lags, float) / fs
        if seconds[0] > 0 or seconds[-1] < HRF_SECONDS:
            raise ValueError(
                f"HRF needs lags from 0 to {HRF_SECONDS:g} s or more, got {seconds[0]:g} to "
                f"{seconds[-1]:g} s"
            )
        found = [own := self._response(seconds)]
        for derivative in self.derivatives:
            if derivative == "time":
                found.append((own - self._response(seconds, delay=DELAY)) / DELAY)
            else:
                found.append((own - self._response(seconds, wider=DISPERSION)) / DISPERSION)
        return np.stack(found, axis=1)

    def _response(self, seconds: np.ndarray, delay: float = 0.0, wider: float = 0.0) -> np.ndarray:
        """Return the response, whose sum is one, after a delay or with a wider peak."""
        from scipy.stats import gamma

        peak, undershoot, width, ratio = {
            "spm": (6.0, 16.0, 1.0, 0.167),
            "glover": (6.0, 12.0, 0.9, 0.48),
        }[self.kind]
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

    name = "fourier"

    n: int

    def __post_init__(self) -> None:
        integer(self.n, "n")

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

    name = "basis"

    matrix: Any

    def __post_init__(self) -> None:
        try:
            found = np.array(self.matrix)
        except ValueError:
            raise TypeError(f"matrix must be (lags, n), got {shown(self.matrix)}") from None
        if found.dtype.kind not in "biuf":
            raise TypeError(f"matrix must hold real numbers, got {shown(self.matrix)}")
        if found.ndim != 2 or not found.size:
            raise ValueError(f"matrix must be (lags, n), got shape {found.shape}")
        if not np.isfinite(found).all():
            raise ValueError("matrix must be finite")
        found = found.astype(float)
        found.setflags(write=False)
        object.__setattr__(self, "matrix", found)

    def __repr__(self) -> str:
        return "Basis(matrix of {} × {})".format(*self.matrix.shape)

    def functions(self, lags: Sequence[int] | np.ndarray, fs: float | None = None) -> np.ndarray:
        """Return the matrix, if it has a row for every lag."""
        size = len(np.asarray(lags))
        if size != len(self.matrix):
            raise ValueError(
                f"Basis(matrix) has {count(len(self.matrix), 'row')} for {count(size, 'lag')}"
            )
        return np.asarray(self.matrix)
