"""The commands, of which ``convsolve --help`` has the list."""

from __future__ import annotations

import argparse
import io
import json
import math
import os
import shlex
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from ..interrupts import sigint_handled
from .arguments import (
    Refusal,
    check_targets,
    limits_of,
    parse,
    reported,
)
from .data import new_data, problem, source
from .methods import (
    check_device,
    check_settings,
    criterion,
    folds,
    name_of_solver,
    solver,
    true_kernel,
)

if TYPE_CHECKING:
    from ..problem.problem import Problem
    from ..solvers import Solver

OK, NOT_OK, BAD_INPUT, NOT_UNIQUE, INTERRUPTED = 0, 1, 2, 3, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command, by default that of ``sys.argv``, and return its exit status."""
    try:
        with sigint_handled(), _ctrl_c_unprinted():
            for stream in (sys.stdout, sys.stderr):
                # A terminal that lacks a sign of the mathematics shows a question mark for it.
                if isinstance(stream, io.TextIOWrapper):
                    stream.reconfigure(errors="replace")
            args = parse(argv)
            args.call = shlex.join(["convsolve", *(sys.argv[1:] if argv is None else argv)])
            verbose = getattr(args, "verbose", False)
            with _warnings_reported() as warned, _followed(verbose):
                status: int = COMMANDS[args.command](args, warned)
    except Refusal as refusal:
        _say(f"convsolve: {refusal}", "stderr")
        return refusal.status
    except KeyboardInterrupt:
        _say("convsolve: interrupted", "stderr")
        return INTERRUPTED
    except MemoryError:
        hint = "give fewer taps, less padding or a part of the records"
        _say(f"convsolve: too large for the memory of this machine; {hint}", "stderr")
        return BAD_INPUT
    except OSError as error:
        _say(f"convsolve: the answer cannot be written: {error.strerror}", "stderr")
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return NOT_OK
    return status


def _demo(args: argparse.Namespace, warned: list[Warning | str]) -> int:
    check_targets(args)
    check_device()
    from .demo import run

    numbers = run((lambda line: None) if args.json else _say, args.plot, args.force)
    if args.json:
        _print_json(numbers)
    return OK


def _doctor(args: argparse.Namespace, warned: list[Warning | str]) -> int:
    from .doctor import examined, text

    found = examined()
    if args.json:
        _print_json(found)
    else:
        _say(text(found))
    return OK if found["ok"] else NOT_OK


def _identify(args: argparse.Namespace, warned: list[Warning | str]) -> int:
    check_targets(args)
    stated = problem(args, needs_y=False)
    from ..api import identify

    report = identify(stated, limits=limits_of(args))
    _draw(args, report)
    if args.json:
        _print_json(report.to_dict())
    else:
        _say(report.text(shell=True))
    return OK if report.unique else NOT_UNIQUE


def _stated(args: argparse.Namespace) -> tuple[Problem, Solver]:
    """The problem, and the solver of --solver."""
    check_targets(args)
    name = name_of_solver(args)
    check_settings(args, [name])
    stated = problem(args)
    return stated, solver(name, args, stated)


def _solve(args: argparse.Namespace, warned: list[Warning | str]) -> int:
    stated, method = _stated(args)
    from ..api import check_noise, solve
    from ..errors import IdentifiabilityError, SolveError

    with reported(ValueError, source=source(args)):
        check_noise(stated, method, args.noise)
    try:
        with reported(SolveError, source=source(args)), _checkpoint_reported(args):
            fit = solve(
                stated,
                method,
                noise=args.noise,
                strict=args.strict,
                checkpoint=args.checkpoint,
                limits=limits_of(args),
            )
    except IdentifiabilityError as error:
        raise Refusal(_in_shell(error), NOT_UNIQUE) from error
    if args.out is not None:
        with reported(OSError):
            fit.save(args.out, force=args.force)
    if args.report is not None:
        with reported(OSError):
            fit.report(args.report, call=args.call, force=args.force)
    _draw(args, fit)
    chosen, errors = fit.regularization, fit.affordable_errors()
    if args.json:
        document = _verdict(fit.identifiability) | {
            "status": fit.status,
            "ok": fit.ok,
            "certificate": fit.certificate,
            "kernel": fit.kernel,
            "bias": fit.bias,
            "lags": fit.lags,
            "times": None if fit.names.fs is None else fit.times,
            **fit.names.to_dict(),
            "impulse_response": fit.impulse_response,
            "score": fit.score()._asdict(),
            "stats": fit.stats,
            "regularization": None if chosen is None else chosen.to_dict(),
            "standard_error": None if errors is None else errors[0],
            "dof": None if errors is None else errors[1],
            "noise": None if errors is None else errors[2]._asdict(),
        }
        _print_json(document)
    else:
        _say(f"{stated}\n{fit}")
    return _worst([fit.status], warned)


def _compare(args: argparse.Namespace, warned: list[Warning | str]) -> int:
    check_targets(args)
    names = [] if args.solvers is None else args.solvers.split(",")
    check_settings(args, names)
    if not names:  # all of them, descent too
        check_device()
    stated = problem(args)
    from ..comparison import compare
    from ..errors import SolveError

    with reported(SolveError, ValueError, source=source(args)):
        table = compare(
            stated,
            {name: solver(name, args, stated) for name in names} or None,
            truth=true_kernel(args, stated),
            limits=limits_of(args),
        )
    _draw(args, table)
    report = table.identifiability
    if args.json:
        document = _verdict(report) | {
            "objective": table.objective._asdict(),
            "rows": table.to_dict(),
            "shared_seconds": table.shared_seconds,
            "skipped": table.skipped,
        }
        _print_json(document)
    else:
        _say(f"{stated}\n{report.verdict}: {report.counting}\n\n{table}")
    found = {fit.status for fit in table.solutions.values()}
    if "interrupted" in found:
        return INTERRUPTED
    if not report.unique:
        return NOT_UNIQUE
    return OK if "solved" in found else NOT_OK


def _cross_validate(args: argparse.Namespace, warned: list[Warning | str]) -> int:
    stated, method = _stated(args)
    from ..errors import SolveError
    from ..held_out import cross_validate

    with reported(SolveError, ValueError, source=source(args)):
        scores = cross_validate(stated, method, folds=folds(args.held_out), limits=limits_of(args))
    if args.json:
        fits = [
            {"status": fit.status, "certificate": fit.certificate, "stats": fit.stats}
            for fit in scores.solutions
        ]
        _print_json(scores._asdict() | {"solutions": fits, **stated.names.to_dict()})
    else:
        _say(f"{stated}\n{scores}")
    return _worst([fit.status for fit in scores.solutions], warned)


def _choose_lags(args: argparse.Namespace, warned: list[Warning | str]) -> int:
    check_targets(args)
    stated = problem(args)
    from ..errors import SolveError
    from ..lag_choice import choose_lags

    with reported(SolveError, ValueError, source=source(args)):
        found = choose_lags(stated, criterion(args, stated), limits=limits_of(args))
    _draw(args, found)
    if args.json:
        _print_json(found._asdict() | {"problem": repr(found.problem)})
    else:
        _say(f"{stated}\n{found}")
    return OK


def _predict(args: argparse.Namespace, warned: list[Warning | str]) -> int:
    check_targets(args)
    from ..solution import load

    with reported(ValueError, OSError):
        fit = load(args.fit)
    x, y = new_data(args, fit)
    if y is None and args.out is None and not args.json:
        raise Refusal("nothing would be kept of the prediction: give --out, --json, or y to score")
    kept = None
    with reported(TypeError, ValueError, source=source(args)):
        score = None if y is None else fit.score(x, y)
        if args.out is not None or args.json:
            kept = fit.predict(x)
    if args.out is not None:
        _write_array(args, kept)
    if args.json:
        scores = None if score is None else score._asdict()
        _print_json({"prediction": kept, "score": scores, **fit.names.to_dict()})
    elif score is not None:
        _say(score.text([fit.names.output(o) for o in range(len(score.r2))]))
    return OK


def _write_array(args: argparse.Namespace, array: Any) -> None:
    from numpy.lib.format import write_array

    from ..files import write_bytes

    content = io.BytesIO()
    write_array(content, array, allow_pickle=False)
    with reported(ValueError, OSError):
        write_bytes(args.out, content.getvalue(), force=args.force)


def _worst(statuses: Sequence[str], warned: list[Warning | str]) -> int:
    """The exit status of some answers."""
    from ..errors import IdentifiabilityWarning

    if "interrupted" in statuses:
        return INTERRUPTED
    if any(isinstance(warning, IdentifiabilityWarning) for warning in warned):
        return NOT_UNIQUE
    return OK if set(statuses) == {"solved"} else NOT_OK


COMMANDS = {
    "demo": _demo,
    "doctor": _doctor,
    "identify": _identify,
    "solve": _solve,
    "compare": _compare,
    "cross-validate": _cross_validate,
    "choose-lags": _choose_lags,
    "predict": _predict,
}


def _draw(args: argparse.Namespace, thing: Any) -> None:
    if args.plot is not None:
        from ..files import write_bytes
        from ..plotting.figures import plot

        picture = io.BytesIO()
        plot(thing).savefig(picture, format=args.plot.suffix[1:])
        with reported(OSError):
            write_bytes(args.plot, picture.getvalue(), force=args.force)


@contextmanager
def _ctrl_c_unprinted() -> Iterator[None]:
    """Hide ignored KeyboardInterrupts, which `sigint_handled` raises again at its end."""
    otherwise = sys.unraisablehook

    def show(ignored: Any) -> None:
        if ignored.exc_type is not KeyboardInterrupt:
            otherwise(ignored)

    sys.unraisablehook = show
    try:
        yield
    finally:
        sys.unraisablehook = otherwise


@contextmanager
def _warnings_reported() -> Iterator[list[Warning | str]]:
    """Warnings to the user become a line on stderr each, and are kept in the list."""
    warned: list[Warning | str] = []
    said: set[str] = set()
    with warnings.catch_warnings():
        otherwise: Callable[..., None] = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
            if not issubclass(category, UserWarning):
                return otherwise(message, category, *where, **more)
            text = _in_shell(message)
            if text.startswith("Glyph "):  # one for every letter that no font here has
                text = "no font here has some letters of the names; boxes are drawn for them"
            if text in said:
                return None
            said.add(text)
            warned.append(message)
            with _bars_aside():
                _say(f"convsolve: warning: {text}", "stderr")
            return None

        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = show
        yield warned


@contextmanager
def _checkpoint_reported(args: argparse.Namespace) -> Iterator[None]:
    """Report an error about the checkpoint as a mistake of the user; it begins with its name."""
    try:
        yield
    except (ValueError, OSError) as error:
        about = isinstance(error, OSError) or str(error).startswith(f"{args.checkpoint}: ")
        if args.checkpoint is None or not about:
            raise
        with reported(ValueError, OSError):
            raise


@contextmanager
def _followed(verbose: bool) -> Iterator[None]:
    """What happens meanwhile: on stderr in words if they were asked for, else as bars of progress
    if a person watches and tqdm is there.
    """
    if verbose:
        with _logged():
            yield
    elif sys.stderr is not None and sys.stderr.isatty() and find_spec("tqdm") is not None:
        from ..progress_bars import bars

        with bars():
            yield
    else:
        yield


@contextmanager
def _bars_aside() -> Iterator[None]:
    """Bars of progress make room for a line on stderr, and come back below it."""
    if "tqdm" not in sys.modules:
        yield
        return
    from tqdm import tqdm

    with tqdm.external_write_mode(file=sys.stderr):
        yield


@contextmanager
def _logged() -> Iterator[None]:
    """The log of the library, a line on stderr each."""
    import logging

    log, handler = logging.getLogger("convsolve"), logging.StreamHandler()
    handler.setFormatter(logging.Formatter("convsolve: %(message)s"))
    before = log.level
    log.addHandler(handler)
    log.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        log.setLevel(before)
        log.removeHandler(handler)


def _in_shell(message: Any) -> str:
    """A warning or an error in one line, its remedies with the options of the command line."""
    text, report = " ".join(str(message).split()), getattr(message, "report", None)
    for remedy in [] if report is None else report.advice:
        text = text.replace(remedy.sentence(), remedy.sentence(shell=True))
    return text


def _verdict(report: Any) -> dict[str, Any]:
    return {
        "data": repr(report.problem),
        "verdict": report.verdict,
        "unique": report.unique,
        "remedies": report.remedies,
    }


def _say(text: str, where: str = "stdout") -> None:
    """A line for whoever reads there, and may have left, as ``head`` does."""
    stream = getattr(sys, where)
    try:
        if stream is not None:
            print(text, file=stream, flush=True)
    except BrokenPipeError:
        # The exit status stays the same, and further output is discarded.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _print_json(document: dict[str, Any]) -> None:
    _say(json.dumps(_plain(document), allow_nan=False))


def _plain(value: Any) -> Any:
    """Convert a value for JSON: arrays become lists, and numbers that are not finite null."""
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value
