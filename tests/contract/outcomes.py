"""Solve a member of the product by several routes, and classify what every route returns."""

from __future__ import annotations

import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

import convsolve as cs
from contract.checks import QUERIES, Fault, faults, is_documented, measured, penalty_for_queries
from contract.oracle import EPS, Oracle
from contract.problems import Member
from contract.routes import ROUTES, Route, problem, solved


class Outcome(NamedTuple):
    """The outcome of one route: a refusal, or faults with the figures of the solution."""

    route: str
    refused: str = ""
    faults: tuple[Fault, ...] = ()
    reported: str = ""
    trace: str = ""


def routes_of(seed: int, count: int) -> list[str]:
    """The default route, and some others; if several strengths, then also by QR."""
    by_default, by_qr = "strengths per output", "strengths per output, by QR"
    others = [name for name in ROUTES if name not in ("default", by_qr)]
    chosen = np.random.default_rng([seed, 1]).permutation(len(others))[:count]
    names = ["default", *(others[i] for i in chosen)]
    return [*names, by_qr] if by_default in names else names


def outcomes(one: Member, folder: Path, count: int = 5) -> Iterator[Outcome]:
    """Solve a member by several routes, and compare each with the oracle."""
    try:
        problem(one.statement, one.layout)
    except Exception as error:  # noqa: BLE001 -- every error is classified
        yield raised("Problem", error)
        return
    oracle = Oracle(one.statement)
    for name in routes_of(one.seed, count):
        try:
            fit = solved(one.statement, ROUTES[name], one.layout, folder)
            found = faults(oracle, ROUTES[name], fit)
        except Exception as error:  # noqa: BLE001 -- every error is classified
            yield raised(name, error)
            continue
        yield Outcome(name, "", tuple(found), reported(oracle, ROUTES[name], fit) if found else "")
        if name == "default":
            yield from queries(one, fit)


def reported(oracle: Oracle, route: Route, fit: cs.Solution) -> str:
    """Status and certificate of a solution, and its true errors."""
    certificate = "-" if fit.backward_error is None else f"{fit.backward_error / EPS:.3g} eps"
    true, off = measured(oracle, route, fit)
    return (
        f"{fit.status}, {fit.stats['solver']}, certificate {certificate}, true backward error "
        f"{true:.3g} eps, kernel error {off:.2g}"
    )


def queries(one: Member, fit: cs.Solution) -> Iterator[Outcome]:
    """Evaluate all other properties of a solution; only documented errors are allowed."""
    for name, query in QUERIES.items():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)
                query(one.statement, fit, penalty_for_queries(one.statement))
        except Exception as error:  # noqa: BLE001 -- every error is classified
            yield raised(name, error)


def raised(route: str, error: Exception) -> Outcome:
    """A refusal, if the error is a documented one, or else a fault."""
    text = f"{type(error).__name__}: {error}"
    if is_documented(error):
        return Outcome(route, text)
    tail = "".join(traceback.format_exception(error)[-4:])
    return Outcome(route, faults=(Fault("error", text, "a documented error"),), trace=tail)


def failing(outcome: Outcome) -> bool:
    """Whether an outcome breaks the contract. A status of "approximate" does not."""
    return any(fault.kind != "not solved" for fault in outcome.faults)
