"""A1: what an attacker finds over how many pictures of their own they had protected."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from experiments.report.analysis import Analysis
from experiments.report.document import Block
from experiments.report.effort import Effort
from experiments.report.results import POINT

TITLE = "Over the number of queries (A1)"
QUERIES = (
    "The attackers have pictures of their own protected and learn from the answers. Here they also learn "
    "from only the first few of them, for as many epochs. What they find with all answers is the attack. The "
    "rest of the curve is no worst case. A curve that still rises says that more queries would find more. "
    "Each number of queries counts with its best epoch."
)
ASKED = Effort("queries", "queries", ", over the number of queries.", "{} queries".format, doubling=True)


def blocks(analysis: Analysis) -> Iterator[Block]:
    return ASKED.blocks(analysis, _strongest(analysis.results.rows), QUERIES, "queries")


def _strongest(rows: pd.DataFrame) -> pd.DataFrame:
    """For each attack and number of queries the row of the epoch that finds most; none where that was not
    asked."""
    asked = rows[
        (rows["restart"].astype(str) == "best")
        & rows["queries"].notna()
        & (rows["countermeasure"] == "none")
        & rows["eval_acc"].notna()
    ]
    found = asked.groupby([*POINT, "attack", "oracle", "queries"], sort=False)["eval_acc"].idxmax()
    return asked.loc[found]
