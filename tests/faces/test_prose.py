"""Texts are plain English: they have no patterns that are hard to read.

Texts are the pages, and the docstrings, comments and messages of the package.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = ["README.md", "CONTRIBUTING.md", *(f"docs/{p.name}" for p in (ROOT / "docs").glob("*.md"))]
PAGES += [f"docs/guides/{p.name}" for p in (ROOT / "docs/guides").glob("*.md")]
MODULES = sorted(str(p.relative_to(ROOT)) for p in (ROOT / "convsolve").rglob("*.py"))
PATTERNS = {
    r"(?:^|(?<=[.;:] ))Of (?!course)": "starts with 'Of'",
    r"\b(?:that|those) of (?:a|an|the|all|its|which|those|that)\b": "'that of' for a noun",
    r"\bwhat (?:x|y|it|is|was|they|has|takes|comes|ran|noise|stands|lasts|all)\b": "'what' as noun",
    r"\b(?:anew|mends?|mended|likewise|alike|beside|hitherto|thereof)\b": "archaic word",
    r"\b(?:is|are|be|was|were) (?:told|said to|spoken of|heard|looked (?:for|at|into))\b": "saying",
    r"\bsays? (?:so|how|what|that|which|if|whether|why)\b": "software that says",
    r"\b(?:tells?|told|knows?|believes?|hears?|heard)\b": "software that tells, knows or hears",
    r"\b(?:rows?|samples?) that counts?\b": "'rows that count'",
    r"\bin place of\b": "use 'instead of'",
    r"\b(?:doors?|faces?)\b": "metaphor",
    r"\btaken off\b": "use 'subtracted'",
}
LONGEST = 25


def prose(page: str) -> str:
    """The text of a page without code."""
    text = re.sub(r"```.*?```", "", (ROOT / page).read_text(encoding="utf-8"), flags=re.S)
    return re.sub(r":::.*", "", without_code(text))


def without_code(text: str) -> str:
    """A text without its examples, names of arguments and keys."""
    text = re.sub(r"^ *>>> .*\n(?:(?! *>>>).*\S.*\n)*", "", text, flags=re.MULTILINE)
    return re.sub(r"`+[^`]*`+", "code", text)


def texts(module: str) -> list[str]:
    """Docstrings, comments and messages of a module. Strings of fewer than 4 words are no text."""
    source = (ROOT / module).read_text(encoding="utf-8")
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.JoinedStr | ast.Constant):
            values = getattr(node, "values", [node])
            text = "".join(str(v.value) if isinstance(v, ast.Constant) else "…" for v in values)
            found += [text] if len(text.split()) > 3 else []
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            found.append(token.string.lstrip("# "))
    return [" ".join(without_code(f"{text}\n").split()) for text in found]


def long_sentences(text: str) -> Iterator[str]:
    plain = re.sub(r"^\s*(\||#|>|!|-\s*$).*$", "", text, flags=re.MULTILINE)
    for paragraph in re.split(r"\n\s*\n|\n\s*[-*] ", plain):
        for sentence in re.split(r"(?<=[.!?:;])\s+", " ".join(paragraph.split())):
            if len(sentence.split()) > LONGEST:
                yield f"long: {sentence}"


def patterns(text: str) -> Iterator[str]:
    for pattern, why in PATTERNS.items():
        for match in re.finditer(pattern, text, re.MULTILINE):
            around = text[max(0, match.start() - 40) : match.end() + 40]
            yield f"{why}: … {' '.join(around.split())} …"


def faults(path: str) -> list[str]:
    if path.endswith(".md"):
        return [*patterns(prose(path)), *long_sentences(prose(path))]
    return [fault for text in dict.fromkeys(texts(path)) for fault in patterns(text)]


def test_texts_have_no_faults() -> None:
    found = [f"{path}: {fault}" for path in PAGES + MODULES for fault in faults(path)]
    assert not found, "\n".join(["", *found])


def test_faults_are_found() -> None:
    assert [*patterns("Of noise what it knows is told.")] != []
    assert len([*long_sentences("word " * 26 + ".")]) == 1
    assert [*long_sentences("word " * 25)] == []
