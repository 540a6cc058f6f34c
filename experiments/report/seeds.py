"""One table of several studies that differ in their seed alone."""

from __future__ import annotations

import pandas as pd
import torch

from facecrafter.metrics import over_seeds

SETTING = [
    *("dataset", "scenario", "network", "defence", "strength"),
    *("attack", "epoch", "countermeasure", "oracle"),
]
"""What the rows of one setting have in common."""


def combine(rows: pd.DataFrame, figures: list[str]) -> pd.DataFrame:
    """Mean, standard deviation and interval over seeds of each figure, for every setting.

    Args:
        rows: the `best` rows of the studies' results.csv, one below the other.
        figures: columns to combine, such as `auc` and `eval_acc`.

    Returns:
        One row per setting: how many `seeds`, and for each figure its mean under its name, `*_std`, and the
        interval from `*_lo` to `*_hi`, which says how the figure varies with the seed, not with the people.

    Raises:
        ValueError: a setting has two rows of one seed, so they are no repetitions.
    """
    lines = []
    for setting, group in rows.groupby(SETTING, sort=False, dropna=False):
        if group["seed"].duplicated().any():
            name = " ".join(str(value) for value in setting)
            raise ValueError(f"two rows of seed {group['seed'].mode()[0]} for {name}; give each seed once")
        line = dict(zip(SETTING, setting, strict=True)) | {"seeds": len(group)}
        for figure in figures:
            mean, std, lo, hi = over_seeds(torch.tensor(group[figure].to_numpy(dtype=float)))
            line |= {figure: mean, f"{figure}_std": std, f"{figure}_lo": lo, f"{figure}_hi": hi}
        lines.append(line)
    return pd.DataFrame(lines)
