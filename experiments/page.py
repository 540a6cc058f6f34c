"""The report as one page that opens anywhere: it loads nothing, in light and dark, on paper and phones."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path

import pandas as pd

STYLE = """
:root { color-scheme: light dark; --line: #8886; --bad: #b3261e; --good: #1b6e3c; }
@media (prefers-color-scheme: dark) { :root { --bad: #ff8a80; --good: #7ddc9f; } }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 62rem; margin: auto; padding: 1rem; }
img { max-width: 100%; height: auto; background: #fff; border-radius: .25rem; }
figure { margin: 1.5rem 0; } figcaption { font-size: .9rem; opacity: .85; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; font-size: .85rem; }
td, th { border-bottom: 1px solid var(--line); padding: .2rem .6rem; text-align: right; white-space: nowrap; }
td:first-child, th:first-child { text-align: left; } pre { overflow-x: auto; font-size: .8rem; }
.answer { border-left: .3rem solid var(--line); padding-left: 1rem; font-size: 1.1rem; }
.bad { color: var(--bad); font-weight: 600; } .good { color: var(--good); }
@media print {
  body { max-width: none; font-size: 9pt; }
  figure, table { break-inside: avoid; }
  .scroll { overflow: visible; }
}
"""


def page(title: str, sections: Mapping[str, str]) -> str:
    """The whole document; `sections` are HTML by heading."""
    body = "\n".join(f"<section><h2>{escape(name)}</h2>\n{html}</section>" for name, html in sections.items())
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n"
        f"<body><main><h1>{escape(title)}</h1>\n{body}</main></body></html>\n"
    )


def paragraph(text: str, kind: str = "") -> str:
    """A paragraph of plain text."""
    return f'<p class="{kind}">{escape(text)}</p>' if kind else f"<p>{escape(text)}</p>"


def verdicts(lines: Iterable[tuple[str, bool]]) -> str:
    """A list of checks; the word says what the colour says."""
    items = (
        f'<li class="{"good" if passed else "bad"}">{"passed" if passed else "FAILED"}: {escape(text)}</li>'
        for text, passed in lines
    )
    return f"<ul>{''.join(items)}</ul>"


def table(frame: pd.DataFrame) -> str:
    """A table; empty cells stay empty."""
    if frame.empty:
        return paragraph("Nothing to show.")
    html = frame.to_html(index=False, na_rep="", border=0, float_format="{:.4g}".format)
    return f'<div class="scroll">{html}</div>'


def download(path: Path) -> str:
    """A link that saves a CSV carried in the page itself."""
    data = base64.b64encode(path.read_bytes()).decode()
    return f'<p><a download="{path.name}" href="data:text/csv;base64,{data}">Download {path.name}</a></p>'


def figure(path: Path, text: str) -> str:
    """A PNG with its text alternative."""
    data = base64.b64encode(path.read_bytes()).decode()
    return (
        f'<figure><img alt="{escape(text, quote=True)}" src="data:image/png;base64,{data}">'
        f"<figcaption>{escape(text)}</figcaption></figure>"
    )


def preformatted(text: str) -> str:
    """Text as it is, folded away."""
    return f"<details><summary>Show</summary><pre>{escape(text)}</pre></details>"
