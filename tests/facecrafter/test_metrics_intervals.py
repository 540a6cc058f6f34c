from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score

from facecrafter.metrics.intervals import (
    RESAMPLES,
    _resampled_weights,
    clustered_mean,
    clustered_mean_auc,
    paired_difference,
    paired_ratio,
    wilson,
)


def test_wilson_of_the_papers_headline() -> None:
    """8.59% of 128 images: 4.9-14.7%."""
    interval = wilson(11, 128)
    assert interval.value == 11 / 128
    assert (round(interval.lo, 3), round(interval.hi, 3)) == (0.049, 0.147)


@pytest.mark.parametrize(("successes", "n"), [(0, 1), (1, 1), (0, 400), (3, 7), (200, 400), (400, 400)])
def test_wilson_agrees_with_scipy(successes: int, n: int) -> None:
    expected = binomtest(successes, n).proportion_ci(0.95, method="wilson")
    assert wilson(successes, n)[1:] == pytest.approx((expected.low, expected.high), abs=1e-12)


@pytest.mark.parametrize(("successes", "n"), [(0, 0), (5, 4), (-1, 4)])
def test_wilson_refuses_what_is_no_proportion(successes: int, n: int) -> None:
    with pytest.raises(ValueError, match="no proportion"):
        wilson(successes, n)


def test_a_resample_draws_whole_identities_with_replacement() -> None:
    identities = torch.tensor([5, 9, 5, 7, 9, 9])
    weights = _resampled_weights(identities, seed=0)
    assert torch.equal(weights[:, 0], weights[:, 2])
    assert torch.equal(weights[:, 1], weights[:, 4])
    assert (weights[:, [0, 1, 3]].sum(dim=1) == 3).all(), "as many identities as there are"
    assert weights[:, 0].mean().item() == pytest.approx(1, abs=0.1)


def test_bootstrap_agrees_with_the_standard_error_of_cluster_means() -> None:
    torch.manual_seed(0)
    per_identity = torch.randn(200)
    interval = clustered_mean(per_identity.repeat_interleave(5), torch.arange(200).repeat_interleave(5))
    half = 1.96 * per_identity.std().item() / 200**0.5
    assert interval.value == pytest.approx(per_identity.mean().item(), abs=1e-6)
    assert interval.hi - interval.lo == pytest.approx(2 * half, rel=0.1), (
        "1,000 images, but 200 independent ones"
    )


def test_the_difference_is_paired() -> None:
    """Two results that vary a lot between people, but always differ by the same, differ for sure."""
    first = torch.randn(100)
    interval = paired_difference(first, first - 0.25, torch.arange(100))
    assert interval == pytest.approx((0.25, 0.25, 0.25), abs=1e-6)


def test_pairs_must_be_of_the_same_images() -> None:
    with pytest.raises(ValueError, match="no pairs"):
        paired_difference(torch.zeros(3), torch.zeros(4), torch.zeros(3))
    with pytest.raises(ValueError, match="no pairs"):
        paired_ratio(torch.zeros(3), torch.zeros(4), torch.zeros(3))


def test_a_fixed_share_has_no_uncertainty() -> None:
    """People differ a lot, but each keeps a third: the ratio of means is a third in every resample."""
    second = torch.rand(90) + 0.1
    interval = paired_ratio(second / 3, second, torch.arange(90) // 3)
    assert interval == pytest.approx((1 / 3, 1 / 3, 1 / 3), abs=1e-6)


def test_the_ratio_of_means_is_no_mean_of_ratios() -> None:
    first, second = torch.tensor([1.0, 0.0]), torch.tensor([1.0, 3.0])
    assert paired_ratio(first, second, torch.arange(2)).value == pytest.approx(0.25)


def test_intervals_are_seeded() -> None:
    values, identities = torch.randn(30), torch.arange(30) // 3
    assert clustered_mean(values, identities, seed=1) == clustered_mean(values, identities, seed=1)
    assert clustered_mean(values, identities, seed=1) != clustered_mean(values, identities, seed=2)


def test_auc_interval_agrees_with_a_loop_over_resampled_images() -> None:
    rng = np.random.default_rng(0)
    identities = torch.from_numpy(np.repeat(np.arange(30), 4))
    targets = torch.from_numpy(rng.integers(0, 2, (120, 2)))
    scores = (targets + torch.from_numpy(rng.normal(size=(120, 2)))).round(decimals=1)
    interval = clustered_mean_auc(scores, targets, identities, seed=3)
    weights = _resampled_weights(identities, seed=3).long().numpy()
    assert len(weights) == RESAMPLES
    values = [
        np.mean([roc_auc_score(targets[:, a], scores[:, a], sample_weight=weight) for a in range(2)])
        for weight in weights[:200]
    ]
    assert interval.value == pytest.approx(roc_auc_score(targets, scores), abs=1e-12)
    assert interval.lo == pytest.approx(np.quantile(values, 0.025), abs=0.02)
    assert interval.hi == pytest.approx(np.quantile(values, 0.975), abs=0.02)
    assert interval.lo < interval.value < interval.hi


def test_auc_interval_skips_a_column_of_one_class() -> None:
    torch.manual_seed(0)
    scores, targets, identities = torch.randn(60, 1), torch.randint(0, 2, (60, 1)), torch.arange(60)
    alone = clustered_mean_auc(scores, targets, identities)
    padded = clustered_mean_auc(scores.expand(-1, 2), torch.cat([targets, torch.ones(60, 1)], 1), identities)
    assert padded == alone
