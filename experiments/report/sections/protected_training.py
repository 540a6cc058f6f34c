"""A1: what an attacker gains by training on protected features, epoch by epoch."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes

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

TITLE = "Training on protected features (A1)"
EPOCHS = (
    "The attacker sends pictures of their own through the defence and goes on training on what comes out. "
    "A defence that only confuses a fixed attacker collapses here; epoch 0 is the basic attack. The best "
    "epoch, which counts as the worst case, is known to us and not to the attacker."
)


def blocks(analysis: Analysis) -> Iterator[Block]:
    rows = analysis.best[analysis.best["epoch"].notna()].astype({"epoch": int})
    table = rows[[*POINT, "attack", "oracle", "epoch", "n_images", "n_identities", *EVAL_ACC]]
    if len(table):
        yield Text(EPOCHS)
        yield Figures(_figures(table, analysis.judge, analysis.figures))
        yield Folded("The same in numbers", [Table(_readable(table), "epochs", table)])


def _readable(table: pd.DataFrame) -> pd.DataFrame:
    """One line per defence, attack and judge, one column per epoch."""
    lines = named(table).assign(attack=table["attack"].map(names.attack), judge=judges(table["oracle"]))
    cells = lines.assign(column=table["epoch"], cell=intervals(table, "eval_acc", percent))
    wide = cells.pivot(index=list(lines.columns), columns="column", values="cell")
    wide.columns = [f"epoch {epoch}" for epoch in wide.columns]
    return filled(wide.reindex(pd.MultiIndex.from_frame(lines.drop_duplicates())).reset_index())


def _figures(table: pd.DataFrame, judge: str, folder: Path) -> list[Figure]:
    """For each attack and defence a figure with a line for every strength, and for no defence."""
    judged = table[table["oracle"] == judge]
    drawn = []
    for attack, rows in judged.groupby("attack", sort=False):
        undefended = rows[rows["defence"] == "none"]
        for defence, lines in rows[rows["defence"] != "none"].groupby("defence", sort=False):
            path = folder / f"{file_name('epochs', str(attack), str(defence))}.svg"
            drawn.append(_figure(lines, undefended, _title(str(attack), str(defence), judge), path))
    return drawn


def _title(attack: str, defence: str, judge: str) -> str:
    return f"{names.attack(attack)} on {names.defence(defence)}, judged by {names.judge(judge)}"


def _figure(lines: pd.DataFrame, undefended: pd.DataFrame, title: str, path: Path) -> Figure:
    style = styles(lines["strength"])
    with drawing(path) as axes:
        for strength, group in lines.groupby("strength", sort=False):
            _line(axes, group, names.strength(str(strength)) or "protected", style[str(strength)])
        if len(undefended):
            _line(axes, undefended, names.defence("none"), style["none"])
        chance_line(axes, 1 / lines["n_identities"].iloc[0])
        floor_line(axes, lines.iloc[0].get("floor_raw", math.nan))
        axes.set(xlabel="epochs of training on protected features", ylabel="images identified")
        axes.set_title(wrapped(title))
        in_percent(axes)
        legend(axes)
    return Figure(path, f"{title}; epoch 0 is the basic attack.", f"{title}. {_in_words(lines, undefended)}")


def _line(axes: Axes, group: pd.DataFrame, label: str, style: Style) -> None:
    group = group.sort_values("epoch")
    with_bars(
        axes, group["epoch"], group["eval_acc"], label=label, style=style, yerr=reach(group, "eval_acc")
    )


def _in_words(*tables: pd.DataFrame) -> str:
    parts = []
    for (defence, strength), group in pd.concat(tables).groupby(POINT, sort=False):
        name = names.strength(strength) if strength else names.defence(defence)
        found = ", ".join(
            f"{line['eval_acc']:.3f} at epoch {line['epoch']}" for line in group.to_dict("records")
        )
        parts.append(f"{name}: {found}")
    return f"Identified. {'; '.join(parts)}."
