"""The floor of a comparison, and what room is left above it to show anything in."""

from __future__ import annotations

import math
from collections.abc import Iterable

import pandas as pd

from experiments.evaluation import answers, unlinkability
from experiments.report.statistics.paired_tests import NO_DIFFERENCE

WITHIN = 0.05
"""How near the floor a worst case is that counts as near, and with its upper bound as having reached it."""
REACHED, NEAR, ABOVE = "protected to the floor", "near the floor", "above the floor"
NOT_SHOWN = "not shown"
FIGURES = [name for column in (*answers.COLUMNS, *unlinkability.COLUMNS) for name in column.names()]


def least(line: pd.Series) -> float:
    """Below what no attack on features that keep f's answers is expected to fall: the floor, where it is
    known, and chance."""
    floor = line.get("floor_raw", math.nan)
    chance = 1 / line["n_identities"]
    return chance if pd.isna(floor) else max(chance, floor)


def leaves_room(undefended: pd.Series, name: str = "eval_acc") -> bool:
    """Whether an attack on undefended features finds more above the floor than its interval can resolve.

    Where it does not, a defence under it can neither be shown to help nor not to.
    """
    resolution = (undefended[f"{name}_hi"] - undefended[f"{name}_lo"]) / 2
    return bool(undefended[name] - least(undefended) > resolution)


def shown_with(room: Iterable[bool], verdicts: Iterable[str]) -> list[str]:
    """The verdicts, of which one that shows no difference is 'not shown' where there is no room for any."""
    pairs = zip(room, verdicts, strict=True)
    return [NOT_SHOWN if verdict == NO_DIFFERENCE and not some else verdict for some, verdict in pairs]


def against_floor(summary: pd.DataFrame) -> list[str]:
    """Whether each point's worst case, upper bound and all, is within `WITHIN` of its floor; `NEAR` it where
    the worst case is, and its upper bound is not.

    Empty where one of the two was not measured, or the point escaped another one's worst attack; `not shown`
    throughout where the undefended worst case leaves no room.
    """
    none = summary[summary["defence"] == "none"]
    told = (
        none.empty or pd.isna(none.iloc[0]["worst_eval_acc"]) or leaves_room(none.iloc[0], "worst_eval_acc")
    )
    return [_against(line, told) for _, line in summary.iterrows()]


def _against(line: pd.Series, told: bool) -> str:
    worst, high, floor = line["worst_eval_acc"], line["worst_eval_acc_hi"], line.get("floor", math.nan)
    if line["defence"] == "none" or line["not_faced"] or pd.isna(high) or pd.isna(floor):
        return ""
    if not told:
        return NOT_SHOWN
    if high <= floor + WITHIN:
        return REACHED
    return NEAR if worst <= floor + WITHIN else ABOVE
