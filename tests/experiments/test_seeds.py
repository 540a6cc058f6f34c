"""Several seeds of one study, with results made up by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t

from experiments.report.sections.seeds import combine


def row(seed: int, defence: str, eval_acc: float | None, **other: Any) -> dict[str, Any]:
    setting = {"dataset": "synthetic", "scenario": "deployment", "network": "resnet18", "strength": ""}
    setting |= {"attack": "white_box", "epoch": None, "countermeasure": "none", "oracle": "classifier"}
    return setting | {"defence": defence, "seed": seed, "data_seed": 0, "eval_acc": eval_acc, **other}


def test_each_setting_gets_its_spread_over_seeds() -> None:
    found = [0.1, 0.2, 0.15]
    rows = [row(seed, "crafter", value, strength="beta=1") for seed, value in enumerate(found)]
    rows += [row(seed, "none", 0.5) for seed in range(3)]
    table = combine(pd.DataFrame(rows), ["eval_acc"]).set_index("defence")
    half = t.ppf(0.975, 2) * np.std(found, ddof=1) / 3**0.5
    assert table.loc["crafter", "seeds"] == 3
    assert table.loc["crafter", "eval_acc_hi"] == pytest.approx(0.15 + half)
    assert table.loc["crafter", "eval_acc_std"] == pytest.approx(0.05)
    assert table.loc["none", "eval_acc_lo"] == table.loc["none", "eval_acc"] == 0.5


def test_a_figure_that_was_not_measured_stays_empty() -> None:
    table = combine(pd.DataFrame([row(0, "none", None), row(1, "none", None)]), ["eval_acc"])
    assert table[["eval_acc", "eval_acc_lo"]].isna().all(axis=None)


def test_other_people_of_the_same_seed_are_a_repetition() -> None:
    table = combine(pd.DataFrame([row(0, "none", 0.5), row(0, "none", 0.7, data_seed=1)]), ["eval_acc"])
    assert table.loc[0, ["seeds", "eval_acc"]].tolist() == [2, pytest.approx(0.6)]


def test_one_seed_twice_is_no_repetition() -> None:
    """The same run counted twice would halve the spread."""
    words = r"seed 4 and data\.seed 0 and are no repetitions \(synthetic deployment resnet18 none"
    with pytest.raises(ValueError, match=words):
        combine(pd.DataFrame([row(4, "none", 0.5), row(4, "none", 0.5)]), ["eval_acc"])
