"""Whether a verdict hangs on one judge."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from experiments.report import names
from experiments.report.analysis import Analysis
from experiments.report.document import Block, Items, Table, Text, folded_if_long
from experiments.report.formats import filled, intervals, name_of, named, percent
from experiments.report.results import POINT
from experiments.report.statistics.judges import Agreement, agreements

TITLE = "Do the judges agree?"
PUBLISHED = True
JUDGES = (
    "This section takes each judge alone: what the strongest attack finds by its word, and its verdict "
    "against no defence. Two judges agree on a reconstruction where both or neither name the right person. "
    "Cohen's kappa is 0 where they agree no more often than two independent judges would, and 1 where they "
    "always agree."
)


def blocks(analysis: Analysis) -> Iterator[Block]:
    found = list(agreements(analysis.results.per_image, analysis.judges))
    if not found:
        return
    yield Text(JUDGES)
    yield Items([_in_words(one) for one in found])
    if len(analysis.verdicts):
        table = Table(_readable(analysis.verdicts), "judges", analysis.verdicts)
        # Where they disagree stands in words, too.
        yield folded_if_long("What each judge says about each point", table)


def doubts(analysis: Analysis) -> Iterator[str]:
    if len(analysis.judges) < 2 or analysis.verdicts.empty:
        return
    for _, lines in analysis.verdicts.groupby(POINT, sort=False):
        if lines["verdict"].nunique() > 1:
            said = "; ".join(
                f"{names.judge(line['oracle'])}: {line['verdict']}" for line in lines.to_dict("records")
            )
            yield f"The judges disagree on {name_of(lines.iloc[0])} against no defence ({said})."


def _in_words(one: Agreement) -> str:
    kappa = "" if pd.isna(one.kappa) else f", kappa {one.kappa:.2f}"
    return (
        f"{names.judge(one.first)} and {names.judge(one.second)} agree on {percent(one.share)} of "
        f"{one.images} reconstructions{kappa}."
    )


def _readable(table: pd.DataFrame) -> pd.DataFrame:
    """A line for each point, two columns for each judge."""
    shown = named(table).assign(
        judge=[names.judge(name) for name in table["oracle"]],
        worst=intervals(table, "worst_eval_acc", percent),
        leak=table["verdict"],
    )
    lines = shown.drop_duplicates("defence")[["defence"]]
    for judge, group in shown.groupby("judge", sort=False):
        own = group.rename(columns={"worst": f"identified by {judge}", "leak": f"leak by {judge}"})
        lines = lines.merge(own.drop(columns="judge"), on="defence", how="left")
    return filled(lines)
