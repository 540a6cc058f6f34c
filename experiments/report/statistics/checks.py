"""What has to hold before a comparison means anything."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from experiments.evaluation.combining import UNION
from experiments.evaluation.exposure import EXPOSURE
from experiments.report import names
from experiments.report.formats import percent

STRONGEST, WHITE_BOX = 10.0, 5.0
"""How far above chance the undefended attacks have to be, for a protected one to mean anything."""
READERS = {"itself", "none"}
"""Stand where an oracle judges images, in rows without images: no oracle is checked by them."""


@dataclass(frozen=True)
class Check:
    """Something that has to hold before what one oracle says means anything."""

    oracle: str
    text: str
    passed: bool


def check(best: pd.DataFrame) -> list[Check]:
    """Whether the undefended attacks succeed, and whether the oracles know the clean images.

    The union of attacks is none of them: that of ten attacks which guess is ten times as good as chance. Nor
    does one that was given private pictures vouch for those that were not.
    """
    judged = best[~best["oracle"].isin(READERS) & (best["attack"] != UNION)]
    return [item for name, rows in judged.groupby("oracle", sort=False) for item in _of_oracle(name, rows)]


def _of_oracle(oracle: str, rows: pd.DataFrame) -> Iterator[Check]:
    undefended = rows[(rows["defence"] == "none") & (rows["adaptive"] != EXPOSURE)]
    if undefended.empty:
        yield Check(oracle, f"no attack on undefended images was judged by {names.judge(oracle)} yet", False)
        return
    yield _succeeds(undefended, STRONGEST, "the strongest attack")
    white_box = undefended[undefended["access"] == "white"]
    if not white_box.empty:
        yield _succeeds(white_box, WHITE_BOX, "the strongest white-box attack")
    clean, worst = rows["clean_acc"].iloc[0], rows["eval_acc_lo"].max()
    judge = names.judge(oracle)
    text = f"{judge} identifies {percent(clean)} of the clean images; no attack may be shown to exceed that"
    yield Check(oracle, text, bool(clean >= worst))


def _succeeds(rows: pd.DataFrame, factor: float, what: str) -> Check:
    # By the lower bound: with few images an accuracy is high by luck alone.
    row = rows.loc[rows["eval_acc_lo"].idxmax()]
    times = times_chance(row)
    who = f"{names.attack(row['attack'])}, judged by {names.judge(row['oracle'])}"
    text = (
        f"{what}, {who}, identifies {percent(row['eval_acc'])} of the undefended images; the lower bound is "
        f"{times:.1f} times chance (at least {factor:g} needed)"
    )
    return Check(row["oracle"], text, bool(times >= factor))


def times_chance(row: pd.Series) -> float:
    """The lower bound of an Eval Acc as a multiple of chance."""
    return float(row["eval_acc_lo"] * row["n_identities"])


def believed(checks: list[Check]) -> set[str]:
    """The oracles that pass every check."""
    return {item.oracle for item in checks} - {item.oracle for item in checks if not item.passed}
