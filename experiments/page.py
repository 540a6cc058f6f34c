"""The report as one page that opens anywhere: it loads nothing, in light and dark, on paper and phones."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path

import pandas as pd

from experiments.figures import Words

STYLE = """
:root { color-scheme: light dark; --line: #8886; --bad: #b3261e; --good: #1b6e3c; --soft: #8881; }
@media (prefers-color-scheme: dark) { :root { --bad: #ff8a80; --good: #7ddc9f; } }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 70rem; margin: auto; padding: 1rem; }
h1 { margin-bottom: 0; } h2 { margin: 2.2rem 0 .5rem; font-size: 1.25rem; } p, ul { max-width: 46rem; }
img { max-width: 100%; height: auto; box-sizing: border-box; padding: .3rem; }
img { background: #fff; border-radius: .25rem; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 28rem), 1fr)); gap: 1rem; }
figure { margin: 0; } figcaption { font-size: .9rem; opacity: .85; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; font-size: .85rem; }
td, th { border-bottom: 1px solid var(--line); padding: .2rem .8rem .2rem 0; }
td, th { text-align: left; white-space: nowrap; }
td { font-variant-numeric: tabular-nums; } tr:hover td { background: var(--soft); }
pre { overflow-x: auto; font-size: .8rem; } summary { cursor: pointer; }
.answer { border-left: .3rem solid var(--line); padding: .2rem 0 .2rem 1rem; font-size: 1.15rem; }
ul { padding-left: 1.2rem; } .bad { color: var(--bad); font-weight: 600; }
.good::marker { color: var(--good); }
.verdict { font-weight: 600; } .good .verdict { color: var(--good); }
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
        f'<li class="{"good" if passed else "bad"}">'
        f'<span class="verdict">{"passed" if passed else "FAILED"}</span>: {escape(text)}</li>'
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


def figures(drawn: Mapping[Path, Words]) -> str:
    """PNGs, two beside each other where there is room."""
    return f'<div class="figures">{"".join(_figure(path, words) for path, words in drawn.items())}</div>'


def _figure(path: Path, words: Words) -> str:
    data = base64.b64encode(path.read_bytes()).decode()
    return (
        f'<figure><img alt="{escape(words.alt, quote=True)}" src="data:image/png;base64,{data}">'
        f"<figcaption>{escape(words.caption)}</figcaption></figure>"
    )


def preformatted(text: str) -> str:
    """Text as it is."""
    return f"<pre>{escape(text)}</pre>"


def folded(title: str, html: str) -> str:
    """Something that few readers want, behind its title."""
    return f"<details><summary>{escape(title)}</summary>{html}</details>"
