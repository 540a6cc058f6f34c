"""Privacy against utility, drawn: a point for each strength of a defence."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from experiments.report import names
from experiments.report.formats import name_of
from experiments.report.plotting import (
    GREY,
    Style,
    chance_line,
    drawing,
    floor_line,
    in_percent,
    label_points,
    legend,
    reach,
    styles,
    with_bars,
)

ROOM = 1.12
"""How much higher than the highest bound the axis reaches."""
UTILITY = "mean AUC of the attributes (utility)"


def draw_tradeoff(
    axes: Axes, points: pd.DataFrame, value: str, reference: pd.Series, order: pd.Series | None = None
) -> None:
    """Draw the share `value` of every point over its mean AUC, with intervals, and what to hold it against.

    Args:
        points: lines with defence, strength, auc and `value`, and the bounds of both.
        reference: a row of the judge's, with clean_acc, n_identities and, if it is known, floor_raw.
        order: defences in the order of their colours, where not all of them have points.
    """
    style = styles(points["defence"] if order is None else order)
    _lines(axes, points, value, style)
    _references(axes, reference, points[f"{value}_hi"].max())
    axes.set(xlabel=UTILITY)
    _mark_ideal(axes)
    _name_strengths(axes, points, value, style)


def draw_worst_cases(path: Path, points: pd.DataFrame, reference: pd.Series, utility: str = UTILITY) -> None:
    """Draw the worst case of every point over its `auc`, of what `utility` says; see `draw_tradeoff`."""
    with drawing(path, (6.4, 4.8)) as axes:
        draw_tradeoff(axes, points, "worst_eval_acc", reference)
        axes.set(xlabel=utility, ylabel="identified by the strongest attack")
        legend(axes, 2)


def in_words(points: pd.DataFrame, value: str) -> str:
    """What the drawing shows, for whoever cannot see it."""
    parts = []
    for line in points.to_dict("records"):
        leak = "nothing to attack" if pd.isna(line[value]) else f"identified {line[value]:.3f}"
        parts.append(f"{name_of(line)} has AUC {line['auc']:.3f}, {leak}")
    return f"{'; '.join(parts)}."


def _lines(axes: Axes, points: pd.DataFrame, value: str, style: dict[str, Style]) -> None:
    """A line for every defence, its strengths in the order of their utility."""
    for defence, group in points.groupby("defence", sort=False):
        name, _ = _split_labels(str(defence), list(group["strength"]))
        if group[value].isna().all():
            _unattacked(axes, group, name, style[str(defence)])
            continue
        for part, look in joined_and_apart(group.sort_values("auc")):
            errors = {"xerr": reach(part, "auc"), "yerr": reach(part, value)}
            shown = style[str(defence)] | ({"linestyle": "none"} if len(part) == 1 else {}) | look
            with_bars(axes, part["auc"], part[value], label=name, style=shown, **errors)
            name = "_"  # a defence stands in the legend once


def joined_and_apart(group: pd.DataFrame) -> list[tuple[pd.DataFrame, Style]]:
    """The points that a line may join, and hollow and apart those that escaped another one's worst attack."""
    escaped = group.get("not_faced", pd.Series("", group.index)) != ""
    hollow = {"linestyle": "none", "markerfacecolor": "none"}
    return [part for part in ((group[~escaped], {}), (group[escaped], hollow)) if len(part[0])]


def _unattacked(axes: Axes, group: pd.DataFrame, name: str, style: Style) -> None:
    """A defence that gives nothing away has a utility, but no leak that could be measured."""
    for auc in group["auc"]:
        axes.axvline(
            auc,
            color=style["color"],
            linestyle=style["linestyle"],
            label=f"{name} (nothing leaves the device)",
        )


def _references(axes: Axes, row: pd.Series, highest: float) -> None:
    """Chance, the floor, and how often clean images are identified where that is not far above all else."""
    clean = row["clean_acc"]
    chance_line(axes, 1 / row["n_identities"])
    floor_line(axes, row.get("floor_raw", math.nan))
    # By what was attacked: clean images are often identified so much more that all points would lie flat.
    axes.set_ylim(top=ROOM * highest)
    beyond = "" if clean < ROOM * highest else ", off the scale"
    style = {"color": GREY, "linestyle": "--", "linewidth": 1, "label": f"clean images ({clean:.1%}{beyond})"}
    if beyond:
        axes.plot([], [], **style)
    else:
        axes.axhline(clean, **style)
    axes.margins(x=0.08)
    in_percent(axes)


def _mark_ideal(axes: Axes) -> None:
    arrow = {"arrowstyle": "->", "color": GREY}
    place: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points"}
    axes.annotate(
        "ideal", (1, 0), (-26, 16), arrowprops=arrow, color=GREY, fontstyle="italic", ha="right", **place
    )


def _name_strengths(axes: Axes, points: pd.DataFrame, value: str, style: dict[str, Style]) -> None:
    labels = []
    for defence, group in points.dropna(subset=value).groupby("defence", sort=False):
        _, strengths = _split_labels(str(defence), list(group["strength"]))
        places = zip(group["auc"], group[value], strengths, strict=True)
        labels += [(x, y, text, style[str(defence)]["color"]) for x, y, text in places if text]
    label_points(axes, labels)


def _split_labels(defence: str, strengths: list[str]) -> tuple[str, list[str]]:
    """A defence's name in the legend, and what its points say: ('Crafter, β', ['0.5', '1'])."""
    if defence == "none":
        return names.defence(defence), strengths
    settings = {strength.partition("=")[0] for strength in strengths}
    if len(settings) == 1 and all(strength.count("=") == 1 for strength in strengths):
        return f"{names.defence(defence)}, {names.strength(settings.pop())}", [
            strength.partition("=")[2] for strength in strengths
        ]
    return names.defence(defence), [names.strength(strength) for strength in strengths]
