from __future__ import annotations

import math

import pytest
import torch
from scipy.stats import t, tstd

from facecrafter.metrics.seeds import over_seeds


def test_spread_agrees_with_scipy() -> None:
    values = [0.1, 0.14, 0.08, 0.2]
    spread = over_seeds(torch.tensor(values))
    interval = t.interval(0.95, 3, loc=sum(values) / 4, scale=tstd(values) / 2)
    assert spread == pytest.approx((sum(values) / 4, tstd(values), *interval), abs=1e-6)


def test_one_seed_says_nothing_of_others() -> None:
    mean, *rest = over_seeds(torch.tensor([0.3]))
    assert mean == pytest.approx(0.3)
    assert all(math.isnan(value) for value in rest)


def test_a_run_without_the_figure_is_left_out() -> None:
    """A NaN must neither count as zero nor spoil the others."""
    assert over_seeds(torch.tensor([0.1, math.nan, 0.3])) == over_seeds(torch.tensor([0.1, 0.3]))


def test_interval_covers_the_mean_over_seeds_as_often_as_it_says() -> None:
    """With three seeds, 1.96 standard errors would cover 81%."""
    draws = torch.randn(2000, 3, generator=torch.Generator().manual_seed(0))
    covered = sum(spread.lo <= 0 <= spread.hi for spread in map(over_seeds, draws)) / len(draws)
    assert covered == pytest.approx(0.95, abs=0.015)
