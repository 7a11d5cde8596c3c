"""Least squares for thousands of taps by conjugate gradients on the kernel, with a certificate."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass
from typing import Any, NamedTuple

import numpy as np

from ..interrupts import interruptible
from ..lazy_jax import is_tracer
from ..leastsquares.analysis import Analysis
from ..leastsquares.certificate import EXACT, Certificate
from ..leastsquares.design import without_gram
from ..leastsquares.normal_operator import Normal
from ..leastsquares.penalty import Ridge
from ..leastsquares.regression import NOISE, Regression
from ..linalg.conjugate_gradient import Conjugate
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
# The test of full rank takes at most this multiple of the steps of the solution, plus this many.
WORTH, MORE = 2, 20


class _Found(NamedTuple):
    """Solutions w (G, P, Q), their ‖r‖ and Aᵀr from the data, and bounds on backward errors."""

    w: np.ndarray
    r_norm: np.ndarray
    g: np.ndarray
    errors: np.ndarray

    def or_better(self, other: _Found) -> _Found:
        """Return for every output the solution with the smaller error."""
        best = other.errors < self.errors
        pairs = zip(self, other, strict=True)
        return _Found(*(np.where(best[:, None] if a.ndim == 3 else best, b, a) for a, b in pairs))

    @property
    def error(self) -> float:
        """The largest backward error."""
        return float(self.errors.max())


class _Pass:
    """CG on the gradient that a solution of one group leaves."""

    def __init__(self, normal: Normal, found: _Found, enough: float) -> None:
        self._live, self._w, g = normal.live, found.w[normal.group], found.g[normal.group]
        errors, begun = found.errors[normal.group], self._w.any(0)
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

    def step(self) -> np.ndarray | None:
        """Return the decrease (Q,) of ‖r‖² in one more step, or None if all outputs are done."""
        self._open &= self._cg.squares > self._goal
        if not self._open.any():
            return None
        decrease = self._cg.step(self._open)
        self._open &= decrease > 0
        self._steps += 1
        return decrease

    @property
    def _goal(self) -> np.ndarray:
        """Square (Q,) of the norm of the residual that is small enough."""
        size = np.linalg.norm(self.solution, axis=0)
        return np.maximum(self._least, (self._promise * size) ** 2)

    def too_slow(self, steps: int) -> bool:
        """Return whether the solution is not expected in this number of steps."""
        if self._steps < JUDGED:
            return False
        decrease, required = (np.log(self._begun / a) for a in (self._cg.squares, self._goal))
        return bool((self._open & (decrease * steps < PACE * self._steps * required)).any())


class _Course:
    """All passes of one run: the best solutions, and the loss after every step."""

    def __init__(
        self,
        regression: Regression,
        normals: Sequence[Normal],
        enough: float,
        steps: int,
        attempt: bool,
        stop: Callable[[], bool],
    ) -> None:
        self._regression, self._normals, self._stop = regression, normals, stop
        self._steps, self._attempt, self._hopeless = steps, attempt, False
        # The kernel can be wrong by √P backward errors, so that one more pass can be useful.
        self._enough, self._aim = enough, enough if enough > EXACT else NOISE
        self.passes, self.losses = 0, [0.0]
        g = regression.scaling.divided(regression.cross)
        self.found = self._certified(np.zeros(regression.shape), regression.y_norms, g)
        # Mean squares in the user's units with the penalty, without overflow.
        powers = np.clip(2 * regression.y_exponents, -900, 900)
        rows = regression.matrix.rows
        self._unit = np.ldexp(1.0 / (rows * self.found.r_norm.size), powers)
        self.losses = [self._loss()]

    def _certified(self, w: np.ndarray, r_norm: np.ndarray, g: np.ndarray) -> _Found:
        """Return solutions with their backward errors."""
        # A ridge that proves full rank makes a bound superfluous that takes more steps than a pass.
        certain = self._regression.system.ridge_certifies
        given = self._enough if certain else self._aim, self._proof_steps, self._stop
        by_group = zip(self._normals, w, r_norm, g, strict=True)
        errors = [normal.backward_error(a, b, c, *given) for normal, a, b, c in by_group]
        return _Found(w, r_norm, g, np.stack(errors))

    @property
    def _proof_steps(self) -> int:
        return WORTH * len(self.losses) + MORE

    def _loss(self) -> float:
        with np.errstate(over="ignore", under="ignore"):
            return float((self._unit * self.found.r_norm**2).sum())

    @property
    def out_of_steps(self) -> bool:
        """Whether no step is left, or an attempt is too slow."""
        return self._hopeless or len(self.losses) > self._steps

    def run(self) -> str:
        """Run passes until one of them is the last, and return the status."""
        # With a ridge much larger than A, even a kernel of zeros has a small backward error.
        status = None if self.found.g.any() else "solved"
        with stage("steps of conjugate gradients", self._steps) as self._report:
            while status is None:
                before = self.found.error
                self._pass()
                status = self._status(before)
        return status

    def _pass(self) -> None:
        self.passes += 1
        runs = [_Pass(n, self.found, self._aim) for n in self._normals]
        while not self.out_of_steps and not self._stop():
            taken = [run.step() for run in runs]
            if all(t is None for t in taken):
                break
            pairs = zip(self._unit, taken, strict=True)
            less = sum(float((unit * t).sum()) for unit, t in pairs if t is not None)
            self.losses.append(max(self.losses[-1] - less, 0.0))
            self._report(len(self.losses) - 1, f"loss {self.losses[-1]:.3g}")
            self._hopeless = self._attempt and any(run.too_slow(self._steps) for run in runs)
        if self._hopeless:
            return
        w = np.stack([run.solution for run in runs])
        self.found = self.found.or_better(self._certified(w, *self._regression.residual(w)))
        self.losses[-1] = self._loss()

    def _status(self, before: float) -> str | None:
        """Return the status that ends the run after a pass, or None for another pass."""
        error, interrupted = self.found.error, self._stop()
        settled = not error < GAIN * before or self.out_of_steps
        if error <= self._aim or (error <= self._enough and (settled or interrupted)):
            return "solved"
        if interrupted:
            return "interrupted"
        if settled:
            return "max steps" if self.out_of_steps else "stagnated"
        return None

    def evidence(self) -> str | None:
        """Return what proves full rank, or None if a limited number of steps does not."""
        if self._regression.system.ridge_certifies:
            return "the ridge alone"
        proved = all(n.full_rank(self._proof_steps, self._stop) for n in self._normals)
        return "conjugate gradients on a random vector" if proved else None


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
        return self.solution(*equations(analysis, objective))

    def solution(
        self, regression: Regression, normals: Sequence[Normal], attempt: bool = False
    ) -> SolverResult:
        """Return the solution of the normal equations of all groups.

        An ``attempt`` ends with the status "max steps" as soon as the steps are not expected to be
        enough. Full rank is then not tested.
        """
        enough = max(float(self.tol or 0.0), EXACT)
        with _many_small_products():
            with interruptible() as ctrl_c:
                given = self.steps, attempt, lambda: bool(ctrl_c.pressed)
                course = _Course(regression, normals, enough, *given)
                status = course.run()
                needless = ctrl_c.pressed or (attempt and status != "solved")
                evidence = None if needless else course.evidence()
            if ctrl_c.pressed and not (evidence and status == "solved"):
                status = "interrupted"
            losses, steps = np.array(course.losses), len(course.losses) - 1
            return packed(
                regression,
                course.found.w,
                Certificate(course.found.error, "upper bound"),
                evidence,
                status=status,
                stats={"steps": steps, "passes": course.passes, "evidence": evidence or "none"},
                trace=Trace(np.arange(len(losses)), losses, {}),
                answer=self.answer,
            )


def equations(analysis: Analysis, objective: Objective) -> tuple[Regression, list[Normal]]:
    """Return the regression and the normal equations of every group."""
    with _many_small_products():
        regression = analysis.regression(objective.penalty, objective.strength)
        return regression, [Normal(regression.system, g) for g in range(regression.matrix.groups)]


@contextmanager
def _many_small_products() -> Iterator[None]:
    # Overflow ends in a certificate that is not finite.
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"), one_blas_thread():
        yield
