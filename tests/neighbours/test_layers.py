"""Kernels as weights of layers of Keras in float64, and back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import convsolve as cs

pytestmark = pytest.mark.slow

RNG = np.random.default_rng(0)
# Shape of x, outputs, and how the problem is stated.
GEOMETRIES: list[tuple[tuple[int, ...], int, dict[str, Any]]] = [
    ((4, 40, 4), 6, {"kernel_size": 3, "stride": 2, "groups": 2, "padding": "same"}),
    ((4, 40, 2), 2, {"kernel_size": 4, "dilation": 2, "padding": "causal"}),
    ((3, 12, 14, 2), 2, {"kernel_size": (3, 2), "stride": (1, 2)}),
    ((2, 8, 9, 10, 1), 2, {"kernel_size": (2, 3, 2), "padding": "same"}),
]
# Keras chooses its precision once for all, hence a process of its own.
LAYERS = """
import json, sys
import keras, numpy as np
keras.config.set_floatx("float64")
data, found = np.load(sys.argv[1]), {}
for i, stated in enumerate(json.loads(sys.argv[2])):
    x, kernel, bias = (data[f"{name}{i}"] for name in ("x", "kernel", "bias"))
    layer = getattr(keras.layers, f"Conv{kernel.ndim - 2}D")(kernel.shape[-1], **stated)
    layer.build(x.shape)
    layer.set_weights([kernel, bias])
    assert layer.kernel.dtype == "float64"
    found |= {f"y{i}": np.asarray(layer(x)), f"kernel{i}": layer.get_weights()[0]}
np.savez(sys.argv[3], **found)
"""


def fitted(shape: tuple[int, ...], outputs: int, stated: dict[str, Any]) -> tuple[Any, cs.Solution]:
    x = RNG.standard_normal(shape)
    free = cs.Problem(x, **stated, n_outputs=outputs)
    y = [RNG.standard_normal((*free.spec.output_shape(a.shape[:-1]), outputs)) for a in x]
    return x, cs.solve(cs.Problem(x, np.stack(y), **stated, bias=True))


def same(found: Any, wanted: np.ndarray) -> None:
    assert np.shape(found) == wanted.shape
    assert np.linalg.norm(np.asarray(found) - wanted) <= 1e-12 * np.linalg.norm(wanted)


@pytest.mark.skipif(find_spec("keras") is None, reason="Keras is not there")
def test_layers_of_keras_predict_the_same(tmp_path: Path) -> None:
    given, found = tmp_path / "given.npz", tmp_path / "found.npz"
    names, arrays, layers = {"stride": "strides", "dilation": "dilation_rate"}, {}, []
    fits = [fitted(*geometry) for geometry in GEOMETRIES]
    for i, ((x, fit), (_, _, stated)) in enumerate(zip(fits, GEOMETRIES)):
        arrays |= {f"x{i}": x, f"kernel{i}": fit.kernel, f"bias{i}": fit.bias}
        layers.append({names.get(key, key): value for key, value in stated.items()})
    np.savez(given, **arrays)
    environment = os.environ | {"KERAS_BACKEND": "jax", "JAX_ENABLE_X64": "1"}
    command = [sys.executable, "-c", LAYERS, str(given), json.dumps(layers), str(found)]
    subprocess.run(command, check=True, capture_output=True, env=environment)
    there = np.load(found)
    for i, (x, fit) in enumerate(fits):
        same(there[f"y{i}"], fit.predict(x))
        np.testing.assert_array_equal(there[f"kernel{i}"], fit.kernel)
