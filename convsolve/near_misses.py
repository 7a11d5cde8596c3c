"""Suggestions for unknown arguments and attributes: names of other libraries, or the nearest."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any, TypeVar

_F = TypeVar("_F", bound=Callable[..., Any])
_C = TypeVar("_C", bound=type)

# Arguments of scikit-learn, MNE, mTRFpy, nilearn, statsmodels and Keras, and what to use here.
ARGUMENTS = {
    "alpha lambda_ regularization": "ridge= of solve, or strength= of a penalty",
    "alphas": "grid=",
    "l1_ratio": "penalty=Lasso(...)",
    "fit_intercept use_bias": "bias=",
    "cv n_splits": "select=CrossValidation(folds), or folds= of cross_validate",
    "scoring": "select= of solve, or the scores of cross_validate",
    "estimator kernel_regularizer": "penalty= of solve",
    "sample_weight": "weights=",
    "random_state": "seed=",
    "max_iter epochs": "steps= of GradientDescent",
    "learning_rate lr optimizer": "optimizer=optax.adam(...) of GradientDescent",
    "sfreq srate": "fs=",
    "t_r": "fs=1/t_r",
    "delays n_lags": "lags=(first, last)",
    "direction": "Problem(response, stimulus, lags=(-last, -first)) for a decoder",
    "stimulus": "x=",
    "response": "y=",
    "feature_names ch_names": "channels=",
    "hrf_model": "basis=HRF(...)",
    "drift_model high_pass": "drift=, the degree of a polynomial per record",
    "noise_model cov_type": "noise=",
    "maxlags": "noise=HACNoise(maxlags)",
    "filters": "n_outputs=",
    # Arguments of another call.
    "x y lags tmin tmax fs kernel_size basis channels mask": "Problem(x, y, ...), then solve it",
    "bias": "Problem(x, y, bias=...), or fit_intercept= of ConvRegressor",
    "solver ridge penalty select loss noise": "solve(problem, ...)",
}
# Attributes of their results, and their estimators.
ATTRIBUTES = {
    "coef_ params weights": "impulse_response (ascending lags) or kernel (layer order)",
    "intercept_": "bias",
    "alpha_": "regularization.strength",
    "best_score_ cv_results_": "regularization.score or regularization.path",
    "n_iter_": 'stats["steps"]',
    "patterns_": "patterns()",
    "delays_": "lags or times",
    "bse": "standard_error",
    "conf_int": "confidence_band()",
    "cov_params": "covariance()",
    "tvalues pvalues t_test f_test compute_contrast": "test()",
    "rsquared": "score().r2",
    "resid": "residuals()",
    "fittedvalues": "predict()",
    "df_resid": "noise.dof",
    "nobs": "problem.n_equations",
    "aic bic": "choose_lags(problem)",
    "summary": "print()",
    "fit": "solve(problem)",
    "RidgeCV LassoCV OLS LinearRegression": "solve(problem, penalty=...)",
    "ReceptiveField TRF": "Problem(x, y, lags=(first, last)), or sklearn.ConvRegressor",
}


def similar(name: str, names: Iterable[str]) -> list[str]:
    """Return the nearest of some names in a list, or an empty list."""
    lower = {other.lower(): other for other in names}
    return [lower[near] for near in difflib.get_close_matches(name.lower(), lower, 1, 0.75)]


def _unknown(table: dict[str, str], begin: str, name: str, existing: Iterable[str]) -> str:
    for names, use in table.items():
        if name in names.split():
            return f"{begin} {name!r}; use {use}"
    near = similar(name, existing)
    return f"{begin} {name!r}" + (f"; did you mean {near[0]}?" if near else "")


def unknown_attribute(owner: str, name: str, existing: Iterable[str]) -> AttributeError:
    """Return the error for an attribute that an object or the package does not have."""
    public = (other for other in existing if not other.startswith("_"))
    return AttributeError(_unknown(ATTRIBUTES, f"{owner} has no attribute", name, public))


def suggests_attributes(cls: _C) -> _C:
    """Decorate a class so that an unknown attribute raises an error with a suggestion."""

    def missing(self: Any, name: str) -> Any:
        if hasattr(cls, name) or name.startswith("__"):
            # A property raised an AttributeError: the second access raises it again.
            return object.__getattribute__(self, name)
        raise unknown_attribute(cls.__name__, name, dir(cls))

    cls.__getattr__ = missing  # type: ignore[attr-defined]
    return cls


def checks_arguments(given: _F) -> _F:
    """Decorate a function or class so that an unknown keyword raises an error with a suggestion."""
    if isinstance(given, type):
        given.__init__ = checks_arguments(given.__init__)  # type: ignore[misc]
        return given
    code, owner = given.__code__, given.__qualname__.removesuffix(".__init__")
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]

    @wraps(given)
    def checked(*args: Any, **keywords: Any) -> Any:
        for name in keywords:
            if name not in names:
                raise TypeError(_unknown(ARGUMENTS, f"{owner}() has no argument", name, names))
        return given(*args, **keywords)

    return checked  # type: ignore[return-value]
