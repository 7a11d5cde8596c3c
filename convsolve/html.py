"""Pieces of HTML: facts, tables, pictures, and a page that needs nothing from elsewhere."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape

STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0; background: #fff; color: #1a1a1a;
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 72rem; margin: 0 auto; padding: 1.5rem 1rem 3rem; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .5rem; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .6rem; padding-bottom: .2rem;
  border-bottom: 1px solid #ccc; }
p { margin: .5rem 0; max-width: 50rem; }
.lead { font-size: 1.05rem; }
.warning { border-left: 4px solid #d55e00; padding: .1rem 0 .1rem .8rem; }
dl { display: grid; grid-template-columns: minmax(7rem, max-content) 1fr;
  gap: .15rem 1rem; margin: .6rem 0; }
dt { color: #555; }
dd { margin: 0; overflow-wrap: anywhere; }
pre { background: #f4f4f4; padding: .7rem .9rem; border-radius: 4px; white-space: pre-wrap;
  overflow-wrap: anywhere; font-size: .9rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: .6rem 0; }
th, td { padding: .2rem .8rem .2rem 0; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
thead th { border-bottom: 1px solid #999; font-weight: 600; }
tbody tr:nth-child(even) { background: #f7f7f7; }
.pictures { display: grid; gap: 1rem;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); }
figure { margin: .6rem 0; }
img { max-width: 100%; height: auto; display: block; }
footer { margin-top: 3rem; color: #555; font-size: .9rem; }
@media print {
  @page { margin: 1.5cm; }
  body { font-size: 10pt; }
  main { max-width: none; padding: 0; }
 .pictures { grid-template-columns: repeat(2, 1fr); }
  figure, table, dl, .warning { break-inside: avoid; }
  h2 { break-after: avoid; }
  .scroll { overflow: visible; }
  * { -webkit-print-color-adjust: exact; print-color-adjust: exact; }
}
"""


def paragraph(text: str, kind: str = "") -> str:
    """Return a paragraph of plain ``text``, of a class in `STYLE`."""
    return f"<p class='{kind}'>{escape(text)}</p>" if kind else f"<p>{escape(text)}</p>"


def facts(entries: Iterable[tuple[str, str]]) -> str:
    """Return a list of labels and texts. A text without a label continues the previous one."""
    pairs = "".join(f"<dt>{escape(label)}</dt><dd>{escape(words)}</dd>" for label, words in entries)
    return f"<dl>{pairs}</dl>"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table with names in its first column and numbers in the others."""
    top = "".join(f"<th scope='col'>{escape(cell)}</th>" for cell in head)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return (
        f"<div class='scroll'><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody>"
        "</table></div>"
    )


def code(text: str) -> str:
    """Lines of a program."""
    return f"<pre>{escape(text)}</pre>"


def picture(png: bytes, described: str) -> str:
    """Return a picture as part of the page, with ``described`` as its alternative text."""
    data = base64.b64encode(png).decode()
    return f"<figure><img src='data:image/png;base64,{data}' alt='{escape(described)}'></figure>"


def pictures(*several: str) -> str:
    """Pictures side by side, as many as there is room for."""
    return f"<div class='pictures'>{''.join(several)}</div>"


def section(title: str, *parts: str) -> str:
    """Return a section with a headline."""
    return f"<section><h2>{escape(title)}</h2>{''.join(parts)}</section>"


def page(title: str, lead: str, sections: Iterable[str], foot: str) -> str:
    """Return a whole page, which loads nothing from the network."""
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    return (
        "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>"
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>"
        f"<body><main><h1>{escape(title)}</h1>{paragraph(lead, 'lead')}{''.join(sections)}"
        f"<footer>{escape(foot)}</footer></main></body></html>\n"
    )
