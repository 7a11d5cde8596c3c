"""The method that the arguments state."""

# As in arguments.py, numpy and what needs it are imported once a command runs.
from __future__ import annotations

import argparse
import math
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .. import registry
from ..files import kind_of
from .arguments import Refusal, basis_names, named, reported
from .options import KINDS, shell
from .readers import beside

if TYPE_CHECKING:
    import numpy as np

    from ..problem.problem import Problem


def keywords(args: argparse.Namespace, given: Problem | None) -> dict[str, Any]:
    """Return the arguments of `solve` that are given, checked for a problem, if there is one.

    Raises:
        Refusal: If a value is wrong, or values do not fit each other or the problem.
    """
    from ..method import Method

    with reported(TypeError, ValueError):
        found = _keywords(args, given)
        method = Method.of(**found)
        if given is not None:
            method.check(given)
    return found


def compared(args: argparse.Namespace, given: Problem | None) -> dict[str, Any]:
    """Return the arguments of `compare` that state methods, checked as by `keywords`."""
    from ..comparison import labelled

    with reported(TypeError, ValueError):
        shared = _keywords(args, given)
        entries = {name: _entry(name) for name in _listed(args)}
        made = {n: {e.kind: _component(e, args, given)} for n, e in entries.items()} or None
        labelled(made, shared)
    return {"methods": made, **shared}


def _listed(args: argparse.Namespace) -> list[str]:
    """Return the names of --methods."""
    names: str | None = getattr(args, "methods", None)
    return [] if names is None else names.split(",")


def _entry(name: str) -> registry.Entry:
    """Return the entry of a method."""
    entry = registry.found(name)
    if entry is None:
        raise Refusal(f"--methods: {name!r} is unknown; {registry.suggestion(name, KINDS)}")
    if entry[0].kind not in KINDS:
        use = f"--{entry[0].kind} {shell(name)}"
        raise Refusal(f"--methods: {name!r} is no solver, penalty or loss; use {use}")
    return entry[0]


def _keywords(args: argparse.Namespace, given: Problem | None) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for kind in KINDS:
        name = getattr(args, kind, None)
        if name is not None:
            entry = registry.found(name)
            assert entry is not None
            found[kind] = _component(entry[0], args, given)
    if args.ridge is not None and args.penalty is None:
        found["ridge"] = args.ridge
    elif args.ridge is not None and "ridge" not in _options_of([registry.ENTRIES[args.penalty]]):
        raise Refusal(f"give --ridge or --penalty {shell(args.penalty)}, not both")
    if args.strength is not None and args.penalty is None:
        raise Refusal("--strength needs --penalty; --ridge R is short for a ridge")
    for name in ("grid", "noise"):
        if getattr(args, name, None) is not None:
            found[name] = getattr(args, name)
    if (select := criterion(args, given)) is not None:
        found["select"] = select
    return found


def _options_of(used: Sequence[registry.Entry]) -> set[str]:
    return {option.name for entry in used for option in entry.options}


def entries(args: argparse.Namespace) -> list[registry.Entry]:
    """Return the entries of all components that are named."""
    names = [getattr(args, kind, None) for kind in KINDS] + _listed(args) + basis_names(args)
    found = (registry.found(name) for name in names if name)
    return [entry[0] for entry in found if entry is not None]


def _component(entry: registry.Entry, args: argparse.Namespace, given: Problem | None) -> Any:
    """Return a component: its name, or an object if it has options of its own.

    Without a problem, the kernel of --init is not read.
    """
    if entry.name in ("adam", "lbfgs"):
        check_device()
    own = _own_options(entry, args, given)
    if entry.kind == "penalty" and args.penalty == entry.name and args.strength is not None:
        own["strength"] = args.strength if len(args.strength) > 1 else args.strength[0]
    if entry.name == "tikhonov" and "matrix" not in own:
        raise Refusal("--penalty tikhonov needs --matrix FILE")
    return entry.make(**own) if own else entry.name


def _own_options(
    entry: registry.Entry, args: argparse.Namespace, given: Problem | None
) -> dict[str, Any]:
    """Return the arguments of a component from its own options."""
    found: dict[str, Any] = {}
    for option in entry.options:
        value = getattr(args, option.name, None)
        if value is not None:
            found |= _read(option, value, args, given)
    return found


def _read(
    option: registry.Option, value: Any, args: argparse.Namespace, given: Problem | None
) -> dict[str, Any]:
    """Return an argument of a component from the value of an option."""
    if option.reads == "adam":
        import optax

        if not (math.isfinite(value) and value > 0):
            raise Refusal(f"--learning-rate must be positive and finite, got {value}")
        return {"optimizer": optax.adam(value)}
    if option.reads == "file":
        value = beside(args, value)
    elif option.reads == "labels":
        value = value if value == "channels" else _labels(option.name, value)
    elif option.reads == "kernel" and value not in ("glorot_uniform", "zeros"):
        if not kind_of(value):
            raise Refusal(f"{named(option.name)} takes glorot_uniform, zeros or a FILE of a kernel")
        if given is None:
            return {}
        value = given._as_kernel(beside(args, value), f"--{option.name} {value}")
    elif isinstance(value, list) and len(value) == 1:
        value = value[0]
    return {option.name: value}


def _labels(option: str, text: str) -> tuple[int, ...]:
    """Return numbers with commas between."""
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise Refusal(f"{named(option)}: {text!r} lists no numbers, such as 0,1,1") from error


def criterion(args: argparse.Namespace, given: Problem | None) -> Any:
    """Return the criterion of --select; for cross-validation with its options.

    They are checked for a problem, if there is one.
    """
    from ..inference.folds import CrossValidation

    settings = {
        name: value
        for name in ("score", "average")
        if (value := getattr(args, name, None)) is not None
    }
    if args.select != "cv":
        for option in ("folds", *settings):
            if getattr(args, option, None) is not None:
                raise ValueError(f"--{option} goes with --select cv")
        return args.select
    outer = args.held_out if args.command == "cross-validate" else args.folds
    found = CrossValidation(outer, **settings)
    # Cross-validation applies the folds of --select to a part of the records.
    if given is not None and args.command != "cross-validate":
        found.spans(given._kept)
    return found


def true_kernel(args: argparse.Namespace, given: Problem) -> np.ndarray | None:
    """Return the impulse response of --truth."""
    if args.truth is None:
        return None
    array = beside(args, args.truth)
    with reported(TypeError, ValueError, source=f"--truth {args.truth}"):
        return given._as_kernel(array, "truth")


def check_settings(args: argparse.Namespace) -> None:
    """Refuse methods and settings that are wrong or not used, before the data are read."""
    for name in _listed(args):
        _entry(name)
    check_used(args)
    if args.command == "compare":
        compared(args, None)
    else:
        keywords(args, None)


def check_used(args: argparse.Namespace) -> None:
    """Refuse options of components that are not named."""
    taken = _options_of(entries(args))
    for option, (_, owners) in registry.options().items():
        if option in taken or option == "ridge" or getattr(args, option, None) is None:
            continue
        raise Refusal(f"{named(option)} needs one of {', '.join(map(shell, owners))}")


def basis_of(name: str, args: argparse.Namespace) -> Any:
    """Return a basis: its name, or an object if it has options of its own or is in a file."""
    if kind_of(name):
        with reported(TypeError, ValueError, source=name):
            return registry.ENTRIES["basis"].make(matrix=beside(args, name))
    found = registry.found(name)
    assert found is not None
    entry, number = found
    own = _own_options(entry, args, None)
    complete = bool(number) or not entry.number
    return entry.make(**number, **own) if own and complete else name


def check_device() -> None:
    """Refuse to begin a descent where jax finds no device, such as the one that was asked for."""
    import jax

    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:  # the latter where CUDA sees no card
        trouble = str(error) or f"JAX_PLATFORMS={os.environ.get('JAX_PLATFORMS')}"
        raise Refusal(
            f"jax has no device to descend on ({trouble}); try JAX_PLATFORMS=cpu"
        ) from error
