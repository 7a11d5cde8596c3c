"""Kernels of several subjects and of their group, by a hierarchical model."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .api import check_problem
from .errors import SolveError, warn
from .inference.random_effects import Subject, fit_variances
from .lazy_plot import plot
from .leastsquares.analysis import analyse
from .leastsquares.penalty import RIDGE, Penalty, Ridge
from .method import component
from .operators.layout import ascending, to_kernel
from .operators.tap_basis import TapBasis
from .problem.checks import fraction
from .problem.problem import Problem
from .problem.sizes import Limits, Tuning, tuning_of
from .progress import LOG, Listener, tracked
from .progress_bars import following
from .text import count, line, plain, shown, some, span

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Width of the labels of a summary.
MARGIN = 12
# Standard deviation of directions in which a prior does not vary, as a share of its largest.
OUTSIDE = 1e-7


class GroupSolution(NamedTuple):
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
        return np.asarray(ascending(self.kernel, self._axes))

    @property
    def impulse_responses(self) -> dict[str, np.ndarray]:
        """The kernels of the subjects, each shaped as `impulse_response`."""
        return {name: ascending(kernel, self._axes) for name, kernel in self.kernels.items()}

    @property
    def _axes(self) -> int:
        return self.kernel.ndim - 2

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

    def plot(self, **options: Any) -> Figure:
        """Draw the kernel of the group with its band, and the kernels of the subjects.

        Args:
            options: ``ax``, matplotlib axes to draw on, see `convsolve.plot`.

        Returns:
            A figure of matplotlib, which needs no display.

        Raises:
            TypeError, ValueError, ImportError: As for `convsolve.plot`.

        Examples:
            >>> import numpy as np
            >>> import convsolve as cs
            >>> x, noise = np.random.default_rng(0).standard_normal((2, 5, 200))
            >>> problems = {i: cs.Problem(x[i], x[i] + noise[i], lags=(0, 4)) for i in range(5)}
            >>> cs.solve_group(problems).plot().axes[0].get_title()
            'Group of 5 subjects, 95 % confidence band'
        """
        return plot(self, **options)

    def to_dict(self) -> dict[str, Any]:
        """Return the results as plain numbers, strings and lists, ready for JSON.

        Returns:
            A dict with the fields of the result. Numbers that are not finite are None.

        Examples:
            >>> import numpy as np
            >>> import convsolve as cs
            >>> x, noise = np.random.default_rng(0).standard_normal((2, 5, 200))
            >>> problems = {i: cs.Problem(x[i], x[i] + noise[i], lags=(0, 4)) for i in range(5)}
            >>> cs.solve_group(problems).to_dict()["subjects"]
            ['0', '1', '2', '3', '4']
        """
        found = self._asdict() | {"subjects": self.subjects, "prior": self.prior.title}
        found |= {"impulse_response": self.impulse_response}
        found |= {"impulse_responses": self.impulse_responses}
        result: dict[str, Any] = plain(found)
        return result

    def __str__(self) -> str:
        """Return a summary of the group, its subjects and the computation."""
        channels, outputs = self.kernel.shape[-2:]
        taps = self.kernel[..., 0, 0].size
        flat = np.abs(self.impulse_response)
        steps = max(map(len, self.log_likelihoods))
        entries = [
            ("Group", f"{count(len(self.kernels), 'subject')} ({some(self.subjects)}), {taps} taps "
             f"of {count(channels, 'channel')} and {count(outputs, 'output')}"),
            ("Kernel", f"largest tap of the group {flat.max():.4g}; standard error "
             f"{span(self.standard_error.ravel())} per tap"),
            ("Subjects", f"standard deviation {span(self.subject_deviation.ravel())} per tap; "
             f"prior: {self.prior.title}"),
            ("Noise", f"variance {span(self.noise_variance.ravel())}"),
            ("Computed", f"restricted maximum likelihood, {count(steps, 'step')}"
             + ", not converged" * (not self.converged)),
        ]  # fmt: skip
        return "\n".join(line(label, words, MARGIN) for label, words in entries)


def solve_group(
    problems: Mapping[Any, Problem],
    prior: str | Penalty = RIDGE,
    *,
    progress: bool | Listener = False,
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
        TypeError: If ``problems`` is not a mapping of problems, or the prior is no quadratic
            penalty.
        ValueError: If there are fewer than two subjects, y is missing, or problems have different
            lags, channels or outputs, or a basis or windows per channel. If the prior has a
            strength, or a hyperparameter is not given.
        SolveError: If the data of all subjects do not determine the kernel of the group, if a
            subject has no noise, or if a Gram matrix has too few digits or exceeds the memory
            limit.
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
    tuning = tuning_of(limits)
    _check_problems(problems)
    chosen = _checked_prior(prior)
    subjects = {str(name): problem for name, problem in problems.items()}
    first = next(iter(subjects.values()))
    chosen.check(first.spec.kernel_size, first.n_channels)
    basis, blocks = _coordinates(chosen, first)
    each = first.n_outputs // len(blocks)  # outputs of a group
    with following(progress, "solve_group"):
        several = tracked(subjects.values(), "moments of subjects", len(subjects))
        moments = [_moments_of(problem, basis, tuning) for problem in several]
        outputs = tracked(range(first.n_outputs), "outputs", first.n_outputs)
        by_subject = [
            _solved([m[o] for m in moments], basis, blocks[o // each], [*subjects]) for o in outputs
        ]
    taps, noise, log_likelihoods, converged = zip(*by_subject, strict=True)
    size, axes = first.spec.kernel_size, first.spec.ndim
    columns = np.reshape(taps, (len(blocks), each, *taps[0].shape)).transpose(3, 0, 2, 1)
    kernel, error, deviation, *kernels = (np.asarray(to_kernel(part, size)) for part in columns)
    result = GroupSolution(
        kernel=kernel,
        kernels=dict(zip(subjects, kernels, strict=True)),
        standard_error=np.asarray(ascending(error, axes)),
        subject_deviation=np.asarray(ascending(deviation, axes)),
        noise_variance=np.stack(noise, axis=1),
        log_likelihoods=log_likelihoods,
        converged=all(converged),
        prior=chosen,
        lags=first.lags,
        fs=first.fs,
        channels=first.channels,
        outputs=first.outputs,
    )
    if not result.converged:
        warn("the variances between subjects did not converge; the result is from the last step")
    LOG.info("solve_group: %s", result)
    return result


def _check_problems(problems: Any) -> None:
    """Raise an error unless there are several problems with the same taps, channels and outputs."""
    if not isinstance(problems, Mapping):
        several = isinstance(problems, (list, tuple))
        raise TypeError(
            f"problems must be a dict {{name: problem}} of all subjects, got {shown(problems)}"
            + "; for numbers as names, use dict(enumerate(problems))" * several
        )
    for problem in problems.values():
        check_problem(problem, "solve_group")
        if problem._space is not None:
            raise ValueError("solve_group supports no basis and no windows of lags per channel")
    if len(set(map(str, problems))) < max(2, len(problems)):
        raise ValueError(
            f"problems has {count(len(problems), 'subject')} ({some([*map(str, problems)])})"
        )
    (name, first), *others = problems.items()
    for other, problem in others:
        first._names.check_same(problem._names.channels, problem._names.outputs)
        mine = _geometry(first)
        for what, found in _geometry(problem).items():
            if found != mine[what]:
                raise ValueError(
                    f"subject {other} has {what} {found}, but subject {name} has {mine[what]}"
                )


def _geometry(problem: Problem) -> dict[str, Any]:
    """Return properties that all subjects share, by their names in an error."""
    return {
        "kernels of shape": problem.kernel_shape,
        "groups": problem.spec.groups,
        "lags": [(int(axis[-1]), int(axis[0])) for axis in problem._lags],
        "fs": problem.fs,
    }


def _checked_prior(given: Any) -> Penalty:
    if not isinstance(given, (str, Penalty)):
        raise TypeError(f"prior must be a penalty such as Ridge(), or its name, got {shown(given)}")
    prior: Penalty = component("penalty", given)
    if not prior.quadratic:
        raise TypeError(f"prior={prior!r} is not quadratic")
    if prior.strength is not None:
        raise ValueError(f"prior={prior!r} has a strength")
    if prior.open:
        words = ", ".join(f"{name}=" for name in prior.open)
        raise ValueError(f"prior={prior!r} needs {words}, which solve_group does not select")
    return prior


class _Moments(NamedTuple):
    """Moments of one subject and output, with the units of their coordinates.

    Attributes:
        gram, cross, squares, rows: as in `Subject`.
        exponents: (P,), powers of two of the units of the taps.
        out_exponent: the same for y.
    """

    gram: np.ndarray
    cross: np.ndarray
    squares: float
    rows: int
    exponents: np.ndarray
    out_exponent: int

    def in_units(self, basis: TapBasis, exponents: np.ndarray, out_exponent: int) -> Subject:
        """Return the moments in other units, which is exact."""
        scale = np.ldexp(1.0, basis.of_channels((self.exponents - exponents)[None])[0])
        unit = float(np.ldexp(1.0, self.out_exponent - out_exponent))
        gram, cross = self.gram * scale * scale[:, None], self.cross * scale * unit
        return Subject.of(gram, cross, self.squares * unit**2, self.rows)


def _moments_of(problem: Problem, basis: TapBasis, tuning: Tuning) -> list[_Moments]:
    """Return the moments of every output of a subject."""
    found: dict[int, _Moments] = {}
    for outputs, part in problem.parts:
        analysis = analyse(part, tuning)
        sizes, groups = analysis.design.sizes, part.spec.groups
        if reason := sizes.gram_reason():
            raise SolveError(f"solve_group needs the Gram matrices of all subjects: {reason}")
        rows = sizes.rows - sizes.nuisance
        if rows <= 0:
            raise SolveError(
                f"a subject has {count(sizes.rows, 'row')} and {count(sizes.nuisance, 'column')} "
                "of bias and confounds, so that no row is left"
            )
        matrix, targets = analysis.design.matrix, analysis.targets
        assert targets is not None
        gram, cross = basis.of_gram(matrix.gram()), basis.restrict(matrix.rhs(targets))
        squares, powers = matrix.outputs_of(targets).squares, targets.grouped(targets.exponents)
        for i, o in enumerate(outputs):
            g, q = divmod(i, len(outputs) // groups)
            sums = gram[g], cross[g, :, q], float(squares[g, q]), rows
            found[o] = _Moments(*sums, matrix.exponents[g], int(powers[g, q]))
    return [found[o] for o in range(problem.n_outputs)]


def _coordinates(prior: Penalty, problem: Problem) -> tuple[TapBasis, np.ndarray]:
    """Return a basis of all kernels, and labels (G, R) of coordinates that share a variance.

    Directions in which the prior does not vary are added with a small standard deviation, because
    the kernel of the group has no prior.
    """
    given = prior.channel_groups if isinstance(prior, Ridge) else None
    labels = np.array(range(problem.n_channels) if given is None else given)
    labels, taps = labels.reshape(problem.spec.groups, -1), math.prod(problem.kernel_shape[:-2])
    roots = prior.bases(problem.spec._in_taps(problem._lags))
    if roots is None:
        return TapBasis(labels.shape[1] * taps), 2 * np.tile(labels, taps)
    matrices, free = [], np.ones(1, bool)
    for root, null in roots:
        known = np.hstack([root, null])
        u, s, _ = np.linalg.svd(known)
        matrices.append(np.hstack([known, OUTSIDE * s[0] * u[:, known.shape[1] :]]))
        at = np.arange(len(known))
        own = (at >= root.shape[1]) & (at < known.shape[1])
        free = np.logical_and.outer(free, own).reshape(-1)
    basis = TapBasis.of_axes(matrices, labels.shape[1])
    return basis, 2 * np.repeat(labels, free.size, axis=1) + np.tile(free, labels.shape[1])


class _Output(NamedTuple):
    """The results of one output.

    Attributes:
        taps: (P, 3 + subjects), kernel of the group, its errors, standard deviations between
            subjects, and the kernels of all subjects.
        noise: (subjects,), noise variances.
    """

    taps: np.ndarray
    noise: np.ndarray
    log_likelihoods: np.ndarray
    converged: bool


def _solved(
    several: Sequence[_Moments], basis: TapBasis, blocks: np.ndarray, names: Sequence[str]
) -> _Output:
    """Return the kernels of all subjects for one output, given the labels (R,) of coordinates."""
    _, blocks = np.unique(blocks, return_inverse=True)
    powers = np.max([each.exponents for each in several], axis=0)
    if basis.identity:  # channels that share a variance have one unit
        powers = np.array([powers[blocks == b].max() for b in range(blocks.max() + 1)])[blocks]
    unit = max(each.out_exponent for each in several)
    fitted = fit_variances([each.in_units(basis, powers, unit) for each in several], blocks, names)
    found = fitted.estimate
    columns = [found.mean[:, None], found.each.T, found.root, np.diag(np.sqrt(fitted.variances))]
    taps = basis.expand(np.concatenate(columns, axis=1)[None])[0]
    ends = np.cumsum([1, len(several), len(found.mean)])
    kernel, each, *roots = np.split(taps, ends, axis=1)
    norms = [np.linalg.norm(root, axis=1, keepdims=True) for root in roots]
    taps = np.concatenate([kernel, *norms, each], axis=1)
    with np.errstate(over="ignore", under="ignore"):
        taps = np.ldexp(taps, unit - powers[:, None])
        noise = np.ldexp(fitted.noise, 2 * unit)
    return _Output(taps, noise, fitted.log_likelihoods, fitted.converged)
