from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from facecrafter.metrics.intervals import (
    RESAMPLES,
    _resampled_weights,
    clustered_aucs,
    clustered_mean,
    clustered_share,
    paired_difference,
    paired_ratio,
    wilson_of_people,
)
from facecrafter.metrics.proportions import Pairs, bonett_price, newcombe, wilson

SIMULATIONS = 200


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


def test_one_person_says_nothing_of_people() -> None:
    """Resampling one person gives that person again: an interval of no width, as if it were certain."""
    value, lo, hi = clustered_mean(torch.rand(8), torch.zeros(8))
    assert math.isfinite(value)
    assert math.isnan(lo)
    assert math.isnan(hi)


def test_a_share_keeps_wilsons_bounds_and_knows_people() -> None:
    assert clustered_share(torch.zeros(64), torch.arange(64)) == wilson(0, 64)
    hits = torch.arange(40) % 2 == 0
    assert clustered_share(hits, torch.arange(40)).hi >= wilson(20, 40).hi
    together = clustered_share(hits, torch.arange(40) % 2 + 2 * (torch.arange(40) // 20))
    assert together.lo == 0, "four people, all of whose images are hits or are not"


@pytest.mark.parametrize(("people", "images", "leak"), [(100, 4, 0.01), (100, 2, 0.02), (46, 3, 0.05)])
def test_where_hardly_anybody_is_found_people_count_and_not_their_images(
    people: int, images: int, leak: float
) -> None:
    """Somebody is found in all of their pictures or in none: 64 to 87 of 100 intervals over images held."""
    identities = torch.arange(people).repeat_interleave(images)
    draws = torch.rand(150, people, generator=torch.Generator().manual_seed(0)) < leak
    found = [clustered_share(draw.repeat_interleave(images), identities) for draw in draws]
    assert sum(one.lo <= leak <= one.hi for one in found) >= 0.91 * len(found)
    assert clustered_share(torch.zeros(400), torch.arange(400) // 4) == wilson(0, 100)
    assert wilson_of_people(torch.arange(400) % 2 == 0, torch.arange(400) // 4) == wilson(200, 400)


def test_pairs_of_hits_keep_the_closed_forms_bounds() -> None:
    """Of 64 pairs, 17 undefended hits and none left: a bootstrap alone would say that 0% is certain."""
    first, second, people = torch.zeros(64), (torch.arange(64) < 17).float(), torch.arange(64)
    ratio, difference = paired_ratio(first, second, people), paired_difference(first, second, people)
    assert (ratio.value, ratio.hi) == (0, bonett_price(Pairs(0, 0, 17, 47)).hi)
    assert difference.hi >= newcombe(Pairs(0, 0, 17, 47)).hi


def test_no_share_is_left_of_nothing() -> None:
    assert math.isnan(paired_ratio(torch.ones(9), torch.zeros(9), torch.arange(9)).value)


def test_a_resample_without_undefended_hits_leaves_the_ratio_open() -> None:
    """One undefended hit in ten images is missed by a third of the resamples."""
    first, second = torch.arange(10) < 3, torch.arange(10) == 0
    assert math.isinf(paired_ratio(first, second, torch.arange(10)).hi)


@pytest.mark.strict
@pytest.mark.parametrize(("people", "images"), [(12, 4), (64, 1), (64, 4)])
@pytest.mark.parametrize("leaks", [(0.3, 0.3), (0.03, 0.27), (0.04, 0.04)])
def test_paired_intervals_cover_the_truth(people: int, images: int, leaks: tuple[float, float]) -> None:
    """Simulated people of whom some are easy; a difference that is not there is shown in at most 1 of 20."""
    generator = torch.Generator().manual_seed(0)
    thresholds = torch.special.ndtri(torch.tensor(leaks))
    identities = torch.arange(people).repeat_interleave(images)
    misses = torch.zeros(2)
    for seed in range(SIMULATIONS):
        person = torch.randn(people, 1, generator=generator).expand(-1, images).reshape(1, -1)
        image, result = (torch.randn(k, people * images, generator=generator) for k in (1, 2))
        first, second = 0.7 * person + 0.5 * image + 0.51 * result < thresholds[:, None]
        difference = paired_difference(first, second, identities, seed)
        ratio = paired_ratio(first, second, identities, seed)
        misses[0] += not difference.lo <= leaks[0] - leaks[1] <= difference.hi
        misses[1] += ratio.lo > leaks[0] / leaks[1] or ratio.hi < leaks[0] / leaks[1]
    assert (misses <= 0.05 * SIMULATIONS + 2.5 * (0.05 * 0.95 * SIMULATIONS) ** 0.5).all(), misses


def test_few_people_are_resampled_too_alike() -> None:
    """Plain percentiles of eight people would cover their mean in 89% of cases."""
    draws = torch.randn(600, 8, generator=torch.Generator().manual_seed(0))
    intervals = [clustered_mean(values, torch.arange(8), seed) for seed, values in enumerate(draws)]
    assert sum(interval.lo <= 0 <= interval.hi for interval in intervals) / 600 > 0.92


def test_intervals_are_seeded() -> None:
    values, identities = torch.randn(30), torch.arange(30) // 3
    assert clustered_mean(values, identities, seed=1) == clustered_mean(values, identities, seed=1)
    assert clustered_mean(values, identities, seed=1) != clustered_mean(values, identities, seed=2)


def test_auc_interval_agrees_with_a_loop_over_resampled_images() -> None:
    rng = np.random.default_rng(0)
    identities = torch.from_numpy(np.repeat(np.arange(30), 4))
    targets = torch.from_numpy(rng.integers(0, 2, (120, 2)))
    scores = (targets + torch.from_numpy(rng.normal(size=(120, 2)))).round(decimals=1)
    interval = clustered_aucs(scores, targets, identities, seed=3)[0]
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


def test_each_columns_interval_is_that_of_the_column_alone() -> None:
    torch.manual_seed(0)
    targets, identities = torch.randint(0, 2, (80, 3)), torch.arange(80) // 4
    scores = torch.randn(80, 3) + targets
    targets[:, 1] = 1
    mean, each = clustered_aucs(scores, targets, identities)
    for column in (0, 2):
        alone = clustered_aucs(scores[:, [column]], targets[:, [column]], identities)[0]
        assert each[column] == pytest.approx(alone, abs=1e-12)
    assert all(math.isnan(value) for value in each[1]), "a column of one class has no AUC"
    assert mean.value == pytest.approx((each[0].value + each[2].value) / 2)


def test_scores_that_are_no_numbers_have_no_auc() -> None:
    """NaN sorts above every number: an f that is broken on the people who wear glasses would read glasses."""
    targets, identities = torch.tensor([[0], [0], [1], [1]]), torch.arange(4)
    for broken in (math.nan, math.inf):
        with pytest.raises(ValueError, match="not finite"):
            clustered_aucs(torch.tensor([[0.1], [0.2], [broken], [broken]]), targets, identities)
    with pytest.raises(ValueError, match="must both be"):
        clustered_aucs(torch.zeros(4, 2), targets, identities)


def test_auc_interval_skips_a_column_of_one_class() -> None:
    torch.manual_seed(0)
    scores, targets, identities = torch.randn(60, 1), torch.randint(0, 2, (60, 1)), torch.arange(60)
    alone, _ = clustered_aucs(scores, targets, identities)
    wider = torch.cat([targets, torch.ones(60, 1)], dim=1)
    padded, _ = clustered_aucs(scores.expand(-1, 2), wider, identities)
    assert padded == alone
