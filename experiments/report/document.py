"""What a report consists of, whether it becomes a web page or Markdown: sections of blocks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import pandas as pd

from experiments.report.plotting import Figure
from experiments.report.statistics.checks import Check


class Block:
    """A part of a section."""

    @property
    def kind(self) -> str:
        """What the macros of blocks.html.j2 and blocks.md.j2 know it by."""
        return type(self).__name__.lower()


@dataclass(frozen=True)
class Text(Block):
    """A paragraph."""

    text: str


class Fact(NamedTuple):
    """A line of a card: what is asked, and what is known."""

    question: str
    answer: str


@dataclass(frozen=True)
class Card(Block):
    """What the page is about: what to do, and why."""

    headline: str
    facts: list[Fact]


@dataclass(frozen=True)
class Items(Block):
    """A list; `warning` says that each is a reason to doubt."""

    lines: list[str]
    warning: bool = False


@dataclass(frozen=True)
class Checks(Block):
    """What has to hold, and whether it does."""

    checks: list[Check]


@dataclass(frozen=True)
class Table(Block):
    """A table as people read it, and the numbers behind it as a CSV called `name`."""

    readable: pd.DataFrame
    name: str
    raw: pd.DataFrame


@dataclass(frozen=True)
class Figures(Block):
    """Drawings, beside each other where there is room."""

    figures: list[Figure]


@dataclass(frozen=True)
class Code(Block):
    """Text as it is."""

    text: str
    language: str = ""


@dataclass(frozen=True)
class Folded(Block):
    """What few readers want, behind its title."""

    title: str
    blocks: list[Block]


SHORT = 12
"""Lines of a table that are read through; a longer one is folded."""


def folded_if_long(title: str, table: Table) -> Block:
    """The table itself, or behind its title."""
    return table if len(table.readable) <= SHORT else Folded(title, [table])


@dataclass(frozen=True)
class Section:
    """A heading and what is below it.

    Attributes:
        private: it shows people, and is never published.
        published: it is also on the short page that is published.
        doubts: sentences on what in it disagrees with the answer, or with what was to be expected.
    """

    title: str
    blocks: list[Block] = field(default_factory=list)
    private: bool = False
    published: bool = False
    doubts: list[str] = field(default_factory=list)

    def tables(self) -> Iterator[Table]:
        """All its tables, folded ones included."""
        return _tables(self.blocks)


def _tables(blocks: list[Block]) -> Iterator[Table]:
    for block in blocks:
        if isinstance(block, Table):
            yield block
        if isinstance(block, Folded):
            yield from _tables(block.blocks)
