"""Least squares by the iterations of other packages, on the data of the benchmark of descent.

Every function returns a `Run` with the ratio of excess loss to statistical error after some steps.
The ratio is computed from AᵀA of the lag matrix, outside of the measured time.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from .descent_inputs import Data, kept, lagged

# Steps at which the kernel is kept.
LOOKS = (
    1,
    2,
    3,
    5,
    8,
    10,
    13,
    18,
    24,
    32,
    42,
    56,
    75,
    100,
    133,
    178,
    237,
    316,
    422,
    562,
    750,
    1000,
)


class Run(NamedTuple):
    """Steps, seconds since the first step, ratios, and the unit of a step."""

    unit: str
    steps: list[int]
    seconds: list[float]
    ratios: list[float]
    settings: str = ""

    def row(self, method: str, exact: float) -> dict[str, Any]:
        """The row of the result file, for an exact solution of some seconds."""
        row: dict[str, Any] = {
            "method": method,
            "settings": self.settings,
            "unit": self.unit,
            "steps": self.steps[-1],
            "seconds": float(f"{self.seconds[-1]:.4g}"),
            "ratio": float(f"{self.ratios[-1]:.3g}"),
        }
        for name, level in (("error", 1.0), ("hundredth", 0.01)):
            first = next((i for i, ratio in enumerate(self.ratios) if ratio <= level), None)
            seconds = None if first is None else self.seconds[first]
            row[f"steps_to_{name}"] = None if first is None else self.steps[first]
            row[f"seconds_to_{name}"] = seconds and float(f"{seconds:.4g}")
            row[f"{name}_over_exact"] = seconds and float(f"{seconds / exact:.3g}")
        return row


class Measure:
    """The exact solution of the lag matrix, and the ratio of other kernels.

    Attributes:
        matrix: (rows, P), windows of x with ascending lags.
        target: (rows, outputs).
        kernel: (P, outputs), the exact kernel.
        error: the statistical error of the sum of squares.
    """

    def __init__(self, data: Data) -> None:
        self.matrix = lagged(data.x, data.kind.taps)
        self.target = kept(data.y, data.kind.taps)
        self.gram = self.matrix.T @ self.matrix
        self.kernel = np.linalg.lstsq(self.matrix, self.target, rcond=None)[0]
        rows, unknowns = self.matrix.shape
        squares = np.square(self.target - self.matrix @ self.kernel).sum()
        self.error = float(squares / (rows - unknowns) * unknowns)

    def ratio(self, kernel: np.ndarray) -> float:
        """Excess loss over statistical error of a kernel (P, outputs)."""
        difference = np.asarray(kernel, float).reshape(self.kernel.shape) - self.kernel
        return float(np.sum(difference * (self.gram @ difference)) / self.error)


def stochastic(measure: Measure, passes: int, eta: float | None) -> Run:
    """Stochastic descent of scikit-learn, a row at a time, with its default rate or another."""
    from sklearn.linear_model import SGDRegressor

    settings = {} if eta is None else {"eta0": eta}
    model = SGDRegressor(penalty=None, fit_intercept=False, random_state=0, **settings)
    target = measure.target[:, 0]
    steps, seconds, ratios, spent = [], [], [], 0.0
    for number in range(1, passes + 1):
        begun = time.perf_counter()
        model.partial_fit(measure.matrix, target)
        spent += time.perf_counter() - begun
        steps.append(number)
        seconds.append(spent)
        finite = np.isfinite(model.coef_).all()
        ratios.append(measure.ratio(model.coef_) if finite else float("inf"))
    return Run("passes", steps, seconds, ratios)


def tuned(measure: Measure, passes: int, etas: tuple[float, ...]) -> Run:
    """The run with the smallest last ratio, with its rate."""
    runs = [stochastic(measure, passes, eta)._replace(settings=f"eta0={eta:g}") for eta in etas]
    return min(runs, key=lambda run: run.ratios[-1])


def torch_adam(data: Data, measure: Measure, rate: float, steps: int, threads: int) -> Run:
    """Adam of PyTorch on a Conv1d in float64, which starts at zero, with a number of threads."""
    import torch

    torch.set_num_threads(threads)
    layer = torch.nn.Conv1d(
        data.kind.channels, data.kind.outputs, data.kind.taps[0], bias=False, dtype=torch.float64
    )
    torch.nn.init.zeros_(layer.weight)
    optimizer = torch.optim.Adam(layer.parameters(), lr=rate)
    x = torch.from_numpy(np.ascontiguousarray(data.x.T[None]))
    y = torch.from_numpy(np.ascontiguousarray(measure.target.T[None]))

    def step() -> None:
        optimizer.zero_grad()
        torch.mean((layer(x) - y) ** 2).backward()
        optimizer.step()

    # A first step is not measured.
    step()
    optimizer = torch.optim.Adam(layer.parameters(), lr=rate)
    torch.nn.init.zeros_(layer.weight)

    numbers, seconds, ratios, spent, done = [], [], [], 0.0, 0
    for look in [*(n for n in LOOKS if n < steps), steps]:
        begun = time.perf_counter()
        for _ in range(look - done):
            step()
        spent += time.perf_counter() - begun
        done = look
        # (outputs, channels, taps) correlates; the lag matrix has (taps, channels) ascending.
        weight = layer.weight.detach().numpy()[:, :, ::-1]
        kernel = weight.transpose(2, 1, 0).reshape(measure.kernel.shape)
        numbers.append(look)
        seconds.append(spent)
        ratios.append(measure.ratio(kernel))
    return Run("steps", numbers, seconds, ratios)


def optimistix_run(data: Data, measure: Measure, name: str, limits: tuple[int, ...]) -> Run:
    """A solver of optimistix on the mean square of lax.conv, run once for every limit of steps."""
    import jax
    import jax.numpy as jnp
    import optimistix as optx

    with jax.enable_x64(True):
        x = jnp.asarray(data.x[None])
        y = jnp.asarray(measure.target[None])

        def loss(kernel: Any, arguments: Any) -> Any:
            x, y = arguments
            layout = ("NWC", "WIO", "NWC")
            predicted = jax.lax.conv_general_dilated(
                x, kernel, (1,), "VALID", dimension_numbers=layout
            )
            return jnp.mean((predicted - y) ** 2)

        solver = getattr(optx, name)(rtol=1e-8, atol=1e-8)
        start = jnp.zeros((data.kind.taps[0], data.kind.channels, data.kind.outputs))

        def run(limit: int) -> Callable[[], tuple[Any, Any]]:
            @jax.jit
            def minimise(start: Any, arguments: Any) -> tuple[Any, Any]:
                found = optx.minimise(loss, solver, start, arguments, max_steps=limit, throw=False)
                return found.value, found.stats["num_steps"]

            return lambda: jax.block_until_ready(minimise(start, (x, y)))

        steps, seconds, ratios = [], [], []
        for limit in limits:
            call = run(limit)
            kernel, taken = call()
            spent = []
            for _ in range(3):
                begun = time.perf_counter()
                call()
                spent.append(time.perf_counter() - begun)
            steps.append(int(taken))
            seconds.append(min(spent))
            ratios.append(measure.ratio(np.asarray(kernel)[::-1]))
            if int(taken) < limit:
                break
    return Run("steps", steps, seconds, ratios)


def lsqr(data: Data, measure: Measure, limits: tuple[int, ...]) -> Run:
    """LSQR of SciPy with products by FFTs, run once for every limit of iterations."""
    from scipy.fft import irfft, next_fast_len, rfft
    from scipy.sparse.linalg import LinearOperator, lsqr

    taps = data.kind.taps[0]
    x = data.x[:, 0]
    length = next_fast_len(len(x) + taps - 1, real=True)
    spectrum = rfft(x, length)
    rows = len(x) - taps + 1

    def product(kernel: np.ndarray) -> np.ndarray:
        return irfft(spectrum * rfft(np.ravel(kernel), length), length)[taps - 1 : len(x)]

    def adjoint(residual: np.ndarray) -> np.ndarray:
        padded = np.zeros(len(x))
        padded[taps - 1 :] = np.ravel(residual)
        return irfft(np.conj(spectrum) * rfft(padded, length), length)[:taps]

    operator = LinearOperator((rows, taps), matvec=product, rmatvec=adjoint, dtype=float)
    target = measure.target[:, 0]
    # A first iteration is not measured. Two threads for norms of vectors wait for each other.
    with threadpool_limits(1):
        lsqr(operator, target, iter_lim=1)
    steps, seconds, ratios = [], [], []
    for limit in limits:
        with threadpool_limits(1):
            begun = time.perf_counter()
            found = lsqr(operator, target, atol=0, btol=0, conlim=0, iter_lim=limit)
            seconds.append(time.perf_counter() - begun)
        steps.append(int(found[2]))
        ratios.append(measure.ratio(found[0]))
    return Run("iterations", steps, seconds, ratios)
