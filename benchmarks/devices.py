"""`fit_kernel` and gradient descent on the default device of JAX, compared with a CPU.

    python -m benchmarks.devices                       # a minute; writes results/devices-KIND.json
    python -m benchmarks.devices --quick --out FILE    # tiny sizes, to see whether it works

`fit_kernel` is jitted, and takes float64 arrays that are on the device. Gradient descent starts
from arrays of NumPy. ``first`` has the compilation in it. ``off_cpu`` is the distance of the kernel
from that of the CPU, relative.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from .machine import ROOT, load, now, stamp, summary
from .workloads import Workload, make

# Samples, channels, outputs and taps.
FITS = {
    "60 000 samples, 4 → 1, 100 taps": (60_000, 4, 1, 100),
    "60 000 samples, 16 → 32, 40 taps": (60_000, 16, 32, 40),
    "100 000 samples, 1 → 1, 500 taps": (100_000, 1, 1, 500),
}
QUICK_FITS = {"500 samples, 2 → 2, 5 taps": (500, 2, 2, 5)}
# Adam on squares and on absolute values, with a number of steps.
DESCENTS = {
    "4 000 samples, 8 → 8, 20 taps, 100 steps": (4_000, 8, 8, 20, 100),
    "4 000 samples, 1 → 1, 20 taps, 1 000 steps": (4_000, 1, 1, 20, 1000),
}
QUICK_DESCENTS = {"500 samples, 2 → 2, 5 taps, 20 steps": (500, 2, 2, 5, 20)}


def fitted(samples: int, inputs: int, outputs: int, taps: int) -> Callable[[], Any]:
    """Return a call of `fit_kernel` on the default device."""
    import jax

    import convsolve as cs

    x, y = jax.device_put(make(Workload(1, (samples,), inputs, outputs, (taps,))))
    spec = cs.ConvSpec(taps, padding="causal")
    fit = jax.jit(lambda x, y: cs.fit_kernel(x, y, spec, ridge=1e-3)[0])
    return lambda: jax.block_until_ready(fit(x, y))


def descended(
    samples: int, inputs: int, outputs: int, taps: int, steps: int, loss: str
) -> Callable[[], Any]:
    """Return a gradient descent on the default device."""
    import convsolve as cs

    x, y = make(Workload(1, (samples,), inputs, outputs, (taps,)))
    problem = cs.Problem(x, y, lags=(0, taps - 1), edges="zeros")
    solver = cs.GradientDescent(steps=steps)
    return lambda: cs.solve(problem, solver, loss=loss).kernel


def measured(stated: Callable[..., Callable[[], Any]], given: Any, runs: int) -> dict[str, Any]:
    """Return the times of a fit on a CPU and on the default device."""
    import jax

    found: dict[str, Any] = {}
    kernels: list[np.ndarray] = []
    for device in dict.fromkeys([jax.devices("cpu")[0], jax.devices()[0]]):
        seconds = []
        with jax.default_device(device), jax.enable_x64(True):
            fit = stated(*given)
            for _ in range(1 + runs):
                begun = time.perf_counter()
                kernel = fit()
                seconds.append(time.perf_counter() - begun)
        kernels.append(np.asarray(kernel))
        off = np.linalg.norm(kernels[-1] - kernels[0]) / np.linalg.norm(kernels[0])
        found[device.device_kind] = {
            "seconds": summary(seconds[1:]) | {"first": float(f"{seconds[0]:.3g}")},
            "off_cpu": float(f"{off:.2g}"),
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="tiny sizes, one run each")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    import jax

    kind = jax.devices()[0].device_kind
    name = kind.lower().replace(" ", "-")
    out = args.out or ROOT / "benchmarks" / "results" / f"devices-{name}.json"
    fits, descents = (QUICK_FITS, QUICK_DESCENTS) if args.quick else (FITS, DESCENTS)
    cases: dict[str, Any] = {f"fit_kernel, {t}": (fitted, sizes) for t, sizes in fits.items()}
    result: dict[str, Any] = {
        "command": "python -m benchmarks.devices" + " --quick" * args.quick,
        "date": now(),
        "machine": stamp(["numpy", "scipy", "jax", "jaxlib", "optax"]),
        "device": kind,
        "load_before": load(),
        "rows": {},
    }
    for title, sizes in descents.items():
        for loss in ("squared", "absolute"):
            cases[f"{title}, {loss}"] = descended, (*sizes, loss)
    for title, (stated, given) in cases.items():
        row = result["rows"][title] = measured(stated, given, 1 if args.quick else 3)
        print(title, row, sep=": ", flush=True)
    result["load_after"] = load()
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
