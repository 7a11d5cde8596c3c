"""The documentation has everything: names, examples, pages. What it says is executed by its build.

None of this needs Sphinx: `.ci/run` builds the pages, without a warning, and runs their code.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import convsolve as cs
from convsolve.components import CLASSES

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
# Built there, or not a page.
LEFT_OUT = {"_build", "gallery", "README"}
PAGES = [
    page
    for page in sorted((*DOCS.rglob("*.md"), *DOCS.rglob("*.rst")))
    if not LEFT_OUT & {*page.relative_to(DOCS).parts, page.stem}
]
REFERENCE = "\n".join(page.read_text(encoding="utf-8") for page in sorted(DOCS.glob("api/*.rst")))
# What the doctest builder executes, and what only it may have.
EXECUTED = {"{testcode}", "{testoutput}", "{testsetup}", "{testcleanup}", "{testshell}"}
INSTALLS = ("python3 -m venv .venv", ".venv/bin/")


def test_public_names_components_and_modules_are_in_the_reference() -> None:
    names = re.findall(r"^\.\. auto(?:class|function|exception):: ([\w.]+)", REFERENCE, re.M)
    explained = Counter(name.removeprefix("convsolve.") for name in names)
    assert {*cs.__all__, *(f"extend.{name}" for name in cs.extend.__all__)} <= set(explained)
    assert set(explained.values()) == {1}
    listed = re.findall(r"^   (\w+)$", (DOCS / "api/index.rst").read_text(encoding="utf-8"), re.M)
    assert set(cs.__all__) <= set(listed)
    rows = re.findall(
        r"^   \* - (``.*``)\n     -(?: :py:class:`~convsolve\.(\w+)`)?$", REFERENCE, re.M
    )
    named = {name: cls for names, cls in rows for name in re.findall(r"``(\w+)``", names)}
    components = {name: one for classes in CLASSES.values() for name, one in classes.items()}
    assert named.keys() == components.keys()
    for name, one in components.items():
        # Methods without settings have a name and no public class.
        cls = getattr(one, "func", one).__name__
        assert named[name] == (cls if cls in cs.__all__ else ""), name
    modules = {path.stem for path in (ROOT / "convsolve/interop").glob("[!_]*.py")}
    wanted = {
        "convsolve.interop",
        "convsolve.sklearn",
        *(f"convsolve.interop.{m}" for m in modules),
    }
    assert wanted <= set(re.findall(r"^\.\. automodule:: ([\w.]+)", REFERENCE, re.M))


def test_the_code_of_a_page_is_executed() -> None:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for kind, code in re.findall(r"^`{3,}(\S*).*\n(.*?)^`{3,}$", text, re.M | re.S):
            if kind == "sh":
                assert all(line.startswith(INSTALLS) for line in code.splitlines() if line), code
            else:
                # There is no MATLAB here; an empty kind is text.
                assert kind in EXECUTED | {"{toctree}", "{include}", "matlab", ""}, (kind, code)
            assert kind or ">>>" not in code
