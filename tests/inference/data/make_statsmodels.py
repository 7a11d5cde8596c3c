"""Writes statsmodels.json, the reference values of test_uncertainty.py and test_robust.py.

pip install statsmodels  (0.15.0 wrote what is committed)
python tests/inference/data/make_statsmodels.py
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import statsmodels.api as sm

TAPS, CHANNELS = 5, 2
# Of an autoregression.
RHO = [0.6, -0.3, 0.1]
# Rows of every record, where there are several.
RECORDS = [20, 16, 14, 26]


def lag_matrix(x: np.ndarray) -> np.ndarray:
    """Rows of windows, taps then channels, as a kernel has them."""
    windows = np.lib.stride_tricks.sliding_window_view(x, TAPS, axis=0)
    return windows.transpose(0, 2, 1).reshape(len(windows), -1)


def made() -> dict[str, list]:
    rng = np.random.default_rng(7)
    x = np.round(rng.standard_normal((80, CHANNELS)) + np.array([3, -1]), 6)
    a = lag_matrix(x)
    w = rng.standard_normal((a.shape[1], 2))
    y = np.round(a @ w + rng.standard_normal((len(a), 2)) * [0.5, 2] + 4, 6)
    weights = 1.0 + np.arange(len(y)) % 5
    return {"x": x.tolist(), "y": y.tolist(), "weights": weights.tolist()}


def reference(data: dict[str, list], bias: bool) -> list[dict[str, object]]:
    a, found = lag_matrix(np.array(data["x"])), []
    design = np.hstack([a, np.ones((len(a), 1))]) if bias else a
    second = np.eye(design.shape[1])[1 : a.shape[1] : CHANNELS]
    for y in np.array(data["y"]).T:
        fit = sm.OLS(y, design).fit()
        weighted = sm.WLS(y, design, data["weights"]).fit()
        found.append(
            inference(fit, second)
            | {f"wls {key}": value for key, value in inference(weighted, second).items()}
            | dependent(fit, second)
            | autoregressive(y, design, second)
        )
    return found


def inference(fit: object, second: np.ndarray) -> dict[str, object]:
    """Kernel, errors, band and tests of a fit."""
    kept = TAPS * CHANNELS
    contrast = np.random.default_rng(1).integers(-2, 3, (3, kept)).astype(float)
    padded, value = np.pad(contrast, ((0, 0), (0, second.shape[1] - kept))), [0.5, -1.0, 2.0]
    tests = [fit.f_test(second), fit.f_test((padded, np.array(value)))]
    return {
        "kernel": fit.params[:kept].tolist(),
        "standard_error": fit.bse[:kept].tolist(),
        "covariance": fit.cov_params()[:kept, :kept].tolist(),
        "dof": float(fit.df_resid),
        "variance": float(fit.scale),
        "band": fit.conf_int(0.1)[:kept].tolist(),
        "contrast": contrast.tolist(),
        "value": value,
        "statistic": [float(t.fvalue) for t in tests],
        "p": [float(t.pvalue) for t in tests],
    }


def autoregressive(y: np.ndarray, design: np.ndarray, second: np.ndarray) -> dict[str, object]:
    """Of generalized least squares under noise of given coefficients."""
    fit, kept = sm.GLSAR(y, design, rho=RHO).fit(), TAPS * CHANNELS
    return {
        "ar params": fit.params.tolist(),
        "ar covariance": fit.cov_params()[:kept, :kept].tolist(),
        "ar variance": float(fit.scale),
        "ar dof": float(fit.df_resid),
        "ar statistic": float(np.squeeze(fit.f_test(second[:2]).fvalue)),
    }


def dependent(fit: object, second: np.ndarray) -> dict[str, object]:
    """Of the same estimate under noise that depends on time, or within records of some rows."""
    rows, found = int(fit.nobs), {}
    groups = np.repeat(np.arange(len(RECORDS)), RECORDS)
    for kind, name, options in (
        ("hac", "HAC", {"maxlags": int(1.3 * np.sqrt(rows)), "use_correction": True}),
        ("cluster", "cluster", {"groups": groups, "use_correction": True}),
    ):
        robust = fit.get_robustcov_results(name, **options)
        kept = TAPS * CHANNELS
        found[f"{kind} covariance"] = robust.cov_params()[:kept, :kept].tolist()
        # Without the distribution, of which ours has other degrees of freedom.
        found[f"{kind} statistic"] = float(np.squeeze(robust.f_test(second[:2]).fvalue))
    return found


def robust(data: dict[str, list], bias: bool) -> list[dict[str, object]]:
    """RLM with Huber's loss and MAD scale, at their fixed point, of y with outliers."""
    a, found = lag_matrix(np.array(data["x"])), []
    design = np.hstack([a, np.ones((len(a), 1))]) if bias else a
    for y in np.array(data["contaminated"]).T:
        model = sm.RLM(y, design, M=sm.robust.norms.HuberT())
        fit = model.fit(cov="H1", conv="coefs", tol=1e-13, maxiter=1000)
        assert fit.fit_history["iteration"] < 1000
        test = fit.f_test(np.eye(design.shape[1])[1 : a.shape[1] : CHANNELS])
        found.append(
            {
                "kernel": fit.params[: a.shape[1]].tolist(),
                "bias": float(fit.params[-1]) if bias else 0.0,
                "scale": float(fit.scale),
                "covariance": fit.cov_params()[: a.shape[1], : a.shape[1]].tolist(),
                "statistic": float(np.squeeze(test.fvalue)),
                "dof": float(fit.df_resid),
            }
        )
    return found


def contaminated(data: dict[str, list]) -> list:
    """The same y, a tenth of its rows far off."""
    rng, y = np.random.default_rng(8), np.array(data["y"])
    far = rng.random(y.shape) < 0.1
    return np.round(y + far * rng.normal(20, 10, y.shape), 6).tolist()


if __name__ == "__main__":
    data = made()
    result = data | {"rho": RHO, "bias": reference(data, True), "plain": reference(data, False)}
    result["contaminated"] = contaminated(data)
    result["robust"] = {"bias": robust(result, True), "plain": robust(result, False)}
    path = Path(__file__).with_name("statsmodels.json")
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
