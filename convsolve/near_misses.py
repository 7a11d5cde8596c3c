"""Suggestions for unknown arguments and attributes.

A name is looked up among the names of other libraries and of earlier versions, and then compared
with the names that exist.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any, TypeVar

_F = TypeVar("_F", bound=Callable[..., Any])
_C = TypeVar("_C", bound=type)

# Smallest similarity of a name that is suggested.
CUTOFF = 0.75

# Arguments of other libraries, and the argument here. A row applies to callables that accept it.
ARGUMENTS: dict[str, str] = {
    "sfreq srate sample_rate sampling_rate fsamp samplerate": "fs=",
    "tr t_r dt": "fs=1/tr",
    "intercept use_bias add_constant": "bias=",
    "bias intercept add_constant": "fit_intercept=",
    "fit_intercept": "bias=",
    "n_lags delays maxlag window": "lags=(first, last)",
    "taps n_taps kernel_length filter_length order": "kernel_size=",
    "mode pad zeropad boundary": "edges= with lags, padding= with a kernel size",
    "strides": "stride=",
    "dilations dilation_rate": "dilation=",
    "filters out_channels n_filters output_channels": "n_outputs=",
    "in_channels": "n_channels=",
    "sample_weight sample_weights": "weights=",
    "nuisance covariates regressors drift detrend baseline": "confounds=",
    "nan_policy": "missing=",
    "ch_names feature_names columns channel": "channels=",
    "targets target_names sensors output": "outputs=",
    "cov_type noise_model errors": "noise=",
    "alpha alpha_ lam lambda_ reg_lambda regularization l2 C": "ridge= or strength= or decay=",
    "reg regularizer prior": "penalty=",
    "cv n_folds n_splits kfold": "folds=",
    "criterion scoring": "select=",
    "method": "solver=",
    "max_iter n_iter epochs maxiter": "steps=",
    "rtol atol": "tol=",
    "lr learning_rate": "optimizer=optax.adam(...)",
    "random_state rng key": "seed=",
    "groups bands": "channel_groups=",
    "beta": "decay=",
    "rho": "correlation=",
    "verbose callback": "progress=",
    "throw": "strict=",
    "memory": "limits=",
    "force": "overwrite=",
    "axes": "ax=",
}

# Options of earlier versions that no argument has.
OPTIONS = {"report": "html=", "rate": "learning_rate=", "penalty_groups": "channel_groups="}

# Attributes of other libraries and of earlier versions, by class, and what to use here.
ATTRIBUTES: dict[str, dict[str, str]] = {
    "Solution": {
        "coef_ coef w h weights trf filter_ irf params beta": (
            "impulse_response (ascending lags) or kernel (layer order)"
        ),
        "intercept_ intercept b": "bias",
        "alpha_ best_alpha_ alpha ridge penalty strength": "regularization",
        "r2 rsquared corr score_": "score()",
        "bse stderr std_err se errors": "standard_error",
        "conf_int confidence_interval ci band": "confidence_band()",
        "cov cov_params": "covariance()",
        "f_test wald_test t_test pvalues contrast": "test()",
        "resid residual": "residuals()",
        "fittedvalues y_pred prediction": "predict()",
        "df_resid df": "dof",
        "sigma2 scale mse_resid": "noise.variance",
        "aic bic": "cs.choose_lags",
        "summary describe": "print(fit)",
        "report html": "to_html()",
        "success ok converged_": "converged",
        "certificate": "backward_error or duality_gap",
        "n_iter_": 'stats["steps"]',
        "delays_ t tau": "lags or times",
        "sfreq fs": "times",
    },
    "Identifiability": {
        "condition cond kappa": "condition_number",
        "ok is_unique determined": "unique",
        "remedies advice": "suggestions",
        "confounded aliased null_echelon": "collinear",
        "vif variance_inflation": "weakly_determined",
        "s svd": "singular_values",
        "padding_only": "padding_dependent",
        "summary describe": "print(report)",
    },
    "Problem": {
        "solve fit": "cs.solve(problem)",
        "identify": "cs.identify(problem)",
        "from_lags": "Problem(x, y, lags=(first, last))",
        "sfreq fs": "names.fs",
        "n_samples": "n_equations",
        "X": "x",
        "out_channels": "n_outputs",
        "in_channels": "n_channels",
    },
    "Score": {
        "r2_error": "r2_standard_error",
        "nrmse_fit fit": "fit_percent",
        "rsquared": "r2",
        "corr r": "correlation",
    },
    "FTest": {"p p_value": "pvalue", "fvalue f": "statistic", "df": "dof"},
    "PermutationTest": {"p p_value": "pvalue", "null": "null_distribution"},
    "Regularization": {
        "degrees_of_freedom dof edf": "effective_dof",
        "bounded": "at_bound",
        "alpha alpha_ best_alpha_": "strength",
    },
    "convsolve": {
        "fit estimate lstsq deconvolve": "solve",
        "diagnose check": "identify",
        "RidgeCV": "Regularized",
        "ReceptiveField TRF FIR": (
            "Problem(x, y, lags=(first, last)), or ConvRegressor of convsolve.sklearn"
        ),
        "HeldOutScores": "CrossValidationScores",
        "Descent": "DescentForecast",
    },
}


def _known(table: dict[str, str], name: str) -> list[str]:
    return [here for others, here in table.items() if name in others.split()]


def _similar(name: str, names: Iterable[str]) -> list[str]:
    return difflib.get_close_matches(name, names, 1, CUTOFF)


def _targets(suggestion: str) -> list[str]:
    """Return the arguments that a suggestion names."""
    return [word.partition("=")[0] for word in suggestion.split() if "=" in word]


def unknown_argument(owner: str, name: str, accepted: Iterable[str]) -> str:
    """Return the message for an argument that a callable does not have."""
    accepted = [*accepted]
    begin = f"{owner}() has no argument {name!r}; "
    for suggestion in _known(ARGUMENTS, name):
        usable = [target for target in _targets(suggestion) if target in accepted]
        if len(usable) == len(_targets(suggestion)):
            return f"{begin}use {suggestion}"
        if usable:
            return f"{begin}use {usable[0]}="
    if similar := _similar(name, accepted):
        return f"{begin}did you mean {similar[0]}?"
    return f"{begin}its arguments are {', '.join(accepted)}"


def suggested(name: str, accepted: Iterable[str], commands: bool = False) -> list[str]:
    """Return the options or commands that may be meant by an unknown one; empty if none is near.

    Args:
        name: an option or command that does not exist, without dashes in front.
        accepted: the options or commands that exist, without dashes in front.
        commands: whether the names are commands.
    """
    plain = {other.replace("-", "_"): other for other in accepted}
    word = name.replace("-", "_")
    rows = _known(ATTRIBUTES["convsolve"], word) if commands else _known(ARGUMENTS | OPTIONS, word)
    found = rows if commands else [t for row in rows for t in _targets(row)]
    usable = [plain[other] for other in found if other in plain]
    return usable or [plain[other] for other in _similar(word, plain)]


def unknown_attribute(owner: str, name: str, existing: Iterable[str]) -> str:
    """Return the message for an attribute that an object or the package does not have."""
    kind = f"module {owner!r}" if owner == "convsolve" else owner
    for suggestion in _known(ATTRIBUTES.get(owner, {}), name):
        return f"{kind} has no attribute {name!r}; use {suggestion}"
    public = [other for other in existing if not other.startswith("_")]
    similar = "".join(f"; did you mean {other}?" for other in _similar(name, public))
    return f"{kind} has no attribute {name!r}{similar}"


class Suggesting(type):
    """The metaclass of a class whose own attributes are suggested too."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise AttributeError(unknown_attribute(cls.__name__, name, dir(cls)))


def suggests_attributes(cls: _C) -> _C:
    """Decorate a class so that an unknown attribute raises an error with a suggestion."""
    cls.__getattr__ = _missing_attribute  # type: ignore[attr-defined]
    return cls


def _missing_attribute(self: Any, name: str) -> Any:
    cls = type(self)
    if hasattr(cls, name):
        # A property raised an AttributeError: the second access raises it again.
        return object.__getattribute__(self, name)
    if name.startswith("__"):
        raise AttributeError(name)
    raise AttributeError(unknown_attribute(cls.__name__, name, dir(cls)))


def checks_arguments(given: _F) -> _F:
    """Decorate a function or class so that an unknown keyword raises an error with a suggestion."""
    if isinstance(given, type):
        given.__init__ = checks_arguments(given.__init__)  # type: ignore[misc]
        return given
    code = given.__code__
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    owner = given.__qualname__.removesuffix(".__init__").rpartition(".")[2]

    @wraps(given)
    def checked(*args: Any, **keywords: Any) -> Any:
        for name in keywords:
            if name not in names:
                raise TypeError(unknown_argument(owner, name, (n for n in names if n != "self")))
        return given(*args, **keywords)

    return checked  # type: ignore[return-value]
