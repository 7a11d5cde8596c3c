"""Least squares for thousands of taps: conjugate gradients in kernel space, certified."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..lazy_jax import is_tracer
from ..leastsquares.analysis import Prepared
from ..leastsquares.certificate import EXACT, Certificate
from ..leastsquares.normal_operator import Normal, normal_equations
from ..leastsquares.system import NOISE, System
from ..linalg.conjugate_gradient import Conjugate
from ..linalg.rank import EPS
from ..linalg.threads import one_blas_thread
from ..problem.checks import integer, number
from ..problem.problem import Problem
from .base import (
    Progress,
    Raw,
    Solver,
    Trace,
    host_ridge,
    interruptible,
    judge_ridge,
    traceable,
)

# CG goes on until its residual promises this share of the backward error that is asked for.
SHARE = 0.1
# Shrunk to less than this, CG's residual says nothing of that of the data, nor of the kernel.
FLOOR = 1e-14
# A pass that does not halve the backward error is the last.
GAIN = 0.5
# Evidence of full rank may take so many times the steps of the answer, and so many more.
WORTH, MORE = 2, 20


@dataclass
class _Found:
    """Answers w (groups, P, Q), ‖r‖ and Aᵀr there, from the data, and bounds on backward errors."""

    w: np.ndarray
    r_norm: np.ndarray
    g: np.ndarray
    errors: np.ndarray

    def or_better(self, other: _Found) -> _Found:
        """Output by output the one of less error."""
        best = other.errors < self.errors
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return _Found(*(np.where(best[:, None] if a.ndim == 3 else best, b, a) for a, b in pairs))


class _Pass:
    """CG on what the answer of one group leaves over."""

    def __init__(self, normal: Normal, found: _Found, enough: float) -> None:
        w, errors = found.w[normal.group], found.errors[normal.group]
        # No kernel at all is none that has been found.
        begun = w.any(0) | ~found.g[normal.group].any(0)
        self._normal, self._w, self._open = normal, w, (errors > enough) | ~begun
        self._cg = Conjugate(
            normal.product,
            normal.precondition,
            normal.live * found.g[normal.group],
            EPS * normal.largest,
        )
        # The residual has to shrink as the backward error has. At w = 0 that is not known, and its
        # norm by M⁻¹ stands for that by (AᵀA)⁻¹.
        self._promise = np.where(w.any(0), 0.0, SHARE * enough * normal.a_norm)
        share = np.where(w.any(0), SHARE * enough / np.maximum(errors, enough), FLOOR)
        self._least = np.maximum(share, FLOOR) ** 2 * self._cg.squares

    @property
    def correction(self) -> np.ndarray:
        """d (P, Q)."""
        return self._normal.live * self._cg.x

    def step(self) -> np.ndarray | None:
        """What one more step takes off ‖r‖² (Q,); None where there is nothing left to do."""
        before = self._cg.squares
        size = np.linalg.norm(self._w + self.correction, axis=0)
        self._open &= before > np.maximum(self._least, (self._promise * size) ** 2)
        if not self._open.any():
            return None
        length, _ = self._cg.step(self._open)
        self._open &= length > 0
        return length * before


@traceable("ridge", "tol")
@dataclass(frozen=True)
class ConjugateGradient(Solver):
    """min ‖y − Aw‖² + ridge·‖w‖² by preconditioned conjugate gradients on AᵀA w = Aᵀy, in kernel
    space: for thousands of taps, where the P² numbers of AᵀA, or the P³ time of a factor, are too
    much.

    A step takes a few FFTs of twice the kernel's length, whatever that of the records: AᵀA is the
    Toeplitz matrix of the autocorrelation of x less what hangs over the edges of the records,
    exactly. The preconditioner makes x white by a short filter and divides by the smoothed spectrum
    of what is left, so that one-shot FFT deconvolution, scaled to fit best, is the first iterate;
    some ten more are enough for inputs of almost any spectrum, in images some fifty.

    Then residual and gradient are formed from the data, and CG starts again on what they leave,
    until the backward error is certainly at most ``tol`` ("solved"), a pass does not halve it
    ("stagnated"), or ``steps`` are used up ("max steps"). The best answer is kept. With the default
    ``tol`` it goes on to 4 eps where a pass still gains that much. The certificate
    needs no factor, see `Normal.backward_error`; nor does full rank, which CG on a random vector
    proves where it can (``stats["evidence"]``) and `identify` is asked for where it cannot.

    Args:
        ridge: summed, not averaged, as scikit-learn's ``alpha``; the bias is never penalised.
        tol: the backward error to reach; never less than 30 eps, the default.
        steps: at most so many, in all passes together.

    Normal equations square the condition κ of A (columns of norm one): expect "solved" up to a κ of
    about 1e7, and full rank proved up to about 1e5. Beyond, and where the data leave the kernel
    open without a ridge, `NormalEquations` and `LeastSquares` give the better answer, at their
    cost. They are as fast below some 800 unknowns, 20 more a channel and 30 more an output. Runs on
    the host only. Fewer rows than unknowns need a ridge.

    Source: R. H. Chan and M. K. Ng, Conjugate gradient methods for Toeplitz systems, SIAM Review 38
    (1996) 427.
    """

    #: What the answer is where many fit equally well.
    answer = "one answer of many, small where the spectrum of x is large"
    ridge: Any = 0.0
    tol: Any = EXACT
    steps: int = 1000

    def __post_init__(self) -> None:
        object.__setattr__(self, "ridge", judge_ridge(self.ridge))
        if not is_tracer(self.tol):
            object.__setattr__(self, "tol", number(self.tol, "tol"))
        object.__setattr__(self, "steps", integer(self.steps, "steps"))

    def supports(self, problem: Problem) -> str | None:
        """Enough rows, or a ridge: the answer of minimum norm is not what CG finds."""
        if problem.n_equations >= problem.n_unknowns or host_ridge(self):
            return None
        return (
            f"{problem.n_equations} equations leave {problem.n_unknowns} unknowns open; give a "
            "ridge, or use LeastSquares for the answer of minimum norm"
        )

    def run(self, prepared: Prepared, progress: Progress | None = None) -> Raw:
        # Numbers beyond float64 end in a certificate that says so. Products are many and small.
        ignored = np.errstate(over="ignore", divide="ignore", invalid="ignore")
        with ignored, one_blas_thread():
            return self._run(prepared, progress)

    def _run(self, prepared: Prepared, progress: Progress | None) -> Raw:
        system = System(prepared, host_ridge(self))
        normals = [*normal_equations(system)]
        enough = max(float(self.tol), EXACT)
        # A kernel may be wrong by √P backward errors: one more pass where that is worth its while.
        aim = enough if enough > EXACT else NOISE

        def judged(w: np.ndarray) -> _Found:
            r_norm, g = system.apply(w)
            parts = [n.backward_error(w[i], r_norm[i], g[i], aim) for i, n in enumerate(normals)]
            return _Found(w, r_norm, g, np.stack(parts))

        found = judged(np.zeros((prepared.groups, prepared.columns, prepared.outputs)))
        # Mean squares in the user's units, the penalty included; short of overflow.
        powers = np.clip(2 * prepared.y_exponents, -900, 900)
        unit = np.ldexp(1.0 / (prepared.n * found.r_norm.size), powers)
        with np.errstate(over="ignore", under="ignore"):
            losses = [float((unit * found.r_norm**2).sum())]
        # Beside a ridge that dwarfs A the backward error of no kernel at all is small.
        passes, status = 0, None if found.g.any() else "solved"
        with interruptible() as interrupted:
            while status is None:
                passes += 1
                before, runs = found.errors.max(), [_Pass(n, found, aim) for n in normals]
                while len(losses) <= self.steps and not interrupted[0]:
                    taken = [run.step() for run in runs]
                    if all(t is None for t in taken):
                        break
                    less = [
                        (u * t).sum() for u, t in zip(unit, taken, strict=True) if t is not None
                    ]
                    losses.append(max(losses[-1] - float(sum(less)), 0.0))
                    if progress is not None:
                        progress(len(losses) - 1, self.steps, losses[-1])
                found = found.or_better(judged(found.w + np.stack([r.correction for r in runs])))
                losses[-1] = float((unit * found.r_norm**2).sum())
                error = found.errors.max()
                settled = not error < GAIN * before or len(losses) > self.steps
                if error <= aim or (error <= enough and (settled or interrupted[0])):
                    status = "solved"
                elif interrupted[0]:
                    status = "interrupted"
                elif settled:
                    status = "max steps" if len(losses) > self.steps else "stagnated"
            evidence = "the ridge alone" if system.own_certificate else None
            if prepared.proved and evidence is None:
                evidence = "known before"
            if evidence is None and not interrupted[0]:
                limit = WORTH * len(losses) + MORE
                if all(n.full_rank(limit) for n in normals):
                    evidence = "conjugate gradients on a random vector"
                prepared.proved = evidence is not None and not system.ridge
        kernel, bias = system.to_user(found.w)
        stats = {"steps": len(losses) - 1, "passes": passes, "evidence": evidence or "none"}
        trace = Trace(np.arange(len(losses)), np.array(losses), {})
        certificate = Certificate(float(found.errors.max()), "upper bound")
        return Raw(kernel, bias, status, stats, trace, certificate, evidence, self.answer)
