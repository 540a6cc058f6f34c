"""Everything that was measured of every attack: a column for each figure that a measurement declares."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pandas as pd

from experiments.evaluation.columns import Column
from experiments.report.analysis import Analysis
from experiments.report.document import Block, Folded, Items, Table, Text
from experiments.report.formats import filled, intervals, judges, named, trials

TITLE = "Every attack"
COLUMNS = "The results of every attack on every defence, judge by judge. What the columns say:"


def blocks(analysis: Analysis) -> Iterator[Block]:
    table = _readable(analysis.every, analysis.results.columns)
    yield Text(COLUMNS)
    yield Items([f"{c.title}: {c.describe}" for c in analysis.results.columns if c.title in table])
    shown = Table(table, "results", analysis.results.rows)
    yield Folded("Every attack on every defence, by every judge", [shown])


def _readable(best: pd.DataFrame, columns: Sequence[Column]) -> pd.DataFrame:
    """A line for each attack, defence and judge; what was measured nowhere has no column."""
    table = named(best).assign(attack=trials(best), judge=judges(best["oracle"]))
    found = {column.title: _cells(best, column) for column in columns if column.name in best}
    return filled(table.assign(**found))


def _cells(best: pd.DataFrame, column: Column) -> list[str]:
    def show(value: float) -> str:
        return "" if pd.isna(value) else format(value, column.format)

    if column.interval:
        return intervals(best, column.name, show)
    return [show(value) for value in best[column.name].astype(float)]
