"""Solve many random members of the product by many routes, and print the differences.

Run it from the folder `tests`::

    python -m contract.campaign --seeds 0:10000
"""

from __future__ import annotations

import argparse
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

import convsolve as cs
from contract.checks import QUERIES, Fault, faults, is_documented, measured
from contract.oracle import EPS, Oracle
from contract.problems import Member, member, penalty_of
from contract.routes import ROUTES, problem, solved


class Outcome(NamedTuple):
    """The outcome of one route: a refusal, or faults with the figures of the solution."""

    route: str
    refused: str = ""
    faults: tuple[Fault, ...] = ()
    reported: str = ""
    trace: str = ""


def routes_of(seed: int, count: int) -> list[str]:
    """The default route, and some others."""
    others = [name for name in ROUTES if name != "default"]
    chosen = np.random.default_rng([seed, 1]).permutation(len(others))[:count]
    return ["default", *(others[i] for i in chosen)]


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
        yield Outcome(name, "", tuple(found), reported(oracle, fit) if found else "")
        if name == "default":
            yield from queries(one, fit)


def reported(oracle: Oracle, fit: cs.Solution) -> str:
    """Status and certificate of a solution, and its true errors."""
    certificate = "-" if fit.certificate is None else f"{fit.certificate / EPS:.3g} eps"
    true, off = measured(oracle, fit)
    return (
        f"{fit.status}, {fit.stats['solver']}, certificate {certificate}, true backward error "
        f"{true:.3g} eps, kernel error {off:.2g}"
    )


def queries(one: Member, fit: cs.Solution) -> Iterator[Outcome]:
    """Evaluate all other properties of a solution; only documented errors are allowed."""
    for name, query in QUERIES.items():
        try:
            query(one.statement, fit, penalty_of(one.statement))
        except UserWarning:
            continue
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


def run(seeds: Iterable[int], routes: int, quiet: bool) -> list[int]:
    """Print every failing seed and counts of all outcomes; return the failing seeds."""
    begun, found = time.perf_counter(), []
    counts: Counter[str] = Counter()
    refusals: Counter[str] = Counter()
    for seed in seeds:
        one = member(seed)
        with tempfile.TemporaryDirectory() as folder:
            results = list(outcomes(one, Path(folder), routes))
        counts.update(["seeds"], routes=len(results))
        counts.update(f"fault: {f.kind}" for o in results for f in o.faults)
        refusals.update(f"{o.route}: {o.refused[:60]}" for o in results if o.refused)
        bad = [o for o in results if failing(o)]
        if bad:
            found.append(seed)
            if not quiet:
                report(one, bad)
    print(f"\n{time.perf_counter() - begun:.0f} s, {dict(counts)}")
    print(f"{len(found)} failing seeds: {found}")
    for text, times in refusals.most_common(40):
        print(f"{times:6d} refused: {text}")
    return found


def report(one: Member, bad: list[Outcome]) -> None:
    """Print one failing member."""
    print(f"\nseed {one.seed}: {one.text}")
    for o in bad:
        print(f"  {o.route}: {o.reported}")
        for fault in {f.kind: f for f in o.faults}.values():
            print(f"    {fault.kind}: {fault.value} (limit {fault.limit})")
        if o.trace:
            print("      " + o.trace.strip().replace("\n", "\n      "))


def main() -> None:
    """Parse the arguments and run the seeds."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", default="0:1000", help="first:last, or one seed")
    parser.add_argument(
        "--routes", type=int, default=5, help="routes in addition to the default one"
    )
    parser.add_argument("--quiet", action="store_true", help="print the summary only")
    arguments = parser.parse_args()
    first, _, last = arguments.seeds.partition(":")
    seeds = range(int(first), int(last) if last else int(first) + 1)
    run(seeds, arguments.routes, arguments.quiet)


if __name__ == "__main__":
    main()
