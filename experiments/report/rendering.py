"""A report as one page that opens anywhere (it loads nothing), and as Markdown: templates/ has the looks.

Whatever a template writes is escaped, in HTML and in Markdown: names of defences, attacks and judges are a
user's text.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

from experiments.report.document import Block, Code, Section, Table
from experiments.report.formats import csv_text
from experiments.report.plotting import INK, PAPER, Figure

TEMPLATES = Path(__file__).with_name("templates")


def html_page(title: str, sections: Sequence[Section]) -> str:
    """The whole page."""
    return HTML.get_template("report.html.j2").render(title=title, sections=sections)


def html(block: Block) -> str:
    """A block of the page."""
    return str(HTML.get_template("blocks.html.j2").module.show(block))


def markdown_page(title: str, sections: Sequence[Section], folder: str) -> str:
    """The short page: what is not folded, its figures in `folder`."""
    page = MARKDOWN.get_template("page.md.j2")
    return page.render(title=title, sections=sections, folder=folder)


def markdown(block: Block, folder: str = "") -> str:
    """A block of the short page."""
    return str(MARKDOWN.get_template("blocks.md.j2").module.show(block, folder))


def _markdown_text(value: Any) -> Markup:
    """One line in which nothing is markup, neither to Markdown nor to HTML."""
    if hasattr(value, "__html__"):  # a macro's output, escaped already
        return value
    text = " ".join(str(value).split())
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    text = re.sub(r"([\\`*\[\]|~$])", r"\\\1", text)
    text = re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\\_", text)  # within a word it means nothing
    text = re.sub(r"^(#+|[-+]|=+|-{2,})(?=\s|$)", r"\\\1", text)  # what begins headings, lists and rules
    return Markup(re.sub(r"^(\d+)([.)])(?=\s)", r"\1\\\2", text))


def _environment(**options: Any) -> Environment:
    loader = FileSystemLoader(TEMPLATES)
    found = Environment(
        loader=loader,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
        **options,
    )
    found.filters |= {"anchor": _anchor, "cells": _cells}
    found.filters |= {"csv_link": _csv_link, "drawing": _drawing, "fenced": _fenced}
    return found


def _anchor(title: str) -> str:
    return re.sub(r"\W+", "-", title.lower()).strip("-")


def _cells(frame: pd.DataFrame) -> list[list[str]]:
    """The cells, line by line."""
    return [[_cell(value) for value in line] for line in frame.astype(object).to_numpy()]


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return "" if pd.isna(value) else f"{value:.4g}"
    return "" if value is None else str(value)


def _csv_link(table: Table) -> str:
    return f"data:text/csv;base64,{base64.b64encode(csv_text(table.raw).encode()).decode()}"


def _fenced(block: Code) -> Markup:
    """Between fences that are longer than any within."""
    fence = "`" * max(3, *(1 + len(run) for run in re.findall("`+", block.text)), 3)
    return Markup(f"{fence}{block.language}\n{block.text.rstrip()}\n{fence}")


def _drawing(figure: Figure) -> Markup:
    return _inline(figure) if figure.path.suffix == ".svg" else _embedded(figure)


def _embedded(figure: Figure) -> Markup:
    """A picture as a JPEG, which is a fraction of the PNG on disk."""
    jpeg = io.BytesIO()
    Image.open(figure.path).convert("RGB").save(jpeg, "JPEG", quality=90)
    data = base64.b64encode(jpeg.getvalue()).decode()
    return Markup('<img alt="{}" src="data:image/jpeg;base64,{}">').format(figure.alt, data)


def _shorter(tag: re.Match[str]) -> str:
    """A tag with its coordinates cut to a hundredth of a point; the text between tags keeps its digits."""
    return re.sub(r"(\d\.\d\d)\d+", r"\1", tag[0])


def _inline(figure: Figure) -> Markup:
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
    return Markup(re.sub(r"<svg[^>]*>", lambda _: start, drawing, count=1))


HTML = _environment()
MARKDOWN = _environment(finalize=_markdown_text)
