from __future__ import annotations

from itertools import permutations

import pytest
import torch

from facecrafter.metrics.pii import epsilon, epsilon_curve, epsilon_null, match_channels, transport_cost


def images(n: int, seed: int) -> torch.Tensor:
    return torch.rand(n, 3, 4, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_transport_solved_by_hand() -> None:
    """Constant images of three values, 0 and 1 to 1 and 3: either pairing costs (1 + 2)/2 · √3."""
    first = torch.tensor([0.0, 1.0]).reshape(2, 1, 1, 1).expand(2, 3, 1, 1)
    second = torch.tensor([1.0, 3.0]).reshape(2, 1, 1, 1).expand(2, 3, 1, 1)
    assert transport_cost(first, second) == pytest.approx(1.5 * 3**0.5)


def test_ground_distance_is_euclidean_not_squared() -> None:
    """Two images at distances 0 and 4 of their partners cost (0 + 4)/2; squared it would be 8."""
    first = torch.tensor([[0.0, 0.0], [3.0, 4.0]]).reshape(2, 2, 1, 1)
    second = torch.tensor([[0.0, 0.0], [3.0, 0.0]]).reshape(2, 2, 1, 1)
    assert transport_cost(first, second) == pytest.approx(2)


def test_transport_is_the_best_of_all_pairings() -> None:
    first, second = images(4, 0), images(4, 1)
    costs = [
        sum((first[i] - second[j]).norm().item() for i, j in enumerate(pairing)) / 4
        for pairing in permutations(range(4))
    ]
    assert transport_cost(first, second) == pytest.approx(min(costs), abs=1e-12)


def test_order_does_not_matter() -> None:
    first = images(20, 0)
    assert transport_cost(first, first.flip(0)) == pytest.approx(0, abs=1e-6)


def test_matching_gives_the_private_moments_and_does_not_clip() -> None:
    references = 0.9 + 0.4 * images(6, 1)
    matched = match_channels(images(5, 0), references)
    for channel in range(3):
        assert matched[:, channel].mean() == pytest.approx(references[:, channel].mean().item())
        assert matched[:, channel].std() == pytest.approx(references[:, channel].std().item())
    assert matched.max() > 1


def test_epsilon_matches_the_prior_not_the_reconstructions() -> None:
    """A tone that all private photographs share, and the reconstructions have, is no perceptual gain."""
    samples = images(6, 0)
    toned = 0.5 * samples + 0.3
    assert epsilon(toned, samples, private_images=toned).scaled == pytest.approx(0, abs=1e-6)
    assert epsilon(samples, samples, private_images=toned).scaled > 1e-3


def test_epsilon_is_the_cost_per_value() -> None:
    result = epsilon(images(5, 0), images(5, 1), images(5, 2))
    assert result.scaled == pytest.approx(result.cost / (3 * 4 * 4))
    assert result.cost == pytest.approx(
        transport_cost(images(5, 0), match_channels(images(5, 1), images(5, 2)))
    )


def test_the_null_is_what_an_attacker_who_learns_nothing_scores() -> None:
    samples, others = images(200, 0), images(200, 1)
    null = epsilon_null(samples, others, samples).scaled
    assert epsilon(images(200, 2), samples, samples).scaled == pytest.approx(null, rel=0.05)
    informed = images(200, 2) * 0.2
    assert epsilon(informed, samples, samples).scaled > 1.2 * null


def test_sets_of_different_size_are_refused() -> None:
    with pytest.raises(ValueError, match="two sets of one shape"):
        transport_cost(images(3, 0), images(4, 0))


def curve(shown: torch.Tensor, smallest: int) -> list[tuple[int, float, float]]:
    samples, others = images(64, 0), images(64, 1)
    return epsilon_curve(shown, samples, others, samples, torch.Generator().manual_seed(0), smallest)


def test_the_curve_ends_at_epsilon_and_its_null() -> None:
    shown = images(64, 2)
    n, value, null = curve(shown, 16)[-1]
    assert n == 64
    assert value == pytest.approx(epsilon(shown, images(64, 0), images(64, 0)).scaled)
    assert null == pytest.approx(epsilon_null(images(64, 0), images(64, 1), images(64, 0)).scaled)


def test_the_curve_falls_with_the_number_of_images_and_only_a_difference_stays() -> None:
    """Few images cost more to transport, even between two samples of one distribution."""
    points = curve(images(64, 2), 8)
    assert [n for n, _, _ in points] == [8, 16, 32, 64]
    assert [value for _, value, _ in points] == sorted((value for _, value, _ in points), reverse=True)
    assert points[-1][1] == pytest.approx(points[-1][2], rel=0.05)
    other = curve(images(64, 2) * 0.2, 8)
    assert other[-1][1] - other[-1][2] > 2 * (points[0][1] - points[-1][1])


def test_a_part_of_the_curve_is_a_mean_over_disjoint_images() -> None:
    """Constant sets of 0 and 1 far from the samples: every half costs as much as the whole."""
    shown = torch.full((20, 3, 4, 4), 9.0, dtype=torch.float64)
    samples = torch.zeros(20, 3, 4, 4, dtype=torch.float64)
    samples[::2] = 1.0
    points = epsilon_curve(shown, samples, samples, samples, torch.Generator().manual_seed(0), 3)
    assert [n for n, _, _ in points] == [5, 10, 20]
    whole = points[-1].epsilon
    assert points[0].epsilon == pytest.approx(whole)
