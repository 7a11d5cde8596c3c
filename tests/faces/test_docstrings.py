"""Docstrings of public names have the sections of the writing style: arguments and an example."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType
from typing import Any

import pytest

import convsolve as cs

MODULES = ("interop", "interop.events", "interop.mne", "interop.mtrf", "datasets", "io", "sklearn")
# Objects of these classes are returned by functions, and the arguments of abstract classes are
# those of the classes that inherit from them.
NOT_CONSTRUCTED = {cs.Solution, cs.Identifiability, cs.Loss, cs.NoiseModel, cs.Solver}
METHODS = {
    cs.Identifiability: ("descent", "leverage", "plot", "resolution", "ridge_for", "to_dict"),
    cs.Problem: ("plot",),
    cs.Solution: (
        "confidence_band",
        "covariance",
        "jackknife",
        "permutation_test",
        "plot",
        "predict",
        "residuals",
        "save",
        "score",
        "test",
        "to_dataframe",
        "to_html",
        "to_xarray",
    ),
    cs.results.Comparison: ("plot", "to_dataframe", "to_dict"),
    cs.results.Jackknife: ("confidence_band",),
    cs.results.LagChoice: ("plot",),
    cs.results.Regularization: ("plot", "to_dict"),
    cs.results.Score: ("r2_interval", "text"),
    cs.sklearn.ConvRegressor: ("fit", "predict", "score"),
}
LINE = re.compile(r"^    (?P<names>\*{0,2}\w+(?:, \*{0,2}\w+)*):", re.MULTILINE)


def public_names(module: ModuleType) -> list[str]:
    """The names that a module lists, or its own functions and classes."""
    listed = getattr(module, "__all__", None)
    own = (n for n, o in vars(module).items() if getattr(o, "__module__", "") == module.__name__)
    return [*(listed or (name for name in own if not name.startswith("_")))]


def documented() -> Iterator[tuple[str, Any]]:
    for name in cs.__all__:
        yield name, getattr(cs, name)
    for name in cs.results.__all__:
        yield f"results.{name}", getattr(cs.results, name)
    for path in MODULES:
        module = import_module(f"convsolve.{path}")
        for name in public_names(module):
            yield f"{path}.{name}", getattr(module, name)
    for owner, methods in METHODS.items():
        for name in methods:
            yield f"{owner.__name__}.{name}", getattr(owner, name)


DOCUMENTED = dict(documented())
each = pytest.mark.parametrize("name", DOCUMENTED)


def section(text: str, *titles: str) -> str:
    """The indented lines below a title, of all sections that have one of the titles."""
    found = re.findall(rf"^(?:{'|'.join(titles)}):\n((?:    .*\n|\n)*)", text + "\n", re.MULTILINE)
    return "".join(found)


def explained(text: str) -> set[str]:
    """The names of arguments in a docstring."""
    lines = LINE.finditer(section(text, "Args", "Attributes"))
    return {name.lstrip("*") for line in lines for name in line["names"].split(", ")}


def arguments(one: Any) -> set[str]:
    """The names of the arguments of a function or a class."""
    names = [*inspect.signature(one).parameters]
    return {name for name in names if name != "self"}


def docstring(name: str) -> str:
    one = DOCUMENTED[name]
    if inspect.isclass(one):
        assert "__doc__" in vars(one), f"{name} has the docstring of its base"
    return inspect.getdoc(one) or ""


@each
def test_a_docstring_has_an_example(name: str) -> None:
    lines = section(docstring(name), "Examples").splitlines()
    assert any(line.startswith("    >>> ") for line in lines)


@each
def test_a_docstring_explains_all_arguments(name: str) -> None:
    one = DOCUMENTED[name]
    if one in NOT_CONSTRUCTED or (inspect.isclass(one) and name.startswith("results.")):
        assert section(docstring(name), "Attributes") or one is cs.Identifiability
    elif one is not cs.SolveError:
        assert arguments(one) <= explained(docstring(name))


@each
def test_sections_of_a_docstring_are_in_order(name: str) -> None:
    titles = re.findall(r"^(\w[\w ]*):$", docstring(name), re.MULTILINE)
    known = ("Args", "Attributes", "Returns", "Yields", "Raises", "Warns", "Examples", "See Also")
    found = [known.index(title) for title in titles if title in known]
    assert found == sorted(found)
    assert len(set(found)) == len(found)


@each
def test_a_docstring_explains_what_is_returned_and_raised(name: str) -> None:
    one, text = DOCUMENTED[name], docstring(name)
    if not inspect.isclass(one) and inspect.signature(one).return_annotation not in ("None", None):
        assert section(text, "Returns")
    for sentence in re.findall(r"^    [\w, ]+: (.*)", section(text, "Raises"), re.MULTILINE):
        assert sentence.startswith(("If ", "As for "))


def test_the_first_line_of_a_docstring_is_short() -> None:
    lines = {name: docstring(name).split("\n\n")[0] for name in DOCUMENTED}
    assert {name: line for name, line in lines.items() if len(line.split()) > 20} == {}
    assert {name: line for name, line in lines.items() if "\n" in line} == {}
