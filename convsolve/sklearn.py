"""A scikit-learn regressor: kernels by least squares, in pipelines, searches and cross-validation.

It needs scikit-learn: ``pip install 'convsolve[sklearn]'``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import is_dataclass, replace
from typing import Any, Self

import numpy as np

try:
    from sklearn.base import BaseEstimator, RegressorMixin
    from sklearn.metrics import r2_score
    from sklearn.utils import check_array
    from sklearn.utils.validation import (
        _check_sample_weight,
        check_consistent_length,
        check_is_fitted,
        column_or_1d,
        validate_data,
    )
except ImportError as error:
    raise ImportError(
        "convsolve.sklearn needs scikit-learn: pip install 'convsolve[sklearn]'"
    ) from error

from .api import convolve, solve
from .near_misses import checks_arguments
from .problem.checks import choice
from .problem.geometry import Geometry, lags_of_times
from .problem.problem import Problem
from .problem.records import column_names
from .progress_bars import following

FLOATS = (np.float64, np.float32)


class ConvRegressor(RegressorMixin, BaseEstimator):
    """Regressor for ``y[t] = intercept + Σ_l Σ_c coef[c, l]·X[t − l, c]``, by least squares.

    Each trial is a separate record: no lag reads beyond its ends. Trials are given as

    * a list of X ``(samples, features)``, which may differ in length, and a list of y;
    * one array X ``(trials, samples, features)`` and y ``(trials, samples[, outputs])``;
    * one X ``(samples, features)`` and ``groups`` ``(samples,)``: a new trial begins wherever
      the label changes.

    In the first two forms the splitters of scikit-learn split trials, which is simplest. In the
    third form they split samples. `sklearn.model_selection.GroupKFold` keeps trials whole. Groups
    given to a search or to cross-validation reach only the splitter, so lags read beyond the ends
    of trials. To route them to the regressor, use ``sklearn.set_config(
    enable_metadata_routing=True)`` and ``ConvRegressor(…).set_fit_request(groups=True)
    .set_score_request(groups=True)``.

    Args:
        lags: first and last lag in samples, inclusive. A lag is negative if y precedes X. A dict
            has the window of every feature, by name or number. None, the default, is lag 0 only,
            which is ordinary linear regression.
        tmin, tmax, fs: first and last lag in seconds, and the sampling rate in Hz, instead of lags.
            A dict has the time of every feature. By default None.
        edges: "zeros", the default, takes X as zero outside its trial. "drop" excludes rows whose
            window exceeds the trial from the fit. Predictions have as many rows as X in both cases.
        basis: functions of the lag whose weighted sums are the kernels, one for all features, or a
            dict by feature, see `convsolve.Problem`. By default None.
        fit_intercept: whether a constant is fitted. Default True.
        ridge: strength in ``‖y − Xw‖² + ridge·‖w‖²``, as ``alpha`` of `sklearn.linear_model.Ridge`.
            By default None, for no ridge.
        penalty, grid, select, loss, noise, solver: as in `convsolve.solve`, with its defaults. For
            example, ``penalty="smooth"`` selects the strength from the data.
        verbose: whether long fits show progress bars on stderr. Default False.

    Attributes:
        coef_: ``(outputs, features, lags)`` in ascending lags, or ``(features, lags)`` if y has no
            axis of outputs.
        intercept_: ``(outputs,)``, or a number if y has no axis of outputs.
        patterns_: patterns of a decoder in the shape of ``coef_``, see `Solution.patterns`.
        lags_, times_: lags in samples, and in seconds. Without fs, ``times_`` is None.
        solution_: the `Solution`: certificate, identifiability, standard errors, tests, pictures.
        n_features_in_, feature_names_in_: as in all estimators of scikit-learn.

    Data that do not determine the kernel give an `IdentifiabilityWarning` and the kernel of
    minimum norm. Use `solve` for kernels in two and three dimensions, stored data, confounds and
    masks.

    A search can vary parameters, such as ``basis`` over several bases, and settings of an object,
    such as ``basis__n`` of ``basis=BSplines(8)`` and ``penalty__strength`` of ``penalty=Ridge(1)``.

    Examples:
        >>> import convsolve as cs
        >>> import numpy as np
        >>> from convsolve.sklearn import ConvRegressor
        >>> X, noise = np.random.default_rng(0).standard_normal((2, 8, 200, 1))
        >>> model = ConvRegressor(lags=(0, 9), ridge=10.0).fit(X, X + noise)
        >>> model.coef_.shape
        (1, 1, 10)
        >>> bool(model.score(X, X + noise) > 0.4)
        True
        >>> from sklearn.model_selection import GridSearchCV
        >>> model = ConvRegressor(lags=(0, 19), basis=cs.BSplines(8))
        >>> search = GridSearchCV(model, {"basis__n": [4, 8, 12]}, cv=4).fit(X, X + noise)
        >>> search.best_params_
        {'basis__n': 12}

    See Also:
        `convsolve.solve`, which has further options.
    """

    @checks_arguments
    def __init__(
        self,
        lags: Any = None,
        *,
        tmin: Any = None,
        tmax: Any = None,
        fs: float | None = None,
        edges: str = "zeros",
        basis: Any = None,
        fit_intercept: bool = True,
        ridge: Any = None,
        penalty: Any = None,
        grid: Any = None,
        select: Any = None,
        loss: Any = "squared",
        noise: Any = "white",
        solver: Any = None,
        verbose: bool = False,
    ) -> None:
        self.lags = lags
        self.tmin = tmin
        self.tmax = tmax
        self.fs = fs
        self.edges = edges
        self.basis = basis
        self.fit_intercept = fit_intercept
        self.ridge = ridge
        self.penalty = penalty
        self.grid = grid
        self.select = select
        self.loss = loss
        self.noise = noise
        self.solver = solver
        self.verbose = verbose

    def set_params(self, **params: Any) -> Self:
        """Set parameters, and settings of objects among them.

        Args:
            **params: parameters by name. ``basis__n=12`` replaces ``basis`` by one with this
                setting, and so does the name of any parameter that is an object.

        Returns:
            The regressor.

        Raises:
            ValueError: If there is no such parameter, or if it is not an object with settings.
            TypeError: If the object does not have the setting.

        Examples:
            >>> import convsolve as cs
            >>> from convsolve.sklearn import ConvRegressor
            >>> ConvRegressor(lags=(0, 9), basis=cs.BSplines(8)).set_params(basis__n=5).basis
            BSplines(5)
        """
        super().set_params(**{name: v for name, v in params.items() if "__" not in name})
        settings: dict[str, dict[str, Any]] = {}
        for name, value in params.items():
            owner, separator, setting = name.partition("__")
            if separator:
                settings.setdefault(owner, {})[setting] = value
        for owner, changed in settings.items():
            current = getattr(self, owner, None)
            if is_dataclass(current) and not isinstance(current, type):
                super().set_params(**{owner: replace(current, **changed)})
            elif owner in self.get_params():
                raise ValueError(
                    f"{owner}__{next(iter(changed))} needs an object with this setting, but "
                    f"{owner} is {current!r}"
                )
            else:  # scikit-learn lists the parameters
                super().set_params(**{owner: None})
        return self

    def fit(self, X: Any, y: Any, sample_weight: Any = None, groups: Any = None) -> Self:
        """Fit the kernel.

        Args:
            X: input, see the class.
            y: output, see the class, with or without an axis of outputs.
            sample_weight: weights of the squared residuals, not negative: one per sample, or one
                per trial if trials are given. None, the default, weights all samples equally.
            groups: a label for every sample of one X. Default None.

        Returns:
            The regressor.

        Raises:
            ValueError, TypeError: If shapes do not fit, or values are not finite.
            ImportError: If ``verbose`` is True and tqdm is not installed.

        Examples:
            >>> import numpy as np
            >>> from convsolve.sklearn import ConvRegressor
            >>> X, noise = np.random.default_rng(0).standard_normal((2, 8, 200, 1))
            >>> ConvRegressor(lags=(0, 9)).fit(X, X + noise).lags_
            array([0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
        """
        choice(self.edges, "edges", ("zeros", "drop"))
        with following(bool(self.verbose), "ConvRegressor.fit"):
            return self._fitted(X, y, sample_weight, groups)

    def _fitted(self, X: Any, y: Any, sample_weight: Any, groups: Any) -> Self:
        x, targets, weights = self._trials(X, y, sample_weight, groups)
        names = getattr(self, "feature_names_in_", None)
        bounds = self._bounds()
        problem = Problem(
            x,
            targets,
            lags=bounds if isinstance(bounds, Mapping) else [bounds],
            basis=self.basis,
            fs=self.fs,
            edges=self.edges,
            bias=bool(self.fit_intercept),
            weights=weights,
            channels=None if names is None else [*map(str, names)],
            outputs=column_names(y[0] if _by_trial(X, groups) else y),
        )
        self.solution_ = solve(
            problem,
            self.solver,
            ridge=self.ridge,
            penalty=self.penalty,
            grid=self.grid,
            select=self.select,
            loss=self.loss,
            noise=self.noise,
        )
        self.lags_ = self.solution_.lags
        self.times_ = None if self.fs is None else self.solution_.times
        self._alone, bias = targets[0].ndim == 1, self.solution_.bias
        self.coef_ = self._as_coef(self.solution_.kernel)
        self.intercept_ = bias[0] if self._alone else bias
        return self

    @property
    def patterns_(self) -> np.ndarray:
        """Patterns of a decoder in the shape of ``coef_``."""
        check_is_fitted(self)
        return self._as_coef(self.solution_._patterns())

    def _as_coef(self, kernel: np.ndarray) -> np.ndarray:
        """Return a kernel (lags, features, outputs) in the shape of ``coef_``."""
        found = kernel[::-1].transpose(2, 1, 0)
        return found[0] if self._alone else found

    def predict(self, X: Any, groups: Any = None) -> Any:
        """Predict y in the form of X: one array, or a list with an array per trial.

        Args:
            X: input as for `fit`, with any number of trials and samples.
            groups: a label for every sample of one X. Default None.

        Returns:
            The prediction, as long as X.

        Examples:
            >>> import numpy as np
            >>> from convsolve.sklearn import ConvRegressor
            >>> X, noise = np.random.default_rng(0).standard_normal((2, 8, 200, 1))
            >>> ConvRegressor(lags=(0, 9)).fit(X, X + noise).predict(X).shape
            (8, 200, 1)
        """
        check_is_fitted(self)
        if _by_trial(X, groups):
            found = self._predicted([validate_data(self, x, reset=False, dtype=FLOATS) for x in X])
            return np.stack(found) if getattr(X, "ndim", 1) == 3 else found
        x = validate_data(self, X, reset=False, dtype=FLOATS)
        return np.concatenate(self._predicted(np.split(x, _starts(groups, x))))

    def score(self, X: Any, y: Any, sample_weight: Any = None, groups: Any = None) -> float:
        """Return R² of all samples, averaged over outputs, see `sklearn.metrics.r2_score`.

        Args:
            X: input as for `predict`.
            y: output that belongs to X.
            sample_weight: weights as for `fit`. Default None.
            groups: a label for every sample of one X. Default None.

        Returns:
            R², a number.

        Examples:
            >>> import numpy as np
            >>> from convsolve.sklearn import ConvRegressor
            >>> X, noise = np.random.default_rng(0).standard_normal((2, 8, 200, 1))
            >>> model = ConvRegressor(lags=(0, 9)).fit(X[:4], X[:4] + noise[:4])
            >>> model.score(X[4:], X[4:] + noise[4:]) > 0.4
            True
        """
        found = self.predict(X, groups)
        if _by_trial(X, groups):
            y = _targets(y, X)
            if sample_weight is not None:
                check_consistent_length(X, sample_weight)
                several = zip(sample_weight, map(len, found), strict=True)
                every = [np.full(n, w) if np.ndim(w) == 0 else column_or_1d(w) for w, n in several]
                sample_weight = np.concatenate(every)
            y, found = np.concatenate(y), np.concatenate([*found])
        return float(r2_score(y, found, sample_weight=sample_weight))

    def _predicted(self, x: list[np.ndarray]) -> list[np.ndarray]:
        """Return the prediction of every trial."""
        spec = Geometry.of_lags((int(self.lags_[0]), int(self.lags_[-1])), "zeros").spec
        found = convolve(x, self.solution_.kernel, spec, self.solution_.bias)
        return [part[:, 0] for part in found] if self._alone else found

    def _bounds(self) -> Any:
        """First and last lag."""
        if self.tmin is None and self.tmax is None:
            return (0, 0) if self.lags is None else self.lags
        if self.lags is not None:
            raise TypeError("give either lags= in samples, or tmin= and tmax= in seconds")
        return lags_of_times(self.tmin, self.tmax, self.fs)

    def _trials(self, X: Any, y: Any, sample_weight: Any, groups: Any) -> Any:
        """X, y and weights, each a list of one for every trial, checked; None for no weights."""
        if not _by_trial(X, groups):
            _refuse_masks(y, "y")
            _refuse_flat_trials(X, y)
            X, y = validate_data(self, X, y, dtype=FLOATS, multi_output=True, y_numeric=True)
            if sample_weight is not None:
                sample_weight = _check_sample_weight(sample_weight, X)
            starts = _starts(groups, X)
            return [None if a is None else np.split(a, starts) for a in (X, y, sample_weight)]
        x = [validate_data(self, trial, reset=not i, dtype=FLOATS) for i, trial in enumerate(X)]
        y = _targets(y, X)
        if sample_weight is not None:
            check_consistent_length(X, sample_weight)
            sample_weight = [w if np.ndim(w) == 0 else column_or_1d(w) for w in sample_weight]
        return x, y, sample_weight

    def __sklearn_tags__(self) -> Any:
        found = super().__sklearn_tags__()
        found.target_tags.multi_output = True
        return found


def _by_trial(X: Any, groups: Any) -> bool:
    """Whether X has its trials one by one: a list of tables, or an array of three axes."""
    _refuse_masks(X, "X")
    axes = getattr(X, "ndim", 2)
    if isinstance(X, (list, tuple)) or str(getattr(X, "dtype", "")) == "object":
        axes = 3 if len(X) and all(np.ndim(trial) == 2 for trial in X) else 2
    if axes == 3 and groups is not None:
        raise ValueError("groups is for one X (samples, features), but this X has separate trials")
    return axes == 3


def _refuse_masks(value: Any, name: str) -> None:
    """scikit-learn takes a masked array as if nothing were masked."""
    if isinstance(value, (list, tuple)):
        for i, one in enumerate(value):
            if isinstance(one, np.ma.MaskedArray):
                _refuse_masks(one, f"{name}[{i}]")
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{name} is a masked array, whose mask would be lost")


def _refuse_flat_trials(X: Any, y: Any) -> None:
    """scikit-learn takes a list of arrays of one axis as the rows of a table."""

    def lengths(several: Any) -> list[int]:
        arrays = isinstance(several, list) and all(isinstance(a, np.ndarray) for a in several)
        return [len(a) for a in several if a.ndim == 1] if arrays else []

    if lengths(X) and lengths(X) == lengths(y):
        raise ValueError("X and y are lists of arrays of one axis")


def _targets(y: Any, X: Any) -> list[np.ndarray]:
    """Return y of every trial, as long as X."""
    _refuse_masks(y, "y")
    y = y.to_numpy() if hasattr(y, "iloc") else y
    check_consistent_length(X, y)
    found = [check_array(b, ensure_2d=False, dtype=FLOATS, input_name="y") for b in y]
    for of_x, of_y in zip(X, found, strict=True):
        check_consistent_length(of_x, of_y)
    return found


def _starts(groups: Any, x: np.ndarray) -> np.ndarray:
    """Where trials but the first begin, from a label for every sample."""
    if groups is None:
        return np.zeros(0, int)
    labels = column_or_1d(groups)
    check_consistent_length(x, labels)
    if not all(isinstance(same := one == one, (bool, np.bool_)) and same for one in labels):
        raise ValueError("groups has missing labels")
    return np.flatnonzero(labels[1:] != labels[:-1]) + 1
