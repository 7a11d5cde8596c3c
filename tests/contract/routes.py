"""The ways by which one problem is solved: where the data are, the solver, and the limits."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import convsolve as cs
from contract.cases import penalty_of
from contract.statement import Statement
from convsolve.problem.sizes import Tuning
from support.routes import ROUTES as FORCED
from support.stored import Slices, by_dask, in_hdf5, in_zarr, mapped, stored

Store = Callable[[np.ndarray, Path], Any]


class Route(NamedTuple):
    """A solver, limits, and where the data are.

    ``iterative`` solvers may end approximate. With ``strengths`` every output has a strength of its
    own, see `Statement.with_strengths`. By the default solver these are solved by the
    eigenvectors of the Gram matrix. A single output is also solved so, as a choice from one
    strength.
    """

    solver: str = "auto"
    limits: Tuning = Tuning()
    store: Store | None = None
    iterative: bool = False
    strengths: bool = False

    def method(self, made: Statement) -> dict[str, Any]:
        """The arguments of `solve` for the statement, or for the one with several strengths."""
        if made.prior is None:
            return {"solver": self.solver}
        if self.strengths and made.outputs == 1 and made.prior.kind != "banded":
            form = penalty_of(made.prior, None)
            return {"solver": self.solver, "penalty": form, "grid": [made.prior.strength]}
        return {"solver": self.solver, "penalty": penalty_of(made.prior, made.prior.strength)}


def _chunks(numbers: int, **others: int) -> Tuning:
    return Tuning(held_numbers=1, chunk_numbers=numbers, **others)


ODD = by_dask(lambda shape: tuple(min(n, c) for n, c in zip(shape, (13, 7, 5, 3, 2))))
WHOLE_CHANNELS = by_dask(lambda shape: (min(shape[0], 17), *shape[1:]))
FFTS = {"small_numbers": 0, "row_numbers": 0, "event_elements": 0}
EVENTS = FFTS | {"event_elements": float("inf")}

ROUTES = {
    "default": Route(),
    "QR": Route("qr"),
    "SVD": Route("svd"),
    "QR in blocks": Route("qr", FORCED["tree"]),
    "normal equations": Route("normal"),
    "by rows": Route("normal", FORCED["gram"]),
    "by rows, in blocks": Route("normal", FORCED["gram of blocks"]),
    "by FFT": Route("normal", Tuning(**FFTS)),
    "by FFT, cut at gaps": Route("normal", Tuning(**FFTS, gap_products=0)),
    "events": Route("normal", Tuning(**EVENTS)),
    "events, in chunks": Route("normal", _chunks(200, **EVENTS)),
    "conjugate gradient": Route("cg", iterative=True),
    "conjugate gradient by FFT": Route("cg", Tuning(**FFTS), iterative=True),
    "strengths per output": Route(strengths=True),
    "chunks": Route(limits=_chunks(100)),
    "long chunks": Route(limits=_chunks(200)),
    "long chunks by FFT": Route("normal", _chunks(200, **FFTS)),
    "memory map": Route(limits=_chunks(90), store=mapped),
    "slices": Route(limits=_chunks(80), store=lambda array, folder: Slices(array)),
    "HDF5": Route(limits=_chunks(120), store=in_hdf5),
    "zarr": Route(limits=_chunks(150), store=in_zarr),
    "dask": Route("svd", _chunks(70), ODD),
    "dask, whole channels": Route("normal", _chunks(110), WHOLE_CHANNELS),
    "strengths per output, in chunks": Route(limits=_chunks(100), strengths=True),
    "strengths per output, by QR": Route("qr", strengths=True),
}


def problem(made: Statement, store: Store | None = None, folder: Any = None) -> cs.Problem:
    """The statement as a `Problem` of the package, with a batch of records of one shape."""
    batch = len({a.shape for a in made.x}) == 1
    parts = {name: getattr(made, name) for name in ("x", "y", "mask", "weights", "confounds")}
    given = {
        name: value if value is None else _passed(value, batch) for name, value in parts.items()
    }
    for name in ("x", "y"):
        given[name] = given[name] if store is None else stored(given[name], store, folder)
    names = ("groups", "bias", "missing", "drift")
    options = {name: getattr(made, name) for name in names}
    options |= {} if made.functions is None else {"basis": _bases(made.functions, made.groups)}
    if made.lags is not None:
        return cs.Problem(
            **given, **options, lags=_lags(made), edges=made.edges, stride=made.stride
        )
    geometry = {"kernel_size": made.taps, "stride": made.stride, "dilation": made.dilation}
    return cs.Problem(**given, **options, **geometry, padding=made.padding)


def _bases(functions: Sequence[np.ndarray | None], groups: int) -> Any:
    """One basis for all groups, or a dict without the channels that have none."""
    if groups > 1:
        return cs.Basis(functions[0])
    return {c: cs.Basis(one) for c, one in enumerate(functions) if one is not None}


def _lags(made: Statement) -> Any:
    """The lags of every axis, or of every channel."""
    if made.windows is None:
        return [*made.lags]
    start = made.lags[0][0]
    return {c: (start + first, start + last) for c, (first, last) in enumerate(made.windows)}


def _passed(records: list[Any], batch: bool) -> Any:
    """A list of records, a batch, or a single record."""
    if not batch:
        return records
    if all(np.ndim(one) == 0 for one in records):
        return records
    return records[0] if len(records) == 1 else np.stack(records)


def solved(made: Statement, route: Route, folder: Path) -> cs.Solution:
    """The solution by one route; any warning but that of identifiability is an error."""
    made = made.with_strengths() if route.strengths else made
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", cs.IdentifiabilityWarning)
        found = problem(made, route.store, folder)
        return cs.solve(found, **route.method(made), limits=route.limits)
