"""The spread over studies that differ in their seeds alone."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd
import torch

from experiments.report.analysis import Analysis
from experiments.report.document import Block, Table, Text
from experiments.report.formats import decimal, intervals, judges, named, percent, percentage, trials
from facecrafter.metrics import over_seeds

TITLE = "Over seeds"
SEEDS = (
    "The same study with other seeds: the mean over seeds, with the interval of that mean. This interval "
    "says how a figure varies from run to run for the people that were measured. Where the data's seed "
    "differs, it also says how the figure varies with the people drawn. The other intervals say how a figure "
    "varies with the people."
)
SETTING = [
    *("dataset", "scenario", "network", "defence", "strength"),
    *("attack", "epoch", "countermeasure", "oracle"),
]
"""What the rows of one setting have in common."""
SEED = ["seed", "data_seed"]
"""What repetitions differ in: the study's seed, or the one by which its data draws people."""


def blocks(analysis: Analysis) -> Iterator[Block]:
    if analysis.other_seeds:
        studies = (analysis.results, *analysis.other_seeds)
        rows = pd.concat([one.rows.assign(data_seed=one.data_seed) for one in studies], ignore_index=True)
        rows = rows.fillna({"strength": "", "countermeasure": "none"})
        best = (rows["restart"].astype(str) == "best") & ~rows["curve_only"]
        table = combine(rows[best], ["eval_acc", "auc"])
        yield Text(SEEDS)
        yield Table(_readable(table), "seeds", table)


def combine(rows: pd.DataFrame, figures: list[str]) -> pd.DataFrame:
    """Mean, standard deviation and interval over seeds of each figure, for every setting.

    Args:
        rows: the `best` rows of the studies' results.csv, one below the other, and their `data_seed`.
        figures: columns to combine, such as `auc` and `eval_acc`.

    Returns:
        One row per setting: how many `seeds`, and for each figure its mean under its name, `*_std`, and the
        interval from `*_lo` to `*_hi`, which says how the figure varies with the seed, not with the people.

    Raises:
        ValueError: a setting has two rows of one seed, so they are no repetitions.
    """
    lines = []
    for setting, group in rows.groupby(SETTING, sort=False, dropna=False):
        if (twice := group[SEED].duplicated()).any():
            name = " ".join(str(value) for value in setting)
            seed = group[twice].iloc[0]
            raise ValueError(
                f"two of the studies have seed {seed['seed']} and data.seed {seed['data_seed']} and are no "
                f"repetitions ({name}): name each study once, and not the one itself in --other-seeds"
            )
        line = dict(zip(SETTING, setting, strict=True)) | {"seeds": len(group)}
        for figure in figures:
            mean, std, lo, hi = over_seeds(torch.tensor(group[figure].to_numpy(dtype=float)))
            line |= {figure: mean, f"{figure}_std": std, f"{figure}_lo": lo, f"{figure}_hi": hi}
        lines.append(line)
    return pd.DataFrame(lines)


def _readable(table: pd.DataFrame) -> pd.DataFrame:
    return named(table).assign(
        **{
            "attack": trials(table),
            "judge": judges(table["oracle"]),
            "seeds": table["seeds"],
            "Eval Acc": intervals(table, "eval_acc", percent),
            "its standard deviation": table["eval_acc_std"].map(percentage),
            "mean AUC": intervals(table, "auc", decimal),
        }
    )
