"""Unlinkability: against a plain loop as published, and Gaussians whose integrals are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from facecrafter.metrics import linkability


def gaussian_scores(people: int, pictures: int, apart: float, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Scores of all pairs, N(apart, 1) for one person's and N(0, 1) for two people's."""
    identities = torch.arange(people).repeat_interleave(pictures)
    noise = torch.randn(len(identities), len(identities), generator=torch.Generator().manual_seed(seed))
    noise = noise.triu(1) + noise.triu(1).T
    return noise + apart * (identities[:, None] == identities), identities


def plain_loop(scores: Tensor, identities: Tensor) -> tuple[float, float]:
    """D_sys and M_sys from two lists of scores, bin by bin."""
    mated, other = [], []
    for i in range(len(identities)):
        for j in range(i):
            (mated if identities[i] == identities[j] else other).append(float(scores[i, j]))
    bins = min(len(mated) // 10, 100)
    edges = np.linspace(min(mated + other), max(mated + other), bins + 1)
    p, q = (np.histogram(of, edges)[0] / len(of) for of in (mated, other))
    d_sys, largest = 0.0, 0.0
    for one, two in zip(p, q, strict=True):
        ratio = math.inf if two == 0 else one / two
        if one > 0 and ratio > 1:
            d_sys += one * (1.0 if two == 0 else 2 * ratio / (1 + ratio) - 1)
        largest += max(one, two)
    return d_sys, math.log2(largest)


def known_d_sys(apart: float) -> float:
    s = torch.linspace(-12, 12 + apart, 200_001, dtype=torch.float64)
    p, q = (torch.exp(-((s - mean) ** 2) / 2) / math.sqrt(2 * math.pi) for mean in (apart, 0.0))
    return float(torch.trapezoid(p * ((p - q) / (p + q)).nan_to_num(0).clamp(min=0), s))


@pytest.mark.parametrize("apart", [0.0, 1.0, 4.0])
def test_as_the_published_histograms_pair_by_pair(apart: float) -> None:
    scores, identities = gaussian_scores(12, 5, apart)
    found = linkability(scores, identities)
    assert found is not None
    expected = plain_loop(scores, identities)
    assert (found.d_sys.value, found.maximal.value) == pytest.approx(expected, abs=1e-6)
    assert found.mated == 120


@pytest.mark.parametrize("apart", [0.5, 1.0, 3.0])
def test_of_gaussians_it_is_the_integral(apart: float) -> None:
    """With many pairs the histograms' bias is small."""
    found = linkability(*gaussian_scores(60, 12, apart))
    assert found is not None
    maximal = math.log2(1 + math.erf(apart / 2 / math.sqrt(2)))  # half the L1 distance is 2Φ(apart/2) − 1
    assert found.d_sys.value == pytest.approx(known_d_sys(apart), abs=0.02)
    assert found.maximal.value == pytest.approx(maximal, abs=0.03)
    assert found.d_sys.lo < found.d_sys.value < found.d_sys.hi
    assert found.unrelated < 0.03


def test_nothing_and_everything_are_0_and_1() -> None:
    """Pairs that tell all give 1, and equal scores, which tell nothing, exactly 0."""
    identities = torch.arange(20).repeat_interleave(4)
    same = (identities[:, None] == identities).float()
    everything, nothing = linkability(same, identities), linkability(torch.zeros(80, 80), identities)
    assert everything is not None
    assert nothing is not None
    assert (everything.d_sys.value, everything.maximal.value) == (1, 1)
    assert (nothing.d_sys.value, nothing.maximal.value) == (0, 0)
    assert everything.unrelated < 0.2


def test_what_bias_alone_gives_is_told() -> None:
    """A value above zero is no sign of a link: scores that tell nothing give as much, in the mean."""
    found = [linkability(*gaussian_scores(15, 5, 0.0, seed), seed) for seed in range(30)]
    measured = sum(one.d_sys.value for one in found if one) / 30
    by_lot = sum(one.unrelated for one in found if one) / 30
    assert measured > 0.02
    assert by_lot == pytest.approx(measured, abs=0.02)


def test_the_interval_is_of_what_the_value_estimates() -> None:
    """Of scores that tell nothing no interval contained 0, and some not their own value: resamples are biased
    once more."""
    found = [linkability(*gaussian_scores(40, 3, 0.0, seed), seed) for seed in range(20)]
    intervals = [one.d_sys for one in found if one]
    assert all(one.lo <= one.value <= one.hi for one in intervals)
    assert sum(one.lo == 0 for one in intervals) >= 10
    linked = [linkability(*gaussian_scores(40, 3, 3.0, seed), seed) for seed in range(5)]
    assert all(one.d_sys.lo > 0.3 for one in linked if one)


def test_the_interval_is_over_people_not_over_pairs() -> None:
    """People of whom some can always be linked and some never: few of them say little."""
    widths = []
    for people, pictures in ((10, 12), (60, 5)):
        scores, identities = gaussian_scores(people, pictures, 0.0)
        linked = (identities % 2 == 0)[:, None] & (identities[:, None] == identities)
        found = linkability(scores + 6 * linked, identities)
        assert found is not None
        widths.append(found.d_sys.hi - found.d_sys.lo)
    assert widths[0] > 1.5 * widths[1]


def test_where_there_are_no_pairs_there_is_no_figure() -> None:
    assert linkability(torch.zeros(9, 9), torch.arange(9)) is None
    assert linkability(torch.zeros(9, 9), torch.zeros(9).long()) is None


@pytest.mark.parametrize("apart", [0.0, 1.5])
def test_two_releases_are_compared_with_each_other_alone(apart: float) -> None:
    """Pairs within one release are no pairs of two releases."""
    people, rng = 30, torch.Generator().manual_seed(1)
    first, second = torch.arange(people), torch.arange(people).repeat(2)
    is_mated = first[:, None] == second
    scores = torch.randn(people, 2 * people, generator=rng) + apart * is_mated
    found = linkability(scores, first, others=second)
    assert found is not None
    edges = np.linspace(float(scores.min()), float(scores.max()), 60 // 10 + 1)
    mated, other = (np.histogram(scores[at], edges)[0] / int(at.sum()) for at in (is_mated, ~is_mated))
    told = [(p - q) / (p + q) * p for p, q in zip(mated, other, strict=True) if p > q]
    assert found.mated == 60
    assert found.d_sys.value == pytest.approx(sum(told), abs=1e-6)
