"""Convolution by brute force, straight from the defining formula; nothing here knows convsolve.

    y[n, t, o] = sum_{k, c} x[n, t*stride + k*dilation - lo, g(o)*Cg + c] * w[k, c, o]

Integer arrays stay integer, so that equality can be exact.
"""

import itertools
import math
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

PADDINGS = ("valid", "same", "full", "causal", "circular")


def per_axis(value, ndim):
    return (value,) * ndim if isinstance(value, int) else tuple(value)


def axis_geometry(samples, taps, stride=1, dilation=1, padding="valid"):
    """(lo, outputs) of one axis: windows are placed one after the other while they are wanted."""
    reach = (taps - 1) * dilation
    if padding in ("same", "causal", "circular"):  # one output for every stride-th sample
        outputs = len(range(0, samples, stride))
        missing = max((outputs - 1) * stride + reach + 1 - samples, 0)
        return {"same": missing // 2, "causal": reach, "circular": reach // 2}[padding], outputs
    lo, hi = {"valid": (0, 0), "full": (reach, reach)}.get(padding, padding)
    outputs = 0
    while outputs * stride + reach < lo + samples + hi:  # the last tap is still on the record
        outputs += 1
    return lo, outputs


def geometry(samples, taps, stride=1, dilation=1, padding="valid"):
    """`axis_geometry` of every axis; explicit padding is one (lo, hi) pair an axis."""
    ndim = len(taps)
    pads = (padding,) * ndim if isinstance(padding, str) else padding
    axes = zip(samples, taps, per_axis(stride, ndim), per_axis(dilation, ndim), pads, strict=True)
    return [axis_geometry(*axis) for axis in axes]


def reads(samples, taps, stride=1, dilation=1, padding="valid"):
    """(t, k, sample) of every output t and tap k; sample is None where the tap lies outside."""
    ndim = len(taps)
    steps = list(zip(per_axis(stride, ndim), per_axis(dilation, ndim), strict=True))
    axes = geometry(samples, taps, stride, dilation, padding)
    for t in itertools.product(*(range(outputs) for _, outputs in axes)):
        for k in itertools.product(*map(range, taps)):
            at = [
                a * s + b * d - lo for a, b, (s, d), (lo, _) in zip(t, k, steps, axes, strict=True)
            ]
            if padding == "circular":
                at = [i % w for i, w in zip(at, samples, strict=True)]
            inside = all(0 <= i < w for i, w in zip(at, samples, strict=True))
            yield t, k, tuple(at) if inside else None


def convolve(x, w, stride=1, dilation=1, padding="valid", groups=1):
    """x ``(N, *W, Cin)`` with w ``(*K, Cin/groups, Cout)`` to y ``(N, *T, Cout)``."""
    samples, taps = x.shape[1:-1], w.shape[:-2]
    inputs, outputs = w.shape[-2], w.shape[-1] // groups
    counts = [n for _, n in geometry(samples, taps, stride, dilation, padding)]
    y = np.zeros((x.shape[0], *counts, w.shape[-1]), np.result_type(x, w))
    for t, k, at in reads(samples, taps, stride, dilation, padding):
        if at is None:
            continue
        for g in range(groups):
            mine, own = slice(g * inputs, (g + 1) * inputs), slice(g * outputs, (g + 1) * outputs)
            y[(slice(None), *t, own)] += x[(slice(None), *at, mine)] @ w[(*k, slice(None), own)]
    return y


def design_matrix(x, taps, stride=1, dilation=1, padding="valid", groups=1):
    """A ``(groups, rows, P)`` of x ``(N, *W, Cin)``: rows in the order of y, columns of (k, c)."""
    samples, inputs = x.shape[1:-1], x.shape[-1] // groups
    counts = [n for _, n in geometry(samples, taps, stride, dilation, padding)]
    a = np.zeros((groups, x.shape[0], *counts, *taps, inputs), x.dtype)
    for t, k, at in reads(samples, taps, stride, dilation, padding):
        if at is None:
            continue
        for g in range(groups):
            a[(g, slice(None), *t, *k)] = x[(slice(None), *at, slice(g * inputs, (g + 1) * inputs))]
    return a.reshape(groups, x.shape[0] * math.prod(counts), math.prod(taps) * inputs)


def lag_convolve(x, h, first, edges="zeros"):
    """y[t] = sum_l h[l - first] x[t - l] with lags l from ``first`` on, y as long as x.

    x ``(*W, Cin)``, h ``(*L, Cin, Cout)`` in ascending lag order; ``first`` is one lag per axis.
    Returns y and, for edges="drop", the mask of the outputs whose whole window was recorded.
    """
    samples = x.shape[:-1]
    y = np.zeros((*samples, h.shape[-1]), np.result_type(x, h))
    whole = np.ones(samples, bool)
    for t in itertools.product(*map(range, samples)):
        for i in itertools.product(*map(range, h.shape[:-2])):
            at = [a - (f + b) for a, f, b in zip(t, first, i, strict=True)]
            if edges == "circular":
                at = [j % w for j, w in zip(at, samples, strict=True)]
            if all(0 <= j < w for j, w in zip(at, samples, strict=True)):
                y[t] += x[tuple(at)] @ h[i]
            else:
                whole[t] = False
    return y, whole


class Case(NamedTuple):
    """A random geometry and the sizes around it; ``args`` are those of `convolve` above."""

    samples: tuple[int, ...]
    taps: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    padding: str | tuple[tuple[int, int], ...]
    groups: int
    batch: int
    inputs: int  # per group
    outputs: int  # per group
    seed: int

    @property
    def args(self):
        return self.stride, self.dilation, self.padding, self.groups

    @property
    def counts(self):
        axes = geometry(self.samples, self.taps, self.stride, self.dilation, self.padding)
        return tuple(outputs for _, outputs in axes)

    @property
    def rows(self):
        return self.batch * math.prod(self.counts)

    @property
    def x_shape(self):
        return (self.batch, *self.samples, self.groups * self.inputs)

    @property
    def y_shape(self):
        return (self.batch, *self.counts, self.groups * self.outputs)

    @property
    def w_shape(self):
        return (*self.taps, self.inputs, self.groups * self.outputs)

    def integers(self, *shapes, largest=9):
        """Arrays of small integers, the same ones for the same case."""
        rng = np.random.default_rng(self.seed)
        return [rng.integers(-largest, largest, shape, endpoint=True) for shape in shapes]


@st.composite
def cases(draw, ndims=(1, 2, 3), paddings=(*PADDINGS, "explicit"), min_rows=1):
    """Random `Case`s in one to three dimensions that give at least ``min_rows`` rows."""
    ndim = draw(st.sampled_from(ndims))
    longest = {1: 12, 2: 6, 3: 4}[ndim]

    def sizes(low, high):
        return tuple(draw(st.integers(low, high)) for _ in range(ndim))

    samples, taps = sizes(1, longest), sizes(1, 5 - ndim)
    stride, dilation = sizes(1, 3), sizes(1, 3 if ndim == 1 else 2)
    padding = draw(st.sampled_from(paddings))
    if padding == "explicit":
        padding = tuple(zip(sizes(-3, 5), sizes(-3, 5), strict=True))
    groups, batch, inputs = (draw(st.integers(1, 3)) for _ in range(3))
    outputs, seed = draw(st.integers(1, 2)), draw(st.integers(0, 2**32 - 1))
    case = Case(samples, taps, stride, dilation, padding, groups, batch, inputs, outputs, seed)
    assume(case.rows >= min_rows)
    return case


def over_geometries(examples, **options):
    """Run ``test(case)`` for ``examples`` random cases in each dimension with each padding.

    Hypothesis alone visits the paddings unevenly, so they are a table here.
    """

    def decorate(test):
        def run(ndim, padding, data):
            test(data.draw(cases((ndim,), (padding,), **options)))

        run.__name__, run.__qualname__, run.__doc__ = test.__name__, test.__qualname__, test.__doc__
        run.__module__ = test.__module__
        run = given(data=st.data())(run)
        run = settings(derandomize=True, deadline=None, max_examples=examples)(run)
        run = pytest.mark.parametrize("padding", [*PADDINGS, "explicit"])(run)
        return pytest.mark.parametrize("ndim", [1, 2, 3])(run)

    return decorate
