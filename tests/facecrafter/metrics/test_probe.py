"""The probe of unknown tasks, against plain ridge regression."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from facecrafter.metrics.probe import RIDGES, LinearProbe


def some(n: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    features = torch.randn(n, 2, 3, generator=rng, dtype=torch.float64)
    noise = 0.3 * torch.randn(n, 2, generator=rng, dtype=torch.float64)
    return features, features.flatten(1) @ torch.arange(12.0, dtype=torch.float64).view(6, 2) + noise


def plain(features: Tensor, labels: Tensor, ridge: float, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Weights and centre of ridge regression in its primal form."""
    centre = features.flatten(1).mean(dim=0)
    x = (features.flatten(1) - centre) / scale
    penalty = ridge * torch.eye(x.shape[1], dtype=x.dtype)
    return torch.linalg.solve(x.T @ x + penalty, x.T @ (labels - labels.mean(dim=0))), centre


def scale_of(features: Tensor) -> Tensor:
    x = features.flatten(1)
    return (x - x.mean(dim=0)).square().sum(dim=1).mean().sqrt()


def test_scores_are_those_of_ridge_regression() -> None:
    (features, labels), (asked, _) = some(20), some(5, seed=1)
    probe, scale = LinearProbe.fit(features, labels), scale_of(features)
    for column, ridge in enumerate(probe.ridge.tolist()):
        weights, centre = plain(features, labels[:, column : column + 1], ridge, scale)
        expected = (asked.flatten(1) - centre) / scale @ weights + labels[:, column].mean()
        torch.testing.assert_close(probe(asked)[:, column : column + 1], expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("n", "width"), [(12, 6), (12, 40)])
def test_the_penalty_is_the_best_when_each_image_is_left_out_in_turn(n: int, width: int) -> None:
    """The others are centred anew; otherwise features with more numbers than images, whose fit goes through
    every image, would always get the least penalty."""
    rng = torch.Generator().manual_seed(5)
    features = torch.randn(n, width, generator=rng, dtype=torch.float64)
    labels = features @ torch.randn(width, 3, generator=rng, dtype=torch.float64)
    labels = labels + 4 * torch.randn(n, 3, generator=rng, dtype=torch.float64) + 2
    scale = scale_of(features)
    errors = torch.zeros(len(RIDGES), 3, dtype=torch.float64)
    for place, ridge in enumerate(RIDGES):
        for out in range(n):
            kept = torch.arange(n) != out
            weights, centre = plain(features[kept], labels[kept], ridge, scale)
            found = (features[out] - centre) / scale @ weights + labels[kept].mean(dim=0)
            errors[place] += (labels[out] - found).square()
    best = torch.tensor(RIDGES)[errors.argmin(dim=0)]
    assert (best > min(RIDGES)).any()
    assert torch.equal(LinearProbe.fit(features, labels).ridge, best)


@pytest.mark.parametrize("features", [torch.ones(2, 3), torch.ones(5, 3)])
def test_what_cannot_be_learnt_from_is_refused(features: Tensor) -> None:
    with pytest.raises(ValueError, match="a probe"):
        LinearProbe.fit(features, torch.zeros(len(features), 1))
