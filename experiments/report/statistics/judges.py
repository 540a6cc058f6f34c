"""Whether judges agree: image by image, and in what they say of each defence on their own."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import pandas as pd

from experiments.report.results import POINT
from experiments.report.statistics.paired_tests import Outcomes
from experiments.report.statistics.ranking import against_none
from experiments.report.statistics.worst_case import adaptive_gains, summarise

IMAGE = [*POINT, "trial", "row"]


class Agreement(NamedTuple):
    """Of two judges.

    Attributes:
        images: reconstructions that both judged, of all attacks on all defences.
        share: of which both or neither named the right person.
        kappa: Cohen's, 0 where they agree as often as if neither knew of the other, to 1; NaN where one of
            them always said the same.
    """

    first: str
    second: str
    images: int
    share: float
    kappa: float


def agreements(per_image: pd.DataFrame, judges: Sequence[str]) -> Iterator[Agreement]:
    """Of every two judges that judged the same reconstructions.

    Args:
        per_image: see `Results`.
    """
    hits = {name: per_image[per_image["oracle"] == name].set_index(IMAGE)["correct"] for name in judges}
    for first, second in itertools.combinations(judges, 2):
        pairs = pd.concat([hits[first], hits[second]], axis=1, join="inner", keys=["one", "other"])
        if len(pairs):
            same = float((pairs["one"] == pairs["other"]).mean())
            one, other = pairs["one"].mean(), pairs["other"].mean()
            chance = one * other + (1 - one) * (1 - other)
            kappa = (same - chance) / (1 - chance) if chance < 1 else float("nan")
            yield Agreement(first, second, len(pairs), same, kappa)


def verdicts(best: pd.DataFrame, per_image: pd.DataFrame, judges: Sequence[str]) -> pd.DataFrame:
    """What each judge alone says of each point against no defence: POINT, oracle, verdict, and the worst case
    by that judge."""
    tables = []
    for name in judges:
        rows = best[best["oracle"] == name]
        outcomes = Outcomes(per_image[per_image["oracle"] == name])
        summary = summarise(rows, adaptive_gains(rows, outcomes))
        table = against_none(summary, outcomes)
        if len(table):
            worst = summary[[*POINT, *(f"worst_eval_acc{bound}" for bound in ("", "_lo", "_hi"))]]
            tables.append(table[[*POINT, "verdict"]].merge(worst, on=POINT).assign(oracle=name))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()
