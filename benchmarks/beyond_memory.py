"""Recordings larger than memory allows: solved and scored from disk, by dask, and as they grow.

4 GiB of 16 channels and one output, 40 taps, from memory, .npy, HDF5 and zarr, also in the chunks
that these choose themselves, by dask's threads and by a cluster of two processes: seconds, those of
reading alone, the memory of the process that is its own, kernel, certificate, each in a fresh
process. And what the cost does from 1e5 to 1e9 samples of one channel, which dask generates chunk
by chunk.

Run: python -m benchmarks.beyond_memory (needs 9 GiB of disk, and 16 GiB of memory for the
recording that is held there and the files that the system keeps)
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

import convsolve as cs
from benchmarks.machine import ROOT, load, now, process, report, stamp

RESULT = ROOT / "benchmarks" / "results" / "beyond_memory.json"
CHANNELS, TAPS = 16, 40
# Rows that are written, read and generated at a time: 16 MiB.
BLOCK = 2**17
# Of zarr in chunks that are said here, and what these are.
ZARR = {"zarr": BLOCK, "zarr, chunks of 32 MiB": 2 * BLOCK}
# Chunks of their own are of one channel: 30 841 samples of HDF5, which compresses, 493 448 of zarr.
FILES = ("hdf5", "hdf5, compressed", *ZARR, "zarr, its own chunks")
FREED = "dask, two processes, memory given back as dask sets it"
# Settings of dask with which the C library of a worker keeps freed memory.
SPAWN = "distributed.nanny.pre-spawn-environ"
KEPT = {
    f"{SPAWN}.MALLOC_TRIM_THRESHOLD_": 2**26,
    f"{SPAWN}.MALLOC_MMAP_THRESHOLD_": 2**25,
}
# What is measured while a file is there.
READ_FROM = {
    "npy": ("memory", "npy", "dask threads"),
    "hdf5": ("memory", "hdf5"),
    "hdf5, compressed": ("memory", "hdf5, compressed"),
    "zarr": ("memory", "zarr", "dask threads, zarr", "dask, two processes", FREED),
    "zarr, chunks of 32 MiB": ("memory", "zarr, chunks of 32 MiB"),
    "zarr, its own chunks": ("memory", "zarr, its own chunks"),
}
# Times the seconds of the recording in memory that a source may take, and MB of its own.
GOALS = {"npy": 1.3, "hdf5": 1.3, "dask threads": 1.5, "dask, two processes": 4.0}
MOST_MB = 500
GROWTH = (10**5, 10**6, 10**7, 10**8, 10**9)


def kernel() -> np.ndarray:
    """(TAPS, CHANNELS), a wave that decays in every channel."""
    lags, channels = np.arange(TAPS)[:, None], np.arange(CHANNELS)
    return np.cos(lags * (1 + channels) / 20) * np.exp(-lags / 12)


def file_of(kind: str, folder: Path, mode: Any, stack: ExitStack) -> Any:
    """The file of one kind, opened."""
    if kind.startswith("hdf5"):
        import h5py

        return stack.enter_context(h5py.File(folder / f"{kind}.h5", mode))
    import zarr

    return zarr.open_group(folder / f"{kind}.zarr", mode=mode)


def form(kind: str, shape: tuple[int, int]) -> dict[str, Any]:
    """How arrays of a kind are created."""
    if kind == "hdf5, compressed":
        return {"compression": "lzf"}
    return {"chunks": (ZARR[kind], shape[1]), "compressors": None} if kind in ZARR else {}


def write(folder: Path, samples: int) -> None:
    """The recording as x and y in .npy."""
    from scipy.signal import oaconvolve

    shapes = {"x": (samples, CHANNELS), "y": (samples, 1)}
    rng, w = np.random.default_rng(0), kernel()
    made = {
        k: np.lib.format.open_memmap(folder / f"{k}.npy", "w+", float, s) for k, s in shapes.items()
    }
    before = np.zeros((TAPS - 1, CHANNELS))
    for start in range(0, samples, BLOCK):
        x = rng.standard_normal((min(BLOCK, samples - start), CHANNELS))
        read = np.concatenate([before, x])
        y = oaconvolve(read, w, axes=0)[TAPS - 1 : TAPS - 1 + len(x)].sum(1, keepdims=True)
        y += rng.standard_normal(y.shape) * 3
        before = read[len(read) - TAPS + 1 :]
        made["x"][start : start + len(x)] = x
        made["y"][start : start + len(x)] = y


def copy(kind: str, folder: Path) -> None:
    """The same in HDF5 or zarr."""
    with ExitStack() as stack:
        root = file_of(kind, folder, "w", stack)
        create = getattr(root, "create_array", None) or root.create_dataset
        for name in "xy":
            source = np.load(folder / f"{name}.npy", mmap_mode="r")
            made: Any = create(name, shape=source.shape, dtype=float, **form(kind, source.shape))
            for start in range(0, len(source), BLOCK):
                made[start : start + BLOCK] = source[start : start + BLOCK]


def opened(kind: str, folder: Path, stack: ExitStack) -> tuple[Any, Any]:
    """x and y of one kind."""
    if kind in ("memory", "npy"):
        mode = "r" if kind == "npy" else None
        return tuple(np.load(folder / f"{k}.npy", mmap_mode=mode) for k in "xy")  # type: ignore[return-value]
    if kind in FILES:
        root = file_of(kind, folder, "r", stack)
        return root["x"], root["y"]
    import dask.array as da

    if kind == "dask threads":
        x, y = opened("npy", folder, stack)
        return da.from_array(x, chunks=(BLOCK, -1)), da.from_array(y, chunks=(BLOCK, -1))
    root = file_of("zarr", folder, "r", stack)
    return da.from_zarr(root["x"]), da.from_zarr(root["y"])


def seconds_of_reading(*sources: Any) -> float:
    """Of all of some sources once, by their own means."""
    begun = time.perf_counter()
    for source in sources:
        for start in range(0, source.shape[0], BLOCK):
            source[start : start + BLOCK]
    return round(time.perf_counter() - begun, 3)


class Watch:
    """The most anonymous memory that this process has held, sampled, in MB beyond what it began
    with; pages of files, which the system takes back at will, are not counted.
    """

    def __init__(self) -> None:
        self.first = self.most = _anonymous()
        self._ends = threading.Event()
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while not self._ends.wait(0.02):
            self.most = max(self.most, _anonymous())

    def stop(self) -> float:
        """MB."""
        self._ends.set()
        return round(self.most - self.first)


def _anonymous() -> float:
    with open("/proc/self/status", encoding="utf-8") as file:
        line = next(line for line in file if line.startswith("RssAnon"))
    return int(line.split()[1]) / 1000


def measured(kind: str, folder: Path) -> dict[str, Any]:
    """One source in this process, solved and scored twice, the second time counted."""
    with ExitStack() as stack:
        client = None
        if kind.startswith("dask, two processes"):
            import dask
            from distributed import Client, LocalCluster

            if kind != FREED:
                stack.enter_context(dask.config.set(KEPT))
            cluster = stack.enter_context(
                LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)
            )
            client = stack.enter_context(Client(cluster))
        # A small one first: imports, pools and plans.
        rng = np.random.default_rng(0)
        small = cs.Problem(rng.standard_normal((9999, 2)), rng.standard_normal(9999), lags=(0, 9))
        cs.solve(small).score()
        x, y = opened(kind, folder, stack)
        alone = seconds_of_reading(x, y) if kind in FILES else None
        before = client and client.run(_cpu)
        watch, times = Watch(), [time.perf_counter()]
        problem = cs.Problem(x, y, lags=(0, TAPS - 1), edges="zeros", bias=True)
        times.append(time.perf_counter())
        fit = cs.solve(problem)
        times.append(time.perf_counter())
        score = fit.score()
        times.append(time.perf_counter())
        steps = dict(
            zip(("check", "solve", "score"), np.diff(times).round(3).tolist(), strict=True)
        )
        found = {
            "seconds": round(times[-1] - times[0], 3),
            "steps": steps,
            "read_once": alone,
            "own_mb": watch.stop(),
            "certificate": fit.backward_error,
            "status": fit.status,
            "r2": float(score.r2[0]),
            "kernel": fit.kernel.tolist(),
        }
        if client is not None:
            found["worker_mb"] = max(client.run(_most_resident).values())
            found["worker_cpu"] = round(sum(client.run(_cpu).values()) - sum(before.values()), 2)
        return found


def _cpu() -> float:
    return sum(os.times()[:2])


def _most_resident() -> float:
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000)


def generated(samples: int, chunk: int) -> tuple[Any, Any]:
    """x and y of one channel as dask arrays that are made when they are read."""
    import dask.array as da

    w = kernel()[:, 0]

    def response(x: np.ndarray) -> np.ndarray:
        from scipy.signal import oaconvolve

        return oaconvolve(x, w)[: len(x)]

    x = da.random.default_rng(0).standard_normal(samples, chunks=chunk)
    noise = da.random.default_rng(1).standard_normal(samples, chunks=chunk)
    y = da.map_overlap(response, x, depth=(TAPS - 1, 0), boundary=0, dtype=float) + noise
    return x, y


def grown(samples: int, chunk: int) -> dict[str, Any]:
    """One channel of some length by dask's threads: solved, and certified."""
    x, y = generated(samples, min(chunk, samples))
    watch, begun = Watch(), time.perf_counter()
    problem = cs.Problem(x, y, lags=(0, TAPS - 1), edges="zeros")
    checked = time.perf_counter()
    fit = cs.solve(problem)
    return {
        "samples": samples,
        "chunk": chunk,
        "check": round(checked - begun, 3),
        "solve": round(time.perf_counter() - checked, 3),
        "own_mb": watch.stop(),
        "certificate": fit.backward_error,
        "status": fit.status,
        "largest_error": float(np.abs(fit.kernel[::-1, 0, 0] - kernel()[:, 0]).max()),
    }


def child(code: str) -> dict[str, Any]:
    """What a fresh process finds."""
    _, out = process(
        "import json\nfrom pathlib import Path\nfrom benchmarks import beyond_memory as b\n"
        f"if __name__ == '__main__':\n    print(json.dumps(b.{code}))"
    )
    return json.loads(out.splitlines()[-1])


def sources(samples: int, runs: int, files: Sequence[str]) -> list[dict[str, Any]]:
    """What is read from some files, each in turn with memory. They are made and deleted one after
    the other: all of them exceed what the system keeps of files in memory, and a disk would be
    measured.
    """
    kinds = dict.fromkeys(kind for file in files for kind in READ_FROM[file])
    found: dict[str, list[dict[str, Any]]] = {kind: [] for kind in kinds}
    beside: dict[str, list[float]] = {kind: [] for kind in kinds}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder, samples)
        for file in files:
            if file in FILES:
                copy(file, folder)
            os.sync()
            for _ in range(runs):
                read = READ_FROM[file]
                several = {kind: child(f"measured({kind!r}, Path({name!r}))") for kind in read}
                for kind, one in several.items():
                    found[kind].append(one)
                    beside[kind].append(one["seconds"] / several["memory"]["seconds"])
            if file in FILES:
                made = folder / f"{file}.{'h5' if file.startswith('hdf5') else 'zarr'}"
                made.unlink() if made.is_file() else shutil.rmtree(made)
    reference = np.array(found["memory"][0]["kernel"])
    return [row(kind, found[kind], beside[kind], reference) for kind in kinds]


def row(
    kind: str, several: list[dict[str, Any]], beside: list[float], reference: np.ndarray
) -> dict[str, Any]:
    """What several runs of one source come to; seconds beside those of memory, in the same turn."""

    def known(name: str) -> list[Any]:
        return [one[name] for one in several if one.get(name) is not None]

    off = np.abs(np.array(known("kernel")) - reference).max() / np.abs(reference).max()
    return {
        "source": kind,
        "seconds": float(np.median(known("seconds"))),
        "times_memory": float(f"{np.median(beside):.3g}"),
        "every_time": [float(f"{ratio:.3g}") for ratio in beside],
        "steps": several[-1]["steps"],
        "read_once": min(known("read_once"), default=None),
        "own_mb": max(known("own_mb")),
        "worker_mb": max(known("worker_mb"), default=None),
        "worker_cpu": min(known("worker_cpu"), default=None),
        "certificate": max(known("certificate")),
        "status": several[-1]["status"],
        "r2": several[-1]["r2"],
        "kernel_off": float(off),
    }


def checks(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Whether promises hold, of the sources that are promised something."""
    found = []
    for row in rows:
        name, most = row["source"], GOALS.get(row["source"])
        if most is not None:
            found.append(
                {"promise": f"{name}: {most} times memory", "passed": row["times_memory"] <= most}
            )
        if most is not None or name == "memory":
            own = max(row["own_mb"], row["worker_mb"] or 0)
            found.append({"promise": f"{name}: {MOST_MB} MB", "passed": own <= MOST_MB})
        exact = row["certificate"] <= 30 * 2.0**-52 and row["kernel_off"] <= 1e-13
        found.append({"promise": f"{name}: the same kernel, certified", "passed": exact})
    return found


def table(result: dict[str, Any]) -> str:
    """Format the times by source as a table."""
    lines = [
        f"The data are {result['bytes'] / 2**30:.0f} GiB: 16 channels and one output, with 40 "
        "taps, zero padding and a bias.\nThe times include the check, the solution, its "
        "certificate and the score.\n",
        "| x and y in | seconds | times memory, in turns | to read them once, s | MB of its own |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for row in result["sources"]:
        own = row["own_mb"] if row["worker_mb"] is None else f"{row['worker_mb']} a worker"
        read = "" if row["read_once"] is None else f"{row['read_once']:.1f}"
        times = f"{row['seconds']:.1f} | {row['times_memory']:.2f}"
        lines.append(f"| {row['source']} | {times} | {read} | {own} |")
    return "\n".join(lines)


def sentence(result: dict[str, Any]) -> str:
    """Describe how the time grows with the number of samples."""
    growth, last = result["growth"], result["growth"][-1]
    times = ", ".join(f"{row['solve']:.2g}" for row in growth[:-1])
    return (
        f"One channel of {growth[0]['samples']:.0e} to {last['samples']:.0e} samples, ten times as "
        f"many each time, is generated by\ndask in chunks. The solutions take {times} and "
        f"{last['solve']:.0f} s, the longest with {last['own_mb']} MB of memory."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--quick", action="store_true", help="64 MiB, and up to 1e7 samples")
    parser.add_argument("--runs", type=int, default=3, metavar="N", help="times of every source")
    parser.add_argument(
        "--largest", type=int, default=10**9, metavar="N", help="most samples of one channel"
    )
    parser.add_argument(
        "--files",
        nargs="+",
        choices=READ_FROM,
        help="only what is read from these, anew; all else stays as the result file has it",
    )
    parser.add_argument("--out", type=Path, default=RESULT)
    args = parser.parse_args()
    numbers = 2**23 if args.quick else 2**29
    samples = numbers // (CHANNELS + 1)
    before = load()
    rows = sources(samples, args.runs, args.files or [*READ_FROM])
    if args.files:
        result = json.loads(args.out.read_text(encoding="utf-8"))
        anew = {row["source"]: row for row in rows if row["source"] != "memory"}
        result["sources"] = [anew.get(row["source"], row) for row in result["sources"]]
        result["again"] = {"date": now(), "load_before": before, "files": args.files}
        result["checks"] = checks(result["sources"])
        report(result, args.out)
        return
    largest = min(args.largest, 10**7) if args.quick else args.largest
    growth = [child(f"grown({n}, 2**21)") for n in GROWTH if n <= largest]
    chunks = [child(f"grown({10**7}, 2**{k})") for k in (17, 19, 21, 23)]
    result = {
        "date": now(),
        "machine": stamp(["numpy", "scipy", "dask", "distributed", "h5py", "zarr"]),
        "load_before": before,
        "bytes": samples * (CHANNELS + 1) * 8,
        "samples": samples,
        "runs": args.runs,
        "sources": rows,
        "growth": growth,
        "chunks": chunks,
        "checks": checks(rows),
    }
    report(result, args.out)
    for row in rows:
        goal = GOALS.get(row["source"])
        print(
            f"{row['source']:20} {row['seconds']:7.2f} s, {row['times_memory']:.2f} times memory"
            + (f" (goal {goal})" if goal else "")
            + f", own {row['own_mb']} MB, workers {row['worker_mb']} MB"
            + f", read once {row['read_once']} s, worker CPU {row['worker_cpu']} s"
            + f", off {row['kernel_off']:.1e}"
        )
    for row in (*growth, *chunks):
        print(row)


if __name__ == "__main__":
    main()
