"""What a report consists of, whether it becomes a web page or Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import pandas as pd

from experiments.report.checks import Check
from experiments.report.figures.drawing import Figure


@dataclass(frozen=True)
class Text:
    """A paragraph; `answer` sets it off as what the page is about."""

    text: str
    answer: bool = False


@dataclass(frozen=True)
class Items:
    """A list; `warning` says that each is a reason to doubt."""

    lines: list[str]
    warning: bool = False


@dataclass(frozen=True)
class Checks:
    """What has to hold, and whether it does."""

    checks: list[Check]


@dataclass(frozen=True)
class Table:
    """A table as people read it, and the numbers behind it as a CSV called `name`."""

    readable: pd.DataFrame
    name: str
    raw: pd.DataFrame


@dataclass(frozen=True)
class Figures:
    """Drawings, beside each other where there is room."""

    figures: list[Figure]


@dataclass(frozen=True)
class Code:
    """Text as it is."""

    text: str
    language: str = ""


@dataclass(frozen=True)
class Folded:
    """What few readers want, behind its title."""

    title: str
    blocks: list[Block]


Block = Text | Items | Checks | Table | Figures | Code | Folded


@dataclass(frozen=True)
class Section:
    """A heading and what is below it. A private one shows people, and is never published."""

    title: str
    blocks: list[Block] = field(default_factory=list)
    private: bool = False

    def every(self, kind: type) -> Iterator[Block]:
        """All its blocks of one kind, folded ones included."""
        return _every(self.blocks, kind)


def _every(blocks: Iterable[Block], kind: type) -> Iterator[Block]:
    for block in blocks:
        if isinstance(block, kind):
            yield block
        if isinstance(block, Folded):
            yield from _every(block.blocks, kind)
