"""A3: averaging several queries, under each countermeasure."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from experiments.report import names
from experiments.report.analysis import Analysis
from experiments.report.document import Block, Table, Text
from experiments.report.formats import filled, intervals, named, percent
from experiments.report.results import POINT
from experiments.report.statistics.paired_tests import Outcomes, together
from experiments.report.statistics.worst_case import EVAL_ACC, key

TITLE = "Averaging several queries (A3)"
AVERAGING = (
    "A randomised defence gives a different feature at every query. An attacker who sees the same picture "
    "several times can average these features. There are two countermeasures: shuffle the features at every "
    "query, or record them, so that a picture always gives the same one. Plain averaging takes the features "
    "position by position. Matched averaging first puts shuffled features back in order. Each cell shows "
    "what is identified (95% interval), and whether that is lower or higher than the strongest basic attack "
    "on a single query, corrected (Holm)."
)


def blocks(analysis: Analysis) -> Iterator[Block]:
    table = _countermeasures(analysis.best, analysis.outcomes)
    if len(table):
        yield Text(AVERAGING)
        yield Table(_readable(table), "averaging", table)


def _countermeasures(best: pd.DataFrame, outcomes: Outcomes) -> pd.DataFrame:
    """What averaging finds under each countermeasure, and adds to the strongest basic attack.

    One family of tests (Holm) for each defence at one strength and judge.
    """
    tables = []
    for _, rows in best[best["eval_acc"].notna()].groupby([*POINT, "oracle"], sort=False):
        averaged, basic = rows[rows["adaptive"] == "A3"], rows[rows["adaptive"] == "none"]
        if averaged.empty or basic.empty:
            continue
        single = basic.loc[basic["eval_acc"].idxmax()]
        tests = together([outcomes.difference(key(row), key(single)) for _, row in averaged.iterrows()])
        shown = averaged[[*POINT, "attack", "countermeasure", "oracle", *EVAL_ACC]].reset_index(drop=True)
        one = {"one_query_attack": single["attack"], "one_query_eval_acc": single["eval_acc"]}
        tables.append(pd.concat([shown.assign(**one), tests], axis=1))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def _readable(table: pd.DataFrame) -> pd.DataFrame:
    """Per defence, averaging and judge a line, one column per countermeasure."""
    found = intervals(table, "eval_acc", percent)
    cells = [f"{cell}, {verdict}" for cell, verdict in zip(found, table["verdict"], strict=True)]
    lines = pd.DataFrame(
        {
            "defence": named(table)["defence"],
            "averaging": table["attack"].map(names.attack),
            "judge": table["oracle"].map(names.judge),
            "strongest attack on one query": table["one_query_attack"].map(names.attack),
            "it identified": table["one_query_eval_acc"].map(percent),
        }
    )
    columns = "countermeasure " + table["countermeasure"].replace("none", "none (the features as they are)")
    wide = lines.assign(column=columns, cell=cells).pivot(
        index=list(lines.columns), columns="column", values="cell"
    )
    return filled(wide[list(dict.fromkeys(columns))].reset_index().rename_axis(columns=None))
