"""What an attacker gains by training on protected features, epoch by epoch."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes

from experiments.report.figures.drawing import (
    Figure,
    Style,
    chance_line,
    drawing,
    in_percent,
    legend,
    reach,
    styles,
    with_bars,
)


def epoch_curves(table: pd.DataFrame, judge: str, folder: Path) -> list[Figure]:
    """For each attack and defence a figure with a line for every strength, and for no defence."""
    judged = table[table["oracle"] == judge]
    drawn = []
    for attack, rows in judged.groupby("attack", sort=False):
        undefended = rows[rows["defence"] == "none"]
        for defence, lines in rows[rows["defence"] != "none"].groupby("defence", sort=False):
            path = folder / f"epochs-{attack}-{defence}.svg"
            drawn.append(_epochs(lines, undefended, f"{attack} on {defence}, judged by {judge}", path))
    return drawn


def _epochs(lines: pd.DataFrame, undefended: pd.DataFrame, title: str, path: Path) -> Figure:
    style = styles(lines["strength"])
    with drawing(path) as axes:
        for strength, group in lines.groupby("strength", sort=False):
            _line(axes, group, str(strength) or "protected", style[str(strength)])
        if len(undefended):
            _line(axes, undefended, "undefended", style["none"])
        chance_line(axes, 1 / lines["n_identities"].iloc[0])
        axes.set(xlabel="epochs of training on protected features", ylabel="images identified", title=title)
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
    for (defence, strength), group in pd.concat(tables).groupby(["defence", "strength"], sort=False):
        name = "undefended" if defence == "none" else strength or defence
        found = ", ".join(
            f"{line['eval_acc']:.3f} at epoch {line['epoch']}" for line in group.to_dict("records")
        )
        parts.append(f"{name}: {found}")
    return f"Identified. {'; '.join(parts)}."
