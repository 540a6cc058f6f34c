"""Columns of results.csv: their names, and how people are told what is in them."""

from __future__ import annotations

from dataclasses import dataclass

from facecrafter.metrics import Interval


@dataclass(frozen=True)
class Column:
    """One figure of results.csv, declared beside the code that computes it.

    Attributes:
        name: in the CSV, such as ``eval_acc``.
        title: what people call it.
        describe: what it is, in one sentence: its range and unit, and which direction is which.
        format: how a value is written, as of `format()`; ``.1%`` writes shares as percentages.
        interval: whether ``{name}_lo`` and ``{name}_hi`` beside it are the bounds of a 95% interval.
        group: ``likeness`` for figures of images beside their originals, else ``''``.
    """

    name: str
    title: str
    describe: str
    format: str = ".3f"
    interval: bool = False
    group: str = ""

    def names(self) -> list[str]:
        """The columns of the CSV that it takes."""
        return [self.name, *(f"{self.name}_{bound}" for bound in ("lo", "hi") if self.interval)]


def interval_columns(name: str, interval: Interval) -> dict[str, float]:
    """The value, and its bounds as *_lo and *_hi."""
    return {name: interval.value, f"{name}_lo": interval.lo, f"{name}_hi": interval.hi}
