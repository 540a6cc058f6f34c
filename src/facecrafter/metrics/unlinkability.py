"""Unlinkability: whether two protected features tell if they are of one person (ISO/IEC 24745).

Scores of pairs of one person (mated) against those of two people (non-mated). With p and q their densities
and both kinds of pair as likely (ω = 1),

    D↔sys = ∫ p(s)·D(s) ds, D(s) = (p − q)/(p + q) where p > q, else 0 (Gomez-Barrero et al. 2018)
    M↔sys = log₂(1 + ½∫|p − q| ds) (maximal linkability, Otroshi Shahreza, Shkel and Marcel 2023)

both from 0, pairs tell nothing, to 1, they tell all. The densities are histograms of equal bins over all
scores, as in the published code; so both are biased upwards, and above zero for features that tell nothing.
`unrelated` says by how much.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from facecrafter.metrics.intervals import bootstrap
from facecrafter.metrics.proportions import Interval

BINS = 100
MATED_PER_BIN = 10
"""As published: at most `BINS`, and no more than one for so many mated scores."""


class Linkability(NamedTuple):
    """How well pairs can be linked.

    Attributes:
        d_sys: D↔sys.
        maximal: M↔sys.
        unrelated: D↔sys of the same scores where who is who is drawn by lot: what bias alone gives.
        mated: pairs of one person.
    """

    d_sys: Interval
    maximal: Interval
    unrelated: float
    mated: int


def linkability(
    scores: Tensor, identities: Tensor, seed: int = 0, others: Tensor | None = None
) -> Linkability | None:
    """Linkability of N protected pictures with each other, or with M others, with intervals over people.

    In a resample a person who is drawn k times brings their mated pairs k times, and k·l non-mated ones with
    somebody drawn l times. The bins are those of all scores.

    Args:
        scores: (N, M), of every two pictures, higher for more alike; without `others` symmetric.
        identities: (N,) int64.
        seed: of the resamples and of the lot.
        others: (M,) int64, whose the other pictures are.

    Returns:
        None if there are no mated pairs for two bins, or no non-mated ones.
    """
    if others is None:
        first, second = torch.triu_indices(len(identities), len(identities), offset=1)
        names, mine = torch.unique(identities, return_inverse=True)
        theirs = mine
    else:
        first, second = torch.cartesian_prod(torch.arange(len(identities)), torch.arange(len(others))).T
        names, people = torch.unique(torch.cat([identities, others]), return_inverse=True)
        mine, theirs = people.split([len(identities), len(others)])
    mated = int((mine[first] == theirs[second]).sum())
    bins = min(BINS, mated // MATED_PER_BIN)
    if bins < 2 or mated == len(first):
        return None
    binned = _binned(scores[first, second], bins)
    tables = _tables(binned, mine[first], theirs[second], bins, len(names))

    def interval(of: Callable[[Tensor, Tensor], Tensor]) -> Interval:
        value, lo, hi = bootstrap(lambda weights: of(*_densities(tables, weights)), names, seed)
        # Mirrored: a resample has the bias of the value once more, in the same direction.
        return Interval(value, max(0.0, 2 * value - hi), min(1.0, max(0.0, 2 * value - lo)))

    # The same people with as many pictures each, so that bias is all that is left.
    lot = theirs[torch.randperm(len(theirs), generator=torch.Generator().manual_seed(seed))]
    by_lot = _tables(binned, (lot if others is None else mine)[first], lot[second], bins, len(names))
    one = torch.ones(1, len(names), dtype=torch.float64)
    unrelated = _d_sys(*_densities(by_lot, one)).item()
    return Linkability(interval(_d_sys), interval(_maximal), unrelated, mated)


def _binned(scores: Tensor, bins: int) -> Tensor:
    """The bin of each score, (n,) in 0..bins-1."""
    low, high = scores.min(), scores.max()
    if not high > low:
        return torch.zeros(len(scores), dtype=torch.int64)
    return ((scores - low) / (high - low) * bins).long().clamp(max=bins - 1)


def _tables(binned: Tensor, first: Tensor, second: Tensor, bins: int, people: int) -> Tensor:
    """(bins, P, P) float64: how many pairs of two people have scores in a bin; each pair counts once."""
    # A pair has no order: the smaller number first, so that each is found in one place.
    places = (binned * people + torch.minimum(first, second)) * people + torch.maximum(first, second)
    counts = torch.bincount(places, minlength=bins * people * people)
    return counts.reshape(bins, people, people).double()


def _densities(tables: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Shares of mated and of non-mated scores in each bin, (B, bins) each, for people's weights (B, P)."""
    mated = weights @ tables.diagonal(dim1=1, dim2=2).T
    across = tables - torch.diag_embed(tables.diagonal(dim1=1, dim2=2))
    other = torch.stack([((weights @ table) * weights).sum(dim=1) for table in across], dim=1)
    return mated / mated.sum(dim=1, keepdim=True), other / other.sum(dim=1, keepdim=True)


def _d_sys(mated: Tensor, other: Tensor) -> Tensor:
    linked = ((mated - other) / (mated + other)).nan_to_num(0).clamp(min=0)  # no score, nothing to tell
    return (mated * linked).sum(dim=1)


def _maximal(mated: Tensor, other: Tensor) -> Tensor:
    return (1 + (mated - other).abs().sum(dim=1) / 2).log2()
