"""The device operator and gradient descent on whatever devices JAX has, beside the host.

    python -m benchmarks.devices                       # minutes; writes results/devices-KIND.json
    python -m benchmarks.devices --quick --out FILE    # tiny sizes, to see whether it works

The workloads of `peers`, from arrays that are on the devices already: of several devices records
are spread over all, or one record's time. A CPU, where a solve takes the arrays of one device for
the host's, is cut into two devices. Times are those of `cs.solve` in one process, stating the
problem included, host and devices in turn; ``first`` has the compilations in it. The kernel's error
is its distance from the host's, relative, and both are certified. Descent is timed on the CPU and
on the default device. ``devices`` is what a solution says of where it was computed.
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
from .workloads import QUICK, WORKLOADS, Workload, make

EPS = 2.0**-52
# Adam on squares and on absolute values: samples, channels, outputs, taps, steps.
DESCENTS = {
    "4 000 samples, 8 → 8, 20 taps, 100 steps": (4_000, 8, 8, 20, 100),
    "4 000 samples, 1 → 1, 20 taps, 1 000 steps": (4_000, 1, 1, 20, 1000),
}
QUICK_DESCENTS = {"500 samples, 2 → 2, 5 taps, 20 steps": (500, 2, 2, 5, 20)}


def spread(a: np.ndarray, axis: int) -> Any:
    """An array on all devices, along an axis."""
    import jax
    from jax.sharding import AxisType, NamedSharding, PartitionSpec

    mesh = jax.make_mesh((jax.device_count(),), ("all",), (AxisType.Auto,))
    spec = PartitionSpec(*[None] * axis, "all")
    with jax.enable_x64(True):
        return jax.block_until_ready(jax.device_put(a, NamedSharding(mesh, spec)))


def timed(fit: Callable[[], Any]) -> tuple[float, Any]:
    begun = time.perf_counter()
    found = fit()
    return time.perf_counter() - begun, found


def solved(w: Workload, quick: bool, runs: int) -> dict[str, Any]:
    """A workload on the host and on the devices, in turn."""
    import jax

    import convsolve as cs
    from convsolve.problem.sizes import Tuning

    # Tiny matrices, too, by blocks.
    limits = Tuning(small_numbers=0, row_numbers=0) if quick else Tuning()
    x, y = make(w)
    # Records are spread where they can be; one record's time else.
    axis = 0 if w.records % jax.device_count() == 0 else 1
    there = spread(x, axis), spread(y, axis if y.shape[axis] % jax.device_count() == 0 else 0)

    def fit(x: Any, y: Any) -> Any:
        if w.padded:
            lags = (0, w.taps[0] - 1)
            problem = cs.Problem(x, y, lags=lags, edges="zeros")
        else:
            problem = cs.Problem(x, y, kernel_size=w.taps)
        return cs.solve(problem, ridge=w.ridge, limits=limits)

    first, found = timed(lambda: fit(*there))
    host = fit(x, y)
    seconds: dict[str, list[float]] = {"host": [], "devices": []}
    for _ in range(runs):
        seconds["host"].append(timed(lambda: fit(x, y))[0])
        seconds["devices"].append(timed(lambda: fit(*there))[0])
    times = {name: summary(each) for name, each in seconds.items()}
    off = np.linalg.norm(np.asarray(found.kernel) - host.kernel) / np.linalg.norm(host.kernel)
    return {
        "devices": found.stats["devices"],
        "seconds": times | {"first": float(f"{first:.3g}")},
        "times faster": float(f"{times['host']['median'] / times['devices']['median']:.3g}"),
        "kernel_error": float(f"{off:.2g}"),
        "certificate_eps": {
            name: float(f"{f.backward_error / EPS:.2g}")
            for name, f in (("host", host), ("devices", found))
        },
    }


def descended(sizes: tuple[int, ...], loss: str, runs: int) -> dict[str, Any]:
    """Gradient descent on a CPU, and on the default device."""
    import jax

    import convsolve as cs

    samples, inputs, outputs, taps, steps = sizes
    x, y = make(Workload(1, (samples,), inputs, outputs, (taps,)))
    solver = cs.GradientDescent(steps=steps)
    found: dict[str, Any] = {}
    kernels: list[np.ndarray] = []
    places = {device.device_kind: device for device in (jax.devices("cpu")[0], jax.devices()[0])}
    for kind, device in places.items():

        def fit(device: Any = device) -> Any:
            with jax.default_device(device):
                problem = cs.Problem(x, y, lags=(0, taps - 1), edges="zeros")
                return cs.solve(problem, solver, loss=loss)

        first, fitted = timed(fit)
        seconds = [timed(fit)[0] for _ in range(runs)]
        kernels.append(fitted.kernel)
        off = np.linalg.norm(kernels[-1] - kernels[0]) / np.linalg.norm(kernels[0])
        found[kind] = {
            "seconds": summary(seconds) | {"first": float(f"{first:.3g}")},
            "steps": fitted.stats["steps"],
            "kernel_error": float(f"{off:.2g}"),
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="tiny sizes, one run each")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    import jax

    # Before jax looks for devices; of no effect beside others.
    jax.config.update("jax_num_cpu_devices", 2)
    kind = jax.devices()[0].device_kind
    name = kind.lower().replace(" ", "-")
    out = args.out or ROOT / "benchmarks" / "results" / f"devices-{name}.json"
    runs = 1 if args.quick else 3
    result: dict[str, Any] = {
        "command": "python -m benchmarks.devices" + " --quick" * args.quick,
        "date": now(),
        "machine": stamp(["numpy", "scipy", "jax", "jaxlib", "optax"]),
        "devices": f"{jax.device_count()} × {kind}",
        "load_before": load(),
        "workloads": {},
        "descents": {},
    }
    for title, (w, _) in (QUICK if args.quick else WORKLOADS).items():
        if not w.apart:
            row = result["workloads"][title] = solved(w, args.quick, runs)
            print(title, row, sep=": ", flush=True)
    for title, sizes in (QUICK_DESCENTS if args.quick else DESCENTS).items():
        for loss in ("squared", "absolute"):
            row = result["descents"][f"{title}, {loss}"] = descended(sizes, loss, runs)
            print(title, loss, row, sep=": ", flush=True)
    result["load_after"] = load()
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
