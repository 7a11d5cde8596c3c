"""The commands of the command line."""

from __future__ import annotations

import argparse
import io
import json
import os
import shlex
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import ReadError
from ..text import line, plain
from .arguments import Refusal, check_targets, limits_of, parse, reported
from .data import check_test, new_data, problem, source, test_of
from .methods import (
    check_device,
    check_settings,
    compared,
    criterion,
    keywords,
    true_kernel,
)

if TYPE_CHECKING:
    from ..problem.problem import Problem

OK, NOT_OK, BAD_INPUT, NOT_UNIQUE, INTERRUPTED = 0, 1, 2, 3, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command, by default that of ``sys.argv``, and return its exit status."""
    try:
        for stream in (sys.stdout, sys.stderr):
            # A terminal that lacks a sign of the mathematics shows a question mark for it.
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="replace")
        args = parse(argv)
        args.call = shlex.join(["convsolve", *(sys.argv[1:] if argv is None else argv)])
        verbose = getattr(args, "verbose", False)
        with _warnings_reported() as warned, _followed(verbose):
            check_targets(args)
            answer = COMMANDS[args.command](args, warned)
            _give(args, answer)
    except Refusal as refusal:
        _say(f"convsolve: {refusal}", "stderr")
        return refusal.status
    except ReadError as error:  # of data that are read in blocks
        _say(f"convsolve: {error}", "stderr")
        return BAD_INPUT
    except KeyboardInterrupt:
        _say("convsolve: interrupted", "stderr")
        return INTERRUPTED
    except MemoryError:
        hint = "give fewer taps, less padding or a part of the records"
        _say(f"convsolve: too large for the memory of this machine; {hint}", "stderr")
        return BAD_INPUT
    except OSError as error:
        _say(f"convsolve: the output cannot be written: {error.strerror}", "stderr")
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return NOT_OK
    return answer.status


class Answer(NamedTuple):
    """The result of a command.

    Attributes:
        status: the exit status.
        document: returns the JSON document, which is printed with --json.
        text: returns the text, which is printed otherwise; None if there is none.
        drawn: the object that --plot draws, or None.
    """

    status: int
    document: Callable[[], Any]
    text: Callable[[], str | None]
    drawn: Any = None


def _give(args: argparse.Namespace, answer: Answer) -> None:
    """Draw and print an answer."""
    if answer.drawn is not None and args.plot is not None:
        from ..plotting.figures import plot

        picture = io.BytesIO()
        plot(answer.drawn).savefig(picture, format=args.plot.suffix[1:])
        _write(args, args.plot, picture.getvalue())
    if args.json:
        _say(json.dumps(plain(answer.document()), allow_nan=False))
        return
    text = answer.text()
    if text is not None:
        _say(text)


def _demo(args: argparse.Namespace, warned: list[Warning | str]) -> Answer:
    check_device()
    from .demo import run

    numbers = run((lambda line: None) if args.json else _say, args.plot, args.overwrite)
    return Answer(OK, lambda: numbers, lambda: None)


def _doctor(args: argparse.Namespace, warned: list[Warning | str]) -> Answer:
    from .doctor import examined, text

    found = examined()
    return Answer(OK if found["ok"] else NOT_OK, lambda: found, lambda: text(found))


def _identify(args: argparse.Namespace, warned: list[Warning | str]) -> Answer:
    stated = problem(args, needs_y=False)
    from ..api import identify

    report = identify(stated, limits=limits_of(args))
    status = OK if report.unique else NOT_UNIQUE
    return Answer(status, report.to_dict, lambda: str(report), report)


def _stated(args: argparse.Namespace) -> tuple[Problem, dict[str, Any]]:
    """Return the problem, and the arguments of `solve` that state the method."""
    check_settings(args)
    stated = problem(args)
    return stated, keywords(args, stated)


def _solve(args: argparse.Namespace, warned: list[Warning | str]) -> Answer:
    stated, method = _stated(args)
    check_test(args, stated, method)
    from ..api import solve
    from ..errors import IdentifiabilityError, SolveError

    try:
        with reported(SolveError, source=source(args)):
            fit = solve(stated, **method, strict=args.strict, limits=limits_of(args))
    except IdentifiabilityError as error:
        raise Refusal(str(error), NOT_UNIQUE) from error
    with reported(OSError):
        if args.out is not None:
            fit.save(args.out, overwrite=args.overwrite)
        if args.html is not None:
            # The command is repeated with its output files in place.
            call = args.call if args.overwrite else f"{args.call} --overwrite"
            fit.to_html(args.html, call=call, overwrite=args.overwrite)
    test = test_of(args, fit)
    status = _worst([fit.status], warned)

    def document() -> dict[str, Any]:
        return fit.to_dict() | ({} if test is None else {"test": test._asdict()})

    def text() -> str:
        from ..problem.description import MARGIN, sizes_sentence

        found = f"{line('Data', sizes_sentence(stated), MARGIN)}\n{fit}"
        if test is None:
            return found
        weighted = isinstance(args.test, dict)
        words = [f"{c}={w:g}" for c, w in args.test.items()] if weighted else args.test
        return f"{found}\nTest of {', '.join(words)}\n{test}"

    return Answer(status, document, text, fit)


def _compare(args: argparse.Namespace, warned: list[Warning | str]) -> Answer:
    check_settings(args)
    if args.methods is None:  # all of them, descent too
        check_device()
    stated = problem(args)
    from ..comparison import compare
    from ..errors import SolveError

    with reported(SolveError, ValueError, source=source(args)):
        table = compare(
            stated,
            **compared(args, stated),
            truth=true_kernel(args, stated),
            limits=limits_of(args),
        )
    report = table.identifiability
    found = {fit.status for fit in table.solutions.values()}
    if "interrupted" in found:
        status = INTERRUPTED
    elif not report.unique:
        status = NOT_UNIQUE
    else:
        status = OK if "solved" in found else NOT_OK

    def document() -> dict[str, Any]:
        return report._verdict_entries() | {
            "rows": table.to_dict(),
            "shared_seconds": table.shared_seconds,
            "skipped": table.skipped,
        }

    def text() -> str:
        from ..identifiability.report import MARGIN
        from ..identifiability.wording import verdict
        from ..text import line

        return f"{stated}\n{line('Verdict', verdict(report._diagnosis), MARGIN)}\n\n{table}"

    return Answer(status, document, text, table)


def _cross_validate(args: argparse.Namespace, warned: list[Warning | str]) -> Answer:
    stated, method = _stated(args)
    from ..errors import SolveError
    from ..held_out import cross_validate

    with reported(SolveError, ValueError, source=source(args)):
        scores = cross_validate(stated, **method, folds=args.held_out, limits=limits_of(args))
    fits = [
        {
            "status": fit.status,
            "backward_error": fit.backward_error,
            "duality_gap": fit.duality_gap,
            "stats": fit.stats,
        }
        for fit in scores.solutions
    ]
    document = scores._asdict() | {"solutions": fits, **stated._names.to_dict()}
    status = _worst([fit.status for fit in scores.solutions], warned)
    return Answer(status, lambda: document, lambda: f"{stated}\n{scores}")


def _choose_lags(args: argparse.Namespace, warned: list[Warning | str]) -> Answer:
    with reported(ValueError):
        criterion(args, None)
    stated = problem(args)
    from ..errors import SolveError
    from ..lag_choice import choose_lags

    with reported(SolveError, ValueError, source=source(args)):
        found = choose_lags(stated, criterion(args, stated) or "bic", limits=limits_of(args))
    document = found._asdict() | {"problem": repr(found.problem)}
    return Answer(OK, lambda: document, lambda: f"{stated}\n{found}", found)


def _show(args: argparse.Namespace, warned: list[Warning | str]) -> Answer:
    from ..solution import load

    with reported(ValueError, OSError):
        fit = load(args.fit)
        if args.html is not None:
            fit.to_html(args.html, overwrite=args.overwrite)
    return Answer(OK, fit.to_dict, lambda: str(fit), fit)


def _predict(args: argparse.Namespace, warned: list[Warning | str]) -> Answer:
    from ..solution import load

    with reported(ValueError, OSError):
        fit = load(args.fit)
    x, y = new_data(args, fit)
    if y is None and args.out is None and not args.json:
        raise Refusal("the prediction would be discarded: give --out, --json, or y to score")
    kept: Any = None
    score = None
    with reported(TypeError, ValueError, source=source(args)):
        if y is not None:
            score = fit.score(x, y)
        if args.out is not None or args.json:
            kept = fit.predict(x)
    if args.out is not None:
        from numpy.lib.format import write_array

        content = io.BytesIO()
        write_array(content, kept, allow_pickle=False)
        _write(args, args.out, content.getvalue())
    document = {"prediction": kept, "score": score and score._asdict(), **fit._names.to_dict()}
    return Answer(OK, lambda: document, lambda: score and str(score))


def _write(args: argparse.Namespace, path: Path, content: bytes) -> None:
    from ..files import replacing

    with reported(OSError), replacing(path, args.overwrite) as file:
        file.write(content)


def _worst(statuses: Sequence[str], warned: list[Warning | str]) -> int:
    """Return the exit status of some solutions."""
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
    "show": _show,
    "predict": _predict,
}


@contextmanager
def _warnings_reported() -> Iterator[list[Warning | str]]:
    """Print warnings to the user as lines on stderr, and keep them in the yielded list."""
    warned: list[Warning | str] = []
    said: set[str] = set()
    with warnings.catch_warnings():
        otherwise: Callable[..., None] = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
            if not issubclass(category, UserWarning):
                return otherwise(message, category, *where, **more)
            text = " ".join(str(message).split())
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
def _followed(verbose: bool) -> Iterator[None]:
    """Report the progress on stderr: as log lines with --verbose, else as progress bars.

    The bars need tqdm, and are drawn only on a terminal.
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
    """Remove the progress bars while a line is written to stderr."""
    if "tqdm" not in sys.modules:
        yield
        return
    from tqdm import tqdm

    with tqdm.external_write_mode(file=sys.stderr):
        yield


@contextmanager
def _logged() -> Iterator[None]:
    """Write the log of the library to stderr."""
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


def _say(text: str, where: str = "stdout") -> None:
    """Print a line. The reader may have closed the stream, as ``head`` does."""
    stream = getattr(sys, where)
    try:
        if stream is not None:
            print(text, file=stream, flush=True)
    except BrokenPipeError:
        # The exit status stays the same, and further output is discarded.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
