"""Least squares for thousands of taps by conjugate gradients on the kernel, with a certificate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any

import numpy as np

from ..leastsquares.analysis import Analysis
from ..leastsquares.certificate import EXACT, Certificate
from ..leastsquares.design import without_gram
from ..leastsquares.normal_operator import PROOF_STEPS, Normal
from ..leastsquares.regression import NOISE, Regression
from ..linalg.conjugate_gradient import Conjugate, Stop
from ..linalg.rank import EPS
from ..linalg.threads import one_blas_thread
from ..notation import checks_arguments
from ..problem.checks import integer, number
from ..problem.sizes import Sizes
from ..problem.spec import ConvSpec
from ..progress import interruptible, stage
from .base import Objective, Solver, SolverResult, Trace, packed

# A pass reduces the residual of CG so far that it predicts this share of the requested backward
# error, but not below a relative size at which it does not describe the gradient of the data.
SHARE, FLOOR = 0.1, 1e-14
# The passes end when one does not multiply the backward error by less than this.
GAIN = 0.5
# An attempt gets P / 20 steps, which cost about as much as the factor that is made where they do
# not converge. Where they converge, they take fewer than ``MOST_STEPS``.
UNKNOWNS_A_STEP, MOST_STEPS = 20, 200


class _Course:
    """Passes of conjugate gradients, with the best solution w (G, P, Q) and the loss by step."""

    def __init__(
        self, regression: Regression, normals: Sequence[Normal], tol: float, steps: int, stop: Stop
    ) -> None:
        self._regression, self._normals, self._steps, self.stop = regression, normals, steps, stop
        # The kernel can be wrong by √P backward errors, so that one more pass can be useful.
        self._enough, self._aim = tol, tol if tol > EXACT else NOISE
        self._live = np.stack([normal.live for normal in normals])
        self.w, self._g = np.zeros(regression.shape), regression.scaling.divided(regression.cross)
        # A kernel of zeros is a solution only if its gradient is zero.
        self._errors = self._g.any(1).astype(float)
        self.error = float(self._errors.max())
        # Mean squares in the user's units, with the penalty.
        powers = 2 * regression.y_exponents
        self._unit = np.ldexp(1.0 / (regression.matrix.rows * powers.size), powers)
        self.losses = [float((self._unit * regression.y_norms**2).sum())]

    def run(self) -> str:
        """Run passes until one of them is the last, and return the status."""
        before = np.inf
        with stage("steps of conjugate gradients", self._steps) as report:
            while self.error > self._aim and self._going and self.error < GAIN * before:
                before = self.error
                self._pass(report)
        if self.error <= self._enough:
            return "solved"
        return "stagnated" if self._going else "interrupted" if self.stop() else "max steps"

    @property
    def _going(self) -> bool:
        return len(self.losses) <= self._steps and not self.stop()

    def _pass(self, report: Callable[..., None]) -> None:
        """Solve for the gradient that w leaves, and keep the sum if its backward error is less."""
        regression = self._regression
        pairs = zip(self._normals, self._live * self._g, strict=True)
        runs = [Conjugate(n.product, n.inverse, g, EPS * n.largest) for n, g in pairs]
        share = np.maximum(SHARE * self._aim / self._errors, FLOOR)
        least = share**2 * np.stack([run.squares for run in runs])
        active = (self._errors > self._aim) & (least > 0)
        while active.any() and self._going:
            decrease = np.stack([run.step(at) for run, at in zip(runs, active, strict=True)])
            active &= (decrease > 0) & (np.stack([run.squares for run in runs]) > least)
            self.losses.append(max(self.losses[-1] - float((self._unit * decrease).sum()), 0.0))
            report(len(self.losses) - 1, f"loss {self.losses[-1]:.3g}")
        w = self.w + self._live * np.stack([run.x for run in runs])
        r_norm, g = regression.residual(w)
        # A ridge that proves full rank makes a bound superfluous that takes more steps than a pass.
        aim = self._enough if regression.system.ridge_certifies else self._aim
        given = zip(self._normals, w, r_norm, g, strict=True)
        errors = np.stack([n.backward_error(a, b, c, aim, stop=self.stop) for n, a, b, c in given])
        if errors.max() < self.error:
            self.w, self._g, self._errors, self.error = w, g, errors, float(errors.max())
            self.losses[-1] = float((self._unit * r_norm**2).sum())


@checks_arguments
@dataclass(frozen=True, repr=False)
class ConjugateGradient(Solver):
    """Least squares by preconditioned conjugate gradients, for kernels with thousands of taps.

    Minimizes ‖y − Aw‖² + ridge·‖w‖² by conjugate gradients (CG) on the normal equations. Use it
    when the P² numbers of AᵀA or the P³ time of a factor are too much. It supports one axis, no
    penalty, a ridge or ``StableSpline(kind="dc", correlation=0)``, masks and weights, but no
    confounds and no basis.

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

    _: KW_ONLY
    steps: int = 1000
    tol: Any = None

    def __post_init__(self) -> None:
        if self.tol is not None:
            object.__setattr__(self, "tol", number(self.tol, "tol"))
        object.__setattr__(self, "steps", integer(self.steps, "steps"))

    def supports(self, sizes: Sizes, spec: ConvSpec, objective: Objective) -> str | None:
        """Require one axis, at most a ridge, and a ridge for wide problems."""
        ridge = not objective.strength or objective.penalty.uncorrelated
        if not (without_gram(sizes, spec) and ridge):
            return (
                "conjugate gradients are for kernels along one axis, without confounds or a basis, "
                "and with no penalty, a ridge or a prior of uncorrelated taps"
            )
        few = f"{sizes.rows} equations do not determine {sizes.unknowns} unknowns; give a ridge"
        return few if sizes.wide and not objective.strength else None

    def attempt(self, analysis: Analysis, objective: Objective) -> SolverResult | None:
        """Return the solution, or None if a factor takes less time."""
        if not analysis.design.whole_matrix.by_fft:
            return None
        sizes, steps = analysis.design.sizes, self.steps
        if sizes.gram_fits:
            steps = min(sizes.unknowns // UNKNOWNS_A_STEP, MOST_STEPS)
        found = replace(self, steps=steps)._solution(analysis, objective, attempt=True)
        return found if found.status in ("solved", "interrupted") else None

    def run(self, analysis: Analysis, objective: Objective) -> SolverResult:
        return self._solution(analysis, objective, attempt=False)

    def _solution(self, analysis: Analysis, objective: Objective, attempt: bool) -> SolverResult:
        """Return the solution. An ``attempt`` returns zeros if full rank is not proved first.

        A spectrum for which the proof needs many steps is one for which the solution does.
        """
        # Overflow ends in a certificate that is not finite.
        ignored = np.errstate(over="ignore", under="ignore", divide="ignore", invalid="ignore")
        with ignored, one_blas_thread(), interruptible() as stop:
            regression = analysis.regression(objective.penalty, objective.strength)
            normals = [Normal(regression.system, g) for g in range(regression.matrix.groups)]
            ridge = regression.system.ridge_certifies

            def proved() -> bool:
                return all(
                    n.definite and (ridge or n.full_rank(PROOF_STEPS, stop)) for n in normals
                )

            course = _Course(regression, normals, max(self.tol or 0.0, EXACT), self.steps, stop)
            hopeless = attempt and not (proved() or stop())
            status, unique = "unproved" if hopeless else course.run(), proved()
        proof, losses = "conjugate gradients on a random vector", np.array(course.losses)
        evidence = "the ridge alone" if ridge else proof if unique else None
        return packed(
            regression,
            course.w,
            Certificate(course.error, "upper bound"),
            status="interrupted" if stop() and not unique else status,
            stats={"steps": len(losses) - 1, "evidence": evidence or "none"},
            trace=Trace(np.arange(len(losses)), losses, {}),
            evidence=evidence,
            answer="one kernel of many, small where the spectrum of x is large",
        )
