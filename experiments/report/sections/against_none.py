"""Every attack on every defence against the same attack on no defence, image by image."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from experiments.report.analysis import Analysis
from experiments.report.document import Block, Table, Text, folded_if_long
from experiments.report.formats import intervals, judges, named, p_value, percent, points_of_change, trials

TITLE = "Against undefended, on the same images"
PAIRED = (
    "Each attack on a defence is compared with the same attack on no defence, image by image. The table "
    "shows the change of Eval Acc and the share of the undefended Eval Acc that is left, with 95% intervals "
    "over people. The verdicts are corrected for the number of lines (Holm)."
)


def blocks(analysis: Analysis) -> Iterator[Block]:
    comparison = analysis.comparison
    if len(comparison):
        yield Text(PAIRED)
        table = Table(_readable(comparison), "comparison", comparison)
        yield folded_if_long("Every attack on every defence", table)


def _readable(comparison: pd.DataFrame) -> pd.DataFrame:
    return named(comparison).assign(
        **{
            "attack": trials(comparison),
            "judge": judges(comparison["oracle"]),
            "images": comparison["n_images"],
            "change in percentage points": points_of_change(comparison),
            "share that is left": intervals(comparison, "left", percent),
            "p (Holm)": comparison["p_holm"].map(p_value),
            "Eval Acc": comparison["verdict"],
        }
    )
