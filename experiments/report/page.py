"""The report as one page that opens anywhere: it loads nothing, in light and dark, on paper and phones."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterable
from functools import singledispatch
from html import escape
from pathlib import Path
from string import Template

from PIL import Image

from experiments.report.document import Block, Checks, Code, Figures, Folded, Items, Section, Table, Text
from experiments.report.figures.drawing import INK, PAPER, Figure

TEMPLATE = Path(__file__).with_name("report.html")


def page(title: str, sections: Iterable[Section]) -> str:
    """The whole document."""
    sections = list(sections)
    template = Template(TEMPLATE.read_text(encoding="utf-8"))
    return template.substitute(
        title=escape(title),
        contents="".join(map(_link, sections)),
        sections="\n".join(map(_section, sections)),
    )


def _link(part: Section) -> str:
    return f'<li><a href="#{_anchor(part.title)}">{escape(part.title)}</a></li>'


def _section(part: Section) -> str:
    blocks = "\n".join(html(block) for block in part.blocks)
    return f'<section id="{_anchor(part.title)}"><h2>{escape(part.title)}</h2>\n{blocks}</section>'


def _anchor(title: str) -> str:
    return re.sub(r"\W+", "-", title.lower()).strip("-")


@singledispatch
def html(block: Block) -> str:
    """A block as HTML."""
    raise TypeError(f"{type(block).__name__} is no block of a report")


@html.register
def _(block: Text) -> str:
    kind = ' class="answer"' if block.answer else ""
    return f"<p{kind}>{escape(block.text)}</p>"


@html.register
def _(block: Items) -> str:
    kind = ' class="warnings"' if block.warning else ""
    return f"<ul{kind}>{''.join(f'<li>{escape(line)}</li>' for line in block.lines)}</ul>"


@html.register
def _(block: Checks) -> str:
    """The word says what the colour says."""
    items = (
        f'<li class="{"good" if item.passed else "bad"}">'
        f'<span class="verdict">{"passed" if item.passed else "FAILED"}</span>: {escape(item.text)}</li>'
        for item in block.checks
    )
    return f"<ul>{''.join(items)}</ul>"


@html.register
def _(block: Table) -> str:
    shown = block.readable.to_html(index=False, na_rep="", border=0, float_format="{:.4g}".format)
    data = base64.b64encode(block.raw.to_csv(index=False).encode()).decode()
    name = f"{escape(block.name)}.csv"
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{name} as a table">{shown}</div>'
        f'<p class="download"><a download="{name}" href="data:text/csv;base64,{data}">Download {name}</a></p>'
    )


@html.register
def _(block: Figures) -> str:
    return f'<div class="figures">{"".join(_figure(figure) for figure in block.figures)}</div>'


@html.register
def _(block: Code) -> str:
    return f'<pre tabindex="0">{escape(block.text)}</pre>'


@html.register
def _(block: Folded) -> str:
    inside = "\n".join(html(part) for part in block.blocks)
    return f"<details><summary>{escape(block.title)}</summary>{inside}</details>"


def _figure(figure: Figure) -> str:
    picture = _inline(figure) if figure.path.suffix == ".svg" else _embedded(figure)
    return f"<figure>{picture}<figcaption>{escape(figure.caption)}</figcaption></figure>"


def _embedded(figure: Figure) -> str:
    """A picture as a JPEG, which is a fraction of the PNG on disk."""
    jpeg = io.BytesIO()
    Image.open(figure.path).convert("RGB").save(jpeg, "JPEG", quality=90)
    data = base64.b64encode(jpeg.getvalue()).decode()
    return f'<img alt="{escape(figure.alt)}" src="data:image/jpeg;base64,{data}">'


def _shorter(tag: re.Match[str]) -> str:
    """A tag with its coordinates cut to a hundredth of a point; the text between tags keeps its digits."""
    return re.sub(r"(\d\.\d\d)\d+", r"\1", tag[0])


def _inline(figure: Figure) -> str:
    """The drawing as part of the page, in the reader's colours, and with names that no other drawing has."""
    drawing = figure.path.read_text()
    drawing = drawing[drawing.index("<svg") :]
    drawing = re.sub(r"<style.*?</style>", "", drawing, flags=re.DOTALL)  # it would style the whole page
    drawing = re.sub(r"<[^>]+>", _shorter, drawing)
    used = set(re.findall(r'(?:href="|url\()#([^")]+)', drawing))
    prefix = f"{figure.path.stem}-"
    drawing = re.sub(
        r' id="([^"]*)"', lambda found: f' id="{prefix}{found[1]}"' if found[1] in used else "", drawing
    )
    drawing = re.sub(r'(href="|url\()#', rf"\1#{prefix}", drawing)
    drawing = drawing.replace(INK, "currentColor").replace(PAPER, "Canvas")
    box = re.search(r'viewBox="([^"]*)"', drawing)[0]
    start = f'<svg role="img" aria-label="{escape(figure.alt)}" {box}>'
    return re.sub(r"<svg[^>]*>", lambda _: start, drawing, count=1)
