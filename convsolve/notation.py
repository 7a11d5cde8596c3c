"""Names and components in words, and suggestions for unknown names.

Components are given by a name, a name with a number, or a call, such as "BSplines(8)". Unknown
arguments and attributes raise an error with the name of another library, or with the nearest name.
"""

from __future__ import annotations

import ast
import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from typing import Any, TypeVar

_F = TypeVar("_F", bound=Callable[..., Any])
_C = TypeVar("_C", bound=type)
# Classes, or functions that return a component, by name.
Classes = Mapping[str, Callable[..., Any]]

# Names that a number may follow, which is the first argument. They are written as by `_plain`.
NUMBERED = ("ar", "hac", "raisedcosines", "bsplines", "tents", "fourier", "cv", "cosine")
# Arguments of scikit-learn, MNE, mTRFpy, nilearn, statsmodels and Keras, and what to use here.
ARGUMENTS = {
    "alpha lambda_ regularization": "ridge= of solve, or strength= of a penalty",
    "alphas": "grid=",
    "estimator kernel_regularizer l1_ratio": "penalty= of solve, such as Ridge(...) or Lasso(...)",
    "fit_intercept use_bias": "bias=",
    "cv n_splits folds scoring": "select=CrossValidation(folds), or folds= of cross_validate",
    "sample_weight": "weights=",
    "random_state": "seed=",
    "max_iter epochs": "steps= of GradientDescent",
    "learning_rate lr optimizer": 'GradientDescent("adam", learning_rate=...)',
    "sfreq srate t_r Ts dt": "fs=, which is one over the time between samples",
    "delays n_lags": "lags=(first, last)",
    "direction": "Problem(response, stimulus, lags=(-last, -first)) for a decoder",
    "stimulus response": "x= and y=",
    "feature_names ch_names": "channels=",
    "hrf_model": "basis=HRF(...), such as HRF('spm + derivative')",
    "drift_model high_pass drift_order": "drift=, a degree, or Cosines(1 / high_pass)",
    "noise_model cov_type maxlags": "noise=, such as HACNoise(maxlags)",
    "filters": "n_outputs=",
    "tr TR oversampling": "fs= for x, and fs_y= for y",
    "add_regs": "confounds=",
    "sample_masks": "mask=",
    # Arguments of another call.
    "x y lags tmin tmax fs kernel_size basis channels mask": "Problem(x, y, ...), then solve it",
    "bias": "Problem(x, y, bias=...), or fit_intercept= of ConvRegressor",
    "solver ridge penalty select loss noise": "solve(problem, ...)",
}
# Attributes of their results, and their estimators.
ATTRIBUTES = {
    "coef coef_ params weights beta betas": "impulse_response in ascending lags, or kernel",
    "intercept_": "bias",
    "alpha_ best_score_ cv_results_": "regularization.strength, .score or .path",
    "n_iter_": 'stats["steps"]',
    "delays_": "lags or times",
    "bse conf_int cov_params": "standard_error, confidence_band() or covariance()",
    "tvalues pvalues p_values t_test f_test compute_contrast contrast": "test()",
    "r2 rsquared r_square fittedvalues": "score().r2 or predict()",
    "design_matrix": 'plot(problem, kind="design")',
    "generate_report": "to_html()",
    "resid": "residuals(), whiteness() or plot(kind='residuals')",
    "sim lsim simulate": "predict(u, edges='zeros')",
    "df_resid nobs": "noise.dof or problem.n_equations",
    "aic bic": "choose_lags(problem)",
    "summary": "print()",
    "fit RidgeCV LassoCV OLS LinearRegression": "solve(problem, ...)",
    "impulseest": 'solve(problem, penalty="tc")',
    "freqresp bode tf transfer_function freqz": 'frequency_response(), or plot(kind="bode")',
    "step gain dc_gain dcgain stepinfo": "step_response()",
    "impulse taps h": "impulse_response",
    "history loss_history": "trace.losses",
    "FirstLevelModel run_glm": "Problem(..., basis=HRF(...)), and solve(problem, noise='ar1')",
    "make_first_level_design_matrix": "interop.events.impulses, and Problem(..., basis=HRF(...))",
    "ReceptiveField TRF": "Problem(x, y, lags=(first, last)), or sklearn.ConvRegressor",
}


def made(kind: str, given: Any, classes: Classes, value: Callable[[Any], Any] | None = None) -> Any:
    """Return a component from words, or from its name and settings in a dict.

    Args:
        kind: the argument that the component is given by, for errors.
        given: the words or the dict, such as ``{"name": "bsplines", "n": 8}``.
        classes: the components of the kind.
        value: converts the arguments of a call.

    Raises:
        ValueError: If the name is unknown, or the words are no name and no call of plain values.
        TypeError: If the component does not accept the arguments.
    """
    if isinstance(given, str):
        name, arguments, settings = _parts(given)
    else:
        settings = {**given}
        name, arguments = settings.pop("name", ""), []
    if (found := class_of(name, classes)) is None:
        raise ValueError(f"{kind}={given!r} is unknown; {nearest(name, classes)}")
    read = value or (lambda one: one)
    return found(*map(read, arguments), **{key: read(one) for key, one in settings.items()})


def class_of(words: str, classes: Classes) -> Callable[..., Any] | None:
    """Return the class of a name, or of the name in a call; None for an unknown name.

    The name is one of ``classes``, or the name of the class itself. Case, - and _ do not matter.
    """
    known = {_plain(getattr(one, "__name__", key)): one for key, one in classes.items()}
    known |= {_plain(key): one for key, one in classes.items()}
    return known.get(_plain(_parts(words)[0]))


def _parts(words: str) -> tuple[str, list[Any], dict[str, Any]]:
    """Return the name, the arguments and the settings of words."""
    name, bracket, rest = words.strip().partition("(")
    number = re.fullmatch(r"(.+?)([1-9]\d{0,8})", name)
    if number and _plain(number[1]) in NUMBERED:
        return number[1], [int(number[2])], {}
    if not bracket:
        return name, [], {}
    try:
        call: Any = ast.parse(f"_({rest}", mode="eval").body
        settings = {str(word.arg): ast.literal_eval(word.value) for word in call.keywords}
        return name, [*map(ast.literal_eval, call.args)], settings
    except (SyntaxError, ValueError, AttributeError) as error:
        raise ValueError(f"{words!r} is no call with plain values") from error


def _plain(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "")


def nearest(name: str, names: Iterable[str]) -> str:
    """Return a sentence with the name that is nearest to an unknown one, or with all names."""
    near = _similar(name, names)
    return f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(names)}"


def _similar(name: str, names: Iterable[str]) -> list[str]:
    """Return the nearest of some names in a list, or an empty list."""
    lower = {other.lower(): other for other in names}
    return [lower[near] for near in difflib.get_close_matches(name.lower(), lower, 1, 0.75)]


def _unknown(table: dict[str, str], begin: str, name: str, existing: Iterable[str]) -> str:
    uses = [f"; use {use}" for names, use in table.items() if name in names.split()]
    near = [f"; did you mean {one}?" for one in _similar(name, existing)]
    return f"{begin} {name!r}{''.join([*uses, *near][:1])}"


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
        raise unknown_attribute(cls.__name__, name, dir(self))

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
