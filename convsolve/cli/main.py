"""The commands of the command line."""

from __future__ import annotations

import io
import json
import logging
import os
import shlex
import sys
import warnings
from argparse import Namespace
from collections.abc import Callable, Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import convsolve as cs

from ..facts import plain
from ..io import Signal, read, read_members, write, write_new
from .arguments import Command, options_of, parse

OK, NOT_OK, BAD_INPUT, NOT_UNIQUE, INTERRUPTED = 0, 1, 2, 3, 130
# The exit status, and results by their entry in the JSON document; "" for all of the document.
Answer = tuple[int, dict[str, Any]]
# Suffixes of files that are written.
SUFFIXES = {"out": (".npz", ".npy", ".wav"), "plot": (".png", ".pdf", ".svg"), "html": (".html",)}


def _identify(args: Namespace) -> Answer:
    """Report whether x determines the kernel; y is not needed."""
    report = cs.identify(_problem(args), **_given(args, cs.identify))
    return OK if report.unique else NOT_UNIQUE, {"": report}


def _solve(args: Namespace) -> Answer:
    """Recover the kernel."""
    fit = cs.solve(_problem(args), **_given(args, cs.solve))
    if args.out and args.out.endswith(".npz"):
        fit.save(args.out, overwrite=args.overwrite)
    elif args.out:
        _write(args, fit.impulse_response, fit._names.fs)
    if args.html:
        fit.to_html(args.html, call=args.call, overwrite=args.overwrite)
    test = None if args.test is None else fit.test(args.test)
    return _status([fit]), {"": fit} | ({"test": test} if test else {})


def _compare(args: Namespace) -> Answer:
    """Solve by several methods, and compare them."""
    table = cs.compare(_problem(args), **_given(args, cs.compare))
    status = _status(table.solutions.values(), any)
    many = not table.identifiability.unique and status != INTERRUPTED
    return NOT_UNIQUE if many else status, {"": table}


def _cross_validate(args: Namespace) -> Answer:
    """Score predictions of held-out rows."""
    scores = cs.cross_validate(_problem(args), **_given(args, cs.cross_validate))
    return _status(scores.solutions), {"": scores}


def _choose_lags(args: Namespace) -> Answer:
    """Choose the window of lags."""
    return OK, {"": cs.choose_lags(_problem(args), **_given(args, cs.choose_lags))}


def _show(args: Namespace) -> Answer:
    """Print or draw a saved solution."""
    fit = cs.load(args.fit)
    if args.html:
        fit.to_html(args.html, overwrite=args.overwrite)
    return OK, {"": fit}


def _predict(args: Namespace) -> Answer:
    """Predict y of new x by a saved solution, and score it if y is given."""
    fit, (x, y) = cs.load(args.fit), _signals(args)
    names = fit._names
    names.check_same(x.names, y.names)
    if None not in (x.fs, names.fs) and x.fs != names.fs:
        raise ValueError(f"x has {x.fs} samples a second, the kernel {names.fs}; resample x")
    if y.values is None and not (args.out or args.json):
        raise ValueError("the prediction would be discarded: give --out, --json, or y to score")
    how = _given(args, cs.Solution.predict)
    prediction: Any = fit.predict(x.values, **how) if args.out or args.json else None
    if args.out:
        rate = x.fs or names.fs
        _write(args, prediction, rate and rate / fit._spec.stride[0])
    score = None if y.values is None else fit.score(x.values, y.values)
    return OK, {"prediction": prediction, "score": score, **names.to_dict()}


def _demo(args: Namespace) -> Answer:
    """Solve two small problems and a measured response."""
    from .demo import run

    found, fit = run((lambda line: None) if args.json else _print)
    _draw(args, fit)
    return OK, found


def _doctor(args: Namespace) -> Answer:
    """Print versions, BLAS, devices and precision, and solve a test problem."""
    from .doctor import examined, text

    found = examined()
    if not args.json:
        _print(text(found))
    return OK if found["ok"] else NOT_OK, found


DATA, OUTPUT = "data x_columns y_columns config", "json overwrite verbose"
COMMANDS = {
    "demo": Command(_demo, f"plot {OUTPUT}"),
    "doctor": Command(_doctor, OUTPUT),
    "identify": Command(_identify, f"{DATA} plot {OUTPUT}", (cs.Problem, cs.identify)),
    "solve": Command(_solve, f"{DATA} test out html plot {OUTPUT}", (cs.Problem, cs.solve)),
    "compare": Command(_compare, f"{DATA} plot {OUTPUT}", (cs.Problem, cs.compare)),
    "cross-validate": Command(_cross_validate, f"{DATA} {OUTPUT}", (cs.Problem, cs.cross_validate)),
    "choose-lags": Command(_choose_lags, f"{DATA} plot {OUTPUT}", (cs.Problem, cs.choose_lags)),
    "show": Command(_show, f"fit html plot {OUTPUT}"),
    "predict": Command(_predict, f"fit {DATA} out {OUTPUT}", (cs.Solution.predict,)),
}  # fmt: skip


def _status(fits: Iterable[cs.Solution], enough: Callable[..., bool] = all) -> int:
    """Return the exit status of solutions, of which all must be solved, or any."""
    found = [fit.status for fit in fits]
    if "interrupted" in found:
        return INTERRUPTED
    return OK if enough(status == "solved" for status in found) else NOT_OK


def _document(result: Any) -> Any:
    """Return the entry of a result in the JSON document."""
    found = getattr(result, "to_dict", getattr(result, "_asdict", lambda: result))()
    return plain({"rows": found} if hasattr(result, "rows") and isinstance(found, list) else found)


def _given(args: Namespace, function: Callable[..., Any]) -> dict[str, Any]:
    """Return the arguments of a function that are given. On a terminal, it shows bars."""
    found = {name: getattr(args, name) for name in options_of(function)}
    long = function not in (cs.Problem, cs.Solution.predict)
    bars = long and sys.stderr.isatty() and find_spec("tqdm") is not None
    found |= {"progress": True} if bars and not args.verbose else {}
    return {name: value for name, value in found.items() if value is not None}


def _problem(args: Namespace) -> cs.Problem:
    """Return the problem of the arguments, with the names and the rate that files state."""
    x, y = _signals(args)
    if y.values is None and args.command != "identify":
        raise ValueError(f"{' '.join(args.data)}: there is no y")
    rates = {args.fs, x.fs, None if args.fs_y else y.fs} - {None}
    if len(rates) > 1:
        raise ValueError(f"x, y and --fs have several sampling rates, {rates} Hz")
    known: dict[str, Any] = {"fs": min(rates, default=None), "channels": x.names}
    known |= {"outputs": y.names} | _given(args, cs.Problem)
    return cs.Problem(x.values, y.values, **known)


def _signals(args: Namespace) -> tuple[Signal, Signal]:
    """Return x and y of the data files; y has no values if there is none."""
    path, *others = args.data
    columns = args.x_columns or args.y_columns
    if len(others) > 1 or (columns and (others or not args.x_columns)):
        raise ValueError("give X and Y, or one TABLE with --x-columns, and --y-columns for y")
    if args.x_columns:
        found = [read(path, columns=some) for some in (args.x_columns, args.y_columns) if some]
    else:
        found = [read(name) for name in args.data] if others else read_members(path, ("x", "y"))
    return found[0], found[1] if len(found) > 1 else Signal(None)


def _write(args: Namespace, values: Any, fs: float | None) -> None:
    """Write an array to the file of --out."""
    write(args.out, values, fs, overwrite=args.overwrite)


def _draw(args: Namespace, result: Any) -> None:
    """Draw a result to the file of --plot."""
    if args.plot:
        figure = cs.plot(result)
        kind = Path(args.plot).suffix[1:]
        write_new(args.plot, lambda file: figure.savefig(file, format=kind), args.overwrite)


def _print(text: str) -> None:
    """Print a text. The reader may have closed the output, as ``head`` does."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # letters that a terminal lacks
    try:
        print(text, flush=True)
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            raise


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command, by default that of ``sys.argv``, and return its exit status."""
    words = sys.argv[1:] if argv is None else [*argv]
    try:
        args = parse(words, COMMANDS)
        args.call = shlex.join(["convsolve", *words])
        _check_targets(args)
        if args.verbose:
            logging.basicConfig(format="convsolve: %(message)s")
            logging.getLogger("convsolve").setLevel(logging.DEBUG)
        return _run(args)
    except (TypeError, ValueError, OSError, ImportError, MemoryError, RuntimeError) as error:
        line = str(error)
        if isinstance(error, OSError) and error.strerror:
            line = f"{error.filename}: {error.strerror}"
        print("convsolve:", *(line.split() or [type(error).__name__]), file=sys.stderr)
        return NOT_UNIQUE if isinstance(error, cs.IdentifiabilityError) else BAD_INPUT


def _check_targets(args: Namespace) -> None:
    """Raise an error for a file that cannot be written, before anything is computed."""
    targets = {one: Path(path) for one in SUFFIXES if (path := getattr(args, one, None))}
    for option, path in targets.items():
        suffixes = SUFFIXES[option][args.command == "predict" :]
        if path.suffix not in suffixes:
            raise ValueError(f"--{option} {path}: must end in {', '.join(suffixes)}")
        if path.exists() and not args.overwrite:
            raise FileExistsError(f"--{option} {path}: exists; --overwrite overwrites it")
        if not path.parent.is_dir():
            raise FileNotFoundError(f"--{option} {path}: its directory is not there")


def _run(args: Namespace) -> int:
    """Run a command, draw and print its result, and return the exit status."""
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always", UserWarning)
        try:
            status, found = COMMANDS[args.command].run(args)
            if "" in found and "plot" in args:
                _draw(args, found[""])
        finally:
            for text in dict.fromkeys(" ".join(str(one.message).split()) for one in warned):
                print(f"convsolve: warning: {text}", file=sys.stderr)
    if args.json:
        document = {name: _document(one) for name, one in found.items()}
        document |= document.pop("", {})
        _print(json.dumps(document, allow_nan=False, default=repr))
    elif shown := [found[name] for name in ("", "test", "score") if found.get(name) is not None]:
        _print("\n".join(map(str, shown)))
    many = any(isinstance(one.message, cs.IdentifiabilityWarning) for one in warned)
    return NOT_UNIQUE if many and status != INTERRUPTED else status
