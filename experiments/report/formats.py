"""Cells of tables: as people read them (names, intervals, percentages), and as spreadsheets may open them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pandas as pd

from experiments.report import names
from experiments.report.results import trial
from facecrafter.cells import neutral


def csv_text(table: pd.DataFrame) -> str:
    """The table as CSV. Text that a spreadsheet would take for a formula begins with an apostrophe."""
    safe = table.rename(columns=neutral)
    for name in safe.select_dtypes(exclude=["number", "bool"]):
        cells = [neutral(cell) for cell in safe[name]]
        safe[name] = pd.Series(
            cells, index=safe.index, dtype=object
        )  # else 1 beside nothing would become 1.0
    return safe.to_csv(index=False)


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


def name_of(line: pd.Series | dict[str, str]) -> str:
    """A defence and its strength as people read them: 'Crafter β = 0.5'."""
    return f"{names.defence(line['defence'])} {names.strength(line['strength'])}".strip()


def attack_of(line: pd.Series | dict[str, Any]) -> str:
    """An attack, its epoch and the countermeasure against it, as people read them."""
    return trial({**line, "attack": names.attack(line["attack"])})


def attacks_of(attacks: Iterable[str]) -> str:
    """Several attacks as people read them; they hold commas themselves."""
    return "; ".join(map(names.attack, attacks))


def named(table: pd.DataFrame) -> pd.DataFrame:
    """Who protects, and how much, as the first column."""
    return pd.DataFrame({"defence": [name_of(line) for line in table.to_dict("records")]}, table.index)


def trials(table: pd.DataFrame) -> list[str]:
    """What the attack of each line is called."""
    return [attack_of(line) for line in table.to_dict("records")]


def judges(oracles: pd.Series) -> pd.Series:
    """The oracles of a column as people call them."""
    return oracles.fillna("").map(names.judge)


def readable_gains(table: pd.DataFrame) -> pd.DataFrame:
    """Adaptive attacks, each beside the strongest basic one, from `adaptive_gains`."""
    return named(table).assign(
        **{
            "adaptive attack": trials(table),
            "judge": judges(table["oracle"]),
            "identified": intervals(table, "eval_acc", percent),
            "strongest basic attack": table["basic_attack"].map(names.attack),
            "it identified": table["basic_eval_acc"].map(percent),
            "change": points_of_change(table),
            "adapting finds": table["verdict"].replace({"higher": "more", "lower": "less"}),
        }
    )


def percent(value: float) -> str:
    """0.0859 -> '8.6%'."""
    return f"{100 * value:.1f}%"


def decimal(value: float) -> str:
    return "" if pd.isna(value) else f"{value:.3f}"


def percentage(value: float) -> str:
    return "" if pd.isna(value) else percent(value)


def small(value: float) -> str:
    return "" if pd.isna(value) else f"{value:.5f}"


def p_value(value: float) -> str:
    return "below 0.0001" if value < 1e-4 else f"{value:.4f}"
