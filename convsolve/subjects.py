"""Kernels of several subjects and of their group, by a hierarchical model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .api import check_problem
from .errors import SolveError, warn
from .inference.random_effects import Subject, fit_variances
from .lazy_plot import plot
from .leastsquares.analysis import analyse
from .leastsquares.design import Design
from .leastsquares.penalty import RIDGE, Penalty, Ridge
from .method import component
from .operators.layout import ascending, to_kernel
from .operators.moments import per_column
from .operators.tap_basis import BlockBasis, TapBasis
from .problem.checks import fraction
from .problem.kernel_space import ChannelSpace, ChannelTaps
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
            including the differences between subjects. NaN outside the window of a channel.
        subject_deviation: standard deviation of the kernels of the population, for every tap. NaN
            outside the window of a channel.
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
        problems: a `Problem` with y for every subject, by name. They have the same lags, bases,
            channels and outputs. Records, masks, weights, confounds and bias may differ.
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
    the Gram matrix of every subject. With a basis, the prior describes the kernels of the basis;
    `Ridge` describes their coefficients. With τ² = 0, the result is the least-squares solution of
    all data together. With a large τ², it is the least-squares solution of every subject alone.

    Raises:
        TypeError: If ``problems`` is not a mapping of problems, or the prior is no quadratic
            penalty.
        ValueError: If there are fewer than two subjects, y is missing, or problems have different
            lags, bases, channels or outputs. If the prior has a strength, or a hyperparameter is
            not given.
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
    with following(progress, "solve_group"):
        several = tracked(subjects.values(), "moments of subjects", len(subjects))
        moments = [_moments_of(problem, chosen, tuning) for problem in several]
        outputs = tracked(range(first.n_outputs), "outputs", first.n_outputs)
        found = [_Output.of([each[o] for each in moments], [*subjects]) for o in outputs]
    result = _packed(found, first, [*subjects], chosen)
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
    if len(set(map(str, problems))) < max(2, len(problems)):
        raise ValueError(
            f"problems has {count(len(problems), 'subject')} ({some([*map(str, problems)])}); give "
            "two or more, each with its own name"
        )
    (name, first), *others = problems.items()
    for other, problem in others:
        first._names.check_same(problem._names.channels, problem._names.outputs)
        _check_spaces(name, first, other, problem)
        mine = _geometry(first)
        for what, found in _geometry(problem).items():
            if found != mine[what]:
                raise ValueError(
                    f"subject {other} has {what} {found}, but subject {name} has {mine[what]}"
                )


def _check_spaces(name: Any, first: Problem, other: Any, problem: Problem) -> None:
    """Raise an error unless two problems have the same windows and the same bases."""
    if first.kernel_shape != problem.kernel_shape:
        return  # `_geometry` differs
    mine, found = (
        {} if each._space is None else each._space.to_dict(each._lags[0], each.spec.groups)
        for each in (first, problem)
    )
    for key, what in (("windows", "windows of lags"), ("basis", "bases of lags")):
        if found.get(key) != mine.get(key):
            raise ValueError(
                f"subject {other} and subject {name} have different {what}; state all problems "
                f"with the same {'lags=' if key == 'windows' else 'basis='}"
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
        raise TypeError(f"prior={prior!r} is not quadratic; use Ridge(), Smooth() or another prior")
    if prior.strength is not None:
        raise ValueError(
            f"prior={prior!r} has a strength; leave it out, because the variance between subjects "
            "is estimated"
        )
    if prior.open:
        words = ", ".join(f"{name}=" for name in prior.open)
        raise ValueError(f"prior={prior!r} needs {words}, which solve_group does not select")
    return prior


class _Moments(NamedTuple):
    """Moments of one subject and output, with the units of their coordinates.

    Attributes:
        gram, cross, squares, rows: as in `Subject`.
        exponents: (R,), powers of two of the units of the coordinates.
        out_exponent: the same for y.
        blocks: (R,), labels of coordinates that share a variance.
        basis: T, for kernels w = T z.
        channel: (R,), the channel of every coordinate, within the group of channels.
        modelled: (P,), flags of the taps in the window of their channel.
    """

    gram: np.ndarray
    cross: np.ndarray
    squares: float
    rows: int
    exponents: np.ndarray
    out_exponent: int
    blocks: np.ndarray
    basis: TapBasis
    channel: np.ndarray
    modelled: np.ndarray

    def in_units(self, exponents: np.ndarray, out_exponent: int) -> Subject:
        """Return the moments in other units, which is exact."""
        scale = np.ldexp(1.0, self.exponents - exponents)
        unit = float(np.ldexp(1.0, self.out_exponent - out_exponent))
        gram, cross = self.gram * scale * scale[:, None], self.cross * scale * unit
        return Subject.of(gram, cross, self.squares * unit**2, self.rows)


def _moments_of(problem: Problem, prior: Penalty, tuning: Tuning) -> list[_Moments]:
    """Return the moments of every output of a subject."""
    found: dict[int, _Moments] = {}
    for outputs, part in problem._parts:
        analysis = analyse(part, tuning)
        design = analysis.design
        sizes, groups = design.sizes, design.spec.groups
        if reason := sizes.gram_reason():
            raise SolveError(f"solve_group needs the Gram matrices of all subjects: {reason}")
        if sizes.rows <= sizes.nuisance:
            raise SolveError(
                f"a subject has {count(sizes.rows, 'row')} and {count(sizes.nuisance, 'column')} "
                "of bias and confounds, so that no row is left"
            )
        basis, free = _complete_basis(prior, design)
        labels = np.array(_labels(prior, problem.n_channels))[[*design.selection.channels]]
        labels = labels.reshape(groups, -1)
        channel = basis.channel_of(sizes.columns, labels.shape[1])
        blocks = 2 * labels[:, channel] + free
        moments, inner = analysis.plain.moments, basis.within(design.span)
        gram, cross, squares = moments.eliminated()
        gram = inner.restrict(inner.restrict(gram).swapaxes(1, 2))
        cross, units = inner.restrict(cross), moments.units
        exponents = inner.of_channels(units.column_exponents)
        for i, o in enumerate(outputs):
            g, q = divmod(i, len(outputs) // groups)
            sums = gram[g], cross[g, :, q], float(squares[g, q]), sizes.rows - sizes.nuisance
            given = exponents[g], int(units.out_exponents[g, q]), blocks[g]
            found[o] = _Moments(*sums, *given, basis, channel, design.modelled)
    return [found[o] for o in range(problem.n_outputs)]


def _labels(prior: Penalty, channels: int) -> Sequence[int]:
    """Return a label for every channel; channels of one label share a variance."""
    given = prior.channel_groups if isinstance(prior, Ridge) else None
    return range(channels) if given is None else given


def _complete_basis(prior: Penalty, design: Design) -> tuple[TapBasis, np.ndarray]:
    """Return a basis of all kernels, and flags (R,) of its coordinates that the prior leaves free.

    Directions in which the prior does not vary are added with a small standard deviation, because
    the kernel of the group has no prior.
    """
    lags, space = design.tap_lags, design.space
    if space is not None:
        pairs = [_complete_taps(prior, own, lags[0]) for own in space.channels]
        basis = BlockBasis.of_taps(space.taps, [taps for taps, _ in pairs])
        return basis, np.concatenate([free for _, free in pairs])
    roots = prior.bases(lags)
    if roots is None:
        return TapBasis(), np.zeros(design.sizes.columns, bool)
    matrices, free = [], np.ones(1, bool)
    for root, null in roots:
        known = np.hstack([root, null])
        matrices.append(_completed(known))
        own = _last(null.shape[1], known.shape[1], len(known))
        free = np.logical_and.outer(free, own).reshape(-1)
    return TapBasis(matrices), np.repeat(free, design.sizes.columns // len(free))


def _complete_taps(
    prior: Penalty, own: ChannelSpace, lags: np.ndarray
) -> tuple[ChannelTaps, np.ndarray]:
    """Return `_complete_basis` for the kernels of one channel."""
    taps, free = prior.within(own, lags)
    known, v = taps.matrix, own.span.vectors
    if known is None:
        return taps, np.zeros(own.rank, bool)
    flags = _last(free, known.shape[1], own.rank)
    if v is None:
        return taps._replace(matrix=_completed(known)), flags
    if known is own.matrix:
        # The functions of a basis may be dependent, or almost. Orthogonal directions with the same
        # covariance are not.
        u, s, _ = np.linalg.svd(v.T @ known, full_matrices=False)
        return taps._replace(matrix=v @ (u * s)), flags
    return taps, flags


def _last(free: int, known: int, count: int) -> np.ndarray:
    """Return flags (count,) of the last ``free`` of the first ``known`` coordinates."""
    at = np.arange(count)
    return np.asarray((at >= known - free) & (at < known))


def _completed(known: np.ndarray) -> np.ndarray:
    """Return linearly independent columns with small orthogonal columns in all other directions."""
    u, s, _ = np.linalg.svd(known)
    return np.hstack([known, OUTSIDE * s[0] * u[:, known.shape[1] :]])


class _Output(NamedTuple):
    """Kernels of one output, with taps and channels (P,) in the order of columns."""

    kernel: np.ndarray
    error: np.ndarray
    deviation: np.ndarray
    each: np.ndarray
    noise: np.ndarray
    log_likelihoods: np.ndarray
    converged: bool

    @classmethod
    def of(cls, several: Sequence[_Moments], names: Sequence[str]) -> _Output:
        """Return the kernels of all subjects for one output."""
        blocks = np.unique(several[0].blocks, return_inverse=True)[1]
        # Coordinates that share a variance have one unit.
        largest = np.max([each.exponents for each in several], axis=0)
        exponents = np.array([largest[blocks == block].max() for block in blocks])
        unit = max(each.out_exponent for each in several)
        subjects = [each.in_units(exponents, unit) for each in several]
        fitted = fit_variances(subjects, blocks, names)
        found, basis = fitted.estimate, several[0].basis
        columns = np.concatenate(
            [found.mean[:, None], found.each.T, found.root, np.diag(np.sqrt(fitted.variances))], 1
        )
        taps = basis.expand(columns[None])[0]
        ends = np.cumsum([1, len(several), len(found.mean)])
        kernel, each, root, deviation = np.split(taps, ends, axis=1)
        norms = (np.linalg.norm(part, axis=1, keepdims=True) for part in (root, deviation))
        taps = np.concatenate([kernel, *norms, each], axis=1)
        by_channel = exponents[np.unique(several[0].channel, return_index=True)[1]]
        power = unit - per_column(by_channel[None], len(taps))[0]
        with np.errstate(over="ignore", under="ignore"):
            taps = np.ldexp(taps, power[:, None])
            noise = np.ldexp(fitted.noise, 2 * unit)
        taps[~several[0].modelled, 1:3] = np.nan
        first, error, spread, *others = taps.T
        return cls(
            first, error, spread, np.array(others), noise, fitted.log_likelihoods, fitted.converged
        )


def _packed(
    found: Sequence[_Output], first: Problem, subjects: Sequence[str], prior: Penalty
) -> GroupSolution:
    """Return the result of all outputs."""
    groups, axes = first.spec.groups, first.spec.ndim

    def shaped(values: Any) -> np.ndarray:
        columns = np.stack([*values]).reshape(groups, len(found) // groups, -1)
        return np.asarray(to_kernel(columns.transpose(0, 2, 1), first.spec.kernel_size))

    kernels = {s: shaped(one.each[i] for one in found) for i, s in enumerate(subjects)}
    return GroupSolution(
        kernel=shaped(one.kernel for one in found),
        kernels=kernels,
        standard_error=np.asarray(ascending(shaped(one.error for one in found), axes)),
        subject_deviation=np.asarray(ascending(shaped(one.deviation for one in found), axes)),
        noise_variance=np.stack([one.noise for one in found], axis=1),
        log_likelihoods=tuple(one.log_likelihoods for one in found),
        converged=all(one.converged for one in found),
        prior=prior,
        lags=first.lags,
        fs=first.fs,
        channels=first.channels,
        outputs=first.outputs,
    )
