from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from facecrafter.metrics.frechet import frechet_distance


def features(n: int, dim: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(dim, dim, generator=generator, dtype=torch.float64)
    return torch.randn(n, dim, generator=generator, dtype=torch.float64) @ mixing + seed


def by_definition(first: np.ndarray, second: np.ndarray) -> float:
    covariances = [np.cov(side, rowvar=False) for side in (first, second)]
    means = first.mean(axis=0) - second.mean(axis=0)
    root = sqrtm(covariances[0] @ covariances[1]).real
    return float(means @ means + np.trace(covariances[0] + covariances[1] - 2 * root))


def test_distance_agrees_with_the_matrix_root_of_its_definition() -> None:
    first, second = features(200, 6, 0), features(150, 6, 1)
    expected = by_definition(first.numpy(), second.numpy())
    assert frechet_distance(first, second) == pytest.approx(expected, rel=1e-9)


def test_fewer_samples_than_dimensions_are_no_difficulty() -> None:
    """The samples lie in a subspace; turned into it, the definition can be computed there."""
    basis, _ = torch.linalg.qr(torch.randn(64, 5, dtype=torch.float64, generator=torch.Generator()))
    first, second = features(8, 5, 0), features(9, 5, 1)
    expected = by_definition(first.numpy(), second.numpy())
    assert frechet_distance(first @ basis.T, second @ basis.T) == pytest.approx(expected, rel=1e-9)


def test_distance_of_known_gaussians() -> None:
    """Along one axis it is (μ₁ − μ₂)² + (σ₁ − σ₂)²."""
    first = torch.tensor([[-1.0], [1.0]])
    assert frechet_distance(first, 3 * first + 5) == pytest.approx(25 + (3 * 2**0.5 - 2**0.5) ** 2)


def test_a_set_has_no_distance_to_itself() -> None:
    """In single precision the difference of large traces would leave something, even below zero."""
    same = 1000 * torch.randn(20, 256, generator=torch.Generator().manual_seed(0))
    assert frechet_distance(same, same.flip(0)) == pytest.approx(0, abs=1e-5)


def test_few_samples_of_one_distribution_look_apart() -> None:
    """The bias that the documentation warns of: it falls with the number of samples."""
    sets = [torch.randn(2 * n, 16, generator=torch.Generator().manual_seed(n)) for n in (20, 80, 320)]
    distances = [frechet_distance(*both.chunk(2)) for both in sets]
    assert distances[0] > 2 * distances[1] > 4 * distances[2] > 0


@pytest.mark.parametrize(("n", "dim"), [(1, 4), (5, 3)])
def test_what_has_no_covariance_is_refused(n: int, dim: int) -> None:
    with pytest.raises(ValueError, match=r"at least 2 features of one dimension"):
        frechet_distance(torch.zeros(n, dim), torch.zeros(5, 4))
