"""Suggestions for unknown arguments and attributes.

A name is looked up among the names of other libraries and of earlier versions, and then compared
with the names that exist.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from typing import Any, TypeVar

_F = TypeVar("_F", bound=Callable[..., Any])
_V = TypeVar("_V")
_C = TypeVar("_C", bound=type)

# Smallest similarity of a name that is suggested.
CUTOFF = 0.75

# Arguments of other libraries and of earlier versions, and the argument here. A row applies to
# callables that accept the argument. A name after a dot belongs to one function or class.
ARGUMENTS: dict[str, str] = {
    "StableSpline.alpha": "decay=",
    "StableSpline.rho": "correlation=",
    "Smooth.length": "SquaredExponential(length=...)",
    "Ridge.weights": "strength=, with one strength per group of channels",
    "Lasso.alpha Lasso.lam Lasso.lambda_ Lasso.regularization Lasso.l1": "strength=",
    "Lasso.l1_ratio": "ridge= for the squares of an elastic net",
    "HuberLoss.epsilon HuberLoss.k HuberLoss.threshold": "delta=",
    "Limits.factor_bytes Limits.gram_bytes Limits.max_bytes": "memory=",
    "Limits.held_numbers Limits.chunk_numbers Limits.block_numbers": "data=",
    "compare.method compare.solver compare.models": "methods=",
    "compare.kernel compare.true_kernel": "truth=",
    "choose_lags.method": "select=",
    "solve.max_iter solve.maxiter solve.epochs solve.steps": "solver=GradientDescent(steps=...)",
    "solve.lr solve.learning_rate": "solver=GradientDescent(...)",
    "solve.tol": "solver=ConjugateGradient(tol=...)",
    "solve.robust": "loss='huber'",
    "Problem.direction Problem.Dir Problem.map": (
        "Problem(response, stimulus, lags=(-last, -first)) for a decoder"
    ),
    "Problem.stim Problem.stimulus Problem.stimuli": "x=",
    "Problem.resp Problem.response Problem.responses": "y=",
    "Problem.rate": "fs=",
    "Problem.standardize Problem.normalize": "x=x / x.std(axis=0) for channels of one scale",
    "cross_validate.scoring cross_validate.metric": "cross_validate(problem).r2 or .correlation",
    "cross_validate.groups": "folds=, lists of records",
    "confidence_band.alpha": "level=1 - alpha",
    "permutation_test.n_permutations permutation_test.n_perm permutation_test.n": "draws=",
    "impulses.frame_times impulses.n_scans impulses.n_times": "samples=",
    "impulses.conditions impulses.trial_types impulses.kinds": "names=",
    "impulses.splines impulses.formula impulses.modulation": "modulators=",
    "impulses.center impulses.centered impulses.demean": "centre=",
    "Spline.df Spline.n_splines Spline.n_basis": "n=",
    "GradientDescent.method": "optimizer=",
    "solve_group.penalty solve_group.ridge solve_group.covariance": "prior=",
    "solve_group.noise": (
        "solve for each subject, because the noise of a group is white with a variance per subject"
    ),
    "solve_group.loss": "solve for each subject, because a group has the squared loss",
    # The bands of other results than `Solution`.
    "simultaneous": ("level=1 - 0.05 / n for all of n taps, because this band is per tap"),
    "varying.order varying.polynomial": "degree=",
    "GradientDescent.huber_delta": "solve(loss=HuberLoss(1.0, scale=...))",
    "CrossValidation.scoring CrossValidation.metric CrossValidation.score_func": "score=",
    "RaisedCosines.n_basis_funcs BSplines.n_basis_funcs BSplines.df Fourier.n_basis_funcs": "n=",
    "BSplines.order": "degree=, which is the order less one",
    "Tents.n Tents.n_basis_funcs": "knots=, some lags or their number",
    "HRF.derivative HRF.dispersion": "derivatives=",
    "HRF.model HRF.hrf_model": "kind=",
    "sfreq srate sample_rate sampling_rate fsamp samplerate sr": "fs=",
    "tr t_r": "fs=1/tr",
    "dt": "fs=1/dt",
    "intercept use_bias add_constant": "bias=",
    "bias intercept add_constant": "fit_intercept=",
    "fit_intercept": "bias=",
    "n_lags delays delay maxlag max_lag max_lags min_lag minlag order window": "lags=(first, last)",
    "n_basis_funcs nbasis n_basis basis_funcs basis_functions splines": (
        "basis=RaisedCosines(n) or basis=BSplines(n)"
    ),
    "knots degree": "basis=BSplines(n, degree=..., knots=...)",
    "hrf_model hrf": "basis=HRF(kind, derivatives=...)",
    "delays_per_channel lags_per_channel windows": "lags={channel: (first, last)}",
    "tap_mask lag_mask": "taps=",
    "taps n_taps kernel_length filter_length": "kernel_size=",
    "mode pad zeropad boundary": "edges= with lags, padding= with a kernel size",
    "strides": "stride=",
    "dilations dilation_rate": "dilation=",
    "filters out_channels n_filters output_channels": "n_outputs=",
    "in_channels": "n_channels=",
    "sample_weight sample_weights": "weights=",
    "nuisance covariates regressors baseline": "confounds=",
    "drift drift_model high_pass polort detrend": "confounds=, the degree of a drift",
    "nan_policy": "missing=",
    "sample_mask": "mask=",
    "ch_names feature_names columns channel": "channels=",
    "targets target_names sensors output": "outputs=",
    "cov_type noise_model errors": "noise=",
    "alpha alpha_ lam lambda_ lmbda reg_lambda regularization l2 C": "ridge= or strength=",
    "strength": "ridge=, or penalty= with a strength, as in penalty=Smooth(1.0)",
    "alphas lambdas strengths": "grid=",
    "l1 l1_ratio": "penalty=Lasso(...)",
    "reg regularizer kernel_regularizer prior": "penalty=",
    "cv n_folds n_splits kfold": "folds=",
    "cv folds n_folds n_splits kfold": "select='cv' or select=CrossValidation(5)",
    "method": "solver=",
    "solvers": "methods=",
    "criterion scoring": "select=",
    "optimizer": "solver=GradientDescent(...)",
    "objective loss_function": "loss=",
    "delta huber_delta scale": "loss=HuberLoss(...)",
    "max_iter n_iter epochs maxiter": "steps=",
    "rtol atol": "tol=",
    "lr learning_rate": "optimizer=optax.adam(...)",
    "random_state rng key": "seed=",
    "groups bands": "channel_groups=",
    "groups bands channel_groups": "penalty=Ridge(channel_groups=...)",
    "beta": "decay=",
    "verbose callback": "progress=",
    "throw": "strict=",
    "memory": "limits=Limits(memory=...)",
    "force": "overwrite=",
    "axes": "ax=",
}

# Arguments that belong to another call.
OF_SOLVE = ("solver", "ridge", "penalty", "grid", "select", "loss", "noise")
OF_PROBLEM = (
    "lags", "tmin", "tmax", "fs", "edges", "kernel_size", "stride", "padding", "dilation", "bias",
    "mask", "missing", "weights", "confounds", "basis", "taps", "channels", "outputs", "n_outputs",
)  # fmt: skip

# Options of earlier versions that no argument has.
OPTIONS = {
    "x x_column": "x_columns=",
    "y y_column": "y_columns=",
    "report": "html=",
    "rate": "learning_rate=",
    "penalty_groups": "channel_groups=",
    "penalty_weights": "strength=",
    "huber_delta": "delta= scale=",
    "alpha": "decay=",
    "rho": "correlation=",
    "solver": "methods=",
}

# Names of components in other libraries and in earlier versions, and the component and its
# arguments. If a name has several rows, the kind of component decides.
COMPONENTS: dict[str, tuple[str, dict[str, int]]] = {
    "lstsq pinv gelsd": ("svd", {}),
    "ols least_squares": ("auto", {}),
    "cholesky normal_equations": ("normal", {}),
    "lsqr lsmr cgls sparse_cg conjugate_gradient": ("cg", {}),
    "fft_deconvolution deconvolve wiener": ("fft", {}),
    "sgd gd gradient_descent": ("adam", {}),
    "bfgs l_bfgs l_bfgs_b": ("lbfgs", {}),
    "l2 ridge_regression ridge_cv ridgecv regularized": ("ridge", {}),
    "l1 elastic_net elasticnet group_lasso": ("lasso", {}),
    "differences": ("smooth", {"order": 1}),
    "curvature": ("smooth", {"order": 2}),
    "rbf gaussian se asd": ("squared_exponential", {}),
    "stable_spline": ("tc", {}),
    "mse l2 squares squared_error": ("squared", {}),
    "mae l1 lad absolute_error least_absolute": ("absolute", {}),
    "iid ols independent nonrobust": ("white", {}),
    "autoregressive prewhiten": ("ar", {}),
    "newey_west": ("hac", {}),
    "clustered": ("cluster", {}),
    "raised_cosine cosines": ("raised_cosines", {"n": 8}),
    "bspline b_splines splines": ("bsplines", {"n": 8}),
    "tent hat linear": ("tents", {"knots": 8}),
    "spm canonical double_gamma": ("hrf", {}),
    "loo kfold cross_validation": ("cv", {}),
    "aic": ("aicc", {}),
    "reml ml marginal_likelihood": ("evidence", {}),
}

# Classes that users receive and never construct. They are in `convsolve.extend`.
RESULTS = (
    "Comparison", "CrossValidationScores", "DescentForecast", "FTest", "GroupSolution", "Jackknife",
    "LagChoice", "NoiseEstimate", "PermutationTest", "Regularization", "Score", "Suggestion",
    "Trace",
)  # fmt: skip

# Attributes of other libraries and of earlier versions, by class, and what to use here.
ATTRIBUTES: dict[str, dict[str, str]] = {
    "Solution": {
        "coef_ coef coefs kernel_ w h weights trf filter_ irf params beta": (
            "impulse_response (ascending lags) or kernel (layer order)"
        ),
        "patterns_ pattern haufe": "patterns()",
        "tvalues zvalues": "test()",
        "mse rmse mae rsquared_adj": "score()",
        "nobs n_equations n_samples": "problem.n_equations",
        "plot_kernel plot_model": "plot()",
        "intercept_ bias_ intercept b": "bias",
        "alpha_ best_alpha_ alpha lambda_ ridge penalty strength penalties penalized": (
            "regularization"
        ),
        "r2 rsquared corr correlation pearson score_": "score()",
        "bse stderr std_err se sem error errors affordable_errors": "standard_error",
        "correlation_warning": "standard_error, which warns",
        "conf_int confidence_interval confidence_intervals ci band": "confidence_band()",
        "cov cov_params": "covariance()",
        "f_test wald_test t_test pvalue pvalues contrast contrasts compute_contrast": "test()",
        "resid residual weighted_residuals": "residuals()",
        "fittedvalues fitted y_pred y_hat prediction predictions": "predict()",
        "df_resid df dof": "noise.dof",
        "sigma2 scale mse_resid noise_variance": "noise.variance",
        "aic bic": "cs.choose_lags",
        "summary describe text entries": "print(fit)",
        "report html": "to_html()",
        "success ok converged_": "converged",
        "loss objective": 'stats["loss"]',
        "solver method": 'stats["solver"]',
        "call code": 'stats["call"]',
        "noise_model": 'stats["noise"]',
        "hyperparameters": "regularization.hyperparameters",
        "certificate": "backward_error or duality_gap",
        "n_iter_": 'stats["steps"]',
        "delays_ t tau tap_lags": "lags or times",
        "names": "channels and outputs",
        "recipe spec x y data": "problem",
        "rank condition_number singular_values": "identifiability",
        "to_csv to_pandas": "to_dataframe()",
        "tmin tmax": "times",
        "sfreq fs": "times",
    },
    "Identifiability": {
        "condition cond kappa": "condition_number",
        "ok is_unique determined": "unique",
        "remedies advice brief": "suggestions",
        "confounded aliased null_echelon": "collinear",
        "vif": "variance_inflation",
        "s svd": "singular_values",
        "padding_only": "padding_dependent",
        "unique_with": "resolution()",
        "tolerance rank_band method worst_group group_ranks mask_ambiguous": "to_dict()",
        "columns": "n_unknowns",
        "summary describe text counting entries": "print(report)",
    },
    "Problem": {
        "solve fit": "cs.solve(problem)",
        "identify": "cs.identify(problem)",
        "from_lags": "Problem(x, y, lags=(first, last))",
        "sfreq rate": "fs",
        "names": "channels and outputs",
        "n_samples kept rows": "n_equations",
        "input": "x",
        "output": "y",
        "tap_lags": "lags",
        "dtype": "x[0].dtype",
        "row_shapes": "y[0].shape",
        "again": "Problem(x, y, lags=(first, last)) with the other data",
        "weights confounds basis taps nuisance adjusted describe summary": "print(problem)",
        "X": "x",
        "out_channels": "n_outputs",
        "in_channels n_features": "n_channels",
        "tmin tmax": "times",
    },
    "ConvSpec": {
        "rows extent out_shape": "output_shape()",
        "offset in_taps shift": "lags()",
        "size kernel span unknowns": "kernel_size",
    },
    "Score": {
        "r2_error": "r2_standard_error",
        "nrmse_fit fit": "fit_percent",
        "rsquared": "r2",
        "corr r": "correlation",
    },
    "FTest": {
        "p p_value": "pvalue",
        "fvalue f stat": "statistic",
        "df": "dof",
        "effect effect_size": "estimate",
        "sd bse se": "standard_error",
    },
    "PermutationTest": {"p p_value": "pvalue", "null": "null_distribution"},
    "Regularization": {
        "degrees_of_freedom dof edf": "effective_dof",
        "bounded": "at_bound",
        "alpha alpha_ best_alpha_ ridge": "strength",
        "alphas alphas_ grid": "path.strengths",
        "cv_values_ cv_results_ cv_scores_ scores": "path.scores",
        "best_score_ best_score": "score",
        "select": "criterion",
        "settings": "hyperparameters",
    },
    "LagChoice": {"all_lags": "candidates", "windows": "candidates"},
    "Comparison": {
        "gap": 'rows[0]["excess_loss"]',
        "null_part": 'rows[0]["null_component"]',
        "objective": "compare(problem, loss=...)",
        "loss losses": 'rows[0]["loss"]',
        "methods solvers": "solutions",
        "fits results": "solutions",
        "report": "identifiability",
        "summary describe": "print(table)",
        "df": "to_dataframe()",
    },
    "convsolve": {
        "fit estimate lstsq deconvolve": "solve",
        "diagnose check": "identify",
        "contrast compute_contrast Contrast": "solve(problem).test()",
        "MixedLM mixed_effects second_level group random_effects": "solve_group",
        "cv crossval cross_val cross_val_score": "cross_validate",
        "Regularized RidgeCV": "solve(problem, penalty='ridge')",
        "LeastSquares": "solve(problem, 'svd')",
        "Huber HuberRegressor": "HuberLoss, as in solve(problem, loss='huber')",
        "LeastAbsolute LAD L1Loss": "solve(problem, loss='absolute')",
        "LassoCV ElasticNet ElasticNetCV": "Lasso, as in solve(problem, penalty='lasso')",
        "OLS LinearRegression": "solve",
        "KFold GroupKFold TimeSeriesSplit": "CrossValidation",
        "RBF GaussianProcess": "SquaredExponential",
        "RaisedCosineLogConv RaisedCosineLinearConv RaisedCosineBasis": "RaisedCosines",
        "BSplineConv BSplineBasis Splines": "BSplines",
        "TENT Tent": "Tents",
        "SPM Glover CanonicalHRF": "HRF",
        "FourierBasis": "Fourier",
        "Adam LBFGS SGD": "GradientDescent",
        "GLSAR AR": "ARNoise",
        "NeweyWest": "HACNoise",
        "ConvRegressor": "convsolve.sklearn.ConvRegressor",
        "impulses events": "convsolve.interop.events.impulses",
        "select_lags find_lags": "choose_lags",
        "predict": "solve(problem).predict()",
        "version": "__version__",
        "ReceptiveField TRF FIR GLM": (
            "Problem(x, y, lags=(first, last)), or ConvRegressor of convsolve.sklearn"
        ),
        "Signal": "io.Signal",
        "read read_csv read_wav": "io.read",
        "HeldOutScores": "convsolve.extend.CrossValidationScores",
        "Descent": "convsolve.extend.DescentForecast",
        **{name: f"convsolve.extend.{name}" for name in RESULTS},
    },
}


def _known(table: Mapping[str, _V], name: str) -> list[_V]:
    found = [here for others, here in table.items() if name in others.split()]
    return found if found or name == name.lower() else _known(table, name.lower())


def similar(name: str, names: Iterable[str]) -> list[str]:
    """Return the nearest of some names in a list, or an empty list."""
    names = [*names]
    near = (difflib.get_close_matches(word, names, 1, CUTOFF) for word in (name, name.lower()))
    return next(filter(None, near), [])


def _targets(suggestion: str) -> list[str]:
    """Return the arguments that a suggestion names, without arguments of inner calls."""
    outer = re.sub(r"\(.*?\)", "", suggestion)
    return [word.partition("=")[0] for word in outer.split() if "=" in word]


def unknown_argument(owner: str, name: str, accepted: Iterable[str]) -> str:
    """Return the message for an argument that a callable does not have."""
    accepted = [*accepted]
    begin = f"{owner}() has no argument {name!r}; "
    for suggestion in _known(ARGUMENTS, f"{owner}.{name}"):
        return f"{begin}use {suggestion}"
    known = _known(ARGUMENTS, name)
    for suggestion in known:
        usable = [target for target in _targets(suggestion) if target in accepted]
        if len(usable) == len(_targets(suggestion)):
            return f"{begin}use {suggestion}"
        if usable:
            return f"{begin}use {usable[0]}="
    meant = [name, *(target for suggestion in known for target in _targets(suggestion))]
    for target in meant:
        if target in OF_PROBLEM and {"problem", "problems"} & {*accepted}:
            return f"{begin}give {target}= to Problem"
        if target in OF_SOLVE and target not in accepted and "problems" not in accepted:
            return f"{begin}give {target}= to solve"
    if near := similar(name, accepted):
        return f"{begin}did you mean {near[0]}?"
    return f"{begin}its arguments are {', '.join(accepted)}" if accepted else f"{begin}it has none"


def unknown_component(word: str) -> list[tuple[str, dict[str, int]]]:
    """Return the components, and their arguments, that an unknown name may stand for."""
    return _known(COMPONENTS, word)


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
    usable = [plain[other] for other in dict.fromkeys(found) if other in plain]
    return usable or [plain[other] for other in similar(word, plain)]


def unknown_attribute(owner: str, name: str, existing: Iterable[str]) -> str:
    """Return the message for an attribute that an object or the package does not have."""
    kind = f"module {owner!r}" if owner.startswith("convsolve") else owner
    for suggestion in _known(ATTRIBUTES.get(owner, {}), name):
        return f"{kind} has no attribute {name!r}; use {suggestion}"
    public = [other for other in existing if not other.startswith("_")]
    near = "".join(f"; did you mean {other}?" for other in similar(name, public))
    return f"{kind} has no attribute {name!r}{near}"


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
    # Fields of a dataclass without a default are not attributes of the class.
    existing = [*dir(cls), *getattr(cls, "__dataclass_fields__", ())]
    raise AttributeError(unknown_attribute(cls.__name__, name, existing))


def checks_arguments(given: _F) -> _F:
    """Decorate a function or class so that an unknown keyword raises an error with a suggestion."""
    if isinstance(given, type):
        given.__init__ = checks_arguments(given.__init__)  # type: ignore[misc]
        return given
    code = given.__code__
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    first, named = names[: code.co_argcount], names[code.co_argcount :]
    owner = given.__qualname__.removesuffix(".__init__").rpartition(".")[2]

    @wraps(given)
    def checked(*args: Any, **keywords: Any) -> Any:
        for name in keywords:
            if name not in names:
                raise TypeError(unknown_argument(owner, name, (n for n in names if n != "self")))
        if len(args) > len(first):
            taken = ", ".join(name for name in first if name != "self") or "no argument"
            others = f"; give the others by name: {', '.join(f'{name}=' for name in named)}"
            raise TypeError(f"{owner}() takes {taken} by position{others if named else ''}")
        return given(*args, **keywords)

    return checked  # type: ignore[return-value]
