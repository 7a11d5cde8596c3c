"""A, Aᵀ and AᵀA of one group under jax, for `fit_kernel`, descent and sums on a device.

A product with A is a convolution, by FFTs if it is long, and a product with Aᵀ is its transpose.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ..problem.spec import ConvSpec

# Numbers of the rows that are gathered at once (256 KiB). Longer records take more batches, not
# more memory.
BATCH_NUMBERS = 2**15
# FFTs take less time for at least this many taps, and rows per tap.
FFT_TAPS, FFT_ROWS = 16, 4
# The least number of samples of an FFT, which has several kernels.
LEAST = 512


def matmul(a: Any, b: Any) -> Any:
    """Return a @ b in full precision. TF32 would have a relative error of 1e-2 on a GPU."""
    return jnp.matmul(a, b, precision=lax.Precision.HIGHEST)


def by_group(a: Any, groups: int) -> Any:
    """Return (groups, *L, C) of a (*L, groups·C)."""
    return jnp.moveaxis(a.reshape(*a.shape[:-1], groups, -1), -2, 0)


def padded(x: Any, spec: ConvSpec) -> Any:
    """Return x (N, *W, C) padded to (N, *E, C), with zeros at samples that no window reads."""
    shape, stride, dilation = x.shape[1:-1], spec.stride, spec.dilation
    layout = spec._offset(shape), spec._extent(shape), spec.output_shape(shape), spec._span
    axes = zip(shape, *layout, stride, dilation, strict=True)
    for axis, (w, lo, e, t, span, s, d) in enumerate(axes, start=1):
        at = np.arange(e) - lo
        at = at % w if spec.padding == "circular" else np.where(at < 0, w, at)
        if s > 1 or d > t:  # else the first tap reads all samples between two windows
            read = np.zeros(e, bool)
            for tap in range(0, span, d):
                read[tap : tap + (t - 1) * s + 1 : s] = True
            at[~read] = w
        if not np.array_equal(at, np.arange(w)):
            x = jnp.take(x, at, axis, mode="fill", fill_value=0)
    return x


def convolved(x: Any, kernel: Any, spec: ConvSpec) -> Any:
    """Return A w (N, *T, Cout) of padded x and a kernel (*K, Cin/groups, Cout)."""
    space, exact = "DHW"[-spec.ndim :], lax.Precision.HIGHEST
    names = f"N{space}C", f"{space}IO", f"N{space}C"
    return lax.conv_general_dilated(
        x, kernel, spec.stride, "VALID", None, spec.dilation, names, spec.groups, precision=exact
    )


def gather_rows(x: Any, rows: Any, spec: ConvSpec) -> Any:
    """Return rows (groups, n, P) of the design matrix of padded x.

    Args:
        x: samples (N, *E, C).
        rows: numbers (n,) of windows, in C order over (N, *T).
        spec: geometry of the windows.
    """
    (n, *space, c), xp = x.shape, np if isinstance(rows, np.ndarray) else jnp
    record, *places = xp.unravel_index(rows, (n, *spec._normal.output_shape(space)))
    starts = (record, *(p * s for p, s in zip(places, spec.stride, strict=True)))
    first = xp.ravel_multi_index(starts, (n, *space), mode="clip")
    reach = (np.arange(0, n, d) for n, d in zip(spec._span, spec.dilation, strict=True))
    taps = np.ravel_multi_index(np.ix_(*reach), space).reshape(-1)
    found = x.reshape(-1, c)[first[:, None] + taps].reshape(len(rows), len(taps), spec.groups, -1)
    return found.transpose(2, 0, 1, 3).reshape(spec.groups, len(rows), -1)


class Operator:
    """B (n, k): A of one group, times roots of weights, or the transpose of A.

    A wide A that is centred does not have full row rank. An additional constant column restores it.
    The column does not change the solution, because centred outputs are orthogonal to it.

    Args:
        x: padded samples (N, *E, C).
        root: square roots (rows, 1) of the weights of the rows; None for equal weights.
        spec: geometry of the windows of padded samples, for one group.
        bias: whether the weighted mean of all rows is subtracted.
        basis: T (P, R) of kernels T z; None for the identity.
        form: "tall" or "wide" if the matrix, or its transpose, is formed; None if it is not.
    """

    def __init__(
        self, x: Any, root: Any, spec: ConvSpec, bias: bool, basis: Any, form: str | None
    ) -> None:
        self.data = x, root
        self.of = partial(Operator, spec=spec, bias=bias, basis=basis, form=form)
        nothing: Any = None
        self.means, self.b, self.basis, self.spec = nothing, nothing, basis, spec
        self.rows = x.shape[0] * math.prod(spec.output_shape(x.shape[1:-1]))
        columns = spec._unknowns(x.shape[-1])
        if basis is not None:  # in the precision of x, and varying over the same devices
            self.basis = jnp.asarray(basis, x.dtype) + jnp.zeros_like(x, shape=())
        weights = jnp.ones_like(x, shape=(self.rows, 1)) if root is None else root**2
        self.share = weights / weights.sum()
        if form:
            self.b = gather_rows(x, np.arange(self.rows), spec)[0]
            self.means = (self.share * self.b).sum(0) if bias else None
            self.b = self._in_form(self.b, root, self.means)
        elif bias:
            self.means = self._transposed(self._convolved, self.share, columns)[:, 0]
        if bias and form == "wide":
            level = lax.stop_gradient(jnp.sqrt(jnp.mean(self.b**2)))
            self.b = jnp.concatenate([self.b, level * jnp.sqrt(self.share * self.rows)], axis=1)
        self.b = self.b.T if form == "wide" else self.b
        width = columns if basis is None else basis.shape[1]
        self.shape = self.b.shape if form else (self.rows, width)

    def _convolved(self, w: Any) -> Any:
        x, kernel = self.data[0], w.reshape(*self.spec.kernel_size, -1, w.shape[-1])
        of = convolved_by_fft if by_fft(x, self.spec) else convolved
        return of(x, kernel, self.spec).reshape(-1, w.shape[-1])

    def _transposed(self, of: Callable[[Any], Any], r: Any, columns: int) -> Any:
        like = jnp.zeros_like(r, shape=(columns, r.shape[1]))
        return jax.linear_transpose(of, like)(r)[0]

    def _in_form(self, a: Any, root: Any, means: Any) -> Any:
        """Return rows (n, k) of B, given rows (n, P) of A."""
        a = a if means is None else a - means
        a = a if root is None else a * root
        return a if self.basis is None else matmul(a, self.basis)

    def kernel(self, z: Any) -> Any:
        """Return w = T z (P, Q)."""
        return z if self.basis is None else matmul(self.basis, z)

    def forward(self, z: Any) -> Any:
        """Return B z (n, Q)."""
        if self.b is not None:
            return matmul(self.b, z)
        w, root = self.kernel(z), self.data[1]
        y = self._convolved(w)
        y = y if self.means is None else y - matmul(self.means, w)
        return y if root is None else y * root

    def adjoint(self, r: Any) -> Any:
        """Return Bᵀ r (k, Q)."""
        return self._transposed(self.forward, r, self.shape[1])

    def gram(self) -> Any:
        """Return BᵀB (k, k), a constant in derivatives."""
        x, root, means = lax.stop_gradient((*self.data, self.means))
        if self.b is None and root is None and by_fft(x, self.spec):
            found = long_gram(x, self.spec)
            found = found if means is None else found - self.rows * jnp.outer(means, means)
            return found if self.basis is None else matmul(self.basis.T, matmul(found, self.basis))
        none = jnp.zeros_like(x, shape=2 * self.shape[1:])
        return self._joined(lambda g, b: g + matmul(b.T, b), none)

    def triangle(self, top: Any) -> Any:
        """Return R (k, k) of the rows ``top`` (k, k) and B, a constant in derivatives."""
        return self._joined(lambda r, b: jnp.linalg.qr(jnp.concatenate([r, b]), mode="r"), top)

    def _joined(self, of: Callable[[Any, Any], Any], total: Any) -> Any:
        """Return ``total`` after ``total = of(total, rows)`` for batches of rows of B."""
        x, root, means, b = lax.stop_gradient((*self.data, self.means, self.b))
        if b is not None:
            return of(total, b)

        columns = self.spec._unknowns(x.shape[-1])
        items = jnp.arange(min(self.rows, max(columns, BATCH_NUMBERS // columns)))

        def step(i: Any, total: Any) -> Any:
            at = i * items.size + items
            a = gather_rows(x, at, self.spec)[0]
            a = self._in_form(a, None if root is None else root[at], means)
            return of(total, jnp.where((at < self.rows)[:, None], a, 0))

        return lax.fori_loop(0, -(-self.rows // items.size), step, total)


def by_fft(x: Any, spec: ConvSpec) -> bool:
    """Return whether products are computed by FFTs."""
    plain = spec.ndim == 1 and spec.stride == spec.dilation == (1,)
    taps, rows = spec.kernel_size[0], spec.output_shape(x.shape[1:-1])[0]
    return plain and FFT_TAPS <= taps <= rows / FFT_ROWS


def pieces(x: Any, spec: ConvSpec) -> Any:
    """Return pieces (size, n, C) of padded x, which overlap by a window less one sample."""
    from scipy.fft import next_fast_len

    (taps,), (rows,) = spec.kernel_size, spec.output_shape(x.shape[1:-1])
    size = int(next_fast_len(max(4 * taps, LEAST), real=True))
    starts = np.arange(0, rows, size - taps + 1)
    whole = jnp.pad(x, [(0, 0), (0, int(starts[-1]) + size - x.shape[1]), (0, 0)])
    found = whole[:, starts + np.arange(size)[:, None]]
    return found.swapaxes(0, 1).reshape(size, -1, x.shape[-1])


def convolved_by_fft(x: Any, kernel: Any, spec: ConvSpec) -> Any:
    """Return the same as `convolved`, by FFTs of pieces."""
    (taps, _, outputs), (rows,) = kernel.shape, spec.output_shape(x.shape[1:-1])
    parts = pieces(x, spec)
    a, w = (jnp.fft.rfft(v, len(parts), axis=0) for v in (parts, kernel))
    y = jnp.fft.irfft(matmul(a, w.conj()), len(parts), axis=0)[: len(parts) - taps + 1]
    y = jnp.moveaxis(y.reshape(len(y), len(x), -1, outputs), 0, 2)
    return y.reshape(len(x), -1, outputs)[:, :rows]


def long_gram(x: Any, spec: ConvSpec) -> Any:
    """Return AᵀA (P, P) of padded x by FFTs.

    With K taps, T rows and blocks of channels,

        G[k, k+m] = Σ_{u=K-1-m}^{T-1} x[u] x[u+m]ᵀ          one correlation, by FFTs of pieces
                  + Σ_{u=k}^{K-2-m} … + Σ_{u=T}^{T+k-1} …   rows of the samples at both ends

    Nothing is subtracted.
    """
    (taps,), (rows,) = spec.kernel_size, spec.output_shape(x.shape[1:-1])
    place, c = np.arange(x.shape[1])[:, None], x.shape[-1]
    left, right = (pieces(jnp.where(f, x, 0), spec) for f in (place < rows, place >= taps - 1))
    size = len(right)
    u, v = (jnp.fft.rfft(a, size, axis=0) for a in (left[: size - taps + 1], right))
    core = jnp.fft.irfft(matmul(u.conj().swapaxes(1, 2), v), size, axis=0)[:taps]
    core = jnp.concatenate([core[:0:-1].swapaxes(1, 2), core])
    k = np.arange(taps)
    core = core[k - k[:, None] + taps - 1].transpose(0, 2, 1, 3).reshape(taps * c, -1)
    head, tail = x[:, : taps - 1], x[:, rows:]
    nothing = jnp.zeros_like(head)
    ends = [jnp.concatenate(both, axis=1) for both in ((head, nothing), (nothing, tail))]
    return core + Operator(jnp.concatenate(ends), None, spec, False, None, None).gram()
