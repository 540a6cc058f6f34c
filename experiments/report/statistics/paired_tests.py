"""Who was identified by which attack, image by image, and tests between two such results."""

from __future__ import annotations

from typing import NamedTuple

import pandas as pd
import torch

from experiments.evaluation.combining import UNION
from experiments.evaluation.exposure import EXPOSURE
from experiments.report.results import POINT
from facecrafter.metrics import Interval, paired_difference, paired_ratio
from facecrafter.metrics.significance import clustered_mcnemar, holm

SIGNIFICANCE = 0.05
NO_DIFFERENCE = "no difference shown"
LOWER, HIGHER = "lower", "higher"


class Key(NamedTuple):
    """Names one result: who protected, who attacked, who judged."""

    defence: str
    strength: str
    trial: str
    oracle: str


class Difference(NamedTuple):
    """Change of the Eval Acc from one result to another on the same images, its 95% interval, a p-value."""

    change: float
    lo: float
    hi: float
    p: float
    n_images: int


class Outcomes:
    """Hits and misses of every attack.

    Args:
        per_image: lines with the columns of `Key`, row, identity, correct, and countermeasure and adaptive
            ('none' where the column is missing).
    """

    def __init__(self, per_image: pd.DataFrame) -> None:
        self._people = per_image.drop_duplicates("row").set_index("row")["identity"]
        self._hits = {
            Key(*names): lines.set_index("row")["correct"].astype(int)
            for names, lines in per_image.groupby([*POINT, "trial", "oracle"], sort=False)
        }
        nothing = pd.Series("none", per_image.index)
        countered = per_image.get("countermeasure", nothing) != "none"
        leaked = per_image.get("adaptive", nothing) == EXPOSURE
        self._left_out = {*per_image.loc[countered | leaked, "trial"], UNION}

    def __contains__(self, key: Key) -> bool:
        return key in self._hits

    def rate(self, key: Key) -> float:
        """The Eval Acc."""
        return float(self._hits[key].mean())

    def strongest(self, first: pd.Series, second: pd.Series) -> tuple[Key, Key, str] | None:
        """What found most of each of two points (lines with POINT), as they can be held against each other,
        and the one verdict on the first that this can show.

        Of the attacks and judges both faced: a point that was attacked in more ways has the higher worst case
        for that alone. But of the point that leaks less by these, all count that it faced: what finds most of
        it, and was not run on the other, may make it the worse one and never the better. A countermeasure is
        the defence's own, so attacks on one are left out, and so are the union of attacks and those that were
        given private pictures or features. None where the two share no attack.
        """
        faced = [self._faced(*line[POINT]) for line in (first, second)]
        shared = [way for way in faced[0] if way in faced[1]]  # in order: the first of equals is named
        if not shared:
            return None
        # Each side by its own strongest of the shared attacks: the defender does not choose by which.
        one, other = (max((found[way] for way in shared), key=self.rate) for found in faced)
        if self.rate(one) < self.rate(other):
            return max(faced[0].values(), key=self.rate), other, LOWER
        return one, max(faced[1].values(), key=self.rate), HIGHER

    def _faced(self, defence: str, strength: str) -> dict[tuple[str, str], Key]:
        """The results of a point by trial and judge."""
        keys = [key for key in self._hits if (key.defence, key.strength) == (defence, strength)]
        return {(key.trial, key.oracle): key for key in keys if key.trial not in self._left_out}

    def difference(self, first: Key, second: Key) -> Difference:
        """Eval Acc of `first` minus that of `second`, tested on the images that both have."""
        columns = self._pairs(first, second)
        interval = paired_difference(*columns)
        return Difference(*interval, clustered_mcnemar(*columns), len(columns[0]))

    def share(self, first: Key, second: Key) -> Interval:
        """Eval Acc of `first` over that of `second`."""
        return paired_ratio(*self._pairs(first, second))

    def _pairs(self, first: Key, second: Key) -> list[torch.Tensor]:
        columns = [self._hits[first], self._hits[second], self._people]
        # The images that both have: a stage may have been run with fewer.
        pairs = pd.concat(columns, axis=1, join="inner").astype("int64")
        return list(torch.from_numpy(pairs.to_numpy().copy()).T)


def together(differences: list[Difference]) -> pd.DataFrame:
    """Tests that are looked at together, one line each: `Difference`, the p-value after Holm, and a verdict.

    The verdict is 'lower' or 'higher' where the interval excludes 0 and so does the corrected test, else
    'no difference shown'.
    """
    table = pd.DataFrame(differences, columns=Difference._fields)
    adjusted = holm(torch.tensor(table["p"].to_numpy(dtype=float)))
    table = table.assign(p_holm=adjusted.tolist())
    return table.assign(verdict=[_verdict(line) for line in table.to_dict("records")])


def _verdict(line: dict[str, float]) -> str:
    # Both have to agree: the interval is of one comparison, the test of the whole family.
    if line["p_holm"] >= SIGNIFICANCE or line["lo"] <= 0 <= line["hi"]:
        return NO_DIFFERENCE
    return LOWER if line["change"] < 0 else HIGHER
