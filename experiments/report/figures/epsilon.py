"""ε: against what it should go with, and over the number of images that it is computed from."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from experiments.report.evidence import LIKENESS, relation
from experiments.report.figures.drawing import GREY, Figure, drawing, legend, styles
from experiments.report.results import POINT, name_of
from experiments.report.worst_case import BOUNDS


def consistency_plots(
    points: pd.DataFrame, relations: pd.DataFrame, judge: str, folder: Path
) -> list[Figure]:
    """ε against each of `LIKENESS`, one point per defence, strength and attack."""
    found = relations.set_index("figure")
    return [_against(points, name, found.loc[name], judge, folder) for name in LIKENESS]


def _against(points: pd.DataFrame, name: str, found: pd.Series, judge: str, folder: Path) -> Figure:
    path, label = folder / f"epsilon-{name}.svg", LIKENESS[name]
    style = styles(points["defence"])
    with drawing(path) as axes:
        for defence, group in points.groupby("defence", sort=False):
            shown = style[str(defence)] | {"linestyle": "none"}
            legend_name = "undefended" if defence == "none" else str(defence)
            axes.plot(group["epsilon"], group[name], label=legend_name, markersize=6, **shown)
        null = points["epsilon_null"].mean()
        axes.axvline(null, color=GREY, linestyle="--", linewidth=1, label="ε of the prior itself")
        axes.set(xlabel="ε (per pixel)", ylabel=label, title=f"ε against {label}")
        axes.ticklabel_format(axis="x", scilimits=(0, 0))
        legend(axes)
    words = _correlation(found)
    listed = "; ".join(
        f"{name_of(line)} under {line['trial']}: ε {line['epsilon']:.5f}, {label} {line[name]:.3f}"
        for line in points.to_dict("records")
    )
    judged = "" if name == "ssim" else f", judged by {judge}"
    return Figure(path, f"ε against {label}{judged}: {words}.", f"ε against {label}. {words}. {listed}.")


def _correlation(found: pd.Series) -> str:
    value, low, high = (found[f"correlation{bound}"] for bound in BOUNDS)
    return f"rank correlation {value:.2f} ({low:.2f} to {high:.2f}), {relation(found)}"


def sample_size_plots(table: pd.DataFrame, folder: Path) -> list[Figure]:
    """ε over the number of images, a figure for every defence: each strength, no defence, and the null."""
    undefended = table[table["defence"] == "none"]
    others = table[table["defence"] != "none"].groupby("defence", sort=False)
    return [_over_size(str(defence), lines, undefended, folder) for defence, lines in others]


def _over_size(defence: str, lines: pd.DataFrame, undefended: pd.DataFrame, folder: Path) -> Figure:
    path, style = folder / f"epsilon-size-{defence}.svg", styles(lines["strength"])
    attack = lines["attack"].iloc[0]
    with drawing(path) as axes:
        for strength, group in lines.groupby("strength", sort=False):
            label = str(strength) or "protected"
            axes.plot(group["n"], group["epsilon"], label=label, linewidth=1.2, **style[str(strength)])
        if len(undefended):
            axes.plot(undefended["n"], undefended["epsilon"], label="undefended", **style["none"])
        null = lines.drop_duplicates("n")
        axes.plot(null["n"], null["null"], color=GREY, linestyle="--", label="prior against itself")
        axes.set(xlabel="images", ylabel="ε (per pixel)", title=f"{defence}, {attack}")
        axes.set_xscale("log", base=2)
        sizes = sorted(lines["n"].unique())
        axes.set_xticks(sizes, [f"{size:g}" for size in sizes])
        axes.ticklabel_format(axis="y", scilimits=(0, 0))
        legend(axes)
    largest = lines[lines["n"] == lines["n"].max()]
    found = "; ".join(
        f"{name_of(line)}: {line['epsilon']:.5f}, null {line['null']:.5f}"
        for line in largest.to_dict("records")
    )
    caption = f"{defence}: ε over the number of images, {attack}."
    return Figure(path, caption, f"{caption} At {lines['n'].max():g} images {found}.")


def of_one_attack(table: pd.DataFrame) -> pd.DataFrame:
    """Of `epsilon_curves`, the attack that most points have, so that one figure compares like with like."""
    plain = table[table["epoch"].isna()]
    return plain[plain["attack"] == plain.drop_duplicates([*POINT, "attack"])["attack"].mode()[0]]
