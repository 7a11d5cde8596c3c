"""A scikit-learn regressor: kernels by least squares, in pipelines, searches and cross-validation.

It needs scikit-learn: ``pip install 'convsolve[sklearn]'``.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, is_dataclass, replace
from typing import Any, Self

import numpy as np

try:
    from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
    from sklearn.metrics import r2_score
    from sklearn.utils import validation
except ImportError as error:
    raise ImportError("this needs scikit-learn: pip install 'convsolve[sklearn]'") from error

from .api import convolve, solve
from .notation import checks_arguments
from .problem.problem import Problem
from .problem.records import column_names
from .problem.spec import Geometry
from .progress import following

FLOATS = (np.float64, np.float32)
# Parameters that are arguments of `Problem` and of `solve`.
GEOMETRY = ("lags", "tmin", "tmax", "fs", "edges", "basis")
METHOD = ("solver", "ridge", "penalty", "grid", "select", "one_strength", "loss", "noise")


@checks_arguments
@dataclass(eq=False, repr=False)
class ConvRegressor(MultiOutputMixin, RegressorMixin, BaseEstimator):
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
        penalty, grid, select, one_strength, loss, noise, solver: as in `convsolve.solve`, with its
            defaults. For example, ``penalty="smooth"`` selects the strength from the data.
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

    lags: Any = None
    _: KW_ONLY
    tmin: Any = None
    tmax: Any = None
    fs: float | None = None
    edges: str = "zeros"
    basis: Any = None
    fit_intercept: bool = True
    ridge: Any = None
    penalty: Any = None
    grid: Any = None
    select: Any = None
    one_strength: bool = False
    loss: Any = "squared"
    noise: Any = "white"
    solver: Any = None
    verbose: bool = False

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
        for name, value in params.items():
            owner, _, setting = name.partition("__")
            current: Any = getattr(self, owner, None)
            if setting and not is_dataclass(current):
                raise ValueError(f"{name}: {owner}={current!r} has no settings")
            changed = replace(current, **{setting: value}) if setting else value
            super().set_params(**{owner: changed})
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
        X, y, sample_weight, groups = _joined(X, groups, y, sample_weight)
        given = {name: getattr(self, name) for name in GEOMETRY} | {"outputs": column_names(y)}
        if self.lags is None and self.tmin is None and self.tmax is None:
            given["lags"] = [(0, 0)]
        X, y = validation.validate_data(self, X, y, dtype=FLOATS, multi_output=True, y_numeric=True)
        given |= {"channels": getattr(self, "feature_names_in_", None), "bias": self.fit_intercept}
        starts = _starts(groups, X)
        if sample_weight is not None:
            given["weights"] = np.split(validation._check_sample_weight(sample_weight, X), starts)
        with following(bool(self.verbose)):
            problem = Problem(np.split(X, starts), np.split(y, starts), **given)
            self.solution_ = solve(problem, **{name: getattr(self, name) for name in METHOD})
        self.lags_ = self.solution_.lags
        self.times_ = None if self.fs is None else self.solution_.times
        self._alone, bias = y.ndim == 1, self.solution_.bias
        self.coef_ = self._as_coef(self.solution_.impulse_response)
        self.intercept_ = bias[0] if self._alone else bias
        return self

    @property
    def patterns_(self) -> np.ndarray:
        """Patterns of a decoder in the shape of ``coef_``."""
        validation.check_is_fitted(self)
        return self._as_coef(self.solution_.patterns())

    def _as_coef(self, response: np.ndarray) -> np.ndarray:
        """Return an impulse response in the shape of ``coef_``."""
        found = response.reshape(self.solution_.kernel.shape).transpose(2, 1, 0)
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
        validation.check_is_fitted(self)
        table, _, _, groups = _joined(X, groups)
        x = validation.validate_data(self, table, reset=False, dtype=FLOATS)
        # Rows whose window exceeds the trial are predicted, too.
        edges = "zeros" if self.edges == "drop" else self.edges
        spec = Geometry.of_lags([(int(self.lags_[0]), int(self.lags_[-1]))], edges).spec
        fit, trials = self.solution_, np.split(x, _starts(groups, x))
        found = convolve(trials, fit.kernel, spec, fit.bias)
        found = [part[:, 0] for part in found] if self._alone else found
        if table is X:
            return np.concatenate(found)
        return np.stack(found) if getattr(X, "ndim", 1) == 3 else found

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
        table, y, sample_weight, _ = _joined(X, groups, y, sample_weight)
        found = found if table is X else np.concatenate([*found])
        return float(r2_score(y, found, sample_weight=sample_weight))


def _joined(X: Any, groups: Any, y: Any = None, weights: Any = None) -> tuple[Any, Any, Any, Any]:
    """Return X, y, weights and groups of all samples, for trials one after another."""
    listed = isinstance(X, (list, tuple)) and all(hasattr(trial, "shape") for trial in X)
    if not listed and getattr(X, "ndim", 2) != 3:
        return X, y, weights, groups
    if groups is not None:
        raise ValueError("groups is for one X (samples, features), but this X has separate trials")
    lengths = [*map(len, X)]
    if y is not None:
        if [*map(len, y)] != lengths:
            raise ValueError("X and y have trials of inconsistent numbers of samples")
        y = _table(y)
    if weights is not None:
        several = zip(weights, lengths, strict=True)
        weights = np.concatenate([np.broadcast_to(np.ravel(w), n) for w, n in several])
    return _table(X), y, weights, np.repeat(np.arange(len(lengths)), lengths)


def _table(trials: Any) -> Any:
    """Return the samples of trials one after another, with the names of columns."""
    if all(hasattr(trial, "iloc") for trial in trials):
        from pandas import concat

        return concat([*trials])
    return np.concatenate([*map(np.asarray, trials)])


def _starts(groups: Any, x: np.ndarray) -> np.ndarray:
    """Return where trials but the first begin, from a label for every sample."""
    labels = np.zeros(len(x)) if groups is None else validation.column_or_1d(groups)
    validation.check_consistent_length(x, labels)
    if not np.array_equal(labels, labels):
        raise ValueError("groups has missing labels")
    return np.flatnonzero(labels[1:] != labels[:-1]) + 1
