"""ε: against what it should go with, and over the number of images that it is computed from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import torch

from experiments.report import names
from experiments.report.analysis import Analysis
from experiments.report.document import Block, Figures, Folded, Table, Text
from experiments.report.formats import intervals, name_of, named, small, trials
from experiments.report.plotting import GREY, Figure, drawing, file_name, legend, styles
from experiments.report.results import POINT
from experiments.report.statistics.worst_case import BOUNDS
from facecrafter.metrics.correlation import rank_correlation

TITLE = "Is ε consistent with the rest?"
EPSILON = (
    "ε is the distance between what an attacker sees and average faces. In the theory it measures how much "
    "personal information is left. If it does, attacks that identify more and resemble the originals more "
    "have a larger ε. Intervals are over defences and strengths. The dashed line is the ε between two sets "
    "of average faces. At or below it, ε finds no personal information."
)
SAMPLE_SIZE = (
    "ε falls with the number of images that it is computed from, and so does the null. Neither value means "
    "much alone. What counts is whether the curves part from the dashed one."
)
LIKENESS = {"eval_acc": "Eval Acc", "ssim": "SSIM", "fsim": "FSIM"}
"""What ε is held against: whoever is further from an average face should be recognised and resemble more."""


def blocks(analysis: Analysis) -> Iterator[Block]:
    points = _points(analysis)
    if len(points):
        table = _correlations(points)
        above = int((points["epsilon"] > points["epsilon_null"]).sum())
        yield Text(f"{EPSILON} Here {above} of {len(points)} points lie above it.")
        yield Table(_readable(table), "epsilon-correlations", table)
        yield Figures(_against_plots(points, table, analysis.judge, analysis.figures))
    curves = analysis.results.beside("epsilon.csv")
    if len(curves):
        drawn = Figures(_size_plots(_of_one_attack(curves), analysis.figures))
        table = Table(_readable_sizes(curves), "epsilon", curves)
        yield Folded("ε over the number of images", [Text(SAMPLE_SIZE), drawn, table])


def doubts(analysis: Analysis) -> Iterator[str]:
    points = _points(analysis)
    found = _correlations(points).to_dict("records") if len(points) else []
    for line in found:
        if line["correlation_hi"] < 0:
            figure = LIKENESS[line["figure"]]
            yield f"ε falls as {figure} rises: it orders the attacks the wrong way round here."


def _points(analysis: Analysis) -> pd.DataFrame:
    """ε beside what should go with it, for every defence, strength and attack that the judge saw."""
    best = analysis.best
    if not analysis.judges or "epsilon" not in best:
        return pd.DataFrame()
    shown = best[(best["oracle"] == analysis.judge) & best["epsilon"].notna()]
    return shown[[*POINT, "trial", "epsilon", "epsilon_null", *LIKENESS]] if len(shown) else shown


def _correlations(points: pd.DataFrame) -> pd.DataFrame:
    """Rank correlation of ε with each of `LIKENESS`, with 95% intervals over defences and strengths."""
    columns = {name: torch.tensor(points[name].to_numpy(dtype=float)) for name in ("epsilon", *LIKENESS)}
    clusters = torch.tensor(points.groupby(POINT, sort=False).ngroup().to_numpy())
    found = [rank_correlation(columns["epsilon"], columns[name], clusters) for name in LIKENESS]
    table = pd.DataFrame(found, columns=["correlation", "correlation_lo", "correlation_hi"])
    return table.assign(figure=list(LIKENESS), points=len(points), settings=int(clusters.max()) + 1)


def _relation(found: pd.Series) -> str:
    """Whether ε goes with the figure, as its interval allows to say."""
    if found["correlation_lo"] > 0:
        return "they rise together, as they should"
    if found["correlation_hi"] < 0:
        return "one falls as the other rises: ε orders them the wrong way round here"
    return "no relation shown"


def _readable(table: pd.DataFrame) -> pd.DataFrame:
    """What ε is held against, a line each."""
    return pd.DataFrame(
        {
            "ε against": table["figure"].map(LIKENESS),
            "points": table["points"],
            "defences and strengths": table["settings"],
            "rank correlation": intervals(table, "correlation", "{:.2f}".format),
            "": [_relation(line) for _, line in table.iterrows()],
        }
    )


def _readable_sizes(table: pd.DataFrame) -> pd.DataFrame:
    """ε and its null, a line for each attack and number of images."""
    return named(table).assign(
        **{
            "attack": trials(table),
            "images": table["n"],
            "ε": table["epsilon"].map(small),
            "null": table["null"].map(small),
        }
    )


def _against_plots(points: pd.DataFrame, table: pd.DataFrame, judge: str, folder: Path) -> list[Figure]:
    """ε against each of `LIKENESS`, one point per defence, strength and attack."""
    found = table.set_index("figure")
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
    return f"rank correlation {value:.2f} ({low:.2f} to {high:.2f}), {_relation(found)}"


def _size_plots(table: pd.DataFrame, folder: Path) -> list[Figure]:
    """ε over the number of images, a figure for every defence: each strength, no defence, and the null."""
    undefended = table[table["defence"] == "none"]
    others = table[table["defence"] != "none"].groupby("defence", sort=False)
    return [_over_size(str(defence), lines, undefended, folder) for defence, lines in others]


def _over_size(defence: str, lines: pd.DataFrame, undefended: pd.DataFrame, folder: Path) -> Figure:
    path, style = folder / f"{file_name('epsilon-size', defence)}.svg", styles(lines["strength"])
    title = f"{names.defence(defence)}, {names.attack(lines['attack'].iloc[0])}"
    with drawing(path) as axes:
        for strength, group in lines.groupby("strength", sort=False):
            label = names.strength(str(strength)) or "protected"
            axes.plot(group["n"], group["epsilon"], label=label, linewidth=1.2, **style[str(strength)])
        if len(undefended):
            axes.plot(undefended["n"], undefended["epsilon"], label="undefended", **style["none"])
        null = lines.drop_duplicates("n")
        axes.plot(null["n"], null["null"], color=GREY, linestyle="--", label="prior against itself")
        axes.set(xlabel="images", ylabel="ε (per pixel)", title=title)
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
    caption = f"{title}: ε over the number of images."
    return Figure(path, caption, f"{caption} At {lines['n'].max():g} images {found}.")


def _of_one_attack(table: pd.DataFrame) -> pd.DataFrame:
    """The lines of the attack that most points have, so that one figure compares like with like."""
    plain = table[table["epoch"].isna()]
    return plain[plain["attack"] == plain.drop_duplicates([*POINT, "attack"])["attack"].mode()[0]]
