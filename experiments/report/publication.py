"""A study's results as a Markdown page that may be published: without faces, people and absolute paths."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from functools import singledispatch
from pathlib import Path

import pandas as pd

from experiments.report.document import Block, Checks, Code, Figures, Folded, Items, Section, Table, Text


def publish(title: str, sections: Iterable[Section], path: Path) -> None:
    """Write the page, and its figures into a folder of its name beside it. Private sections are left out."""
    public = [section for section in sections if not section.private]
    folder = path.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    for old in (*folder.glob("*.png"), *folder.glob("*.svg")):
        old.unlink()
    for section in public:
        for block in section.every(Figures):
            for figure in block.figures:
                shutil.copy(figure.path.with_suffix(".png"), folder)
    path.write_text(markdown(title, public, folder.name))


def markdown(title: str, sections: Iterable[Section], folder: str) -> str:
    """The page, with its figures in `folder`."""
    parts = [f"# {title}"]
    for section in sections:
        parts += [f"## {section.title}", *(_block(block, folder) for block in section.blocks)]
    return "\n\n".join(parts) + "\n"


@singledispatch
def _block(block: Block, folder: str) -> str:
    raise TypeError(f"{type(block).__name__} is no block of a report")


@_block.register
def _(block: Text, folder: str) -> str:
    return f"**{block.text}**" if block.answer else block.text


@_block.register
def _(block: Items, folder: str) -> str:
    return "\n".join(f"- {'**Warning:** ' * block.warning}{line}" for line in block.lines)


@_block.register
def _(block: Checks, folder: str) -> str:
    return "\n".join(f"- {'passed' if item.passed else '**FAILED**'}: {item.text}" for item in block.checks)


@_block.register
def _(block: Table, folder: str) -> str:
    return _table(block.readable)


@_block.register
def _(block: Figures, folder: str) -> str:
    return "\n\n".join(
        f"![{figure.alt}]({folder}/{figure.path.with_suffix('.png').name})" for figure in block.figures
    )


@_block.register
def _(block: Code, folder: str) -> str:
    return f"```{block.language}\n{block.text}```"


@_block.register
def _(block: Folded, folder: str) -> str:
    inside = "\n\n".join(_block(part, folder) for part in block.blocks)
    return f"<details><summary>{block.title}</summary>\n\n{inside}\n\n</details>"


def _table(frame: pd.DataFrame) -> str:
    lines = [frame.columns, ["---"] * len(frame.columns), *frame.astype(str).to_numpy()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
