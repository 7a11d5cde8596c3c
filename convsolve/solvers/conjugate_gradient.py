"""Least squares for thousands of taps by conjugate gradients on the kernel, with a certificate."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any

import numpy as np

from ..interrupts import interruptible
from ..lazy_jax import is_tracer
from ..leastsquares.analysis import Analysis
from ..leastsquares.certificate import EXACT, Certificate
from ..leastsquares.design import without_gram
from ..leastsquares.normal_operator import Normal
from ..leastsquares.penalty import Ridge
from ..leastsquares.regression import NOISE, Regression
from ..linalg.conjugate_gradient import Conjugate, Stop
from ..linalg.rank import EPS
from ..linalg.threads import one_blas_thread
from ..near_misses import checks_arguments
from ..problem.checks import integer, number
from ..problem.sizes import Sizes
from ..problem.spec import ConvSpec
from ..progress import stage
from .base import Objective, Solver, SolverResult, Trace, packed, traceable

# CG continues until its residual predicts this share of the requested backward error.
SHARE = 0.1
# A relative residual of CG below this does not describe the gradient of the data any more.
FLOOR = 1e-14
# The passes end when one does not multiply the backward error by less than this.
GAIN = 0.5
# An attempt ends if, after so many steps, the logarithm of the residual has decreased by less than
# this share of what the largest number of steps requires.
JUDGED, PACE = 20, 0.5
# An attempt gets P / 20 steps, which cost about as much as the factor that is made where they do
# not converge. Where they converge, they take fewer than ``MOST_STEPS``.
UNKNOWNS_A_STEP, MOST_STEPS = 20, 100
# The test of full rank takes at most this multiple of the steps of the solution, plus this many.
WORTH, MORE = 2, 20


class _Pass:
    """CG on the gradient g that a solution w of one group leaves."""

    def __init__(
        self, normal: Normal, w: np.ndarray, g: np.ndarray, errors: np.ndarray, enough: float
    ) -> None:
        self._live, self._w, begun = normal.live, w, w.any(0)
        # A kernel of zeros is a solution only if its gradient is zero.
        self._open = (errors > enough) | (~begun & g.any(0))
        floor = EPS * normal.largest
        self._cg = Conjugate(normal.product, normal.inverse, self._live * g, floor)
        # The residual has to decrease by the same factor as the backward error. At w = 0 this
        # factor is not known, and the norm of M⁻¹ is used instead of that of (AᵀA)⁻¹.
        self._promise = np.where(begun, 0.0, SHARE * enough * normal.a_norm)
        share = np.where(begun, SHARE * enough / np.maximum(errors, enough), FLOOR)
        self._begun, self._steps = self._cg.squares, 0
        self._least = np.maximum(share, FLOOR) ** 2 * self._begun

    @property
    def solution(self) -> np.ndarray:
        """The solution w (P, Q) with its correction."""
        return self._w + self._live * self._cg.x

    @property
    def _goal(self) -> np.ndarray:
        """Square (Q,) of the norm of the residual that is small enough."""
        return np.maximum(self._least, (self._promise * np.linalg.norm(self.solution, axis=0)) ** 2)

    @property
    def active(self) -> np.ndarray:
        """The outputs (Q,) whose residuals are too large."""
        return np.asarray(self._open & (self._cg.squares > self._goal))

    def step(self) -> np.ndarray:
        """Return the decrease (Q,) of ‖r‖² in one more step."""
        active = self.active
        decrease = self._cg.step(active)
        self._open = active & (decrease > 0)
        self._steps += 1
        return decrease

    def too_slow(self, steps: int) -> bool:
        """Return whether the solution is not expected in this number of steps."""
        if self._steps < JUDGED:
            return False
        decrease, required = (np.log(self._begun / a) for a in (self._cg.squares, self._goal))
        return bool((self._open & (decrease * steps < PACE * self._steps * required)).any())


class _Course:
    """All passes of one run, with the best solutions (G, P, Q) and the loss after every step."""

    def __init__(self, regression: Regression, normals: Sequence[Normal], tol: float) -> None:
        self._regression, self._normals = regression, normals
        # The kernel can be wrong by √P backward errors, so that one more pass can be useful.
        self._enough, self._aim = tol, tol if tol > EXACT else NOISE
        self.passes, self.losses = 0, [0.0]
        # Mean squares in the user's units with the penalty, without overflow.
        powers = np.clip(2 * regression.y_exponents, -900, 900)
        self._unit = np.ldexp(1.0 / (regression.matrix.rows * powers.size), powers)
        self.w, self._g = (np.zeros(regression.shape) for _ in range(2))
        self._r_norm, self._errors = (np.full(powers.shape, np.inf) for _ in range(2))

    @property
    def error(self) -> float:
        """The largest backward error."""
        return float(self._errors.max())

    @property
    def proof_steps(self) -> int:
        """Number of steps that a proof of full rank is worth."""
        return WORTH * len(self.losses) + MORE

    def _keep(self, w: np.ndarray, r_norm: np.ndarray, g: np.ndarray, stop: Stop) -> None:
        """Keep the solution of every output whose backward error is less than before."""
        # A ridge that proves full rank makes a bound superfluous that takes more steps than a pass.
        aim = self._enough if self._regression.system.ridge_certifies else self._aim
        given = aim, self.proof_steps, stop
        groups = zip(self._normals, w, r_norm, g, strict=True)
        errors = np.stack([n.backward_error(a, b, c, *given) for n, a, b, c in groups])
        better = ~(errors >= self._errors)
        pairs = (self.w, w), (self._g, g), (self._r_norm, r_norm), (self._errors, errors)
        for kept, found in pairs:
            np.copyto(kept, found, where=better[:, None] if kept.ndim == 3 else better)
        self.losses[-1] = float((self._unit * self._r_norm**2).sum())

    def run(self, steps: int, attempt: bool, stop: Stop) -> str:
        """Run passes until one of them is the last, and return the status."""
        regression, status = self._regression, None
        g = regression.scaling.divided(regression.cross)
        self._keep(self.w.copy(), regression.y_norms, g, stop)
        if not g.any():  # with a large ridge, a kernel of zeros has a small backward error too
            return "solved"
        with stage("steps of conjugate gradients", steps) as report:
            while status is None:
                before = self.error
                status = self._status(before, self._pass(steps, attempt, stop, report), stop())
        return status

    def _pass(self, steps: int, attempt: bool, stop: Stop, report: Callable[..., None]) -> bool:
        """Run one pass, and return whether no step is left, or an attempt is too slow."""
        self.passes += 1
        groups = zip(self._normals, self.w, self._g, self._errors, strict=True)
        runs = [_Pass(*found, self._aim) for found in groups]
        while any(run.active.any() for run in runs) and len(self.losses) <= steps and not stop():
            decrease = float((self._unit * np.stack([run.step() for run in runs])).sum())
            self.losses.append(max(self.losses[-1] - decrease, 0.0))
            report(len(self.losses) - 1, f"loss {self.losses[-1]:.3g}")
            if attempt and any(run.too_slow(steps) for run in runs):
                return True
        w = np.stack([run.solution for run in runs])
        self._keep(w, *self._regression.residual(w), stop)
        return len(self.losses) > steps

    def _status(self, before: float, ended: bool, interrupted: bool) -> str | None:
        """Return the status that ends the run after a pass, or None for another pass."""
        settled = ended or not self.error < GAIN * before
        if self.error <= (self._enough if settled or interrupted else self._aim):
            return "solved"
        if interrupted or not settled:
            return "interrupted" if interrupted else None
        return "max steps" if ended else "stagnated"


@checks_arguments
@traceable("tol")
@dataclass(frozen=True, repr=False)
class ConjugateGradient(Solver):
    """Least squares by preconditioned conjugate gradients, for kernels with thousands of taps.

    Minimizes ‖y − Aw‖² + ridge·‖w‖² by conjugate gradients (CG) on the normal equations. Use it
    when the P² numbers of AᵀA or the P³ time of a factor are too much. It supports one axis, a
    ridge or no penalty, masks and weights, but no confounds and no basis.

    A step takes a few FFTs of twice the length of the kernel, and does not depend on the length of
    the records: AᵀA is the Toeplitz matrix of the autocorrelation of x, minus the terms at the
    edges of the records. With masks or weights, and for records that do not fit in memory or are
    shorter than two kernels, a step takes two passes over the data instead. The preconditioner is
    the exact inverse of the Toeplitz matrix of x with tapered ends, by Levinson's recursion in P²/K
    operations for K taps. If a short autoregression whitens x, it is the inverse of its Toeplitz
    matrix. Ten to thirty steps are enough for almost any spectrum, if every record is ten times as
    long as the kernel.

    Then the residual and the gradient are computed from the data, and CG starts again with them.
    The passes end when the backward error is at most ``tol`` ("solved"), when a pass does not halve
    it ("stagnated"), or after ``steps`` steps ("max steps"). The best solution is returned. With
    the default ``tol``, passes continue to 4 eps as long as they halve the error. The certificate
    does not require a factor. Neither does the proof of full rank, by CG on a random vector
    (``stats["evidence"]``). If it is inconclusive, `identify` decides.

    Args:
        steps: largest number of steps of all passes together, by default 1000.
        tol: backward error to reach. None, the default, and smaller values mean 30 eps.

    Normal equations square the condition number κ of A (columns of norm one). Expect a proof of
    full rank up to a κ of about 1e5. Without this proof, the status is "solved" only if the
    residual is not small. Use ``"normal"`` or ``"qr"`` for a larger κ, for data that do not
    determine the kernel without a ridge, and for fewer than about 800 unknowns plus 20 per channel
    and 30 per output. Runs on the host only. Fewer rows than unknowns require a ridge.

    Source: R. H. Chan and M. K. Ng, Conjugate gradient methods for Toeplitz systems, SIAM Review 38
    (1996) 427; P. Whittle, On the fitting of multivariate autoregressions, Biometrika 50 (1963)
    129.

    Examples:
        >>> import numpy as np
        >>> import convsolve as cs
        >>> x, noise = np.random.default_rng(0).standard_normal((2, 20000))
        >>> problem = cs.Problem(x, np.convolve(x, np.ones(9))[:20000] + noise, lags=(0, 999))
        >>> fit = cs.solve(problem, cs.ConjugateGradient(steps=100))
        >>> fit.status
        'solved'

    See Also:
        ``"normal"`` and ``"qr"`` for a larger condition number, and ``"auto"``.
    """

    answer = "one kernel of many, small where the spectrum of x is large"

    _: KW_ONLY
    steps: int = 1000
    tol: Any = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tol is not None and not is_tracer(self.tol):
            object.__setattr__(self, "tol", number(self.tol, "tol"))
        object.__setattr__(self, "steps", integer(self.steps, "steps"))

    def supports(self, sizes: Sizes, spec: ConvSpec, objective: Objective) -> str | None:
        """Require one axis, at most a ridge, and a ridge for wide problems."""
        ridge = not objective.strength or isinstance(objective.penalty, Ridge)
        if not (without_gram(sizes, spec) and ridge):
            return (
                "conjugate gradients are for kernels along one axis, without confounds or a basis, "
                "and with a ridge or no penalty"
            )
        if not sizes.wide or objective.strength:
            return None
        return (
            f"{sizes.rows} equations do not determine {sizes.unknowns} unknowns; give a ridge, or "
            "use solver='qr' for the kernel of minimum norm"
        )

    def run(self, analysis: Analysis, objective: Objective) -> SolverResult:
        return self._solution(*_equations(analysis, objective))

    def attempt(self, analysis: Analysis, objective: Objective) -> tuple[SolverResult | None, str]:
        """Return the solution, or None and the reason why a factor takes less time."""
        if not analysis.design.whole_matrix.by_fft:
            return None, "no FFTs, since rows differ in weight or columns in norm"
        regression, normals = _equations(analysis, objective)
        if not all(normal.definite for normal in normals):
            return None, "the spectrum of x spans too many digits"
        sizes, steps = analysis.design.sizes, self.steps
        if sizes.gram_fits:
            steps = min(sizes.unknowns // UNKNOWNS_A_STEP, MOST_STEPS)
        found = replace(self, steps=steps)._solution(regression, normals, attempt=True)
        if found.status == "interrupted" or (found.status == "solved" and found.evidence):
            return found, ""
        return None, "full rank not proved" if found.status == "solved" else str(found.status)

    def _solution(
        self, regression: Regression, normals: Sequence[Normal], attempt: bool = False
    ) -> SolverResult:
        """Return the solution of the normal equations of all groups.

        An ``attempt`` ends with the status "max steps" as soon as the steps are not expected to be
        enough. Full rank is then not tested.
        """
        course = _Course(regression, normals, max(float(self.tol or 0.0), EXACT))
        with _many_small_products(), interruptible() as ctrl_c:

            def stop() -> bool:
                return bool(ctrl_c.pressed)

            status, evidence = course.run(self.steps, attempt, stop), None
            if regression.system.ridge_certifies:
                evidence = "the ridge alone"
            elif not (stop() or (attempt and status != "solved")) and all(
                normal.full_rank(course.proof_steps, stop) for normal in normals
            ):
                evidence = "conjugate gradients on a random vector"
            if stop() and not (evidence and status == "solved"):
                status = "interrupted"
            losses = np.array(course.losses)
            return packed(
                regression,
                course.w,
                Certificate(course.error, "upper bound"),
                evidence,
                status=status,
                stats={
                    "steps": len(losses) - 1,
                    "passes": course.passes,
                    "evidence": evidence or "none",
                },
                trace=Trace(np.arange(len(losses)), losses, {}),
                answer=self.answer,
            )


def _equations(analysis: Analysis, objective: Objective) -> tuple[Regression, list[Normal]]:
    """Return the regression and the normal equations of every group."""
    with _many_small_products():
        regression = analysis.regression(objective.penalty, objective.strength)
        return regression, [Normal(regression.system, g) for g in range(regression.matrix.groups)]


@contextmanager
def _many_small_products() -> Iterator[None]:
    # Overflow ends in a certificate that is not finite.
    ignored = np.errstate(over="ignore", under="ignore", divide="ignore", invalid="ignore")
    with ignored, one_blas_thread():
        yield
