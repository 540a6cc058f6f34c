"""Rank correlation against SciPy, resamples included."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.stats import spearmanr

from facecrafter.metrics.correlation import _mean, _ranks, rank_correlation


def test_the_value_is_spearmans() -> None:
    """With ties on both sides, which share their ranks."""
    generator = torch.Generator().manual_seed(0)
    first = torch.randint(6, (30,), generator=generator)
    second = first + torch.randint(5, (30,), generator=generator)
    found = rank_correlation(first, second, torch.arange(30))
    assert found.value == pytest.approx(spearmanr(first, second).statistic, abs=1e-12)
    assert -1 <= found.lo < found.value < found.hi <= 1


def test_a_resample_ranks_its_copies_together() -> None:
    """Ranks of a weighted sample are those of the sample with each value written as often as it counts."""
    values = torch.tensor([0.3, 0.1, 0.7, 0.3], dtype=torch.float64)
    weights = torch.tensor([[2.0, 0, 1, 3]], dtype=torch.float64)
    written = values.repeat_interleave(weights[0].long())
    direct = _ranks(written, torch.ones(1, len(written), dtype=torch.float64))[0]
    ranks = _ranks(values, weights)[0].repeat_interleave(weights[0].long())
    assert ranks.tolist() == direct.tolist()
    assert _mean(values, weights).item() == pytest.approx(written.mean().item())


def test_members_of_a_cluster_are_drawn_together() -> None:
    """Ten copies of four points are no forty: the interval is that of four."""
    first, second = torch.tensor([1.0, 2, 3, 4]), torch.tensor([1.0, 3, 2, 4])
    few = rank_correlation(first, second, torch.arange(4))
    many = rank_correlation(first.repeat(10), second.repeat(10), torch.arange(4).repeat(10))
    assert many == pytest.approx(few)


def test_a_constant_figure_has_no_order() -> None:
    assert math.isnan(rank_correlation(torch.ones(5), torch.arange(5), torch.arange(5)).value)
