"""What private images or features in the attacker's hands are worth to them."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from experiments.evaluation.exposure import EXPOSURE
from experiments.report.analysis import Analysis
from experiments.report.document import Block, Table, Text
from experiments.report.formats import attack_of, filled, intervals, judges, named, percent, readable_gains
from experiments.report.results import POINT
from experiments.report.statistics.worst_case import LEAKED

TITLE = "When private data has leaked"
LEAKS = (
    "Here the attacker has some of the private people's own pictures, or their features with names. A "
    "feature classifier makes no image: it names a person directly from the feature, and is its own judge. "
    "Such an attacker is outside the threat model. Nothing here counts as the worst case of a defence, "
    "decides a verdict or ranks. 'With leaked pictures' is the attack that finds most, among those that were "
    "given some."
)


def blocks(analysis: Analysis) -> Iterator[Block]:
    worst = analysis.summary.dropna(subset="leaked_attack")
    if worst.empty:
        return
    yield Text(LEAKS)
    yield Table(_readable(worst), "exposure-worst", worst[[*POINT, *LEAKED]])
    table = analysis.gains[analysis.gains["adaptive"] == EXPOSURE]
    if len(table):
        yield Table(readable_gains(table), "exposure", table)


def _readable(worst: pd.DataFrame) -> pd.DataFrame:
    """The worst case with leaked pictures, beside that of the threat model."""
    leaked = [
        attack_of({"attack": line["leaked_attack"], "epoch": line["leaked_epoch"]})
        for line in worst.to_dict("records")
    ]
    table = named(worst).assign(
        **{
            "identified with leaked pictures": intervals(worst, "leaked_eval_acc", percent),
            "by": leaked,
            "judge": judges(worst["leaked_oracle"]),
            "worst case without": intervals(worst, "worst_eval_acc", percent),
        }
    )
    return filled(table)
