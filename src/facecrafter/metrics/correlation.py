"""Whether two figures put the same things in the same order."""

from __future__ import annotations

from torch import Tensor

from facecrafter.metrics.intervals import bootstrap
from facecrafter.metrics.proportions import Interval


def rank_correlation(first: Tensor, second: Tensor, clusters: Tensor, seed: int = 0) -> Interval:
    """Spearman's ρ of two figures (N,), with its bootstrap interval over ``clusters`` (N,).

    Whole clusters are drawn, because their members rise and fall together. NaN where a figure is constant;
    a resample in which it is counts for nothing.
    """
    figures = [values.double() for values in (first, second)]

    def resampled(weights: Tensor) -> Tensor:
        ranks = [_ranks(values, weights) for values in figures]
        centred = [rank - _mean(rank, weights)[:, None] for rank in ranks]
        spreads = [_mean(rank.square(), weights).sqrt() for rank in centred]
        return _mean(centred[0] * centred[1], weights) / (spreads[0] * spreads[1])

    return bootstrap(resampled, clusters, seed)


def _ranks(values: Tensor, weights: Tensor) -> Tensor:
    """Rank of each of N values in B samples that hold it ``weights`` (B, N) times; ties share theirs."""
    # All that lie below, and half of those that tie, for every resample in one product.
    difference = values[:, None] - values
    return weights @ ((difference > 0).double() + (difference == 0).double() / 2).T


def _mean(values: Tensor, weights: Tensor) -> Tensor:
    return (weights * values).sum(dim=1) / weights.sum(dim=1)
