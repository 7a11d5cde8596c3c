"""Kernels of several subjects and of their group, by a hierarchical model."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .api import check_problem
from .errors import SolveError, warn
from .facts import Fact, Reported, of_fields
from .inference.random_effects import FittedVariances, Subject, fit_variances
from .lazy import plot
from .leastsquares.analysis import analyse
from .leastsquares.penalty import RIDGE, Penalty, Ridge, channel_taps
from .method import component
from .operators.layout import ascending, to_kernel
from .problem.checks import fraction
from .problem.problem import Problem
from .problem.sizes import Limits, Tuning, tuning_of
from .progress import following, tracked
from .text import count, shown, some, span

# Standard deviation of directions in which a prior does not vary, as a share of its largest.
OUTSIDE = 1e-7


@dataclass(frozen=True, repr=False, eq=False)
class GroupSolution(Reported):
    """Kernels of several subjects, and the kernel of the group they come from.

    Arrays over lags have the shape of ``impulse_response``: ascending lags, then channels and
    outputs unless there is one.

    Attributes:
        kernel: ``(*K, Cin/groups, Cout)``, the kernel of the group in the order of a layer.
        kernels: the kernel of every subject, by name. It is shrunk towards the group, the more so
            the fewer and noisier the data of the subject are.
        standard_error: standard error of the kernel of the group as an estimate of the population,
            including the differences between subjects.
        subject_deviation: standard deviation of the kernels of the population, for every tap.
        noise_variance: ``(subjects, outputs)``, variance of y about the model.
        log_likelihoods: the restricted log-likelihood of every step, an array for every output.
        converged: whether the search ended before its largest number of steps, for all outputs.
        prior: the prior of the differences between subjects.
        lags: ascending lags in samples; a tuple of arrays in two and three dimensions.
        fs: sampling rate in Hz, or None.
        channels, outputs: names, or numbers.

    Examples:
        >>> import numpy as np
        >>> import convsolve as cs
        >>> rng = np.random.default_rng(0)
        >>> problems = {}
        >>> for name in ["anna", "ben", "carl", "dora"]:
        ...     x, noise = rng.standard_normal((2, 300))
        ...     w = [1.0, 0.5] + 0.2 * rng.standard_normal(2)
        ...     problems[name] = cs.Problem(x, np.convolve(x, w)[:300] + noise, lags=(0, 4))
        >>> group = cs.solve_group(problems)
        >>> group.subjects, group.impulse_response.shape, group.kernels["ben"].shape
        (['anna', 'ben', 'carl', 'dora'], (5,), (5, 1, 1))

    See Also:
        `solve_group`, which returns it.
    """

    kernel: np.ndarray
    kernels: dict[str, np.ndarray]
    standard_error: np.ndarray
    subject_deviation: np.ndarray
    noise_variance: np.ndarray
    log_likelihoods: tuple[np.ndarray, ...]
    converged: bool
    prior: Penalty
    lags: Any
    fs: float | None
    channels: list[Any]
    outputs: list[Any]

    @property
    def subjects(self) -> list[str]:
        """Names of the subjects."""
        return [*self.kernels]

    @property
    def impulse_response(self) -> np.ndarray:
        """The kernel of the group in ascending lag order, without channel axes of length one."""
        return np.asarray(ascending(self.kernel, self.kernel.ndim - 2))

    @property
    def impulse_responses(self) -> dict[str, np.ndarray]:
        """The kernels of the subjects, each shaped as `impulse_response`."""
        axes = self.kernel.ndim - 2
        return {name: ascending(kernel, axes) for name, kernel in self.kernels.items()}

    def confidence_band(self, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
        """Return the lower and upper end of a band, both shaped as ``impulse_response``.

        Args:
            level: probability that the band contains a true tap of the population, for each tap.
                Default 0.95.

        Returns:
            Lower and upper end, in the kernel's unit.

        The band uses normal quantiles, and treats the variances as known. It assumes that kernels
        differ as the prior describes.

        Raises:
            TypeError: If ``level`` is not a number.
            ValueError: If ``level`` is not between 0 and 1.

        Examples:
            >>> import numpy as np
            >>> import convsolve as cs
            >>> x, noise = np.random.default_rng(0).standard_normal((2, 5, 200))
            >>> problems = {i: cs.Problem(x[i], x[i] + noise[i], lags=(0, 4)) for i in range(5)}
            >>> low, high = cs.solve_group(problems).confidence_band(0.99)
            >>> bool(low[0] < 1 < high[0])
            True
        """
        from scipy.special import ndtri

        reach = ndtri((1 + fraction(level, "level")) / 2) * self.standard_error
        return self.impulse_response - reach, self.impulse_response + reach

    plot = plot

    def facts(self, full: bool = True) -> Iterator[Fact]:
        """Yield a summary of the group, its subjects and the computation, and all fields."""
        *_, channels, outputs = self.kernel.shape
        ends = f"{count(channels, 'channel')} to {count(outputs, 'output')}"
        words = f"{count(len(self.kernels), 'subject')} ({some(self.subjects)})"
        yield Fact("", "Group", f"{words}, {ends}, {self.kernel[..., 0, 0].size} lags")
        error, deviation = span(self.standard_error.ravel()), span(self.subject_deviation.ravel())
        largest = f"largest tap of the group {np.abs(self.kernel).max():.4g}"
        yield Fact("", "Kernel", f"{largest}; standard error {error} per tap")
        prior = self.prior.title
        yield Fact("", "Subjects", f"standard deviation {deviation} per tap; prior: {prior}")
        yield Fact("", "Noise", f"variance {span(self.noise_variance.ravel())}")
        steps = count(max(map(len, self.log_likelihoods)), "step")
        steps += ", not converged" * (not self.converged)
        yield Fact("", "Computed", f"restricted maximum likelihood, {steps}")
        names = ("subjects", "impulse_response", "impulse_responses")
        yield from of_fields(self, prior=prior, **{name: getattr(self, name) for name in names})


def solve_group(
    problems: Mapping[Any, Problem],
    prior: str | Penalty = RIDGE,
    *,
    progress: bool = False,
    limits: Limits | None = None,
) -> GroupSolution:
    """Estimate the kernels of several subjects, and the kernel of their group with its errors.

    The kernel of a subject is w_s = m + d_s. The group kernel m is the mean of the population, and
    has no prior. Differences d_s are normal with the covariance τ²·K⁻¹ for a penalty wᵀK w. Noise
    is white, with one variance σ_s² per subject.

    Args:
        problems: a `Problem` with y for every subject, by name. They have the same lags, channels
            and outputs, and no basis. Records, masks, weights, confounds and bias may differ.
        prior: penalty without a strength that describes the differences between subjects, by
            default `Ridge`: taps differ independently. With `Smooth` or
            ``SquaredExponential(length=...)`` neighbouring taps differ in the same direction, so
            that the kernels of the subjects are estimated better if they do.
        progress: True shows progress bars, see `solve`. Default False.
        limits: limits of memory and time, see `Limits`. None, the default, is ``Limits()``.

    Returns:
        The kernels of group and subjects, standard errors, and variances.

    τ² is estimated for every channel and output; with ``Ridge(channel_groups=...)``, for every
    label. Kernels that a penalty leaves free, such as the constant kernels of `Smooth`, have a
    variance of their own. τ² and σ_s² maximize the restricted likelihood, which is computed from
    the Gram matrix of every subject. With τ² = 0, the result is the least-squares solution of
    all data together. With a large τ², it is the least-squares solution of every subject alone.

    Raises:
        TypeError: If ``problems`` is not a mapping of problems, or ``prior`` is no penalty.
        ValueError: If there are fewer than two subjects, y is missing, or problems have different
            lags, channels or outputs, or a basis or windows per channel. If the prior is no
            quadratic penalty, has a strength, or a hyperparameter is not given.
        SolveError: If the data of all subjects do not determine the kernel of the group, if a
            subject has no noise, or if a Gram matrix exceeds the memory limit.
        ImportError: If bars are requested and tqdm is not installed.

    Warns:
        UserWarning: If the search for the variances does not converge.

    Source: N. M. Laird and J. H. Ware, Biometrics 38 (1982) 963.

    Examples:
        >>> import numpy as np
        >>> import convsolve as cs
        >>> rng = np.random.default_rng(0)
        >>> problems = {}
        >>> for i in range(12):
        ...     x, noise = rng.standard_normal((2, 200))
        ...     w = (1 + 0.3 * rng.standard_normal()) * np.exp(-np.arange(10) / 3)
        ...     problems[f"s{i}"] = cs.Problem(x, np.convolve(x, w)[:200] + noise, lags=(0, 9))
        >>> group = cs.solve_group(problems, cs.SquaredExponential(length=3))
        >>> low, high = group.confidence_band()
        >>> bool(low[0] < 1 < high[0])
        True

    See Also:
        `solve`, for a single subject or all records together.
    """
    subjects, chosen = _checked(problems), component("penalty", prior)
    if not chosen.quadratic or chosen.open or chosen.strength is not None:
        raise ValueError(f"prior must be quadratic, with all values but a strength, got {chosen!r}")
    first, tuning = next(iter(subjects.values())), tuning_of(limits)
    chosen.check(first.spec.kernel_size, first.n_channels)
    basis, blocks = _coordinates(chosen, first)
    groups, outputs = first.spec.groups, first.n_outputs
    with following(progress):
        several = tracked(subjects.values(), "moments of subjects", len(subjects))
        moments = [_moments(problem, basis, tuning) for problem in several]
        found = [
            fit_variances([m[o] for m in moments], blocks[o * groups // outputs], [*subjects])
            for o in tracked(range(outputs), "outputs", outputs)
        ]
    taps = np.array([_in_taps(fitted, basis) for fitted in found])
    columns = taps.reshape(groups, outputs // groups, len(basis), -1).transpose(3, 0, 2, 1)
    kernel, error, deviation, *kernels = (to_kernel(a, first.spec.kernel_size) for a in columns)
    result = GroupSolution(
        kernel,
        dict(zip(subjects, kernels, strict=True)),
        ascending(error, first.spec.ndim),
        ascending(deviation, first.spec.ndim),
        np.stack([fitted.noise for fitted in found], axis=1),
        tuple(fitted.log_likelihoods for fitted in found),
        all(fitted.converged for fitted in found),
        chosen, first.lags, first.fs, first.channels, first.outputs,
    )  # fmt: skip
    if not result.converged:
        warn("the variances between subjects did not converge; the result is from the last step")
    return result


def _checked(problems: Any) -> dict[str, Problem]:
    """Return several problems with the same taps, channels and outputs, by name."""
    if not isinstance(problems, Mapping):
        raise TypeError(f"problems must be a dict {{name: problem}}, got {shown(problems)}")
    found, known = {str(name): problem for name, problem in problems.items()}, None
    if len(found) < max(2, len(problems)):
        raise ValueError(f"problems has {count(len(found), 'subject')} ({some([*found])})")
    for name, problem in found.items():
        check_problem(problem, "solve_group")
        if problem._space is not None:
            raise ValueError("solve_group supports no basis and no windows of lags per channel")
        lags = problem._geometry.bounds(problem._lengths[0])
        own = problem.kernel_shape, problem.spec.groups, lags, problem._names
        known = known or own
        if own != known:
            shapes = f"kernel shape, groups and lags {own[:3]}, not {known[:3]}"
            raise ValueError(f"subject {name} has other names, or {shapes}")
    return found


def _moments(problem: Problem, basis: np.ndarray, tuning: Tuning) -> list[Subject]:
    """Return the moments of every output of a subject, in the user's units."""
    found: dict[int, Subject] = {}
    for outputs, part in problem.parts:
        analysis = analyse(part, tuning)
        sizes, matrix, targets = analysis.design.sizes, analysis.design.matrix, analysis.targets
        if reason := sizes.gram_reason():
            raise SolveError(f"solve_group needs the Gram matrices of all subjects: {reason}")
        if sizes.rows <= sizes.nuisance:
            raise SolveError("a subject has as many columns of bias and confounds as rows")
        assert targets is not None
        t = np.ldexp(1.0, matrix.exponents)[..., None] * basis
        out = np.ldexp(1.0, targets.grouped(targets.exponents))
        gram, cross = t.mT @ matrix.gram() @ t, t.mT @ matrix.rhs(targets) * out[:, None]
        squares = matrix.outputs_of(targets).squares * out**2
        for i, o in enumerate(outputs):
            g, q = divmod(i, len(outputs) // part.spec.groups)
            numbers = float(squares[g, q]), sizes.rows - sizes.nuisance
            found[o] = Subject(gram[g], cross[g, :, q], *numbers)
    return [found[o] for o in range(problem.n_outputs)]


def _coordinates(prior: Penalty, problem: Problem) -> tuple[np.ndarray, np.ndarray]:
    """Return a basis (P, P) of all kernels, and labels (G, P) of columns that share a variance.

    Directions in which the prior does not vary are added with a small standard deviation, because
    the kernel of the group has no prior.
    """
    given = prior.channel_groups if isinstance(prior, Ridge) else None
    labels = np.array(range(problem.n_channels) if given is None else given)
    labels, taps = labels.reshape(problem.spec.groups, -1), math.prod(problem.kernel_shape[:-2])
    roots, matrix = prior.bases(problem.spec._in_taps(problem._lags)), np.eye(taps)
    free = np.zeros(taps, int)
    if roots is not None:
        (_, own), penalized = channel_taps(np.arange(taps), roots)
        assert own is not None
        u, s, _ = np.linalg.svd(own)
        matrix = np.hstack([own, OUTSIDE * s[0] * u[:, own.shape[1] :]])
        free[: len(penalized)] = ~penalized
    channels = labels.shape[1]
    return np.kron(matrix, np.eye(channels)), 2 * np.tile(labels, taps) + np.repeat(free, channels)


def _in_taps(fitted: FittedVariances, basis: np.ndarray) -> np.ndarray:
    """Return columns (P, 3 + subjects) of one output.

    They are the kernel of the group, its errors, the standard deviations between subjects, and the
    kernels of the subjects.
    """
    found = fitted.estimate
    error = np.linalg.norm(basis @ found.root, axis=1)
    deviation = np.sqrt(basis**2 @ fitted.variances)
    return np.column_stack([basis @ found.mean, error, deviation, basis @ found.each.T])
