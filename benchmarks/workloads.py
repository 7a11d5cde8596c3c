"""What `peers` times: the problems, their data, their exact answers, and how each method fits them.

Inputs are white noise through a first-order recursion of pole 0.9 (of an image along both axes),
kernels decay as exp(-4 lag / taps). The standard deviation of the white noise in y is a tenth of
that of the response, or as the R² in the name of a workload says. Records are zero-padded in the
past; an image is not padded. Kernels here are (*taps, inputs, outputs) with lags
ascending, or (problems, taps) where each record has a kernel of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view


class Workload(NamedTuple):
    """``apart``: every record is a problem with a kernel of its own, of whole windows.

    ``noise`` is the standard deviation of the noise relative to that of the response.
    """

    records: int
    shape: tuple[int, ...]
    inputs: int
    outputs: int
    taps: tuple[int, ...]
    ridge: float = 1e-3
    apart: bool = False
    noise: float = 0.1

    @property
    def padded(self) -> bool:
        return len(self.taps) == 1 and not self.apart

    @property
    def unknowns(self) -> int:
        return math.prod(self.taps) * self.inputs

    @property
    def rows(self) -> int:
        whole = (n - k + 1 for n, k in zip(self.shape, self.taps, strict=True))
        return self.records * (self.shape[0] if self.padded else math.prod(whole))

    @property
    def matrix_gb(self) -> float:
        return 8e-9 * self.rows * self.unknowns


def series(
    records: int, samples: int, channels: tuple[int, int], taps: int, ridge: float = 1e-3
) -> Workload:
    return Workload(records, (samples,), *channels, (taps,), ridge)


def with_r2(workload: Workload, r2: float) -> Workload:
    """The workload with noise that leaves the true kernel this R²."""
    return workload._replace(noise=math.sqrt(1 / r2 - 1))


class Goal(NamedTuple):
    """A figure of convsolve's and its bound.

    ``figure`` is "times faster" or "times faster, cold" (at least ``target``; than ``peer``, or
    than the fastest exact one), "seconds" or "peak MB" (at most).
    """

    figure: str
    target: float
    peer: str | None = None


Row = tuple[Workload, tuple[Goal, ...]]
FASTER, COLD = "times faster", "times faster, cold"


def row(workload: Workload, *goals: Goal) -> Row:
    return workload, goals or (Goal(FASTER, 1),)


WORKLOADS: dict[str, Row] = {
    "60 000 samples, 16 → 32, 40 taps": row(
        series(1, 60_000, (16, 32), 40), Goal(FASTER, 10), Goal(COLD, 1)
    ),
    "400 000 samples, 16 → 128, 40 taps": row(series(1, 400_000, (16, 128), 40), Goal(FASTER, 10)),
    "60 000 samples, 16 → 32, 40 taps, R² 0.1": row(
        with_r2(series(1, 60_000, (16, 32), 40), 0.1), Goal(FASTER, 10)
    ),
    "400 000 samples, 16 → 128, 40 taps, R² 0.1": row(
        with_r2(series(1, 400_000, (16, 128), 40), 0.1), Goal(FASTER, 7)
    ),
    "60 000 samples, 128 → 1, 40 taps": row(
        series(1, 60_000, (128, 1), 40), Goal(FASTER, 15), Goal("peak MB", 1000)
    ),
    "6 × 1 024, 102 → 1, 52 taps, ridge 1e3": row(
        series(6, 1024, (102, 1), 52, 1e3), Goal(FASTER, 4, "MNE")
    ),
    "6 × 1 024, 16 → 102, 52 taps, ridge 1e3": row(
        series(6, 1024, (16, 102), 52, 1e3), Goal(FASTER, 3)
    ),
    "8 × 4 096, 1 → 1, 40 taps": row(series(8, 4096, (1, 1), 40)),
    "4 × 60 000, 1 → 1, 40 taps": row(series(4, 60_000, (1, 1), 40)),
    "2 × 30 000, 1 → 1, 300 taps": row(series(2, 30_000, (1, 1), 300)),
    "2 × 60 000, 1 → 1, 300 taps": row(series(2, 60_000, (1, 1), 300)),
    "2 × 30 000, 1 → 1, 600 taps": row(series(2, 30_000, (1, 1), 600)),
    "6 × 4 096, 3 → 2, 40 taps": row(series(6, 4096, (3, 2), 40)),
    "200 000 samples, 1 → 1, 4 000 taps, ridge 1e-9": row(
        series(1, 200_000, (1, 1), 4000, 1e-9), Goal(FASTER, 1, "solve_toeplitz")
    ),
    "480 000 samples, 1 → 1, 16 000 taps, ridge 1e-9": row(
        series(1, 480_000, (1, 1), 16_000, 1e-9), Goal(FASTER, 3, "solve_toeplitz")
    ),
    "image of 1 024², 31 × 31 taps": row(
        Workload(1, (1024, 1024), 1, 1, (31, 31)), Goal("seconds", 1), Goal("peak MB", 600)
    ),
    "10 000 problems of 64 samples, 8 taps, no ridge": row(
        Workload(10_000, (64,), 1, 1, (8,), 0.0, apart=True), Goal(FASTER, 20)
    ),
}
QUICK: dict[str, Row] = {
    "2 × 500, 3 → 2, 8 taps": row(series(2, 500, (3, 2), 8), Goal(FASTER, 1), Goal(COLD, 1)),
    "1 000 samples, 1 → 1, 30 taps": row(series(1, 1000, (1, 1), 30, 1e-9)),
    "image of 48², 3 × 3 taps": row(Workload(1, (48, 48), 1, 1, (3, 3)), Goal("peak MB", 600)),
    "20 problems of 64 samples, 8 taps": row(Workload(20, (64,), 1, 1, (8,), 0.0, True)),
}

# Along each axis the workload of a size, and the sizes.
GROWTH = {
    "samples": {n: series(1, n, (1, 1), 40) for n in (10**4, 10**5, 10**6, 10**7)},
    "taps": {k: series(1, 60_000, (1, 1), k) for k in (10, 30, 100, 300, 1000, 2000)},
    "channels": {c: series(1, 60_000, (c, 1), 40) for c in (1, 2, 4, 8, 16, 32, 64)},
}
QUICK_GROWTH = {"samples": {n: series(1, n, (1, 1), 8) for n in (1000, 2000)}}


def windows(w: Workload, x: np.ndarray) -> np.ndarray:
    """The windows of one record ``(*shape, inputs)``: ``(*rows, *taps, inputs)``, lags ascending"""
    past = w.taps[0] - 1 if w.padded else 0
    x = np.pad(x, [(past, 0)] + [(0, 0)] * (x.ndim - 1))
    d = len(w.taps)
    found = np.flip(sliding_window_view(x, w.taps, tuple(range(d))), tuple(range(-d, 0)))
    return np.moveaxis(found, d, -1)


def make(w: Workload, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """x (records, *shape, inputs) and y (records, *rows, outputs)."""
    from scipy.signal import fftconvolve, lfilter

    rng = np.random.default_rng(seed)
    x = rng.standard_normal((w.records, *w.shape, w.inputs))
    for axis in range(1, 1 + len(w.taps)):
        x = lfilter([1.0], [1.0, -0.9], x, axis)
    decay = np.exp(-4 * sum(np.ix_(*(np.arange(k) / k for k in w.taps))))
    kernels = rng.standard_normal((w.records if w.apart else 1, *w.taps, w.inputs, w.outputs))
    kernels *= decay[..., None, None]
    if w.inputs == w.outputs == 1:
        axes = list(range(1, 1 + len(w.taps)))
        y = fftconvolve(x, kernels[..., 0], "full" if w.padded else "valid", axes)
        y = y[:, : w.shape[0]] if w.padded else y
    else:
        y = np.zeros((w.records, *w.shape, w.outputs))
        for lag, tap in enumerate(kernels[0]):
            y[:, lag:] += x[:, : w.shape[0] - lag] @ tap
    return x, y + w.noise * y.std() * rng.standard_normal(y.shape)


def exact(w: Workload, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The ridge answer, from normal equations refined once, without an intercept and with one."""
    from scipy.linalg import cho_factor, cho_solve

    if w.apart:
        a = np.stack([windows(w, record).reshape(-1, w.unknowns) for record in x])
        kernels = (np.linalg.pinv(a) @ y)[..., 0]
        return kernels, kernels
    if w.matrix_gb > 4 and w.records == w.inputs == w.outputs == len(w.taps):
        kernel = long_answer(w, x.ravel(), y.ravel())
        return kernel, np.full_like(kernel, np.nan)  # whoever fits an intercept needs the matrix

    def blocks():
        """The lag matrix with a column of ones, 256 MB at a time, and y."""
        for record, out in zip(x, y, strict=True):
            of_record = windows(w, record)
            step = max(1, int(3.2e7 / (w.unknowns * math.prod(out.shape[1:-1]))))
            for i in range(0, len(out), step):
                a = of_record[i : i + step].reshape(-1, w.unknowns)
                b = out[i : i + step].reshape(-1, w.outputs)
                yield np.pad(a, ((0, 0), (0, 1)), constant_values=1), b

    gram, rhs = np.zeros((w.unknowns + 1,) * 2), np.zeros((w.unknowns + 1, w.outputs))
    for a, b in blocks():
        gram += a.T @ a
        rhs += a.T @ b
    penalty = np.full((w.unknowns + 1, 1), w.ridge)
    penalty[-1] = 0
    gram[np.diag_indices(len(gram))] += penalty[:, 0]
    answers = []
    for size in (w.unknowns, w.unknowns + 1):
        factor = cho_factor(gram[:size, :size])
        solution = cho_solve(factor, rhs[:size])
        gradient = -penalty[:size] * solution
        for a, b in blocks():
            gradient += a[:, :size].T @ (b - a[:, :size] @ solution)
        solution += cho_solve(factor, gradient)
        answers.append(solution[: w.unknowns].reshape(*w.taps, w.inputs, w.outputs))
    return answers[0], answers[1]


def long_answer(w: Workload, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """`exact` for thousands of taps of one channel: the Toeplitz system, refined with the edges.

    The Toeplitz matrix counts the windows that hang over the end of the record, the Gram matrix
    does not, so that it is the larger one and the corrections shrink.
    """
    from scipy.linalg import solve_toeplitz
    from scipy.signal import fftconvolve

    n, (taps,) = len(x), w.taps

    def correlate(r: np.ndarray) -> np.ndarray:
        return fftconvolve(r, x[::-1])[n - 1 : n - 1 + taps]

    column = correlate(x)
    column[0] += w.ridge
    kernel, step = np.zeros(taps), np.ones(taps)
    while np.linalg.norm(step) > 1e-13 * np.linalg.norm(kernel):
        residual = y - fftconvolve(x, kernel)[:n]
        step = solve_toeplitz(column, correlate(residual) - w.ridge * kernel)
        kernel += step
    return kernel.reshape(taps, 1, 1)


# A method takes workload, x and y and returns what is timed: a fit, to the kernel (lags ascending).
Fit = Callable[[], Any]


def certified(w: Workload, x: np.ndarray, y: np.ndarray) -> Fit:
    import convsolve as cs

    if w.padded:
        lags = (0, w.taps[0] - 1)
        return lambda: cs.solve(cs.Problem(x, y, lags=lags, edges="zeros"), ridge=w.ridge)
    return lambda: cs.solve(cs.Problem(x, y, kernel_size=w.taps), ridge=w.ridge)


def grouped(w: Workload, x: np.ndarray, y: np.ndarray) -> Fit:
    import convsolve as cs

    x, y = np.ascontiguousarray(x[..., 0].T), np.ascontiguousarray(y[..., 0].T)
    kernels = {"kernel_size": w.taps, "groups": w.records}
    return lambda: cs.solve(cs.Problem(x, y, **kernels), ridge=w.ridge)


def mapped(w: Workload, x: np.ndarray, y: np.ndarray) -> Fit:
    import jax

    import convsolve as cs

    spec = cs.ConvSpec(w.taps)

    def kernel(x: Any, y: Any) -> Any:
        return cs.fit_kernel(x[None], y[None], spec, ridge=w.ridge)[0][::-1, 0, 0]

    fit = jax.jit(jax.vmap(kernel))

    def run() -> np.ndarray:
        with jax.enable_x64(True):
            return np.asarray(fit(x, y))

    return run


def mne(w: Workload, x: np.ndarray, y: np.ndarray) -> Fit:
    from mne import set_log_level
    from mne.decoding import TimeDelayingRidge

    set_log_level("ERROR")  # no bar of progress, which takes longer than a small fit
    model = TimeDelayingRidge(0, w.taps[0] - 1, 1.0, alpha=w.ridge, fit_intercept=False)
    x, y = (np.ascontiguousarray(np.moveaxis(a, 0, 1)) for a in (x, y))
    return lambda: model.fit(x, y).coef_.T


def mtrf(w: Workload, x: np.ndarray, y: np.ndarray) -> Fit:
    from mtrf.model import TRF

    model, ridge = TRF(), w.ridge / w.records

    def run() -> np.ndarray:
        model.train(list(x), list(y), 1, 0, w.taps[0] - 1, ridge, verbose=False)
        return model.weights.swapaxes(0, 1)

    return run


def fftrf(w: Workload, x: np.ndarray, y: np.ndarray) -> Fit:
    from fftrf import TRF

    model, ridge, (taps,) = TRF(), w.ridge / w.records, w.taps
    # The spectra of one segment are of rank one, so that several channels need several.
    settings = {"segment_length": min(10 * taps, *w.shape) if w.inputs > 1 else None}

    def run() -> np.ndarray:
        model.train(list(x), list(y), 1, 0, taps, ridge, detrend=None, **settings)
        return model.weights.swapaxes(0, 1)

    return run


def lag_matrix(w: Workload, x: np.ndarray, more: int = 0) -> np.ndarray:
    """The windows of all records below one another, and ``more`` rows of zeros."""
    a = np.zeros((w.rows + more, w.unknowns))
    for record, block in zip(x, a[: w.rows].reshape(w.records, -1), strict=True):
        of_record = windows(w, record)
        block.reshape(of_record.shape)[...] = of_record
    return a


def sklearn_ridge(w: Workload, x: np.ndarray, y: np.ndarray) -> Fit:
    from sklearn.linear_model import Ridge

    model = Ridge(w.ridge, fit_intercept=False)
    return lambda: np.reshape(
        model.fit(lag_matrix(w, x), y.reshape(w.rows, -1)).coef_.T, (*w.taps, w.inputs, w.outputs)
    )


def scipy_lstsq(w: Workload, x: np.ndarray, y: np.ndarray) -> Fit:
    from scipy.linalg import lstsq

    def run() -> np.ndarray:
        a = lag_matrix(w, x, w.unknowns)
        np.fill_diagonal(a[w.rows :], np.sqrt(w.ridge))
        b = np.concatenate([y.reshape(w.rows, -1), np.zeros((w.unknowns, w.outputs))])
        found = lstsq(a, b, overwrite_a=True, overwrite_b=True)[0]
        return found.reshape(*w.taps, w.inputs, w.outputs)

    return run


def scipy_lsqr(w: Workload, x: np.ndarray, y: np.ndarray) -> Fit:
    from scipy.fft import irfft, next_fast_len, rfft
    from scipy.sparse.linalg import LinearOperator, lsqr

    (samples,), (taps,) = w.shape, w.taps
    size = next_fast_len(samples + taps - 1, real=True)

    def run() -> np.ndarray:
        spectrum = rfft(x, size, 1, workers=-1)
        conjugate = spectrum.conj()

        def forward(kernel: np.ndarray) -> np.ndarray:
            response = rfft(kernel.reshape(taps, w.inputs), size, 0, workers=-1)
            out = np.einsum("nfc,fc->nf", spectrum, response)
            return irfft(out, size, 1, workers=-1)[:, :samples].ravel()

        def adjoint(r: np.ndarray) -> np.ndarray:
            r = rfft(r.reshape(w.records, samples), size, 1, workers=-1)
            out = np.einsum("nfc,nf->fc", conjugate, r)
            return irfft(out, size, 0, workers=-1)[:taps].ravel()

        shape = (w.rows, w.unknowns)
        operator = LinearOperator(shape, forward, adjoint, dtype=np.float64)
        options = {"damp": np.sqrt(w.ridge), "atol": 1e-11, "btol": 1e-11, "iter_lim": 10**5}
        columns = [lsqr(operator, y[..., o].ravel(), **options)[0] for o in range(w.outputs)]
        return np.stack(columns, -1).reshape(taps, w.inputs, w.outputs)

    return run


def toeplitz(w: Workload, x: np.ndarray, y: np.ndarray) -> Fit:
    from scipy.fft import irfft, next_fast_len, rfft
    from scipy.linalg import solve_toeplitz

    (taps,) = w.taps
    size = next_fast_len(w.shape[0] + taps - 1, real=True)

    def run() -> np.ndarray:
        spectrum = rfft(x, size, 1, workers=-1)
        cross = (spectrum.conj() * rfft(y, size, 1, workers=-1)).sum(0)
        auto = irfft((np.abs(spectrum) ** 2).sum(0), size, 0, workers=-1)[:taps, 0]
        auto[0] += w.ridge
        found = solve_toeplitz(auto, irfft(cross, size, 0, workers=-1)[:taps])
        return found.reshape(taps, 1, w.outputs)

    return run


def one_by_one(w: Workload, x: np.ndarray, y: np.ndarray) -> Fit:
    def run() -> np.ndarray:
        pairs = zip(x, y, strict=True)
        return np.stack(
            [np.linalg.lstsq(windows(w, a)[..., 0], b, rcond=None)[0][:, 0] for a, b in pairs]
        )

    return run


def transforms(w: Workload, x: np.ndarray, y: np.ndarray) -> Fit:
    from scipy.fft import next_fast_len, rfftn

    axes = list(range(1, x.ndim - 1))
    more = w.taps[0] - 1 if w.padded else 0
    sizes = [next_fast_len(n + more, real=True) for n in w.shape]

    def run() -> None:
        for a in (x, y):
            rfftn(a, sizes, axes, workers=-1)

    return run
