"""The solver that the arguments state, and what none of the solvers takes."""

# As in arguments.py, numpy and what needs it are imported once a command runs.
from __future__ import annotations

import argparse
import math
import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from .arguments import Refusal, limits_of, named, reported
from .options import DESCENT, OF_PENALTY, SETTINGS, SOLVERS
from .readers import beside

if TYPE_CHECKING:
    import numpy as np

    from ..leastsquares.penalty import Penalty
    from ..problem.problem import Problem
    from ..solvers.base import Solver


def name_of_solver(args: argparse.Namespace) -> str:
    """That of --solver; a penalty to choose says it too."""
    takes = SOLVERS["regularized"][1]
    asked = any(getattr(args, setting, None) is not None for setting in takes)
    return "regularized" if asked and args.solver == "auto" else str(args.solver)


def _penalty(args: argparse.Namespace) -> Penalty:
    """That of --penalty, with what belongs to it."""
    from ..leastsquares.penalty import Ridge, Tikhonov
    from ..leastsquares.smooth import Smooth
    from ..leastsquares.stable_spline import StableSpline

    name = args.penalty or "ridge"
    for option, owners in OF_PENALTY.items():
        if getattr(args, option) is not None and name not in owners:
            raise Refusal(f"{named(option)} is for --penalty {', '.join(owners)}, not {name}")
    if name == "tikhonov":
        if args.matrix is None:
            raise Refusal("--penalty tikhonov needs --matrix FILE")
        return Tikhonov(beside(args, args.matrix))
    if name == "smooth":
        several = args.length is not None and len(args.length) > 1
        return Smooth(length=args.length if several else args.length and args.length[0])
    if name == "ridge":
        labels = None if args.channel_groups is None else _numbers("channel_groups", args, int)
        weights = None if args.penalty_weights is None else _numbers("penalty_weights", args, float)
        return Ridge(labels, weights)
    if name in ("differences", "curvature"):
        return Smooth(order=1 if name == "differences" else 2)
    return StableSpline(name, args.decay, args.correlation)


def _numbers(option: str, args: argparse.Namespace, kind: type) -> tuple[Any, ...]:
    """Those of an option that lists them with commas between."""
    text = getattr(args, option)
    try:
        return tuple(kind(part) for part in text.split(","))
    except ValueError as error:
        example = "0,1,1" if kind is int else "1,0.5"
        raise Refusal(f"{named(option)}: {text!r} lists no numbers, such as {example}") from error


def criterion(args: argparse.Namespace, given: Problem) -> Any:
    """What --select names; of cross-validation the folds and the score."""
    from ..inference.folds import CrossValidation

    if args.select != "cv":
        for option in ("folds", "score"):
            if getattr(args, option, None) is not None:
                raise ValueError(f"--{option} goes with --select cv")
        return args.select
    outer = args.held_out if args.command == "cross-validate" else args.folds
    found = CrossValidation(folds(outer), args.score or "mse")
    if args.command != "cross-validate":  # which leaves some of the records out
        found.spans(given.kept)
    return found


def true_kernel(args: argparse.Namespace, given: Problem) -> np.ndarray | None:
    """That of --truth."""
    if args.truth is None:
        return None
    array = beside(args, args.truth)
    with reported(TypeError, ValueError, source=f"--truth {args.truth}"):
        return given.as_kernel(array, "truth")


def folds(text: str | None) -> Any:
    """A number of them, or a word."""
    return int(text) if text is not None and text.isdecimal() else text or "records"


def _given(args: argparse.Namespace, names: Sequence[str]) -> dict[str, Any]:
    """Return the options of these names that are given."""
    return {name: value for name in names if (value := getattr(args, name)) is not None}


def _descent(name: str, args: argparse.Namespace, given: Problem) -> Solver:
    from ..solvers.gradient_descent import GradientDescent

    check_device()
    import optax

    settings = _given(args, DESCENT)
    if args.init not in (None, "glorot_uniform", "zeros"):
        settings["init"] = given.as_kernel(beside(args, args.init), f"--init {args.init}")
    optimizer = None if args.learning_rate is None else optax.adam(args.learning_rate)
    return GradientDescent(optax.lbfgs() if name == "lbfgs" else optimizer, **settings)


def _with_choice(name: str, args: argparse.Namespace, given: Problem) -> Solver:
    """Return a solver whose strength the data may choose."""
    from ..solvers.lasso import Lasso
    from ..solvers.regularized import Regularized

    if name == "lasso":
        groups = args.channel_groups
        if groups not in (None, "channels"):
            groups = _numbers("channel_groups", args, int)
        return Lasso(groups, args.strength, args.ridge or 0.0, criterion(args, given))
    grid = None if args.strength is None else [[value] for value in args.strength]
    return Regularized(_penalty(args), grid, criterion(args, given))


def solver(name: str, args: argparse.Namespace, given: Problem) -> Solver:
    """The solver of that name with its settings, once it has said that it can solve ``given``."""
    import convsolve as cs

    with reported(TypeError, ValueError):
        if name in ("adam", "lbfgs"):
            made = _descent(name, args, given)
        elif name in ("lasso", "regularized"):
            made = _with_choice(name, args, given)
        else:
            kinds: dict[str, Callable[..., Solver]] = {
                "auto": cs.AutoSolver,
                "svd": partial(cs.LeastSquares, "svd"),
                "qr": partial(cs.LeastSquares, "qr"),
                "normal": cs.NormalEquations,
                "cg": cs.ConjugateGradient,
                "fft": cs.FFTDeconvolution,
                "huber": cs.Huber,
                "absolute": cs.LeastAbsolute,
            }
            made = kinds[name](**_given(args, SOLVERS[name][1]))
        made.check(given.spec.kernel_size, given.selection)
        reason = made.supports(given.sizes(limits_of(args)), given.spec)
    if reason is not None:
        raise Refusal(f"solver {name}: {reason}")
    return made


def check_settings(args: argparse.Namespace, names: Sequence[str]) -> None:
    """Refuse solvers that are not there, and settings that none of the chosen takes."""
    for name in names:
        if name not in SOLVERS:
            raise Refusal(f"solver {name!r} is unknown; choose from {', '.join(SOLVERS)}")
    for setting in SETTINGS:
        takers = [name for name, (_, takes) in SOLVERS.items() if setting in takes]
        if getattr(args, setting, None) is not None and not set(takers) & set(names):
            raise Refusal(
                f"{named(setting)} is for the solvers {', '.join(takers)}; name one of them"
            )
    if args.learning_rate is not None and not (
        math.isfinite(args.learning_rate) and args.learning_rate > 0
    ):
        raise Refusal(f"--learning-rate must be positive and finite, got {args.learning_rate}")


def check_device() -> None:
    """Refuse to begin a descent where jax finds no device, such as the one that was asked for."""
    from ..lazy_jax import import_whole

    import_whole("optax")
    if trouble := without_device():
        raise Refusal(f"jax has no device to descend on ({trouble}); try JAX_PLATFORMS=cpu")


def without_device() -> str:
    """Why jax has no device, or nothing."""
    import jax

    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:  # the latter where CUDA sees no card
        return str(error) or f"JAX_PLATFORMS={os.environ.get('JAX_PLATFORMS')}"
    return ""
