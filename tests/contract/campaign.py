"""Solve many random members of the product by many routes, and print what differs.

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
from contract.checks import QUERIES, Fault, faults, is_documented
from contract.oracle import EPS, Oracle
from contract.problems import Member, member, penalty_of
from contract.routes import ROUTES, problem, solved


class Outcome(NamedTuple):
    """What one route did: a refusal, or faults with what the solution reports."""

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
        with np.errstate(all="raise"):
            problem(one.statement, one.layout)
    except Exception as error:  # noqa: BLE001 -- every error is classified
        yield _raised("Problem", error)
        return
    oracle = Oracle(one.statement)
    for name in routes_of(one.seed, count):
        try:
            fit = solved(one.statement, ROUTES[name], one.layout, folder)
            found = faults(oracle, ROUTES[name], fit)
        except Exception as error:  # noqa: BLE001 -- every error is classified
            yield _raised(name, error)
            continue
        certificate = "-" if fit.certificate is None else f"{fit.certificate / EPS:.3g} eps"
        reported = f"{fit.status}, certificate {certificate}, {fit.stats['solver']}"
        yield Outcome(name, "", tuple(found), reported)
        if name == "default":
            yield from _queries(one, fit)


def _queries(one: Member, fit: cs.Solution) -> Iterator[Outcome]:
    """Ask a solution for everything else; only documented errors are allowed."""
    for name, query in QUERIES.items():
        try:
            query(one.statement, fit, penalty_of(one.statement))
        except UserWarning:
            continue
        except Exception as error:  # noqa: BLE001 -- every error is classified
            yield _raised(name, error)


def _raised(route: str, error: Exception) -> Outcome:
    text = f"{type(error).__name__}: {error}"
    if is_documented(error):
        return Outcome(route, text)
    tail = "".join(traceback.format_exception(error)[-4:])
    return Outcome(route, faults=(Fault("error", text, "a documented error"),), trace=tail)


def main() -> None:
    """Parse the arguments, run the seeds and print a summary."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", default="0:1000", help="first:last, or one seed")
    parser.add_argument("--routes", type=int, default=5, help="routes besides the default one")
    parser.add_argument("--quiet", action="store_true", help="print the summary only")
    arguments = parser.parse_args()
    first, _, last = arguments.seeds.partition(":")
    seeds = range(int(first), int(last) if last else int(first) + 1)
    run(seeds, arguments.routes, arguments.quiet)


def run(seeds: Iterable[int], routes: int, quiet: bool) -> None:
    """Print every failing seed, and counts of all outcomes."""
    begun, counts, refusals = time.perf_counter(), Counter(), Counter()
    failing = []
    for seed in seeds:
        one = member(seed)
        with tempfile.TemporaryDirectory() as folder:
            found = list(outcomes(one, Path(folder), routes))
        counts["seeds"] += 1
        bad = [o for o in found if o.faults]
        counts["routes"] += len(found)
        refusals.update(f"{o.route}: {o.refused[:60]}" for o in found if o.refused)
        for o in bad:
            counts.update(f"fault: {f.kind}" for f in o.faults)
        if bad:
            failing.append(seed)
            if not quiet:
                report(one, bad)
    print(f"\n{time.perf_counter() - begun:.0f} s, {dict(counts)}")
    print(f"{len(failing)} failing seeds: {failing}")
    for text, times in refusals.most_common(40):
        print(f"{times:6d} {text}")


def report(one: Member, bad: list[Outcome]) -> None:
    """Print one failing member."""
    print(f"\nseed {one.seed}: {one.text}")
    for o in bad:
        for fault in o.faults:
            print(f"  {o.route}: {fault.kind}: {fault.value} (limit {fault.limit}); {o.reported}")
        if o.trace:
            print("    " + o.trace.strip().replace("\n", "\n    "))


if __name__ == "__main__":
    main()
