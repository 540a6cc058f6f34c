"""What several seeds of one experiment show together."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from scipy.special import stdtrit
from torch import Tensor

from facecrafter.metrics.proportions import CONFIDENCE


class Spread(NamedTuple):
    """Mean over seeds, standard deviation between them (n − 1), and the mean's 95% interval."""

    mean: float
    std: float
    lo: float
    hi: float


def over_seeds(values: Tensor) -> Spread:
    """Spread of one figure over its runs (S,) with different seeds; runs that lack it (NaN) are left out.

    Student's interval: it says where the mean over seeds lies, for the people that were measured. One seed
    has no spread (NaN).
    """
    found = values[~values.isnan()].double()
    if len(found) < 2:
        return Spread(found.mean().item(), math.nan, math.nan, math.nan)
    mean, std = found.mean().item(), torch.std(found).item()
    half = float(stdtrit(len(found) - 1, (1 + CONFIDENCE) / 2)) * std / len(found) ** 0.5
    return Spread(mean, std, mean - half, mean + half)
