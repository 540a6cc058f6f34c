"""Which attributes a defence costs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from experiments.report import names
from experiments.report.analysis import Analysis
from experiments.report.document import Block, Figures, Folded, Table, Text
from experiments.report.formats import decimal, name_of
from experiments.report.plotting import GREY, Figure, drawing, file_name, legend, reach, styles
from experiments.report.results import POINT

TITLE = "What the cloud still reads"
ATTRIBUTES = (
    "The mean hides which attributes a defence costs. This section shows the AUC of each attribute, read "
    "from the protected features by the same network as without a defence. The number of images that have "
    "the attribute says how far to trust its AUC. Attributes whose undefended AUC is near 0.5 cannot be read "
    "even without a defence."
)


def blocks(analysis: Analysis) -> Iterator[Block]:
    found = analysis.results.beside("attributes.csv")
    if len(found):
        table = found.drop_duplicates([*POINT, "attribute"]).drop(columns="attack")
        yield Text(ATTRIBUTES)
        yield Figures(_figures(table, analysis.figures))
        yield Folded("All attributes and defences", [Table(_readable(table), "attributes", table)])


def _readable(table: pd.DataFrame) -> pd.DataFrame:
    """One line per attribute, one column per defence and strength."""
    cells = table.assign(point=[name_of(line) for line in table.to_dict("records")])
    wide = cells.pivot(index=["attribute", "images"], columns="point", values="auc").map(decimal)
    return wide[list(dict.fromkeys(cells["point"]))].reset_index().rename_axis(columns=None)


def _figures(table: pd.DataFrame, folder: Path) -> list[Figure]:
    """The AUC of each attribute, a figure for every defence beside no defence."""
    undefended = table[table["defence"] == "none"].set_index("attribute").sort_values("auc")
    if undefended.empty:
        return []
    others = table[table["defence"] != "none"].groupby("defence", sort=False)
    return [_figure(str(defence), lines, undefended, folder) for defence, lines in others]


def _figure(defence: str, lines: pd.DataFrame, undefended: pd.DataFrame, folder: Path) -> Figure:
    path, style = folder / f"{file_name('attributes', defence)}.svg", styles(lines["strength"])
    name = names.defence(defence)
    heights = {attribute: height for height, attribute in enumerate(undefended.index)}
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
            label = names.strength(str(strength)) or name
            axes.plot(group["auc"], places, label=label, markersize=4.5, **shown)
        axes.axvline(0.5, color=GREY, linestyle=":", linewidth=1)
        axes.set_yticks(list(heights.values()), list(heights), fontsize=7)
        axes.set_ylim(-1, len(heights))
        axes.set(xlabel="AUC; 0.5 is guessing", title=f"{name}: what the cloud still reads")
        legend(axes)
    return Figure(path, f"{name}: AUC of each attribute.", _in_words(defence, lines, undefended))


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
