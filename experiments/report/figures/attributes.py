"""Which attributes a defence costs."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from experiments.report.figures.drawing import GREY, Figure, drawing, legend, reach, styles
from experiments.report.results import name_of


def attribute_plots(table: pd.DataFrame, folder: Path) -> list[Figure]:
    """The AUC of each attribute, a figure for every defence beside no defence."""
    undefended = table[table["defence"] == "none"].set_index("attribute").sort_values("auc")
    if undefended.empty:
        return []
    others = table[table["defence"] != "none"].groupby("defence", sort=False)
    return [_attributes(str(defence), lines, undefended, folder) for defence, lines in others]


def _attributes(defence: str, lines: pd.DataFrame, undefended: pd.DataFrame, folder: Path) -> Figure:
    path, style = folder / f"attributes-{defence}.svg", styles(lines["strength"])
    heights = {name: height for height, name in enumerate(undefended.index)}
    with drawing(path, (4.8, 1.6 + 0.19 * len(heights))) as axes:
        axes.errorbar(
            undefended["auc"],
            list(heights.values()),
            xerr=reach(undefended, "auc"),
            label="undefended, 95% interval",
            ecolor=GREY,
            **style["none"] | {"linestyle": "none"},
        )
        for strength, group in lines.groupby("strength", sort=False):
            shown = style[str(strength)] | {"linestyle": "none"}
            places = group["attribute"].map(heights)
            axes.plot(group["auc"], places, label=str(strength) or defence, markersize=4.5, **shown)
        axes.axvline(0.5, color=GREY, linestyle=":", linewidth=1)
        axes.set_yticks(list(heights.values()), list(heights), fontsize=7)
        axes.set_ylim(-1, len(heights))
        axes.set(xlabel="AUC; 0.5 is guessing", title=f"{defence}: what the cloud still reads")
        legend(axes)
    return Figure(path, f"{defence}: AUC of each attribute.", _in_words(defence, lines, undefended))


def _in_words(defence: str, lines: pd.DataFrame, undefended: pd.DataFrame) -> str:
    """The attribute that each strength costs most."""
    parts = []
    for (_, strength), group in lines.groupby(["defence", "strength"], sort=False):
        loss = (undefended["auc"] - group.set_index("attribute")["auc"]).dropna()
        name = name_of({"defence": defence, "strength": str(strength)})
        parts.append(
            f"{name} costs {loss.idxmax()} most, {loss.max():.3f}, and {loss.median():.3f} in the median"
        )
    return f"AUC of each attribute under {defence} and undefended. {'; '.join(parts)}."
