"""Privacy against utility, a figure for each attack and judge."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pandas as pd

from experiments.report import names
from experiments.report.analysis import Analysis
from experiments.report.document import Block, Figures, Folded, Text
from experiments.report.plotting import Figure, drawing, file_name, legend, wrapped
from experiments.report.results import POINT
from experiments.report.tradeoff import draw_tradeoff, in_words

TITLE = "Privacy against utility, attack by attack"
PUBLISHED = True
CURVES = (
    "Each point is one strength of a defence, with 95% intervals. The ideal corner is bottom right. Dotted "
    "line: chance. Dash-dotted line: what f's answers to raw features give away. Dashed line: how often the "
    "judge identifies the clean photographs."
)
OPEN = 2
"""Figures that are not folded: of the attacks that are the worst case of most points. With that of the worst
case and that of unknown tasks a published page has four."""


def blocks(analysis: Analysis) -> Iterator[Block]:
    if drawn := _figures(analysis):
        yield Text(CURVES)
        yield Figures(drawn[:OPEN])
        if drawn[OPEN:]:
            yield Folded("Every other attack and judge", [Figures(drawn[OPEN:])])


def _figures(analysis: Analysis) -> list[Figure]:
    """For attacks on several points a curve by each judge that may be believed; of epochs, the best one's.

    First those of the attacks and judges that are the worst case of most points.
    """
    best = analysis.best
    shown = best[(best["countermeasure"] == "none") & best["eval_acc"].notna()]
    shown = shown[shown["oracle"].isin([*analysis.judges, "itself"])]
    found = shown.loc[shown.groupby([*POINT, "attack", "oracle"], sort=False)["eval_acc"].idxmax()]
    groups = {way: rows for way, rows in found.groupby(["attack", "oracle"], sort=False) if len(rows) > 1}
    worst = Counter(zip(analysis.summary["worst_attack"], analysis.summary["worst_oracle"], strict=True))
    ways = sorted(groups, key=lambda way: -worst[way])
    return [_figure(groups[way], *way, analysis) for way in ways]


def _figure(rows: pd.DataFrame, attack: str, oracle: str, analysis: Analysis) -> Figure:
    path = analysis.figures / f"{file_name(attack, oracle)}.svg"
    title, first = f"{names.attack(attack)}, judged by {names.judge(oracle)}", rows.iloc[0]
    with drawing(path) as axes:
        draw_tradeoff(axes, rows, "eval_acc", first, analysis.best["defence"])
        axes.set(ylabel="images identified", title=wrapped(title))
        legend(axes, 2)
    alt = (
        f"Privacy-utility curve, {title}. {in_words(rows, 'eval_acc')} "
        f"Chance {1 / first['n_identities']:.4f}, clean images {first['clean_acc']:.3f}{_floor(first)}."
    )
    return Figure(path, f"{title}, {int(first['n_images'])} images, 95% intervals.", alt)


def _floor(row: pd.Series) -> str:
    """What f's answers give away, where that was measured."""
    floor = row.get("floor_raw")
    return "" if pd.isna(floor) else f", f's answers {floor:.3f}"
