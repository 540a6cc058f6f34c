"""The cells of a table as people read them: intervals beside values, percentages, blanks."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from experiments.report.results import name_of, percent, trial


def filled(table: pd.DataFrame) -> pd.DataFrame:
    """Without the columns that are empty throughout; empty cells are ''."""
    table = table.astype(object).fillna("")
    return table.loc[:, (table != "").any()]


def intervals(table: pd.DataFrame, name: str, show: Callable[[float], str]) -> list[str]:
    """`value (low to high)`; nothing where there is no value."""
    columns = [name, f"{name}_lo", f"{name}_hi"]
    lines = table.reindex(columns=columns).astype(float).itertuples(index=False)
    return ["" if pd.isna(line[0]) else "{} ({} to {})".format(*map(show, line)) for line in lines]


def points_of_change(table: pd.DataFrame) -> list[str]:
    """Changes and their intervals, in percentage points."""
    columns = table[["change", "lo", "hi"]].astype(float).itertuples(index=False)
    return ["" if pd.isna(line[0]) else "{:+.1f} ({:+.1f} to {:+.1f})".format(*(100 * x for x in line))
            for line in columns]  # fmt: skip


def named(table: pd.DataFrame) -> pd.DataFrame:
    """Who protects, and how much, as the first column."""
    return pd.DataFrame({"defence": [name_of(line) for line in table.to_dict("records")]}, table.index)


def trials(table: pd.DataFrame) -> list[str]:
    return [trial(line) for line in table.to_dict("records")]


def decimal(value: float) -> str:
    return "" if pd.isna(value) else f"{value:.3f}"


def percentage(value: float) -> str:
    return "" if pd.isna(value) else percent(value)


def small(value: float) -> str:
    return "" if pd.isna(value) else f"{value:.5f}"


def p_value(value: float) -> str:
    return "below 0.0001" if value < 1e-4 else f"{value:.4f}"
