"""Privacy against utility: of the worst case, and attack by attack."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from experiments.report.figures.drawing import (
    GREY,
    Figure,
    Style,
    chance_line,
    drawing,
    in_percent,
    label_points,
    legend,
    reach,
    styles,
    with_bars,
)
from experiments.report.findings import Findings
from experiments.report.results import POINT, name_of

ROOM = 1.12
"""How much higher than the highest bound the axis reaches."""


def worst_case(findings: Findings, folder: Path) -> Figure:
    """Draw what the strongest attack leaves of every defence against its utility."""
    summary, best = findings.summary, findings.best
    judged = best[best["oracle"] == findings.judge].iloc[0]
    path = folder / "worst-case.svg"
    with drawing(path, (6.4, 4.8)) as axes:
        _tradeoff(axes, summary, "worst_eval_acc")
        _references(axes, judged, summary["worst_eval_acc_hi"].max())
        axes.set(xlabel="mean AUC of the attributes (utility)", ylabel="identified by the strongest attack")
        _mark_ideal(axes)
        _name_strengths(axes, summary, "worst_eval_acc")
        legend(axes)
    caption = "The worst case of every defence, with 95% intervals. The ideal corner is bottom right."
    return Figure(path, caption, f"Worst case against utility. {_in_words(summary, 'worst_eval_acc')}")


def curves(findings: Findings, folder: Path) -> list[Figure]:
    """For attacks on several points a curve by each judge that may be believed; of epochs, the best one's."""
    best = findings.best
    shown = best[(best["countermeasure"] == "none") & best["eval_acc"].notna()]
    shown = shown[shown["oracle"].isin([*findings.judges, "itself"])]
    found = shown.loc[shown.groupby([*POINT, "attack", "oracle"], sort=False)["eval_acc"].idxmax()]
    return [
        _curve(rows, attack, oracle, folder, best["defence"])
        for (attack, oracle), rows in found.groupby(["attack", "oracle"], sort=False)
        if len(rows) > 1
    ]


def _curve(rows: pd.DataFrame, attack: str, oracle: str, folder: Path, defences: pd.Series) -> Figure:
    path = folder / f"{attack}-{oracle}.svg"
    title = f"{attack}, judged by {oracle}"
    with drawing(path) as axes:
        _tradeoff(axes, rows, "eval_acc", defences)
        _references(axes, rows.iloc[0], rows["eval_acc_hi"].max())
        axes.set(xlabel="mean AUC of the attributes (utility)", ylabel="images identified", title=title)
        _mark_ideal(axes)
        _name_strengths(axes, rows, "eval_acc", defences)
        legend(axes, 2)
    alt = (
        f"Privacy-utility curve, {title}. {_in_words(rows, 'eval_acc')} "
        f"Chance {1 / rows['n_identities'].iloc[0]:.4f}, clean images {rows['clean_acc'].iloc[0]:.3f}."
    )
    return Figure(path, f"{title}, {int(rows['n_images'].iloc[0])} images, 95% intervals.", alt)


def _tradeoff(axes: Axes, points: pd.DataFrame, value: str, defences: pd.Series | None = None) -> None:
    """A line for every defence, its strengths in the order of their utility."""
    style = styles(points["defence"] if defences is None else defences)
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
    """Chance, and how often clean images are identified if that is not far above everything else."""
    clean = row["clean_acc"]
    chance_line(axes, 1 / row["n_identities"])
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


def _name_strengths(axes: Axes, points: pd.DataFrame, value: str, defences: pd.Series | None = None) -> None:
    style, labels = styles(points["defence"] if defences is None else defences), []
    for defence, group in points.dropna(subset=value).groupby("defence", sort=False):
        _, strengths = _split_labels(str(defence), list(group["strength"]))
        places = zip(group["auc"], group[value], strengths, strict=True)
        labels += [(x, y, text, style[str(defence)]["color"]) for x, y, text in places if text]
    label_points(axes, labels)


def _split_labels(defence: str, strengths: list[str]) -> tuple[str, list[str]]:
    """A defence's name in the legend, and what its points say: ('crafter, beta', ['0.5', '1'])."""
    if defence == "none":
        return "undefended", strengths
    names = {strength.partition("=")[0] for strength in strengths}
    if len(names) == 1 and all(strength.count("=") == 1 for strength in strengths):
        return f"{defence}, {names.pop()}", [strength.partition("=")[2] for strength in strengths]
    return defence, strengths


def _in_words(points: pd.DataFrame, value: str) -> str:
    parts = []
    for line in points.to_dict("records"):
        leak = "nothing to attack" if pd.isna(line[value]) else f"identified {line[value]:.3f}"
        parts.append(f"{name_of(line)} has AUC {line['auc']:.3f}, {leak}")
    return f"{'; '.join(parts)}."
