"""Kernels as weights of layers of Keras and PyTorch, in float64, and back."""

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
from convsolve import interop

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


def zeros(spec: cs.ConvSpec, shape: tuple[int, ...]) -> list[tuple[int, int]]:
    """How many come before and after the samples of every axis."""
    found = []
    for w, t, k, s, d, before in zip(
        shape, spec.output_shape(shape), spec.kernel_size, spec.stride, spec.dilation,
        spec._offset(shape), strict=True,
    ):  # fmt: skip
        found.append((before, max(0, (t - 1) * s + (k - 1) * d + 1 - w - before)))
    return found


@pytest.mark.skipif(find_spec("keras") is None, reason="Keras is not there")
def test_layers_of_keras_predict_the_same(tmp_path: Path) -> None:
    given, found = tmp_path / "given.npz", tmp_path / "found.npz"
    names, arrays, layers = {"stride": "strides", "dilation": "dilation_rate"}, {}, []
    fits = [fitted(*geometry) for geometry in GEOMETRIES]
    for i, ((x, fit), (_, _, stated)) in enumerate(zip(fits, GEOMETRIES)):
        arrays |= {f"x{i}": x, f"kernel{i}": interop.to_keras(fit.kernel), f"bias{i}": fit.bias}
        layers.append({names.get(key, key): value for key, value in stated.items()})
    np.savez(given, **arrays)
    environment = os.environ | {"KERAS_BACKEND": "jax", "JAX_ENABLE_X64": "1"}
    command = [sys.executable, "-c", LAYERS, str(given), json.dumps(layers), str(found)]
    subprocess.run(command, check=True, capture_output=True, env=environment)
    there = np.load(found)
    for i, (x, fit) in enumerate(fits):
        same(there[f"y{i}"], fit.predict(x))
        np.testing.assert_array_equal(interop.from_keras(there[f"kernel{i}"]), fit.kernel)


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=lambda g: json.dumps(g[2]))
def test_a_layer_of_pytorch_predicts_the_same(geometry: Any) -> None:
    torch = pytest.importorskip("torch")
    x, fit = fitted(*geometry)
    spec, first = fit._spec, np.moveaxis(x, -1, 1)
    # Its own "same" knows no stride, and nothing is causal there: zeros are put before and after.
    padded = np.pad(first, [(0, 0), (0, 0), *zeros(spec, x.shape[1:-1])])
    layer = getattr(torch.nn, f"Conv{spec.ndim}d")(
        first.shape[1], fit.kernel.shape[-1], spec.kernel_size, stride=spec.stride,
        dilation=spec.dilation, groups=spec.groups, dtype=torch.float64,
    )  # fmt: skip
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(interop.to_torch(fit.kernel)))
        layer.bias.copy_(torch.from_numpy(fit.bias))
        found = layer(torch.from_numpy(padded)).numpy()
    same(np.moveaxis(found, 1, -1), fit.predict(x))
    np.testing.assert_array_equal(interop.from_torch(layer.weight.detach().numpy()), fit.kernel)
