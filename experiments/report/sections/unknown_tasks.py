"""What a feature is worth to tasks that nobody knew when it was released."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from experiments.report.analysis import Analysis
from experiments.report.document import Block, Figures, Table, Text
from experiments.report.formats import decimal, filled, intervals, named, percent
from experiments.report.plotting import Figure
from experiments.report.results import POINT
from experiments.report.statistics.worst_case import BOUNDS
from experiments.report.tradeoff import draw_worst_cases, in_words

TITLE = "Worth to tasks that nobody knew"
PUBLISHED = True
TASKS = (
    "These are attributes that f never learned (`unseen` of the study's `measure`). A linear probe reads "
    "them from the features or from what f makes of them (`hidden` or its answers), whichever serves the "
    "other attributes best. The probe learned from raw features of public people. A release that keeps only "
    "f's answers is worth as much as any for the task that f was trained for, and less here."
)
PROBE, AUC = ([f"{name}{bound}" for bound in BOUNDS] for name in ("probe_auc", "auc"))


def blocks(analysis: Analysis) -> Iterator[Block]:
    points = _probed(analysis)
    if points.empty:
        return
    yield Text(TASKS)
    if analysis.judges:
        yield Figures([_dial(points, analysis)])
    yield Table(_readable(points), "unknown_tasks", points)


def _probed(analysis: Analysis) -> pd.DataFrame:
    """The points of the summary with the mean AUC of unknown attributes; none where it was not measured."""
    probed = analysis.best.reindex(columns=[*POINT, *PROBE]).dropna(subset="probe_auc")
    shown = analysis.summary[[*POINT, *AUC, *[f"worst_eval_acc{bound}" for bound in BOUNDS]]]
    return shown.merge(probed.drop_duplicates(POINT), on=POINT)


def _dial(points: pd.DataFrame, analysis: Analysis) -> Figure:
    """The worst case over the worth to unknown tasks, as the first figure has it over that to f's own."""
    path = analysis.figures / "unknown-tasks.svg"
    over = points.drop(columns=AUC).rename(columns=dict(zip(PROBE, AUC, strict=True)))
    draw_worst_cases(path, over, analysis.reference, "mean AUC of attributes that f never learned")
    caption = "The worst case of every defence against its worth to unknown tasks, with 95% intervals."
    return Figure(path, caption, f"{caption} {in_words(over, 'worst_eval_acc')}")


def _readable(points: pd.DataFrame) -> pd.DataFrame:
    return filled(
        named(points).assign(
            **{
                "mean AUC, f's own attributes": intervals(points, "auc", decimal),
                "unknown attributes": intervals(points, "probe_auc", decimal),
                "identified by the worst attack": intervals(points, "worst_eval_acc", percent),
            }
        )
    )
