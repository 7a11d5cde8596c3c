"""Docstrings of public names have the sections of the writing style: arguments and an example."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType
from typing import Any

import convsolve as cs

MODULES = ("interop", "interop.events", "interop.mne", "datasets", "io", "sklearn")
# Objects of these classes are returned by functions, and the arguments of abstract classes are
# those of the classes that inherit from them.
NOT_CONSTRUCTED = {cs.Solution, cs.Identifiability}
WITHOUT_FIELDS = {cs.Identifiability, cs.extend.LagBasis}
OWNERS = [
    cs.Identifiability, cs.Problem, cs.Solution, cs.extend.Comparison, cs.extend.Jackknife,
    cs.extend.CrossValidationScores, cs.extend.GroupSolution, cs.extend.LagChoice,
    cs.extend.Regularization, cs.extend.Score, cs.sklearn.ConvRegressor,
]  # fmt: skip
# Methods whose docstrings are not complete.
SHORT = {"Solution.to_dict", "Regularization.only", "Score.to_dict"}
SECTIONS = ("Args", "Attributes", "Returns", "Yields", "Raises", "Warns", "Examples", "See Also")
LINE = re.compile(r"^    (?P<names>\*{0,2}\w+(?:, \*{0,2}\w+)*):", re.MULTILINE)


def public_names(module: ModuleType) -> list[str]:
    """The names that a module lists, or its own functions and classes."""
    listed = getattr(module, "__all__", None)
    own = (n for n, o in vars(module).items() if getattr(o, "__module__", "") == module.__name__)
    return [*(listed or (name for name in own if not name.startswith("_")))]


def documented() -> Iterator[tuple[str, Any]]:
    for name in cs.__all__:
        yield name, getattr(cs, name)
    for name in cs.extend.__all__:
        yield f"extend.{name}", getattr(cs.extend, name)
    for path in MODULES:
        module = import_module(f"convsolve.{path}")
        for name in public_names(module):
            yield f"{path}.{name}", getattr(module, name)
    for owner in OWNERS:
        methods = {n: one for n, one in vars(owner).items() if inspect.isfunction(one)}
        for name in methods:
            # `facts` is explained where it is rendered.
            own = not name.startswith("_") and name != "facts"
            if own and f"{owner.__name__}.{name}" not in SHORT:
                yield f"{owner.__name__}.{name}", methods[name]


DOCUMENTED = dict(documented())


def section(text: str, *titles: str) -> str:
    """The indented lines below a title, of all sections that have one of the titles."""
    found = re.findall(rf"^(?:{'|'.join(titles)}):\n((?:    .*\n|\n)*)", text + "\n", re.MULTILINE)
    return "".join(found)


def faults_of_text(text: str) -> Iterator[str]:
    first = text.split("\n\n")[0]
    if "\n" in first or len(first.split()) > 20:
        yield "has a long first line"
    if "    >>> " not in section(text, "Examples"):
        yield "has no example"
    titles = [t for t in re.findall(r"^(\w[\w ]*):$", text, re.MULTILINE) if t in SECTIONS]
    if titles != [title for title in SECTIONS if title in titles]:
        yield "has sections in another order, or twice"
    for sentence in re.findall(r"^    [\w, ]+: (.*)", section(text, "Raises"), re.MULTILINE):
        if not sentence.startswith(("If ", "As for ")):
            yield f"has a condition without if: {sentence}"


def faults(name: str) -> Iterator[str]:
    """What a docstring lacks."""
    one, text = DOCUMENTED[name], inspect.getdoc(DOCUMENTED[name]) or ""
    yield from faults_of_text(text)
    if inspect.isclass(one):
        if "__doc__" not in vars(one):
            yield "has the docstring of its base"
    elif not section(text, "Returns") and inspect.signature(one).return_annotation != "None":
        yield "does not explain what it returns"
    if one in NOT_CONSTRUCTED or (inspect.isclass(one) and name.startswith("extend.")):
        if not section(text, "Attributes", "Args") and one not in WITHOUT_FIELDS:
            yield "has no attributes"
    elif one is not cs.SolveError:
        lines = LINE.finditer(section(text, "Args", "Attributes"))
        explained = {n.lstrip("*") for line in lines for n in line["names"].split(", ")}
        for argument in inspect.signature(one).parameters.keys() - explained - {"self"}:
            yield f"does not explain {argument}"


def test_docstrings_are_complete() -> None:
    assert [f"{name} {fault}" for name in DOCUMENTED for fault in faults(name)] == []
    assert len(DOCUMENTED) > 90
