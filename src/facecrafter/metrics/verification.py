"""Verification and open-set search: would a reconstruction pass for a photograph of the person, or find them?

A pair is a reconstruction and a private person; its score is the cosine between the oracle's embedding of
the one and the mean direction of the other's gallery photographs. A pair is genuine if the reconstruction is
of that person, else it is an impostor's. Impostor scores come from the same reconstructions, so what these
have in common with faces in general helps nobody: without knowledge, TAR equals FAR.

An open-set search returns who scores highest, if that is above a threshold, and may be for somebody who is
not in the gallery. Such searches are made of the same reconstructions, without their own person (ISO/IEC
19795-1).

Of protected features that are compared with photographs the score is a log-likelihood ratio: of this person
to anybody else.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from facecrafter.metrics.intervals import bootstrap, hull, wilson_of_people
from facecrafter.metrics.proportions import Interval


def person_scores(features: Tensor, gallery: Tensor, gallery_identities: Tensor) -> Tensor:
    """Cosine of each feature to each person's mean gallery direction.

    Args:
        features: (N, E).
        gallery: (M, E), features of known images.
        gallery_identities: (M,) int64 in 0..P-1, each at least once.

    Returns:
        (N, P) float64 in [-1, 1].

    Raises:
        ValueError: a person has no gallery image.
    """
    # Of length one before they are summed: no photograph counts more for the length of its embedding.
    directions, people = F.normalize(gallery.double()), int(gallery_identities.max()) + 1
    sums = directions.new_zeros(people, gallery.shape[1]).index_add_(0, gallery_identities, directions)
    if absent := sorted(set(range(people)) - set(gallery_identities.tolist())):
        raise ValueError(f"identity {absent[0]} has no gallery image to be verified against")
    return F.normalize(features.double()) @ F.normalize(sums).T


def likelihood_ratios(densities: Tensor, strangers: Tensor, identities: Tensor) -> Tensor:
    """How much likelier each of N probes is, were it of each of P people, than were it of anybody else.

    Anybody else is each of the others who are enrolled, or a stranger, all equally likely. A probe's own
    person is among the others in no impostor's score: these are those of somebody who is not enrolled.

    Args:
        densities: (N, P), logarithms, of N probes for P people.
        strangers: (N,), if they were of somebody who is not enrolled, up to the same constant.
        identities: (N,) int64 in 0..P-1, whom the probes show.

    Returns:
        (N, P) natural logarithms.
    """
    # A density says how usual a probe is, too, so that one threshold would fit few of them. Held against
    # strangers alone, a probe that is like all the enrolled passes for each; against these alone, one that is
    # like none of them for whoever is the least unlike it.
    own = F.one_hot(identities, densities.shape[1]).bool()
    others = torch.cat([densities.masked_fill(own, -math.inf), strangers[:, None]], dim=1)
    # From both sides up to each: a sum from which the largest part is taken away has no digits left.
    before = F.pad(others[:, :-2], (1, 0), value=-math.inf).logcumsumexp(dim=1)
    after = others[:, 1:].flip(1).logcumsumexp(dim=1).flip(1)
    count = (densities.shape[1] - 1 + own).to(densities)
    return densities - torch.logaddexp(before, after) + count.log()


def tar_at_far(scores: Tensor, identities: Tensor, far: float, seed: int = 0) -> Interval:
    """True accept rate at a false accept rate, with its interval over identities.

    A genuine pair is accepted if at most the share ``far`` of the impostor pairs scores as high or higher:
    the ROC's step below ``far``, without interpolation. In every resample of people the threshold is found
    again; the interval contains Wilson's for the accepted.

    Args:
        scores: (N, P), of N images for P people.
        identities: (N,) int64 in 0..P-1.
        far: in (0, 1).

    Returns:
        NaN throughout if there are fewer than 1/far impostor pairs, which cannot tell such a rate from none.
    """
    genuine, impostors = _split(scores, identities)
    if impostors.numel() < 1 / far:
        return Interval(math.nan, math.nan, math.nan)
    as_high = _count_as_high(impostors, genuine)

    def accepted(weights: Tensor) -> Tensor:
        return weights @ as_high / (weights.sum(dim=1, keepdim=True) * impostors.shape[1]) <= far

    return _share_of(accepted, identities, seed)


def fnir_at_fpir(
    scores: Tensor, identities: Tensor, fpir: float, seed: int = 0, first: Tensor | None = None
) -> Interval:
    """False negative identification rate at a false positive identification rate, over identities.

    A search finds the right person if they score higher than anybody else, and if at most the share ``fpir``
    of the searches for people who are not there has a score as high or higher. In every resample of people
    the threshold is found again; the interval contains Wilson's.

    Args:
        scores: (N, P), of N images for P people.
        identities: (N,) int64 in 0..P-1.
        fpir: in (0, 1).
        first: (N,) bool, whether the right person scores higher than anybody else, where ``scores`` of others
            are those of searches without them.

    Returns:
        NaN throughout if there are fewer than 1/fpir searches, or one person alone.
    """
    genuine, impostors = _split(scores, identities)
    if len(scores) < 1 / fpir or not impostors.shape[1]:
        return Interval(math.nan, math.nan, math.nan)
    highest = impostors.max(dim=1).values
    found = genuine > highest if first is None else first
    as_high = (highest[:, None] >= genuine).double()

    def missed(weights: Tensor) -> Tensor:
        searches = weights.sum(dim=1, keepdim=True)
        return ~((weights @ as_high / searches <= fpir) & found)

    return _share_of(missed, identities, seed)


def _share_of(hits: Callable[[Tensor], Tensor], identities: Tensor, seed: int) -> Interval:
    """The share of the images that ``hits``, weights (B, N) -> (B, N) bool, says, found anew in every
    resample of people."""

    def rates(weights: Tensor) -> Tensor:
        return (weights * hits(weights)).sum(dim=1) / weights.sum(dim=1)

    every = torch.ones(1, len(identities), dtype=torch.float64)
    return hull(bootstrap(rates, identities, seed), wilson_of_people(hits(every)[0], identities))


def _split(scores: Tensor, identities: Tensor) -> tuple[Tensor, Tensor]:
    """The score of each image for its own person (N,), and those for all others (N, P-1)."""
    others = torch.ones_like(scores, dtype=torch.bool).scatter_(1, identities[:, None], False)
    genuine = scores.gather(1, identities[:, None])[:, 0]
    return genuine, scores[others].reshape(len(scores), scores.shape[1] - 1)


def _count_as_high(impostors: Tensor, genuine: Tensor) -> Tensor:
    """(N, N): how many of the impostor scores of image i (N, P-1) reach the genuine score of image j."""
    ordered = impostors.sort(dim=1).values
    below = torch.searchsorted(ordered, genuine.expand(len(genuine), -1).contiguous())
    return (impostors.shape[1] - below).double()
