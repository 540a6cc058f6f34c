"""What an attacker finds over what they spend on it, drawn: epochs of training, or queries."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator, ScalarFormatter

from experiments.report import names
from experiments.report.analysis import Analysis
from experiments.report.document import Block, Figures, Folded, Table, Text
from experiments.report.formats import filled, intervals, judges, named, percent
from experiments.report.plotting import (
    Figure,
    Style,
    chance_line,
    drawing,
    file_name,
    floor_line,
    in_percent,
    legend,
    reach,
    styles,
    with_bars,
    wrapped,
)
from experiments.report.results import POINT
from experiments.report.statistics.worst_case import EVAL_ACC


@dataclass(frozen=True)
class Effort:
    """What is spent.

    Attributes:
        column: of results.csv.
        axis: what the axis is called.
        caption: what is said below each figure.
        say: one number of it in words: 'epoch 5'.
        doubling: whether twice as much is as far from as much as four times as much from that.
    """

    column: str
    axis: str
    caption: str
    say: Callable[[int], str]
    doubling: bool = False

    def blocks(self, analysis: Analysis, rows: pd.DataFrame, text: str, csv: str) -> Iterator[Block]:
        """A section's `text`, figures, and their numbers in the file `csv`; nothing where none of the rows
        says what was spent."""
        table = self.table(rows)
        if len(table):
            yield Text(text)
            yield Figures(self.figures(table, analysis.judge, analysis.figures))
            yield Folded("The same in numbers", [Table(self.readable(table), csv, table)])

    def table(self, rows: pd.DataFrame) -> pd.DataFrame:
        """The rows where something is known to be spent, with the columns that the rest here needs."""
        found = rows[rows[self.column].notna()].astype({self.column: int})
        known = [*POINT, "attack", "oracle", self.column, "n_images", "n_identities", *EVAL_ACC, "floor_raw"]
        return found.reindex(columns=known)

    def readable(self, table: pd.DataFrame) -> pd.DataFrame:
        """One line per defence, attack and judge, one column per number."""
        lines = named(table).assign(attack=table["attack"].map(names.attack), judge=judges(table["oracle"]))
        cells = lines.assign(column=table[self.column], cell=intervals(table, "eval_acc", percent))
        wide = cells.pivot(index=list(lines.columns), columns="column", values="cell")
        wide.columns = [self.say(number) for number in wide.columns]
        return filled(wide.reindex(pd.MultiIndex.from_frame(lines.drop_duplicates())).reset_index())

    def figures(self, table: pd.DataFrame, judge: str, folder: Path) -> list[Figure]:
        """For each attack and defence a figure with a line for every strength, and for no defence."""
        judged = table[table["oracle"] == judge]
        drawn = []
        for attack, rows in judged.groupby("attack", sort=False):
            undefended = rows[rows["defence"] == "none"]
            for defence, lines in rows[rows["defence"] != "none"].groupby("defence", sort=False):
                path = folder / f"{file_name(self.column, str(attack), str(defence))}.svg"
                drawn.append(self._figure(lines, undefended, _title(str(attack), str(defence), judge), path))
        return drawn

    def _figure(self, lines: pd.DataFrame, undefended: pd.DataFrame, title: str, path: Path) -> Figure:
        style = styles(lines["strength"])
        first = lines.iloc[0]
        with drawing(path) as axes:
            for strength, group in lines.groupby("strength", sort=False):
                self._line(axes, group, names.strength(str(strength)) or "protected", style[str(strength)])
            if len(undefended):
                self._line(axes, undefended, names.defence("none"), style["none"])
            chance_line(axes, 1 / first["n_identities"])
            floor_line(axes, first["floor_raw"])
            axes.set(xlabel=self.axis, ylabel="images identified")
            axes.set_title(wrapped(title))
            in_percent(axes)
            if self.doubling:
                _by_doubling(axes, sorted({*lines[self.column], *undefended[self.column]}))
            legend(axes)
        alt = f"{title}. {self._in_words(lines, undefended)}"
        return Figure(path, f"{title}{self.caption}", alt)

    def _line(self, axes: Axes, group: pd.DataFrame, label: str, style: Style) -> None:
        group = group.sort_values(self.column)
        spent, found = group[self.column], group["eval_acc"]
        with_bars(axes, spent, found, label=label, style=style, yerr=reach(group, "eval_acc"))

    def _in_words(self, *tables: pd.DataFrame) -> str:
        """What the drawing shows, for whoever cannot see it."""
        parts = []
        for (defence, strength), group in pd.concat(tables).groupby(POINT, sort=False):
            name = names.strength(strength) if strength else names.defence(defence)
            found = ", ".join(
                f"{line['eval_acc']:.3f} at {self.say(line[self.column])}"
                for line in group.sort_values(self.column).to_dict("records")
            )
            parts.append(f"{name}: {found}")
        floor = tables[0].iloc[0]["floor_raw"]
        known = "" if math.isnan(floor) else f"; f's answers {floor:.3f}"
        return f"Identified. {'; '.join(parts)}{known}."


def _title(attack: str, defence: str, judge: str) -> str:
    return f"{names.attack(attack)} on {names.defence(defence)}, judged by {names.judge(judge)}"


def _by_doubling(axes: Axes, numbers: list[int]) -> None:
    """A logarithmic axis that is marked where something was measured."""
    axes.set_xscale("log")
    axes.set_xticks(numbers)
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_locator(NullLocator())
