"""Verification and open-set search of the worst cases."""

from __future__ import annotations

import pandas as pd

from experiments.evaluation.judge import OPEN_SET
from experiments.report.results import POINT, trial

FIGURES = [name for column in OPEN_SET for name in column.names()]


def of_worst(summary: pd.DataFrame, best: pd.DataFrame) -> pd.DataFrame:
    """Of each line of `summary` the `FIGURES` of its worst case, empty where it has none or was measured
    before there were such figures.

    Args:
        summary: see `summarise`.
        best: `Results.best`.
    """
    worst = summary.dropna(subset="worst_attack")
    named = worst[POINT].assign(
        oracle=worst["worst_oracle"],
        trial=[
            trial({"attack": line["worst_attack"], "epoch": line["worst_epoch"]})
            for line in worst.to_dict("records")
        ],
    )
    measured = best.reindex(columns=[*named, *FIGURES])
    found = named.merge(measured, on=[*named], how="left").set_index(worst.index)
    return found[FIGURES].astype(float).reindex(summary.index)
