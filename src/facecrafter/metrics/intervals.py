"""Intervals: Wilson's for a proportion, and a bootstrap over identities for everything that clusters by
person.

The images of one person succeed and fail together, so resampling images would overstate what is known. Here
whole identities are drawn with replacement; a resample is a vector of weights, how often each image is in it.
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import NormalDist
from typing import NamedTuple

import torch
from torch import Tensor

from facecrafter.metrics.utility import weighted_aucs

CONFIDENCE = 0.95
RESAMPLES = 1000


class Interval(NamedTuple):
    """A value with the bounds of its 95% interval."""

    value: float
    lo: float
    hi: float


def wilson(successes: int, n: int) -> Interval:
    """Wilson's score interval of a proportion (Wilson 1927).

    Raises:
        ValueError: ``n`` is not positive, or ``successes`` is outside 0..n.
    """
    if n < 1 or not 0 <= successes <= n:
        raise ValueError(f"{successes} successes of {n} are no proportion")
    z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    rate = successes / n
    centre = (rate + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * (rate * (1 - rate) / n + z**2 / (4 * n**2)) ** 0.5
    return Interval(rate, max(0.0, centre - half), min(1.0, centre + half))


def clustered_mean(values: Tensor, identities: Tensor, seed: int = 0) -> Interval:
    """The mean of ``values`` (N,) with its bootstrap interval over ``identities`` (N,)."""
    values = values.double()
    return _bootstrap(lambda weights: weights @ values / weights.sum(dim=1), identities, seed)


def paired_difference(first: Tensor, second: Tensor, identities: Tensor, seed: int = 0) -> Interval:
    """Mean of ``first − second``, two results (N,) on the same images, with its interval over ``identities``.

    Raises:
        ValueError: the two do not have the same length, so they are not pairs.
    """
    _check_pairs(first, second)
    return clustered_mean(first.double() - second.double(), identities, seed)


def paired_ratio(first: Tensor, second: Tensor, identities: Tensor, seed: int = 0) -> Interval:
    """mean(first) / mean(second), two results (N,) on the same images, with its interval over ``identities``.

    NaN where ``second`` is zero throughout; resamples in which it is are left out.

    Raises:
        ValueError: the two do not have the same length, so they are not pairs.
    """
    _check_pairs(first, second)
    first, second = first.double(), second.double()
    return _bootstrap(lambda weights: (weights @ first) / (weights @ second), identities, seed)


def clustered_mean_auc(scores: Tensor, targets: Tensor, identities: Tensor, seed: int = 0) -> Interval:
    """Mean AUC of ``scores`` (N, A) for ``targets`` (N, A) in {0, 1} with its interval over ``identities``.

    Columns of one class are skipped; one that loses a class in a resample is left out of that resample's
    mean.
    """
    columns = list(zip(scores.T, targets.T, strict=True))

    def mean_aucs(weights: Tensor) -> Tensor:
        return torch.stack([weighted_aucs(score, target, weights) for score, target in columns]).nanmean(
            dim=0
        )

    return _bootstrap(mean_aucs, identities, seed)


def _check_pairs(first: Tensor, second: Tensor) -> None:
    if first.shape != second.shape:
        raise ValueError(
            f"{len(first)} and {len(second)} results are no pairs; both must be of the same images"
        )


def _bootstrap(statistic: Callable[[Tensor], Tensor], identities: Tensor, seed: int) -> Interval:
    """``statistic`` maps weights (B, N) to B values; its percentiles over resamples are the interval."""
    value = statistic(torch.ones(1, len(identities), dtype=torch.float64))
    samples = statistic(_resampled_weights(identities, seed))
    tail = (1 - CONFIDENCE) / 2
    lo, hi = samples.nanquantile(torch.tensor([tail, 1 - tail], dtype=torch.float64)).tolist()
    return Interval(value.item(), lo, hi)


def _resampled_weights(identities: Tensor, seed: int) -> Tensor:
    """(B, N): how often each image is in a resample; the images of one identity always go together."""
    names, cluster = torch.unique(identities, return_inverse=True)
    n = len(names)
    drawn = torch.randint(n, (RESAMPLES, n), generator=torch.Generator().manual_seed(seed))
    counts = torch.zeros(RESAMPLES, n, dtype=torch.float64)
    counts.scatter_add_(1, drawn, torch.ones_like(drawn, dtype=torch.float64))
    return counts[:, cluster]
