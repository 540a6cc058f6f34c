"""Intervals over people: a bootstrap over identities for everything that clusters by person.

The images of one person succeed and fail together, so resampling images would overstate what is known. Here
whole identities are drawn with replacement; a resample is a vector of weights, how often each image is in it.
Shares of images also keep the closed form's bounds where these are wider: it holds where successes are few.
It counts people where hardly any of them succeeded, or failed: how alike their images are is unknown then.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from scipy.special import ndtr, stdtrit
from torch import Tensor

from facecrafter.metrics.proportions import CONFIDENCE, Interval, Pairs, bonett_price, newcombe, wilson
from facecrafter.metrics.utility import check_scored, weighted_aucs, weighted_balanced_accuracies

RESAMPLES = 1000
FEW = 5
"""Fewer people than these tell the bootstrap nothing of how people differ."""


def clustered_mean(values: Tensor, identities: Tensor, seed: int = 0) -> Interval:
    """The mean of ``values`` (N,) with its bootstrap interval over ``identities`` (N,)."""
    values = values.double()
    return bootstrap(lambda weights: weights @ values / weights.sum(dim=1), identities, seed)


def clustered_share(hits: Tensor, identities: Tensor, seed: int = 0) -> Interval:
    """The share of ``hits`` (N,) bool: Wilson's interval, or over ``identities`` (N,) where that is wider."""
    return hull(clustered_mean(hits, identities, seed), wilson_of_people(hits, identities))


def wilson_of_people(hits: Tensor, identities: Tensor) -> Interval:
    """Wilson's interval of the share of ``hits`` (N,) bool, of as many images as there are ``identities``
    where fewer than `FEW` people have a hit, or a miss: as if all images of a person were one."""
    hits = hits.bool()
    people = (torch.unique(identities[some]).numel() for some in (hits, ~hits))
    n = len(hits) if min(people) >= FEW else torch.unique(identities).numel()
    return wilson(hits.double().mean().item() * n, n)


def paired_difference(first: Tensor, second: Tensor, identities: Tensor, seed: int = 0) -> Interval:
    """Mean of ``first − second``, two results (N,) on the same images, with its interval over ``identities``.

    If both are hits and misses (0 and 1), the interval contains Newcombe's.

    Raises:
        ValueError: the two do not have the same length, so they are not pairs.
    """
    _check_pairs(first, second)
    interval = clustered_mean(first.double() - second.double(), identities, seed)
    pairs = _count(first, second)
    return hull(interval, newcombe(pairs)) if pairs else interval


def paired_ratio(first: Tensor, second: Tensor, identities: Tensor, seed: int = 0) -> Interval:
    """mean(first) / mean(second), two results (N,) on the same images, with its interval over ``identities``.

    If both are hits and misses (0 and 1), the interval contains Bonett and Price's. NaN where ``second`` is
    zero throughout. A resample in which it is counts as infinite, or not at all if ``first`` is zero
    there too.

    Raises:
        ValueError: the two do not have the same length, so they are not pairs.
    """
    _check_pairs(first, second)
    if not second.any():
        return Interval(math.nan, math.nan, math.nan)
    pairs = _count(first, second)
    first, second = first.double(), second.double()
    interval = bootstrap(lambda weights: (weights @ first) / (weights @ second), identities, seed)
    return hull(interval, bonett_price(pairs)) if pairs else interval


def clustered_aucs(
    scores: Tensor, targets: Tensor, identities: Tensor, seed: int = 0
) -> tuple[Interval, list[Interval]]:
    """Mean AUC of ``scores`` (N, A) for ``targets`` (N, A) in {0, 1}, and the AUC of each column.

    The intervals are over ``identities`` (N,). A column of one class is NaN and skipped in the mean; one
    that loses a class in a resample is left out of that resample.

    Raises:
        ValueError: the shapes differ, a score is not finite, or a target is neither 0 nor 1.
    """
    check_scored(scores, targets)
    columns = list(zip(scores.T, targets.T, strict=True))

    def aucs(weights: Tensor) -> Tensor:
        return torch.stack([weighted_aucs(score, target, weights) for score, target in columns], dim=1)

    value, samples = _resampled(aucs, identities, seed)
    n = len(set(identities.tolist()))
    each = [_interval(value[:, a], samples[:, a], n) for a in range(len(columns))]
    return _interval(value.nanmean(dim=1), samples.nanmean(dim=1), n), each


def clustered_balanced_accuracy(
    decisions: Tensor, targets: Tensor, identities: Tensor, seed: int = 0
) -> Interval:
    """Mean over the columns of the balanced accuracy of ``decisions`` (N, A) for ``targets`` (N, A), both in
    {0, 1}, with its interval over ``identities`` (N,). Columns of one class count as in `clustered_aucs`.

    Raises:
        ValueError: the shapes differ.
    """
    _check_pairs(decisions, targets)

    def balanced(weights: Tensor) -> Tensor:
        return weighted_balanced_accuracies(decisions, targets, weights).nanmean(dim=1)

    return bootstrap(balanced, identities, seed)


def hull(first: Interval, second: Interval) -> Interval:
    """The value of the first with the wider of each bound."""
    return Interval(first.value, min(first.lo, second.lo), max(first.hi, second.hi))


def bootstrap(statistic: Callable[[Tensor], Tensor], identities: Tensor, seed: int) -> Interval:
    """``statistic`` maps weights (B, N) to B values; its percentiles over resamples are the interval."""
    value, samples = _resampled(statistic, identities, seed)
    return _interval(value, samples, len(set(identities.tolist())))


def _resampled(statistic: Callable[[Tensor], Tensor], identities: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """The statistic of the images as they are, (1, ...), and of every resample, (B, ...)."""
    every = torch.ones(1, len(identities), dtype=torch.float64)
    return statistic(every), statistic(_resampled_weights(identities, seed))


def _interval(value: Tensor, samples: Tensor, n_identities: int) -> Interval:
    """Percentiles, moved outwards as Student's t is wider than the normal (Hesterberg 2015, 'expanded').

    One person says nothing of people in general: NaN.
    """
    if n_identities < 2:
        return Interval(value.item(), math.nan, math.nan)
    quantile = stdtrit(n_identities - 1, (1 - CONFIDENCE) / 2)
    tail = float(ndtr((n_identities / (n_identities - 1)) ** 0.5 * quantile))
    tails = torch.tensor([tail, 1 - tail], dtype=torch.float64)
    lo, hi = samples.nanquantile(tails, interpolation="nearest").tolist()  # between infinities is no number
    return Interval(value.item(), lo, hi)


def _resampled_weights(identities: Tensor, seed: int) -> Tensor:
    """(B, N): how often each image is in a resample; the images of one identity always go together."""
    names, cluster = torch.unique(identities, return_inverse=True)
    n = len(names)
    drawn = torch.randint(n, (RESAMPLES, n), generator=torch.Generator().manual_seed(seed))
    counts = torch.zeros(RESAMPLES, n, dtype=torch.float64)
    counts.scatter_add_(1, drawn, torch.ones_like(drawn, dtype=torch.float64))
    return counts[:, cluster]


def _check_pairs(first: Tensor, second: Tensor) -> None:
    if first.shape != second.shape:
        raise ValueError(
            f"{len(first)} and {len(second)} results are no pairs; both must be of the same images"
        )


def _count(first: Tensor, second: Tensor) -> Pairs | None:
    """The 2×2 table of two results of hits and misses, None if they are numbers of another kind."""
    if not all(((values == 0) | (values == 1)).all() for values in (first, second)):
        return None
    first, second = first.bool(), second.bool()
    table = (first & second, first & ~second, ~first & second, ~first & ~second)
    return Pairs(*(int(cell.sum()) for cell in table))
