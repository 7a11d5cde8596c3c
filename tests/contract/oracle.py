"""Least squares in extended precision, from the definition of the problem.

    y[n, t, o] = b[o] + sum_{k, c} x[n, t*stride + k*dilation - lo, c] * w[k, c, o] + N c

Every step uses longdouble. No linear algebra of the package is used. The design matrix is indexed
from x. Constants and polynomials are first subtracted with coefficients of few bits, so that the
subtraction is exact. The other nuisance columns are then projected out, and the system is solved
by a Householder QR with column pivoting.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from functools import cached_property, reduce
from typing import NamedTuple

import numpy as np

from contract.statement import Prior, Statement
from support.dense import axis_geometry

REAL = np.longdouble
EPS = float(np.finfo(np.float64).eps)
# Bits of a subtracted polynomial: two fewer than a longdouble has.
BITS = 62
# A nuisance column of which this share is left is a combination of the earlier ones.
DEPENDENT = 1e-10


# --- linear algebra


def norms(a: np.ndarray) -> np.ndarray:
    """Euclidean norms of the columns."""
    return np.sqrt((a * a).sum(0))


def powers_of_two(a: np.ndarray) -> np.ndarray:
    """Powers of two that bring the norms of the columns into [1/2, 1), and 1 for zero columns."""
    size = norms(a)
    return np.ldexp(REAL(1), -np.frexp(np.where(size > 0, size, REAL(0.75)))[1])


class Triangle(NamedTuple):
    """A pivoted QR: ``r`` (k, P) in the order ``pivots``, and Qᵀy (m, Q)."""

    r: np.ndarray
    pivots: np.ndarray
    z: np.ndarray


def pivoted_qr(a: np.ndarray, y: np.ndarray) -> Triangle:
    """Householder QR with column pivoting."""
    a, y = a.astype(REAL), y.astype(REAL)
    pivots = np.arange(a.shape[1])
    for j in range(min(a.shape)):
        best = j + int(np.argmax(norms(a[j:, j:])))
        a[:, [j, best]], pivots[[j, best]] = a[:, [best, j]], pivots[[best, j]]
        v = a[j:, j].copy()
        size = np.sqrt(v @ v)
        if size == 0:
            break
        v[0] += math.copysign(1.0, v[0]) * size
        v /= np.sqrt(v @ v)
        for part in (a[j:, j:], y[j:]):
            part -= 2 * np.outer(v, v @ part)
    return Triangle(np.triu(a[: min(a.shape)]), pivots, y)


def negligible(a: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Which columns consist of rounding errors of terms of some ``size`` that cancel."""
    return norms(a) <= max(32, len(a)) * EPS * size


def back_substituted(r: np.ndarray, z: np.ndarray) -> np.ndarray:
    """R⁻¹z of an upper triangular R."""
    found = np.zeros_like(z)
    for i in range(len(r) - 1, -1, -1):
        found[i] = (z[i] - r[i, i + 1 :] @ found[i + 1 :]) / r[i, i]
    return found


def inverse(a: np.ndarray) -> np.ndarray:
    """A⁻¹ by Gauss–Jordan elimination, in which unrelated channels stay exactly unrelated."""
    size = len(a)
    both = np.concatenate([a.astype(REAL), np.eye(size, dtype=REAL)], axis=1)
    for j in range(size):
        pivot = j + int(np.argmax(np.abs(both[j:, j])))
        both[[j, pivot]] = both[[pivot, j]]
        both[j] /= both[j, j]
        others = (np.arange(size) != j) & (both[:, j] != 0)
        both[others] -= np.outer(both[others, j], both[j])
    return both[:, size:]


def shortest(a: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The solution of minimum norm of A w = y, for a wide A of full row rank."""
    rank, size = a.shape
    # Householder reflections keep the digits of small rows if these come last.
    order = np.argsort(-np.abs(a).max(0, initial=0), kind="stable")
    found = pivoted_qr(a.T[order], np.eye(size, dtype=REAL))
    lower = found.r[:rank, :rank].T[::-1, ::-1]
    v = back_substituted(lower, y[:rank][found.pivots][::-1])[::-1]
    return (found.z[:rank].T @ v)[np.argsort(order)]


def cholesky(a: np.ndarray) -> np.ndarray:
    """The lower Cholesky factor."""
    root = np.zeros_like(a)
    for j in range(len(a)):
        root[j:, j] = a[j:, j] - root[j:, :j] @ root[j, :j]
        root[j:, j] /= np.sqrt(root[j, j])
    return root


def orthonormal(columns: np.ndarray) -> np.ndarray:
    """An orthonormal basis of the span of the columns, by Gram–Schmidt applied twice."""
    basis = np.zeros((len(columns), 0), REAL)
    for column in (columns * powers_of_two(columns)).T:
        left = column - basis @ (basis.T @ column)
        left = left - basis @ (basis.T @ left)
        size = np.sqrt(left @ left)
        if size > DEPENDENT * np.sqrt(column @ column):
            basis = np.column_stack([basis, left / size])
    return basis


# --- rows


class Axis(NamedTuple):
    """Per row and tap the sample that is read, -1 for a zero; and the lags of the taps, in taps."""

    samples: np.ndarray
    lags: np.ndarray


def axis_of(statement: Statement, axis: int, size: int) -> Axis:
    """How one axis of a record of ``size`` samples is read."""
    taps, stride = np.arange(statement.taps[axis]), statement.stride[axis]
    if statement.lags is None:
        dilation = statement.dilation[axis]
        padding, circular = statement.padding, statement.padding == "circular"
        padding = padding if isinstance(padding, str) else padding[axis]
        low, rows = axis_geometry(size, len(taps), stride, dilation, padding)
        lags = (low - dilation * taps).astype(REAL) / dilation
        found = np.arange(rows)[:, None] * stride + taps * dilation - low
    else:
        circular = statement.edges == "circular"
        lags = statement.lags[axis][1] - taps
        found = np.arange(0, size, stride)[:, None] - lags
    if circular:
        return Axis(found % size, lags)
    return Axis(np.where((found >= 0) & (found < size), found, -1), lags)


class Windows(NamedTuple):
    """The windows of one record ``(n, taps, channels)``, which rows are used and their places."""

    values: np.ndarray
    used: np.ndarray  # (n, outputs)
    places: np.ndarray  # (n, axes)


def windows_of(statement: Statement, record: int) -> Windows:
    """Index x of one record, and decide which rows of which outputs are used."""
    x, y = statement.x[record], statement.y[record]
    axes = [axis_of(statement, i, size) for i, size in enumerate(x.shape[:-1])]
    shape = tuple(len(a.samples) for a in axes)
    taps = tuple(a.samples.shape[1] for a in axes)
    values = np.zeros((*shape, *taps, x.shape[-1]), REAL)
    inside = np.zeros((*shape, *taps), bool)
    for k in itertools.product(*map(range, taps)):
        places = np.ix_(*(a.samples[:, i] for a, i in zip(axes, k)))
        inside[(..., *k)] = reduce(np.logical_and, (p >= 0 for p in places))
        values[(..., *k, slice(None))] = np.where(inside[(..., *k, None)], x[places], 0)
    rows = math.prod(shape)
    values = values.reshape(rows, math.prod(taps), x.shape[-1])
    used = flags_of(statement, record, shape)
    if statement.lags is not None and statement.edges == "drop":
        used &= inside.reshape(rows, math.prod(taps)).all(1)[:, None]
    if statement.missing == "drop" or statement.mask is not None:
        used &= ~np.isnan(values).any((1, 2))[:, None] & ~np.isnan(
            y.reshape(rows, statement.outputs)
        )
    places = np.stack(np.indices(shape), -1).reshape(rows, len(shape))
    return Windows(values, used, places)


def flags_of(statement: Statement, record: int, shape: tuple[int, ...]) -> np.ndarray:
    """Which rows the mask and the weights keep, per output."""
    used = np.ones((math.prod(shape), statement.outputs), bool)
    if statement.mask is not None:
        flags = statement.mask[record]
        used &= flags.reshape(len(used), flags.shape[-1] if flags.ndim > len(shape) else 1)
    return used & (roots_of(statement, record, shape) > 0)[:, None]


def roots_of(statement: Statement, record: int, shape: tuple[int, ...]) -> np.ndarray:
    """Square roots of the weights of the rows of one record."""
    weights = 1.0 if statement.weights is None else statement.weights[record]
    return np.sqrt(np.broadcast_to(np.asarray(weights, REAL), shape).reshape(-1))


# --- nuisance columns


def monomials(places: np.ndarray, degree: int) -> np.ndarray:
    """Integer powers of the places of rows, of a total degree of at most ``degree``."""
    orders = itertools.product(range(degree + 1), repeat=places.shape[1])
    columns = [np.prod(places**order, axis=1) for order in orders if sum(order) <= degree]
    return np.stack(columns, 1).astype(REAL)


def trend_of(columns: np.ndarray, powers: np.ndarray) -> np.ndarray:
    """Coefficients of few bits, with which a polynomial of integers has no rounding error."""
    if not len(columns):
        return np.zeros((powers.shape[1], columns.shape[1]), REAL)
    size = np.abs(powers).max(0)
    size = np.where(size > 0, size, 1)
    fitted = np.linalg.lstsq((powers / size).astype(float), columns.astype(float), rcond=None)[0]
    found = fitted.astype(REAL) / size[:, None]
    largest = (np.abs(found) * size[:, None]).sum(0)
    unit = np.ldexp(REAL(1), np.frexp(np.where(largest > 0, largest, 1))[1] - BITS)
    return np.round(found / unit) * unit


class Nuisance(NamedTuple):
    """Columns fitted in addition to the kernel, for the rows used by some outputs.

    Attributes:
        basis: (n, q), orthonormal columns.
        remainder: (n,), the weighted column of ones of a bias, orthogonal to the other columns.
            None without a bias.
        degree: the degree of the polynomials per record that are removed exactly, -1 for none.
    """

    basis: np.ndarray
    remainder: np.ndarray | None
    degree: int


def centred(columns: np.ndarray) -> np.ndarray:
    """Columns without their means, which do not change the span if it contains a constant.

    The means are rounded to few bits, so that nothing else is rounded.
    """
    columns = columns.astype(REAL)
    if not len(columns):
        return columns
    rest = columns - np.round(np.ldexp(columns.mean(0), 20)) / REAL(2) ** 20
    ones, basis = np.ones((len(columns), 1), REAL), orthonormal(columns)
    if norms(ones - basis @ (basis.T @ ones)) <= DEPENDENT * norms(ones):
        return np.column_stack([rest, ones])
    return columns


def nuisance_of(
    statement: Statement, used: list[np.ndarray], places: list[np.ndarray], roots: list[np.ndarray]
) -> Nuisance:
    """Orthonormal nuisance columns over the used rows of all records."""
    columns, constants = [], []
    for i, (rows, root) in enumerate(zip(used, roots)):
        own = np.zeros((len(root), 0), REAL)
        if statement.drift is not None:
            own = orthogonal_powers(monomials(places[i], statement.drift))
        if statement.confounds is not None:
            given = statement.confounds[i]
            given = given.reshape(-1, given.shape[-1])[rows]
            if statement.drift is not None:
                # The polynomials span the mean, so the last place of an offset is not lost.
                given = centred(np.column_stack([given, np.ones(len(given))]))
            own = np.column_stack([own, centred(given)])
        basis = orthonormal(own * root[:, None])
        left = root - basis @ (basis.T @ root)
        left = left - basis @ (basis.T @ left)
        columns.append(basis)
        constants.append(left)
    spanned = all(norms(c) <= DEPENDENT * norms(r) for c, r in zip(constants, roots))
    whole = block_diagonal(columns)
    remainder = np.concatenate(constants) if statement.bias else None
    if remainder is not None:
        whole = np.column_stack([whole, remainder / norms(remainder)])
    degree = -1 if statement.drift is None else statement.drift
    if degree < 0 and spanned and statement.confounds is not None:
        degree = 0
    return Nuisance(whole, remainder, degree)


class Detrended(NamedTuple):
    """Weighted rows without constants and polynomials, which were subtracted exactly.

    ``shift`` is the constant that all records share. ``size`` are the norms of the columns after
    only the constants were subtracted. Samples of a drift are rounded in their last place, so that
    columns that are `negligible` beside ``size`` are also those below the last place of a sample.
    """

    rows: np.ndarray
    shift: np.ndarray
    size: np.ndarray


def without_trends(
    values: list[np.ndarray],
    places: list[np.ndarray],
    roots: list[np.ndarray],
    nuisance: Nuisance,
    bias: bool,
) -> Detrended:
    """Subtract the polynomials per record, or else the constant of a bias."""
    shift = np.zeros(values[0].shape[1], REAL)
    given = level = values
    if nuisance.degree >= 0:
        level = [v - monomials(p, 0) @ trend_of(v, monomials(p, 0)) for v, p in zip(values, places)]
        powers = [monomials(p, nuisance.degree) for p in places]
        # Nothing is left of a constant column. Other trends are subtracted in one step, because a
        # difference from a constant can have more bits than a longdouble.
        values = [
            (v - p @ trend_of(v, p)) * left.any(0) for v, p, left in zip(values, powers, level)
        ]
    elif bias:
        shift = np.median(np.concatenate(values).astype(float), axis=0).astype(REAL)
        level = values = [v - shift for v in values]
    rows, level, given = (
        np.concatenate([v * root[:, None] for v, root in zip(several, roots)])
        for several in (values, level, given)
    )
    size = norms(level)
    if nuisance.degree > 0:
        size = np.maximum(size, norms(given) / max(32, len(given)))
    return Detrended(rows, shift, size)


def orthogonal_powers(powers: np.ndarray) -> np.ndarray:
    """Orthonormal columns with the same span as the powers of integers."""
    basis = np.zeros((len(powers), 0), REAL)
    for column in powers.T:
        for _ in range(3):
            column = column - basis @ (basis.T @ column)
        size = np.sqrt(column @ column)
        if size > 1e-14 * np.abs(powers).max(initial=1):
            basis = np.column_stack([basis, column / size])
    return basis


def block_diagonal(blocks: list[np.ndarray]) -> np.ndarray:
    """Columns of every record, zero in the other records."""
    found = np.zeros((sum(map(len, blocks)), sum(b.shape[1] for b in blocks)), REAL)
    row = column = 0
    for block in blocks:
        found[row : row + len(block), column : column + block.shape[1]] = block
        row, column = row + len(block), column + block.shape[1]
    return found


# --- penalties


def differences(taps: int, order: int) -> tuple[np.ndarray, int]:
    """[D; Nᵀ] of one axis, N orthonormal in the null space of D; and the number of rows of D."""
    order = min(order, taps)
    d = np.diff(np.eye(taps), order, axis=0).astype(REAL)
    free = orthonormal(np.vander(np.linspace(-1, 1, taps), order, increasing=True).astype(REAL))
    return np.concatenate([d, free.T]), len(d)


def covariance(prior: Prior, lags: np.ndarray) -> np.ndarray:
    """The prior covariance of the taps of one axis, by its formula."""
    lags = lags.astype(REAL)
    apart = np.round(np.abs(lags[:, None] - lags))  # whole numbers of taps, for any dilation
    if prior.kind == "gaussian":
        return np.exp(-((apart / REAL(prior.settings["length"])) ** 2) / 2)
    alpha, total = REAL(prior.settings["decay"]), np.abs(lags)[:, None] + np.abs(lags)
    if prior.kind == "tc":
        return alpha ** ((total + apart) / 2)
    if prior.kind == "dc":
        return alpha ** (total / 2) * REAL(prior.settings["correlation"]) ** apart
    return alpha ** (1.5 * total) * (3 * alpha ** (apart / 2) - alpha ** (1.5 * apart)) / 2


class Roots(NamedTuple):
    """A penalty strength·‖P u‖² on coordinates u of a kernel w, where P is a selection.

    The coordinates separate penalized from free ones, whose sizes may differ by many powers of ten.

    Attributes:
        span: (P, R), orthonormal kernels that span all that are possible.
        back: (P, n), w = back @ u.
        forth: (n, P), u = forth @ w; of the coordinates of a kernel those of least norm.
        penalized: (n,) of bool.
    """

    span: np.ndarray
    back: np.ndarray
    forth: np.ndarray
    penalized: np.ndarray


def completed(d: np.ndarray) -> Roots:
    """Coordinates of ‖D w‖² for any D: a triangle of its rank, and its null space."""
    found = pivoted_qr(d, np.zeros((len(d), 0), REAL))
    rank = rank_of(found.r, len(d)).value
    size, order = d.shape[1], np.argsort(found.pivots)
    null = np.zeros((size, size - rank), REAL)
    null[:rank] = -back_substituted(found.r[:rank, :rank], found.r[:rank, rank:])
    null[rank:] = np.eye(size - rank)
    whole = np.concatenate([found.r[:rank], orthonormal(null).T])[:, order]
    return in_all_taps(whole, np.arange(size) < rank)


def in_all_taps(coordinates: np.ndarray, penalized: np.ndarray) -> Roots:
    """The coordinates of kernels of which all are possible, as a square matrix."""
    every = np.eye(len(coordinates), dtype=REAL)
    return Roots(every, inverse(coordinates), coordinates, penalized)


def roots_in_span(statement: Statement, axes: list[np.ndarray], group: int) -> Roots:
    """The coordinates of a penalty for kernels in the span of the functions of every channel."""
    prior, inputs = statement.prior, statement.channels // statement.groups
    parts = []
    for channel in range(group * inputs, (group + 1) * inputs):
        b, kept = statement.basis_of(channel).astype(REAL), statement.kept[:, channel]
        v = orthonormal(b)
        if prior is None:
            parts.append(Roots(v, v, v.T, np.zeros(v.shape[1], bool)))
        elif prior.kind in ("ridge", "banded"):
            root = np.sqrt(REAL(weights_of_channels(prior, statement.channels)[channel]))
            penalized = np.ones(b.shape[1], bool)
            parts.append(Roots(v, b / root, least_norm(b) * root, penalized))
        else:
            own = completed(root_in_taps(prior, kept, axes[0]) @ v)
            parts.append(Roots(v, v @ own.back, own.forth @ v.T, own.penalized))
    taps = math.prod(statement.taps)
    order = np.arange(taps * inputs).reshape(inputs, taps).T.reshape(-1)
    span, back, forth = (
        block_diagonal(several)
        for several in ([p.span for p in parts], [p.back for p in parts], [p.forth for p in parts])
    )
    penalized = np.concatenate([p.penalized for p in parts])
    return Roots(span[order], back[order], forth[:, order], penalized)


def weights_of_channels(prior: Prior, channels: int) -> np.ndarray:
    """The factors of the strength of a ridge."""
    if prior.kind == "ridge":
        return np.ones(channels)
    _, order = np.unique(prior.settings["channel_groups"], return_inverse=True)
    return np.array(prior.settings["weights"])[order]


def root_in_taps(prior: Prior, kept: np.ndarray, lags: np.ndarray) -> np.ndarray:
    """D (q, taps) of the penalty ‖D w‖² of a channel."""
    if prior.kind == "tikhonov":
        return prior.settings["matrix"][:, ::-1].astype(REAL)
    if prior.kind == "smooth":
        root = np.diff(np.eye(int(kept.sum())), prior.settings["order"], axis=0).astype(REAL)
    else:
        root = inverse(cholesky(covariance(prior, lags[kept])))
    found = np.zeros((len(root), len(kept)), REAL)
    found[:, kept] = root
    return found


def least_norm(b: np.ndarray) -> np.ndarray:
    """The matrix (r, taps) that gives the coefficients of least norm of a kernel in the span."""
    v = orthonormal(b)
    each = [shortest(v.T @ b, column[:, None])[:, 0] for column in np.eye(v.shape[1], dtype=REAL)]
    return np.stack(each, axis=1) @ v.T


def coefficient_rows(statement: Statement) -> np.ndarray:
    """The matrix (n, P) that gives the coefficients of the kernels of a group."""
    inputs, found = statement.channels // statement.groups, []
    for channel in range(inputs):
        rows = least_norm(statement.basis_of(channel).astype(REAL))
        if statement.functions is None or statement.functions[channel] is None:
            rows = rows[::-1]
        whole = np.zeros((*rows.shape, inputs), REAL)
        whole[..., channel] = rows
        found.append(whole.reshape(len(rows), -1))
    return np.concatenate(found)


def roots_of_prior(statement: Statement, axes: list[np.ndarray], group: int) -> Roots:
    """The coordinates of a penalty for one group, from its definition."""
    if statement.restricted:
        return roots_in_span(statement, axes, group)
    prior, inputs = statement.prior, statement.channels // statement.groups
    taps = math.prod(statement.taps)
    if prior is None:
        return in_all_taps(np.eye(taps * inputs, dtype=REAL), np.zeros(taps * inputs, bool))
    if prior.kind in ("ridge", "banded"):
        own = weights_of_channels(prior, statement.channels)[group * inputs : (group + 1) * inputs]
        roots = np.diag(np.tile(np.sqrt(own.astype(REAL)), taps))
        return in_all_taps(roots, np.ones(taps * inputs, bool))
    if prior.kind == "tikhonov":
        own_roots = completed(prior.settings["matrix"][:, ::-1].astype(REAL))
        whole, penalized = own_roots.forth, own_roots.penalized
    else:
        whole, free = np.ones((1, 1), REAL), np.ones(1, bool)
        for size, lags in zip(statement.taps, axes):
            if prior.kind == "smooth":
                root, rows = differences(size, prior.settings["order"])
            else:
                root, rows = inverse(cholesky(covariance(prior, lags))), size
            whole = np.kron(whole, root)
            free = np.kron(free, np.arange(len(root)) >= rows)
        penalized = ~free
    whole = np.kron(whole, np.eye(inputs, dtype=REAL))
    return in_all_taps(whole, np.repeat(penalized, inputs))


# --- the solution


class Rank(NamedTuple):
    """A numerical rank, and whether a small change of the tolerance would change it."""

    value: int
    near: bool


def rank_of(r: np.ndarray, rows: int) -> Rank:
    """The rank of a pivoted triangle of columns of norm about one."""
    columns = r.shape[1]
    found = np.abs(np.diagonal(r)).astype(float)
    if not found.size or not found[0]:
        return Rank(0, False)
    tolerance = max(rows, columns, 10 * math.sqrt(columns)) * EPS * found[0]
    near = ((found > tolerance / 10) & (found < 100 * tolerance)).any()
    return Rank(int((found > tolerance).sum()), bool(near))


class System:
    """Scaled columns ``b`` (m, P) of norm about one and ``target`` (m, Q), for backward errors."""

    def __init__(self, b: np.ndarray, target: np.ndarray) -> None:
        self.b, self.target = b, target
        self.live = norms(b) > 0
        self.size = np.sqrt((b * b).sum())

    @cached_property
    def spectrum(self) -> tuple[np.ndarray, np.ndarray]:
        """Singular values (P,) and right singular vectors, of which float64 is enough."""
        missing = max(0, self.b.shape[1] - len(self.b))
        rows = np.pad(self.b.astype(float), ((0, missing), (0, 0)))
        return np.linalg.svd(rows, full_matrices=False)[1:]

    def backward_error(self, w: np.ndarray) -> np.ndarray:
        """‖(‖w‖²BᵀB + ‖r‖²I)^(−1/2) Bᵀr‖/‖B‖_F per column of w."""
        r = self.target - self.b @ w
        g = self.b.T @ r
        values, vt = self.spectrum
        w_norm, r_norm = norms(w[self.live]), norms(r)
        found = np.zeros(w.shape[1])
        for q in np.flatnonzero(g.any(0)):
            turned = vt @ (g[:, q] / r_norm[q]).astype(float)
            share = float(w_norm[q] / r_norm[q]) * values
            found[q] = np.sqrt(np.sum(turned**2 / (share**2 + 1))) / float(self.size)
        return found


class Part:
    """The outputs of one group which use the same rows.

    Attributes:
        a, y: rows (n, P) and outputs (n, Q), nuisance columns projected out.
        columns: (n, R), the rows in the orthonormal coordinates of the kernels, A V.
        b, target: the same with the rows of the penalty, in scaled coordinates u of the kernel.
        back: (P, R), the kernel is ``back @ u``.
        lost: the largest ratio of the norms of a column before and after the projection on
            confounds. Constants and polynomials were subtracted exactly before.
        rounding: (P,), norms of the rounding errors of x in its own type.
        kernel: (P, Q), the solution of minimum norm.
    """

    def __init__(
        self,
        a: np.ndarray,
        y: np.ndarray,
        nuisance: Nuisance,
        offsets: tuple[np.ndarray, np.ndarray],
        sizes: tuple[np.ndarray, np.ndarray],
        roots: Roots,
        strength: float,
        inputs: int,
        rounding: np.ndarray,
    ) -> None:
        self.rounding = rounding
        self._nuisance, self._offsets, self._roots = nuisance, offsets, roots
        self._given = a, y
        self.rows, self.nuisance, self.inputs = len(a), nuisance.basis.shape[1], inputs
        self.a, self.y = self._projected(a), self._projected(y)
        zero = negligible(self.a, sizes[0])
        self.a[:, zero] = 0
        self.y[:, negligible(self.y, sizes[1])] = 0
        self.lost = max(
            float((size[size > 0] / np.maximum(norms(left), EPS * size)[size > 0]).max(initial=1))
            for size, left in ((norms(a)[~zero], self.a[:, ~zero]), (norms(y), self.y))
        )
        self.strength = REAL(strength)
        unit = np.sqrt(self.strength) * np.eye(len(roots.penalized), dtype=REAL)[roots.penalized]
        self.columns = self._times(roots.span)
        whole = np.concatenate([self._times(roots.back), unit])
        scale = powers_of_two(whole)
        self.b, self.back = whole * scale, roots.back * scale
        self._forth = roots.forth / scale[:, None]
        self.target = np.concatenate([self.y, np.zeros((len(unit), y.shape[1]), REAL)])

    def _projected(self, values: np.ndarray) -> np.ndarray:
        basis = self._nuisance.basis
        for _ in range(2):
            values = values - basis @ (basis.T @ values)
        return values

    def _times(self, directions: np.ndarray) -> np.ndarray:
        """A times kernels, where columns of rounding errors are zero."""
        found = self.a @ directions
        found[:, negligible(found, norms(np.abs(self.a) @ np.abs(directions)))] = 0
        return found

    @cached_property
    def _triangle(self) -> Triangle:
        return pivoted_qr(self.b, self.target)

    @cached_property
    def solved_rank(self) -> Rank:
        """The rank of data and penalty together."""
        return rank_of(self._triangle.r, len(self.b))

    @cached_property
    def data_rank(self) -> Rank:
        """The rank of the data alone."""
        columns = self.columns * powers_of_two(self.columns)
        return rank_of(pivoted_qr(columns, self.y[:, :0]).r, self.rows)

    @cached_property
    def weakest(self) -> float:
        """The smallest singular value of the data over the rounding error of x along its vector."""
        scale = powers_of_two(self.columns)
        _, values, vt = np.linalg.svd((self.columns * scale).astype(float), full_matrices=False)
        rounding = norms(self.rounding[:, None] * self._roots.span) * scale
        return float(values[-1] / max(norms(rounding * vt[-1]), np.finfo(float).tiny))

    @property
    def unique(self) -> bool:
        """Whether data and penalty determine the kernel."""
        return self.solved_rank.value == self.b.shape[1]

    @cached_property
    def _determined(self) -> np.ndarray:
        """Rows (rank, P) which span the kernels that data and penalty determine, in user units."""
        found, rank = self._triangle, self.solved_rank.value
        return found.r[:rank][:, np.argsort(found.pivots)] @ self._forth

    @cached_property
    def kernel(self) -> np.ndarray:
        found, rank = self._triangle, self.solved_rank.value
        if self.unique:
            u = back_substituted(found.r, found.z[:rank])
            return self.back @ u[np.argsort(found.pivots)]
        # Rounding errors of channels with a large unit leave the span of the kernels.
        span = self._roots.span
        return span @ (span.T @ shortest(self._determined, found.z[:rank]))

    def residual(self, kernel: np.ndarray) -> np.ndarray:
        """Weighted residuals (n, Q) of a kernel, after the best fit of the nuisance columns."""
        a, y = self._given
        return self._projected(y - a @ kernel.astype(REAL))

    @cached_property
    def residual_norm(self) -> np.ndarray:
        """Norms (Q,) of the residuals of y, without the rows of the penalty."""
        return norms(self.residual(self.kernel))

    def bias(self, kernel: np.ndarray) -> np.ndarray:
        """The constants (Q,) that fit best with a kernel."""
        of_a, of_y = self._offsets
        a, y = self._given
        kernel, one = kernel.astype(REAL), self._nuisance.remainder
        if one is None:
            return np.zeros(y.shape[1], REAL)
        return of_y - of_a @ kernel + one @ (y - a @ kernel) / (one @ one)

    def bias_terms(self, kernel: np.ndarray) -> np.ndarray:
        """Sums (Q,) of the sizes of the terms of `bias`, to which its rounding is relative."""
        of_a, of_y = self._offsets
        a, y = self._given
        kernel, one = np.abs(kernel.astype(REAL)), self._nuisance.remainder
        if one is None:
            return np.ones(y.shape[1], REAL)
        mean = np.abs(one) @ (np.abs(a) @ kernel + np.abs(y)) / (one @ one)
        return np.abs(of_y) + np.abs(of_a) @ kernel + self.lost * mean

    @cached_property
    def _inverse_root(self) -> np.ndarray:
        """R⁻¹ in the order of the columns, for a full rank."""
        found = self._triangle
        size = self.b.shape[1]
        return back_substituted(found.r, np.eye(size, dtype=REAL))[np.argsort(found.pivots)]

    @cached_property
    def used(self) -> float:
        """Degrees of freedom that the kernel uses."""
        if not self.strength:
            return float(self.solved_rank.value)
        product = self.b[: self.rows] @ self._inverse_root
        return float((product * product).sum())

    @property
    def dof(self) -> float:
        """Degrees of freedom of the residuals."""
        return self.rows - self.nuisance - self.used

    @property
    def standard_error(self) -> np.ndarray:
        """Standard errors (P, Q) for white noise."""
        return self.errors_of(np.eye(len(self.back), dtype=REAL))

    def errors_of(self, rows: np.ndarray) -> np.ndarray:
        """Standard errors (q, Q) of sums of taps (q, P) for white noise."""
        gain = norms((rows @ self.back @ self._inverse_root).T)
        return gain[:, None] * self.residual_norm / math.sqrt(self.dof)

    # --- errors of other solutions

    @cached_property
    def condition(self) -> float:
        """κ of the scaled columns, over the part that is determined."""
        values, _ = self._system.spectrum
        rank = self.solved_rank.value
        return float(values[0] / values[rank - 1]) if rank else 1.0

    @cached_property
    def cancellation(self) -> float:
        """How many times larger the terms of the scaled columns are than their sums."""
        terms = norms(np.abs(self.a) @ np.abs(self.back))
        sums = norms(self.b)
        return float((terms[sums > 0] / sums[sums > 0]).max(initial=1))

    @cached_property
    def _units(self) -> np.ndarray:
        """The size (P,) of the effect of one unit of a tap: the largest of its channel."""
        size = norms(self.a).reshape(-1, self.inputs)
        return np.tile(size.max(0), len(size))

    def coordinates(self, kernel: np.ndarray) -> np.ndarray:
        """The scaled coordinates u (P, Q) of a kernel."""
        return self._forth @ kernel.astype(REAL)

    def forward_bound(self, change: float) -> np.ndarray:
        """Bounds (Q,) on `kernel_error` for a relative ``change`` of the scaled columns."""
        u, kappa = self.coordinates(self.kernel), self.condition
        r, size = norms(self.target - self.b @ u), norms(u)
        share = r / np.where(size > 0, size * np.sqrt((self.b**2).sum()), 1)
        amplified = np.linalg.norm((self._units[:, None] * self.back).astype(float), 2) * size
        own = norms(self._units[:, None] * self.kernel)
        relative = np.where(own > 0, amplified / np.where(own > 0, own, 1), 1)
        if not self.unique:
            # The solution of minimum norm is as ill-conditioned as its rows in the user's units.
            values = np.linalg.svd(self._determined.astype(float), compute_uv=False)
            relative = relative * (values[0] / values[-1] if len(values) else 1)
        return (change * kappa * (1 + kappa * share) * relative).astype(float) + 4 * EPS

    def kernel_error(self, kernel: np.ndarray) -> np.ndarray:
        """Relative errors (Q,) of a kernel, each tap in the unit of the effect of its channel."""
        off = norms(self._units[:, None] * (kernel - self.kernel))
        size = norms(self._units[:, None] * self.kernel)
        return (off / np.where(size > 0, size, 1)).astype(float)

    def outside(self, kernel: np.ndarray) -> float:
        """The largest distance of a kernel from the span, in eps of its norm."""
        kernel, v = kernel.astype(REAL), self._roots.span
        size = norms(kernel) * EPS
        return float((norms(kernel - v @ (v.T @ kernel)) / np.where(size > 0, size, 1)).max())

    def backward_error(self, kernel: np.ndarray) -> np.ndarray:
        """The Karlson–Waldén estimate (Q,) for a kernel, as a share of ‖A V‖_F.

        With a penalty it is the smaller one of those in w and in the coordinates of the penalty:
        both are small changes of the same problem.
        """
        found = self._system.backward_error(self.coordinates(kernel))
        if not self.strength:
            return found
        system, scale = self._system_of_taps
        v = self._roots.span.T @ kernel.astype(REAL)
        return np.minimum(found, system.backward_error(v / scale[:, None]))

    @cached_property
    def _system(self) -> System:
        return System(self.b, self.target)

    @cached_property
    def _system_of_taps(self) -> tuple[System, np.ndarray]:
        """The penalized problem in orthonormal coordinates, and the scales of its columns.

        In a basis, the orthonormal coordinates of a channel are known up to a rotation, and have
        one scale.
        """
        lower = np.sqrt(self.strength) * (self._roots.forth @ self._roots.span)
        lower = lower[self._roots.penalized]
        whole = np.concatenate([self.columns, lower])
        scale, span = powers_of_two(whole), self._roots.span
        if span.shape[1] < len(span):
            channel = np.argmax(span != 0, axis=0) % self.inputs
            scale = np.array([scale[channel == c].min() for c in channel])
        return System(whole * scale, self.target), scale

    @property
    def unavoidable(self) -> float:
        """The backward error due to rounding of the data, as a share of ‖A‖.

        Each entry is rounded by about eps times its size before the confounds are removed. Relative
        to the remaining columns, this error is ``lost`` times eps. The rounding errors of n rows
        are independent, so that their projection on P columns is smaller by √(P/n).
        """
        return EPS * self.lost * math.sqrt(self.b.shape[1] / self.rows)


class Oracle:
    """The solution of a statement, and the errors of other solutions.

    ``parts`` maps the outputs which share a group, rows and a strength to their `Part`.
    """

    def __init__(self, statement: Statement) -> None:
        self.statement = statement
        self._windows = [windows_of(statement, i) for i in range(len(statement.x))]
        shape = statement.x[0].shape[:-1]
        axes = [axis_of(statement, i, size).lags for i, size in enumerate(shape)]
        self.parts: dict[tuple[int, ...], Part] = {}
        each = statement.outputs // statement.groups
        given = 0.0 if statement.prior is None else statement.prior.strength
        strengths = np.broadcast_to(given, (statement.outputs,)).tolist()
        for group in range(statement.groups):
            alike: dict[tuple[bytes, float], list[int]] = {}
            for o in range(group * each, (group + 1) * each):
                used = b"".join(w.used[:, o].tobytes() for w in self._windows)
                alike.setdefault((used, strengths[o]), []).append(o)
            prior = roots_of_prior(statement, axes, group)
            for (_, strength), outputs in alike.items():
                self.parts[tuple(outputs)] = self._part(group, outputs, prior, strength)

    @property
    def rows(self) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Windows, flags (n, outputs) of rows used and roots of the weights, of every record."""
        for i, (w, y) in enumerate(zip(self._windows, self.statement.y)):
            yield w.values, w.used, roots_of(self.statement, i, y.shape[:-1])

    @cached_property
    def with_strengths(self) -> Oracle:
        """The oracle of the same problem with a strength of its own for every output."""
        other = self.statement.with_strengths()
        return self if other is self.statement else Oracle(other)

    def _part(self, group: int, outputs: list[int], roots: Roots, strength: float) -> Part:
        statement, inputs = self.statement, self.statement.channels // self.statement.groups
        used = [w.used[:, outputs[0]] for w in self._windows]
        places = [w.places[u] for w, u in zip(self._windows, used)]
        own = slice(group * inputs, (group + 1) * inputs)
        a = [w.values[u][..., own] for w, u in zip(self._windows, used)]
        a = [v.reshape(len(v), math.prod(v.shape[1:])) for v in a]
        y = [
            record.reshape(-1, statement.outputs)[u][:, outputs].astype(REAL)
            for record, u in zip(statement.y, used)
        ]
        root = [
            roots_of(statement, i, record.shape[:-1])[u]
            for i, (record, u) in enumerate(zip(statement.y, used))
        ]
        nuisance = nuisance_of(statement, used, places, root)
        of_a, of_y = (without_trends(v, places, root, nuisance, statement.bias) for v in (a, y))
        shifts = of_a.shift, of_y.shift
        sizes = of_a.size, of_y.size
        kind = statement.x[0].dtype
        eps = max(float(np.finfo(kind).eps), EPS) if kind.kind == "f" else 0.0
        rounding = eps * norms(np.concatenate([v * r[:, None] for v, r in zip(a, root)]))
        return Part(
            of_a.rows, of_y.rows, nuisance, shifts, sizes, roots, strength, inputs, rounding
        )

    def columns(self, kernel: np.ndarray, outputs: tuple[int, ...]) -> np.ndarray:
        """A kernel ``(*taps, channels, outputs)`` as the columns (P, Q) of some outputs."""
        found = np.asarray(kernel).reshape(-1, self.statement.outputs)[:, list(outputs)]
        return found.astype(REAL)
