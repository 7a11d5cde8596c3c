"""Kernels in other libraries: how far they and their predictions are off there, in float64.

One problem, of 4 × 2 000 samples, 3 channels to 2 outputs, lags of −3 to 12 samples, zeros beyond
the ends. MNE and mTRFpy solve it themselves, mTRFpy with a ridge: *kernel* is the largest
difference of their answer from that of convsolve, relative to its norm; of the others, of the
kernel that comes back from there. *prediction* is that of y as the library predicts it.

A library that is not installed is left out: its row is null.

Run: python -m benchmarks.round_trips
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

import convsolve as cs
from benchmarks.machine import ROOT, now, process, report, stamp
from convsolve import interop

RESULT = ROOT / "benchmarks" / "results" / "round_trips.json"
RECORDS, SAMPLES, FS, LAGS, RIDGE = 4, 2000, 128, (-3, 12), 0.3
CHANNELS, OUTPUTS = ["Fz", "Cz", "Pz"], ["left", "right"]
MOST = 1e-12


def recording() -> tuple[list[np.ndarray], list[np.ndarray]]:
    """White channels, and outputs with as much noise as signal, far from zero."""
    rng = np.random.default_rng(0)
    w = rng.standard_normal((16, 3, 2))
    x = [rng.standard_normal((SAMPLES, 3)) for _ in range(RECORDS)]
    y = [cs.convolve(a, w, cs.ConvSpec(16, padding="same")) for a in x]
    return x, [b + b.std() * rng.standard_normal(b.shape) + 3 for b in y]


def fitted(**given: Any) -> cs.Solution:
    """The answer that goes to the others."""
    x, y = recording()
    stated: dict[str, Any] = {"lags": LAGS, "edges": "zeros", "bias": True, "fs": FS}
    ridge = given.pop("ridge", None)
    names = {"channels": CHANNELS, "outputs": OUTPUTS}
    return cs.solve(cs.Problem(x, y, **(stated | names | given)), ridge=ridge)


def off(found: Any, wanted: Any) -> float:
    """The largest relative difference of arrays."""
    pairs = zip(found, wanted, strict=True) if isinstance(wanted, list) else [(found, wanted)]
    return max(float(np.linalg.norm(a - b) / np.linalg.norm(b)) for a, b in pairs)


def of_pandas() -> tuple[float, float]:
    import pandas as pd

    fit, (x, _) = fitted(), recording()
    wide = fit.to_dataframe().pivot(index="lag", columns=["channel", "output"], values="weight")
    wide = wide[pd.MultiIndex.from_product([CHANNELS, OUTPUTS])]
    back = interop.from_impulse_response(wide.to_numpy().reshape(-1, 3, 2))
    predicted = []
    for a in x:
        frame = pd.DataFrame(a, columns=CHANNELS)
        late = pd.concat({lag: frame.shift(lag, fill_value=0.0) for lag in wide.index}, axis=1)
        weights = wide.stack(0).loc[late.columns, OUTPUTS]
        predicted.append((late.dot(weights) + fit.bias).to_numpy())
    return off(back, fit.kernel), off(predicted, fit.predict(x))


def of_xarray() -> tuple[float, float]:
    import xarray as xr

    fit, (x, _) = fitted(), recording()
    found = fit.to_xarray()
    response = found.weight.transpose("lag", "channel", "output").to_numpy()
    predicted = []
    for a in x:
        array = xr.DataArray(a, dims=("time", "channel"), coords={"channel": CHANNELS})
        late = [array.shift(time=lag, fill_value=0.0) for lag in found.lag.to_numpy()]
        y = xr.dot(xr.concat(late, dim=found.lag), found.weight) + found.bias
        predicted.append(y.transpose("time", "output").to_numpy())
    return (
        off(interop.from_impulse_response(response), fit.kernel),
        off(predicted, fit.predict(x)),
    )


def of_mne() -> tuple[float, float]:
    """Without an intercept, for which it centres x before it is shifted."""
    import mne

    fit, (x, y) = fitted(bias=False), recording()
    window = LAGS[0] / FS, LAGS[1] / FS, FS
    ridge = mne.decoding.TimeDelayingRidge(
        *window, alpha=0.0, fit_intercept=False, edge_correction=True
    )
    theirs = mne.decoding.ReceptiveField(*window, estimator=ridge)
    # Times come first there, then trials.
    with mne.use_log_level("error"):
        theirs.fit(np.stack(x, axis=1), np.stack(y, axis=1))
    predicted = theirs.predict(np.stack(x, axis=1))
    kernel = off(interop.from_mne(theirs.coef_), fit.kernel)
    return kernel, off(list(np.moveaxis(predicted, 1, 0)), fit.predict(x))


def of_mtrf() -> tuple[float, float]:
    import mtrf

    x, y = recording()
    theirs = mtrf.TRF()
    theirs.train([*x], [*y], FS, LAGS[0] / FS, LAGS[1] / FS, RIDGE, verbose=False)
    fit = fitted(ridge=RIDGE * FS * RECORDS)
    kernel = off(interop.from_trf(theirs.weights, fs=FS), fit.kernel)
    return kernel, off(theirs.predict([*x]), fit.predict(x))


def padded(x: list[np.ndarray]) -> np.ndarray:
    """All records, with the zeros beyond their ends that lags read."""
    return np.pad(np.stack(x), [(0, 0), (LAGS[1], -LAGS[0]), (0, 0)])


def of_keras() -> tuple[float, float]:
    import keras

    keras.config.set_floatx("float64")
    fit, (x, _) = fitted(), recording()
    layer = keras.layers.Conv1D(2, 16)
    layer.build((None, None, 3))
    layer.set_weights([fit.kernel, fit.bias])
    back = np.asarray(layer.get_weights()[0])
    predicted = np.asarray(layer(padded(x)))
    return off(back, fit.kernel), off(list(predicted), fit.predict(x))


def keras_alone() -> tuple[float, float]:
    """It takes its precision, and JAX its own, once for a process."""
    code = "import benchmarks.round_trips as b, json; print(json.dumps(b.of_keras()))"
    _, said = process(code, KERAS_BACKEND="jax", JAX_ENABLE_X64="1")
    kernel, prediction = json.loads(said.splitlines()[-1])
    return kernel, prediction


def of_torch() -> tuple[float, float]:
    import torch

    fit, (x, _) = fitted(), recording()
    layer = torch.nn.Conv1d(3, 2, 16, dtype=torch.float64)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(interop.to_torch(fit.kernel)))
        layer.bias.copy_(torch.from_numpy(fit.bias))
        predicted = layer(torch.from_numpy(padded(x)).movedim(-1, 1)).movedim(1, -1).numpy()
    back = interop.from_torch(layer.weight.detach().numpy())
    return off(back, fit.kernel), off(list(predicted), fit.predict(x))


LIBRARIES: dict[str, tuple[str, Callable[[], tuple[float, float]]]] = {
    "pandas": ("pandas", of_pandas),
    "xarray": ("xarray", of_xarray),
    "MNE": ("mne", of_mne),
    "mTRFpy": ("mtrf", of_mtrf),
    "Keras": ("keras", keras_alone),
    "PyTorch": ("torch", of_torch),
}


def row(package: str, measured: Callable[[], tuple[float, float]], version: str | None) -> Any:
    """Of one library; None where it is not installed."""
    if find_spec(package) is None:
        return None
    kernel, prediction = measured()
    return {
        "version": version,
        "kernel": float(f"{kernel:.2g}"),
        "prediction": float(f"{prediction:.2g}"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--quick", action="store_true", help="the same; it takes seconds")
    parser.add_argument("--out", type=Path, default=RESULT)
    args = parser.parse_args()
    machine = stamp(("convsolve", "numpy", "jax", *(name for name, _ in LIBRARIES.values())))
    rows = {
        name: row(package, measured, machine["packages"][package])
        for name, (package, measured) in LIBRARIES.items()
    }
    checks = [
        {
            "promise": f"{name}: kernel and prediction to {MOST:g}",
            "passed": max(found["kernel"], found["prediction"]) <= MOST,
            "figures": found,
        }
        for name, found in rows.items()
        if found is not None
    ]
    report({"machine": machine, "date": now(), "libraries": rows, "checks": checks}, args.out)


if __name__ == "__main__":
    main()
